"""What uploads are matched against: every active listing of every list, in memory.

A row id carries all that a match must say without touching the database:

    list number (7 bits) | level (3) | media (1) | is a window (1) | listing id (40)

All fingerprints of a listing share it, so a listing leaves the bank without anybody knowing what
its fingerprints were. One thread at a time changes the bank; any may ask it.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.score import are_two_parts, are_varied
from unspread.match import FrozenIndex, Index, IndexInfo
from unspread.model import MIN_PDQ_QUALITY, Kind, Level, Listing, ListingId, Media, Part
from unspread.platform_kit.digests import KEY_BYTES, DigestTable, FrozenTable
from unspread.platform_kit.packing import Packed, pack, values_of
from unspread.platform_kit.policy import Match
from unspread.platform_kit.settings import ListSettings

_LEVELS: Final = tuple(Level)
_MEDIA: Final = tuple(Media)
_DIGESTS: Final = (Kind.SHA256, Kind.MD5)
_INDEX: Final = "index"
_ID_BITS: Final = 40
_WINDOW_SHIFT: Final = _ID_BITS
_MEDIA_SHIFT: Final = _WINDOW_SHIFT + 1
_LEVEL_SHIFT: Final = _MEDIA_SHIFT + 1
_LIST_SHIFT: Final = _LEVEL_SHIFT + 3
_ID_MASK: Final = (1 << _ID_BITS) - 1
_OWNER_MASK: Final = ~((1 << _LIST_SHIFT) - 1) | _ID_MASK
"""The bits of a row id that name the list and the listing."""
_BLOCK_LISTINGS: Final = 4096
_WAITING_ROWS: Final = 16_384

WIDENED: Final = "widened"
"""Begins the variants that guess what a frame was before it was cropped."""
TRIMMED: Final = "trimmed"
"""Begins the variants of a rectangle that was cut out of a picture: without its border, or a block
of a page."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One fingerprint of what is scanned, and how it was come by."""

    kind: Kind
    value: bytes
    variant: str = "original"
    at_seconds: float | None = None
    part: Part = Part.WHOLE
    frame: int = 0
    """Which frame of a video, 0.."""
    turn: int | None = None
    """Which of `pdq.ORIENTATIONS`; None: not known."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of some listings: pdq words and digests, each with its row id."""

    ids: NDArray[np.int64]
    """(n,)"""
    words: NDArray[np.uint64]
    """(n, 4)"""
    digests: Mapping[Kind, Sequence[tuple[bytes, int]]]


def blocks_of(listings: Iterable[Packed]) -> Iterator[Rows]:
    """The rows of very many listings, some thousand listings at a time."""
    waiting = iter(listings)
    while block := list(islice(waiting, _BLOCK_LISTINGS)):
        yield _rows_of(block)


def rows_of(listings: Iterable[tuple[int, Listing]]) -> Rows:
    """The rows of (list number, listing); listings that are not active have none."""
    return _rows_of(
        Packed(number, each.listing_id, each.level, each.media, pack(each.fingerprints))
        for number, each in listings
        if each.is_active
    )


def _rows_of(listings: Iterable[Packed]) -> Rows:
    ids = array("q")
    values = bytearray()
    digests: dict[Kind, list[tuple[bytes, int]]] = {Kind.SHA256: [], Kind.MD5: []}
    for listing in listings:
        row_id = _row_id(listing.list_number, listing.level, listing.media, listing.listing_id)
        for kind, part, quality, value in values_of(listing.fingerprints):
            if kind is not Kind.PDQ:
                digests[kind].append((value, row_id))
            elif quality >= MIN_PDQ_QUALITY:
                ids.append(row_id | (part is Part.WINDOW) << _WINDOW_SHIFT)
                values += value
    words = np.frombuffer(values, "<u8").reshape(-1, 4).astype(np.uint64, copy=False)
    return Rows(np.frombuffer(ids, np.int64), words, digests)


def _row_id(number: int, level: Level, media: Media, listing_id: int) -> int:
    return (
        number << _LIST_SHIFT
        | _LEVELS.index(level) << _LEVEL_SHIFT
        | _MEDIA.index(media) << _MEDIA_SHIFT
        | listing_id
    )


def _row_ids_of(owner: int) -> Iterator[int]:
    """All row ids that a listing may have."""
    for level in range(len(_LEVELS)):
        for media in range(len(_MEDIA)):
            row_id = owner | level << _LEVEL_SHIFT | media << _MEDIA_SHIFT
            yield from (row_id, row_id | 1 << _WINDOW_SHIFT)


