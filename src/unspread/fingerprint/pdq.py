"""PDQ of pixels: 256 bits and a quality, equal to Meta's reference bit for bit.

The reference blurs a picture with two box filters along each axis, keeps 64 x 64 samples, takes
a 16 x 16 corner of their cosine transform and compares it with its median (ThreatExchange,
`pdq/cpp/hashing/pdqhashing.cpp` and `downscaling/downscaling.cpp`). Blur and sampling are linear
and separable, so both are two products with banded matrices,

    B = T(height) · luma · T(width)ᵀ

where the rows of T are tents of about 1/64 of the side. One pass over the pixels as bytes, one
sixty-fourth of them at a time, and no full-size picture of floats. Mirrored tents give the same
matrix of the mirrored picture, so that every orientation costs one pass, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unspread.model import Fingerprint, Kind, Part

SIDE: Final = 64
"""Samples along each side of the small matrix."""

MIN_SIDE: Final = 5
"""Smaller pictures have no fingerprint: the reference answers zeros with quality 0."""

_LUMA: Final = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (pdqhashing.cpp, `luma_from_R_coeff` and following)."""

_WINDOWS_PER_SIDE: Final = 128
"""A box is 1/128 of the side wide, rounded up (downscaling.cpp, computeJaroszFilterWindowSize)."""

_EXACT_IN_FLOAT32: Final = 1 << 24
_GRID: Final = 1 << 20

_GRADIENTS_PER_QUALITY: Final = 90
"""pdqhashing.cpp, pdqImageDomainQualityMetric."""

_FREQUENCIES: Final = np.arange(1, 17)[:, None]
_COSINES: Final = np.sqrt(2 / SIDE) * np.cos(
    np.pi / 2 / SIDE * _FREQUENCIES * (2 * np.arange(SIDE) + 1)
)
"""(16, 64): rows 1..16 of the cosine transform, without the constant one."""

_ALTERNATING: Final = np.where(_FREQUENCIES[:, 0] % 2 == 1, -1.0, 1.0)
"""Signs that mirror a picture in the domain of its cosine transform."""

