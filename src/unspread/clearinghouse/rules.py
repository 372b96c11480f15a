"""What may be listed, how far a listing is believed, when it is suspended, when it ends.

Pure functions: values in, values out; days and seconds are arguments.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from unspread.errors import InputError, StateError
from unspread.model import (
    MATCH_RADIUS_BITS,
    MIN_PDQ_QUALITY,
    FeedbackKind,
    Fingerprint,
    Kind,
    Level,
    Part,
    State,
    one_bits,
)

MIN_ONE_BITS: Final = 120
MAX_ONE_BITS: Final = 128
"""A PDQ compares 256 coefficients with their median: 128 are larger, fewer where some equal it.
Of random 256-bit values 62 % fall outside."""

SAME_FRAME_BITS: Final = 16
"""Fingerprints of one item this close add nothing to each other."""

YEARS_LISTED: Final = 2
RENEWABLE_FROM_DAYS: Final = 90
"""A case can be renewed in its last 90 days; earlier it changes nothing."""

DISPUTES_TO_SUSPEND: Final = 2
VIRAL_ACCOUNTS: Final = 500
"""Accounts, over all platforms, with which a listing looks famous. No platform counts for more than
half of them, so that none does it alone. Decision 0056 derives this and the next."""
OLDER_BY_DAYS: Final = 2 * 365
"""Content this much older than the case may not be what the person came about."""


class HeldReason(StrEnum):
    """Why an item is kept back; what the person reads (docs/protocol/case.md)."""

    LOW_QUALITY = "low_quality"
    ONE_BITS = "one_bits_out_of_range"
    WELL_KNOWN = "well_known_content"
    BLANK = "blank"
    DUPLICATE = "duplicate_of_item"


class SuspendedBecause(StrEnum):
    """Why a listing is suspended, or why staff are asked to look while it goes on matching."""

    DISPUTES = "two_disputes"
    VIRAL = "very_many_hits"
    OLDER = "older_than_the_case"


class MalformedCaseError(InputError):
    """The submission cannot be taken as it is."""


class FinalStateError(StateError):
    """The item is withdrawn, expired or removed: nothing more can happen to it."""


FAMOUS: Final = (SuspendedBecause.VIRAL, SuspendedBecause.OLDER)
"""These ask whether anybody has looked; somebody who has looked answers them."""

WellKnown = Callable[[bytes], HeldReason | None]
"""Says whether a PDQ is within the radius of something well known, and what."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """What becomes of one item on arrival."""

    state: State
    level: Level
    reasons: tuple[HeldReason, ...]
    fingerprints: tuple[Fingerprint, ...]
    """What is stored: near copies within the item are left out."""


def refusal(fingerprint: Fingerprint, well_known: WellKnown) -> HeldReason | None:
    """Why a fingerprint must not be matched against, if anything."""
    if fingerprint.kind is not Kind.PDQ:
        return None
    # Blank pictures have few one-bits and low quality too; the plainest reason is given.
    known = well_known(fingerprint.value)
    if known is not None:
        return known
    if fingerprint.quality == 0:
        return HeldReason.BLANK
    if not MIN_ONE_BITS <= one_bits([fingerprint.value])[0] <= MAX_ONE_BITS:
        return HeldReason.ONE_BITS
    if fingerprint.quality is None or fingerprint.quality < MIN_PDQ_QUALITY:
        return HeldReason.LOW_QUALITY
    return None


def distance_bits(left: bytes, right: bytes) -> int:
    """In how many bits two values of one length differ."""
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).bit_count()


def collapsed(fingerprints: Sequence[Fingerprint]) -> tuple[Fingerprint, ...]:
    """The fingerprints without those that an earlier one of the same part nearly equals.

    Only neighbours in order are compared: frames come in order of time, and comparing 4 096 of
    them with each other would cost a second.
    """
    kept: list[Fingerprint] = []
    last: dict[Part, bytes] = {}
    seen: set[tuple[Kind, bytes]] = set()
    for each in fingerprints:
        key = (each.kind, each.value)
        if key in seen:
            continue
        seen.add(key)
        if each.kind is Kind.PDQ and each.part is Part.FRAME:
            before = last.get(each.part)
            if before is not None and distance_bits(before, each.value) <= SAME_FRAME_BITS:
                continue
            last[each.part] = each.value
        kept.append(each)
    return tuple(kept)


def assess(items: Sequence[Sequence[Fingerprint]], well_known: WellKnown) -> tuple[Assessed, ...]:
    """What becomes of each item of a case, in order.

    Single frames and windows that must not be matched are left out; the item is held if its whole
    picture is such a one, or nothing but digests would remain of what had pictures.
    """
    assessed: list[Assessed] = []
    for fingerprints in items:
        if not fingerprints:
            raise MalformedCaseError("every item has at least one fingerprint")
        assessed.append(_assess_item(fingerprints, well_known, assessed))
    return tuple(assessed)


def _assess_item(
    fingerprints: Sequence[Fingerprint], well_known: WellKnown, earlier: Sequence[Assessed]
) -> Assessed:
    reasons: list[HeldReason] = []
    usable: list[Fingerprint] = []
    whole_refused = False
    for each in fingerprints:
        reason = refusal(each, well_known)
        if reason is None:
            usable.append(each)
            continue
        if reason not in reasons:
            reasons.append(reason)
        whole_refused = whole_refused or each.part is Part.WHOLE
    had_pictures = any(each.kind is Kind.PDQ for each in fingerprints)
    has_pictures = any(each.kind is Kind.PDQ for each in usable)
    if whole_refused or (had_pictures and not has_pictures):
        return _held(reasons, fingerprints)
    kept = collapsed(usable)
    if any(other.state is State.LISTED and _same(kept, other.fingerprints) for other in earlier):
        return _held([HeldReason.DUPLICATE], kept)
    return Assessed(State.LISTED, Level.UNVERIFIED, (), kept)


def _held(reasons: Sequence[HeldReason], fingerprints: Sequence[Fingerprint]) -> Assessed:
    return Assessed(State.HELD, Level.QUARANTINED, tuple(reasons), tuple(fingerprints))


def _same(left: Iterable[Fingerprint], right: Iterable[Fingerprint]) -> bool:
    """Whether two items are one picture: by digest, or whole pictures within the radius."""
    others = list(right)
    for each in left:
        if each.part is not Part.WHOLE:
            continue
        for other in others:
            if each.kind is not other.kind or other.part is not Part.WHOLE:
                continue
            if each.value == other.value or (
                each.kind is Kind.PDQ
                and distance_bits(each.value, other.value) <= MATCH_RADIUS_BITS
            ):
                return True
    return False


@dataclass(frozen=True, slots=True)
class Said:
    """One partner's word on a listing, as the rules see it."""

    partner_id: str
    kind: FeedbackKind
    count: int = 1
    """Pieces of content."""
    accounts: int = 0
    """How many accounts posted it, or tried to, in all so far; 0 if not said."""
    oldest_day: int = 0
    """Day on which the oldest copy was posted; 0 if not said."""
    is_answered: bool = False
    """Staff upheld the listing after it was said: it asks for no review again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a listing is believed, and whether somebody has to look at it."""

    level: Level
    suspended: SuspendedBecause | None
    """Why it must not be matched until somebody has looked."""
    asked: SuspendedBecause | None = None
    """Why staff should look, while it goes on matching."""
    is_seen: bool = False
    """Somebody who can look, or who knows the person, stands by it."""


