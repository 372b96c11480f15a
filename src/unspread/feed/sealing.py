"""Turns ranges of the log into segments for one partner: what it is given, sealed to it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from unspread.crypto import sha256
from unspread.errors import StateError
from unspread.feed.blobs import BlobStore
from unspread.feed.latest import SegmentLine, check_partner_id
from unspread.feed.records import (
    PUBLIC_KINDS,
    AddRecord,
    ChangeRecord,
    Entry,
    EntryKind,
    Surface,
)
from unspread.feed.segments import (
    MAX_SEGMENT_BYTES,
    SegmentContext,
    Withheld,
    check_payload,
    continues_run,
    late,
    opened,
    padding_run,
    subtree,
    withheld,
)
from unspread.model import Level, ListingId, State
from unspread.transparency.proof import inclusion_proof
from unspread.transparency.tiles import TileReader

BATCH: Final = 1 << 12
"""Entries that are held in memory at once, besides a segment's own."""
_MOST_PLAINTEXT: Final = MAX_SEGMENT_BYTES - 64 * 1024
_MOST_SHARED_BYTES: Final = 64 * 1024 * 1024
_FINAL_STATES: Final = frozenset({State.WITHDRAWN, State.EXPIRED, State.REMOVED})


class MissingEntriesError(StateError):
    """The database does not hold every entry that it says are committed."""


class EntrySource(Protocol):
    """The committed entries of the log, as the clearinghouse's database keeps them."""

    def entries(self, start: int, stop: int) -> Iterable[Entry]:
        """Entries start..stop-1, in order, all of them; those that were erased as `erased`."""


class Canaries(Protocol):
    """Who gets which canary; `canaries.CanaryBook` is one."""

    def is_given(self, partner_id: str, index: int) -> bool:
        """Whether a partner gets the canary at an index of the log."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a partner gets: listings for one of its surfaces, in one of its countries, at a level.

    Changes always reach every partner, and a listing whose level comes into scope comes then.
    """

    surfaces: frozenset[Surface] = frozenset(Surface)
    countries: frozenset[str] = frozenset()
    """ISO 3166-1 alpha-2; none: all."""
    levels: frozenset[Level] = frozenset(Level) - {Level.QUARANTINED}

    def covers(self, record: AddRecord, level: Level) -> bool:
        """Whether the listing is for this partner while it has this level."""
        terms = record.terms
        return (
            level in self.levels
            and not terms.surfaces.isdisjoint(self.surfaces)
            and not (
                terms.countries and self.countries and terms.countries.isdisjoint(self.countries)
            )
        )


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True)
class FeedPartner:
    """A partner that the feed is sealed to."""

    partner_id: str
    """1 to 64 small letters, digits and hyphens; stands in URLs."""
    public_key: bytes
    """`OpeningKey.public`."""
    scope: Scope = EVERYTHING

    def __post_init__(self) -> None:
        check_partner_id(self.partner_id)


class Dead:
    """Which of the first entries a newcomer has no use for: a byte for each, and its changes."""

    def __init__(self, source: EntrySource, stop: int) -> None:
        """Read the first `stop` entries once."""
        self.stop = stop
        self._flags = bytearray(stop)
        last_change: dict[int, int] = {}
        for index, entry in enumerate(read(source, 0, stop)):
            if entry.kind is EntryKind.CHANGE:
                change = ChangeRecord.from_bytes(entry.payload)
                before = last_change.get(change.listing_id)
                if before is not None:
                    self._flags[before] = 1
                last_change[change.listing_id] = index
                if change.state in _FINAL_STATES:
                    self._flags[change.listing_id] = 1
                self._flags[index] = self._flags[change.listing_id]
            elif entry.kind not in {EntryKind.ADD, EntryKind.CANARY}:
                self._flags[index] = 1

    def __contains__(self, index: int) -> bool:
        return index < self.stop and self._flags[index] == 1


def read(source: EntrySource, start: int, stop: int) -> Iterator[Entry]:
    """Entries start..stop-1, in batches, checked.

    Raises:
        MissingEntriesError: if there are not as many.
    """
    for first in range(start, stop, BATCH):
        last = min(first + BATCH, stop)
        entries = list(source.entries(first, last))
        if len(entries) != last - first:
            raise MissingEntriesError("the database does not hold every entry")
        for entry in entries:
            check_payload(entry)
        yield from entries


