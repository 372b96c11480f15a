"""The slow, obvious matcher, and rows made to sit where an off-by-one hides."""

import numpy as np

from unspread.match.compiled_kernel import INSTRUCTION_SETS, CompiledKernel
from unspread.match.layout import CHUNKS, secret_order
from unspread.match.numpy_kernel import NumpyKernel

KERNELS = [NumpyKernel(), *(CompiledKernel(each) for each in INSTRUCTION_SETS)]
KERNEL_NAMES = [kernel.name for kernel in KERNELS]
ORDER = secret_order()
"""Of the bits of every index that a test builds by hand: answers must not depend on it."""


def distance_bits(left, right):
    """Bits in which two rows differ, by Python's integers."""
    return (int.from_bytes(left.tobytes()) ^ int.from_bytes(right.tobytes())).bit_count()


def matches_within(entries, query, radius_bits):
    """(id, distance) of every entry, a list of (id, row), nearest first and then by id."""
    found = [(each, distance_bits(row, query)) for each, row in entries]
    return sorted(
        ((each, away) for each, away in found if away <= radius_bits),
        key=lambda match: (match[1], match[0]),
    )


def answer(found):
    """Matches as the oracle gives them."""
    return list(zip(found.ids.tolist(), found.distances_bits.tolist(), strict=True))


def random_rows(count, seed):
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def flipped(row, bits):
    """The row with these bits changed."""
    changed = row.copy()
    for bit in bits:
        changed[int(bit) // 64] ^= np.uint64(1) << np.uint64(int(bit) % 64)
    return changed


def flipped_by_chunk(row, counts, rng):
    """The row with counts[t] bits changed among those that ORDER puts into chunk t."""
    assert len(counts) == CHUNKS
    chosen = [ORDER[16 * chunk + rng.permutation(16)[:count]] for chunk, count in enumerate(counts)]
    return flipped(row, np.concatenate(chosen))