def standing(
    said: Sequence[Said], *, submitted_day: int, vouched: bool = False, upheld: bool = False
) -> Standing:
    """What partners' words amount to, in whatever order they came.

    A platform confirms by `removed`, which it sends after a look. `found` and `blocked` are what
    its machine did: they confirm nothing. `kept` for another reason than different content says
    nothing about the listing either; `disputed`, or `kept` because the content is not the
    listing's, disputes. A partner that said both counts with what it said last.
    """
    last: dict[str, FeedbackKind] = {}
    for each in said:
        if each.kind is FeedbackKind.REMOVED:
            last[each.partner_id] = FeedbackKind.REMOVED
        elif each.kind is FeedbackKind.DISPUTED:
            last[each.partner_id] = FeedbackKind.DISPUTED
    confirmed = sum(kind is FeedbackKind.REMOVED for kind in last.values())
    disputed = sum(kind is FeedbackKind.DISPUTED for kind in last.values())
    is_seen = vouched or confirmed > 0
    if disputed >= DISPUTES_TO_SUSPEND:
        return Standing(Level.DISPUTED, SuspendedBecause.DISPUTES, is_seen=is_seen)
    if vouched or confirmed >= 2:
        level = Level.CORROBORATED
    elif disputed:
        level = Level.DISPUTED
    else:
        level = Level.CONFIRMED if confirmed else Level.UNVERIFIED
    famous = _looks_famous([each for each in said if not each.is_answered], submitted_day)
    # Only what nobody stands by can be a prank on something famous. Otherwise whoever posted a
    # person's picture years ago could switch its protection off.
    if is_seen or upheld:
        return Standing(level, None, famous, is_seen)
    return Standing(level, famous)


