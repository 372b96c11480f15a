"""What the programmes' servers need of a hash list, and the rules they share. No I/O.

A *row* is one listing in its newest state. Rows are kept in the order in which their changes were
committed: `revision` grows strictly with every change, `changed_at` (whole seconds) never falls
with it. A client of these programmes remembers a time and asks what changed since, so one rule
carries everything: **an answer reaches only as far as the list is settled** (`Settled`), and
nothing is ever stamped at or before a settled second again. Otherwise a change that commits a
moment after an answer, with a stamp inside it, would never be seen by that client.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from unspread.errors import InputError, StateError
from unspread.model import (
    Age,
    Feedback,
    FeedbackKind,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Part,
    Reason,
    State,
)

CLEARINGHOUSE_MEMBER: Final = 1
"""Number of the clearinghouse itself among the members; partners follow."""

_Word = TypeVar("_Word", bound=StrEnum)

PUBLISHED_LEVELS: Final = frozenset(Level) - {Level.QUARANTINED}

AGREEMENT: Final = FeedbackKind.REMOVED
"""What a yes in these programmes means: somebody looked, agreed, and the content is not up."""

LISTING_IS_WRONG: Final = frozenset(
    {Reason.DIFFERENT_CONTENT, Reason.NOT_INTIMATE, Reason.WELL_KNOWN_CONTENT, Reason.OTHER}
)
"""Reasons that speak against the listing itself; the others only explain why content stayed."""


class ClockAheadError(InputError):
    """The client's clock or time zone runs ahead: it would skip whatever is listed meanwhile."""


class NotSettledError(StateError):
    """The question reaches into a second that is not over: ask again in one."""


class UnknownListingError(StateError):
    """No listing of that name is, or ever was, on the list that this partner may see."""


@dataclass(frozen=True, slots=True)
class Member:
    """A party of the programme, as other members see it."""

    number: int
    """1 is the clearinghouse."""
    name: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """The latest word of one member about one listing."""

    member: Member
    kind: FeedbackKind
    reason: Reason | None
    at: int
    """UTC, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Row:
    """One listing in its newest state, with its place in the order of changes."""

    listing: Listing
    """Its fingerprints may be gone some time after a withdrawal; see `windows`."""
    revision: int
    """1.., grows strictly with every change of any listing; unique."""
    changed_at: int
    """When the newest change was committed, seconds since 1970; never falls as revision grows."""
    listed_at: int
    """When it was first published, seconds since 1970."""
    windows: int = 0
    """How many of its PDQ cover a window; remembered when the fingerprints are gone."""
    opinions: tuple[Opinion, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """How far the list can be told without a later change falling inside."""

    at: int
    """Every change stamped at or before this second is visible, and no later one will be."""
    revision: int
    """The newest revision stamped at or before `at`; 0 when there is none."""


class ListingSource(Protocol):
    """A hash list, as the exchange views read and feed it. Called from worker threads."""

    def settled(self) -> Settled:
        """How far answers may reach now. Trails the clock by a second or two."""
        ...

    def rows(
        self, *, stamped_after: int, stamped_until: int, after_revision: int, limit: int
    ) -> Sequence[Row]:
        """Rows with `stamped_after < changed_at <= stamped_until` and `revision >
        after_revision`, by revision, at most `limit`."""
        ...

    def find(self, listing_id: ListingId) -> Row | None:
        """The row of one listing, if it was ever published."""
        ...

    def holders(
        self, values: Iterable[tuple[Kind, bytes]]
    ) -> Mapping[tuple[Kind, bytes], list[Row]]:
        """For each value, every row whose listing has it, whatever its state."""
        ...

    def members(self) -> Sequence[Member]:
        """The clearinghouse, then every partner."""
        ...

    def take_feedback(self, member: Member, feedback: Sequence[Feedback], source: str) -> None:
        """Record what a partner says. The same word about the same listing twice counts once.

        `source` says how it came: `ncmec`, `stopncii` or `threatexchange`.
        """
        ...

    def take_submission(
        self, member: Member, media: Media, fingerprints: tuple[Fingerprint, ...]
    ) -> None:
        """List an item on a partner's word, unverified, as a case of that partner.

        Raises:
            StateError: if this clearinghouse takes none from partners.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What one key may see and do."""

    ages: frozenset[Age] = frozenset(Age)
    media: frozenset[Media] = frozenset(Media)
    levels: frozenset[Level] = PUBLISHED_LEVELS
    windows: bool = False
    """Whether fingerprints of parts of pictures are given as records of their own. A match of one
    says less than a match of the whole, and the programmes' clients cannot tell them apart."""
    may_read: bool = True
    may_give_feedback: bool = True
    may_submit: bool = False

    def __post_init__(self) -> None:
        if Level.QUARANTINED in self.levels:
            raise InputError("a quarantined item is not published to anyone")

    def to_text(self) -> str:
        """Like `read feedback ages=minor levels=confirmed windows=yes`, with defaults left out."""
        words = [
            word
            for word, may in (
                ("read", self.may_read),
                ("feedback", self.may_give_feedback),
                ("submit", self.may_submit),
            )
            if may
        ]
        for name, chosen, all_of in (
            ("ages", self.ages, frozenset(Age)),
            ("media", self.media, frozenset(Media)),
            ("levels", self.levels, PUBLISHED_LEVELS),
        ):
            if chosen != all_of:
                words.append(f"{name}={','.join(sorted(chosen))}")
        return " ".join([*words, *(["windows=yes"] if self.windows else [])])

    @classmethod
    def from_text(cls, text: str) -> "Scope":
        """What `to_text` writes so, in any order.

        Raises:
            InputError: if it names something that does not exist.
        """
        words = text.split()
        limits = dict(word.split("=", 1) for word in words if "=" in word)
        rights = {word for word in words if "=" not in word}
        named = {"ages", "media", "levels", "windows"}
        if rights - {"read", "feedback", "submit"} or set(limits) - named:
            raise InputError("a scope is made of: read feedback submit ages= media= levels=")
        try:
            return cls(
                _chosen(Age, limits.get("ages"), frozenset(Age)),
                _chosen(Media, limits.get("media"), frozenset(Media)),
                _chosen(Level, limits.get("levels"), PUBLISHED_LEVELS),
                limits.get("windows") == "yes",
                "read" in rights,
                "feedback" in rights,
                "submit" in rights,
            )
        except ValueError:
            raise InputError("a scope names an age, medium or level that does not exist") from None

    def covers(self, listing: Listing) -> bool:
        """Whether a holder is ever told of this listing: by what cannot change of it."""
        return listing.age in self.ages and listing.media in self.media

    def shows(self, listing: Listing) -> bool:
        """Whether a holder may match it now; else it is a deletion to them."""
        return self.covers(listing) and listing.is_active and listing.level in self.levels


