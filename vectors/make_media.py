"""Makes `pictures/`, `videos/` and what is expected of them: `pictures.json`, `videos.json`.

    python vectors/make_media.py

Every picture is drawn here, none is of a person. What is expected comes from Meta's reference
(`pdqhash`) on pixels that are decoded, turned and laid on white step by step, without code of the
package, so that the package is judged and does not judge itself; windows alone, which are the
project's own, come from the package. Encoders differ between
versions: the files are kept, and made anew only with what is expected of them.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zlib import compress, crc32

import av
import imagecodecs
import numpy as np
import pdqhash
import pillow_heif
from PIL import Image, ImageDraw, ImageFilter, ImageOps, PngImagePlugin

from unspread.fingerprint.pdq import bits
from unspread.fingerprint.windows import (
    SUBMITTED_MIN_SHARE,
    SUBMITTED_WINDOWS,
    coefficients_of,
    table_of,
    windows_of,
)

HERE: Final = Path(__file__).parent
VIDEO_SIDE: Final = (320, 240)


def scene(seed: int, width: int, height: int) -> Image.Image:
    """A drawn landscape of hills, discs and stripes under a sky with grain."""
    random = np.random.default_rng(seed)
    sky = random.integers(60, 255, (4, 5, 3), np.uint8)
    picture = Image.fromarray(sky).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)

    def colour() -> tuple[int, ...]:
        return tuple(int(each) for each in random.integers(0, 256, 3))

    for layer in range(4):
        base = height * (0.35 + 0.15 * layer)
        steps = np.linspace(0, width, 24)
        ridge = base + np.cumsum(random.normal(0, height / 30, 24))
        outline = [(float(x), float(y)) for x, y in zip(steps, ridge, strict=True)]
        draw.polygon([*outline, (width, height), (0, height)], fill=colour())
    for _ in range(14):
        x, y = random.uniform(0, width), random.uniform(0, height)
        r = random.uniform(0.02, 0.14) * min(width, height)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour(), outline=colour())
        draw.line((x, y, *random.uniform(0, width, 2)), fill=colour(), width=max(1, int(r / 5)))
    grain = random.normal(0, 6, (height, width, 1))
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))


def strange_profile() -> bytes:
    """An ICC profile with red and green exchanged and gamma 1.0: pixels differ if it is applied."""

    def s15(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(each * 65536)) for each in values)

    xyz = {
        b"rXYZ": (0.3851, 0.7169, 0.0971),
        b"gXYZ": (0.4361, 0.2225, 0.0139),
        b"bXYZ": (0.1431, 0.0606, 0.7141),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }
    tags = {name: b"XYZ \0\0\0\0" + s15(*value) for name, value in xyz.items()}
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, 256, 0)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    text = b"swapped"
    name = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    tags[b"desc"] = name + bytes(-len(name) % 4)
    tags[b"cprt"] = b"text\0\0\0\0public domain\0" + bytes(2)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, at + len(body), len(value))
        body += value
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += s15(0.9642, 1.0, 0.8249)
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + table + body


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    """EXIF that holds an orientation and nothing else."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def with_alpha(picture: Image.Image) -> Image.Image:
    """Transparent towards the right."""
    ramp = np.tile(np.linspace(255, 0, picture.width).astype(np.uint8), (picture.height, 1))
    picture = picture.copy()
    picture.putalpha(Image.fromarray(ramp))
    return picture