class Sealer:
    """Seals ranges of one log; `tree` is the log as it stands."""

    def __init__(
        self, origin: str, public: BlobStore, source: EntrySource, canaries: Canaries | None
    ) -> None:
        self._origin = origin
        self._public = public
        self._source = source
        self._canaries = canaries
        self._shared: dict[tuple[Scope, int, int], bytes] = {}
        self._room_bytes = 0

    def begin(self, partners: int) -> None:
        """A publication begins: what was read for the one before may have been erased since."""
        self._shared = {}
        self._room_bytes = _MOST_SHARED_BYTES if partners > 1 else 0

    def subtree(
        self,
        partner: FeedPartner,
        tree: TileReader,
        place: tuple[int, int],
        generation: int = 0,
        dead: Dead | None = None,
    ) -> list[SegmentLine]:
        """The complete subtree at `place` (level, index): one segment, or more if it is large."""
        level, index = place
        start, stop = index << level, (index + 1) << level
        plaintext = self._plaintext(partner, tree, start, stop, dead)
        if len(plaintext) > _MOST_PLAINTEXT and level:
            return [
                line
                for half in (2 * index, 2 * index + 1)
                for line in self.subtree(partner, tree, (level - 1, half), generation, dead)
            ]
        context = SegmentContext(self._origin, partner.partner_id, start, stop, generation)
        return [self._put(partner, context, plaintext, tree.node(level, index).hex())]

    def delta(
        self, partner: FeedPartner, tree: TileReader, start: int, stop: int
    ) -> list[SegmentLine]:
        """Any range as one segment; none if it is too large."""
        plaintext = self._plaintext(partner, tree, start, stop, None)
        if len(plaintext) > _MOST_PLAINTEXT:
            return []
        context = SegmentContext(self._origin, partner.partner_id, start, stop, 0)
        return [self._put(partner, context, plaintext)]

    def _put(
        self, partner: FeedPartner, context: SegmentContext, plaintext: bytes, root: str = ""
    ) -> SegmentLine:
        data = context.seal(plaintext, partner.public_key)
        line = SegmentLine(
            context.start, context.stop, context.generation, len(data), sha256(data).hex(), root
        )
        self._public.put(line.path(partner.partner_id), data)
        return line

    def _plaintext(
        self, partner: FeedPartner, tree: TileReader, start: int, stop: int, dead: Dead | None
    ) -> bytes:
        # Partners of one scope get the same records: hundreds of them cost the database one read.
        wanted = (partner.scope, start, stop)
        if dead is None and wanted in self._shared:
            return self._shared[wanted]
        parts: list[bytes] = []
        run: list[Entry] = []
        dead_from: int | None = None
        is_shared = dead is None
        for index, entry in enumerate(read(self._source, start, stop), start):
            if dead is not None and index in dead:
                dead_from = index if dead_from is None else dead_from
                continue
            if dead_from is not None:
                parts += _collapsed(tree, dead_from, index)
                dead_from = None
            is_shared = is_shared and entry.kind is not EntryKind.CANARY
            if run and not (entry.kind is EntryKind.PADDING and continues_run(entry, run[-1])):
                parts.append(padding_run(run))
                run = []
            if entry.kind is EntryKind.PADDING:
                run.append(entry)
            else:
                parts += self._records(partner, tree, stop, index, entry)
        if dead_from is not None:
            parts += _collapsed(tree, dead_from, stop)
        if run:
            parts.append(padding_run(run))
        plaintext = b"".join(parts)
        if is_shared and len(plaintext) <= self._room_bytes:
            self._shared[wanted] = plaintext
            self._room_bytes -= len(plaintext)
        return plaintext

    def _records(
        self, partner: FeedPartner, tree: TileReader, stop: int, index: int, entry: Entry
    ) -> list[bytes]:
        kind = entry.kind
        if kind is EntryKind.ERASED:
            return [withheld(entry, Withheld.ERASED)]
        if kind is EntryKind.CANARY and (
            self._canaries is None or not self._canaries.is_given(partner.partner_id, index)
        ):
            return [withheld(entry, Withheld.SYNTHETIC)]
        if partner.scope is not EVERYTHING and kind not in PUBLIC_KINDS:
            if kind is EntryKind.CHANGE:
                return [*self._late(partner, tree, stop, entry), opened(entry)]
            record = AddRecord.from_bytes(entry.payload)
            if not partner.scope.covers(record, record.level):
                return [withheld(entry, Withheld.SCOPE)]
        return [opened(entry)]

    def _late(self, partner: FeedPartner, tree: TileReader, stop: int, entry: Entry) -> list[bytes]:
        change = ChangeRecord.from_bytes(entry.payload)
        if change.state in _FINAL_STATES:
            return []
        listing_id = change.listing_id
        (listing,) = read(self._source, listing_id, listing_id + 1)
        if listing.kind is not EntryKind.ADD:
            return []
        record = AddRecord.from_bytes(listing.payload)
        if partner.scope.covers(record, record.level) or not partner.scope.covers(
            record, change.level
        ):
            return []
        proof = inclusion_proof(tree.node, listing_id, stop)
        return [late(ListingId(listing_id), listing, proof)]


def _collapsed(tree: TileReader, start: int, stop: int) -> Iterator[bytes]:
    """The records of the fewest complete subtrees that make up start..stop-1."""
    while start < stop:
        fits = (stop - start).bit_length() - 1
        level = min(fits, (start & -start).bit_length() - 1) if start else fits
        yield subtree(level, tree.node(level, start >> level))
        start += 1 << level
