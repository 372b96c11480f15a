"""Puts notices together from the kit."""

from collections.abc import Sequence
from pathlib import Path

from starlette.routing import BaseRoute

from unspread.model import Fingerprint, Kind
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.notices.pages import PublicPages, StaffPages
from unspread.platform_kit.notices.record import Record
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review.service import HERE as REVIEW
from unspread.platform_kit.review.service import desk_of, origin_of

TEMPLATES = Path(__file__).parent / "templates"


def routes(kit: Kit) -> list[BaseRoute]:
    """The public form and the staff's pages; nothing if notices are switched off."""
    settings = kit.settings.notices
    if not settings.enabled:
        return []
    record = Record(kit.store, frozenset(settings.hosts), settings.per_minute)

    def copies(reference: str) -> Sequence[tuple[str, int]]:
        fingerprints = [
            Fingerprint(each.kind, each.value, quality=100 if each.kind is Kind.PDQ else None)
            for each in kit.catalogue.probes_of(reference)
        ]
        found = kit.catalogue.search(fingerprints, settings.copies_radius_bits)
        return [(each.reference, each.distance_bits) for each in found]

    public = PublicPages(record, Pages(TEMPLATES, REVIEW / "templates"), settings, kit.clock)
    staff = StaffPages(
        record,
        desk_of(kit, TEMPLATES),
        settings,
        copies=copies,
        appeal_at=f"{origin_of(kit)}/notices/appeal",
        clock=kit.clock,
    )
    return [*public.routes(), *staff.routes()]
