"""The kernel in numpy alone: slower by ten, with the same answers to the bit."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError
from unspread.match.layout import (
    CHUNK_BITS,
    CHUNKS,
    CLUMP_BLOCK,
    CLUMP_COLUMNS,
    I64,
    ROW_BITS,
    TABLE_RADIUS_BITS,
    U8,
    U16,
    U32,
    U64,
    Clumps,
    Found,
    FoundMany,
    Part,
    Tables,
    chunk,
    key_bits_for,
)

_FLIPS: Final = np.array([[0], *([1 << bit] for bit in range(CHUNK_BITS))], dtype=np.int64)
_TABLES: Final = np.arange(CHUNKS, dtype=np.int64)
_NEXT: Final = np.tile(np.roll(_TABLES, -1), CHUNK_BITS + 1)
_ONE: Final = np.uint16(1)
_THREE_BYTES: Final = np.uint32(0xFFFFFF)
_COUNTING: Final = np.arange(1 << 16, dtype=np.int64)
_SHIFTS: Final = np.arange(0, 64, 16, dtype=np.uint64)
_BLOCK_ROWS: Final = 1 << 16
_SUM_BITS: Final = 8
_STRETCH: Final = 2 * CLUMP_BLOCK
"""Members of a clump among which pairs are made."""
_SAMPLED: Final = 64
"""Members that show whether a query is near many of a clump."""
_TELLING_BITS: Final = 40
"""So many columns leave few members in doubt."""


def _bits_in_order(rows: U64, order: U8) -> U64:
    """(..., 4) canonical rows in this order."""
    bits = np.unpackbits(rows.astype("<u8", copy=False).view(np.uint8), axis=-1, bitorder="little")
    ordered = np.packbits(bits.take(order, axis=-1), axis=-1, bitorder="little")
    return ordered.view("<u8").astype(np.uint64, copy=False)


def _words16(permuted: U64) -> U16:
    """(..., 4) words as (..., 16) chunks."""
    spread = permuted[..., None] >> _SHIFTS
    return spread.astype(np.uint16).reshape(*permuted.shape[:-1], CHUNKS)


def _half_distances(half: U64, words: U64) -> U8:
    distances: U8 = np.bitwise_count(half[:, 0] ^ words[0])
    distances += np.bitwise_count(half[:, 1] ^ words[1])
    return distances


def first_ids(ids: I64, distances: I64, limit: int) -> Found:
    """At most `limit` with the lowest ids, nearest first and then by id; and whether some went."""
    is_capped = len(ids) > limit
    if is_capped:
        lowest = ids <= np.partition(ids, limit)[limit]
        ids, distances = ids[lowest], distances[lowest]
    kept = np.lexsort((distances, ids))[:limit]
    ids, distances = ids[kept], distances[kept]
    # Of so few bits they are sorted without being compared.
    order = np.argsort(distances.astype(np.uint16), kind="stable")
    return ids[order], distances[order], is_capped


class NumpyKernel:
    """See `kernel.Kernel`."""

    name = "numpy"

    def permuted(self, rows: U64, order: U8) -> U64:
        permuted = np.empty((len(rows), 4), dtype=np.uint64)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            permuted[block] = _bits_in_order(rows[block], order)
        return permuted

    def tables(self, front: U64, back: U64, kept: U32) -> Tables:
        count = len(kept)
        keys = 1 << key_bits_for(count)
        offsets = np.zeros((CHUNKS, keys + 1), dtype=np.uint32)
        signatures = np.empty((CHUNKS, count), dtype=np.uint16)
        positions = np.zeros((CHUNKS * count + 1, 3), dtype=np.uint8)
        own = first = chunk(front, back, 0)[kept]
        for table in range(CHUNKS):
            following = chunk(front, back, table + 1)[kept] if table < CHUNKS - 1 else first
            key = own & np.uint16(keys - 1)
            order = np.argsort(key, kind="stable")
            np.cumsum(np.bincount(key, minlength=keys), out=offsets[table, 1:])
            signatures[table] = following[order]
            places = kept[order].astype("<u4").view(np.uint8).reshape(count, 4)
            positions[table * count : (table + 1) * count] = places[:, :3]
            own = following
        return Tables(offsets, signatures, positions)

    def distances(self, front: U64, back: U64, permuted: U64) -> U16:
        distances: U16 = _half_distances(front, permuted[:2]).astype(np.uint16)
        distances += _half_distances(back, permuted[2:])
        return distances

    def view(self, part: Part, order: U8) -> "_View":
        return _View(part, order)

    def search(
        self, views: "tuple[_View, ...]", tail_rows: int, row: U64, radius_bits: int, limit: int
    ) -> Found | None:
        if not (
            isinstance(row, np.ndarray)
            and row.shape == (4,)
            and row.dtype == np.uint64
            and row.flags.c_contiguous
        ):
            raise InputError("row: uint64 words of shape (4,) wanted")
        query = _bits_in_order(row, views[0].order)
        return self._search(views, tail_rows, query, radius_bits, limit)

    def _search(
        self, views: "tuple[_View, ...]", tail_rows: int, query: U64, radius_bits: int, limit: int
    ) -> Found | None:
        ids, distances = [], []
        for number, view in enumerate(views):
            part = view.part
            rows = tail_rows if number == len(views) - 1 else len(part)
            if not rows:
                continue
            try:
                for positions, found in self._part_matches(view, rows, query, radius_bits, limit):
                    if not len(positions):
                        continue
                    alive = part.dead[positions] == 0
                    ids.append(part.ids[positions[alive]])
                    distances.append(found[alive])
            except (IndexError, ValueError):
                raise InputError("the index is damaged: its tables contradict each other") from None
        if not any(map(len, ids)):
            return None
        return first_ids(np.concatenate(ids), np.concatenate(distances), limit)

    def search_many(
        self, views: "tuple[_View, ...]", tail_rows: int, rows: U64, radius_bits: int, limit: int
    ) -> FoundMany:
        queries, ids, distances, capped = [], [], [], []
        for position, query in enumerate(self.permuted(rows, views[0].order)):
            found = self._search(views, tail_rows, query, radius_bits, limit)
            if found is not None:
                queries.append(np.full(len(found[0]), position, dtype=np.int64))
                ids.append(found[0])
                distances.append(found[1])
                if found[2]:
                    capped.append(position)
        nothing = np.zeros(0, dtype=np.int64)
        return (
            np.concatenate(queries or [nothing]),
            np.concatenate(ids or [nothing]),
            np.concatenate(distances or [nothing]),
            np.array(capped, dtype=np.int64),
        )

    def scan(
        self, front: U64, back: U64 | None, needles: U64, radius_bits: int
    ) -> tuple[I64, I64, I64]:
        found = []
        for number, needle in enumerate(needles):
            for start in range(0, len(front), _BLOCK_ROWS):
                block = front[start : start + _BLOCK_ROWS]
                halves = _half_distances(block, needle[:2])
                near = np.flatnonzero(halves <= radius_bits)
                distances = halves[near].astype(np.int64)
                if back is not None and len(near):
                    distances += _half_distances(
                        back[start : start + _BLOCK_ROWS][near], needle[2:]
                    )
                    near, distances = (
                        near[distances <= radius_bits],
                        distances[distances <= radius_bits],
                    )
                found.append((near + start, np.full(len(near), number), distances))
        if not found:
            return (np.zeros(0, np.int64),) * 3
        rows, numbers, distances = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((numbers, rows))
        return rows[order], numbers[order], distances[order]

    def _part_matches(
        self, view: "_View", rows: int, query: U64, radius_bits: int, limit: int
    ) -> list[tuple[I64, I64]]:
        """Positions and distances of the part's rows within the radius, from each structure."""
        part = view.part
        if part.tables is not None and radius_bits <= TABLE_RADIUS_BITS:
            probed = _probed(view, query, radius_bits)
            if probed is not None:
                return [probed, *_in_clumps(part, query, radius_bits, limit)]
        return [_scanned(part.front[:rows], part.back[:rows], query, radius_bits)]