def _chosen(words: type[_Word], text: str | None, all_of: frozenset[_Word]) -> frozenset[_Word]:
    return all_of if text is None else frozenset(words(each) for each in text.split(","))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, after the key was checked."""

    member: Member
    scope: Scope = field(default_factory=Scope)


def picture_fingerprints(listing: Listing, *, windows: bool) -> list[Fingerprint]:
    """A picture's PDQ, the whole first, then its windows in the order they were submitted."""
    of_kind = [each for each in listing.fingerprints if each.kind is Kind.PDQ]
    whole = [each for each in of_kind if each.part is Part.WHOLE]
    return whole[:1] + ([each for each in of_kind if each.part is Part.WINDOW] if windows else [])


def frames(listing: Listing) -> list[Fingerprint]:
    """A video's frames, in order of time."""
    return [each for each in listing.fingerprints if each.part is Part.FRAME]


def digest(listing: Listing, kind: Kind) -> Fingerprint | None:
    """The digest of the whole file, if there is one."""
    return next((each for each in listing.fingerprints if each.kind is kind), None)


def vote(reason: Reason) -> FeedbackKind:
    """How a "no" with this reason counts: against the listing, or only as an explanation."""
    return FeedbackKind.DISPUTED if reason in LISTING_IS_WRONG else FeedbackKind.KEPT


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """One fingerprint value, over all listings that have it: what a list keyed by value tells."""

    kind: Kind
    media: Media
    value: bytes
    changed_at: int
    shown: tuple[Row, ...]
    """Listings that the caller may match; empty when the value is to be forgotten."""
    was: State
    """State of the newest listing that has it."""


def value_records(
    source: ListingSource,
    caller: Caller,
    rows: Iterable[Row],
    *,
    told_since: int,
    picture_md5: bool = False,
) -> list[ValueRecord]:
    """The values that rows have, each once, in the order of their newest change.

    Two people may have listed the same picture: a value is active as long as one of them has not
    withdrawn. A value to be forgotten is told only to a caller who may have it, that is when it
    was listed at or before `told_since`: nobody learns a fingerprint from its withdrawal.
    """
    changed: dict[tuple[Kind, bytes], tuple[Media, int]] = {}
    for row in rows:
        if not caller.scope.covers(row.listing):
            continue
        media = row.listing.media
        wanted = (
            picture_fingerprints(row.listing, windows=caller.scope.windows)
            if media is Media.IMAGE
            else []
        )
        if media is Media.VIDEO or picture_md5:
            md5 = digest(row.listing, Kind.MD5)
            wanted += [] if md5 is None else [md5]
        for each in wanted:
            changed.pop((each.kind, each.value), None)
            changed[each.kind, each.value] = (media, row.changed_at)
    holders = source.holders(changed)
    records = []
    for (kind, value), (media, changed_at) in changed.items():
        having = [each for each in holders[kind, value] if caller.scope.covers(each.listing)]
        shown = tuple(each for each in having if caller.scope.shows(each.listing))
        newest = max(having, key=lambda each: each.revision, default=None)
        if newest is None:
            continue
        if shown or any(each.listed_at <= told_since for each in having):
            was = newest.listing.state
            records.append(ValueRecord(kind, media, value, changed_at, shown, was))
    return records


def highest_level(rows: Iterable[Row]) -> Level:
    """How far a value is corroborated by the best of its listings; disputed only if all are."""
    order = [Level.DISPUTED, Level.UNVERIFIED, Level.CONFIRMED, Level.CORROBORATED]
    return max((row.listing.level for row in rows), key=order.index)
