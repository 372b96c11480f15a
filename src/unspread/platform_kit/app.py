"""The platform kit's program: an ASGI application and the tasks that live with it."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import IO, Final

import httpx
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware

from unspread.errors import StateError, UnspreadError
from unspread.fingerprint.confined import Budget, Confined
from unspread.platform_kit import api, openapi, snapshots
from unspread.platform_kit.access import Keys
from unspread.platform_kit.actions.service import run as deliver_actions
from unspread.platform_kit.bank import Bank, UnbuiltBank, blocks_of
from unspread.platform_kit.catalogue import Catalogue, SqliteCatalogue
from unspread.platform_kit.cybertip.service import routes as cybertip_routes
from unspread.platform_kit.enrolment import Membership, memberships
from unspread.platform_kit.feedback import FeedbackSender
from unspread.platform_kit.hooks.service import routes as hook_routes
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.lingering import Lingering
from unspread.platform_kit.metrics import Metrics
from unspread.platform_kit.notices.service import record_of
from unspread.platform_kit.notices.service import routes as notice_routes
from unspread.platform_kit.programmes import ProgrammeSync, client_for, credentials_from
from unspread.platform_kit.review.service import routes as review_routes
from unspread.platform_kit.review.service import run as settle_reviews
from unspread.platform_kit.scanner import Scanner, confined_fingerprinter
from unspread.platform_kit.settings import Settings, Source
from unspread.platform_kit.store import Store
from unspread.platform_kit.sync import FeedSync

log = structlog.get_logger("unspread.platform")

_KEYS_RELOAD_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 0.5
_SEGMENTS_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 30.0
_SNAPSHOT_SECONDS: Final = 300.0
"""A listing that was withdrawn stays in a snapshot's file no longer than this, and a little."""


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
        catalogue=open_catalogue(settings, store),
        scanner=Scanner(
            confined_fingerprinter(
                pool,
                settings.min_quality,
                windows=settings.scan_windows,
                sampling=settings.scan_videos_by,
                frames_with_windows=settings.scan_windows_of_frames,
            ),
            settings.scan_queue + settings.scan_workers,
        ),
        keys=keys,
        metrics=Metrics(),
        clock=clock,
        random=SystemRandom(),
    )
    return kit, pool


def open_catalogue(settings: Settings, store: Store) -> Catalogue:
    """The catalogue that the settings name."""
    columns = settings.data / "catalogue"
    if not settings.catalogue:
        return SqliteCatalogue(store, columns)
    from unspread.platform_kit.catalogue_postgres import PostgresCatalogue

    return PostgresCatalogue(settings.catalogue, columns)


async def load_bank(kit: Kit, *, may_save: bool = False) -> None:
    """Fill the bank with what the store holds, from a snapshot if there is one.

    Args:
        may_save: write a snapshot of a large bank first, and fill it from there.
    """
    kit.bank = await asyncio.to_thread(_filled, kit, may_save)
    await kit.catch_up()
    kit.metrics.bank_rows.set(len(kit.bank))
    kit.loaded = True


def _filled(kit: Kit, may_save: bool) -> Bank:
    store, data = kit.store, kit.settings.data
    bank = snapshots.load(data, store, kit.names)
    if bank is not None:
        return bank
    sequence = store.sequence()
    listed = blocks_of(store.active_packed())
    if may_save and store.all_active_count() >= kit.settings.snapshot_after_changes:
        try:
            snapshots.save(data, store, UnbuiltBank(listed, sequence))
            bank = snapshots.load(data, store, kit.names)
        except OSError:
            log.exception("cannot write a snapshot")
        if bank is not None:
            return bank
        listed = blocks_of(store.active_packed())
    bank = Bank(kit.names, listed, sequence)
    bank.changes_since_save = len(bank)
    return bank


async def follow_all(kit: Kit, joined: Iterable[str]) -> None:
    """Match against every list: those that were joined, and those that the settings name."""
    for name in joined:
        await kit.follow(name, Source.FEED, kit.settings.list_settings(name))
    for name, one in kit.settings.lists.items():
        if one.source is not Source.FEED:
            await kit.follow(name, one.source, one)
        if one.source is Source.LOCAL:
            await kit.checked(name)


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
            await kit.forget(removed)
            await asyncio.to_thread(kit.store.references_forgotten, removed)
        await asyncio.to_thread(kit.catalogue.catch_up)
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


async def _save_snapshots(kit: Kit) -> None:
    """Keep a snapshot of a large bank, and nothing in it that has been withdrawn for long."""
    while True:
        kit.snapshot_is_due.clear()
        try:
            await kit.save_snapshot()
        except OSError:
            log.exception("cannot write a snapshot")
            await asyncio.sleep(_RETRY_SECONDS)
        try:
            async with asyncio.timeout(_SNAPSHOT_SECONDS):
                await kit.snapshot_is_due.wait()
        except TimeoutError:
            pass


