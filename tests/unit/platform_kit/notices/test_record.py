"""The record of notices is only added to, and removals are one with it."""

import json
import sqlite3
from dataclasses import replace

import pytest

from tests.unit.platform_kit.notices.test_rules import HOSTS, a_request
from tests.unit.platform_kit.outbox import START, Outbox
from unspread.errors import InputError
from unspread.platform_kit.notices.record import (
    FIRST_SEAL,
    BrokenRecordError,
    NoSuchNoticeError,
    Notice,
    Record,
    TooManyError,
    check_export,
)
from unspread.platform_kit.notices.rules import (
    CLOCK,
    ImpossibleStepError,
    Lack,
    Need,
    Status,
    Step,
)
from unspread.platform_kit.notices.statement import Ground, Redress, Refusal, for_removal
from unspread.platform_kit.store import ActionKind

STATEMENT = for_removal(
    count=2,
    with_copies=True,
    ground=Ground.LAW,
    decided_at=START,
    redress=Redress("Forum", "https://forum.example/notices/appeal"),
)


@pytest.fixture
def record(outbox: Outbox) -> Record:
    return Record(outbox.store, HOSTS, per_minute=5)


def received(record: Record, outbox: Outbox, **changes: object) -> Notice:
    return record.receive(a_request(**changes), outbox.now)[1]


def actions(outbox: Outbox) -> list[tuple[str, str, str | None]]:
    return [(each.action, each.reference, each.list_name) for each in outbox.due()]


def test_a_complete_notice_starts_its_clock_and_its_number_opens_it(
    record: Record, outbox: Outbox
) -> None:
    number, notice = record.receive(a_request(), outbox.now)
    assert notice.standing.deadline == START + CLOCK
    assert record.by_tracking(number) == notice
    assert record.by_tracking(number.lower().replace("-", " ")) == notice


def test_a_number_stands_nowhere_in_the_database(record: Record, outbox: Outbox) -> None:
    number, _ = record.receive(a_request(), outbox.now)
    dump = "\n".join(outbox.store.read(lambda c: list(c.iterdump())))
    assert number not in dump
    assert number.replace("-", "") not in dump


@pytest.mark.parametrize("text", ["", "0", "0000-0000-0000-0000", "UUUU-UUUU-UUUU-UUUU", "é" * 16])
def test_a_number_that_is_guessed_opens_nothing(record: Record, outbox: Outbox, text: str) -> None:
    received(record, outbox)
    with pytest.raises(NoSuchNoticeError):
        record.by_tracking(text)


def test_removing_what_a_notice_names_queues_the_action_with_the_record(
    record: Record, outbox: Outbox
) -> None:
    notice = received(record, outbox)
    after = record.remove(notice.notice_id, ["post/1", "post/2"], STATEMENT, "Ann", outbox.now)
    assert (after.standing.status, after.removed) == (Status.REMOVED, ("post/1", "post/2"))
    assert after.statement == STATEMENT
    assert actions(outbox) == [("remove", "post/1", None), ("remove", "post/2", None)]


