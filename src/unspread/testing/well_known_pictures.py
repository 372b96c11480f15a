"""Pictures that must never be listed: blanks, gradients, signs and words, drawn here; and flags,
logos, wallpapers and test pictures (`well_known_sources` names their sources and licences).

`make well-known` writes their fingerprints, in all eight turns and mirrors, to the clearinghouse's
data; what is drawn here is nobody's work. An operator adds others, such as photographs that its
country knows, in a file of its own (docs/operator/running.md).
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unspread.fingerprint import pdq
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY
from unspread.testing import well_known_sources
from unspread.testing.samples import encoded
from unspread.testing.well_known_sources import SIDE, Named

FILE: Final = Path(__file__).parents[1] / "clearinghouse" / "data" / "well_known.txt"

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_RED, _GREEN, _BLUE = (206, 17, 38), (0, 122, 61), (0, 56, 168)
_YELLOW, _ORANGE, _SKY = (252, 209, 22), (255, 136, 62), (116, 172, 223)

Colour = tuple[int, int, int]


def drawn() -> Iterator[Named]:
    """Every picture that is made here, with a name, in a fixed order."""
    yield from _blanks()
    yield from _gradients()
    yield from _patterns()
    yield from _signs()
    yield from _flags()
    yield from _words()


def _blanks() -> Iterator[Named]:
    for name, colour in (
        ("black", _BLACK), ("white", _WHITE), ("grey", (128, 128, 128)), ("red", _RED),
        ("green", _GREEN), ("blue", _BLUE), ("skin", (224, 172, 105)),
    ):  # fmt: skip
        yield f"blank {name}", Image.new("RGB", (SIDE, SIDE), colour)
    for margin in (2, 8, 24):
        framed = Image.new("RGB", (SIDE, SIDE), _WHITE)
        ImageDraw.Draw(framed).rectangle(
            (margin, margin, SIDE - margin, SIDE - margin), outline=_BLACK, width=2
        )
        yield f"blank framed {margin}", framed


def _from_array(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(values * 255, 0, 255).astype(np.uint8)).convert("RGB")


def _gradients() -> Iterator[Named]:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    for degrees in range(0, 90, 15):
        angle = np.deg2rad(degrees)
        along = x * np.cos(angle) + y * np.sin(angle)
        yield f"gradient {degrees}", _from_array(along / along.max())
    for name, centre in (("middle", (0.5, 0.5)), ("corner", (0.0, 0.0)), ("edge", (0.5, 0.0))):
        radius = np.hypot(x - centre[0], y - centre[1])
        yield f"radial {name}", _from_array(radius / radius.max())
        yield f"radial inverse {name}", _from_array(1 - radius / radius.max())
        yield f"vignette {name}", _from_array(1 - (radius / radius.max()) ** 2)


def _patterns() -> Iterator[Named]:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    for cells in (2, 3, 4, 5, 6, 8, 10, 12, 16):
        size = SIDE / cells
        yield f"chequers {cells}", _from_array(((x // size + y // size) % 2).astype(float))
        yield f"stripes {cells}", _from_array(((x // size) % 2).astype(float))
        yield f"waves {cells}", _from_array(0.5 + 0.5 * np.sin(x / SIDE * np.pi * cells))
    bars = Image.new("RGB", (SIDE, SIDE), _BLACK)
    draw = ImageDraw.Draw(bars)
    colours = [
        (192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0),
        (0, 0, 192),
    ]  # fmt: skip
    for number, colour in enumerate(colours):
        left = number * SIDE // 7
        draw.rectangle((left, 0, left + SIDE // 7, SIDE), fill=colour)
    yield "test card bars", bars
    rainbow = np.stack([np.tile(np.arange(SIDE) / SIDE, (SIDE, 1))] * 3, axis=-1)
    hue = np.abs((rainbow * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    yield "rainbow", Image.fromarray((np.clip(hue, 0, 1) * 255).astype(np.uint8))


def _signs() -> Iterator[Named]:
    middle = SIDE // 2
    for share in (4, 3, 2.5):
        reach = int(SIDE / share)
        box = (middle - reach, middle - reach, middle + reach, middle + reach)
        triangle = [(middle, middle - reach), (middle + reach, middle + reach)]
        triangle.append((middle - reach, middle + reach))
        for name, paint in (
            ("disc", lambda d, box=box: d.ellipse(box, fill=_BLACK)),
            ("ring", lambda d, box=box: d.ellipse(box, outline=_BLACK, width=24)),
            ("square", lambda d, box=box: d.rectangle(box, fill=_BLACK)),
            ("box", lambda d, box=box: d.rectangle(box, outline=_BLACK, width=24)),
            ("triangle", lambda d, points=triangle: d.polygon(points, fill=_BLACK)),
            ("diamond", lambda d, r=reach: d.regular_polygon((middle, middle, r), 4, 45, _BLACK)),
            ("hexagon", lambda d, r=reach: d.regular_polygon((middle, middle, r), 6, 0, _BLACK)),
            ("plus", lambda d, r=reach: _plus(d, r)),
            ("cross", lambda d, r=reach: _cross(d, r)),
            ("star", lambda d, r=reach: d.polygon(_star(r), fill=_BLACK)),
            ("play", lambda d, r=reach: d.regular_polygon((middle, middle, r), 3, 30, _BLACK)),
            ("person", lambda d, r=reach: _person(d, r)),
            ("camera", lambda d, r=reach: _camera(d, r)),
        ):
            for ground, name_of_ground in ((_WHITE, ""), ((128, 128, 128), " on grey")):
                sign = Image.new("RGB", (SIDE, SIDE), ground)
                paint(ImageDraw.Draw(sign))
                yield f"sign {name} {share}{name_of_ground}", sign


def _plus(draw: ImageDraw.ImageDraw, reach: int) -> None:
    middle, half = SIDE // 2, reach // 4
    draw.rectangle((middle - reach, middle - half, middle + reach, middle + half), fill=_BLACK)
    draw.rectangle((middle - half, middle - reach, middle + half, middle + reach), fill=_BLACK)


def _cross(draw: ImageDraw.ImageDraw, reach: int) -> None:
    low, high = SIDE // 2 - reach, SIDE // 2 + reach
    draw.line((low, low, high, high), fill=_BLACK, width=40)
    draw.line((low, high, high, low), fill=_BLACK, width=40)


def _star(reach: int) -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        angle = np.pi * corner / 5 - np.pi / 2
        radius = reach if corner % 2 == 0 else reach * 0.4
        points.append((SIDE / 2 + radius * np.cos(angle), SIDE / 2 + radius * np.sin(angle)))
    return points


def _person(draw: ImageDraw.ImageDraw, reach: int) -> None:
    middle, head = SIDE // 2, reach // 2
    draw.ellipse((middle - head, middle - reach, middle + head, middle), fill=_BLACK)
    draw.pieslice(
        (middle - reach, middle, middle + reach, middle + 2 * reach), 180, 360, fill=_BLACK
    )


def _camera(draw: ImageDraw.ImageDraw, reach: int) -> None:
    middle, height = SIDE // 2, reach * 2 // 3
    draw.rectangle((middle - reach, middle - height, middle + reach, middle + height), fill=_BLACK)
    draw.ellipse((middle - height // 2, middle - height // 2, middle + height // 2,
                  middle + height // 2), fill=_WHITE)  # fmt: skip


_BANDS: Final[tuple[tuple[str, str, tuple[Colour, ...]], ...]] = (
    ("at", "h", (_RED, _WHITE, _RED)), ("de", "h", (_BLACK, _RED, _YELLOW)),
    ("nl", "h", (_RED, _WHITE, _BLUE)), ("ru", "h", (_WHITE, _BLUE, _RED)),
    ("hu", "h", (_RED, _WHITE, _GREEN)), ("bg", "h", (_WHITE, _GREEN, _RED)),
    ("lt", "h", (_YELLOW, _GREEN, _RED)), ("ee", "h", (_BLUE, _BLACK, _WHITE)),
    ("lv", "h", (_RED, _RED, _WHITE, _RED, _RED)), ("pl", "h", (_WHITE, _RED)),
    ("id", "h", (_RED, _WHITE)), ("ua", "h", (_BLUE, _YELLOW)),
    ("in", "h", (_ORANGE, _WHITE, _GREEN)),
    ("ar", "h", (_SKY, _WHITE, _SKY)), ("co", "h", (_YELLOW, _YELLOW, _BLUE, _RED)),
    ("am", "h", (_RED, _BLUE, _ORANGE)), ("ye", "h", (_RED, _WHITE, _BLACK)),
    ("th", "h", (_RED, _WHITE, _BLUE, _BLUE, _WHITE, _RED)),
    ("cr", "h", (_BLUE, _WHITE, _RED, _RED, _WHITE, _BLUE)),
    ("et", "h", (_GREEN, _YELLOW, _RED)), ("ga", "h", (_GREEN, _YELLOW, _BLUE)),
    ("fr", "v", (_BLUE, _WHITE, _RED)), ("it", "v", (_GREEN, _WHITE, _RED)),
    ("be", "v", (_BLACK, _YELLOW, _RED)), ("ie", "v", (_GREEN, _WHITE, _ORANGE)),
    ("ro", "v", (_BLUE, _YELLOW, _RED)), ("ng", "v", (_GREEN, _WHITE, _GREEN)),
    ("pe", "v", (_RED, _WHITE, _RED)), ("ml", "v", (_GREEN, _YELLOW, _RED)),
    ("gn", "v", (_RED, _YELLOW, _GREEN)), ("ci", "v", (_ORANGE, _WHITE, _GREEN)),
)  # fmt: skip

_CROSSES: Final[tuple[tuple[str, Colour, Colour, Colour | None], ...]] = (
    ("dk", _RED, _WHITE, None), ("se", _BLUE, _YELLOW, None), ("fi", _WHITE, _BLUE, None),
    ("no", _RED, _WHITE, _BLUE), ("is", _BLUE, _WHITE, _RED),
)  # fmt: skip


def _flags() -> Iterator[Named]:
    for width, height in ((3, 2), (1, 1)):
        size = (SIDE * width // height, SIDE)
        for name, way, bands in _BANDS:
            yield f"flag {name} {width}:{height}", _banded(size, way, bands)
        for name, ground, outer, inner in _CROSSES:
            yield f"flag {name} {width}:{height}", _nordic(size, ground, outer, inner)
        for name, ground, disc in (("jp", _WHITE, _RED), ("bd", _GREEN, _RED)):
            flag = Image.new("RGB", size, ground)
            x, y, reach = size[0] // 2, SIDE // 2, SIDE * 3 // 10
            ImageDraw.Draw(flag).ellipse((x - reach, y - reach, x + reach, y + reach), fill=disc)
            yield f"flag {name} {width}:{height}", flag
        for name, ground, plus in (("ch", _RED, _WHITE), ("gb-eng", _WHITE, _RED)):
            flag = Image.new("RGB", size, ground)
            draw, x, y = ImageDraw.Draw(flag), size[0] // 2, SIDE // 2
            reach = SIDE // 3 if name == "ch" else max(size)
            half = SIDE // 10
            draw.rectangle((x - reach, y - half, x + reach, y + half), fill=plus)
            draw.rectangle((x - half, y - reach, x + half, y + reach), fill=plus)
            yield f"flag {name} {width}:{height}", flag
        rainbow = (
            (228, 3, 3),
            (255, 140, 0),
            (255, 237, 0),
            (0, 128, 38),
            (0, 77, 255),
            (117, 7, 135),
        )
        yield f"flag rainbow {width}:{height}", _banded(size, "h", rainbow)
        trans = ((91, 206, 250), (245, 169, 184), _WHITE, (245, 169, 184), (91, 206, 250))
        yield f"flag trans {width}:{height}", _banded(size, "h", trans)


def _banded(size: tuple[int, int], way: str, bands: tuple[Colour, ...]) -> Image.Image:
    flag = Image.new("RGB", size)
    draw = ImageDraw.Draw(flag)
    for number, colour in enumerate(bands):
        if way == "h":
            top = number * size[1] // len(bands)
            draw.rectangle((0, top, size[0], size[1]), fill=colour)
        else:
            left = number * size[0] // len(bands)
            draw.rectangle((left, 0, size[0], size[1]), fill=colour)
    return flag


def _nordic(
    size: tuple[int, int], ground: Colour, outer: Colour, inner: Colour | None
) -> Image.Image:
    flag = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(flag)
    x, y = size[0] * 9 // 25, size[1] // 2
    for colour, half in ((outer, size[1] // 8), (inner, size[1] // 16)):
        if colour is not None:
            draw.rectangle((0, y - half, size[0], y + half), fill=colour)
            draw.rectangle((x - half, 0, x + half, size[1]), fill=colour)
    return flag


def _words() -> Iterator[Named]:
    """What sites show in place of a picture."""
    font = ImageFont.load_default(56)
    for text in ("404", "No image", "Not found", "Loading…", "Deleted", "Error", "TEST", "?", "!"):
        for ground, ink in ((_WHITE, _BLACK), (_BLACK, _WHITE), ((230, 230, 230), (90, 90, 90))):
            card = Image.new("RGB", (SIDE, SIDE), ground)
            ImageDraw.Draw(card).text((SIDE / 2, SIDE / 2), text, ink, font, anchor="mm")
            yield f"words {text} on {ground[0]}", card


SAME_BITS: Final = 6
"""A fingerprint this close to one that is there already adds next to nothing to what it finds."""
WORN_BITS: Final = 16
"""The same for upright copies, sent on in another size: half of the radius is left for others."""
_WORN: Final = ((640, 85), (160, 75), (112, 75))
"""Width in pixels and JPEG's quality of copies as they are sent on."""
_FLAG_SHAPES: Final = (3 / 4, 2 / 3)