def pictures() -> Iterator[tuple[str, bytes, str]]:  # noqa: PLR0915 - a list
    """(file name, bytes, what it shows)."""
    small = scene(1, 300, 200)
    profile = strange_profile()
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100_000))
    yield "baseline.jpg", saved(scene(2, 640, 480), "JPEG", quality=85), "4:2:0"
    yield "progressive.jpg", saved(scene(3, 481, 641), "JPEG", progressive=True), "progressive"
    yield "full-chroma.jpg", saved(scene(4, 333, 500), "JPEG", subsampling=0), "4:4:4"
    yield "grey.jpg", saved(scene(5, 320, 200).convert("L"), "JPEG"), "one channel"
    yield "cmyk.jpg", saved(scene(6, 320, 200).convert("CMYK"), "JPEG"), "four channels"
    yield "large.jpg", saved(scene(7, 3000, 2000), "JPEG", quality=50), "6 megapixels"
    yield "tiny.jpg", saved(scene(8, 34, 42), "JPEG", quality=90), "smaller than 64"
    yield "narrow.jpg", saved(scene(9, 40, 600), "JPEG"), "much higher than wide"
    yield "profile.jpg", saved(small, "JPEG", icc_profile=profile), "a colour profile to ignore"
    for value in range(1, 9):
        file = saved(scene(10 + value, 200, 140), "JPEG", exif=exif(value))
        yield f"exif-{value}.jpg", file, f"EXIF orientation {value}"
    yield "rgb.png", saved(scene(20, 401, 299), "PNG"), "8-bit colour"
    yield "alpha.png", saved(with_alpha(scene(21, 300, 200)), "PNG"), "alpha over white"
    grey = scene(22, 300, 200).convert("L")
    yield "grey.png", saved(grey, "PNG"), "8-bit grey"
    yield "grey-alpha.png", saved(with_alpha(grey), "PNG"), "grey with alpha"
    yield "palette.png", saved(scene(23, 300, 200).quantize(32), "PNG"), "32 colours"
    palette = scene(24, 300, 200).quantize(16)
    yield "palette-alpha.png", saved(palette, "PNG", transparency=3), "a transparent colour"
    yield "bilevel.png", saved(scene(25, 300, 200).convert("1"), "PNG"), "1 bit"
    wide = np.asarray(scene(26, 300, 200)).astype(np.uint16) * 256 + 200
    yield "rgb-16.png", imagecodecs.png_encode(wide), "16 bits: the high byte counts"
    wide = wide[..., 1].copy()
    yield "grey-16.png", imagecodecs.png_encode(wide), "16 bits: the high byte counts"
    yield "profile.png", saved(small, "PNG", icc_profile=profile), "a colour profile to ignore"
    yield "gamma.png", saved(small, "PNG", pnginfo=gamma), "a gamma to ignore"
    more = [scene(seed, 200, 150) for seed in (28, 29)]
    animated = {"save_all": True, "append_images": more, "duration": 200}
    yield "animated.png", saved(scene(27, 200, 150), "PNG", **animated), "first of three frames"
    yield "lossy.webp", saved(scene(30, 640, 480), "WEBP", quality=80), "VP8"
    yield "lossless.webp", saved(scene(31, 200, 150), "WEBP", lossless=True), "VP8L"
    yield "alpha.webp", saved(with_alpha(scene(32, 300, 200)), "WEBP"), "alpha over white"
    yield "animated.webp", saved(scene(33, 200, 150), "WEBP", **animated), "first of three frames"
    yield "profile.webp", saved(small, "WEBP", icc_profile=profile), "a colour profile to ignore"
    yield "still.gif", saved(scene(34, 240, 180).quantize(64), "GIF"), "64 colours"
    yield "animated.gif", saved(scene(35, 200, 150), "GIF", **animated), "first of three frames"
    palette = scene(36, 200, 150).quantize(32)
    yield "transparent.gif", saved(palette, "GIF", transparency=2), "a transparent colour"
    yield "plain.bmp", saved(scene(37, 200, 150), "BMP"), "uncompressed"
    yield "lzw.tiff", saved(scene(38, 200, 150), "TIFF", compression="tiff_lzw"), "LZW"
    yield "photo.avif", saved(scene(39, 400, 300), "AVIF", quality=70), "AV1"
    yield "alpha.avif", saved(with_alpha(scene(40, 200, 150)), "AVIF"), "alpha over white"
    pillow_heif.register_heif_opener()
    yield "photo.heic", saved(scene(41, 400, 300), "HEIF", quality=70), "HEVC"
    yield "turned.heic", saved(scene(42, 300, 200), "HEIF", exif=exif(6)), "irot"
    yield "turned.avif", saved(scene(44, 200, 150), "AVIF", exif=exif(5)), "irot and imir"
    yield "animated.avif", saved(scene(45, 200, 150), "AVIF", **animated), "first of three frames"
    # As Adobe writes it: inverted.
    ycck = 255 - np.asarray(scene(46, 240, 160).convert("CMYK"))
    ycck = imagecodecs.jpeg8_encode(ycck, level=90, colorspace="CMYK", outcolorspace="YCCK")
    yield "ycck.jpg", ycck, "four channels, by luma"
    yield "plain-white.png", saved(Image.new("RGB", (120, 90), "white"), "PNG"), "nothing to see"
    yield "four-pixels.png", saved(scene(43, 4, 90), "PNG"), "too narrow: quality 0"


Pixels = np.ndarray[Any, Any]


