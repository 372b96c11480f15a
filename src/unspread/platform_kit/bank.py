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
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.score import are_varied
from unspread.match import Index, IndexInfo
from unspread.model import MIN_PDQ_QUALITY, Kind, Level, Listing, ListingId, Media, Part
from unspread.platform_kit.digests import KEY_BYTES, DigestTable
from unspread.platform_kit.packing import Packed, pack, values_of
from unspread.platform_kit.policy import Match
from unspread.platform_kit.settings import ListSettings

_LEVELS: Final = tuple(Level)
_MEDIA: Final = tuple(Media)
_ID_BITS: Final = 40
_WINDOW_SHIFT: Final = _ID_BITS
_MEDIA_SHIFT: Final = _WINDOW_SHIFT + 1
_LEVEL_SHIFT: Final = _MEDIA_SHIFT + 1
_LIST_SHIFT: Final = _LEVEL_SHIFT + 3
_ID_MASK: Final = (1 << _ID_BITS) - 1
_BLOCK_LISTINGS: Final = 4096

WIDENED: Final = "widened"
"""Begins the variants that guess what a frame was before it was cropped."""


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


def _columns(
    pairs: Sequence[tuple[bytes, int]],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Digests and row ids as `DigestTable.build` takes them."""
    keys = np.frombuffer(b"".join(key[:KEY_BYTES] for key, _ in pairs), ">u8")
    row_ids = np.array([row_id for _, row_id in pairs], np.int64)
    return keys.reshape(-1, 2).astype(np.uint64), row_ids


def _row_id(number: int, level: Level, media: Media, listing_id: int) -> int:
    return (
        number << _LIST_SHIFT
        | _LEVELS.index(level) << _LEVEL_SHIFT
        | _MEDIA.index(media) << _MEDIA_SHIFT
        | listing_id
    )


def _possible_row_ids(number: int, listing_id: ListingId) -> Iterator[int]:
    for level in _LEVELS:
        for media in _MEDIA:
            row_id = _row_id(number, level, media, listing_id)
            yield from (row_id, row_id | 1 << _WINDOW_SHIFT)


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
        digests: dict[Kind, list[tuple[NDArray[np.uint64], NDArray[np.int64]]]] = {
            kind: [] for kind in (Kind.SHA256, Kind.MD5)
        }

        def perceptual() -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
            for block in rows:
                for kind, pairs in block.digests.items():
                    if pairs:
                        digests[kind].append(_columns(pairs))
                yield block.ids, block.words

        self._index = Index.build_from(perceptual())
        self._digests = {}
        for kind, blocks in digests.items():
            self._digests[kind] = DigestTable.build(blocks)
            blocks.clear()

    def save(self, directory: Path) -> None:
        """Write a snapshot that any number of processes may open and share."""
        directory.mkdir(parents=True)
        self._index.save(directory / "index")
        for kind, table in self._digests.items():
            table.save(directory / kind.value)
        self.changes_since_save, self.erased_since_save = 0, False

    @classmethod
    def open(cls, directory: Path, names: Mapping[int, str], sequence: int) -> "Bank":
        """The bank in a snapshot: its pages are shared with others who opened it.

        Raises:
            SnapshotError, OSError, ValueError: if it is not whole.
        """
        bank = cls(names, sequence=sequence)
        bank._index = Index.open(directory / "index")
        bank._digests = {kind: DigestTable.open(directory / kind.value) for kind in bank._digests}
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
        old = np.fromiter(
            (
                row_id
                for number, listing, may_be_here in listings
                if may_be_here
                for row_id in _possible_row_ids(number, listing.listing_id)
            ),
            np.int64,
        )
        new = rows_of((number, listing) for number, listing, _ in listings)
        if len(old):
            self._index.remove(old)
        if len(new.ids):
            self._index.add(new.ids, new.words)
        for kind, table in self._digests.items():
            table.remove(old.tolist())
            table.add(new.digests[kind])
        self.version += 1
        self.changes_since_save += len(listings)
        self.erased_since_save |= any(not listing.is_active for _, listing, _ in listings)

    def matches(
        self, probes: Sequence[Probe], lists: Mapping[str, ListSettings]
    ) -> tuple[Match, ...]:
        """Every enabled listing within its list's radius of any probe, nearest first.

        One match for each listing: its nearest.
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
            is_window = probe.part is Part.WINDOW or bool(row_id >> _WINDOW_SHIFT & 1)
            # The whole says more than a part, a digest more than a perceptual fingerprint.
            rank = (is_window, distance_bits, probe.kind is Kind.PDQ)
            key = (row_id >> _LIST_SHIFT, row_id & _ID_MASK)
            hits.setdefault(key, []).append((rank, probe, row_id, distance_bits))
        matches = []
        for of_listing in hits.values():
            rank, probe, row_id, distance_bits = min(of_listing, key=lambda hit: hit[0])
            seen: dict[int, list[bytes]] = {}
            for _, each, _, _ in of_listing:
                if each.kind is Kind.PDQ:
                    seen.setdefault(each.frame, []).append(each.value)
            matches.append(
                self._match(
                    probe,
                    row_id,
                    distance_bits,
                    is_window=rank[0],
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
