"""What of a picture is picture: borders, letterbox and padding are found and left out."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from unspread.fingerprint.pdq import Pixels

_SAMPLES: Final = 512
"""Of a line; a border is seen on fewer pixels than there are."""

_TOLERANCE: Final = 14
"""A border's pixels lie this near to its colour, 0..255: JPEG leaves ripples along an edge."""

_OUTLIERS: Final = 0.01
"""Share of a border line that may be of another colour."""

_MIN_LEFT: Final = 0.2
"""Of each side; where less would be left, the picture is plain rather than bordered."""


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

    def of(self, pixels: Pixels) -> Pixels:
        """The pixels in it, not copied."""
        return pixels[self.top : self.bottom, self.left : self.right]


def without_borders(pixels: Pixels) -> Rectangle:
    """The picture without lines of one colour along its edges; whole if there are none.

    Each edge has its own colour. What is left starts one pixel further in where something was
    cut, as the last line of a border is usually blended with the picture.
    """
    rectangle = Rectangle.whole(pixels)
    for _ in range(3):
        inside = rectangle.of(pixels)
        top, bottom = _borders(inside)
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


def _borders(pixels: Pixels) -> tuple[int, int]:
    """How many lines at the start and at the end are of one colour."""
    step = max(1, pixels.shape[1] // _SAMPLES)
    lines = pixels[:, step // 2 :: step].astype(np.int16)
    counts = []
    for ordered in (lines, lines[::-1]):
        colour = np.median(ordered[0], axis=0)
        off = np.abs(ordered - colour) > _TOLERANCE
        if off.ndim == 3:
            off = off.any(axis=2)
        inner = np.nonzero(off.mean(axis=1) > _OUTLIERS)[0]
        counts.append(int(inner[0]) if inner.size else 0)
    return counts[0], counts[1]
