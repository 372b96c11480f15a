import numpy as np
import pytest
from PIL import Image

from unspread.fingerprint import fingerprint_image, pdq, scan_media
from unspread.fingerprint.result import TURNS
from unspread.fingerprint.score import distances, shows_picture
from unspread.fingerprint.windows import (
    SCANNED_MIN_QUALITY,
    Window,
    coefficients_of,
    table_of,
    window_fingerprints,
    window_probes,
    windows_of,
)
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Part
from unspread.testing.samples import encoded, landscape


def nearest_bits(listed: list[bytes], probes: np.ndarray) -> int:
    rows = np.frombuffer(b"".join(listed), np.uint64).reshape(-1, 4)
    words = np.ascontiguousarray(probes).view(np.uint64).reshape(-1, 4)
    return int(np.bitwise_count(rows[:, None] ^ words[None]).sum(axis=2).min())


def listed(pixels: np.ndarray) -> list[bytes]:
    return [each.value for each in window_fingerprints(pixels)]


def test_a_table_is_the_mean_luma_of_cells():
    pixels = np.asarray(landscape(1, 1100, 700))
    table = table_of(pixels)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert table.cell_pixels == 3
    assert table.sums[2, 5] == pytest.approx(luma[:6, :15].sum() / 9)
    assert (table.rows, table.columns) == (233, 366)


def test_a_windows_samples_are_the_means_of_its_squares():
    pixels = np.asarray(landscape(2, 320, 320))
    table = table_of(pixels)
    window = Window(row=160, column=160, reach=128)
    coefficients, _ = coefficients_of(table, [window])
    luma = pixels[32:288, 32:288] @ np.array([0.299, 0.587, 0.114])
    means = luma.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert coefficients[0] == pytest.approx(pdq.coefficients(means), abs=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3])
def test_a_cropped_copy_is_found_by_its_windows(share):
    for seed in (3, 4, 5):
        pixels = np.asarray(landscape(seed, 900, 700))
        top, left = int(0.7 * share * 700), int(0.2 * share * 900)
        copy = pixels[top : top + int(700 * (1 - share)), left : left + int(900 * (1 - share))]
        probes, qualities = window_probes(copy)
        assert qualities.min() >= SCANNED_MIN_QUALITY > MIN_PDQ_QUALITY
        assert nearest_bits(listed(pixels), probes) <= MATCH_RADIUS_BITS


def test_a_cropped_copy_that_was_mirrored_or_turned_is_found_as_well():
    pixels = np.asarray(landscape(6, 900, 700))
    copy = pixels[40:640, 100:800]
    for orientation in pdq.ORIENTATIONS:
        probes, _ = window_probes(orientation.upright(copy))
        assert nearest_bits(listed(pixels), probes) <= MATCH_RADIUS_BITS


def test_all_that_matches_of_a_turned_copy_matches_in_one_turn():
    """Wholes and windows count turns alike, or two of a copy would not be seen to agree."""
    original = landscape(6, 900, 700)
    listing = [each for each in fingerprint_image(encoded(original)).fingerprints if each.quality]
    matched = []
    for orientation in pdq.ORIENTATIONS:
        turned = Image.fromarray(np.ascontiguousarray(orientation.upright(np.asarray(original))))
        scan = scan_media(encoded(turned, "PNG"))
        near = (distances(scan.probes, listing) <= MATCH_RADIUS_BITS).any(axis=1)
        found = {(scan.part_of_probe[at], at % TURNS) for at in np.flatnonzero(near)}
        assert {part for part, _ in found} == {Part.WHOLE, Part.WINDOW}
        ((turn,),) = [{turn for _, turn in found}]
        matched.append(turn)
    assert sorted(matched) == list(range(TURNS))


def test_a_copy_of_which_one_window_is_left_shows_the_picture_no_more():
    original, other = landscape(6, 480, 360), landscape(2, 480, 360)
    listing = fingerprint_image(encoded(original)).fingerprints
    assert shows_picture(scan_media(encoded(original.crop((48, 36, 432, 324)))), listing)
    other.paste(original.crop((33, 39, 164, 169)), (24, 18))
    scan = scan_media(encoded(other))
    worth = [each for each in listing if each.quality]
    assert int((distances(scan.probes, worth) <= MATCH_RADIUS_BITS).any(axis=0).sum()) == 1
    assert not shows_picture(scan, listing)


def test_another_picture_is_not_found():
    for seed in range(20, 24):
        probes, _ = window_probes(np.asarray(landscape(seed + 1, 900, 700)))
        assert nearest_bits(listed(np.asarray(landscape(seed, 900, 700))), probes) > 45


def test_windows_lie_inside_and_are_few():
    table = table_of(np.asarray(landscape(7, 640, 360)))
    found = windows_of(table, count=16, min_share=0.3)
    assert 4 <= len(found) <= 16
    for each in found:
        assert each.reach <= min(each.row, each.column)
        assert each.row + each.reach <= table.rows
        assert each.column + each.reach <= table.columns
        assert 2 * each.reach >= 0.3 * table.rows


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (30, 900), (64, 64), (2, 3000)])
def test_pictures_without_room_have_no_windows_and_are_no_trouble(size):
    assert window_fingerprints(np.zeros((*size, 3), np.uint8)) == []
    assert len(window_probes(np.zeros((*size, 3), np.uint8))[0]) == 0


def test_a_picture_is_submitted_with_its_windows_and_scanned_with_them_if_asked():
    data = encoded(landscape(8, 640, 480), "PNG")
    parts = [each.part for each in fingerprint_image(data).fingerprints]
    assert parts.count(Part.WHOLE) == 3
    assert 1 <= parts.count(Part.WINDOW) <= 16
    assert Part.WINDOW in scan_media(data).part_of_probe
    assert set(scan_media(data, windows=False).part_of_probe) == {Part.WHOLE}
