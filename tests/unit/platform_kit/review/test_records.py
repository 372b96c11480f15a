"""Votes become decisions, decisions become actions and feedback, and nothing is looked at twice."""

from datetime import timedelta

from tests.unit.platform_kit.outbox import Outbox
from unspread.crypto import sha256
from unspread.model import FeedbackKind, Reason
from unspread.platform_kit.review.records import OPEN_FOR, Records
from unspread.platform_kit.review.rules import Exposure, ReviewerId, Task, Vote
from unspread.platform_kit.store import ActionKind, Verdict

ANN, BOB = ReviewerId(1), ReviewerId(2)
SAME = sha256(b"the same picture")
CONTENT = {"copy/1": SAME, "copy/2": SAME}


def records(outbox: Outbox, people: int = 1) -> Records:
    return Records(outbox.store, CONTENT.get, people)


def only_task(records: Records, outbox: Outbox) -> Task:
    (task,) = records.waiting(outbox.now)
    return task


def decide(
    records: Records,
    outbox: Outbox,
    verdict: Verdict,
    reason: Reason | None = None,
    reviewer: ReviewerId = ANN,
) -> Vote | None:
    task = only_task(records, outbox)
    return records.vote(task, verdict, reason, reviewer=reviewer, by="Ann", at=outbox.now)


def kinds(outbox: Outbox) -> list[tuple[str, str]]:
    return [(action.action, action.reference) for action in outbox.due()]


def said(outbox: Outbox) -> set[tuple[FeedbackKind, Reason | None]]:
    return {(each.kind, each.reason) for _, each in outbox.store.feedback_due(0)}


def test_a_decision_to_remove_becomes_an_action(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    assert decide(records(outbox), outbox, Verdict.REMOVE) is not None
    assert (ActionKind.REMOVE, "post/1") in kinds(outbox)
    assert records(outbox).waiting(outbox.now) == []


def test_a_decision_to_keep_releases_and_tells_the_list_why(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    decide(records(outbox), outbox, Verdict.KEEP, Reason.PUBLIC_INTEREST)
    assert (ActionKind.RELEASE, "post/1") in kinds(outbox)
    assert (FeedbackKind.KEPT, Reason.PUBLIC_INTEREST) in said(outbox)


def test_a_dispute_releases_and_tells_the_list_why(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    decide(records(outbox), outbox, Verdict.DISPUTE, Reason.WELL_KNOWN_CONTENT)
    assert (ActionKind.RELEASE, "post/1") in kinds(outbox)
    assert (FeedbackKind.DISPUTED, Reason.WELL_KNOWN_CONTENT) in said(outbox)


def test_copies_of_one_content_are_one_task_and_one_decision(outbox: Outbox) -> None:
    outbox.find("copy/1", hold=True)
    outbox.find("copy/2", listing_id=18, hold=True)
    assert len(only_task(records(outbox), outbox).holds) == 2
    decide(records(outbox), outbox, Verdict.REMOVE)
    removals = [reference for action, reference in kinds(outbox) if action == "remove"]
    assert removals == ["copy/1", "copy/2"]


def test_content_that_was_decided_is_decided_alike_without_anyone_looking(
    outbox: Outbox,
) -> None:
    outbox.find("copy/1", hold=True)
    decide(records(outbox), outbox, Verdict.KEEP, Reason.NOT_INTIMATE)
    outbox.find("copy/2", listing_id=18, hold=True)
    assert records(outbox).waiting(outbox.now) == []
    assert (ActionKind.RELEASE, "copy/2") in kinds(outbox)


def test_other_content_is_not_decided_by_it(outbox: Outbox) -> None:
    outbox.find("copy/1", hold=True)
    decide(records(outbox), outbox, Verdict.REMOVE)
    outbox.find("post/9", listing_id=18, hold=True)
    assert only_task(records(outbox), outbox).first.reference == "post/9"


def test_in_pairs_nothing_happens_before_two_agree(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    pair = records(outbox, people=2)
    assert decide(pair, outbox, Verdict.REMOVE, reviewer=ANN) is None
    assert decide(pair, outbox, Verdict.REMOVE, reviewer=ANN) is None
    assert [action for action, _ in kinds(outbox)] == ["hold"]
    assert decide(pair, outbox, Verdict.REMOVE, reviewer=BOB) is not None
    assert "remove" in [action for action, _ in kinds(outbox)]
    assert pair.voted(ANN) == pair.voted(BOB)


def test_views_are_counted_for_each_person_and_day(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    kept = records(outbox)
    key = only_task(kept, outbox).key
    for _ in range(3):
        kept.record_view(ANN, key, outbox.now)
    kept.record_seconds(ANN, key, 2.5)
    kept.record_seconds(ANN, key, 1.5)
    assert kept.exposure(ANN, outbox.now) == Exposure(3, 4.0)
    assert kept.exposure(BOB, outbox.now) == Exposure()
    assert kept.exposure(ANN, outbox.now + timedelta(days=1)) == Exposure()
    assert kept.has_looked(key, ANN)
    assert not kept.has_looked(key, BOB)


def test_a_decision_says_whether_anyone_looked(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    kept = records(outbox)
    kept.record_view(ANN, only_task(kept, outbox).key, outbox.now)
    decided = decide(kept, outbox, Verdict.REMOVE)
    assert decided is not None
    assert decided.looked


def test_what_one_reviewer_has_open_is_kept_from_the_other_for_a_while(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    kept = records(outbox)
    key = only_task(kept, outbox).key
    assert kept.open(key, ANN, outbox.now)
    assert kept.open(key, ANN, outbox.now)
    assert not kept.open(key, BOB, outbox.now)
    assert kept.busy(BOB, outbox.now) == {key}
    outbox.pass_time(seconds=OPEN_FOR.total_seconds() + 1)
    assert kept.busy(BOB, outbox.now) == set()
    assert kept.open(key, BOB, outbox.now)


def test_a_withdrawn_listing_leaves_the_queue(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    kept = records(outbox)
    task = only_task(kept, outbox)
    outbox.withdraw()
    assert kept.waiting(outbox.now) == []
    assert kept.vote(task, Verdict.REMOVE, None, reviewer=ANN, by="Ann", at=outbox.now)
    assert "remove" not in [action for action, _ in kinds(outbox)]