Pixels = NDArray[np.uint8]
"""(height, width) of luma or (height, width, 3) of red, green and blue."""
Matrix = NDArray[np.float64]
"""(…, 64, 64) samples of luma, 0..255."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become upright ones: flip rows, flip columns, then transpose."""

    flips_rows: bool = False
    flips_columns: bool = False
    transposes: bool = False

    @classmethod
    def from_exif(cls, value: int) -> "Orientation":
        """The turn that tag 0x0112 asks for (EXIF 2.32, 4.6.4); upright if it is not 1..8."""
        return _BY_EXIF.get(value, UPRIGHT)

    @classmethod
    def from_quarter_turns(cls, anticlockwise: int) -> "Orientation":
        """As many quarter turns against the clock."""
        return cls.from_exif((1, 8, 3, 6)[anticlockwise % 4])

    def then(self, other: "Orientation") -> "Orientation":
        """The single turn that does this one and then the other."""
        rows, columns = other.flips_rows, other.flips_columns
        if self.transposes:
            rows, columns = columns, rows
        return Orientation(
            self.flips_rows ^ rows, self.flips_columns ^ columns, self.transposes ^ other.transposes
        )

    def upright(self, pixels: "Pixels") -> "Pixels":
        """The pixels turned, not copied."""
        if self.flips_rows:
            pixels = pixels[::-1]
        if self.flips_columns:
            pixels = pixels[:, ::-1]
        return pixels.swapaxes(0, 1) if self.transposes else pixels

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width once upright."""
        return (width, height) if self.transposes else (height, width)


UPRIGHT: Final = Orientation()
_BY_EXIF: Final = {
    1: UPRIGHT,
    2: Orientation(flips_columns=True),
    3: Orientation(flips_rows=True, flips_columns=True),
    4: Orientation(flips_rows=True),
    5: Orientation(transposes=True),
    6: Orientation(flips_rows=True, transposes=True),
    7: Orientation(flips_rows=True, flips_columns=True, transposes=True),
    8: Orientation(flips_columns=True, transposes=True),
}
ORIENTATIONS: Final = tuple(_BY_EXIF.values())
"""The eight turns and mirrors of a picture, upright first."""


@dataclass(frozen=True, slots=True)
class _Band:
    """The pixels that one sample is made of, seen from the first side and from the last."""

    start: int
    weights: NDArray[Any]
    """(2, n): of sample i from the first pixel on, and of sample 63 - i from the last one back."""
    scale: float
    """To multiply weighed sums with."""


def _tents(length: int) -> NDArray[np.float64]:
    """(64, length): what each sample takes of each pixel of a line."""
    window = -(-length // _WINDOWS_PER_SIDE)
    ahead = (window + 2) // 2
    index = np.arange(length)
    first = np.maximum(index - (window - ahead), 0)
    last = np.minimum(index + ahead, length)
    # T is needed in 64 rows only; a full box matrix of a long line would not fit in memory.
    tents = np.zeros((SIDE, length))
    for row, tent in enumerate(tents):
        centre = int((row + 0.5) * length / SIDE)
        share = 1 / (last[centre] - first[centre])
        for inner in range(first[centre], last[centre]):
            tent[first[inner] : last[inner]] += share / (last[inner] - first[inner])
    return tents


@lru_cache(maxsize=256)
def _bands(length: int) -> tuple[_Band, ...]:
    tents = _tents(length)
    # Where no window is cut short the weights are whole 1/window²: as whole numbers their sums are
    # exact in any order of adding, hence the same on every machine.
    whole = (-(-length // _WINDOWS_PER_SIDE)) ** 2
    small_enough = whole * 255 <= _EXACT_IN_FLOAT32
    bands = []
    for both in zip(tents, tents[::-1, ::-1], strict=True):
        (used,) = np.nonzero(both[0] + both[1])
        start, stop = int(used[0]), int(used[-1]) + 1
        weights = np.array([each[start:stop] for each in both]) * whole
        numbers = np.rint(weights)
        if small_enough and np.allclose(weights, numbers, rtol=0, atol=1e-6):
            weights = numbers.astype(np.float32)
        bands.append(_Band(start, weights, 1 / whole))
    return tuple(bands)


def _along_columns(lines: NDArray[np.uint8], sides: Sequence[bool]) -> NDArray[np.float64]:
    """(height, n) bytes to (len(sides), 64, n) samples down each column; True: from the last."""
    height, width = lines.shape
    samples = np.empty((len(sides), SIDE, width))
    for row, band in enumerate(_bands(height)):
        block = lines[band.start : band.start + band.weights.shape[1]].astype(band.weights.dtype)
        weighed = band.weights[[int(side) for side in sides]] @ block
        for place, mirrored in enumerate(sides):
            target = samples[place, SIDE - 1 - row if mirrored else row]
            np.multiply(weighed[place], band.scale, out=target)
    return samples


@lru_cache(maxsize=256)
def _matrix_along_rows(length: int, mirrored: bool) -> NDArray[np.float64]:
    """(length, 64): T(length)ᵀ, of the line read backwards if mirrored."""
    tents = _tents(length)
    return np.ascontiguousarray((tents[:, ::-1] if mirrored else tents).T)


def small_matrices(pixels: Pixels, orientations: Sequence[Orientation]) -> Matrix:
    """(len(orientations), 64, 64): B of the picture turned each way, from one pass over it.

    Each side has at least `MIN_SIDE` pixels.
    """
    height, width = pixels.shape[:2]
    sides = sorted({each.flips_rows for each in orientations})
    samples = _along_columns(pixels.reshape(height, -1), sides)
    if pixels.ndim == 3:
        samples = samples.reshape(len(sides), SIDE, width, 3) @ _LUMA
    across = sorted({each.flips_columns for each in orientations})
    weights = np.concatenate([_matrix_along_rows(width, each) for each in across], axis=1)
    both = (samples.reshape(-1, width) @ weights).reshape(len(sides), SIDE, len(across), SIDE)
    turned = []
    for each in orientations:
        matrix = both[sides.index(each.flips_rows), :, across.index(each.flips_columns)]
        turned.append(matrix.T if each.transposes else matrix)
    return np.stack(turned)


def coefficients(matrices: Matrix) -> NDArray[np.float64]:
    """(…, 16, 16): the corner of the cosine transform that the bits compare.

    Rounded far below what the reference resolves, so that coefficients that are equal but for the
    order of adding, as in symmetric pictures, are equal on every machine.
    """
    transformed = _COSINES @ matrices @ _COSINES.T
    rounded: NDArray[np.float64] = np.rint(transformed * _GRID) / _GRID
    return rounded


def bits(transformed: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(…, 16, 16) coefficients to (…, 32) bytes in canonical order.

    Bit 16 * i + j of the number whose big-endian bytes these are is coefficient (i, j) compared
    with the lower median (pdqhashing.cpp, pdqBuffer16x16ToBits; hashing/torben.cpp).
    """
    flat = transformed.reshape(*transformed.shape[:-2], 256)
    median = np.partition(flat, 127, axis=-1)[..., 127:128]
    return np.packbits((flat > median)[..., ::-1], axis=-1)


