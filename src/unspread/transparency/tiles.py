"""The log as static files: https://c2sp.org/tlog-tiles.

A tile holds the digests of up to 256 complete subtrees of equal height, 8 levels above the tile
below it; an entry bundle holds up to 256 entries. Both are immutable once full.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from unspread.errors import TrustError
from unspread.transparency.merkle import DIGEST_BYTES, Frontier, fold, leaf_digest

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
MAX_ENTRY_BYTES: Final = 65_535
MAX_TILE_BYTES: Final = TILE_WIDTH * DIGEST_BYTES

Fetch = Callable[[str], bytes]
"""A path below the log's prefix → the file's bytes."""


class MalformedTileError(TrustError):
    """A tile or entry bundle is not what its path promises."""


def _path(kind: str, number: int, width: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """Where tile `number` of tile level `level` is, with `width` digests in it."""
    return _path(str(level), number, width)


def bundle_path(number: int, width: int = TILE_WIDTH) -> str:
    """Where the bundle of entries number·256… is, with `width` entries in it."""
    return _path("entries", number, width)


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each after its length in two bytes."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of a bundle.

    Raises:
        MalformedTileError: if there are not exactly that many.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if len(entry) != length or at + 2 > len(data):
            break
        entries.append(entry)
        at += 2 + length
    if at != len(data) or len(entries) != width:
        raise MalformedTileError("an entry bundle does not hold what its path says")
    return entries


def split_tile(data: bytes, width: int) -> list[bytes]:
    """The `width` digests of a tile.

    Raises:
        MalformedTileError: if there are not exactly that many.
    """
    if len(data) != width * DIGEST_BYTES:
        raise MalformedTileError("a tile does not hold what its path says")
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


class TileReader:
    """The digests of complete subtrees of a log of `size` entries, from its tiles.

    Nothing here is verified: verify the proof that is made of it against a checkpoint.
    """

    def __init__(self, fetch: Fetch, size: int, *, kept_tiles: int = 64) -> None:
        self._fetch = fetch
        self.size = size
        self._kept: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self._kept_tiles = kept_tiles

    def tile(self, level: int, number: int) -> list[bytes]:
        """The digests of one tile, as many as are complete at `size`.

        Raises:
            MalformedTileError: if the tile is not what its path promises.
        """
        if (kept := self._kept.get((level, number))) is not None:
            self._kept.move_to_end((level, number))
            return kept
        complete = self.size >> TILE_HEIGHT * level
        width = min(complete - number * TILE_WIDTH, TILE_WIDTH)
        if width <= 0:
            raise ValueError("the tree has no such tile yet")
        digests = split_tile(self._fetch(tile_path(level, number, width)), width)
        self._kept[level, number] = digests
        if len(self._kept) > self._kept_tiles:
            self._kept.popitem(last=False)
        return digests

    def node(self, level: int, index: int) -> bytes:
        """The root of the complete subtree of leaves index·2**level…(index+1)·2**level-1."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        width = 1 << height
        number, offset = divmod(index * width, TILE_WIDTH)
        return fold(self.tile(tile_level, number)[offset : offset + width])

    def frontier(self) -> Frontier:
        """The right edge of the tree."""
        levels = [level for level in range(self.size.bit_length()) if self.size >> level & 1]
        return Frontier(self.size, [self.node(level, (self.size >> level) - 1) for level in levels])

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Entries start..stop-1 with their indexes; check their digests against the tiles.

        Raises:
            MalformedTileError: if a bundle is not what its path promises, or another tile's.
        """
        for number in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            first = number * TILE_WIDTH
            width = min(self.size - first, TILE_WIDTH)
            entries = decode_bundle(self._fetch(bundle_path(number, width)), width)
            digests = self.tile(0, number)
            for at in range(max(start - first, 0), min(stop - first, width)):
                if leaf_digest(entries[at]) != digests[at]:
                    raise MalformedTileError("an entry is not the one in the tree")
                yield first + at, entries[at]


class TileBuilder:
    """Makes the files that a log gains when it grows: the same files for the same entries."""

    def __init__(self, reader: TileReader) -> None:
        """Continue the log that `reader` reads, reading only its right edge."""
        self.size = reader.size
        self.frontier = reader.frontier()
        self._edges: list[list[bytes]] = []
        level = 0
        while (complete := self.size >> TILE_HEIGHT * level) > 0:
            number, width = divmod(complete, TILE_WIDTH)
            self._edges.append(list(reader.tile(level, number)) if width else [])
            level += 1
        self._bundle: list[bytes] = []
        if self.size % TILE_WIDTH:
            first = self.size - self.size % TILE_WIDTH
            self._bundle = [entry for _, entry in reader.entries(first, self.size)]

    def append(self, entries: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
        """The full tiles and bundles that these entries complete, as path and bytes."""
        at = 0
        while at < len(entries):
            taken = entries[at : at + TILE_WIDTH - len(self._bundle)]
            at += len(taken)
            digests = [leaf_digest(entry) for entry in taken]
            self.frontier.append(digests)
            self.size += len(taken)
            self._bundle.extend(taken)
            if len(self._bundle) == TILE_WIDTH:
                yield bundle_path(self.size // TILE_WIDTH - 1), encode_bundle(self._bundle)
                self._bundle = []
            yield from self._grow(0, digests)

    def _grow(self, level: int, digests: list[bytes]) -> Iterator[tuple[str, bytes]]:
        if level == len(self._edges):
            self._edges.append([])
        edge = self._edges[level]
        edge.extend(digests)
        if len(edge) == TILE_WIDTH:
            number = (self.size >> TILE_HEIGHT * (level + 1)) - 1
            yield tile_path(level, number), b"".join(edge)
            self._edges[level] = []
            yield from self._grow(level + 1, [fold(edge)])

    def partial(self) -> Iterator[tuple[str, bytes]]:
        """The partial tiles and bundle at the present size, as path and bytes."""
        if self._bundle:
            number = self.size // TILE_WIDTH
            yield bundle_path(number, len(self._bundle)), encode_bundle(self._bundle)
        for level, edge in enumerate(self._edges):
            if edge:
                number = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
                yield tile_path(level, number, len(edge)), b"".join(edge)