class _Digests:
    """Digests of very many listings, on their way into tables."""

    def __init__(self) -> None:
        self._columns = {kind: (bytearray(), array("q")) for kind in _DIGESTS}

    def gathered_from(
        self, rows: Iterable[Rows]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
        """The perceptual part of rows, one block at a time; their digests stay here."""
        for block in rows:
            for kind, pairs in block.digests.items():
                keys, ids = self._columns[kind]
                keys += b"".join(key[:KEY_BYTES] for key, _ in pairs)
                ids.extend(row_id for _, row_id in pairs)
            yield block.ids, block.words

    def tables(self) -> Iterator[tuple[Kind, DigestTable]]:
        """A table for each kind, one at a time; what was gathered is used up."""
        while self._columns:
            kind, (keys, ids) = self._columns.popitem()
            yield kind, DigestTable.build(keys, np.frombuffer(ids, np.int64), _OWNER_MASK)


class SavedBank(Protocol):
    """What a snapshot can be written of."""

    @property
    def sequence(self) -> int:
        """Up to which change of the store it has everything."""

    def save(self, directory: Path) -> None:
        """Write it into a new directory, for `Bank.open`."""


@dataclass(frozen=True, slots=True)
class UnbuiltBank:
    """The bank of all `rows`, saved without being in memory as a whole."""

    rows: Iterable[Rows]
    sequence: int

    def save(self, directory: Path) -> None:
        """Write it into a new directory, for `Bank.open`."""
        directory.mkdir(parents=True)
        digests = _Digests()
        Index.write(directory / _INDEX, digests.gathered_from(self.rows))
        for kind, table in digests.tables():
            table.save(directory / kind.value)


@dataclass(frozen=True, slots=True)
class FrozenBank:
    """What `Bank.frozen` gives."""

    sequence: int
    _index: FrozenIndex
    _digests: Mapping[Kind, FrozenTable]

    def save(self, directory: Path) -> None:
        """Write it into a new directory, for `Bank.open`."""
        directory.mkdir(parents=True)
        self._index.save(directory / _INDEX)
        for kind, table in self._digests.items():
            table.save(directory / kind.value)


class Bank:
    """All active listings of all lists, ready to be matched."""

    def __init__(
        self, names: Mapping[int, str], rows: Iterable[Rows] = (), sequence: int = 0
    ) -> None:
        """A bank of all `rows`, of which one block at a time is held.

        Args:
            names: of the lists, by number.
            sequence: of the newest change in the store that `rows` contain.
        """
        self.sequence = sequence
        """Up to which change of the store this bank has everything."""
        self._names = dict(names)
        self.version = 0
        """Grows with every change."""
        self.changes_since_save = 0
        self.erased_since_save = False
        """Whether a listing has ended that the last snapshot may still hold."""
        self.is_in_file = False
        """Whether it was opened from a snapshot: what has come since waits for the next one."""
        digests = _Digests()
        self._index = Index.build_from(digests.gathered_from(rows))
        self._digests = dict(digests.tables())

    def frozen(self) -> FrozenBank:
        """The bank of this moment, to be saved while it changes on."""
        tables = {kind: table.frozen() for kind, table in self._digests.items()}
        return FrozenBank(self.sequence, self._index.frozen(), tables)

    def give_back(self) -> None:
        """Let the system have the memory of a snapshot that another takes the place of."""
        self._index.give_back()

    @property
    def waits_long(self) -> bool:
        """Whether a bank in a file has so much beside it that another should be written.

        What waits costs every query a little (16 000 fingerprints: 2 µs), and memory.
        """
        waiting = max(self.changes_since_save, self._index.info().waiting)
        return self.is_in_file and waiting >= max(_WAITING_ROWS, len(self) // 32)

    @classmethod
    def open(cls, directory: Path, names: Mapping[int, str], sequence: int) -> "Bank":
        """The bank in a snapshot: its pages are shared with others who opened it.

        Raises:
            SnapshotError, OSError, ValueError: if it is not whole.
        """
        bank = cls(names, sequence=sequence)
        bank._index = Index.open(directory / _INDEX, rebuilds=False)
        bank._digests = {
            kind: DigestTable.open(directory / kind.value, _OWNER_MASK) for kind in _DIGESTS
        }
        bank.is_in_file = True
        return bank

    def name_lists(self, names: Mapping[int, str]) -> None:
        """Learn of new lists."""
        self._names |= names

    def __len__(self) -> int:
        """Perceptual fingerprints that are matched."""
        return len(self._index)

    def info(self) -> IndexInfo:
        """The state of the index, for operators."""
        return self._index.info()

    def take(self, listings: Sequence[tuple[int, Listing, bool]]) -> None:
        """Put listings as they are in the place of whatever they were; the next query sees it.

        Args:
            listings: (list number, listing, whether it may be in the bank already); each once.
        """
        owners = [
            number << _LIST_SHIFT | listing.listing_id
            for number, listing, may_be_here in listings
            if may_be_here
        ]
        old = np.fromiter((row_id for each in owners for row_id in _row_ids_of(each)), np.int64)
        new = rows_of((number, listing) for number, listing, _ in listings)
        if len(old):
            self._index.remove(old)
        if len(new.ids):
            self._index.add(new.ids, new.words)
        for kind, table in self._digests.items():
            table.remove(owners)
            table.add(new.digests[kind])
        self.version += 1
        self.changes_since_save += len(listings)
        self.erased_since_save |= any(not listing.is_active for _, listing, _ in listings)

    def matches(
        self, probes: Sequence[Probe], lists: Mapping[str, ListSettings]
    ) -> tuple[Match, ...]:
        """Every enabled listing within its list's radius of any probe, nearest first.

        One match for each listing: its nearest. None by a single window, where its list asks for
        two.
        """
        radius_bits = max((each.radius_bits for each in lists.values() if each.enabled), default=-1)
        if radius_bits < 0:
            return ()
        pdqs = [probe for probe in probes if probe.kind is Kind.PDQ]
        found = self._near(pdqs, radius_bits) if pdqs else []
        for probe in probes:
            if probe.kind is not Kind.PDQ:
                ids = self._digests[probe.kind].find(probe.value)
                found.extend((probe, row_id, 0) for row_id in ids)
        if not found:
            return ()
        frames = len({probe.frame for probe in pdqs})
        hits: dict[tuple[int, int], list[tuple[tuple[bool, int, bool], Probe, int, int]]] = {}
        for probe, row_id, distance_bits in found:
            settings = lists.get(self._names[row_id >> _LIST_SHIFT])
            if settings is None or not settings.enabled or distance_bits > settings.radius_bits:
                continue
            if settings.allow and probe.variant.startswith(TRIMMED):
                # Beside a harmless block of a page anything may stand.
                continue
            is_window = probe.part is Part.WINDOW or bool(row_id >> _WINDOW_SHIFT & 1)
            # The whole says more than a part, a digest more than a perceptual fingerprint.
            rank = (is_window, distance_bits, probe.kind is Kind.PDQ)
            key = (row_id >> _LIST_SHIFT, row_id & _ID_MASK)
            hits.setdefault(key, []).append((rank, probe, row_id, distance_bits))
        matches = []
        for of_listing in hits.values():
            rank, probe, row_id, distance_bits = min(of_listing, key=lambda hit: hit[0])
            is_window = rank[0]
            settings = lists[self._names[row_id >> _LIST_SHIFT]]
            if is_window and settings.window_matches > 1:
                near = [(distance, each.turn, each.value) for _, each, _, distance in of_listing]
                if not are_two_parts(near, settings.radius_bits):
                    continue
            seen: dict[int, list[bytes]] = {}
            for _, each, _, _ in of_listing:
                if each.kind is Kind.PDQ:
                    seen.setdefault(each.frame, []).append(each.value)
            matches.append(
                self._match(
                    probe,
                    row_id,
                    distance_bits,
                    is_window=is_window,
                    matched_frames=len(seen),
                    frames=frames,
                    is_varied=are_varied(seen.values()),
                )
            )
        return tuple(sorted(matches, key=_nearness))

    def _near(self, pdqs: Sequence[Probe], radius_bits: int) -> list[tuple[Probe, int, int]]:
        words = np.frombuffer(b"".join(probe.value for probe in pdqs), "<u8").reshape(-1, 4)
        if len(pdqs) == 1:
            ids, distances = self._index.within(words[0], radius_bits)
            return [(pdqs[0], int(a), int(b)) for a, b in zip(ids, distances, strict=True)]
        at, ids, distances = self._index.within_many(words, radius_bits)
        return [
            (pdqs[p], a, b)
            for p, a, b in zip(at.tolist(), ids.tolist(), distances.tolist(), strict=True)
        ]

    def _match(
        self,
        probe: Probe,
        row_id: int,
        distance_bits: int,
        *,
        is_window: bool,
        matched_frames: int,
        frames: int,
        is_varied: bool,
    ) -> Match:
        number = row_id >> _LIST_SHIFT
        return Match(
            self._names[number],
            number,
            ListingId(row_id & _ID_MASK),
            _LEVELS[row_id >> _LEVEL_SHIFT & 7],
            _MEDIA[row_id >> _MEDIA_SHIFT & 1],
            probe.kind,
            distance_bits,
            probe.variant,
            probe.at_seconds,
            Part.WINDOW if is_window else probe.part,
            matched_frames,
            frames,
            is_varied,
        )


def _nearness(match: Match) -> tuple[bool, int, bool, int, int]:
    return (
        match.part is Part.WINDOW,
        match.distance_bits,
        match.kind is Kind.PDQ,
        match.list_number,
        match.listing_id,
    )
