import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.hostile import chunk, png
from unspread.errors import UnreadableMediaError
from unspread.fingerprint import kernel, scan_media
from unspread.fingerprint.decode import Picture, decode, decode_canonical
from unspread.fingerprint.files import STANDARD, Limits
from unspread.fingerprint.png import decode_png

MODES = {1: ("L", 0), 3: ("RGB", 2), 4: ("RGBA", 6)}


def noise(height: int, width: int, channels: int) -> np.ndarray:
    """Smooth enough that predictions tie and wrap, rough enough that they miss."""
    random = np.random.default_rng((height, width, channels))
    steps = random.integers(-3, 4, (height, width, channels)).cumsum(0).cumsum(1)
    return (steps & 255).astype(np.uint8)


def filtered(pixels: np.ndarray, filters: list[int]) -> bytes:
    """PNG's own definition, pixel by pixel (third edition, 9.2), with the filters in turn."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, -1).astype(int)
    written = bytearray()
    for row in range(height):
        kind = filters[row % len(filters)]
        written.append(kind)
        for at in range(width * channels):
            left = rows[row, at - channels] if at >= channels else 0
            above = rows[row - 1, at] if row else 0
            corner = rows[row - 1, at - channels] if row and at >= channels else 0
            nearest = min((left, above, corner), key=lambda each: abs(left + above - corner - each))
            guess = (0, left, above, (left + above) // 2, nearest)[kind]
            written.append((rows[row, at] - guess) & 255)
    return bytes(written)


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 21])
def test_every_filter_is_undone_as_pillow_undoes_it(channels, filters, width):
    pixels = noise(12, width, channels)
    packed = zlib.compress(filtered(pixels, filters))
    halves = [chunk(b"IDAT", packed[:20]), chunk(b"IDAT", b""), chunk(b"IDAT", packed[20:])]
    data = png(width, 12, *halves, colour=MODES[channels][1])
    decoded = decode_png(data)
    assert np.array_equal(decoded.reshape(pixels.shape), pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), decoded)


def encoded(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


GOOD = encoded(Image.fromarray(noise(40, 30, 3)))
BODY = GOOD.index(b"IDAT") + 4


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD[:-12], id="without its end"),
        pytest.param(GOOD[: BODY + 50], id="cut in its pixels"),
        pytest.param(GOOD[: BODY + 9] + b"\xff" + GOOD[BODY + 10 :], id="one byte wrong"),
        pytest.param(png(30, 41, chunk(b"IDAT", zlib.compress(bytes(91 * 40)))), id="a row short"),
        pytest.param(png(30, 39, chunk(b"IDAT", zlib.compress(bytes(91 * 40)))), id="a row more"),
        pytest.param(png(1, 1, chunk(b"IDAT", zlib.compress(b"\5abc"))), id="an unknown filter"),
        pytest.param(png(0, 9, chunk(b"IDAT", zlib.compress(bytes(9)))), id="of no width"),
        pytest.param(GOOD[:8] + struct.pack(">I", 2**31) + GOOD[12:], id="a header of gigabytes"),
        pytest.param(
            GOOD[: BODY - 8] + b"\xff\xff\xff\xf0" + GOOD[BODY - 4 :], id="endless pixels"
        ),
        pytest.param(GOOD[:20], id="half a header"),
    ],
)
def test_what_is_damaged_is_left_to_others(data):
    with pytest.raises((ValueError, RuntimeError)):
        decode_png(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(Image.fromarray(noise(9, 9, 1)[..., 0]).convert("P")), id="a palette"),
        pytest.param(encoded(Image.fromarray(noise(9, 9, 1)[..., 0]).convert("1")), id="one bit"),
        pytest.param(encoded(Image.new("I;16", (9, 9))), id="16 bits"),
        pytest.param(encoded(Image.fromarray(noise(9, 9, 3)), transparency=(1, 2, 3)), id="a key"),
        pytest.param(GOOD[:28] + b"\1" + GOOD[29:], id="interlaced"),
    ],
)
def test_less_common_kinds_are_left_to_others(data):
    with pytest.raises(ValueError, match="PNG"):
        decode_png(data)


@pytest.mark.parametrize("channels", MODES)
def test_a_scan_is_the_same_without_the_compiled_kernel(channels, monkeypatch):
    pixels = noise(300, 200, channels)
    pixels[..., 3:] = 255
    data = encoded(Image.fromarray(pixels.squeeze()))
    scan = scan_media(data)
    assert scan.decoder == "libdeflate"
    monkeypatch.setattr(kernel, "compiled", None)
    assert scan_media(data) == replace(scan, decoder="pillow")


def pixels_by(read: Callable[[bytes, Limits], Picture], data: bytes) -> bytes | None:
    try:
        return read(data, STANDARD).pixels.tobytes()
    except UnreadableMediaError:
        return None


def test_both_ways_agree_on_what_is_damaged():
    refused = 0
    for at in range(8, len(GOOD), 13):
        data = GOOD[:at] + bytes([GOOD[at] ^ 0x55]) + GOOD[at + 1 :]
        found = pixels_by(decode, data)
        assert found == pixels_by(decode_canonical, data)
        refused += found is None
    assert refused > 20
