"""Where in an upload a picture may stand: without borders, letterbox, padding and chrome.

Chrome is what a program shows around a picture: bars, buttons, text, the bubble of a chat, all on
pages of one colour. The page is found by its lines, and what is left between them is cut apart
along them again and again (the XY cut of document analysis, Nagy and Seth 1984), until blocks
remain that no line of one colour crosses. A picture shown whole is such a block.

What is found are guesses: each costs a platform eight probes, and a wrong one finds nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.pdq import Pixels

MAX_RECTANGLES: Final = 10
"""Of one upload, the whole among them."""

_SAMPLES: Final = 512
"""Along the longer side: a page is seen on fewer pixels than there are."""

_TOLERANCE: Final = 14
"""A border's pixels lie this near to its colour, 0..255: JPEG leaves ripples along an edge."""

_OUTLIERS: Final = 0.01
"""Share of a border line that may be of another colour."""

_PAGE_TOLERANCE: Final = 4
_PAGE_OUTLIERS: Final = 0.04
_PAGE_COLOURS: Final = 2
"""Pages are drawn, hence smoother than photographed borders."""

_CORNERS: Final = 0.1
"""Share of an edge's ends that is not looked at: corners are round, and a clock stands in them."""

_MIN_LEFT: Final = 0.2
"""Of each side; where less would be left, the picture is plain rather than bordered."""

_MIN_SIDE: Final = 32
_MIN_AREA: Final = 0.03
"""A block is at least this large, in pixels and as a share of the upload."""

_MAX_BLOCKS: Final = 32
_ALIKE: Final = 0.001
"""Rectangles whose edges are this near, as a share of the upload's longer side, are one."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Rows and columns of stored pixels, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, pixels: Pixels) -> "Rectangle":
        """All of it."""
        return cls(0, pixels.shape[0], 0, pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """In pixels."""
        return self.height * self.width

    def of(self, pixels: Pixels) -> Pixels:
        """The pixels in it, not copied."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def is_near(self, other: "Rectangle", pixels: float) -> bool:
        """Whether no edge is further than that from the other's."""
        edges = (
            self.top - other.top,
            self.bottom - other.bottom,
            self.left - other.left,
            self.right - other.right,
        )
        return max(map(abs, edges)) <= pixels


def rectangles_of(pixels: Pixels) -> list[Rectangle]:
    """The whole first, then where in it a picture may stand, likeliest first."""
    whole = Rectangle.whole(pixels)
    if min(whole.height, whole.width) < _MIN_SIDE:
        return [whole]
    near = _ALIKE * max(whole.height, whole.width)
    chosen = [whole]
    inner = without_borders(pixels)
    likeliest, *others = [*_blocks(pixels), inner]
    for guess in (likeliest, inner, _evenly(whole, inner), *others):
        if min(guess.height, guess.width) >= _MIN_SIDE and not any(
            guess.is_near(each, near) for each in chosen
        ):
            chosen.append(guess)
    return chosen[:MAX_RECTANGLES]


def without_borders(pixels: Pixels) -> Rectangle:
    """The picture without lines of one colour along its edges; whole if there are none.

    Each edge has its own colour.
    """
    rectangle = Rectangle.whole(pixels)
    for _ in range(3):
        inside = rectangle.of(pixels)
        top, bottom = _borders(inside)
        if top + bottom >= inside.shape[0]:
            break
        left, right = _borders(inside[top : inside.shape[0] - bottom].swapaxes(0, 1))
        if not (top or bottom or left or right):
            break
        smaller = Rectangle(
            rectangle.top + top,
            rectangle.bottom - bottom,
            rectangle.left + left,
            rectangle.right - right,
        )
        if smaller.height < _MIN_LEFT * pixels.shape[0]:
            break
        if smaller.width < _MIN_LEFT * pixels.shape[1]:
            break
        rectangle = smaller
    return rectangle


def _evenly(whole: Rectangle, inner: Rectangle) -> Rectangle:
    """Cut alike on opposite sides: a border that goes over into a plain edge of the picture."""
    down = min(inner.top - whole.top, whole.bottom - inner.bottom)
    across = min(inner.left - whole.left, whole.right - inner.right)
    if down and across:
        # All round it is as wide; letterbox and padding have it on two sides.
        down = across = min(down, across)
    return Rectangle(
        whole.top + down, whole.bottom - down, whole.left + across, whole.right - across
    )


