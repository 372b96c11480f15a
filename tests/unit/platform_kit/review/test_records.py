"""Votes become decisions, decisions become actions and feedback, and nothing is looked at twice."""

from datetime import timedelta

import pytest

from tests.unit.platform_kit.outbox import Outbox
from unspread.crypto import sha256
from unspread.model import FeedbackKind, Kind, Reason
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.review.records import (
    OPEN_FOR,
    NoSuchContentError,
    NotYoursError,
    Records,
)
from unspread.platform_kit.review.rules import ContentKey, Exposure, ReviewerId, Task, Vote
from unspread.platform_kit.review.signin import Reviewer, Role
from unspread.platform_kit.store import ActionKind, Verdict

ANN, BOB = ReviewerId(1), ReviewerId(2)
LEAD = Reviewer(ReviewerId(9), "Lea", Role.LEAD)


def picture(seed: str, pdq: int) -> tuple[Probe, ...]:
    """What the catalogue knows of a picture: `pdq` bits from the one that is all zeros."""
    value = ((1 << pdq) - 1).to_bytes(32, "little")
    turned = b"\xaa" * 32
    return (
        Probe(Kind.PDQ, value),
        Probe(Kind.PDQ, turned, "mirrored"),
        Probe(Kind.SHA256, sha256(seed.encode())),
    )


CONTENT = {
    "copy/1": picture("the same picture", 200),
    "copy/2": picture("the same picture", 200),
    "near/0": picture("a picture", 0),
    "near/20": picture("the same, saved again", 20),
    "near/31": picture("the same, smaller", 31),
    "near/32": picture("something else", 32),
}


def records(outbox: Outbox, people: int = 1, radius_bits: int = 31) -> Records:
    return Records(
        outbox.store,
        lambda reference: CONTENT.get(reference, ()),
        people,
        copies_radius_bits=radius_bits,
    )


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


# Near copies


def references(task: Task) -> list[str]:
    return [hold.reference for hold in task.holds]


def hold(outbox: Outbox, *references: str, bits: int = 31) -> None:
    for reference in references:
        outbox.find(reference, hold=True, bits=bits)


