"""What the console and the public report show: counts, never fingerprints; plots as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.rules import FAMOUS, HeldReason, SuspendedBecause, from_day
from unspread.model import Age

SUPPRESS_BELOW: Final = 10
"""A public figure from 1 to 9 could be about somebody: it is shown as "fewer than 10"."""
PLOT_DAYS: Final = 28
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 120, 40, 18


def suppressed(count: int) -> str:
    """A count for the public."""
    return f"fewer than {SUPPRESS_BELOW}" if 0 < count < SUPPRESS_BELOW else str(count)


def seconds_words(seconds: int | None) -> str:
    """A stretch of time in the unit that fits it."""
    if seconds is None:
        return "-"
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def daily(connection: Connection, name: str, today: int, days: int = PLOT_DAYS) -> list[int]:
    """How often something happened on each of the last days, today last."""
    rows = connection.rows(
        "SELECT day, count FROM daily_count WHERE name = ? AND day > ?", name, today - days
    )
    counts: dict[int, int] = dict(rows)
    return [counts.get(day, 0) for day in range(today - days + 1, today + 1)]


def totals(connection: Connection, since_day: int) -> dict[str, int]:
    """Every count since a day, summed."""
    return {
        name: int(total)
        for name, total in connection.rows(
            "SELECT name, SUM(count) FROM daily_count WHERE day >= ? GROUP BY name ORDER BY name",
            since_day,
        )
    }


def by_state(connection: Connection) -> list[tuple[str, str, int]]:
    """How many items are in each state and level."""
    return [
        (state, level, count)
        for state, level, count in connection.rows(
            "SELECT state, level, COUNT(*) FROM item GROUP BY state, level ORDER BY state, level"
        )
    ]


def bars(values: Sequence[int], today: int, title: str, *, public: bool = False) -> SafeString:
    """A plot of daily counts, one bar a day, today on the right; readable without colours.

    In public small numbers are drawn as none, like they are suppressed in words.
    """
    shown = [0 if public and value < SUPPRESS_BELOW else value for value in values]
    top = max([*shown, 1])
    step = (WIDTH - LEFT) / len(shown)
    rects = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>',
        (
            (
                f"{LEFT + at * step + 1:.1f}",
                f"{(HEIGHT - BOTTOM) * (1 - value / top):.1f}",
                f"{max(step - 2, 1):.1f}",
                f"{(HEIGHT - BOTTOM) * value / top:.1f}",
                from_day(today - len(shown) + 1 + at).isoformat(),
                suppressed(values[at]) if public else values[at],
            )
            for at, value in enumerate(shown)
        ),
    )
    return format_html(
        '<figure><figcaption>{} <span class="soft">{}</span></figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<line x1="{}" y1="{}" x2="{}" y2="{}"/><text x="0" y="10">{}</text>'
        '<text x="0" y="{}">0</text><text x="{}" y="{}">{}</text>'
        '<text x="{}" y="{}" text-anchor="end">{}</text>{}</svg></figure>',
        title, f"today {suppressed(values[-1]) if public else values[-1]}", WIDTH, HEIGHT, title,
        LEFT, HEIGHT - BOTTOM, WIDTH, HEIGHT - BOTTOM, top,
        HEIGHT - BOTTOM, LEFT, HEIGHT - 4, from_day(today - len(shown) + 1).isoformat(),
        WIDTH, HEIGHT - 4, from_day(today).isoformat(), rects,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Propagation:
    """How fast one platform's word says that it forgot what was withdrawn."""

    name: str
    listings: int
    """Withdrawals that were followed."""
    median_seconds: int | None
    p95_seconds: int | None
    open_after_a_day: int
    """Withdrawals older than a day that it has not acknowledged."""


def propagation(connection: Connection, now: int, since: int) -> list[Propagation]:
    """For each active platform: seconds from a withdrawal's commit to its acknowledgement."""
    withdrawals = connection.rows(
        "SELECT revision - 1, changed_at FROM item WHERE state = 'withdrawn'"
        " AND listing_id IS NOT NULL AND changed_at >= ? ORDER BY revision",
        since,
    )
    platforms = connection.rows(
        "SELECT partner_id, name, created_at FROM partner WHERE state = 'active'"
        " AND role = 'platform' ORDER BY name"
    )
    table = []
    for partner_id, name, created_at in platforms:
        acknowledged = connection.rows(
            "SELECT size, at FROM acknowledgement WHERE partner_id = ? ORDER BY size", partner_id
        )
        delays, is_open = _delays(
            [each for each in withdrawals if each[1] >= created_at], acknowledged, now
        )
        table.append(
            Propagation(name, len(delays), _share(delays, 0.5), _share(delays, 0.95), is_open)
        )
    return table


def _delays(
    withdrawals: Sequence[tuple[int, ...]], acknowledged: Sequence[tuple[int, ...]], now: int
) -> tuple[list[int], int]:
    delays, is_open, at = [], 0, 0
    for position, committed_at in withdrawals:
        while at < len(acknowledged) and acknowledged[at][0] <= position:
            at += 1
        if at < len(acknowledged):
            delays.append(max(0, acknowledged[at][1] - committed_at))
        elif now - committed_at > 86_400:
            is_open += 1
    return sorted(delays), is_open


def _share(ordered: Sequence[int], share: float) -> int | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


REASONS: Final[Mapping[str, str]] = {
    HeldReason.LOW_QUALITY: "low quality",
    HeldReason.ONE_BITS: "not a fingerprint of a picture",
    HeldReason.WELL_KNOWN: "well-known content",
    HeldReason.BLANK: "blank",
    HeldReason.DUPLICATE: "same as another item of its case",
    SuspendedBecause.DISPUTES: "two platforms dispute it",
    SuspendedBecause.VIRAL: "very many accounts have it",
    SuspendedBecause.OLDER: "a copy is years older than the case",
}
"""Why an item is held or suspended, in words."""

REPORTED: Final[Mapping[str, str]] = {
    "cases": "Cases submitted",
    "items.listed.image": "Pictures listed",
    "items.listed.video": "Videos listed",
    **{f"held.{each}": f"Held: {REASONS[each]}" for each in HeldReason},
    "withdrawals": "Withdrawn by the person",
    "expired": "Expired",
    **{f"suspended.{each}": f"Suspended: {REASONS[each]}" for each in SuspendedBecause},
    "staff.remove.done": "Removed by two members of staff",
    "staff.release.done": "Released from quarantine by two members of staff",
    "staff.reinstate.done": "Reinstated by two members of staff",
    **{f"asked.{each}": f"Looked at while matched: {REASONS[each]}" for each in FAMOUS},
    "staff.uphold.done": "Upheld by two members of staff",
    "feedback.found": "Platforms: found",
    "feedback.removed": "Platforms: removed",
    "feedback.blocked": "Platforms: blocked",
    "feedback.kept": "Platforms: kept after a look",
    "feedback.disputed": "Platforms: disputed",
    "lookups": "Questions to the hosted lookup",
}
"""Name of a count → what the public report calls it; other counts are not public."""

COUNTED: Final[Mapping[str, str]] = {
    **REPORTED,
    **{f"cases.{age}": f"Cases submitted: {age}" for age in Age},
    "items.held.image": "Pictures held",
    "items.held.video": "Videos held",
    "renewals": "Cases renewed",
    "vouched": "A helpline vouched",
    "lookups.matched": "Matches in the hosted lookup",
}
"""The same for the console, with what is not public."""
