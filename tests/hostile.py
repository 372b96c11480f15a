"""Files made to hurt whoever opens them: each must be refused with one clear sentence.

All are made here, from small benign pictures and clips; none is stored.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from unspread.testing.samples import encoded, landscape

VECTORS = Path(__file__).parents[1] / "vectors"

TRUNCATED = {
    "jpeg": "pictures/baseline.jpg",
    "progressive jpeg": "pictures/progressive.jpg",
    "png": "pictures/rgb.png",
    "gif": "pictures/still.gif",
    "webp": "pictures/lossy.webp",
    "avif": "pictures/photo.avif",
    "heic": "pictures/photo.heic",
    "bmp": "pictures/plain.bmp",
    "tiff": "pictures/lzw.tiff",
    "mp4": "videos/h264.mp4",
    "webm": "videos/vp9.webm",
    "mkv": "videos/h264.mkv",
}


def chunk(kind: bytes, body: bytes) -> bytes:
    """One of PNG's, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of any claims."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header lies."""
    at = next(jpeg.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in jpeg)
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    """One of MP4's, of any claimed size."""
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """With the first `old` exchanged; it must be there."""
    assert old in data
    return data.replace(old, new, 1)


def hostile() -> Iterator[tuple[str, bytes]]:
    """(what it is, its bytes)."""
    yield from truncated()
    yield from something_else()
    yield from empty_inside()
    yield from bombs()
    yield from damaged()
    yield from lying_films()