def qualities(matrices: Matrix) -> NDArray[np.int64]:
    """(…): 0..100, how much there is to see; of (…, 64, 64) samples."""
    total: NDArray[np.int64] = np.zeros(matrices.shape[:-2], np.int64)
    for axis in (-2, -1):
        steps = np.trunc(np.diff(matrices.astype(np.float32), axis=axis) * 100 / 255)
        total += np.abs(steps).astype(np.int64).sum(axis=(-2, -1))
    return np.minimum(total // _GRADIENTS_PER_QUALITY, 100)


def fingerprints(matrices: Matrix, part: Part = Part.WHOLE) -> list[Fingerprint]:
    """The fingerprint of each of (n, 64, 64) small matrices."""
    values = bits(coefficients(matrices))
    return [
        Fingerprint(Kind.PDQ, value.tobytes(), part, int(quality))
        for value, quality in zip(values, qualities(matrices), strict=True)
    ]


def fingerprint(pixels: Pixels, orientation: Orientation = UPRIGHT) -> Fingerprint:
    """The fingerprint of a whole picture, turned upright."""
    if min(pixels.shape[:2]) < MIN_SIDE:
        return Fingerprint(Kind.PDQ, bytes(32), Part.WHOLE, 0)
    return fingerprints(small_matrices(pixels, [orientation]))[0]


def dihedral(matrix: Matrix) -> NDArray[np.uint8]:
    """(8, 32): the reference's variants of one small matrix, in its order.

    Unchanged, turned by 90, 180 and 270 degrees, mirrored in x, in y and in both diagonals
    (pdqhashing.cpp, dct16OriginalToRotate90 and following). They equal the fingerprints of really
    turned pixels only nearly, up to 58 bits apart, because the box filter is not symmetric;
    `small_matrices` is exact.
    """
    return bits(turned_coefficients(coefficients(matrix)))


def turned_coefficients(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8, …, 16, 16): coefficients of the eight turns of samples, by signs and transposition."""
    rows, columns = _ALTERNATING[:, None], _ALTERNATING
    across = plain.swapaxes(-1, -2)
    return np.stack(
        [
            plain,
            across * rows,
            plain * rows * columns,
            across * columns,
            plain * rows,
            plain * columns,
            across,
            across * rows * columns,
        ]
    )


def distance_bits(one: bytes, other: bytes) -> int:
    """In how many bits two values of the same length differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
