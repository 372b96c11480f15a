"""Windows of a picture that are anchored in what it shows, so that a cropped copy has them too.

A grid of windows would have to guess where a copy was cut. These stand around the strongest
squares that are brighter or darker than what surrounds them, in a size that follows from the
square's: wherever such a square is shown in full, in a crop, a screenshot, a collage, beside a
sticker, it brings its window along. Their fingerprints are compared like those of whole pictures.

Everything is read off one table of sums over at most 512 x 512 cells of whole numbers. Cells are
averaged evenly, so that turns and mirrors of a window are exact signs and transpositions of its
coefficients. The rule stands in docs/protocol/fingerprints.md, for the browser to follow too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint import pdq
from unspread.fingerprint.pdq import Pixels
from unspread.model import MIN_PDQ_QUALITY, Fingerprint, Kind, Part

MAX_CELLS: Final = 512
"""Along the longer side."""

SUBMITTED_WINDOWS: Final = 16
SUBMITTED_MIN_SHARE: Final = 0.3
"""Of the shorter side: smaller windows would give away finer detail than the search needs."""

SCANNED_WINDOWS: Final = 48
SCANNED_MIN_SHARE: Final = 0.2
SCANNED_MIN_QUALITY: Final = 65
"""More than a whole picture needs: a window that shows one edge of something looks like every
other such edge."""
SCANNED_SIZES: Final = (0.97, 1.0, 1.03)
"""A platform tries each window a little smaller and larger: sizes are found to about 3 %."""

_RED, _GREEN, _BLUE = 299, 587, 114
"""Thousandths: pdq's weights of luma as whole numbers, whose sums are exact everywhere."""

_HALF_SIZES: Final = tuple(round(4 * 2 ** (step / 4)) for step in range(24))
"""Of the inner square, in cells, without its middle: 4, 5, 6, 7, 8, 10, 11, 13, 16 …"""

_WINDOW_PER_HALF_SIZE: Final = 6.0
"""A window reaches this many half sizes to each side of its anchor."""

_SLACK: Final = 0.8
"""Squares are looked at a little beyond the sizes asked for, as their size is then refined."""

_MIN_CONTRAST: Final = 3.0
"""Between the inner square and the ring around it, 0..255."""

_NEAR: Final = 0.25
_ALIKE: Final = (0.7, 1.4)
"""Two windows are one where their middles are nearer than a quarter of their joint reach and
their reaches are in this proportion."""


@dataclass(frozen=True, slots=True)
class Window:
    """A square of a picture, in cells of its table."""

    row: float
    column: float
    """Of its middle; 0 is the outer edge of the first cell."""
    reach: float
    """From the middle to each side."""


@dataclass(frozen=True, slots=True)
class Table:
    """Sums of luma over every rectangle of cells from the first corner on."""

    sums: NDArray[np.float64]
    """(rows + 1, columns + 1)."""
    cell_pixels: int
    """Along each side of a cell."""

    @property
    def rows(self) -> int:
        """Of cells."""
        return int(self.sums.shape[0]) - 1

    @property
    def columns(self) -> int:
        """Of cells."""
        return int(self.sums.shape[1]) - 1


