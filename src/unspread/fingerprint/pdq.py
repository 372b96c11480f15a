"""PDQ of pixels: 256 bits and a quality, equal to Meta's reference bit for bit.

The reference blurs a picture with two box filters along each axis, keeps 64 x 64 samples, takes
a 16 x 16 corner of their cosine transform and compares it with its median (ThreatExchange,
`pdq/cpp/hashing/pdqhashing.cpp` and `downscaling/downscaling.cpp`). Blur and sampling are linear
and separable, so both are two products with banded matrices,

    B = T(height) · luma · T(width)ᵀ

where the rows of T are tents of about 1/64 of the side (`bands`). One pass over the pixels as
bytes and no full-size picture of floats. Mirrored tents give the same matrix of the mirrored
picture, so that every orientation costs one pass, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.bands import SAMPLES, bands, weigh_columns, weigh_lines
from unspread.model import Fingerprint, Kind, Part

SIDE: Final = SAMPLES
"""Samples along each side of the small matrix."""

MIN_SIDE: Final = 5
"""Smaller pictures have no fingerprint: the reference answers zeros with quality 0."""

_LUMA: Final = np.array([299.0, 587.0, 114.0])
_LUMA_WHOLE: Final = 1000
"""Weights of red, green and blue in thousandths (pdqhashing.cpp, `luma_from_R_coeff` and others):
whole numbers, whose sums are exact."""

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
_OF_THE_REFERENCE: Final = (0, 7, 2, 5, 3, 1, 4, 6)
"""Places in `ORIENTATIONS` of the reference's variants, in its order."""


def small_matrices(pixels: Pixels, orientations: Sequence[Orientation]) -> Matrix:
    """(len(orientations), 64, 64): B of the picture turned each way, from one pass over it.

    Each side has at least `MIN_SIDE` pixels.
    """
    height, width = pixels.shape[:2]
    down = tuple(sorted({each.flips_rows for each in orientations}))
    across = tuple(sorted({each.flips_columns for each in orientations}))
    rows, columns = bands(height, down), bands(width, across)
    whole = rows.whole * columns.whole
    samples = weigh_lines(pixels.reshape(height, -1) if pixels.ndim == 3 else pixels, rows)
    if pixels.ndim == 3:
        samples = samples.reshape(-1, width, 3) @ _LUMA
        whole *= _LUMA_WHOLE
    sums = weigh_columns(samples, columns) / whole
    sums = sums.reshape(SIDE, len(down), SIDE, len(across))
    turned = []
    for each in orientations:
        matrix = sums[:, down.index(each.flips_rows), :, across.index(each.flips_columns)]
        matrix = matrix[:: -1 if each.flips_rows else 1, :: -1 if each.flips_columns else 1]
        turned.append(matrix.T if each.transposes else matrix)
    return np.stack(turned)


def coefficients(matrices: Matrix, *, widened: float = 0.0) -> NDArray[np.float64]:
    """(…, 16, 16): the corner of the cosine transform that the bits compare.

    `widened` is by how much of its sides the picture is continued at each of them, so that a copy
    that was cropped comes near its original again; no pixel is read for it.

    Rounded far below what the reference resolves, so that coefficients that are equal but for the
    order of adding, as in symmetric pictures, are equal on every machine.
    """
    cosines = _COSINES @ _widening(widened) if widened else _COSINES
    transformed = cosines @ matrices @ cosines.T
    rounded: NDArray[np.float64] = np.rint(transformed * _GRID) / _GRID
    return rounded


@cache
def _widening(share: float) -> NDArray[np.float64]:
    """(64, 64): samples of a side to those of one that goes on for `share` of it at both ends.

    What was there is guessed to be as at the edge.
    """
    at = (np.arange(SIDE) + 0.5) * (1 + 2 * share) - share * SIDE - 0.5
    at = at.clip(0, SIDE - 1)
    before = np.minimum(at.astype(int), SIDE - 2)
    samples = np.zeros((SIDE, SIDE))
    samples[np.arange(SIDE), before] = before + 1 - at
    samples[np.arange(SIDE), before + 1] = at - before
    return samples


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
    return bits(turned_coefficients(coefficients(matrix))[list(_OF_THE_REFERENCE)])


def turned_coefficients(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8, …, 16, 16): of samples in each of `ORIENTATIONS`, by signs and transposition."""
    rows, columns = _ALTERNATING[:, None], _ALTERNATING
    across = plain.swapaxes(-1, -2)
    return np.stack(
        [
            plain,
            plain * columns,
            plain * rows * columns,
            plain * rows,
            across,
            across * columns,
            across * rows * columns,
            across * rows,
        ]
    )


def distance_bits(one: bytes, other: bytes) -> int:
    """In how many bits two values of the same length differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
