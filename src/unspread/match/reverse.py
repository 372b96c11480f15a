"""The reverse question: new listings against a catalogue of very many fingerprints.

A catalogue is kept as two columns of 16 bytes: the fronts, the first 128 bits of each row, and the
backs. Strangers' fronts are within 31 bits of each other once in 500 million, so a scan reads the
fronts alone, at the speed of memory or disk, and a back only where it decides.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from unspread.errors import InputError
from unspread.match.index import Index
from unspread.match.kernel import KernelChoice, choose
from unspread.match.layout import (
    FLAT_ROWS,
    I64,
    TABLE_RADIUS_BITS,
    U64,
    checked_radius,
    checked_rows,
)

BLOCK_ROWS: Final = 1 << 20
"""Rows between two signs of life: a few milliseconds of work."""
MANY_LISTINGS: Final = FLAT_ROWS + 1
"""From so many on, an index over the listings is faster than comparing each with each."""

_FRONT, _BACK = "front", "back"


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Canonical rows as two columns, each (n, 2) uint64, in memory or mapped from files.

    They need not be aligned: what is mapped from the middle of a file is read where it lies.
    """

    front: U64
    back: U64

    def __post_init__(self) -> None:
        for half in (self.front, self.back):
            if half.dtype != np.uint64 or half.shape != (len(self.front), 2):
                raise InputError("the halves of a catalogue are two (n, 2) arrays of uint64")
            if not half.flags.c_contiguous:
                raise InputError("the halves of a catalogue are contiguous")

    def __len__(self) -> int:
        return len(self.front)

    @classmethod
    def of(cls, rows: U64) -> "Catalogue":
        """A catalogue in memory of (n, 4) rows."""
        rows = checked_rows(rows)
        return cls(np.ascontiguousarray(rows[:, :2]), np.ascontiguousarray(rows[:, 2:]))

    @classmethod
    def open(cls, directory: Path | str) -> "Catalogue":
        """A catalogue mapped from the files that `append` wrote.

        Rows of which a writer that was killed left only the front are not part of it.

        Raises:
            OSError: if the files cannot be read.
        """
        halves = [_mapped(Path(directory) / name) for name in (_FRONT, _BACK)]
        count = min(map(len, halves))
        return cls(halves[0][:count], halves[1][:count])


def append(directory: Path | str, blocks: Iterable[U64]) -> int:
    """Append blocks of (n, 4) rows to the catalogue's files; how many rows it has now.

    One writer at a time. Row numbers never change, so they can be kept beside the content.

    Raises:
        InputError: for rows of another shape or dtype.
        OSError: if the files cannot be written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in (_FRONT, _BACK)]
    whole = min(path.stat().st_size if path.exists() else 0 for path in paths) // 16
    with paths[0].open("ab") as front, paths[1].open("ab") as back:
        for file in (front, back):
            file.truncate(16 * whole)
        for block in blocks:
            catalogue = Catalogue.of(block)
            front.write(catalogue.front.astype("<u8", copy=False).tobytes())
            back.write(catalogue.back.astype("<u8", copy=False).tobytes())
            whole += len(catalogue)
        for file in (front, back):
            file.flush()
            os.fsync(file.fileno())
    return whole


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """What was found in a stretch of the catalogue, by row."""

    end: int
    """Everything before this row is done: give it as `start` to go on."""
    rows: I64
    """Numbers of catalogue rows."""
    listings: I64
    """Positions in the listings that were asked for."""
    distances_bits: I64


def found_in(
    catalogue: Catalogue,
    listings: U64,
    radius_bits: int = TABLE_RADIUS_BITS,
    *,
    start: int = 0,
    stop: int | None = None,
    kernel: KernelChoice | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[Stretch]:
    """Every pair of a catalogue row and one of (k, 4) listings within the radius (inclusive).

    One stretch after the other, also where nothing is found, so that progress is seen and can be
    kept. Threads or processes may each take their own `start` and `stop`; the interpreter's lock
    is released meanwhile.

    Raises:
        InputError: for listings of another shape or dtype, or a radius outside 0..256.
    """
    listings, radius_bits = checked_rows(listings, "listings"), checked_radius(radius_bits)
    stop = len(catalogue) if stop is None else min(stop, len(catalogue))
    if block_rows < 1 or start < 0:
        raise InputError("block_rows starts at 1, start at 0")
    index = None
    if len(listings) >= MANY_LISTINGS and radius_bits <= TABLE_RADIUS_BITS:
        index = Index.build(np.arange(len(listings)), listings, kernel=kernel)
    chosen = choose(kernel)
    for first in range(start, stop, block_rows):
        end = min(first + block_rows, stop)
        front, back = catalogue.front[first:end], catalogue.back[first:end]
        if index is None:
            rows, numbers, distances = chosen.scan(front, back, listings, radius_bits)
        else:
            block = np.concatenate((front, back), axis=1)
            rows, numbers, distances = index.within_many(block, radius_bits, limit=len(listings))
            order = np.lexsort((numbers, rows))
            rows, numbers, distances = rows[order], numbers[order], distances[order]
        yield Stretch(end, rows + first, numbers, distances)


def near_fronts(
    front: U64, listings: U64, radius_bits: int, *, kernel: KernelChoice | None = None
) -> tuple[I64, I64]:
    """Rows and listings whose first halves alone are within the radius (inclusive), by row.

    Of strangers that is one row in 500 million: where the second halves lie apart from the first,
    these rows alone need them.

    Args:
        front: (n, 2) first halves.
        listings: (k, 4) whole rows.

    Raises:
        InputError: for listings of another shape or dtype, or a radius outside 0..256.
    """
    wanted = checked_rows(listings, "listings")
    rows, numbers, _ = choose(kernel).scan(front, None, wanted, checked_radius(radius_bits))
    return rows, numbers


def _mapped(path: Path) -> U64:
    count = path.stat().st_size // 16
    if not count:
        return np.zeros((0, 2), dtype=np.uint64)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 16 * count, access=mmap.ACCESS_READ)
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_SEQUENTIAL)
    words: U64 = np.frombuffer(mapped, dtype="<u8").reshape(count, 2)
    return words