class _Chosen:
    """Values with names, each further from all that came before than it was asked to be."""

    def __init__(self) -> None:
        self._rows = np.empty((0, 4), np.uint64)
        self._names: list[str] = []

    def add_turned(self, name: str, picture: Image.Image, apart_bits: int, quality: int) -> None:
        """Choose what is new among the eight turns of a picture, of this quality at least."""
        self._add(name, picture, pdq.ORIENTATIONS, apart_bits, quality)

    def add_worn(self, name: str, picture: Image.Image, shapes: Iterable[float]) -> None:
        """Choose what is new among smaller JPEG files of a picture, of these heights to widths."""
        for shape in shapes:
            for width, quality in _WORN:
                file = encoded(picture.resize((width, round(width * shape))), quality=quality)
                with Image.open(io.BytesIO(file)) as copy:
                    upright = copy.convert("RGB")
                self._add(name, upright, [pdq.UPRIGHT], WORN_BITS, MIN_PDQ_QUALITY)

    def add_upright(self, name: str, picture: Image.Image) -> None:
        """Choose a picture as it is, if it is new."""
        self._add(name, picture, [pdq.UPRIGHT], WORN_BITS, MIN_PDQ_QUALITY)

    def _add(
        self,
        name: str,
        picture: Image.Image,
        turns: Sequence[pdq.Orientation],
        apart_bits: int,
        min_quality: int,
    ) -> None:
        for made in pdq.fingerprints(pdq.small_matrices(np.asarray(picture), turns)):
            row = np.frombuffer(made.value, np.uint64)
            distances = np.bitwise_count(self._rows ^ row).sum(axis=1)
            if (made.quality or 0) >= min_quality and distances.min(initial=256) > apart_bits:
                self._rows = np.vstack([self._rows, row])
                self._names.append(name)

    def lines(self) -> list[str]:
        """`hex of the PDQs, between them commas, name`: a line for each name, both in order."""
        values: dict[str, list[str]] = {}
        for name, row in zip(self._names, self._rows, strict=True):
            values.setdefault(name, []).append(row.tobytes().hex())
        return [f"{','.join(sorted(values[name]))} {name}\n" for name in sorted(values)]


def lines() -> list[str]:
    """The file's lines. A picture that is poor in detail is taken only if it is drawn here: those
    are the blanks, whose name says why they were held back."""
    chosen = _Chosen()
    for name, picture in drawn():
        chosen.add_turned(name, picture, 0, 0)
    for name, picture in well_known_sources.photographs():
        chosen.add_turned(name, picture, SAME_BITS, MIN_PDQ_QUALITY)
    for name, picture in well_known_sources.flags():
        chosen.add_turned(name, picture, SAME_BITS, MIN_PDQ_QUALITY)
        chosen.add_worn(name, picture, _FLAG_SHAPES)
    for name, picture in well_known_sources.logos():
        # The mark in its colour is most often found by the one in black.
        apart_bits = MATCH_RADIUS_BITS if name.endswith(" in colour") else SAME_BITS
        chosen.add_turned(name, picture, apart_bits, MIN_PDQ_QUALITY)
        chosen.add_worn(name, picture, [1])
    for name, picture in well_known_sources.logos_on_white(margins=(0, 1 / 12, 1 / 4)):
        chosen.add_upright(name, picture)
    return chosen.lines()


if __name__ == "__main__":
    FILE.write_text("".join(lines()), encoding="utf-8")
