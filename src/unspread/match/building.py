"""From ids and rows to parts: sorted, permuted, clumps set apart, tables over the rest."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from unspread.match.kernel import Kernel
from unspread.match.layout import (
    CHUNKS,
    CLUMP_BLOCK,
    CLUMP_COLUMNS,
    CLUMP_MOST_BITS,
    CLUMP_REACH_BITS,
    CLUMP_SHARED_BITS,
    FLAT_ROWS,
    I64,
    MAX_CLUMPS,
    PART_ROWS,
    ROW_BITS,
    ROW_WORDS,
    U8,
    U16,
    U32,
    U64,
    Clumps,
    Part,
    chunk,
)

_SAMPLE_ROWS = 192
_CROWD_ROWS = 256
"""Fewer rows in one bucket are no crowd."""
_MAX_ATTEMPTS = 2 * MAX_CLUMPS
_INNER_BITS = 64
"""Most of a clump whose members are not spread widely is within so many bits of the centre."""


def gathered(blocks: Iterable[tuple[I64, U64]]) -> list[bytearray]:
    """Ids, fronts and backs of blocks of ids and (n, 4) permuted rows.

    Each block is copied and let go before the next is asked for, into columns that grow where
    they are.
    """
    columns = [bytearray(), bytearray(), bytearray()]
    for block_ids, permuted in blocks:
        for column, values in zip(
            columns, (block_ids, permuted[:, :2], permuted[:, 2:]), strict=True
        ):
            column.extend(values.tobytes())
    return columns


def parts_of(
    kernel: Kernel, blocks: Iterable[tuple[I64, U64]], *, part_rows: int = PART_ROWS
) -> tuple[Part, ...]:
    """Parts that together hold exactly these blocks of ids and (n, 4) permuted rows, in any order.

    What is built of a million entries takes little more while it is built.
    """
    columns = gathered(blocks)
    # Copied, one after the other, into arrays that numpy asks the system to keep in large pages.
    ids: I64 = np.frombuffer(columns.pop(0), np.int64).copy()
    front: U64 = np.frombuffer(columns.pop(0), np.uint64).reshape(-1, 2).copy()
    back: U64 = np.frombuffer(columns.pop(0), np.uint64).reshape(-1, 2).copy()
    if np.any(ids[1:] < ids[:-1]):
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        front = front[order]
        back = back[order]
        del order
    if len(ids) <= part_rows:
        return (part_of(kernel, ids, front, back),) if len(ids) else ()
    slices = [slice(start, start + part_rows) for start in range(0, len(ids), part_rows)]
    return tuple(
        part_of(kernel, ids[each].copy(), front[each].copy(), back[each].copy()) for each in slices
    )


def part_of(kernel: Kernel, ids: I64, front: U64, back: U64) -> Part:
    """One part of rows whose ids ascend."""
    dead = np.zeros(len(ids), dtype=np.uint8)
    if len(ids) <= FLAT_ROWS:
        return Part(ids, front, back, dead)
    kept = np.arange(len(ids), dtype=np.uint32)
    tables = kernel.tables(front, back, kept)
    counts: I64 = np.diff(tables.offsets.astype(np.int64)).astype(np.int64, copy=False)
    clumps = clumps_of(kernel, front, back, counts)
    if clumps is not None:
        del tables
        tables = kernel.tables(front, back, np.delete(kept, clumps.positions))
    return Part(ids, front, back, dead, tables, clumps)


def clumps_of(kernel: Kernel, front: U64, back: U64, counts: I64) -> Clumps | None:
    """The clumps that overfill buckets of tables over all rows, largest first, or None.

    A list that somebody filled with near-copies of one picture puts them all into the same few
    buckets, and a query that meets those would verify every one.

    Args:
        counts: (16, keys) rows in each bucket; used up.
    """
    overfull = max(_CROWD_ROWS, len(front) >> 12)
    keys = counts.shape[1]
    mask = np.uint16(keys - 1)
    free = np.ones(len(front), dtype=bool)
    found: list[tuple[U64, int, U32]] = []
    for _ in range(_MAX_ATTEMPTS):
        table, key = divmod(int(counts.argmax()), keys)
        if counts[table, key] < overfull or len(found) == MAX_CLUMPS:
            break
        in_bucket = np.flatnonzero((chunk(front, back, table) & mask == key) & free)
        counts[table, key] = 0
        centre = _densest(front, back, in_bucket)
        away = kernel.distances(front, back, centre)
        members = _around(front, back, centre, away, free)
        if len(members) < overfull:
            continue
        found.append((centre, int(away[members].max()), members))
        free[members] = False
        held_front, held_back = front[members], back[members]
        for each in range(CHUNKS):
            held = np.bincount(chunk(held_front, held_back, each) & mask, minlength=keys)
            np.subtract(counts[each], held, out=counts[each], where=counts[each] > 0)
    if not found:
        return None
    positions = np.concatenate([members for _, _, members in found])
    sizes = [len(members) for _, _, members in found]
    starts = np.cumsum([0, *sizes])
    centres = np.stack([centre for centre, _, _ in found])
    rows = np.concatenate((front[positions], back[positions]), axis=1)
    differing = rows ^ centres.repeat(sizes, axis=0)
    apart = np.bitwise_or.reduceat(differing, starts[:-1], axis=0)
    weights = np.bitwise_count(differing).sum(axis=1, dtype=np.uint8)
    paired, beside = _paired(np.repeat(np.arange(len(found)), sizes), weights)
    return Clumps(
        starts=starts.astype(np.uint32),
        centres=centres,
        radii=np.array([radius for _, radius, _ in found], dtype=np.uint32),
        positions=positions,
        common=~apart,
        columns=_columns(differing, weights),
        pairs=_columns(
            np.bitwise_or.reduceat(differing[beside], np.arange(0, len(beside), 2), axis=0),
            np.minimum.reduceat(weights[beside], np.arange(0, len(beside), 2)),
        ),
        paired=paired,
    )


def _paired(clump_of: I64, weights: U8) -> tuple[U16, I64]:
    """`Clumps.paired` of members of these clumps and weights, and the members in that order."""
    together = 2 * CLUMP_BLOCK
    places = np.arange(len(weights))
    order = np.lexsort((weights, clump_of, places // together))
    # What is left over of the last block stands for no member.
    paired = np.full(-(-len(weights) // together) * together, together - 1, np.uint16)
    paired[: len(order)] = order % together
    return paired, order


def _columns(differing: U64, weights: U8) -> U64:
    """Columns of (k, 4) rows, and of the (k,) numbers beside them, as in `Clumps`."""
    blocks = -(-len(differing) // CLUMP_BLOCK)
    columns = np.zeros((CLUMP_COLUMNS, blocks, CLUMP_BLOCK // 8), np.uint8)
    for block in range(blocks):
        rows = differing[block * CLUMP_BLOCK : (block + 1) * CLUMP_BLOCK]
        members = np.zeros((CLUMP_BLOCK, CLUMP_COLUMNS // 8), np.uint8)
        members[: len(rows), :-1] = rows.astype("<u8").view(np.uint8)
        members[: len(rows), -1] = weights[block * CLUMP_BLOCK : (block + 1) * CLUMP_BLOCK]
        bits = np.unpackbits(members, axis=1, bitorder="little")
        columns[:, block] = np.packbits(bits.T, axis=1, bitorder="little")
    words = columns.reshape(CLUMP_COLUMNS, -1).view("<u8")
    return words.astype(np.uint64, copy=False)


def _around(front: U64, back: U64, centre: U64, away: U16, free: NDArray[np.bool]) -> U32:
    """Those of the free rows that are a clump around a centre from which all are `away` so far."""
    members = np.flatnonzero((away <= CLUMP_REACH_BITS) & free)
    inner = members[away[members] <= _INNER_BITS]
    if 2 * len(inner) < len(members):
        # A crowd that is cut through. What all of it shares may tell it from strangers; else most
        # of it is spread so widely that tables are quicker than many clumps.
        ones = [np.bitwise_or.reduce(half[members]) for half in (front, back)]
        zeros = [np.bitwise_or.reduce(~half[members]) for half in (front, back)]
        shared = ~(np.concatenate(ones) & np.concatenate(zeros))
        members = inner
        if np.bitwise_count(shared).sum() >= CLUMP_SHARED_BITS:
            alike = free & (away <= CLUMP_MOST_BITS)
            for word in range(ROW_WORDS):
                half = front if word < 2 else back
                alike &= (half[:, word % 2] ^ centre[word]) & shared[word] == 0
            members = np.flatnonzero(alike)
    return members.astype(np.uint32)


def _densest(front: U64, back: U64, members: I64) -> U64:
    """The majority, bit by bit, of the largest group of like rows among the members: a centre."""
    sampled = members[:: max(1, len(members) // _SAMPLE_ROWS)]
    rows = np.concatenate((front[sampled], back[sampled]), axis=1)
    apart = np.bitwise_count(rows[:, None] ^ rows[None]).sum(axis=2, dtype=np.int64)
    alike = apart <= CLUMP_REACH_BITS
    group = rows[alike[alike.sum(axis=1).argmax()]].astype("<u8")
    bits = np.unpackbits(group.view(np.uint8).reshape(-1, ROW_BITS // 8), axis=1, bitorder="little")
    majority = bits.sum(axis=0, dtype=np.int64) * 2 > len(group)
    return np.packbits(majority, bitorder="little").view("<u8").astype(np.uint64)
