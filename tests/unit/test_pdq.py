import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageOps

from unspread.fingerprint import bands, kernel, pdq
from unspread.testing.samples import landscape

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


def test_the_turns_of_samples_are_those_of_pixels_in_the_same_order():
    samples = np.random.default_rng(5).uniform(0, 255, (64, 64))
    turned = pdq.turned_coefficients(pdq.coefficients(samples))
    for orientation, found in zip(pdq.ORIENTATIONS, turned, strict=True):
        expected = pdq.coefficients(np.ascontiguousarray(orientation.upright(samples)))
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_dihedral_variants_are_the_references(height, width):
    pixels = picture(height, width)
    values, _ = pdqhash.compute_dihedral(np.ascontiguousarray(pixels))
    small = pdq.small_matrices(pixels, [pdq.UPRIGHT])[0]
    assert np.array_equal(pdq.dihedral(small), np.packbits(np.array(values), axis=1))


@pytest.mark.parametrize("share", [0.02, 0.04])
def test_cropped_pictures_that_are_widened_come_near_their_originals(share):
    far, near = [], []
    for seed in range(8):
        whole = np.asarray(landscape(seed, 640, 480))
        down, across = round(480 * share), round(640 * share)
        cropped = pdq.small_matrices(whole[down:-down, across:-across], [pdq.UPRIGHT])
        for found, widened in ((far, 0.0), (near, share)):
            value = pdq.bits(pdq.coefficients(cropped, widened=widened)).tobytes()
            found.append(pdq.distance_bits(value, pdq.fingerprint(whole).value))
    assert np.median(near) <= 31 < np.median(far)
    assert np.median(near) < np.median(far) / 2


def test_what_is_widened_may_be_turned_before_or_after():
    (matrix,) = pdq.small_matrices(picture(129, 257), [pdq.UPRIGHT])
    wide = pdq.coefficients(matrix, widened=0.04)
    assert np.allclose(pdq.coefficients(matrix.T, widened=0.04), wide.T)
    signs = np.where(np.arange(16) % 2, 1, -1)
    assert np.allclose(pdq.coefficients(matrix[::-1], widened=0.04), wide * signs[:, None])


def test_grey_pixels_are_pixels_of_equal_red_green_and_blue():
    grey = picture(300, 200)[..., 0]
    assert pdq.fingerprint(grey) == pdq.fingerprint(np.repeat(grey[..., None], 3, axis=2))


def test_a_picture_too_small_to_blur_has_quality_zero():
    fingerprint = pdq.fingerprint(picture(4, 300))
    assert (fingerprint.value, fingerprint.quality) == (bytes(32), 0)
    assert reference(picture(4, 300)) == (bytes(32), 0)


def slowly(length: int) -> np.ndarray:
    """(64, length): the reference's two box filters and its sampling as one obvious matrix."""
    window = -(-length // 128)
    ahead = (window + 2) // 2
    box = np.zeros((length, length))
    for at in range(length):
        covered = slice(max(at - window + ahead, 0), min(at + ahead, length))
        box[at, covered] = 1 / len(range(length)[covered])
    twice = box @ box
    return twice[[int((row + 0.5) * length / 64) for row in range(64)]]


@pytest.mark.parametrize("length", [*range(5, 300, 7), 640, 1080, 1366, 2049])
def test_the_bands_are_two_box_filters_and_a_sampling(length):
    matrix = slowly(length)
    line = np.random.default_rng(length).integers(0, 256, (length, 3), np.uint8)
    for backwards, read in ((False, line), (True, line[::-1])):
        over = bands.bands(length, (backwards,))
        samples = bands.weigh_lines(line, over) / over.whole
        again = bands.weigh_columns(line.T.astype(float), over).T / over.whole
        for each in (samples, again):
            assert np.allclose(each[:: -1 if backwards else 1], matrix @ read, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [*SIZES, (1224, 1633), (6, 33_100), (33_100, 6)])
def test_both_kernels_give_the_same_fingerprints(height, width, monkeypatch):
    assert kernel.compiled is not None
    pixels = picture(height, width)
    for shown in (pixels, pixels[..., 1], pixels[::-1, ::-1], pixels.swapaxes(0, 1)):
        compiled = pdq.small_matrices(shown, pdq.ORIENTATIONS)
        with monkeypatch.context() as without:
            without.setattr(kernel, "compiled", None)
            plain = pdq.small_matrices(shown, pdq.ORIENTATIONS)
        # Sums are whole numbers; but at the edges tents may be cut, and the order of adding shows.
        assert (
            np.array_equal(compiled[:, 2:-2, 2:-2], plain[:, 2:-2, 2:-2]) or min(height, width) < 64
        )
        assert np.allclose(compiled, plain, rtol=0, atol=1e-12)
        assert pdq.fingerprints(compiled) == pdq.fingerprints(plain)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"lines": np.zeros((20, 8), np.uint16)}, id="words for bytes"),
        pytest.param({"lines": np.zeros((20, 16), np.uint8)[:, ::2]}, id="bytes that lie apart"),
        pytest.param({"starts": np.array([0, 18], np.int32)}, id="beyond the last line"),
        pytest.param({"sums": np.zeros((2, 7), np.uint32)}, id="too little room"),
    ],
)
def test_the_compiled_kernel_refuses_arrays_that_do_not_fit(wrong):
    given = {
        "lines": np.zeros((20, 8), np.uint8),
        "starts": np.array([0, 17], np.int32),
        "weights": np.array([1, 2, 1], np.uint16),
        "sums": np.zeros((2, 8), np.uint32),
    }
    kernel.compiled.weigh_lines(*given.values())
    with pytest.raises(ValueError, match="fit"):
        kernel.compiled.weigh_lines(*(given | wrong).values())
