"""What an index file holds, made piece by piece: never the whole index in memory.

Beside a million entries that are searched, writing them anew takes some 15 MB, not another 125.
Work is cut into blocks, so that other threads get their turn within a millisecond.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from unspread.match.building import clumps_of
from unspread.match.kernel import Kernel
from unspread.match.layout import (
    CHUNKS,
    FLAT_ROWS,
    I64,
    U8,
    U16,
    U64,
    Part,
    chunk,
    key_bits_for,
)
from unspread.match.snapshot import PartWriter, give_back, written

BLOCK_ROWS: Final = 1 << 15
_BLOCKS_KEPT: Final = 8
"""What was read of a mapped file stays in memory for so many blocks."""
_KEY_SHIFT: Final = np.uint64(40)
_PLACE_SHIFT: Final = np.uint64(16)

Block = tuple[I64, U64, U64]
"""Ids, fronts and backs of some entries."""


def write(path: Path, kernel: Kernel, order: U8, parts: Sequence[Part], *, part_rows: int) -> None:
    """Write the living entries of some parts as a file for `snapshot.opened`.

    Args:
        order: of the bits of all rows.
        parts: whose entries stand in any order.

    Raises:
        StateError: if another process is writing the same file.
        OSError: if it cannot be written.
    """
    count = sum(int(np.count_nonzero(part.dead == 0)) for part in parts)
    sizes = [min(part_rows, count - start) for start in range(0, count, part_rows)]
    with written(path, order, len(sizes)) as file:
        outs = [file.part(size) for size in sizes]
        at = 0
        for number, (ids, front, back) in enumerate(_living(parts)):
            if number % _BLOCKS_KEPT == 0:
                for part in parts:
                    give_back(part.front)
            done = 0
            while done < len(ids):
                end = min(len(ids), done + part_rows - at % part_rows)
                outs[at // part_rows].entries(ids[done:end], front[done:end], back[done:end])
                at += end - done
                done = end
        for out in outs:
            if len(out) > FLAT_ROWS:
                _write_tables(out, kernel)


@dataclass(slots=True)
class _Source:
    """A part in the order of its ids, and how far it has been read."""

    part: Part
    ids: I64
    order: I64 | None
    at: int = 0

    @classmethod
    def of(cls, part: Part) -> "_Source":
        if all(
            np.all(part.ids[block][:-1] <= part.ids[block][1:])
            for block in _blocks(len(part), overlap=1)
        ):
            return cls(part, part.ids, None)
        order = np.argsort(part.ids, kind="stable")
        return cls(part, part.ids[order], order)

    def next_bound(self) -> int | None:
        """The id that a block further is reached; None if the rest is less than a block."""
        end = self.at + BLOCK_ROWS
        return int(self.ids[end - 1]) if end < len(self.ids) else None

    def up_to(self, bound: int | None) -> Block:
        """The living entries from here up to an id, inclusive."""
        end = len(self.ids)
        if bound is not None:
            end = self.at + int(np.searchsorted(self.ids[self.at :], bound, "right"))
        stretch, self.at = slice(self.at, end), end
        if self.order is not None:
            rows = self.order[stretch]
            rows = rows[self.part.dead[rows] == 0]
        else:
            rows = np.flatnonzero(self.part.dead[stretch] == 0) + stretch.start
        return self.part.ids[rows], self.part.front[rows], self.part.back[rows]


def _living(parts: Sequence[Part]) -> Iterator[Block]:
    """Every entry that is not removed, in the order of ids, then of parts."""
    sources = [_Source.of(part) for part in parts]
    while any(each.at < len(each.ids) for each in sources):
        bounds = [bound for each in sources if (bound := each.next_bound()) is not None]
        blocks = [each.up_to(min(bounds, default=None)) for each in sources]
        ids, front, back = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
        order = np.argsort(ids, kind="stable")
        yield ids[order], front[order], back[order]


def _write_tables(out: PartWriter, kernel: Kernel) -> None:
    """Tables over the entries of a part, and what is kept out of them."""
    keys = 1 << key_bits_for(len(out))
    counts = np.zeros((CHUNKS, keys), np.int64)
    for block in _blocks(len(out)):
        for table in range(CHUNKS):
            own = _chunk(out, block, table) & np.uint16(keys - 1)
            counts[table] += np.bincount(own, minlength=keys)
    clumps = clumps_of(kernel, *out.halves(), counts)
    del counts
    kept = np.ones(len(out), dtype=bool)
    if clumps is not None:
        kept[clumps.positions] = False
    out.tables(int(np.count_nonzero(kept)))
    for table in range(CHUNKS):
        records, sizes = _records(out, table, kept)
        # In place, without the interpreter's lock. A record is key, place, signature.
        records.sort()
        offsets = np.zeros(len(sizes) + 1, np.uint32)
        np.cumsum(sizes, out=offsets[1:])
        out.table(
            offsets,
            (
                (records[block].astype(np.uint16), (records[block] >> _PLACE_SHIFT).astype("<u4"))
                for block in _blocks(len(records))
            ),
        )
    out.clumps(clumps)


def _records(out: PartWriter, table: int, kept: np.ndarray) -> tuple[U64, I64]:
    """Of each kept entry the key, the place and the signature; and how many have each key."""
    count = int(np.count_nonzero(kept))
    sizes = np.zeros(1 << key_bits_for(count), np.int64)
    records: U64 = np.empty(count, np.uint64)
    at = 0
    for block in _blocks(len(out)):
        here = np.flatnonzero(kept[block])
        own = _chunk(out, block, table)[here] & np.uint16(len(sizes) - 1)
        following = _chunk(out, block, (table + 1) % CHUNKS)[here]
        places = (here + block.start).astype(np.uint64)
        records[at : at + len(here)] = (
            own.astype(np.uint64) << _KEY_SHIFT | places << _PLACE_SHIFT | following
        )
        sizes += np.bincount(own, minlength=len(sizes))
        at += len(here)
    return records, sizes


def _chunk(out: PartWriter, block: slice, number: int) -> U16:
    """Chunk `number` of some entries, read back from the file."""
    half = out.read_half(block, back=number >= CHUNKS // 2)
    return chunk(half, half, number)


def _blocks(rows: int, overlap: int = 0) -> Iterator[slice]:
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS + overlap, rows))
