"""Delivers actions for as long as the program runs."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import structlog

from unspread.platform_kit.actions.destinations import routes
from unspread.platform_kit.actions.settings import AnyDestination, Webhook
from unspread.platform_kit.actions.worker import Worker
from unspread.platform_kit.settings import Settings
from unspread.platform_kit.store import Action, ActionKind, Message, Store

_log = structlog.get_logger(__name__)


async def run(
    store: Store,
    settings: Settings,
    stop: asyncio.Event,
    message_of: Callable[[Action], Message | None],
) -> None:
    """Deliver actions until `stop` is set. With nowhere to deliver them to, they wait.

    Args:
        store: of the outbox.
        settings: with the destinations.
        stop: set when it is to end.
        message_of: what a `tell` tells.

    Raises:
        InputError: if the settings name a destination that cannot be used.
    """
    async with httpx.AsyncClient(trust_env=False) as client:
        made = routes(_destinations(settings), settings.data, client)
        if not made:
            _log.warning("actions_wait", why="no webhook and no action is configured")
            return
        worker = Worker(store, made, lambda: datetime.now(UTC), message_of=message_of)
        loop = asyncio.get_running_loop()

        def wake() -> None:
            # The store outlives the loop: what is queued then is found at the next start.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(worker.wake)

        store.on_actions(wake)
        await worker.run(stop)


def tells(settings: Settings) -> bool:
    """Whether anything is there to tell the people who send notices."""
    return any(ActionKind.TELL in each.on for each in _destinations(settings))


def _destinations(settings: Settings) -> tuple[AnyDestination, ...]:
    simple = settings.webhook
    if simple is None:
        return settings.actions
    return (Webhook(url=simple.url, secret_file=simple.secret_file), *settings.actions)
