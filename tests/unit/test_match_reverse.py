"""New listings against a catalogue: every pair, in stretches that can be taken up again."""

import numpy as np
import pytest

from tests.properties.match_oracle import distance_bits, flipped, random_rows
from unspread.errors import InputError
from unspread.match.reverse import MANY_LISTINGS, Catalogue, append, found_in, near_fronts

ROWS = random_rows(5000, seed=31)


def pairs(stretches):
    return [
        pair
        for stretch in stretches
        for pair in zip(
            stretch.rows.tolist(),
            stretch.listings.tolist(),
            stretch.distances_bits.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, MANY_LISTINGS + 1])
def test_every_pair_within_the_radius_is_found_and_none_beyond(kernel, count):
    rng = np.random.default_rng(count)
    listings = random_rows(count, seed=32)
    expected = []
    rows = ROWS.copy()
    for row in range(0, 5000, 49):
        number = int(rng.integers(count))
        # All bits in the front, all in the back, or anywhere.
        places = [range(128), range(128, 256), range(256)][row % 3]
        away = int(rng.integers(30, 33))
        rows[row] = flipped(listings[number], rng.permutation(places)[:away])
        assert distance_bits(rows[row], listings[number]) == away
        if away <= 31:
            expected.append((row, number, away))
    stretches = found_in(Catalogue.of(rows), listings, kernel=kernel, block_rows=700)
    assert pairs(stretches) == expected
    # Where the rows lie at an odd place, as in the middle of a file.
    shifted = np.zeros(rows.nbytes // 2 * 2 + 1, np.uint8)[1:]
    shifted[:] = np.concatenate((rows[:, :2].reshape(-1), rows[:, 2:].reshape(-1))).view(np.uint8)
    front, back = shifted.view(np.uint64).reshape(2, -1, 2)
    assert not front.flags.aligned
    assert pairs(found_in(Catalogue(front, back), listings, kernel=kernel)) == expected
    near = np.transpose(near_fronts(front, listings, 31, kernel=kernel))
    halves = [distance_bits(rows[row, :2], listings[number, :2]) for row, number in near]
    assert sum(each <= 31 for each in halves) == len(halves) >= len(expected)


def test_a_scan_shows_its_progress_and_is_taken_up_where_it_stopped(tmp_path):
    assert append(tmp_path / "catalogue", [ROWS[:3000], ROWS[3000:]]) == 5000
    catalogue = Catalogue.open(tmp_path / "catalogue")
    listings = ROWS[[10, 2999, 3001, 4999]]
    whole = list(found_in(catalogue, listings, block_rows=1000))
    assert [stretch.end for stretch in whole] == [1000, 2000, 3000, 4000, 5000]
    again = list(found_in(catalogue, listings, block_rows=1000, start=whole[2].end))
    assert pairs(whole[:3]) + pairs(again) == pairs(whole)
    assert pairs(whole) == [(10, 0, 0), (2999, 1, 0), (3001, 2, 0), (4999, 3, 0)]


def test_a_writer_that_was_killed_leaves_no_half_rows(tmp_path):
    append(tmp_path, [ROWS[:10]])
    with (tmp_path / "front").open("ab") as front:
        front.write(b"half a row")
    assert len(Catalogue.open(tmp_path)) == 10
    assert append(tmp_path, [ROWS[10:30]]) == 30
    catalogue = Catalogue.open(tmp_path)
    assert np.array_equal(np.concatenate((catalogue.front, catalogue.back), axis=1), ROWS[:30])


def test_an_empty_catalogue_and_no_listings_find_nothing():
    assert pairs(found_in(Catalogue.of(ROWS[:0]), ROWS[:3])) == []
    assert pairs(found_in(Catalogue.of(ROWS), ROWS[:0])) == []


@pytest.mark.parametrize(
    "halves",
    [
        pytest.param((ROWS[:, :2], ROWS[:, 2:]), id="not contiguous"),
        pytest.param((ROWS[:4].copy(), ROWS[:4].copy()), id="whole rows"),
        pytest.param((ROWS[:4, :2].copy(), ROWS[:3, 2:].copy()), id="of different length"),
        pytest.param((ROWS[:4, :2].astype(int), ROWS[:4, 2:].copy()), id="signed"),
    ],
)
def test_malformed_catalogues_are_refused(halves):
    with pytest.raises(InputError):
        Catalogue(*halves)