def drawn_pictures() -> Iterator[tuple[str, bytes, str, Pixels]]:
    """(file name, bytes, what it shows, its pixels upright and on white), where Pillow errs."""
    picture = scene(50, 180, 120)
    pixels = np.asarray(picture)
    clockwise, anticlockwise = np.rot90(pixels, -1), np.rot90(pixels)
    yield "turned.png", saved(picture, "PNG", exif=exif(6)), "eXIf", clockwise
    turned = saved(picture, "WEBP", lossless=True, exif=exif(8))
    yield "turned.webp", turned, "EXIF, no alpha", anticlockwise
    tags = Image.Exif()
    tags[0x0112] = 7
    turned = saved(picture, "TIFF", exif=tags, compression="tiff_lzw")
    yield "turned.tiff", turned, "orientation 7", clockwise[:, ::-1][::-1, ::-1]
    yield "big.tiff", saved(picture, "TIFF", big_tiff=True), "BigTIFF", pixels
    frames = {"save_all": True, "append_images": [scene(51, 180, 120)], "duration": 200}
    apart = saved(picture, "PNG", default_image=True, **frames)
    yield "default-image.png", apart, "a default image that is no frame", pixels
    plain = saved(picture, "JPEG")
    at = 2 + plain[2:].index(b"\xff\xdb")
    long = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x0112, 4, 1, 6, 0)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(long)) + long
    stored = np.asarray(Image.open(BytesIO(plain)))
    yield "exif-long.jpg", plain[:at] + segment + plain[at:], "no SHORT: ignored", stored
    yield "offset.gif", *offset_gif()
    yield "transparent-rgb-16.png", *one_transparent_colour()
    yield "transparent-grey-2.png", *one_transparent_grey()


def offset_gif() -> tuple[bytes, str, Pixels]:
    """A first frame that leaves a part of the canvas out."""
    frame = scene(52, 150, 100).quantize(64)
    data = bytearray(saved(frame, "GIF"))
    at = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[6:10] = struct.pack("<HH", 200, 140)
    data[at + 1 : at + 5] = struct.pack("<HH", 30, 20)
    canvas = np.full((140, 200, 3), 255, np.uint8)
    canvas[20:120, 30:180] = frame.convert("RGB")
    return bytes(data), "a frame smaller than its canvas", canvas


def png(width: int, rows: list[bytes], depth: int, colour: int, transparent: bytes) -> bytes:
    """A PNG with one transparent colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    packed = compress(b"".join(b"\0" + row for row in rows))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", packed),
            chunk(b"IEND", b""),
        ]
    )


def one_transparent_colour() -> tuple[bytes, str, Pixels]:
    """Of 16 bits a channel: in every other column the colour is another in its low bits alone."""
    coarse = np.asarray(scene(53, 180, 120)) // 64 * 64
    colours, counts = np.unique(coarse.reshape(-1, 3), axis=0, return_counts=True)
    wide = coarse.astype(np.uint16) * 257
    wide[:, ::2] += 1
    transparent = colours[counts.argmax()].astype(np.uint16) * 257
    data = png(
        180,
        [each.astype(">u2").tobytes() for each in wide],
        16,
        2,
        transparent.astype(">u2").tobytes(),
    )
    hidden = (wide == transparent).all(axis=2, keepdims=True)
    return (
        data,
        "one transparent colour of 16 bits",
        np.where(hidden, 255, wide >> 8).astype(np.uint8),
    )


def one_transparent_grey() -> tuple[bytes, str, Pixels]:
    """Of 2 bits: the transparent one counts in the file's own samples."""
    grey = np.asarray(scene(54, 180, 120).convert("L")) >> 6
    four = grey.reshape(120, -1, 4) << np.array([6, 4, 2, 0])
    rows = [each.tobytes() for each in four.sum(axis=2).astype(np.uint8)]
    pixels = np.where(grey == 1, 255, grey * 85).astype(np.uint8)
    return (
        png(180, rows, 2, 0, b"\0\1"),
        "one transparent grey of 2 bits",
        np.stack(3 * [pixels], 2),
    )


def decoded(data: bytes) -> Image.Image:
    """Pillow's pixels of the first frame, upright and on white."""
    image: Image.Image = Image.open(BytesIO(data))
    image.seek(0)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image.convert("RGB")


def expected_of_picture(
    name: str, data: bytes, shows: str, drawn: Pixels | None = None
) -> dict[str, Any]:
    """What any implementation must say of a picture."""
    pixels = np.ascontiguousarray(decoded(data) if drawn is None else drawn)
    value, quality = pdqhash.compute(pixels)
    variants, _ = pdqhash.compute_dihedral(pixels)
    if pixels.min() == pixels.max():
        # The reference compares its own rounding errors; the rule says that equals tie.
        value, variants = np.zeros_like(value), [np.zeros_like(value)] * 8
    return {
        "file": name,
        "shows": shows,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "pdq": np.packbits(value).tobytes().hex(),
        "quality": quality,
        "windows": windows(pixels),
        "dihedral": [np.packbits(each).tobytes().hex() for each in variants],
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }


