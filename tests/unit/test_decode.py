"""Faster decoders against Pillow, which the canonical rule is written by."""

import io
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from unspread.errors import UnreadableMediaError
from unspread.fingerprint.decode import Picture, decode, decode_canonical
from unspread.fingerprint.files import STANDARD, Limits

pillow_heif.register_heif_opener()


def drawn(height: int, width: int) -> Image.Image:
    """Edges in every channel, where decoders that smooth or round otherwise would show it."""
    random = np.random.default_rng((height, width))
    cells = random.integers(0, 256, (-(-height // 7), -(-width // 5), 3))
    pixels = cells.repeat(7, 0).repeat(5, 1)[:height, :width]
    pixels += random.integers(-9, 10, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "decoder"),
    [
        ("JPEG", {"quality": 90}, "libjpeg-turbo"),
        ("JPEG", {"quality": 20, "progressive": True}, "libjpeg-turbo"),
        ("JPEG", {"subsampling": "4:4:4"}, "libjpeg-turbo"),
        ("JPEG", {"subsampling": "4:2:2"}, "libjpeg-turbo"),
        ("JPEG", {"keep_rgb": True}, "libjpeg-turbo"),
        ("WEBP", {"quality": 70}, "libwebp"),
        ("WEBP", {"lossless": True}, "libwebp"),
        ("HEIF", {"quality": 60}, "libheif"),
        ("PNG", {}, "libdeflate"),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(64, 64), (121, 67), (5, 300)], ids=str)
def test_the_faster_decoder_gives_the_pixels_of_the_canonical_one(name, options, decoder, size):
    data = encoded(drawn(*size), name, **options)
    found, canonical = decode(data, STANDARD), decode_canonical(data, STANDARD)
    assert (found.decoder, canonical.decoder) == (decoder, "pillow")
    assert np.array_equal(found.pixels, canonical.pixels)


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_grey_pictures_have_one_channel_either_way(name):
    data = encoded(drawn(40, 30).convert("L"), name)
    found = decode(data, STANDARD)
    assert found.pixels.shape == (40, 30)
    assert np.array_equal(found.pixels, decode_canonical(data, STANDARD).pixels)
    assert decode(data, STANDARD, luma=True).decoder == found.decoder


def test_only_who_asks_for_luma_gets_it():
    data = encoded(drawn(40, 30), "JPEG")
    assert decode(data, STANDARD, luma=True).decoder == "luma"
    assert decode(data, STANDARD, luma=True).pixels.ndim == 2
    assert decode(data, STANDARD).pixels.ndim == 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(drawn(40, 30).convert("CMYK"), "JPEG"), id="CMYK"),
        pytest.param(encoded(drawn(40, 30).convert("P"), "PNG"), id="a palette"),
        pytest.param(
            encoded(Image.new("RGBA", (40, 30), (9, 9, 9, 99)), "WEBP", lossless=True), id="alpha"
        ),
        pytest.param(
            encoded(
                drawn(40, 30), "WEBP", save_all=True, append_images=[drawn(40, 30).rotate(180)]
            ),
            id="animated",
        ),
    ],
)
def test_what_faster_decoders_may_not_know_is_left_to_the_canonical_one(data):
    assert decode(data, STANDARD, luma=True).decoder == "pillow"


def answer(read: Callable[[bytes, Limits], Picture], data: bytes) -> bytes | None:
    try:
        return read(data, STANDARD).pixels.tobytes()
    except UnreadableMediaError:
        return None


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "HEIF"])
def test_both_ways_agree_on_what_is_damaged(name):
    whole = encoded(drawn(64, 48), name)
    cut = [whole[: len(whole) * tenth // 10] for tenth in range(1, 10)]
    wrong = [
        whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        for at in range(16, len(whole), len(whole) // 40)
    ]
    refused = 0
    for data in cut + wrong:
        found = answer(decode, data)
        assert found == answer(decode_canonical, data)
        refused += found is None
    assert refused >= len(cut) // 2
