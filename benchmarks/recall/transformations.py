"""What people and platforms do to a picture before it is posted again."""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from unspread.testing.samples import landscape

Transformation = Callable[[Image.Image, Generator], Image.Image]
"""The copy, of a picture; chance decides places."""

_YELLOW, _BROWN = (255, 204, 77), (60, 30, 10)
_BICUBIC, _LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


def saved(kind: str, quality: int) -> Transformation:
    """Compressed and opened again."""

    def transform(picture: Image.Image, _: Generator) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, kind, quality=quality)
        return Image.open(file).convert("RGB")

    return transform


def scaled(width: float, height: float) -> Transformation:
    """Each side times a factor."""
    return lambda picture, _: picture.resize(
        (max(1, round(picture.width * width)), max(1, round(picture.height * height))), _LANCZOS
    )


def fitted(side: int) -> Transformation:
    """The longer side at most this long."""
    return lambda picture, _: ImageOps.contain(picture, (side, side), _LANCZOS)


def squashed(picture: Image.Image, _: Generator) -> Image.Image:
    """To a square, without cutting."""
    return picture.resize((min(picture.size),) * 2, _LANCZOS)


def turned(method: Image.Transpose) -> Transformation:
    """A quarter turn or a mirror."""
    return lambda picture, _: picture.transpose(method)


def bordered(share: float, colour: str) -> Transformation:
    """A frame of one colour, as a share of the shorter side."""
    return lambda picture, _: ImageOps.expand(picture, round(share * min(picture.size)), colour)


def padded(aspect: float, colour: str) -> Transformation:
    """Bars of one colour up to an aspect."""

    def transform(picture: Image.Image, _: Generator) -> Image.Image:
        width, height = picture.size
        if width / height > aspect:
            size = (width, round(width / aspect))
        else:
            size = (round(height * aspect), height)
        return ImageOps.pad(picture, size, _LANCZOS, colour)

    return transform


