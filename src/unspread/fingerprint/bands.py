"""The two banded products that blur and sample a picture, compiled or in numpy.

Of a line of n pixels each of 64 samples takes what lies under its tent: a box of boxes, each
⌈n/128⌉ wide. Where no box is cut short by an end of the line, the weights are the whole numbers
1, 2 … window … 2, 1 over window², so that sums are exact in any order of adding: the same on every
machine and from either kernel. The few tents that are cut are added up by numpy; what the order of
adding leaves there, 1e-13, is rounded away before coefficients are compared.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint import kernel

SAMPLES: Final = 64
"""Of a line."""

_WINDOWS_PER_SIDE: Final = 128
"""A box is 1/128 of the side wide, rounded up (ThreatExchange, pdq/cpp/downscaling/downscaling.cpp,
computeJaroszFilterWindowSize)."""

_MAX_COMPILED_WINDOW: Final = 257
"""A pixel times a weight fits in 16 bits, 255 · 257."""
_EXACT_IN_FLOAT32: Final = 1 << 24

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bands:
    """Tents over a line of one length, in the order in which they stand on it.

    Those of a line that is read backwards stand between the others: tent 2 · i belongs to sample i,
    tent 2 · i + 1 to sample 63 - i of the mirrored line, unless only one direction was asked for.
    """

    starts: NDArray[np.int32]
    """The first pixel under each tent, negative for those that are cut."""
    weights: NDArray[np.uint16]
    """Of every tent that is not cut."""
    cut: tuple[tuple[int, int, NDArray[np.float64]], ...]
    """Number, first pixel and weights of each tent that is."""
    whole: int
    """To divide weighed sums by."""


@lru_cache(maxsize=1024)
def bands(length: int, directions: tuple[bool, ...]) -> Bands:
    """The tents over `length` pixels, at least 5; a direction is True where it is backwards."""
    window = -(-length // _WINDOWS_PER_SIDE)
    ahead = (window + 2) // 2
    starts, cut = [], []
    for place in range(SAMPLES):
        for backwards in directions:
            sample = SAMPLES - 1 - place if backwards else place
            centre = int((sample + 0.5) * length / SAMPLES)
            first = centre - 2 * (window - ahead)
            if first >= 0 and centre + 2 * ahead - 1 <= length:
                # 2 · window - 1 pixels, counted from the other end if it is read backwards.
                starts.append(length - first - (2 * window - 1) if backwards else first)
                continue
            start, weights = _cut_tent(length, window, centre)
            if backwards:
                start, weights = length - start - len(weights), weights[::-1]
            cut.append((len(starts), start, weights))
            starts.append(-1)
    rising = np.arange(1, window + 1, dtype=np.uint16)
    return Bands(
        np.array(starts, np.int32),
        np.concatenate([rising, rising[-2::-1]]),
        tuple(cut),
        window * window,
    )


def _cut_tent(length: int, window: int, centre: int) -> tuple[int, NDArray[np.float64]]:
    """Boxes divide by what they cover, which is less at the ends."""
    ahead = (window + 2) // 2
    index = np.arange(length)
    first = np.maximum(index - (window - ahead), 0)
    last = np.minimum(index + ahead, length)
    start, stop = int(first[first[centre]]), int(last[last[centre] - 1])
    weights = np.zeros(stop - start)
    for inner in range(first[centre], last[centre]):
        weights[first[inner] - start : last[inner] - start] += 1 / (last[inner] - first[inner])
    return start, weights * (window * window / (last[centre] - first[centre]))


def weigh_lines(lines: NDArray[np.uint8], over: Bands) -> Sums:
    """(height, n) bytes to (m, n): under each tent over the height, down each column."""
    if kernel.compiled is None or len(over.weights) >= 2 * _MAX_COMPILED_WINDOW:
        sums = np.empty((len(over.starts), lines.shape[1]))
        exact = over.whole * 255 <= _EXACT_IN_FLOAT32
        weights = over.weights.astype(np.float32 if exact else np.float64)
        for row, start in enumerate(over.starts):
            if start >= 0:
                sums[row] = weights @ lines[start : start + len(weights)].astype(weights.dtype)
    else:
        if lines.strides[1] != 1:
            lines = np.ascontiguousarray(lines)
        whole = np.zeros((len(over.starts), lines.shape[1]), np.uint32)
        kernel.compiled.weigh_lines(lines, over.starts, over.weights, whole)
        sums = whole.astype(np.float64)
    for row, start, cut in over.cut:
        sums[row] = cut @ lines[start : start + len(cut)]
    return sums


def weigh_columns(samples: Sums, over: Bands) -> Sums:
    """(k, width) to (k, m): under each tent over the width, along each row."""
    samples = np.ascontiguousarray(samples)
    sums = np.empty((len(samples), len(over.starts)))
    weights = over.weights.astype(np.float64)
    if kernel.compiled is None:
        for column, start in enumerate(over.starts):
            if start >= 0:
                sums[:, column] = samples[:, start : start + len(weights)] @ weights
    else:
        kernel.compiled.weigh_columns(samples, over.starts, weights, sums)
    for column, start, cut in over.cut:
        sums[:, column] = samples[:, start : start + len(cut)] @ cut
    return sums