def windows(pixels: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Windows of upright pixels, in cells, as the package makes them."""
    table = table_of(pixels)
    found = windows_of(table, count=SUBMITTED_WINDOWS, min_share=SUBMITTED_MIN_SHARE)
    if not found:
        return []
    coefficients, qualities = coefficients_of(table, found)
    return [
        {
            "row": round(window.row, 6),
            "column": round(window.column, 6),
            "reach": round(window.reach, 6),
            "pdq": value.tobytes().hex(),
            "quality": int(quality),
        }
        for window, value, quality in zip(found, bits(coefficients), qualities, strict=True)
    ]


def film(
    name: str,
    codec: str,
    *,
    seed: int,
    options: dict[str, str],
    pixel_format: str = "yuv420p",
    frames: int = 72,
    prepare: Callable[[Any], None] = lambda _: None,
    bars: int = 0,
) -> None:
    """Writes a clip of 24 frames a second that pans over two scenes, with a cut between them."""
    width, height = VIDEO_SIDE
    with av.open(HERE / "videos" / name, "w") as container:
        stream = container.add_stream(codec, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.thread_count = 1
        prepare(stream)
        inner = height - 2 * bars
        wide = [scene(seed + part, width + frames, inner + frames) for part in range(2)]
        for index in range(frames):
            x = index * 2 % frames
            part = wide[index * 2 // frames].crop((x, index // 3, x + width, index // 3 + inner))
            canvas = Image.new("RGB", (width, height))
            canvas.paste(part, (0, bars))
            frame = av.VideoFrame.from_image(canvas)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def turn(degrees: int, *, mirrored: bool = False) -> Callable[[Any], None]:
    """Writes a display matrix."""

    def prepare(stream: Any) -> None:
        stream.set_display_rotation(degrees, hflip=mirrored)

    return prepare


def full_range(stream: Any) -> None:
    """Says that luma is 0..255."""
    stream.codec_context.color_range = 2


def videos() -> None:
    """Writes all clips."""
    x264 = {"crf": "28", "preset": "medium"}
    film("h264.mp4", "libx264", seed=100, options=x264)
    film("h264-front.mp4", "libx264", seed=102, options=x264 | {"g": "24", "bf": "0"})
    film("h264-turned.mov", "libx264", seed=104, options=x264, prepare=turn(90))
    film("h264-mirrored.mp4", "libx264", seed=106, options=x264, prepare=turn(180, mirrored=True))
    film("h264-turned-right.mp4", "libx264", seed=108, options=x264, prepare=turn(-90))
    film("h264.mkv", "libx264", seed=110, options=x264)
    film("h264-bars.mp4", "libx264", seed=112, options=x264, bars=36)
    film(
        "h264-full-range.mp4",
        "libx264",
        seed=114,
        options=x264,
        pixel_format="yuvj420p",
        prepare=full_range,
    )
    hevc = {"crf": "30", "x265-params": "log-level=none:pools=1", "tag": "hvc1"}
    film("hevc.mp4", "libx265", seed=116, options=hevc)
    film("vp9.webm", "libvpx-vp9", seed=118, options={"crf": "40", "b": "0", "cpu-used": "4"})
    film("vp8.webm", "libvpx", seed=120, options={"crf": "30", "b": "300k"})
    film("av1.mp4", "libsvtav1", seed=122, options={"crf": "45", "preset": "8"})
    film("av1.webm", "libsvtav1", seed=124, options={"crf": "45", "preset": "8"})
    film("mpeg4.mp4", "mpeg4", seed=126, options={"qscale": "8"})
    packed_anew()


def packed_anew() -> None:
    """Writes clips with the frames of another, in other containers."""
    folder = HERE / "videos"
    with (
        av.open(folder / "h264-front.mp4") as source,
        av.open(folder / "h264-edited.mp4", "w", options={"use_editlist": "1"}) as edited,
    ):
        track = source.streams.video[0]
        copy = edited.add_stream_from_template(track)
        for packet in source.demux(track):
            if packet.dts is not None:
                # What lies before 0 is kept, since others need it, and not shown.
                packet.pts -= round(1.5 / packet.time_base)
                packet.dts -= round(1.5 / packet.time_base)
                packet.stream = copy
                edited.mux(packet)
    with (
        av.open(folder / "h264.mp4") as source,
        av.open(folder / "h264-cover.mkv", "w") as covered,
    ):
        track = source.streams.video[0]
        cover = covered.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        copy = covered.add_stream_from_template(track)
        covered.mux(cover.encode(av.VideoFrame.from_image(scene(130, 64, 64))))
        for packet in source.demux(track):
            if packet.dts is not None:
                packet.stream = copy
                covered.mux(packet)


def quality_of(luma: np.ndarray[Any, Any]) -> int:
    """The reference's quality of float luma, box by box (pdqhashing.cpp, downscaling.cpp)."""

    def boxed(lines: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        length = len(lines)
        window = -(-length // 128)
        ahead = (window + 2) // 2
        sums = np.concatenate([np.zeros((1, lines.shape[1])), np.cumsum(lines, axis=0)])
        first = np.maximum(np.arange(length) - (window - ahead), 0)
        last = np.minimum(np.arange(length) + ahead, length)
        return (sums[last] - sums[first]) / (last - first)[:, None]

    for _ in range(2):
        luma = boxed(boxed(luma.T).T)
    rows, columns = (
        [int((index + 0.5) * length / 64) for index in range(64)] for length in luma.shape
    )
    small = luma[rows][:, columns]
    steps = sum(
        int(np.abs(np.trunc(np.round(np.diff(small, axis=axis), 9) * 100 / 255)).sum())
        for axis in (0, 1)
    )
    return min(steps // 90, 100)


def upright(luma: np.ndarray[Any, Any], frame: Any) -> np.ndarray[Any, Any]:
    """The frame's luma, turned as its display matrix says."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = (each >> 16 for each in struct.unpack_from("<5i", bytes(side)))
            height, width = luma.shape
            y, x = np.mgrid[0:height, 0:width]
            to_row, to_column = x * b + y * d, x * a + y * c
            turned = np.zeros((height, width) if a else (width, height), np.uint8)
            turned[to_row - to_row.min(), to_column - to_column.min()] = luma
            return turned
    return luma


def expected_of_video(path: Path) -> dict[str, Any]:
    """What any implementation must say of a clip."""
    data = path.read_bytes()
    bars = 36 if "bars" in path.name else 0
    frames: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    with av.open(path) as container:
        stream = container.streams.video[-1]  # after a cover
        first: int | None = None
        for frame in container.decode(stream):
            first = frame.pts if first is None else first
            plane = frame.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            luma = luma[bars : frame.height - bars, : frame.width]
            luma = np.ascontiguousarray(upright(luma, frame))
            value = np.packbits(pdqhash.compute(np.repeat(luma[..., None], 3, axis=2))[0])
            is_full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
            entry = {
                "seconds": round(float((frame.pts - first) * stream.time_base), 6),
                "pdq": value.tobytes().hex(),
                "quality": quality_of(luma * (1.0 if is_full else 255 / 219)),
            }
            frames.append(entry)
            if entry["quality"] >= 50 and (
                not kept or (int(kept[-1]["pdq"], 16) ^ int(entry["pdq"], 16)).bit_count() > 16
            ):
                kept.append(entry)
        return {
            "file": path.name,
            "codec": stream.codec_context.name,
            "height": luma.shape[0],
            "width": luma.shape[1],
            "bars": {"top": bars, "bottom": bars},
            "sha256": hashlib.sha256(data).hexdigest(),
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "submitted": [each["pdq"] for each in kept],
            "frames": frames,
        }


def write(name: str, rule: str, entries: list[dict[str, Any]]) -> None:
    """One JSON file of expectations."""
    text = json.dumps({"rule": rule, "files": entries}, indent=1, ensure_ascii=False)
    (HERE / name).write_text(text + "\n")


def main() -> None:
    """Make all files anew."""
    rule = "docs/protocol/fingerprints.md"
    entries = []
    for name, data, shows in pictures():
        (HERE / "pictures" / name).write_bytes(data)
        entries.append(expected_of_picture(name, data, shows))
    for name, data, shows, drawn in drawn_pictures():
        (HERE / "pictures" / name).write_bytes(data)
        entries.append(expected_of_picture(name, data, shows, drawn))
    write("pictures.json", rule, entries)
    videos()
    clips = sorted((HERE / "videos").iterdir())
    write("videos.json", rule, [expected_of_video(path) for path in clips])


if __name__ == "__main__":
    main()