def _scanned(front: U64, back: U64, query: U64, radius_bits: int) -> tuple[I64, I64]:
    near = np.flatnonzero(_half_distances(front, query[:2]) <= radius_bits)
    return _verified(front, back, near, query, radius_bits)


def _verified(
    front: U64, back: U64, positions: I64, query: U64, radius_bits: int
) -> tuple[I64, I64]:
    distances = _half_distances(front.take(positions, axis=0), query[:2]).astype(np.int64)
    distances += _half_distances(back.take(positions, axis=0), query[2:])
    near = distances <= radius_bits
    return positions[near], distances[near]


def _in_clumps(part: Part, query: U64, radius_bits: int, limit: int) -> list[tuple[I64, I64]]:
    clumps = part.clumps
    if clumps is None:
        return []
    differing = clumps.centres ^ query
    away = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
    beyond = np.bitwise_count(differing & clumps.common).sum(axis=1, dtype=np.int64)
    in_reach = (away <= clumps.radii.astype(np.int64) + radius_bits) & (beyond <= radius_bits)
    return [
        matches
        for number in np.flatnonzero(in_reach).tolist()
        for matches in _in_clump(part, clumps, number, query, radius_bits=radius_bits, limit=limit)
    ]


def _in_clump(
    part: Part, clumps: Clumps, number: int, query: U64, *, radius_bits: int, limit: int
) -> Iterator[tuple[I64, I64]]:
    """Matches in one clump in the order of ids, until they are more than the limit."""
    start, end = int(clumps.starts[number]), int(clumps.starts[number + 1])
    differing, free = clumps.centres[number] ^ query, ~clumps.common[number]
    away, free_bits = (int(np.bitwise_count(words).sum()) for words in (differing, free))
    # What no member has needs no counting.
    counted = (differing & free).astype("<u8").view(np.uint8)
    bits = np.flatnonzero(np.unpackbits(counted, bitorder="little"))
    # Members that have many of the bits are not told apart by pairs.
    in_pairs = 3 * int(clumps.radii[number]) <= free_bits
    held = clumps.pairs if in_pairs else clumps.columns
    sampled = clumps.positions[start : end : max(1, (end - start) // _SAMPLED)].astype(np.int64)
    near, _ = _verified(part.front, part.back, sampled, query, radius_bits)
    size, beyond_bits = end, away - radius_bits
    if len(near):
        # So many members that they should meet the limit.
        size = 2 * limit * len(sampled) // len(near)
    elif not in_pairs and len(bits) > _TELLING_BITS:
        # The last few would tell hardly any more apart.
        unread = len(bits) // 5
        bits, beyond_bits = bits[:-unread], beyond_bits - 2 * unread
    found, first = 0, start - start % _STRETCH
    while first < end:
        last = min(first + -(-size // _STRETCH) * _STRETCH, end)
        word = 128 if in_pairs else 64
        stretch = held[:, first // word : -(-last // word)]
        members = _near_lanes(stretch, bits, beyond_bits)
        if in_pairs:
            both = clumps.paired[first:].reshape(-1, 2)[members]
            members = np.sort((both + members[:, None] // CLUMP_BLOCK * _STRETCH).reshape(-1))
        members += first
        members = members[(members >= start) & (members < end)]
        positions = clumps.positions[members].astype(np.int64)
        positions = positions[part.dead[positions] == 0]
        positions, distances = _verified(part.front, part.back, positions, query, radius_bits)
        yield positions, distances
        found += len(positions)
        if found > limit and last < end and len(positions):
            # What is capped leaves out whole ids.
            is_whole = part.ids[positions[-1]] < part.ids[clumps.positions[last]]
            if is_whole:
                return
        first, size = last, 4 * size


def _near_lanes(held: U64, bits: I64, beyond_bits: int) -> I64:
    """Which members, or pairs of them, may be near, counted bit by bit for all at once.

    A member w bits from the centre that shares v of the query's a bits is a + w - 2v bits away:
    near if v reaches half of w + a - radius_bits, rounded up.

    Args:
        bits: the columns that are counted.
        beyond_bits: a - radius_bits, and two less for each column that is not counted but might be
            shared.
    """
    half, odd = divmod(beyond_bits, 2)
    every = np.full((1, held.shape[1]), 2**64 - 1, dtype=np.uint64)
    # By what they count for, 1, 2, 4 and on. What is less than nothing counts on the other side.
    shared = [[every[: max(-half, 0) >> bit & 1]] for bit in range(_SUM_BITS)]
    wanted = [[every[: max(half, 0) >> bit & 1]] for bit in range(_SUM_BITS)]
    shared[0].append(held[bits])
    wanted[0].append(every if odd else held[ROW_BITS : ROW_BITS + 1])
    for bit in range(1, CLUMP_COLUMNS - ROW_BITS):
        wanted[bit - 1].append(held[ROW_BITS + bit : ROW_BITS + bit + 1])
    short = np.zeros(held.shape[1], dtype=np.uint64)
    for has, needs in zip(_summed(shared), _summed(wanted), strict=True):
        short = (~has & needs) | (~(has ^ needs) & short)
    words = np.flatnonzero(~short)
    lanes = np.unpackbits((~short[words]).astype("<u8").view(np.uint8), bitorder="little")
    place, lane = np.divmod(np.flatnonzero(lanes.view(np.bool)), 64)
    return words[place] * 64 + lane


def _summed(counting: list[list[U64]]) -> Iterator[U64]:
    """For each bit of a sum, lowest first, where it is set, from what counts for that bit."""
    carried: list[U64] = []
    for each in counting:
        rows = np.concatenate((*each, *carried))
        carried = []
        while len(rows) > 1:
            # Three of the same worth are one of theirs and one of twice it; of two, one is nothing.
            size = max(len(rows) // 3, 1)
            a, b, c = rows[:size], rows[size : 2 * size], rows[2 * size : 3 * size]
            odd = a ^ b
            a &= b
            carried.append(a)
            if len(c):
                a |= np.bitwise_and(odd, c, out=b)
                c ^= odd
                rows = rows[2 * size :]
            else:
                rows = odd
        yield rows[0] if len(rows) else np.zeros(rows.shape[1], dtype=np.uint64)


class _View:
    """A part, and its tables as they are looked into."""

    def __init__(self, part: Part, order: U8):
        self.part, self.order = part, order
        if part.tables is None:
            return
        bits = part.tables.key_bits
        self.kept = part.tables.signatures.shape[1]
        self.offsets = part.tables.offsets.reshape(-1)
        self.signatures = part.tables.signatures.reshape(-1)
        # Numbers of three bytes, read with the first of the next.
        self.positions: NDArray[Any] = np.ndarray(
            CHUNKS * self.kept, "<u4", part.tables.positions.data, strides=3
        )
        self.key_mask = (1 << bits) - 1
        self.flips = _FLIPS[: bits + 1]
        self.directories = _TABLES * ((1 << bits) + 1)
        self.starts = _TABLES * self.kept


def _probed(view: _View, query: U64, radius_bits: int) -> tuple[I64, I64] | None:
    # If 16 chunk distances sum to at most r, going round from one of them every prefix of l chunks
    # sums to at most l * r / 16 (cycle lemma): that chunk's table finds the row.
    one, two = radius_bits // 16, radius_bits // 8
    part = view.part
    words = query.view("<u2").astype(np.int64)
    places = (words & view.key_mask) ^ (view.flips if one else _FLIPS[:1])
    places += view.directories
    starts = view.offsets.take(places).astype(np.int64)
    places += 1
    counts = view.offsets.take(places) - starts
    # The query's own buckets come first.
    own, total = int(counts[0].sum()), int(counts.sum())
    # A list made to overfill these buckets.
    if total > len(part) // 2 + 4096:
        return None

    # One long list of slots: each bucket's start less what came before it, and counting up. Beside
    # it, in the same number, the signature wanted.
    starts += view.starts
    starts, counts = starts.reshape(-1), counts.reshape(-1)
    # Fetches a line of each at once; the long list would wait for them one after the other.
    view.signatures.take(starts, mode="clip")
    starts[1:] -= counts.cumsum()[:-1]
    starts <<= 16
    starts |= words.take(_NEXT[: len(starts)])
    spread = starts.repeat(counts)
    slots = spread >> 16
    slots += _COUNTING[:total] if total <= len(_COUNTING) else np.arange(total)
    differing = view.signatures.take(slots)
    differing ^= spread.astype(np.uint16)
    # At most two bits differ if nothing is left after clearing the lowest one twice.
    for _ in range(two - one):
        differing &= differing - _ONE
    near = differing == 0
    if one:
        near[:own] = (differing[:own] & (differing[:own] - _ONE)) == 0
    slots = slots[near]

    positions = (view.positions[slots] & _THREE_BYTES).astype(np.int64)
    near = _half_distances(part.front.take(positions, axis=0), query[:2]) <= radius_bits
    if not np.count_nonzero(near):
        return positions[:0], positions[:0]
    positions, table = positions[near], slots[near] // view.kept
    rows = np.concatenate((part.front[positions], part.back[positions]), axis=1)
    chunks = np.bitwise_count(_words16(rows ^ query)).astype(np.int64)
    distances = chunks.sum(axis=1)
    # A row is reported from the first table that finds it.
    finds = (chunks <= one) & (chunks + np.roll(chunks, -1, axis=1) <= two)
    own = (distances <= radius_bits) & (finds.argmax(axis=1) == table)
    return positions[own], distances[own]
