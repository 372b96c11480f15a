"""Turns ranges of the log into segments for one partner: what it is given, sealed to it."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from unspread.crypto import sha256
from unspread.errors import InputError, StateError
from unspread.feed.blobs import BlobStore
from unspread.feed.latest import SegmentLine, check_partner_id
from unspread.feed.records import (
    PUBLIC_KINDS,
    AddRecord,
    ChangeRecord,
    Entry,
    EntryKind,
    SeedRecord,
    Surface,
)
from unspread.feed.segments import (
    MAX_LEVEL,
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
_MOST_WAITING_BYTES: Final = 24 * 1024 * 1024
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

    def __post_init__(self) -> None:
        if not self.surfaces or not self.levels:
            raise InputError("a scope has at least one surface and one level")
        if len(self.countries) > 255 or any(
            len(code) != 2 or not code.isascii() or not (code.isalpha() and code.isupper())
            for code in self.countries
        ):
            raise InputError("countries are two capital letters: ISO 3166-1")

    def to_text(self) -> str:
        """One line, the same for equal scopes."""
        surfaces = ",".join(each.name.lower() for each in sorted(self.surfaces))
        levels = ",".join(each for each in Level if each in self.levels)
        countries = ",".join(sorted(self.countries)) or "all"
        return f"surfaces={surfaces} countries={countries} levels={levels}"

    @classmethod
    def from_text(cls, text: str) -> "Scope":
        """The scope that `to_text` writes so.

        Raises:
            InputError: for anything else.
        """
        fields = dict(part.split("=", 1) for part in text.split(" ") if "=" in part)
        try:
            scope = cls.from_words(
                fields["surfaces"].split(","),
                [] if fields["countries"] == "all" else fields["countries"].split(","),
                fields["levels"].split(","),
            )
        except KeyError:
            raise InputError("a scope is like surfaces=public countries=all levels=…") from None
        if scope.to_text() != text:
            raise InputError("a scope is not in its canonical form")
        return EVERYTHING if scope == EVERYTHING else scope

    @classmethod
    def from_words(
        cls, surfaces: Collection[str], countries: Collection[str], levels: Collection[str]
    ) -> "Scope":
        """The scope in words; what is left empty is not limited.

        Raises:
            InputError: naming what is not known.
        """
        known = {each.name.lower(): each for each in Surface}
        for word in surfaces:
            if word not in known:
                raise InputError(f"{word} is no surface: they are {', '.join(known)}")
        for word in levels:
            if word not in set(Level):
                raise InputError(f"{word} is no level: they are {', '.join(Level)}")
        return cls(
            frozenset(known[word] for word in surfaces) or EVERYTHING.surfaces,
            frozenset(countries),
            frozenset(Level(word) for word in levels) or EVERYTHING.levels,
        )

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
    """Which of the first entries a newcomer has no use for: a byte for each, and last changes."""

    def __init__(self) -> None:
        self.stop = 0
        """Entries read so far."""
        self._flags = bytearray()
        self._counts: list[int] = []
        self._last_change: dict[int, int] = {}
        self._canaries: dict[int, list[int]] = {}
        self._newest_epoch = -1

    def extend(self, source: EntrySource, stop: int) -> None:
        """Read on, up to entry `stop`."""
        self._flags.extend(bytes(stop - self.stop))
        self._counts.extend([0] * ((stop - 1 >> MAX_LEVEL) + 1 - len(self._counts)))
        for index, entry in enumerate(read(source, self.stop, stop), self.stop):
            if entry.kind is EntryKind.SEED:
                self._read_seed(index, SeedRecord.from_bytes(entry.payload))
            elif entry.kind is EntryKind.CANARY:
                self._canaries[self._newest_epoch].append(index)
            elif entry.kind is EntryKind.CHANGE:
                self._read_change(index, ChangeRecord.from_bytes(entry.payload))
            elif entry.kind not in {EntryKind.ADD, EntryKind.PADDING}:
                self._mark(index)
        self.stop = stop

    def _read_seed(self, index: int, seed: SeedRecord) -> None:
        # What a platform checks a reveal by stays until then.
        if not seed.is_revealed:
            self._newest_epoch = seed.epoch
            self._canaries[seed.epoch] = [index]
            return
        for each in (*self._canaries.pop(seed.epoch, ()), index):
            self._mark(each)

    def _read_change(self, index: int, change: ChangeRecord) -> None:
        before = self._last_change.pop(change.listing_id, None)
        if before is not None:
            self._mark(before)
        if change.state in _FINAL_STATES:
            self._mark(change.listing_id)
        if self._flags[change.listing_id]:
            self._mark(index)
        else:
            self._last_change[change.listing_id] = index

    def _mark(self, index: int) -> None:
        if not self._flags[index]:
            self._flags[index] = 1
            self._counts[index >> MAX_LEVEL] += 1

    def count(self, block: int) -> int:
        """How many entries of a block are dead."""
        return self._counts[block]

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
    """Seals ranges of one log; `tree` is the log as it stands.

    What was sealed may be named in a list once `settle` has returned.
    """

    def __init__(
        self, origin: str, public: BlobStore, source: EntrySource, canaries: Canaries | None
    ) -> None:
        self._origin = origin
        self._public = public
        self._source = source
        self._canaries = canaries
        self._shared: dict[tuple[Scope, int, int, bool], list[bytes | tuple[int, Entry]]] = {}
        self._room_bytes = 0
        self._waiting: list[tuple[str, bytes]] = []
        self._waiting_bytes = 0

    def begin(self, partners: int) -> None:
        """A publication begins: what was read for the one before may have been erased since."""
        self._shared = {}
        # Left over if the one before failed.
        self._waiting, self._waiting_bytes = [], 0
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
        self._waiting.append((line.path(partner.partner_id), data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self.settle()
        return line

    def settle(self) -> None:
        """Write what was sealed. Together: to sync each file costs more than to seal it."""
        self._public.put_many(self._waiting)
        self._waiting, self._waiting_bytes = [], 0

    def _plaintext(
        self, partner: FeedPartner, tree: TileReader, start: int, stop: int, dead: Dead | None
    ) -> bytes:
        # Partners of one scope get the same records but for canaries: hundreds of them cost the
        # database one read.
        wanted = (partner.scope, start, stop, dead is None)
        parts = self._shared.get(wanted)
        if parts is None:
            parts = list(self._parts(partner.scope, tree, start, stop, dead))
            length = sum(len(each) for each in parts if isinstance(each, bytes))
            if length <= self._room_bytes:
                self._shared[wanted] = parts
                self._room_bytes -= length
        return b"".join(
            each if isinstance(each, bytes) else self._canary(partner, *each) for each in parts
        )

    def _canary(self, partner: FeedPartner, index: int, entry: Entry) -> bytes:
        if self._canaries is None or not self._canaries.is_given(partner.partner_id, index):
            return withheld(entry, Withheld.SYNTHETIC)
        return self._listing(partner.scope, entry)

    def _parts(
        self, scope: Scope, tree: TileReader, start: int, stop: int, dead: Dead | None
    ) -> Iterator["bytes | tuple[int, Entry]"]:
        """The records of a range, joined; canaries with their indexes, as each partner's differ."""
        records: list[bytes] = []
        idle: list[tuple[int, Entry]] = []
        for index, entry in enumerate(read(self._source, start, stop), start):
            if entry.kind is EntryKind.PADDING or (dead is not None and index in dead):
                idle.append((index, entry))
                continue
            records += _idle_records(tree, idle, may_collapse=dead is not None)
            idle = []
            if entry.kind is EntryKind.CANARY:
                yield b"".join(records)
                yield index, entry
                records = []
            else:
                records += self._records(scope, tree, stop, entry)
        records += _idle_records(tree, idle, may_collapse=dead is not None)
        yield b"".join(records)

    def _records(self, scope: Scope, tree: TileReader, stop: int, entry: Entry) -> list[bytes]:
        if entry.kind is EntryKind.ERASED:
            return [withheld(entry, Withheld.ERASED)]
        if scope is EVERYTHING or entry.kind in PUBLIC_KINDS:
            return [opened(entry)]
        if entry.kind is EntryKind.CHANGE:
            return [*self._late(scope, tree, stop, entry), opened(entry)]
        return [self._listing(scope, entry)]

    def _listing(self, scope: Scope, entry: Entry) -> bytes:
        if scope is not EVERYTHING:
            record = AddRecord.from_bytes(entry.payload)
            if not scope.covers(record, record.level):
                return withheld(entry, Withheld.SCOPE)
        return opened(entry)

    def _late(self, scope: Scope, tree: TileReader, stop: int, entry: Entry) -> list[bytes]:
        change = ChangeRecord.from_bytes(entry.payload)
        if change.state in _FINAL_STATES:
            return []
        listing_id = change.listing_id
        (listing,) = read(self._source, listing_id, listing_id + 1)
        if listing.kind is not EntryKind.ADD:
            return []
        record = AddRecord.from_bytes(listing.payload)
        if scope.covers(record, record.level) or not scope.covers(record, change.level):
            return []
        proof = inclusion_proof(tree.node, listing_id, stop)
        return [late(ListingId(listing_id), listing, proof)]


