import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageOps

from unspread.fingerprint import pdq

SIZES = [
    (5, 5),
    (5, 700),
    (63, 64),
    (64, 64),
    (65, 129),
    (128, 256),
    (257, 255),
    (480, 640),
    (1081, 719),
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coloured noise: something to see at every scale, so that no coefficient ties at zero."""
    random = np.random.default_rng((seed, height, width))
    coarse = random.integers(0, 256, (height // 9 + 5, width // 9 + 5, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def reference(pixels: np.ndarray) -> tuple[bytes, int]:
    value, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return np.packbits(value).tobytes(), quality


def turned(pixels: np.ndarray, orientation: pdq.Orientation) -> np.ndarray:
    pixels = pixels[::-1] if orientation.flips_rows else pixels
    pixels = pixels[:, ::-1] if orientation.flips_columns else pixels
    return pixels.swapaxes(0, 1) if orientation.transposes else pixels


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_fingerprint_is_the_references_bit_for_bit(height, width):
    pixels = picture(height, width)
    fingerprint = pdq.fingerprint(pixels)
    assert (fingerprint.value, fingerprint.quality) == reference(pixels)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_turn_is_that_of_really_turned_pixels(height, width):
    pixels = picture(height, width)
    found = pdq.fingerprints(pdq.small_matrices(pixels, pdq.ORIENTATIONS))
    assert [each.value for each in found] == [
        reference(turned(pixels, orientation))[0] for orientation in pdq.ORIENTATIONS
    ]


def test_turns_compose_as_pixels_do():
    pixels = picture(7, 11)
    for first in pdq.ORIENTATIONS:
        for second in pdq.ORIENTATIONS:
            at_once = turned(pixels, first.then(second))
            assert np.array_equal(at_once, turned(turned(pixels, first), second))


def test_exif_values_turn_as_pillow_turns_them():
    pixels = picture(7, 11)
    for value in range(1, 9):
        image = Image.fromarray(pixels)
        image.getexif()[0x0112] = value
        upright = np.asarray(ImageOps.exif_transpose(image))
        assert np.array_equal(upright, turned(pixels, pdq.Orientation.from_exif(value)))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_dihedral_variants_are_the_references(height, width):
    pixels = picture(height, width)
    values, _ = pdqhash.compute_dihedral(np.ascontiguousarray(pixels))
    small = pdq.small_matrices(pixels, [pdq.UPRIGHT])[0]
    assert np.array_equal(pdq.dihedral(small), np.packbits(np.array(values), axis=1))


def test_grey_pixels_are_pixels_of_equal_red_green_and_blue():
    grey = picture(300, 200)[..., 0]
    assert pdq.fingerprint(grey) == pdq.fingerprint(np.repeat(grey[..., None], 3, axis=2))


def test_a_picture_too_small_to_blur_has_quality_zero():
    fingerprint = pdq.fingerprint(picture(4, 300))
    assert (fingerprint.value, fingerprint.quality) == (bytes(32), 0)
    assert reference(picture(4, 300)) == (bytes(32), 0)