def truncated() -> Iterator[tuple[str, bytes]]:
    """At every tenth."""
    for name, path in TRUNCATED.items():
        data = (VECTORS / path).read_bytes()
        for tenth in range(1, 10):
            yield f"{name} cut at {tenth}0 %", data[: len(data) * tenth // 10]


def something_else() -> Iterator[tuple[str, bytes]]:
    """Documents, programs and archives, some with a picture behind."""
    picture = encoded(landscape(1, 64, 64))
    yield "nothing", b""
    yield "one byte", b"\xff"
    yield "zeros", bytes(100_000)
    yield "a web page", b"<!doctype html><script>alert(1)</script>"
    yield "a web page with a picture behind", b"<html><!--" + picture
    yield "a drawing in SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "XML that grows", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
    yield "an archive with a picture behind", b"PK\x03\x04" + bytes(26) + picture
    yield "a document", b"%PDF-1.7\n" + picture
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "a program", b"\x7fELF" + bytes(100)
    yield "a program for Windows", b"MZ" + bytes(100)
    yield "a playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield "a list to join", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "a compressed file", b"\x1f\x8b\x08" + bytes(50)
    yield "an image for a disk", bytes(32769) + b"CD001"
    yield "text", b"Hier ist kein Bild."


def empty_inside() -> Iterator[tuple[str, bytes]]:
    """The first bytes of each kind, and nothing that follows from them."""
    starts = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "gif": b"GIF89a",
        "webp": b"RIFF\xff\xff\xff\xffWEBP",
        "bmp": b"BM",
        "tiff": b"II*\0",
        "avif": box(b"ftyp", b"avif\0\0\0\0avif"),
        "heic": box(b"ftyp", b"heic\0\0\0\0heic"),
        "mp4": box(b"ftyp", b"isom\0\0\0\0isom"),
        "matroska": b"\x1a\x45\xdf\xa3",
    }
    noise = np.random.default_rng(1).bytes(5000)
    for name, start in starts.items():
        yield f"the start of {name}", start
        yield f"the start of {name}, then noise", start + noise


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that would fill the memory."""
    picture = encoded(landscape(1, 64, 64))
    scan = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    yield "a png of 4 gigapixels", png(65_000, 65_000, scan)
    yield "a png of 2**31 - 1 squared", png(2**31 - 1, 2**31 - 1, scan)
    packed = zlib.compressobj(9)
    row = packed.compress(bytes(20_001)) + packed.flush(zlib.Z_FULL_FLUSH)
    yield (
        "a png of 400 megapixels that is real",
        png(20_000, 20_000, chunk(b"IDAT", row + row), depth=8, colour=0),
    )
    yield "a jpeg of 4 gigapixels", with_size(picture, 65_500, 65_500)
    progressive = encoded(landscape(1, 64, 64), progressive=True)
    yield "a progressive jpeg of 4 gigapixels", with_size(progressive, 65_500, 65_500)
    yield "a gif of 4 gigapixels", b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b";"
    bitmap = encoded(landscape(1, 64, 64), "BMP")
    yield "a bmp of 2**60 pixels", bitmap[:18] + struct.pack("<ii", 2**30, 2**30) + bitmap[26:]
    tiff = io.BytesIO()
    Image.new("L", (8, 8)).save(tiff, "TIFF")
    wide = struct.pack("<HHII", 256, 4, 1, 100_000)
    high = struct.pack("<HHII", 257, 4, 1, 100_000)
    data = tiff.getvalue()
    first = data.index(struct.pack("<HH", 256, 4))
    second = data.index(struct.pack("<HH", 257, 4))
    data = data[:first] + wide + data[first + 12 : second] + high + data[second + 12 :]
    yield "a tiff of 10 gigapixels", data
    counts = struct.pack("<HHHII", 2, 256, 4, 2**31 - 1, 8) + struct.pack(
        "<HHII", 273, 4, 2**32 - 1, 8
    )
    yield "a tiff of billions of strips", b"II*\0" + struct.pack("<I", 8) + counts + bytes(4)
    head = struct.pack("<IIiiHHIIiiII", 1078, 40, 14_000, 14_000, 1, 8, 1, 0, 0, 0, 0, 0)
    yield "a packed bmp that ends at once", b"BM" + bytes(8) + head + bytes(1024) + b"\0\1"
    for brand in (b"avif", b"heic"):
        name = brand.decode()
        yield f"{name} of 65 025 tiles that are grids", grids(brand, 255, 200)
        yield f"{name} whose only tile is a grid of itself", grids(brand, 1, 1)
    webp = (VECTORS / "pictures/lossless.webp").read_bytes()
    at = webp.index(b"VP8L") + 9
    yield "a webp of 268 megapixels", webp[:at] + b"\xff\xff\xff\x0f" + webp[at + 4 :]


def grids(brand: bytes, side: int, tiles: int) -> bytes:
    """HEIF of side x side tiles, each a grid of the next (ISO/IEC 23008-12, 6.6.2.3)."""

    def full(kind: bytes, body: bytes, version: int = 0) -> bytes:
        return box(kind, bytes([version, 0, 0, 0]) + body)

    items = range(1, tiles + 2)
    grid = struct.pack(">BBBBII", 0, 1, side - 1, side - 1, 16_000, 12_000)
    shown = [2 + at % tiles for at in range(side * side)]
    refers = box(b"dimg", struct.pack(f">HH{len(shown)}H", 1, len(shown), *shown))
    for item in items[1:]:
        refers += box(b"dimg", struct.pack(">HHH", item, 1, 2 + (item - 1) % tiles))
    named = b"".join(full(b"infe", struct.pack(">HH4sB", each, 0, b"grid", 0), 2) for each in items)
    sized = b"".join(struct.pack(">HBB", each, 1, 1) for each in items)
    placed = b"".join(struct.pack(">HHHHII", each, 1, 0, 1, 0, len(grid)) for each in items)
    properties = box(b"ipco", full(b"ispe", struct.pack(">II", 16_000, 12_000)))
    properties += full(b"ipma", struct.pack(">I", len(items)) + sized)
    meta = full(b"hdlr", b"\0\0\0\0pict" + bytes(13)) + full(b"pitm", struct.pack(">H", 1))
    meta += full(b"iinf", struct.pack(">H", len(items)) + named) + full(b"iref", refers)
    meta += box(b"iprp", properties) + box(b"idat", grid)
    meta += full(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + placed, 1)
    return box(b"ftyp", brand + b"\0\0\0\0" + brand + b"mif1") + full(b"meta", meta)


def damaged() -> Iterator[tuple[str, bytes]]:
    """Whole in length, broken inside."""
    picture = encoded(landscape(1, 64, 64))
    body = picture.index(b"\xff\xda")
    yield "a jpeg without a scan", picture[:body] + b"\xff\xd9"
    yield "a jpeg of no width", with_size(picture, 0, 64)
    yield (
        "a jpeg without tables",
        picture.replace(b"\xff\xdb", b"\xff\xe5").replace(b"\xff\xc4", b"\xff\xe6"),
    )
    scan = chunk(b"IDAT", zlib.compress(bytes(64 * (3 * 64 + 1))))
    good = png(64, 64, scan)
    yield "a png of no height", png(64, 0, scan)
    yield "a png without pixels", png(64, 64)
    yield "a png with a wrong header", replaced(good, b"IHDR", b"IHDX")
    yield "a png whose pixels are not compressed", png(64, 64, chunk(b"IDAT", bytes(500)))
    yield "a png of an unknown colour", png(64, 64, scan, colour=5)
    yield "a palette without colours", png(64, 64, scan, colour=3)
    yield "a gif without a frame", b"GIF89a" + struct.pack("<HH", 64, 64) + bytes(3) + b";"
    webp = (VECTORS / "pictures/lossy.webp").read_bytes()
    yield "a webp with a broken frame", webp[:20] + bytes(len(webp) - 20)
    bitmap = encoded(landscape(1, 64, 64), "BMP")
    yield "a bmp of no width", bitmap[:18] + bytes(4) + bitmap[22:]
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1)
    loop += struct.pack("<HHII", 330, 4, 1, 8) + struct.pack("<I", 8)
    yield "a tiff that leads back to itself", loop
    for name in ("photo.avif", "photo.heic"):
        data = (VECTORS / "pictures" / name).read_bytes()
        at = data.index(b"mdat") + 4
        yield f"{name} with a broken frame", data[:at] + b"\xff" * (len(data) - at)


def lying_films() -> Iterator[tuple[str, bytes]]:
    """Films that are none, or not what they say."""
    film = (VECTORS / "videos/h264.mp4").read_bytes()
    yield "an mp4 without an index", replaced(film, b"moov", b"zzzz")
    sound = film.replace(b"vide", b"soun").replace(b"avc1", b"mp4a")
    yield "an mp4 without a film", sound
    yield "an mp4 of no samples", replaced(film, b"stsz", b"free")
    yield "an mp4 of an unknown codec", film.replace(b"avc1", b"zzzz")
    yield (
        "an mp4 whose frames are noise",
        film.replace(film[48:20_000], np.random.default_rng(2).bytes(19_952), 1),
    )
    at = film.index(b"stco") + 12
    yield "an mp4 whose frames lie behind its end", film[:at] + b"\x7f" + film[at + 1 :]
    at = film.index(b"stsz") + 16
    yield "an mp4 with a frame of gigabytes", film[:at] + b"\x7f" + film[at + 1 :]
    at = film.index(b"stsz") + 12
    yield "an mp4 of four billion samples", film[:at] + b"\xff" * 4 + film[at + 4 :]
    at = film.index(b"stsc") + 8
    yield "an mp4 of two billion chunks", film[:at] + b"\x7f\xff\xff\xff" + film[at + 4 :]
    deep = b""
    for _ in range(2000):
        deep = box(b"moov", deep)
    yield "an mp4 of boxes in boxes", box(b"ftyp", b"isom\0\0\0\0") + deep
    yield (
        "an mp4 with a box larger than itself",
        box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"", 0x7FFFFFFF),
    )
    webm = (VECTORS / "videos/vp9.webm").read_bytes()
    at = webm.index(b"\x1f\x43\xb6\x75") + 4
    yield (
        "a webm with a cluster of terabytes",
        webm[:at] + b"\x01\0\0\xff\xff\xff\xff\xff" + webm[at + 8 :],
    )
    yield "a webm of an unknown codec", replaced(webm, b"V_VP9", b"V_ZZZ")
    yield "a webm that is something else", replaced(webm, b"webm", b"zzzz")[:200] + bytes(5000)
    odd = bytearray(webm)
    odd[300:] = np.random.default_rng(3).bytes(len(odd) - 300)
    yield "a webm whose frames are noise", bytes(odd)
