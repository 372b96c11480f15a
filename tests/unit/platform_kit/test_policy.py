"""What a match leads to."""

from dataclasses import replace

import pytest

from unspread.model import Kind, Level, ListingId, Media, Part
from unspread.platform_kit.policy import Match, conclude, response_to
from unspread.platform_kit.settings import LevelResponses, ListSettings, Response, Source

REFUSES = ListSettings(actions=LevelResponses(unverified=Response.REFUSE))
LISTS = {
    "feed": ListSettings(),
    "refuses": REFUSES,
    "shadow": ListSettings(shadow=True, actions=REFUSES.actions),
    "off": ListSettings(enabled=False, actions=REFUSES.actions),
    "near": ListSettings(radius_bits=10, actions=REFUSES.actions),
    "sampled": ListSettings(sampling=0.25, actions=REFUSES.actions),
    "allowed": ListSettings(source=Source.LOCAL, allow=True),
}


def match(name: str, level: Level = Level.UNVERIFIED, distance_bits: int = 20) -> Match:
    number = sorted(LISTS).index(name)
    return Match(name, number, ListingId(1), level, Media.IMAGE, Kind.PDQ, distance_bits)


@pytest.mark.parametrize(
    ("matches", "decision"),
    [
        pytest.param([], "accept", id="nothing matches"),
        pytest.param([match("feed")], "hold", id="one person's word only holds"),
        pytest.param([match("feed", Level.CONFIRMED)], "refuse", id="confirmed refuses"),
        pytest.param([match("feed", Level.CORROBORATED)], "refuse", id="corroborated refuses"),
        pytest.param([match("feed", Level.DISPUTED)], "accept", id="disputed passes"),
        pytest.param([match("refuses")], "refuse", id="a platform may refuse on one word"),
        pytest.param([match("shadow")], "accept", id="shadow mode lets pass"),
        pytest.param([match("off")], "accept", id="the kill switch lets pass"),
        pytest.param([match("near", distance_bits=10)], "refuse", id="at the list's radius"),
        pytest.param([match("near", distance_bits=11)], "accept", id="beyond the list's radius"),
        pytest.param([match("feed"), match("refuses")], "refuse", id="the strictest list decides"),
        pytest.param([match("shadow"), match("feed")], "hold", id="shadow does not hide another"),
        pytest.param([match("refuses"), match("allowed")], "accept", id="what is allowed passes"),
        pytest.param(
            [match("refuses"), replace(match("allowed"), part=Part.WINDOW)],
            "refuse",
            id="what shows an allowed picture in a corner does not",
        ),
        pytest.param(
            [match("refuses"), replace(match("allowed"), frames=6)],
            "refuse",
            id="what shows an allowed picture in one frame of six does not",
        ),
    ],
)
def test_the_policy_decides(matches, decision):
    assert conclude(matches, LISTS, draw=0.0).decision == decision


@pytest.mark.parametrize(
    ("draw", "decision"), [(0.0, "refuse"), (0.2499, "refuse"), (0.25, "accept"), (0.99, "accept")]
)
def test_a_sampled_list_is_applied_to_its_part_of_uploads(draw, decision):
    assert conclude([match("sampled")], LISTS, draw=draw).decision == decision


def test_a_listing_that_floods_holds_and_no_longer_refuses():
    conclusion = conclude(
        [match("refuses")], LISTS, draw=0.0, flooded=frozenset({(match("refuses").list_number, 1)})
    )
    assert conclusion.decision == "hold"


@pytest.mark.parametrize(
    ("values", "decision"),
    [
        pytest.param({"part": Part.WINDOW}, "hold", id="only a window matches"),
        pytest.param({"matched_frames": 1, "frames": 6}, "hold", id="one frame of six"),
        pytest.param({"matched_frames": 2, "frames": 10}, "refuse", id="a fifth of the frames"),
        pytest.param(
            {"media": Media.VIDEO, "matched_frames": 3, "frames": 15},
            "refuse",
            id="a fifth of the frames of a listed video",
        ),
        pytest.param(
            {"media": Media.VIDEO, "matched_frames": 2, "frames": 10},
            "hold",
            id="two frames of a listed video, as of a title that moves",
        ),
        pytest.param({"matched_frames": 1, "frames": 1}, "refuse", id="a picture"),
        pytest.param(
            {"media": Media.VIDEO, "matched_frames": 4, "frames": 8, "is_varied": False},
            "hold",
            id="a title card in half of a video",
        ),
        pytest.param(
            {"media": Media.VIDEO, "matched_frames": 5, "frames": 8, "is_varied": False},
            "refuse",
            id="a video that hardly moves",
        ),
        pytest.param(
            {"matched_frames": 2, "frames": 8, "is_varied": False},
            "refuse",
            id="a listed picture in a video",
        ),
        pytest.param({"kind": Kind.SHA256, "frames": 9}, "refuse", id="the very file"),
    ],
)
def test_a_part_alone_is_for_a_person_to_look_at(values, decision):
    partial = replace(match("refuses"), **values)
    assert conclude([partial], LISTS, draw=0.0).decision == decision


def test_a_match_of_the_whole_is_named_before_a_nearer_one_of_a_part():
    window = replace(match("feed", distance_bits=1), part=Part.WINDOW)
    conclusion = conclude([window, match("feed", distance_bits=9)], LISTS, draw=0.0)
    assert conclusion.match.distance_bits == 9


def test_the_nearest_of_the_deciding_matches_is_named_with_its_rule():
    conclusion = conclude(
        [match("feed", distance_bits=1), match("refuses", distance_bits=9)], LISTS, draw=0.0
    )
    assert (conclusion.match.list_name, conclusion.match.distance_bits) == ("refuses", 9)
    assert conclusion.rule == "refuses: unverified -> refuse, 9 of 31 bits"


def test_nothing_ever_refuses_from_a_list_in_shadow_mode():
    for level in Level:
        assert response_to(match("shadow", level), LISTS["shadow"]) is Response.IGNORE