def _borders(pixels: Pixels) -> tuple[int, int]:
    """How many lines at the start and at the end are of one colour."""
    step = max(1, pixels.shape[1] // _SAMPLES)
    lines = pixels[:, step // 2 :: step]
    counts = []
    for ordered in (lines, lines[::-1]):
        colour = np.median(ordered[0], axis=0)
        counts.append(_leading(ordered, colour))
    return counts[0], counts[1]


def _leading(lines: Pixels, colour: NDArray[np.float64]) -> int:
    """How many of the first lines are of a colour; looked at by the dozen, as most have none."""
    count = 0
    while count < len(lines):
        some = lines[count : count + max(12, count)].astype(np.int16)
        off: NDArray[np.bool_] = np.abs(some - colour.astype(np.int16)) > _TOLERANCE
        if off.ndim == 3:
            off = np.any(off, axis=2)
        inner = np.nonzero(off.mean(axis=1) > _OUTLIERS)[0]
        if inner.size:
            return count + int(inner[0])
        count += len(some)
    return count if count < len(lines) else 0


def _blocks(pixels: Pixels) -> Iterator[Rectangle]:
    """What the lines of a page leave, largest first."""
    step = -(-max(pixels.shape[:2]) // _SAMPLES)
    page = _Page(_luma(pixels[step // 2 :: step, step // 2 :: step]))
    whole = Rectangle.whole(pixels[step // 2 :: step, step // 2 :: step])
    least = _MIN_AREA * whole.area
    waiting, seen = [whole], {whole}
    found: list[Rectangle] = []
    while waiting and len(found) < _MAX_BLOCKS:
        waiting.sort(key=lambda each: each.area)
        block = waiting.pop()
        found.append(block)
        for part in page.parts(block):
            if part.area >= least and part not in seen:
                seen.add(part)
                waiting.append(part)
    # Most pictures have no line of one colour, most arrangements of chrome have several.
    for block in sorted(found[1:], key=lambda each: (page.plain_share(each), -each.area)):
        yield _refined(pixels, block, step)


class _Page:
    """Samples of an upload, and what is known of the lines of its blocks."""

    def __init__(self, samples: Pixels) -> None:
        self._samples = samples
        self._lines: dict[tuple[Rectangle, bool, float], _Lines] = {}

    def parts(self, block: Rectangle) -> Iterator[Rectangle]:
        """What the lines of each colour leave of a block: around it, across, and downwards."""
        rows, columns = self.rows(block), self.columns(block)
        for colour in sorted({*rows.edges, *columns.edges}):
            yield self._shrunk(block, colour)
        for colour in rows.commonest:
            for first, end in rows.between(colour):
                part = Rectangle(block.top + first, block.top + end, block.left, block.right)
                yield self._shrunk(part, colour)
        for colour in columns.commonest:
            for first, end in columns.between(colour):
                part = Rectangle(block.top, block.bottom, block.left + first, block.left + end)
                yield self._shrunk(part, colour)

    def plain_share(self, block: Rectangle) -> float:
        """Of lines of one colour among rows and columns, 0..2, in steps of a tenth."""
        shares = (each.are_plain.mean() for each in (self.rows(block), self.columns(block)))
        return round(10 * float(sum(shares))) / 10

    def rows(self, block: Rectangle, ends: float = 0) -> "_Lines":
        """Of a block, without that share of each at both ends."""
        return self._kept(block, False, ends)

    def columns(self, block: Rectangle, ends: float = 0) -> "_Lines":
        """Of a block, without that share of each at both ends."""
        return self._kept(block, True, ends)

    def _kept(self, block: Rectangle, are_columns: bool, ends: float) -> "_Lines":
        key = (block, are_columns, ends)
        if key not in self._lines:
            inside = block.of(self._samples)
            self._lines[key] = _Lines.of(inside.T if are_columns else inside, ends)
        return self._lines[key]

    def _shrunk(self, block: Rectangle, colour: float) -> Rectangle:
        """Without lines of that colour along its edges; nothing if that is all there is."""
        while True:
            rows = self.rows(block, _CORNERS).busy(colour)
            if not rows.size:
                return Rectangle(0, 0, 0, 0)
            inside = Rectangle(
                block.top + int(rows[0]), block.top + int(rows[-1]) + 1, block.left, block.right
            )
            columns = self.columns(inside, _CORNERS).busy(colour)
            if not columns.size:
                return Rectangle(0, 0, 0, 0)
            first, last = int(columns[0]), int(columns[-1])
            inside = Rectangle(inside.top, inside.bottom, block.left + first, block.left + last + 1)
            if inside == block:
                return block
            block = inside


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a block: which are of one colour, and of which."""

    colours: NDArray[np.float64]
    are_plain: NDArray[np.bool_]

    @classmethod
    def of(cls, lines: Pixels, ends: float) -> "_Lines":
        """Of (n, pixels)."""
        margin = int(ends * lines.shape[1])
        lines = lines[:, margin : lines.shape[1] - margin]
        # Few lines are plain, and a dozen pixels show of most that they are not.
        some = np.sort(lines[:, :: max(1, lines.shape[1] // 12)], axis=1)
        tenth = some.shape[1] // 8
        may_be = some[:, -1 - tenth] - some[:, tenth] <= 2 * _PAGE_TOLERANCE
        colours = np.zeros(len(lines))
        are_plain = np.zeros(len(lines), bool)
        looked_at = lines[may_be].astype(np.int16)
        colours[may_be] = np.median(looked_at, axis=1)
        off = np.abs(looked_at - colours[may_be, None]) > _PAGE_TOLERANCE
        are_plain[may_be] = off.mean(axis=1) <= _PAGE_OUTLIERS
        return cls(colours, are_plain)

    @property
    def edges(self) -> list[float]:
        """The colours of the outermost lines, if they have but one."""
        return [float(self.colours[at]) for at in (0, -1) if self.are_plain[at]]

    @property
    def commonest(self) -> list[float]:
        """Of the plain lines."""
        levels, counts = np.unique(np.rint(self.colours[self.are_plain]), return_counts=True)
        chosen: list[float] = []
        for level in levels[np.argsort(-counts, kind="stable")].tolist():
            if all(abs(level - other) > 2 * _PAGE_TOLERANCE for other in chosen):
                chosen.append(level)
        return chosen[:_PAGE_COLOURS]

    def are_page(self, colour: float) -> NDArray[np.bool_]:
        """Those of that colour."""
        return self.are_plain & (np.abs(self.colours - colour) <= _PAGE_TOLERANCE)

    def busy(self, colour: float) -> NDArray[np.intp]:
        """Those that are not."""
        return np.flatnonzero(~self.are_page(colour))

    def between(self, colour: float) -> list[tuple[int, int]]:
        """Runs that it cuts the block into; none if it does not."""
        page = self.are_page(colour)
        # One line alone is a stripe of a picture rather than a page.
        page = page & (np.append(page[1:], False) | np.insert(page[:-1], 0, False))
        spans = _spans(~page)
        return spans if len(spans) > 1 else []


def _spans(busy: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of True, as first and end."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], busy, [False]]).astype(np.int8)))
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))


def _refined(pixels: Pixels, block: Rectangle, step: int) -> Rectangle:
    """From samples to pixels: each edge where the colour outside ends."""
    height, width = pixels.shape[:2]
    rough = Rectangle(
        max(0, (block.top - 1) * step),
        min(height, (block.bottom + 1) * step),
        max(0, (block.left - 1) * step),
        min(width, (block.right + 1) * step),
    )
    across = pixels[:, block.left * step + step // 2 : block.right * step : step]
    down = pixels[block.top * step + step // 2 : block.bottom * step : step].swapaxes(0, 1)
    top, bottom = _edges(across, rough.top, rough.bottom, step)
    left, right = _edges(down, rough.left, rough.right, step)
    return Rectangle(top, bottom, left, right)


def _edges(lines: Pixels, first: int, end: int, step: int) -> tuple[int, int]:
    """Of a block that begins within two steps after the first line and ends likewise before."""
    if first > 0:
        first += _outside(lines[first : first + 3 * step])
    if end < len(lines):
        end -= _outside(lines[max(0, end - 3 * step) : end][::-1])
    return first, end


def _outside(lines: Pixels) -> int:
    """How many of the first lines are still page."""
    values = _luma(lines).astype(np.int16)
    off = np.abs(values - np.median(values[0])) > _TOLERANCE
    inner = np.flatnonzero(off.mean(axis=1) > _PAGE_OUTLIERS)
    return int(inner[0]) if inner.size else len(lines) // 3


def _luma(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue) // 1000).astype(np.uint8)