def _looks_famous(said: Sequence[Said], submitted_day: int) -> SuspendedBecause | None:
    """Why a listing may be of something that everybody knows."""
    if any(0 < each.oldest_day < submitted_day - OLDER_BY_DAYS for each in said):
        return SuspendedBecause.OLDER
    accounts = _accounts(said).values()
    if sum(min(each, VIRAL_ACCOUNTS // 2) for each in accounts) >= VIRAL_ACCOUNTS:
        return SuspendedBecause.VIRAL
    return None


def _accounts(said: Iterable[Said]) -> dict[str, int]:
    """How many unrelated accounts each partner speaks of, as far as can be told.

    Where a platform does not say, posted copies stand for accounts. Refused uploads do not: one
    abuser repeats them at will, and would switch the protection off.
    """
    told: dict[str, int] = {}
    posted: dict[str, int] = {}
    for each in said:
        if each.accounts:
            told[each.partner_id] = max(told.get(each.partner_id, 0), each.accounts)
        elif each.kind is FeedbackKind.FOUND:
            posted[each.partner_id] = posted.get(each.partner_id, 0) + each.count
    return posted | told


def state_after(state: State, because: str, judged: Standing) -> tuple[State, str]:
    """The state of an item once its standing changed, and why it is suspended.

    Staff alone take a suspension back, but for one that asked whether anybody had looked: that is
    answered by the first who did.
    """
    if state is State.LISTED and judged.suspended is not None:
        return State.SUSPENDED, judged.suspended
    if state is State.SUSPENDED and because in FAMOUS:
        if judged.suspended is SuspendedBecause.DISPUTES:
            return state, judged.suspended
        if judged.is_seen:
            return State.LISTED, ""
    return state, because


MATCHED_WITHIN_DAYS: Final = 365


def is_over(expires_day: int, today: int, last_matched_day: int) -> bool:
    """Whether a case ends: its time is over and nothing of it was found for a year."""
    return today > expires_day and last_matched_day < today - MATCHED_WITHIN_DAYS


FINAL_STATES: Final = frozenset({State.WITHDRAWN, State.EXPIRED, State.REMOVED})


def expiry_day(submitted_day: int) -> int:
    """The day, counted from 1970, on which a case of that day ends: two years on."""
    return _years_later(submitted_day, YEARS_LISTED)


def renewed_expiry_day(expires_day: int, today: int) -> int:
    """When a case ends that is renewed today: two years from now in its last 90 days, else as
    before."""
    if today < expires_day - RENEWABLE_FROM_DAYS:
        return expires_day
    return max(expires_day, _years_later(today, YEARS_LISTED))


def _years_later(day: int, years: int) -> int:
    start = from_day(day)
    try:
        later = start.replace(year=start.year + years)
    except ValueError:  # 29 February
        later = start.replace(year=start.year + years, day=28)
    return to_day(later)


def to_day(value: date) -> int:
    """Days since 1970-01-01."""
    return value.toordinal() - date(1970, 1, 1).toordinal()


def from_day(day: int) -> date:
    """The date that many days after 1970-01-01."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + day)