def _idle_records(
    tree: TileReader, entries: Sequence[tuple[int, Entry]], *, may_collapse: bool
) -> Iterator[bytes]:
    """The fewest records for neighbouring entries that are padding, or dead in a snapshot."""
    if not entries:
        return
    stretches = list(_stretches(entries))
    start, stop = entries[0][0], entries[-1][0] + 1
    if may_collapse and sum(1 for _ in _subtrees(start, stop)) <= len(stretches):
        yield from _collapsed(tree, start, stop)
        return
    for first, run in stretches:
        if run[0].kind is EntryKind.PADDING:
            yield padding_run(run)
        else:
            yield from _collapsed(tree, first, first + len(run))


def _stretches(entries: Iterable[tuple[int, Entry]]) -> Iterator[tuple[int, list[Entry]]]:
    """Runs of padding of one seed, and of dead entries, each with the index of its first."""
    first, run = 0, list[Entry]()
    for index, entry in entries:
        is_padding = entry.kind is EntryKind.PADDING
        if run and (
            is_padding is not (run[-1].kind is EntryKind.PADDING)
            or (is_padding and not continues_run(entry, run[-1]))
        ):
            yield first, run
            run = []
        if not run:
            first = index
        run.append(entry)
    if run:
        yield first, run


def _subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Level and index of the fewest complete subtrees that make up start..stop-1."""
    while start < stop:
        fits = (stop - start).bit_length() - 1
        level = min(fits, (start & -start).bit_length() - 1) if start else fits
        yield level, start >> level
        start += 1 << level


def _collapsed(tree: TileReader, start: int, stop: int) -> Iterator[bytes]:
    """The records of start..stop-1 without content."""
    for level, index in _subtrees(start, stop):
        yield subtree(level, tree.node(level, index))
