"""The clearinghouse as one ASGI application."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.handlers.wsgi import WSGIHandler
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from unspread.clearinghouse import api, composition, files, health, key_files, pages_bridge
from unspread.clearinghouse.django_mount import DjangoMount
from unspread.clearinghouse.service import Service
from unspread.clearinghouse.settings import Settings


def create_app(settings: Settings) -> ASGIApp:
    """The application; its lifespan opens the database and publishes.

    Raises:
        UnspreadError: saying what is wrong with the settings or the data directory.
    """
    return application(Service(settings))


def application(service: Service) -> ASGIApp:
    """The application around a service that its lifespan starts and closes."""
    settings = service.settings
    service.languages = pages_bridge.languages(settings.languages)
    service.texts_changed = lambda: pages_bridge.texts_changed(service)
    composition.compose(
        settings, key_files.django_key(settings), pages_bridge.django_values(service)
    )
    composition.migrate()
    django = DjangoMount(WSGIHandler(), extra={"unspread.service": service})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        service.subscribers.attach(asyncio.get_running_loop())
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)
            django.close()

    core = Starlette(
        routes=[
            *api.routes(service),
            *files.routes(service.blobs),
            *health.routes(service, service.registry),
            *_exchange_routes(service),
            Mount("/", django),
        ],
        lifespan=lifespan,
    )
    return pages_bridge.guarded(health.Figures(core, service))


def _exchange_routes(service: Service) -> list[BaseRoute]:
    """Routes of the legacy programmes, where they are part of this installation."""
    name = "unspread.clearinghouse.exchange_source"
    if importlib.util.find_spec(name) is None:
        return []
    made: list[BaseRoute] = importlib.import_module(name).routes(service)
    return made
