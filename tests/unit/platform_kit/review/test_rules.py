"""Which content is next, when a decision stands, and when a reviewer has seen enough."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.platform_kit.outbox import START
from unspread.model import Kind, Level, ListingId, Reason
from unspread.platform_kit.review.rules import (
    ContentKey,
    Exposure,
    Held,
    ReviewerId,
    ReviewSettings,
    Task,
    Vote,
    carried,
    carries,
    next_task,
    settled,
    tasks,
)
from unspread.platform_kit.store import Action, ActionKind, Origin, Verdict


def hold(reference: str) -> Action:
    return Action(
        f"id-{reference}",
        ActionKind.HOLD,
        reference,
        "unspread",
        ListingId(17),
        Level.UNVERIFIED,
        Kind.PDQ,
        8,
        "unspread: unverified -> hold",
        Origin.CATALOGUE,
        START,
    )


def vote(
    reviewer: int, verdict: Verdict, reason: Reason | None = None, *, looked: bool = False
) -> Vote:
    return Vote(ReviewerId(reviewer), verdict, reason, looked)


def held(key: str, bits: int = 0, to_listing_bits: int = 8) -> Held:
    action = replace(hold(key), distance_bits=to_listing_bits)
    return Held(action, ContentKey(key), bits)


A, B, C = (Task(ContentKey(name), (held(name),)) for name in "abc")
REMOVE = vote(1, Verdict.REMOVE)
KEEP = vote(2, Verdict.KEEP, Reason.NOT_INTIMATE)


def test_alone_one_vote_decides() -> None:
    assert settled([], 1) is None
    assert settled([REMOVE], 1) == REMOVE


def test_in_pairs_two_different_people_must_agree() -> None:
    assert settled([REMOVE], 2) is None
    assert settled([REMOVE, REMOVE], 2) is None
    assert settled([REMOVE, KEEP], 2) is None
    again = vote(3, Verdict.REMOVE, looked=True)
    assert settled([REMOVE, KEEP, again], 2) == vote(1, Verdict.REMOVE, looked=True)


def test_of_several_reasons_the_first_stands() -> None:
    other = vote(3, Verdict.KEEP, Reason.OTHER)
    decided = settled([KEEP, other], 2)
    assert decided is not None
    assert decided.reason is Reason.NOT_INTIMATE


@given(verdicts=st.lists(st.sampled_from(list(Verdict)), max_size=5), people=st.integers(1, 2))
def test_a_decision_stands_exactly_when_enough_people_share_it(
    verdicts: list[Verdict], people: int
) -> None:
    votes = [vote(number, verdict, Reason.OTHER) for number, verdict in enumerate(verdicts)]
    enough = any(verdicts.count(verdict) >= people for verdict in Verdict)
    assert (settled(votes, people) is not None) == enough


def test_everything_that_holds_one_content_is_one_task() -> None:
    first, second, third = held("1"), held("2"), held("3", 5)
    made = tasks([(A.key, first), (B.key, second), (A.key, third)])
    assert [(task.key, task.held) for task in made] == [
        (A.key, (first, third)),
        (B.key, (second,)),
    ]
    assert made[0].shown is first
    assert made[0].copies == {third.key: third}


@pytest.mark.parametrize(
    ("verdict", "bits", "to_listing_bits", "does"),
    [
        pytest.param(Verdict.REMOVE, 31, 0, True, id="removed, however near to the listing"),
        pytest.param(Verdict.KEEP, 7, 8, True, id="kept, nearer to what was looked at"),
        pytest.param(Verdict.KEEP, 8, 8, True, id="kept, as near to both"),
        pytest.param(Verdict.KEEP, 9, 8, False, id="kept, nearer to the listing"),
        pytest.param(Verdict.DISPUTE, 9, 8, False, id="disputed, nearer to the listing"),
        pytest.param(Verdict.KEEP, 0, 0, True, id="the same, listed to the bit"),
    ],
)
def test_a_decision_carries_to_a_near_copy_unless_it_may_be_what_is_listed(
    verdict: Verdict, bits: int, to_listing_bits: int, does: bool
) -> None:
    assert carries(verdict, bits, to_listing_bits) is does
    first, copy = held("first"), held("copy", bits, to_listing_bits)
    task = Task(first.key, (first, copy))
    assert carried(task, verdict) == ((first, copy) if does else (first,))


def test_the_nearest_listing_of_a_copy_counts() -> None:
    first, far, near = held("first"), held("copy", 9, 20), held("copy", 9, 2)
    assert carried(Task(first.key, (first, far, near)), Verdict.KEEP) == (first,)


def test_what_is_shown_in_the_place_of_the_first_content_is_decided_and_measured_from() -> None:
    shown, other = held("shown", 6, 5), held("other", 4, 9)
    task = Task(ContentKey("gone"), (shown, other))
    assert carried(task, Verdict.KEEP) == (shown,)
    assert carried(task, Verdict.KEEP, earlier=True) == (other,)


def test_the_oldest_comes_first_and_nothing_is_shown_twice() -> None:
    assert next_task([A, B, C], set(), set()) is A
    assert next_task([A, B, C], {A.key}, set()) is B
    assert next_task([A, B, C], {A.key}, {B.key}) is C
    assert next_task([A], {A.key}, set()) is None
    assert next_task([A], set(), {A.key}) is None


def test_what_was_passed_over_comes_last_and_is_not_lost() -> None:
    assert next_task([A, B], set(), set(), {A.key}) is B
    assert next_task([A], set(), set(), {A.key}) is A


def test_two_people_are_never_sent_to_the_same_content_while_there_is_other() -> None:
    for mine, theirs in permutations([A, B, C], 2):
        assert next_task([mine, theirs], set(), {theirs.key}) is mine


@pytest.mark.parametrize(
    ("exposure", "may"),
    [
        (Exposure(0, 0), True),
        (Exposure(9, 119.9), True),
        (Exposure(10, 0), False),
        (Exposure(0, 120.0), False),
    ],
)
def test_a_day_has_a_limit_in_views_and_in_time(exposure: Exposure, may: bool) -> None:
    settings = ReviewSettings(views_per_day=10, minutes_per_day=2.0)
    assert exposure.may_look(settings) is may


@pytest.mark.parametrize(
    "changes",
    [
        {"people": 0},
        {"people": 3},
        {"views_per_day": 0},
        {"minutes_per_day": 0.0},
        {"copies_radius_bits": 65},
        {"undo_minutes": -1.0},
    ],
)
def test_settings_that_protect_nobody_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="review"):
        ReviewSettings(**changes)  # type: ignore[arg-type]  # a table of changes