def test_near_copies_are_one_task_up_to_the_radius(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20", "near/31", "near/32")
    first, other = records(outbox).waiting(outbox.now)
    assert references(first) == ["near/0", "near/20", "near/31"]
    assert [each.bits for each in first.held] == [0, 20, 31]
    assert references(other) == ["near/32"]


def test_copies_of_copies_do_not_lengthen_the_radius(outbox: Outbox) -> None:
    # near/32 is 12 bits from near/20, which is in the group of near/0.
    hold(outbox, "near/0", "near/20")
    assert len(records(outbox).waiting(outbox.now)) == 1
    hold(outbox, "near/32")
    assert len(records(outbox).waiting(outbox.now)) == 2


def test_with_no_radius_only_equal_pictures_are_one_task(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20", "copy/1", "copy/2")
    groups = [references(task) for task in records(outbox, radius_bits=0).waiting(outbox.now)]
    assert groups == [["near/0"], ["near/20"], ["copy/1", "copy/2"]]


def test_one_decision_removes_near_copies_that_are_there_and_that_come(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20", bits=0)
    kept = records(outbox)
    kept.record_view(ANN, only_task(kept, outbox).shown.key, outbox.now)
    decide(kept, outbox, Verdict.REMOVE)
    hold(outbox, "near/31", bits=0)
    # Also by another program, after a start, and when the first is forgotten by the catalogue.
    later = Records(outbox.store, lambda at: CONTENT[at] if at == "near/31" else (), 1)
    assert later.waiting(outbox.now) == []
    removed = [reference for action, reference in kinds(outbox) if action == "remove"]
    assert removed == ["near/0", "near/20", "near/31"]
    assert kept.exposure(ANN, outbox.now).views == 1
    (decision,) = later.decisions()
    assert [(each.reference, each.bits) for each in decision.carried] == [
        ("near/0", 0),
        ("near/20", 20),
        ("near/31", 31),
    ]
    trail = [(actor, what) for _, _, actor, what, _ in outbox.store.audit_trail()]
    assert trail == [
        ("Ann", "review remove"),
        ("Ann", "review remove, near copy at 20 bits"),
        ("Ann", "review remove, near copy at 31 bits"),
    ]


def test_what_is_nearer_to_the_listing_is_not_kept_unseen(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    hold(outbox, "near/20", bits=3)
    hold(outbox, "near/31", bits=2)
    kept = records(outbox)
    decide(kept, outbox, Verdict.KEEP, Reason.DIFFERENT_CONTENT)
    # They wait for a look of their own, together: 11 bits from one another.
    assert references(only_task(kept, outbox)) == ["near/20", "near/31"]
    assert [reference for action, reference in kinds(outbox) if action == "release"] == ["near/0"]
    decide(kept, outbox, Verdict.REMOVE)
    assert kept.waiting(outbox.now) == []


def test_a_harmless_look_alike_does_not_let_the_protected_picture_through(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    decide(records(outbox), outbox, Verdict.KEEP, Reason.DIFFERENT_CONTENT)
    hold(outbox, "near/20", bits=0)
    assert references(only_task(records(outbox), outbox)) == ["near/20"]
    hold(outbox, "near/31", bits=31)
    # Within the radius of both groups, and nearer to the one that waits.
    assert references(only_task(records(outbox), outbox)) == ["near/20", "near/31"]


def test_a_video_is_near_only_with_most_of_its_frames(outbox: Outbox) -> None:
    def clip(*values: int) -> tuple[Probe, ...]:
        return tuple(
            Probe(Kind.PDQ, bytes([value]) * 32, frame=frame) for frame, value in enumerate(values)
        )

    clips = {
        "clip": clip(0x00, 0x0F, 0x33, 0x55, 0xFF),
        "again": clip(0x00, 0x0F, 0x33, 0x55, 0xF0),
        "scene": clip(0x00, 0x0F),
        "longer": clip(0x00, 0x0F, 0x33, 0x55, 0xFF, 0xCC, 0xAA, 0x99),
    }
    hold(outbox, *clips)
    groups = Records(outbox.store, clips.__getitem__, 1).waiting(outbox.now)
    assert [references(task) for task in groups] == [["clip", "again"], ["scene"], ["longer"]]


def test_a_near_copy_can_be_decided_by_itself(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20")
    kept = records(outbox)
    task = only_task(kept, outbox)
    kept.set_apart(task, task.held[1].key, "Ann", outbox.now)
    assert [references(each) for each in kept.waiting(outbox.now)] == [["near/0"], ["near/20"]]
    with pytest.raises(NoSuchContentError):
        kept.set_apart(task, ContentKey("none"), "Ann", outbox.now)


def test_a_decision_that_is_taken_back_holds_everything_again(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20")
    kept = records(outbox)
    task = only_task(kept, outbox)
    decide(kept, outbox, Verdict.DISPUTE, Reason.NOT_INTIMATE)
    kept.take_back(task.key, None, LEAD, outbox.now)
    # Nobody was told to release, and no list that it is disputed.
    assert [action for action, _ in kinds(outbox)] == ["hold", "hold"]
    assert FeedbackKind.DISPUTED not in {kind for kind, _ in said(outbox)}
    # Also when the catalogue has forgotten them, they are what they were.
    forgetful = Records(outbox.store, lambda _: (), 1)
    assert references(only_task(forgetful, outbox)) == ["near/0", "near/20"]
    assert forgetful.voted(ANN) == set()
    decide(forgetful, outbox, Verdict.REMOVE)
    assert forgetful.waiting(outbox.now) == []
    trail = [what for _, _, _, what, _ in outbox.store.audit_trail()]
    assert trail.count("review taken back") == 2


def test_what_was_removed_already_is_held_again_when_it_is_taken_back(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    kept = records(outbox)
    task = only_task(kept, outbox)
    decide(kept, outbox, Verdict.REMOVE)
    for _ in range(2):
        for action in outbox.due():
            outbox.store.action_delivered(action.action_id, outbox.now)
    kept.take_back(task.key, None, LEAD, outbox.now)
    assert kinds(outbox) == [(ActionKind.HOLD, "near/0")]
    assert only_task(kept, outbox).key == task.key


def test_one_near_copy_alone_is_taken_back_and_stays_apart(outbox: Outbox) -> None:
    hold(outbox, "near/0", "near/20")
    kept = records(outbox)
    task = only_task(kept, outbox)
    decide(kept, outbox, Verdict.REMOVE)
    kept.take_back(task.key, task.held[1].key, LEAD, outbox.now)
    assert references(only_task(kept, outbox)) == ["near/20"]
    (decision,) = kept.decisions()
    assert [each.reference for each in decision.carried] == ["near/0"]
    # What comes now and is like it waits with it, not with what was removed.
    hold(outbox, "near/31")
    assert references(only_task(kept, outbox)) == ["near/20", "near/31"]
    with pytest.raises(NoSuchContentError):
        kept.take_back(task.key, task.key, LEAD, outbox.now)


def test_only_who_decided_or_a_lead_takes_it_back(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    kept = records(outbox)
    key = only_task(kept, outbox).key
    decide(kept, outbox, Verdict.REMOVE, reviewer=ANN)
    with pytest.raises(NotYoursError):
        kept.take_back(key, None, Reviewer(BOB, "Bob", Role.REVIEWER), outbox.now)
    assert kept.waiting(outbox.now) == []
    kept.take_back(key, None, Reviewer(ANN, "Ann", Role.REVIEWER), outbox.now)
    assert references(only_task(kept, outbox)) == ["near/0"]
    with pytest.raises(NoSuchContentError):
        kept.take_back(key, None, LEAD, outbox.now)


def test_a_withdrawn_listing_takes_the_fingerprints_with_it(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    kept = records(outbox)
    key = only_task(kept, outbox).key
    decide(kept, outbox, Verdict.REMOVE)
    assert kept.decided_since(outbox.now) == {"near/0"}
    hold(outbox, "copy/1")
    assert references(only_task(kept, outbox)) == ["copy/1"]
    outbox.withdraw()
    prints = outbox.store.read(lambda c: c.execute("SELECT * FROM review_prints").fetchall())
    assert prints == []
    assert kept.decided_since(outbox.now) == set()
    # Its index in memory holds what the database has erased, and must not use it.
    outbox.find("near/20", listing_id=18, hold=True)
    assert references(only_task(kept, outbox)) == ["near/20"]
    # And nothing holds again what no listing holds.
    kept.take_back(key, None, LEAD, outbox.now)
    assert references(only_task(kept, outbox)) == ["near/20"]


def test_a_decision_that_was_taken_back_meanwhile_is_not_repeated(outbox: Outbox) -> None:
    hold(outbox, "near/0")
    kept = records(outbox)
    vote = decide(kept, outbox, Verdict.REMOVE)
    assert vote is not None
    kept.take_back(kept.decisions()[0].key, None, LEAD, outbox.now)
    task = only_task(kept, outbox)
    # What another thread does that has read the decision before.
    kept._repeat(task, vote, "Ann", outbox.now)
    assert only_task(kept, outbox) == task