async def _write_segments(kit: Kit, directory: Path) -> None:
    """Keep a directory of Parquet files as the catalogue is, to within a minute."""
    from unspread.platform_kit.catalogue_segments import Segments

    segments = await asyncio.to_thread(Segments, directory, kit.catalogue)
    while True:
        try:
            await asyncio.to_thread(segments.update)
        except OSError:
            log.exception("cannot write the catalogue's files")
        await asyncio.sleep(_SEGMENTS_SECONDS)


async def _watch_store(kit: Kit) -> None:
    """See what other processes changed: local banks, and in a replica everything."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        await kit.catch_up()
        if kit.settings.replica:
            await kit.refresh_states()
            await kit.share_snapshot()


async def _run(kit: Kit, joined: list[tuple[str, Membership]], stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()
    settings = kit.settings

    def on_actions() -> None:
        loop.call_soon_threadsafe(wake.set)
        loop.call_soon_threadsafe(kit.wake_feedback)

    kit.store.on_actions(on_actions)
    await load_bank(kit, may_save=not settings.replica)
    with ExitStack() as clients:
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as tasks:
            work = [_keep_house(kit, wake), _watch_store(kit), settle_reviews(kit, stop)]
            if not settings.replica:
                work.append(_save_snapshots(kit))
                work.append(_search_catalogue(kit))
                if settings.catalogue_parquet is not None:
                    work.append(_write_segments(kit, settings.catalogue_parquet))
                work.append(deliver_actions(kit.store, settings, stop, record_of(kit).message))
                for name, membership in joined:
                    work.append(FeedSync(kit, name, membership, http).run())
                    work.append(FeedbackSender(kit, name, membership, http).run())
                for name, one in settings.lists.items():
                    if one.source not in {Source.FEED, Source.LOCAL}:
                        given = credentials_from(settings.data, one)
                        client = clients.enter_context(client_for(one, given))
                        work.append(ProgrammeSync(kit, name, given, client).run())
            running = [tasks.create_task(each) for each in work]
            await stop.wait()
            for task in running:
                task.cancel()


def _sole_leader(settings: Settings) -> IO[str] | None:
    """Hold the data directory, so that lists are followed and actions delivered once.

    Raises:
        StateError: if another process holds it.
    """
    if settings.replica:
        return None
    file = (settings.data / "leader.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StateError(
            f"another process serves {settings.data}: stop it, or set `replica = true` here"
        ) from None
    return file


async def follow_once(settings: Settings) -> list[tuple[str, int, str]]:
    """One round with every feed, without a server: (list, listings, what was wrong).

    Raises:
        StateError: if a server runs on the directory; it follows the lists itself.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _sole_leader(settings)
    kit, pool = open_kit(settings)
    joined = list(memberships(settings.data))
    try:
        await follow_all(kit, [name for name, _ in joined])
        await load_bank(kit, may_save=True)
        async with httpx.AsyncClient(trust_env=False) as http:
            for name, membership in joined:
                try:
                    await FeedSync(kit, name, membership, http).once()
                    await kit.search_new_listings()
                    await FeedbackSender(kit, name, membership, http).once()
                except UnspreadError as error:
                    kit.problems[name] = str(error)
        return [
            (name, kit.store.active_count(state.number), kit.problems.get(name, ""))
            for name, state in kit.states.items()
        ]
    finally:
        pool.close()
        kit.close()
        if lock is not None:
            lock.close()


def _note_end(kit: Kit, running: asyncio.Task[None]) -> None:
    """A kit whose tasks have ended is not alive, and says so."""
    kit.is_running = False
    error = None if running.cancelled() else running.exception()
    if error is not None:
        log.critical("the kit's tasks ended: restart it", exc_info=error)


def create_app(settings: Settings) -> Starlette:
    """The application; its lifespan opens the data directory and runs the tasks."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _sole_leader(settings)
    kit, pool = open_kit(settings)
    joined = list(memberships(settings.data))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        # Before the first question: /health/ready names every list from the beginning.
        await follow_all(kit, [name for name, _ in joined])
        running = asyncio.create_task(_run(kit, joined, stop))
        running.add_done_callback(partial(_note_end, kit))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait([running])
            pool.close()
            kit.close()
            if lock is not None:
                lock.close()

    app = Starlette(
        routes=[
            *api.routes(kit),
            openapi.route(),
            *review_routes(kit),
            *notice_routes(kit),
            *hook_routes(kit),
            *cybertip_routes(kit),
        ],
        lifespan=lifespan,
        middleware=[Middleware(Lingering, most_bytes=settings.max_upload_bytes)],
    )
    app.state.kit = kit
    return app
