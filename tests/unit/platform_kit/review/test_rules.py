"""Which content is next, when a decision stands, and when a reviewer has seen enough."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.platform_kit.outbox import START
from unspread.model import Kind, Level, ListingId, Reason
from unspread.platform_kit.review.rules import (
    ContentKey,
    Exposure,
    ReviewerId,
    ReviewSettings,
    Task,
    Vote,
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


A, B, C = (Task(ContentKey(name), (hold(name),)) for name in "abc")
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
    first, second, third = hold("1"), hold("2"), hold("3")
    made = tasks([(A.key, first), (B.key, second), (A.key, third)])
    assert [(task.key, task.holds) for task in made] == [
        (A.key, (first, third)),
        (B.key, (second,)),
    ]
    assert made[0].first is first


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
    "changes", [{"people": 0}, {"people": 3}, {"views_per_day": 0}, {"minutes_per_day": 0.0}]
)
def test_settings_that_protect_nobody_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="review"):
        ReviewSettings(**changes)  # type: ignore[arg-type]  # a table of changes