def test_a_removal_for_a_notice_tells_no_list(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    record.remove(notice.notice_id, ["post/1"], STATEMENT, "Ann", outbox.now)
    outbox.store.action_delivered(outbox.due()[0].action_id, outbox.now)
    assert outbox.store.feedback_due(0) == []
    assert outbox.store.removed_references() == ["post/1"]


def test_what_two_people_press_at_once_happens_once(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    record.remove(notice.notice_id, ["post/1"], STATEMENT, "Ann", outbox.now)
    with pytest.raises(ImpossibleStepError):
        record.decline(notice.notice_id, Refusal.NOT_INTIMATE, "", "Bob", outbox.now)
    assert len(actions(outbox)) == 1
    assert record.get(notice.notice_id).standing.status is Status.REMOVED


def test_an_appeal_of_who_posted_it_shows_it_again(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    record.remove(notice.notice_id, ["post/1"], STATEMENT, "Ann", outbox.now)
    outbox.store.action_delivered(outbox.due()[0].action_id, outbox.now)
    code = record.appeal_code(notice.notice_id)
    assert record.by_appeal_code(code).notice_id == notice.notice_id
    record.appeal(notice.notice_id, "it is a painting", outbox.now, poster=True)
    after = record.answer_appeal(notice.notice_id, "so it is", "Bob", outbox.now, restore=True)
    assert after.standing.status is Status.RESTORED
    assert actions(outbox) == [("release", "post/1", None)]


def test_a_refusal_is_explained_and_can_be_appealed(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    with pytest.raises(InputError):
        record.decline(notice.notice_id, Refusal.OTHER, " ", "Ann", outbox.now)
    record.decline(notice.notice_id, Refusal.NOT_FOUND, "looked twice", "Ann", outbox.now)
    record.appeal(notice.notice_id, "it is the second picture", outbox.now, poster=False)
    after = record.remove(notice.notice_id, ["post/1"], STATEMENT, "Bob", outbox.now)
    assert after.standing.status is Status.REMOVED
    assert [text for _, text in record.texts(notice.notice_id)] == [
        "looked twice",
        "it is the second picture",
    ]


def test_asking_for_more_rests_the_clock_until_it_came(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    outbox.pass_time(hours=10)
    record.found_incomplete(notice.notice_id, {Need.LOCATION: Lack.NOT_FOUND}, "Ann", outbox.now)
    outbox.pass_time(hours=100)
    better = a_request(locations=("https://forum.example/post/18",))
    after = record.complete(notice.notice_id, better, outbox.now)
    assert after.standing.deadline is not None
    assert (after.standing.deadline - outbox.now).total_seconds() == 38 * 3600
    assert record.request(notice.notice_id) == better


def test_only_so_many_are_taken_in_a_minute(record: Record, outbox: Outbox) -> None:
    for _ in range(5):
        received(record, outbox)
    with pytest.raises(TooManyError):
        received(record, outbox)
    outbox.pass_time(seconds=61)
    received(record, outbox)


def full(record: Record, outbox: Outbox) -> list[str]:
    notice = received(record, outbox)
    record.remove(notice.notice_id, ["post/1"], STATEMENT, "Ann", outbox.now)
    second = received(record, outbox, good_faith=False)
    record.withdraw(second.notice_id, outbox.now)
    return record.export()


def test_the_export_holds_every_step_and_nothing_that_people_wrote_about_themselves(
    record: Record, outbox: Outbox
) -> None:
    lines = full(record, outbox)
    steps = [json.loads(json.loads(line)["line"])["step"] for line in lines]
    assert steps == ["received", "removed", "received", "withdrawn"]
    check_export(lines)
    assert "A. Person" not in "".join(lines)
    assert "person@example.org" not in "".join(lines)


def without(lines: list[str], number: int) -> list[str]:
    return lines[:number] + lines[number + 1 :]


def changed(lines: list[str], number: int) -> list[str]:
    return [*lines[:number], lines[number].replace("Ann", "Bob").replace("requester", "x"),
            *lines[number + 1 :]]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_an_export_that_was_changed_by_hand_is_found_out(
    record: Record, outbox: Outbox, number: int
) -> None:
    lines = full(record, outbox)
    assert check_export([]) == FIRST_SEAL
    swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
    for bad in (without(lines, number), changed(lines, number), swapped, [*lines, "{}"]):
        with pytest.raises(BrokenRecordError):
            check_export(bad)


@pytest.mark.parametrize(
    "statement", ["UPDATE notice_record SET body = ''", "DELETE FROM notice_record"]
)
def test_the_database_refuses_to_change_the_record(
    record: Record, outbox: Outbox, statement: str
) -> None:
    lines = full(record, outbox)
    with pytest.raises(sqlite3.IntegrityError, match="only added to"):
        outbox.store.write(lambda c: c.execute(statement))
    assert record.export() == lines


def test_what_people_wrote_can_be_erased_and_the_record_stays_whole(
    record: Record, outbox: Outbox
) -> None:
    notice = received(record, outbox)
    with pytest.raises(ImpossibleStepError):
        record.erase_texts(notice.notice_id, "Ann", outbox.now)
    record.decline(notice.notice_id, Refusal.CONSENT, "a contract", "Ann", outbox.now)
    record.erase_texts(notice.notice_id, "Ann", outbox.now)
    assert record.request(notice.notice_id) is None
    assert record.texts(notice.notice_id) == []
    check_export(record.export())
    dump = "\n".join(outbox.store.read(lambda c: list(c.iterdump())))
    assert "person@example.org" not in dump


def test_a_statement_of_reasons_has_the_parts_of_the_law_and_not_the_requester() -> None:
    text = STATEMENT.to_text()
    for part in ("2 pieces", "Everywhere", "signed notice", "automatically", "A person decided",
                 "the law", "Appeal to Forum", "court"):  # fmt: skip
        assert part in text
    alone = replace(Redress("Forum", "x"), outside="Go to the body of Utopia")
    terms = for_removal(
        count=1, with_copies=False, ground=Ground.TERMS, decided_at=START, redress=alone
    )
    assert "terms of service" in terms.to_text()
    assert "Utopia" in terms.to_text()
    assert "without automated means" in terms.to_text()


def test_every_step_is_one_line(record: Record, outbox: Outbox) -> None:
    notice = received(record, outbox)
    assert [line.step for line in notice.lines] == [Step.RECEIVED]


def test_what_waits_is_told_from_what_is_decided(record: Record, outbox: Outbox) -> None:
    first, second = received(record, outbox), received(record, outbox, good_faith=False)
    assert [each.notice_id for each in record.waiting()] == [first.notice_id, second.notice_id]
    record.decline(first.notice_id, Refusal.NOT_INTIMATE, "", "Ann", outbox.now)
    record.withdraw(second.notice_id, outbox.now)
    assert record.waiting() == []
    assert [each.notice_id for each in record.decided()] == [second.notice_id, first.notice_id]
    record.appeal(first.notice_id, "look again", outbox.now, poster=False)
    assert [each.notice_id for each in record.waiting()] == [first.notice_id]


def told(outbox: Outbox, record: Record) -> list[tuple[str, str]]:
    """(contact, text) of everything that waits to be told."""
    found = []
    for action in outbox.due():
        if action.action is ActionKind.TELL:
            message = record.message(action)
            assert message is not None
            found.append((message.contact, message.text))
            outbox.store.action_delivered(action.action_id, outbox.now)
    return found


def test_who_asked_is_told_of_each_step_that_others_take(outbox: Outbox) -> None:
    record = Record(
        outbox.store, HOSTS, 5, lambda notice, written: f"{notice.standing.status} {written}"
    )
    number, notice = record.receive(a_request(contact="person@example.org"), outbox.now)
    assert told(outbox, record) == [("person@example.org", "open ")]
    record.found_incomplete(notice.notice_id, {Need.CONTACT: Lack.MISSING}, "Ann", outbox.now)
    assert told(outbox, record) == [("person@example.org", "incomplete ")]
    record.complete(notice.notice_id, a_request(contact="other@example.org"), outbox.now)
    assert told(outbox, record) == []
    record.decline(notice.notice_id, Refusal.OTHER, "so it is", "Ann", outbox.now)
    assert told(outbox, record) == [("other@example.org", "declined so it is")]
    record.appeal(notice.notice_id, "look again", outbox.now, poster=False)
    assert told(outbox, record) == []
    record.answer_appeal(notice.notice_id, "no", "Ann", outbox.now, restore=False)
    assert told(outbox, record) == [("other@example.org", "declined no")]
    assert number not in "".join(outbox.store.read(lambda c: list(c.iterdump())))


def test_nobody_is_told_if_nothing_is_there_to_tell_them(record: Record, outbox: Outbox) -> None:
    received(record, outbox)
    assert outbox.due() == ()


def test_what_is_erased_is_not_told_any_more(outbox: Outbox) -> None:
    record = Record(outbox.store, HOSTS, 5, lambda _notice, _written: "text")
    notice = received(record, outbox)
    record.remove(notice.notice_id, ["post/1"], STATEMENT, "Ann", outbox.now)
    record.erase_texts(notice.notice_id, "Ann", outbox.now)
    tell = next(each for each in outbox.due() if each.action is ActionKind.TELL)
    assert record.message(tell) is None
    assert "person@example.org" not in "".join(outbox.store.read(lambda c: list(c.iterdump())))
