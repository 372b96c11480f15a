"""Puts review together from the kit: its pages, and what settles by itself."""

import asyncio
from datetime import timedelta
from pathlib import Path

import structlog
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from unspread.platform_kit.kit import Kit
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review.content import HeldContent, content_for
from unspread.platform_kit.review.desk import Desk
from unspread.platform_kit.review.pages import ReviewPages
from unspread.platform_kit.review.records import Records
from unspread.platform_kit.review.signin import SignIn

HERE = Path(__file__).parent
HELD_DIRECTORY = "held"
TIDY_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def origin_of(kit: Kit) -> str:
    """Where staff reach the pages; passkeys are bound to it."""
    return kit.settings.review.origin.rstrip("/") or f"http://localhost:{kit.settings.port}"


def records_of(kit: Kit) -> Records:
    """Review's part of the kit's store."""
    settings = kit.settings.review
    return Records(
        kit.store,
        kit.catalogue.probes_of,
        settings.people,
        copies_radius_bits=settings.copies_radius_bits,
    )


def desk_of(kit: Kit, *directories: Path) -> Desk:
    """The door for staff, with templates of a part in front of review's own."""
    origin = origin_of(kit)
    sign_in = SignIn(kit.store, origin, kit.clock)
    return Desk(sign_in, Pages(*directories, HERE / "templates"), origin)


def held_content(kit: Kit) -> HeldContent:
    """Where content of held uploads is kept."""
    return HeldContent(kit.settings.data / HELD_DIRECTORY)


def routes(kit: Kit) -> list[BaseRoute]:
    """The review pages, and the invitation of the first reviewer if there is none yet."""
    desk = desk_of(kit)
    waiting = desk.sign_in.first_invitation(kit.settings.data)
    if waiting is not None:
        _log.info("review_invitation", file=str(waiting), at=f"{origin_of(kit)}/review/sign-in")
    held = held_content(kit)
    if not kit.settings.review.content_url:
        kit.keep_held = held.keep
    content = content_for(kit.settings.review, kit.settings.data, held)
    pages = ReviewPages(
        kit.store,
        records_of(kit),
        desk,
        content=content,
        settings=kit.settings.review,
        clock=kit.clock,
        reports=kit.settings.cybertip is not None,
    )
    return [
        *pages.routes(),
        Mount("/review/static", StaticFiles(directory=HERE / "static")),
        Mount("/kit/static", StaticFiles(directory=HERE.parent / "static")),
    ]


async def run(kit: Kit, stop: asyncio.Event) -> None:
    """Settle repeats as soon as they are held, and delete content that is decided."""
    records, held = records_of(kit), held_content(kit)
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    def settle() -> None:
        stored = held.stored()
        waiting = records.waiting(kit.clock())
        kit.metrics.reviews_waiting.set(len(waiting))
        kit.metrics.actions_dead.set(len(kit.store.dead_actions()))
        kept = {hold.reference for task in waiting for hold in task.holds}
        undo = timedelta(minutes=kit.settings.review.undo_minutes)
        if undo:
            kept |= records.decided_since(kit.clock() - undo)
        held.forget_others(stored, kept)

    kit.store.on_actions(wake)
    stopped = asyncio.create_task(stop.wait())
    while not stop.is_set():
        woken.clear()
        await asyncio.to_thread(settle)
        again = asyncio.create_task(woken.wait())
        await asyncio.wait(
            {stopped, again}, timeout=TIDY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        again.cancel()
    stopped.cancel()
