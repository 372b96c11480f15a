"""How fingerprints lie in memory and in the file: bit order, chunks, tables, clumps.

Everything here is a fact that both kernels and the snapshot share; docs/matching.md draws it.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

Int64s = I64 | bytes
"""Arrays or their bytes: to make an array costs more than some queries."""
Found = tuple[Int64s, Int64s, bool]
"""ids, distances in bits, and whether there were more than the limit."""
FoundMany = tuple[Int64s, Int64s, Int64s, Int64s]
"""query positions, ids, distances in bits; and the positions of queries that met the limit."""

ROW_BITS: Final = 256
ROW_WORDS: Final = 4
"""64-bit words of a row."""
CHUNKS: Final = 16
CHUNK_BITS: Final = 16
TABLE_RADIUS_BITS: Final = 31
"""Above this the tables would need more probes than a scan costs, so rows are scanned."""

PART_ROWS: Final = 1 << 24
"""Most rows in one part: positions take three bytes."""
FLAT_ROWS: Final = 4096
"""Up to so many rows a scan is faster than 272 probes, and no tables are kept."""

CLUMP_REACH_BITS: Final = 80
"""How far from its centre a clump gathers: a stranger is 128 ± 8 bits away."""
CLUMP_SHARED_BITS: Final = 76
"""Whoever shares so many bits with all of a crowd is gathered from farther away: a stranger shares
38 ± 4 of them, and needs 45 to be within 31 bits of any."""
CLUMP_MOST_BITS: Final = 127
"""Farther than that no member is: seven columns say how far."""
MAX_CLUMPS: Final = 256
"""Each costs every query about a nanosecond."""

BUCKET_ROWS: Final = 16
"""About as many rows as a bucket should hold: so many signatures fit one cache line."""

CLUMP_BLOCK: Final = 512
"""Members of clumps, or pairs of them, that are compared at once."""
CLUMP_COLUMNS: Final = ROW_BITS + 8
"""The bits of a row, and those of how many of them are set."""


def secret_order() -> U8:
    """(256,) every bit once, in an order that nobody can guess: `order` below and in kernels.

    Bit i of a permuted row is bit order[i] of the canonical one; bit 0 is word 0's lowest.
    Neighbouring bits of a PDQ are correlated: unpermuted, the buckets that a query meets are up to
    twice as full. And whoever knew which bits share a bucket could list rows that fill it.
    """
    bits = list(range(ROW_BITS))
    secrets.SystemRandom().shuffle(bits)
    return np.array(bits, dtype=np.uint8)


def checked_rows(rows: U64, what: str = "rows") -> U64:
    """The rows as a contiguous (n, 4) array of native uint64.

    Raises:
        InputError: for any other shape or dtype.
    """
    given = np.asarray(rows)
    if given.dtype.kind != "u" or given.dtype.itemsize != 8:
        raise InputError(f"{what}: uint64 words wanted, not {given.dtype}")
    if given.ndim != 2 or given.shape[1] != ROW_WORDS:
        raise InputError(f"{what}: shape (n, {ROW_WORDS}) wanted, not {given.shape}")
    return np.ascontiguousarray(given, dtype=np.uint64)


def checked_ids(ids: I64, count: int | None = None) -> I64:
    """The ids as a contiguous (n,) int64 array.

    Raises:
        InputError: if they are not integers that fit, not one-dimensional, or not `count` many.
    """
    given = np.asarray(ids)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu" or given.ndim != 1:
        raise InputError(f"ids: integers of shape (n,) wanted, not {given.dtype} {given.shape}")
    if given.dtype.kind == "u" and given.size and int(given.max()) > np.iinfo(np.int64).max:
        raise InputError("ids: an id does not fit 63 bits")
    if count is not None and len(given) != count:
        raise InputError(f"{len(given)} ids for {count} rows")
    return np.ascontiguousarray(given, dtype=np.int64)


def checked_radius(radius_bits: int) -> int:
    """The radius, 0..256.

    Raises:
        InputError: if it is outside.
    """
    if not 0 <= radius_bits <= ROW_BITS:
        raise InputError(f"radius_bits is 0 to {ROW_BITS}, not {radius_bits}")
    return int(radius_bits)


def chunk(front: U64, back: U64, number: int) -> U16:
    """(n,) chunk `number`, 0..15, of permuted rows given as halves."""
    half, number = (front, number) if number < CHUNKS // 2 else (back, number - CHUNKS // 2)
    word, shift = divmod(number * 16, 64)
    return (half[:, word] >> np.uint64(shift)).astype(np.uint16)


def key_bits_for(rows: int) -> int:
    """Bits of the keys of tables over so many rows.

    Not always all 16: the directory of few rows would take more of the cache than the rows.
    """
    return min(CHUNK_BITS, max(rows // (BUCKET_ROWS // 2), 1).bit_length() - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Sixteen tables over the m rows of a part in no clump; table t is keyed by chunk t.

    The key of a chunk is its lowest `key_bits` bits.
    """

    offsets: U32
    """(16, 2**key_bits + 1): rows with key k lie at offsets[t, k] up to offsets[t, k + 1]."""
    signatures: U16
    """(16, m): the next chunk, t + 1 (mod 16), of each row, in table order."""
    positions: U8
    """(16 * m + 1, 3): where the row stands in the part, little-endian; the last one is padding."""

    @property
    def key_bits(self) -> int:
        """Bits of a chunk that choose its bucket."""
        keys: int = self.offsets.shape[1] - 1
        return keys.bit_length() - 1


@dataclass(frozen=True, slots=True, eq=False)
class Clumps:
    """Groups of rows too alike for the tables, scanned as a whole by queries that come near."""

    starts: U32
    """(c + 1,) clump i holds members starts[i] up to starts[i + 1]."""
    centres: U64
    """(c, 4) permuted."""
    radii: U32
    """(c,) the largest distance of a member from its centre."""
    positions: U32
    """(k,) each member's place in the part, ascending within a clump."""
    common: U64
    """(c, 4) the bits in which every member is like the centre."""
    columns: U64
    """(264, 8 * ceil(k / 512)) a bit of each member, in the order of `positions`.

    The first 256 columns are the bits in which it differs from its centre, then come seven, the
    lowest first, for how many those are; the last is empty.
    """
    pairs: U64
    """(264, 8 * ceil(k / 1024)) the same of two members each: all bits that either has, and the
    smaller of the two numbers. It is at least as near to any query as both of them are.
    """
    paired: U16
    """(1024 * ceil(k / 1024),) which two: the members of 1024 in the order of `positions`, by how
    far they are from the centre, for the more alike two are, the better they stand for each other.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Up to 2**24 rows, ordered by id, with what makes them quick to search."""

    ids: I64
    """(n,) ascending; the same id may come many times."""
    front: U64
    """(n, 2) the lower 128 bits of the permuted rows."""
    back: U64
    """(n, 2) the upper 128 bits."""
    dead: U8
    """(n,) not 0 where removed; the only array that changes."""
    tables: Tables | None = None
    """None for a part so small that it is scanned."""
    clumps: Clumps | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def memory_bytes(self) -> int:
        """What the arrays take."""
        arrays: list[NDArray[Any]] = [self.ids, self.front, self.back, self.dead]
        if self.tables:
            arrays += [self.tables.offsets, self.tables.signatures, self.tables.positions]
        if self.clumps:
            held = self.clumps
            arrays += [held.starts, held.centres, held.radii, held.positions]
            arrays += [held.common, held.columns, held.pairs, held.paired]
        return sum(array.nbytes for array in arrays)
