"""Lists to search: uniform bits, and a mixture that is as uneven as pictures are."""

import numpy as np
from numpy.typing import NDArray

from unspread.match.layout import ROW_BITS, U64

_BLOCK = 20_000
_SIDE = 16
"""A PDQ is the signs of 16 x 16 cosine coefficients, against their median."""


def uniform(count: int, seed: int) -> U64:
    """(count, 4) rows of independent fair bits."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def real(count: int, seed: int) -> U64:
    """(count, 4) rows: 55 % natural pictures, 15 % graphics, 5 % degenerate, 25 % near-copies.

    A natural picture's coefficients fall off as 1/f and are the sum of a few separable patterns
    (edges, blobs) and noise; a graphic has few patterns and little noise; a degenerate one is all
    but 32 bits one of 20 (a plain colour, a gradient). Near-copies come in clusters whose sizes
    follow Zipf's law, up to 5000 (memes, screenshots), 0 to 40 bits from their centre.
    """
    rng = np.random.default_rng(seed)
    sizes = (np.array([0.55, 0.15, 0.05]) * count).astype(int)
    natural, graphics, degenerate = sizes
    rows = [
        _pictures(natural, rng, patterns=6, noise=0.5),
        _pictures(graphics, rng, patterns=2, noise=0.05),
        _degenerate(degenerate, rng),
        _near_copies(count - int(sizes.sum()), rng),
    ]
    mixed = np.concatenate(rows)
    rng.shuffle(mixed)
    return mixed


def flipped(rows: U64, bits: NDArray[np.int64], seed: int) -> U64:
    """Each row with `bits[i]` different bits changed."""
    rng = np.random.default_rng(seed)
    changed = rows.copy()
    for start in range(0, len(rows), _BLOCK):
        block = changed[start : start + _BLOCK]
        ranks = rng.random((len(block), ROW_BITS)).argsort(axis=1).argsort(axis=1)
        mask = ranks < bits[start : start + _BLOCK, None]
        block ^= np.packbits(mask, axis=1, bitorder="little").view("<u8")
    return changed


def _pictures(count: int, rng: np.random.Generator, *, patterns: int, noise: float) -> U64:
    fall = (1 / np.arange(1, _SIDE + 1)).astype(np.float32)
    both = np.sqrt(fall[:, None] * fall)
    rows = np.empty((count, 4), dtype=np.uint64)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        shape = (size, patterns, _SIDE)
        down = rng.standard_normal(shape, dtype=np.float32) * fall
        across = rng.standard_normal(shape, dtype=np.float32) * fall
        waves = np.matmul(down.transpose(0, 2, 1), across)
        waves += noise * both * rng.standard_normal((size, _SIDE, _SIDE), dtype=np.float32)
        waves = waves.reshape(size, ROW_BITS)
        bits = waves > np.median(waves, axis=1, keepdims=True)
        rows[start : start + size] = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return rows


def _degenerate(count: int, rng: np.random.Generator) -> U64:
    centres = rng.integers(0, 2**64, (20, 4), dtype=np.uint64)
    free = np.stack([rng.permutation(ROW_BITS)[:32] for _ in centres])
    chosen = rng.integers(0, len(centres), count)
    mask = np.zeros((count, ROW_BITS), dtype=np.uint8)
    np.put_along_axis(mask, free[chosen], rng.integers(0, 2, (count, 32), dtype=np.uint8), axis=1)
    rows: U64 = centres[chosen] ^ np.packbits(mask, axis=1, bitorder="little").view("<u8")
    return rows


def _near_copies(count: int, rng: np.random.Generator) -> U64:
    sizes = np.minimum(rng.zipf(1.6, count), 5000)
    kept = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    centres = _pictures(kept, rng, patterns=6, noise=0.5)
    rows = np.repeat(centres, sizes[:kept], axis=0)[:count]
    return flipped(rows, rng.integers(0, 41, len(rows)), int(rng.integers(2**31)))