def padded_with_blur(picture: Image.Image, _: Generator) -> Image.Image:
    """To 9:16, over a blurred copy of itself, as stories do."""
    width = picture.width
    size = (width, max(round(width * 16 / 9), picture.height))
    canvas = ImageOps.fit(picture, size).filter(ImageFilter.GaussianBlur(40))
    canvas.paste(picture, (0, (size[1] - picture.height) // 2))
    return canvas


def cropped(share: float) -> Transformation:
    """So much of the width and of the height cut away, divided by chance between the sides."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        width, height = (round(side * (1 - share)) for side in picture.size)
        left = int(random.integers(0, picture.width - width + 1))
        top = int(random.integers(0, picture.height - height + 1))
        return picture.crop((left, top, left + width, top + height))

    return transform


def cropped_at_bottom(share: float) -> Transformation:
    """So much of the height cut away below."""
    return lambda picture, _: picture.crop(
        (0, 0, picture.width, round(picture.height * (1 - share)))
    )


def cropped_to(aspect: float) -> Transformation:
    """The middle, in another aspect."""

    def transform(picture: Image.Image, _: Generator) -> Image.Image:
        width, height = picture.size
        if width / height > aspect:
            width = round(height * aspect)
        else:
            height = round(width / aspect)
        return ImageOps.fit(picture, (width, height), _LANCZOS)

    return transform


def tilted(degrees: float, *, inner: bool = False) -> Transformation:
    """A small turn, with black corners or cut to what is inside."""

    def transform(picture: Image.Image, _: Generator) -> Image.Image:
        copy = picture.rotate(degrees, _BICUBIC)
        if inner:
            lost = np.sin(np.radians(abs(degrees)))
            x, y = lost * picture.height, lost * picture.width
            copy = copy.crop((int(x), int(y), int(copy.width - x), int(copy.height - y)))
        return copy

    return transform


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(size)))


def meme(picture: Image.Image, _: Generator) -> Image.Image:
    """Two lines of heavy capitals, above and below."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    size = copy.height / 9
    for y, text in ((0.01, "WHEN YOU SEE IT"), (0.86, "YOU CANNOT UNSEE")):
        draw.text(
            (copy.width / 2, y * copy.height),
            text,
            "white",
            _font(size),
            "ma",
            stroke_width=round(size / 12),
            stroke_fill="black",
        )
    return copy


def caption_bar(picture: Image.Image, random: Generator) -> Image.Image:
    """A half transparent bar with a line of text."""
    copy = picture.convert("RGBA")
    bar = Image.new("RGBA", copy.size)
    draw = ImageDraw.Draw(bar)
    top = random.uniform(0.3, 0.75) * copy.height
    draw.rectangle((0, top, copy.width, top + copy.height * 0.07), (0, 0, 0, 150))
    draw.text(
        (copy.width / 2, top + copy.height * 0.01),
        "look at this",
        "white",
        _font(copy.height * 0.045),
        "ma",
    )
    return Image.alpha_composite(copy, bar).convert("RGB")


def stickers(area: float, count: int = 1) -> Transformation:
    """Yellow faces that cover so much of the area in all."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        copy = picture.copy()
        draw = ImageDraw.Draw(copy)
        r = (area / count * copy.width * copy.height / np.pi) ** 0.5
        for _ in range(count):
            x = random.uniform(r, max(copy.width - r, r + 1))
            y = random.uniform(r, max(copy.height - r, r + 1))
            draw.ellipse((x - r, y - r, x + r, y + r), _YELLOW)
            for side in (-1, 1):
                eye = x + side * 0.35 * r
                draw.ellipse((eye - 0.12 * r, y - 0.4 * r, eye + 0.12 * r, y - 0.1 * r), _BROWN)
            draw.arc(
                (x - 0.6 * r, y - 0.4 * r, x + 0.6 * r, y + 0.6 * r), 20, 160, _BROWN, int(r / 9)
            )
        return copy

    return transform


def black_box(area: float) -> Transformation:
    """A black rectangle over so much of the area."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        copy = picture.copy()
        width, height = copy.width * area**0.5, copy.height * area**0.5
        x = random.uniform(0, copy.width - width)
        y = random.uniform(0, copy.height - height)
        ImageDraw.Draw(copy).rectangle((x, y, x + width, y + height), "black")
        return copy

    return transform


def watermarked(picture: Image.Image, _: Generator) -> Image.Image:
    """A text all over, a quarter opaque."""
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    step = picture.width // 4
    for row in range(-1, 8):
        for column in range(-1, 6):
            place = (column * step + row % 2 * step // 2, row * step // 2)
            draw.text(place, "example.org", (255, 255, 255, 70), _font(step / 6))
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def signed(picture: Image.Image, _: Generator) -> Image.Image:
    """A name in the corner."""
    copy = picture.copy()
    place = (copy.width * 0.97, copy.height * 0.97)
    ImageDraw.Draw(copy).text(place, "@somebody", "white", _font(copy.height / 25), "rd")
    return copy


def pixelated(picture: Image.Image, random: Generator) -> Image.Image:
    """A ninth of it in large squares."""
    copy = picture.copy()
    width, height = copy.width * 3 // 10, copy.height * 3 // 10
    x = int(random.integers(0, copy.width - width))
    y = int(random.integers(0, copy.height - height))
    part = copy.crop((x, y, x + width, y + height))
    squares = part.resize((10, 10), Image.Resampling.BOX)
    copy.paste(squares.resize(part.size, Image.Resampling.NEAREST), (x, y))
    return copy


def enhanced(kind: type[ImageEnhance._Enhance], factor: float) -> Transformation:
    """Brighter, darker, more or less contrast or colour."""
    return lambda picture, _: kind(picture).enhance(factor)


def gamma(exponent: float) -> Transformation:
    """Another curve of tones."""
    return lambda picture, _: picture.point(
        [round(255 * (value / 255) ** exponent) for value in range(256)] * 3
    )


def filtered(kind: ImageFilter.Filter) -> Transformation:
    """One of Pillow's filters."""
    return lambda picture, _: picture.filter(kind)


def noisy(sigma: float) -> Transformation:
    """Grain."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        grain = random.normal(0, sigma, (picture.height, picture.width, 1))
        return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))

    return transform


def vintage(picture: Image.Image, _: Generator) -> Image.Image:
    """Warm, with dark corners."""
    y, x = np.mgrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
    shade = (1 - 0.35 * (x**2 + y**2))[..., None]
    warm = np.asarray(picture) * shade * (1.12, 1.0, 0.82)
    return Image.fromarray(warm.clip(0, 255).astype(np.uint8))


def leaning(share: float) -> Transformation:
    """In perspective: each corner moved by up to so much of the side."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        width, height = picture.size
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
        moved = corners + random.uniform(-share, share, (4, 2)) * (width, height)
        rows = []
        for (x, y), (u, v) in zip(corners, moved, strict=True):
            rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
            rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        data = np.linalg.solve(np.array(rows), moved.ravel())
        return picture.transform(picture.size, Image.Transform.PERSPECTIVE, list(data), _BICUBIC)

    return transform


def photo_of_screen(picture: Image.Image, random: Generator) -> Image.Image:
    """In perspective, with the screen's pixels and a glare."""
    copy = np.asarray(leaning(0.03)(picture, random)).astype(float)
    y, x = np.mgrid[0 : picture.height, 0 : picture.width]
    copy *= (1 + 0.06 * np.sin(x * 1.9) * np.sin(y * 2.1))[..., None]
    copy += (40 * np.exp(-((x / picture.width - 0.7) ** 2) * 9))[..., None]
    return Image.fromarray(copy.clip(0, 255).astype(np.uint8))


def phone_screenshot(paper: str, ink: str) -> Transformation:
    """Shown in a gallery on a phone: status bar above, buttons below."""

    def transform(picture: Image.Image, _: Generator) -> Image.Image:
        canvas = Image.new("RGB", (1080, 2340), paper)
        shown = ImageOps.contain(picture, (1080, 1800), _LANCZOS)
        canvas.paste(shown, ((1080 - shown.width) // 2, (2340 - shown.height) // 2))
        draw = ImageDraw.Draw(canvas)
        draw.text((50, 30), "12:41", ink, _font(44))
        draw.rectangle((940, 40, 1030, 74), outline=ink, width=4)
        draw.ellipse((40, 120, 130, 210), (200, 90, 60))
        draw.text((160, 140), "somebody", ink, _font(40))
        for button in range(5):
            x = 60 + 210 * button
            draw.ellipse((x, 2180, x + 80, 2260), outline=ink, width=6)
        return canvas

    return transform


def chat_screenshot(picture: Image.Image, _: Generator) -> Image.Image:
    """As a bubble between other messages."""
    canvas = Image.new("RGB", (1080, 2340), (11, 20, 26))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 1080, 220), (31, 44, 52))
    draw.text((180, 110), "Somebody", "white", _font(48))
    for y, text in ((300, "did you see this"), (420, "wait")):
        draw.rounded_rectangle((40, y, 620, y + 90), 24, (31, 44, 52))
        draw.text((70, y + 22), text, "white", _font(40))
    shown = ImageOps.contain(picture, (760, 1200), _LANCZOS)
    x, y = 1040 - shown.width, 560
    draw.rounded_rectangle(
        (x - 12, y - 12, x + shown.width + 12, y + shown.height + 60), 24, (0, 92, 75)
    )
    canvas.paste(shown, (x, y))
    draw.text((940, y + shown.height + 14), "12:41", "white", _font(30))
    draw.rounded_rectangle((30, 2200, 900, 2300), 50, (31, 44, 52))
    return canvas


def chat_on_wallpaper(picture: Image.Image, random: Generator) -> Image.Image:
    """As a bubble itself, with round corners and the time over it, on a wallpaper of scribbles."""
    canvas = Image.new("RGB", (1080, 2340), (236, 229, 221))
    draw = ImageDraw.Draw(canvas)
    for _ in range(500):
        x, y, r = random.integers(0, 1080), random.integers(0, 2340), random.integers(15, 50)
        start = int(random.integers(0, 360))
        draw.arc((x, y, x + r, y + r), start, start + 200, (224, 216, 206), 4)
    draw.rectangle((0, 0, 1080, 210), (7, 94, 84))
    draw.text((50, 30), "12:41", "white", _font(44))
    draw.text((180, 120), "Somebody", "white", _font(48))
    draw.rounded_rectangle((30, 260, 700, 360), 24, "white")
    draw.text((60, 285), "who is this?", "black", _font(40))
    shown = ImageOps.contain(picture, (800, 1300), _LANCZOS)
    corners = Image.new("L", shown.size)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, *shown.size), 36, 255)
    canvas.paste(shown, (30, 400), corners)
    draw.text((shown.width - 90, 400 + shown.height - 50), "12:41", "white", _font(32))
    draw.rounded_rectangle((20, 2190, 900, 2300), 55, "white")
    draw.ellipse((930, 2190, 1040, 2300), (7, 94, 84))
    return canvas


def post_screenshot(picture: Image.Image, random: Generator) -> Image.Image:
    """From edge to edge in a feed, with the next post's picture cut off below."""
    canvas = Image.new("RGB", (1080, 2340), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((50, 30), "12:41", "black", _font(44))
    draw.text((40, 120), "Friends", "black", _font(60))
    draw.line((0, 220, 1080, 220), (219, 219, 219), 2)
    shown = ImageOps.contain(picture, (1080, 1350), _LANCZOS)
    top = 360
    canvas.paste(shown, ((1080 - shown.width) // 2, top))
    below = top + shown.height
    for y in (240, below + 330):
        draw.ellipse((30, y, 120, y + 90), (120, 140, 190))
        draw.text((150, y + 20), "somebody_else", "black", _font(36))
    for x in (30, 130, 230):
        draw.ellipse((x, below + 24, x + 60, below + 84), outline="black", width=6)
    draw.text((30, below + 110), "somebody_else what a day, look at this", "black", _font(34))
    draw.text((30, below + 170), "View all 12 comments", (140, 140, 140), _font(34))
    canvas.paste(_other(random, (1080, 810)), (0, below + 440))
    draw.rectangle((0, 2200, 1080, 2340), "white")
    for x in range(80, 1080, 210):
        draw.rounded_rectangle((x, 2230, x + 70, 2300), 16, outline="black", width=6)
    return canvas


def desktop_screenshot(picture: Image.Image, _: Generator) -> Image.Image:
    """In a browser's window, beside a column of text."""
    canvas = Image.new("RGB", (1920, 1080), "white")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 1920, 90), (222, 225, 230))
    draw.rounded_rectangle((150, 46, 1500, 84), 18, "white")
    draw.text((180, 50), "https://example.org/post/1", (60, 60, 60), _font(24))
    shown = ImageOps.contain(picture, (1200, 860), _LANCZOS)
    canvas.paste(shown, (80, 150))
    for line in range(22):
        draw.rectangle(
            (1340, 160 + 38 * line, 1840 - line * 37 % 200, 176 + 38 * line), (90, 90, 95)
        )
    return canvas


@lru_cache(maxsize=64)
def _drawn(seed: int) -> Image.Image:
    return landscape(1_000_000 + seed, 960, 720)


def _other(random: Generator, size: tuple[int, int]) -> Image.Image:
    return _drawn(int(random.integers(64))).resize(size)


def inside_another(share: float) -> Transformation:
    """Somewhere in a different picture, at so much of its size."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        canvas = _other(random, picture.size).copy()
        small = scaled(share, share)(picture, random)
        x = int(random.integers(0, picture.width - small.width))
        y = int(random.integers(0, picture.height - small.height))
        canvas.paste(small, (x, y))
        return canvas

    return transform


def collage(columns: int, rows: int) -> Transformation:
    """With different pictures, side by side."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        width, height = picture.size
        canvas = Image.new("RGB", (columns * width, rows * height))
        place = int(random.integers(columns * rows))
        for index in range(columns * rows):
            tile = picture if index == place else _other(random, picture.size)
            canvas.paste(tile, (index % columns * width, index // columns * height))
        return ImageOps.contain(canvas, (1600, 1600), _LANCZOS)

    return transform


def then(*steps: Transformation) -> Transformation:
    """One after the other."""

    def transform(picture: Image.Image, random: Generator) -> Image.Image:
        for step in steps:
            picture = step(picture, random)
        return picture

    return transform


_WHATSAPP = then(fitted(1600), saved("JPEG", 70))
_INSTAGRAM = then(fitted(1080), filtered(ImageFilter.UnsharpMask(1, 60)), saved("JPEG", 72))

SAME: Final[dict[str, Transformation]] = {
    **{f"JPEG, quality {quality}": saved("JPEG", quality) for quality in (90, 70, 50, 30, 10)},
    "WebP, quality 50": saved("WEBP", 50),
    "half the size": scaled(0.5, 0.5),
    "320 pixels": fitted(320),
    "128 pixels": fitted(128),
    "10 % wider": scaled(1.1, 1.0),
    "squashed to a square": squashed,
    "as WhatsApp, twice": then(_WHATSAPP, _WHATSAPP),
    "as Instagram": _INSTAGRAM,
    "thumbnail of 240 pixels, quality 60": then(fitted(240), saved("JPEG", 60)),
    "mirrored": turned(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": turned(Image.Transpose.ROTATE_180),
    "turned left": turned(Image.Transpose.ROTATE_90),
    "turned right": turned(Image.Transpose.ROTATE_270),
    "white border, 3 %": bordered(0.03, "white"),
    "white border, 10 %": bordered(0.1, "white"),
    "black border, 10 %": bordered(0.1, "black"),
    "padded to 1:1, black": padded(1, "black"),
    "padded to 9:16, black": padded(9 / 16, "black"),
    "padded to 9:16, white": padded(9 / 16, "white"),
}
"""Re-encoded, resized, mirrored, turned by quarters, letterboxed, bordered: aim 99 %."""

SHOWN: Final[dict[str, Transformation]] = {
    "phone screenshot, dark": phone_screenshot("#121212", "white"),
    "phone screenshot, light": phone_screenshot("white", "black"),
    "chat screenshot": chat_screenshot,
    "desktop screenshot": desktop_screenshot,
    "chat on a wallpaper, screenshot": chat_on_wallpaper,
    "post in a feed, screenshot": post_screenshot,
    "cropped by 2 %": cropped(0.02),
    "cropped by 5 %": cropped(0.05),
    "cropped by 10 %": cropped(0.1),
    "cropped by 10 % at the bottom": cropped_at_bottom(0.1),
}
"""Screenshots, and crops up to 10 %: aim 95 %."""

CHANGED: Final[dict[str, Transformation]] = {
    "cropped by 15 %": cropped(0.15),
    "cropped by 20 %": cropped(0.2),
    "cropped by 25 %": cropped(0.25),
    "a sticker over 2 %": stickers(0.02),
    "a sticker over 5 %": stickers(0.05),
    "a sticker over 10 %": stickers(0.1),
    "three stickers over 10 %": stickers(0.1, 3),
}
"""Crops up to 25 %, and stickers up to 10 %: aim 80 %."""

OTHERS: Final[dict[str, Transformation]] = {
    "cropped by 30 %": cropped(0.3),
    "cropped by 40 %": cropped(0.4),
    "cropped to 1:1": cropped_to(1),
    "cropped to 4:5": cropped_to(4 / 5),
    "cropped to 16:9": cropped_to(16 / 9),
    "padded to 9:16, blurred": padded_with_blur,
    "turned by 1°": tilted(1),
    "turned by 3°": tilted(3),
    "turned by 5°": tilted(5),
    "turned by 2°, corners cut": tilted(2, inner=True),
    "a sticker over 20 %": stickers(0.2),
    "meme": meme,
    "caption bar": caption_bar,
    "watermark all over": watermarked,
    "name in the corner": signed,
    "black box over 4 %": black_box(0.04),
    "black box over 10 %": black_box(0.1),
    "a ninth pixelated": pixelated,
    "30 % brighter": enhanced(ImageEnhance.Brightness, 1.3),
    "40 % darker": enhanced(ImageEnhance.Brightness, 0.6),
    "40 % more contrast": enhanced(ImageEnhance.Contrast, 1.4),
    "40 % less contrast": enhanced(ImageEnhance.Contrast, 0.6),
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "twice the colour": enhanced(ImageEnhance.Color, 2.0),
    "grey": enhanced(ImageEnhance.Color, 0.0),
    "warm, dark corners": vintage,
    "colours inverted": lambda picture, _: ImageOps.invert(picture),
    "blurred, radius 3": filtered(ImageFilter.GaussianBlur(3)),
    "blurred, radius 8": filtered(ImageFilter.GaussianBlur(8)),
    "noise, sigma 15": noisy(15),
    "noise, sigma 40": noisy(40),
    "sharpened": filtered(ImageFilter.UnsharpMask(3, 150)),
    "perspective, 2 %": leaning(0.02),
    "photo of a screen": photo_of_screen,
    "in another picture, 70 %": inside_another(0.7),
    "in another picture, 50 %": inside_another(0.5),
    "collage, 2 x 1": collage(2, 1),
    "collage, 2 x 2": collage(2, 2),
    "mirrored, cropped by 5 %, quality 50": then(
        turned(Image.Transpose.FLIP_LEFT_RIGHT), cropped(0.05), saved("JPEG", 50)
    ),
    "cropped by 10 %, screenshot": then(cropped(0.1), phone_screenshot("#121212", "white")),
    "meme, white border, quality 60": then(meme, bordered(0.1, "white"), saved("JPEG", 60)),
}
"""No aim; the table shows what they cost."""
