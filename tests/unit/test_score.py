import numpy as np
import pytest

from unspread.fingerprint.score import are_two_parts, are_varied, is_enough, score
from unspread.model import Fingerprint, Kind, Part


def frame(bits: int) -> Fingerprint:
    """A fingerprint with so many bits set, so that two differ by the difference."""
    return Fingerprint(Kind.PDQ, ((1 << bits) - 1).to_bytes(32), Part.FRAME, 100)


def apart(count: int, seed: int = 0) -> list[Fingerprint]:
    """Fingerprints of unrelated frames."""
    values = np.random.default_rng(seed).bytes(32 * count)
    return [
        Fingerprint(Kind.PDQ, values[at : at + 32], Part.FRAME, 100)
        for at in range(0, len(values), 32)
    ]


def test_a_score_counts_frames_both_ways():
    listing = apart(10)
    found = score(listing[:3] + apart(6, seed=1), listing, 31)
    assert (found.matched_of_query, found.frames_of_query) == (3, 9)
    assert (found.matched_of_listing, found.frames_of_listing) == (3, 10)
    assert found.is_match
    assert not score(apart(8, seed=1), listing, 31).is_match
    assert not score([], listing, 31).is_match


@pytest.mark.parametrize(("step", "matched"), [(-1, 1), (0, 1), (1, 0)])
def test_the_radius_of_a_score_is_inclusive(step, matched):
    assert score([frame(31 + step)], [frame(0)], 31).matched_of_query == matched


@pytest.mark.parametrize(
    ("shown", "others", "is_match"),
    [
        pytest.param([0], 1, False, id="half of a film that was looked at twice"),
        pytest.param([0, 4, 8, 12], 6, False, id="two fifths, and all look the same"),
        pytest.param([0, 4, 8, 12], 3, True, id="more than half"),
        pytest.param([0, 4, 40], 12, True, id="a fifth, and two views"),
        pytest.param([0, 4, 40], 13, False, id="two views, and less than a fifth"),
        pytest.param([0, 40], 2, False, id="two frames, as of a title that moves"),
        pytest.param([0, 40], 1, True, id="two frames that are most of the film"),
        pytest.param([0], 0, True, id="all of a film of one view"),
    ],
)
def test_a_title_card_in_common_makes_no_match(shown, others, is_match):
    """A listed film begins with views 20 bits around, and goes on for long."""
    listing = [frame(0), frame(20), frame(40), *apart(60)]
    query = [frame(bits) for bits in shown] + apart(others, seed=1)
    assert score(query, listing, 31).is_match == is_match


def test_two_frames_of_a_title_are_near_many_of_a_listing_and_make_no_match():
    listing = [frame(bits) for bits in range(0, 200, 10)]
    query = [frame(40), frame(80), *apart(8, seed=1)]
    found = score(query, [*listing, *apart(30)], 31)
    assert (found.matched_of_query, found.is_varied) == (2, True)
    assert found.share_of_listing >= 0.2
    assert not found.is_match
    assert score([*query, frame(120)], [*listing, *apart(30)], 31).is_match


@pytest.mark.parametrize(
    ("matched", "frames", "varied", "enough"),
    [
        (3, 15, True, True),
        (3, 16, True, False),
        (2, 10, True, False),
        (2, 3, True, True),
        (5, 10, False, False),
        (6, 10, False, True),
    ],
)
def test_how_much_is_enough(matched, frames, varied, enough):
    assert is_enough(matched, frames, is_varied=varied) == enough


def test_frames_are_varied_if_two_are_no_copies_in_any_turn():
    near, far = (bytes(frame(bits).value) for bits in (31, 32))
    zero = bytes(32)
    assert not are_varied([])
    assert not are_varied([[zero, far]])
    assert not are_varied([[zero], [near]])
    assert are_varied([[zero], [near], [far]])
    # One view in two turns, both of which match.
    assert not are_varied([[zero], [far, near]])


@pytest.mark.parametrize(
    ("near", "are_two"),
    [
        pytest.param([(9, 0, 0)], False, id="one window"),
        pytest.param([(9, 0, 0), (9, 0, 62)], False, id="one listed window may be near both"),
        pytest.param([(9, 0, 0), (9, 0, 63)], True, id="none can be near both"),
        pytest.param([(9, 0, 0), (9, 3, 63)], False, id="in another turn"),
        pytest.param([(9, 3, 0), (9, 3, 63)], True, id="both turned alike"),
        pytest.param([(9, None, 0), (9, None, 63)], False, id="in turns that nobody knows"),
        pytest.param([(8, 1, 0), (9, 0, 63), (9, 0, 128)], False, id="the nearest has no second"),
        pytest.param([(9, 0, 0), (8, 0, 40), (9, 0, 80)], False, id="none far from the nearest"),
    ],
)
def test_two_parts_are_far_apart_and_turned_alike(near, are_two):
    assert are_two_parts((bits, turn, frame(at).value) for bits, turn, at in near) == are_two


@pytest.mark.parametrize(
    ("radius_bits", "apart_bits", "are_two"),
    [(4, 62, False), (4, 63, True), (40, 80, False), (40, 81, True), (64, 128, False)],
)
def test_how_far_apart_two_parts_are_follows_the_radius_upwards_only(
    radius_bits, apart_bits, are_two
):
    near = [(2, 0, frame(0).value), (4, 0, frame(apart_bits).value)]
    assert are_two_parts(near, radius_bits) == are_two
