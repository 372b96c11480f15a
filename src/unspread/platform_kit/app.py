"""The platform kit's program: an ASGI application and the tasks that live with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import SystemRandom
from time import monotonic
from typing import Final

import httpx
import structlog
from starlette.applications import Starlette

from unspread.errors import StateError
from unspread.fingerprint.confined import Budget, Confined
from unspread.platform_kit import api
from unspread.platform_kit.access import Keys
from unspread.platform_kit.actions.service import run as deliver_actions
from unspread.platform_kit.bank import Bank, rows_of
from unspread.platform_kit.catalogue import SqliteCatalogue
from unspread.platform_kit.enrolment import Membership, memberships
from unspread.platform_kit.feedback import FeedbackSender
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.metrics import Metrics
from unspread.platform_kit.notices.service import routes as notice_routes
from unspread.platform_kit.review.service import routes as review_routes
from unspread.platform_kit.review.service import run as settle_reviews
from unspread.platform_kit.scanner import Scanner, confined_fingerprinter
from unspread.platform_kit.settings import Settings
from unspread.platform_kit.store import Store
from unspread.platform_kit.sync import FeedSync

log = structlog.get_logger("unspread.platform")

_KEYS_RELOAD_SECONDS: Final = 2.0


def utc_now() -> datetime:
    """The clock of a running program."""
    return datetime.now(UTC)


def open_kit(settings: Settings, clock: Callable[[], datetime] = utc_now) -> tuple[Kit, Confined]:
    """Everything opened, nothing running; the caller closes both.

    Raises:
        StateError: if the data directory cannot be used.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(f"cannot use {settings.data}: {error.strerror}") from None
    store = Store(settings.data)
    keys = Keys(store, settings.requests_per_minute, monotonic)
    first = keys.issue_first(settings.data, clock())
    if first is not None:
        log.info("a first key for everything was made", file=str(first))
    budget = Budget(
        cpu_seconds=int(settings.scan_timeout_seconds) + 1,
        wall_seconds=settings.scan_timeout_seconds * 1.5,
    )
    pool = Confined(settings.scan_workers, budget=budget)
    kit = Kit(
        settings=settings,
        store=store,
        bank=Bank({}),
        catalogue=SqliteCatalogue(store),
        scanner=Scanner(
            confined_fingerprinter(pool, settings.min_quality),
            settings.scan_queue + settings.scan_workers,
        ),
        keys=keys,
        metrics=Metrics(),
        clock=clock,
        random=SystemRandom(),
    )
    return kit, pool


async def load_bank(kit: Kit) -> None:
    """Fill the bank with what the store holds."""
    rows = await asyncio.to_thread(lambda: rows_of(kit.store.active_listings()))
    kit.bank = await asyncio.to_thread(Bank, kit.names, rows)
    kit.metrics.bank_rows.set(len(kit.bank))
    kit.loaded = True


async def _search_catalogue(kit: Kit) -> None:
    await kit.match_uncovered()
    while True:
        kit.new_listings.clear()
        await kit.search_new_listings()
        await kit.new_listings.wait()


async def _keep_house(kit: Kit, wake: asyncio.Event) -> None:
    """What has to be done now and then: sums of refusals, content that is gone, keys, gauges."""
    while True:
        removed = await asyncio.to_thread(kit.store.removed_references)
        if removed:
            await asyncio.to_thread(kit.catalogue.forget, removed)
            await asyncio.to_thread(kit.store.references_forgotten, removed)
        if await asyncio.to_thread(kit.store.sum_up_blocked, kit.clock()):
            kit.wake_feedback()
        await asyncio.to_thread(kit.keys.reload)
        waiting, oldest, unsent = await asyncio.to_thread(kit.store.waiting)
        kit.metrics.actions_waiting.set(waiting)
        age = (kit.clock() - oldest).total_seconds() if oldest else 0
        kit.metrics.oldest_action.set(age)
        kit.metrics.feedback_waiting.set(unsent)
        wake.clear()
        try:
            async with asyncio.timeout(
                min(_KEYS_RELOAD_SECONDS, kit.settings.feedback_flush_seconds)
            ):
                await wake.wait()
        except TimeoutError:
            pass


async def _run(kit: Kit, joined: list[tuple[str, Membership]], stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()

    def on_actions() -> None:
        loop.call_soon_threadsafe(wake.set)
        loop.call_soon_threadsafe(kit.wake_feedback)

    kit.store.on_actions(on_actions)
    for name, _ in joined:
        await kit.follow(name, "feed", kit.settings.list_settings(name))
    await load_bank(kit)
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(_search_catalogue(kit)),
            tasks.create_task(_keep_house(kit, wake)),
            tasks.create_task(deliver_actions(kit.store, kit.settings, stop)),
            tasks.create_task(settle_reviews(kit, stop)),
        ]
        for name, membership in joined:
            running.append(tasks.create_task(FeedSync(kit, name, membership, http).run()))
            running.append(tasks.create_task(FeedbackSender(kit, name, membership, http).run()))
        await stop.wait()
        for task in running:
            task.cancel()


def create_app(settings: Settings) -> Starlette:
    """The application; its lifespan opens the data directory and runs the tasks."""
    kit, pool = open_kit(settings)
    joined = list(memberships(settings.data))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        running = asyncio.create_task(_run(kit, joined, stop))
        app.state.running = running
        try:
            yield
        finally:
            stop.set()
            await running
            pool.close()
            kit.store.close()

    app = Starlette(
        routes=[*api.routes(kit), *review_routes(kit), *notice_routes(kit)], lifespan=lifespan
    )
    app.state.kit = kit
    return app
