"""The index's contract: shapes, order, limits, and what it refuses."""

import numpy as np
import pytest

from unspread.errors import InputError
from unspread.match import Index

ROWS = np.random.default_rng(7).integers(0, 2**64, (6000, 4), dtype=np.uint64)
IDS = np.arange(6000)


def flipped(row, count, seed=0):
    """The row with `count` bits changed."""
    changed = row.copy()
    for bit in np.random.default_rng(seed).permutation(256)[:count]:
        changed[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return changed


def test_an_entry_is_found_at_the_radius_and_not_one_bit_beyond():
    index = Index.build(IDS, ROWS)
    ids, distances_bits = index.within(flipped(ROWS[5], 31))
    assert (ids.tolist(), distances_bits.tolist()) == ([5], [31])
    assert len(index.within(flipped(ROWS[5], 32))) == 0


def test_an_addition_is_found_and_a_removal_is_not():
    index = Index.build(IDS, ROWS)
    new = flipped(ROWS[0], 128)
    index.add(np.array([9000]), new[None])
    assert index.within(new).ids.tolist() == [9000]
    assert index.remove(np.array([9000, 3, 12345])) == 2
    assert len(index.within(new)) == 0
    assert len(index.within(ROWS[3])) == 0
    assert len(index) == 5999
    index.rebuild()
    assert len(index) == 5999
    assert len(index.within(ROWS[3])) == 0
    assert index.info().removed == 0


def test_matches_come_nearest_first_and_then_by_id():
    rows = np.stack([flipped(ROWS[0], bits) for bits in (9, 4, 9, 0)])
    found = Index.build(np.array([8, 7, 2, 30]), rows).within(ROWS[0])
    assert found.ids.tolist() == [30, 7, 2, 8]
    assert found.distances_bits.tolist() == [0, 4, 9, 9]


def test_more_matches_than_the_limit_are_capped_to_the_lowest_ids_and_say_so():
    index = Index.build(np.arange(20)[::-1], np.tile(ROWS[:1], (20, 1)))
    found = index.within(ROWS[0], limit=3)
    assert found.is_capped
    assert found.ids.tolist() == [0, 1, 2]
    many = index.within_many(ROWS[:2], limit=3)
    assert many.capped_queries.tolist() == [0]
    assert many.query_positions.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("ids", "rows"),
    [
        pytest.param(IDS[:2], ROWS[:3], id="more rows than ids"),
        pytest.param(IDS[:3], ROWS[:3].astype(np.int64), id="signed rows"),
        pytest.param(IDS[:3], ROWS[:3].astype(float), id="rows of floats"),
        pytest.param(IDS[:3], ROWS[:3, :3], id="rows of three words"),
        pytest.param(IDS[:1], ROWS[0], id="one row without its axis"),
        pytest.param(IDS[:3].astype(float), ROWS[:3], id="ids of floats"),
        pytest.param(np.full(3, 2**63, dtype=np.uint64), ROWS[:3], id="ids beyond 63 bits"),
        pytest.param(IDS[:3, None], ROWS[:3], id="ids of two dimensions"),
    ],
)
def test_malformed_entries_are_refused(ids, rows):
    with pytest.raises(InputError):
        Index.build(ids, rows)
    with pytest.raises(InputError):
        Index.build(IDS[:0], ROWS[:0]).add(ids, rows)


@pytest.mark.parametrize(
    ("row", "radius_bits"),
    [
        pytest.param(ROWS[0], -1, id="negative radius"),
        pytest.param(ROWS[0], 257, id="radius beyond the row"),
        pytest.param(ROWS[0].astype(np.int64), 31, id="signed row"),
        pytest.param(ROWS[0].astype(np.float64), 31, id="floats"),
        pytest.param(ROWS[0][:3], 31, id="three words"),
        pytest.param(ROWS[:1], 31, id="one axis too many"),
        pytest.param(ROWS[0].tobytes(), 31, id="bytes"),
        pytest.param(ROWS[:4, 0], 31, id="a column"),
        pytest.param(ROWS[0].astype(">u8"), 31, id="of the other byte order"),
        pytest.param(None, 31, id="nothing"),
    ],
)
@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
def test_malformed_queries_are_refused(row, radius_bits, kernel):
    with pytest.raises(InputError):
        Index.build(IDS, ROWS, kernel=kernel).within(row, radius_bits)
