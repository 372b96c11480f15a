"""Puts notices together from the kit."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from starlette.routing import BaseRoute

from unspread.model import Fingerprint, Kind
from unspread.platform_kit.actions.service import tells
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.notices.answers import Answers
from unspread.platform_kit.notices.pages import PublicPages, StaffPages
from unspread.platform_kit.notices.record import Record
from unspread.platform_kit.notices.rules import CLOCK
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review.service import HERE as REVIEW
from unspread.platform_kit.review.service import desk_of, origin_of

WATCH_SECONDS = 30.0
TEMPLATES = Path(__file__).parent / "templates"


def record_of(kit: Kit) -> Record:
    """The kit's notices."""
    settings = kit.settings.notices
    answer = answers_of(kit).answer if tells(kit.settings) else None
    return Record(kit.store, frozenset(settings.hosts), settings.per_minute, answer)


def answers_of(kit: Kit) -> Answers:
    """What the platform's requesters are told."""
    settings = kit.settings.notices
    return Answers(settings.platform, f"{_public(kit)}/notices/status", settings.complaints)


def _public(kit: Kit) -> str:
    return kit.settings.notices.origin.rstrip("/") or origin_of(kit)


def watch(kit: Kit, record: Record) -> None:
    """Set the gauges by which an operator is woken before a clock runs out."""
    now = kit.clock()
    running = [each.standing for each in record.waiting() if each.standing.deadline]
    # What is decided and not yet gone is still seen: the decision alone helps nobody.
    up = [
        each.standing.remaining_while_up(each.removed_at, now)
        for each in record.unconfirmed()
        if each.removed_at is not None
    ]
    left = min([*(each.remaining(now) for each in running), *up], default=CLOCK)
    kit.metrics.notices_waiting.set(len(running) + len(up))
    kit.metrics.notice_seconds_left.set(left.total_seconds())


async def run(kit: Kit, stop: asyncio.Event) -> None:
    """Keep the gauges true until `stop` is set; nothing if notices are switched off."""
    if not kit.settings.notices.enabled:
        return
    record = record_of(kit)
    while not stop.is_set():
        await asyncio.to_thread(watch, kit, record)
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue


def routes(kit: Kit) -> list[BaseRoute]:
    """The public form and the staff's pages; nothing if notices are switched off."""
    settings = kit.settings.notices
    if not settings.enabled:
        return []
    record = record_of(kit)

    def copies(reference: str) -> Sequence[tuple[str, int]]:
        fingerprints = [
            Fingerprint(each.kind, each.value, quality=100 if each.kind is Kind.PDQ else None)
            for each in kit.catalogue.probes_of(reference)
        ]
        (found,) = kit.catalogue.search([(fingerprints, settings.copies_radius_bits)])
        return [(each.reference, each.distance_bits) for each in found]

    answers = answers_of(kit)
    public = PublicPages(
        record, Pages(TEMPLATES, REVIEW / "templates"), settings, answers, kit.clock
    )
    staff = StaffPages(
        record,
        desk_of(kit, TEMPLATES),
        settings,
        copies=copies,
        appeal_at=f"{_public(kit)}/notices/appeal",
        clock=kit.clock,
    )
    return [*public.routes(), *staff.routes()]