def table_of(pixels: Pixels) -> Table:
    """Of upright pixels; those that do not fill a cell at the last edges are left out."""
    height, width = pixels.shape[:2]
    side = -(-max(height, width) // MAX_CELLS)
    rows, columns = height // side, width // side
    used = pixels[: rows * side, : columns * side]
    across = np.zeros((rows, *used.shape[1:]), np.uint32)
    for row in range(side):
        across += used[row::side]
    cells = np.zeros((rows, columns, *used.shape[2:]), np.int64)
    for column in range(side):
        cells += across[:, column::side]
    luma = cells @ np.array([_RED, _GREEN, _BLUE]) if cells.ndim == 3 else cells * 1000
    sums = np.zeros((rows + 1, columns + 1))
    np.cumsum(np.cumsum(luma, axis=0), axis=1, out=sums[1:, 1:])
    # Whole numbers below 2**53 until here: exact in any order of adding.
    return Table(sums / (1000 * side * side), side)


def windows_of(table: Table, *, count: int, min_share: float) -> list[Window]:
    """At most `count` windows, strongest anchor first, none smaller than `min_share`."""
    shorter = min(table.rows, table.columns)
    smallest = _SLACK * min_share * shorter / (2 * _WINDOW_PER_HALF_SIZE)
    largest = shorter / _SLACK / (2 * _WINDOW_PER_HALF_SIZE)
    sizes = [
        size
        for size, smaller, larger in zip(
            _HALF_SIZES, (0, *_HALF_SIZES), (*_HALF_SIZES[1:], _HALF_SIZES[-1]), strict=False
        )
        if larger >= smallest and smaller <= largest
    ]
    levels = [
        _Level.of(table, size, smaller)
        for size, smaller in zip(sizes, (*sizes[:1], *sizes), strict=False)
    ]
    chosen: list[Window] = []
    for window in _strongest_first(levels):
        if 2 * window.reach < min_share * shorter or not _is_inside(window, table):
            continue
        if not any(_is_same(window, other) for other in chosen):
            chosen.append(window)
            if len(chosen) == count:
                break
    return chosen


def _strongest_first(levels: list["_Level"]) -> Iterator[Window]:
    """Refined one by one, as few are needed; of equal contrast by reach, row and column."""
    trios = [levels[at : at + 3] for at in range(len(levels) - 2)]
    if not trios:
        return
    found = [_anchors(trio) for trio in trios]
    strengths = np.concatenate(
        [np.abs(trio[1].at(*places)) for trio, places in zip(trios, found, strict=True)]
    )
    trio_of = np.repeat(np.arange(len(trios)), [len(rows) for rows, _ in found])
    rows, columns = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(-strengths, kind="stable")
    start = 0
    for end in [*(np.flatnonzero(np.diff(strengths[order])) + 1).tolist(), len(order)]:
        equal = [
            _refined(trios[trio_of[at]], int(rows[at]), int(columns[at]))
            for at in order[start:end].tolist()
        ]
        yield from sorted(equal, key=lambda each: (each.reach, each.row, each.column))
        start = end


def coefficients_of(table: Table, windows: list[Window]) -> tuple[pdq.Matrix, NDArray[np.int64]]:
    """(n, 16, 16) coefficients and (n,) qualities of windows."""
    middles = np.array([(each.row, each.column) for each in windows]).reshape(-1, 2)
    reaches = np.array([each.reach for each in windows])[:, None]
    edges = np.arange(pdq.SIDE + 1) / (pdq.SIDE / 2) - 1
    rows = np.clip(middles[:, :1] + reaches * edges, 0, table.rows)
    columns = np.clip(middles[:, 1:] + reaches * edges, 0, table.columns)
    sums = _interpolated(table.sums, rows, columns)
    areas = (2 * reaches / pdq.SIDE)[..., None] ** 2
    matrices = np.diff(np.diff(sums, axis=1), axis=2) / areas
    return pdq.coefficients(matrices), pdq.qualities(matrices)


def window_fingerprints(pixels: Pixels) -> list[Fingerprint]:
    """What is submitted beside the whole of an upright picture."""
    table = table_of(pixels)
    windows = windows_of(table, count=SUBMITTED_WINDOWS, min_share=SUBMITTED_MIN_SHARE)
    if not windows:
        return []
    coefficients, qualities = coefficients_of(table, windows)
    return [
        Fingerprint(Kind.PDQ, value.tobytes(), Part.WINDOW, int(quality))
        for value, quality in zip(pdq.bits(coefficients), qualities, strict=True)
        if quality >= MIN_PDQ_QUALITY
    ]


def window_probes(pixels: Pixels) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(8n, 32) values and (8n,) qualities of what a platform looks up.

    Each window in the eight turns of `pdq.ORIENTATIONS`, one after the other.
    """
    table = table_of(pixels)
    windows = [
        Window(each.row, each.column, each.reach * size)
        for each in windows_of(table, count=SCANNED_WINDOWS, min_share=SCANNED_MIN_SHARE)
        for size in SCANNED_SIZES
    ]
    if not windows:
        return np.empty((0, 32), np.uint8), np.empty(0, np.int64)
    coefficients, qualities = coefficients_of(table, windows)
    worth = qualities >= SCANNED_MIN_QUALITY
    turned = pdq.turned_coefficients(coefficients[worth]).swapaxes(0, 1)
    return pdq.bits(turned).reshape(-1, 32), np.repeat(qualities[worth], 8)


@dataclass(frozen=True, slots=True)
class _Level:
    """Contrast of the squares of one size, where it is looked at."""

    half_size: int
    edge: int
    """Cells along each edge of the table without an entry."""
    contrast: NDArray[np.float64]
    """Mean of the square around each cell less that of the ring around it."""

    @classmethod
    def of(cls, table: Table, half_size: int, smaller: int) -> "_Level":
        """Compared with places of the next smaller size, and those with their neighbours."""
        outer, inner = 4 * half_size + 1, 2 * half_size + 1
        first = max(0, _margin(smaller) - 1 - 2 * half_size)
        sums = table.sums[first : table.rows + 1 - first, first : table.columns + 1 - first]
        if min(sums.shape) <= outer:
            return cls(half_size, first + 2 * half_size, np.empty((0, 0)))
        ring = _boxes(sums, outer)
        within = _boxes(sums[half_size:-half_size, half_size:-half_size], inner)
        ring -= within
        ring /= -(outer**2 - inner**2)
        within /= inner**2
        ring += within
        return cls(half_size, first + 2 * half_size, ring)

    @property
    def margin(self) -> int:
        """Nearer to the edge no middle is looked at: its window would begin outside."""
        return _margin(self.half_size)

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """The contrast at cells of the table."""
        values: NDArray[np.float64] = self.contrast[rows - self.edge, columns - self.edge]
        return values

    def around(self, row: int, column: int) -> NDArray[np.float64]:
        """(3, 3)."""
        top, left = row - self.edge - 1, column - self.edge - 1
        return self.contrast[top : top + 3, left : left + 3]


def _margin(half_size: int) -> int:
    return max(1, int(_WINDOW_PER_HALF_SIZE * _SLACK * half_size))


def _boxes(sums: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    boxes: NDArray[np.float64] = sums[side:, side:] - sums[:-side, side:]
    boxes -= sums[side:, :-side]
    boxes += sums[:-side, :-side]
    return boxes


def _anchors(trio: list[_Level]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of each place of the middle level that stands out from 26 neighbours."""
    smaller, level, larger = trio
    cut = level.margin - 1 - level.edge
    around = level.contrast[cut : len(level.contrast) - cut, cut : level.contrast.shape[1] - cut]
    if min(around.shape) < 3:
        return np.empty(0, np.intp), np.empty(0, np.intp)

    inside = around[1:-1, 1:-1]
    is_peak = (inside > _MIN_CONTRAST) & (inside >= _extreme(np.maximum, around))
    is_dip = (inside < -_MIN_CONTRAST) & (inside <= _extreme(np.minimum, around))
    rows, columns = np.nonzero(is_peak | is_dip)
    rows, columns = rows + level.margin, columns + level.margin
    for other in (smaller, larger):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                value = level.at(rows, columns)
                near = other.at(rows + down, columns + right)
                stays = near * np.sign(value) <= np.abs(value)
                rows, columns = rows[stays], columns[stays]
    return rows, columns


def _refined(trio: list[_Level], row: int, column: int) -> Window:
    """The window around an anchor of the middle level."""
    around = trio[1].around(row, column)
    sign = np.sign(around[1, 1])
    around = sign * around
    sized = sign * np.array([each.around(row, column)[1, 1] for each in trio])
    size = 2 ** _peak(np.log2(np.array([each.half_size for each in trio]) + 0.5), sized)
    steps = np.array([-1.0, 0.0, 1.0])
    return Window(
        float(row) + 0.5 + _peak(steps, around[:, 1]),
        float(column) + 0.5 + _peak(steps, around[1]),
        float(size * _WINDOW_PER_HALF_SIZE),
    )


def _extreme(choose: np.ufunc, around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each cell and its 8 neighbours."""
    lines = choose(choose(around[:-2], around[1:-1]), around[2:])
    extreme: NDArray[np.float64] = choose(choose(lines[:, :-2], lines[:, 1:-1]), lines[:, 2:])
    return extreme


def _peak(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Where the parabola through three points is highest; the middle one if it has no such place.

    Halfway to a neighbour at most.
    """
    left, right = at[1] - at[0], at[2] - at[1]
    falls_left, falls_right = values[1] - values[0], values[1] - values[2]
    bend = falls_left * right + falls_right * left
    if not (np.isfinite(bend) and bend > 0):
        return float(at[1])
    shift = (falls_left * right**2 - falls_right * left**2) / (2 * bend)
    return float(at[1] + min(max(shift, -left / 2), right / 2))


def _is_inside(window: Window, table: Table) -> bool:
    return (
        window.reach <= min(window.row, window.column)
        and window.row + window.reach <= table.rows
        and window.column + window.reach <= table.columns
    )


def _is_same(one: Window, other: Window) -> bool:
    near = _NEAR * (one.reach + other.reach)
    return (
        abs(one.row - other.row) < near
        and abs(one.column - other.column) < near
        and _ALIKE[0] < one.reach / other.reach < _ALIKE[1]
    )


def _interpolated(
    sums: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 65, 65): the table between its entries, as if cells were evenly filled."""
    row = np.minimum(rows.astype(np.intp), sums.shape[0] - 2)
    column = np.minimum(columns.astype(np.intp), sums.shape[1] - 2)
    down, right = (rows - row)[:, :, None], (columns - column)[:, None, :]
    wide = sums.shape[1]
    flat, at = sums.ravel(), row[:, :, None] * wide + column[:, None, :]
    left = 1 - right
    # Every place is inside, and `clip` is the quickest way to take it.
    above = flat.take(at, mode="clip") * left
    above += flat.take(at + 1, mode="clip") * right
    at += wide
    below = flat.take(at, mode="clip") * left
    below += flat.take(at + 1, mode="clip") * right
    above *= 1 - down
    below *= down
    above += below
    between: NDArray[np.float64] = above
    return between
