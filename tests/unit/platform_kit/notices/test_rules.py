"""A notice's four parts, and the clock that runs once they are there."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspread.errors import InputError
from unspread.platform_kit.notices.rules import (
    CLOCK,
    MAX_LOCATIONS,
    MAX_TEXT,
    Event,
    ImpossibleStepError,
    Lack,
    Need,
    Request,
    Standing,
    Status,
    Step,
    by_deadline,
    lacks,
    standing,
)

START = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTS = frozenset({"forum.example"})
NOT_FOUND = ((Need.LOCATION, Lack.NOT_FOUND),)


def a_request(**changes: object) -> Request:
    parts = {
        "signature": "A. Person",
        "locations": ("https://forum.example/post/17",),
        "good_faith": True,
        "contact": "person@example.org",
        **changes,
    }
    return Request(**parts)  # type: ignore[arg-type]  # a table of changes


def at(hours: float) -> datetime:
    return START + hours * HOUR


def test_a_request_with_all_four_parts_lacks_nothing() -> None:
    assert lacks(a_request(), HOSTS) == {}


@pytest.mark.parametrize(
    ("changes", "need", "lack"),
    [
        pytest.param({"signature": "  "}, Need.SIGNATURE, Lack.MISSING, id="not signed"),
        pytest.param({"on_behalf": True}, Need.SIGNATURE, Lack.NO_RELATION, id="for whom?"),
        pytest.param({"locations": ()}, Need.LOCATION, Lack.MISSING, id="no address"),
        pytest.param({"locations": (" ", "")}, Need.LOCATION, Lack.MISSING, id="blank addresses"),
        pytest.param(
            {"locations": ("my picture",)}, Need.LOCATION, Lack.NO_ADDRESS, id="not an address"
        ),
        pytest.param(
            {"locations": ("https://[",)}, Need.LOCATION, Lack.NO_ADDRESS, id="broken address"
        ),
        pytest.param(
            {"locations": ("javascript:alert(1)",)}, Need.LOCATION, Lack.NO_ADDRESS, id="a script"
        ),
        pytest.param(
            {"locations": ("https://forum.example/1", "https://other.example/1")},
            Need.LOCATION,
            Lack.ELSEWHERE,
            id="one of them elsewhere",
        ),
        pytest.param({"good_faith": False}, Need.GOOD_FAITH, Lack.NOT_STATED, id="not stated"),
        pytest.param({"contact": ""}, Need.CONTACT, Lack.MISSING, id="no contact"),
        pytest.param({"contact": "me"}, Need.CONTACT, Lack.UNREACHABLE, id="nobody can call"),
    ],
)
def test_each_missing_part_is_named(changes: dict[str, object], need: Need, lack: Lack) -> None:
    assert lacks(a_request(**changes), HOSTS) == {need: lack}


@pytest.mark.parametrize("contact", ["+44 20 7946 0000", "Ms P\n1 High Street\nTown", "a@b.cd"])
def test_any_way_of_reaching_the_person_is_enough(contact: str) -> None:
    assert lacks(a_request(contact=contact), HOSTS) == {}


def test_capitals_in_the_host_are_the_same_host_and_no_hosts_means_any() -> None:
    assert lacks(a_request(locations=("HTTPS://Forum.Example/x",)), HOSTS) == {}
    assert lacks(a_request(locations=("https://other.example/x",)), frozenset()) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "x" * (MAX_TEXT + 1)},
        {"contact": "a\0b"},
        {"locations": ("https://forum.example/1",) * (MAX_LOCATIONS + 1)},
    ],
    ids=["too long", "a zero byte", "too many addresses"],
)
def test_what_no_form_sends_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        a_request(**changes)


def test_a_request_shows_nothing_of_itself() -> None:
    assert repr(a_request()) == "Request()"


def test_the_clock_of_a_complete_request_runs_from_its_receipt() -> None:
    now = standing([Event(Step.RECEIVED, START)])
    assert (now.status, now.deadline) == (Status.OPEN, START + CLOCK)
    assert not now.is_overdue(START + CLOCK)
    assert now.is_overdue(START + CLOCK + timedelta(microseconds=1))


def test_the_clock_of_an_incomplete_request_starts_when_it_is_completed() -> None:
    events = [Event(Step.RECEIVED, START, NOT_FOUND)]
    assert standing(events).deadline is None
    events.append(Event(Step.COMPLETED, at(30)))
    assert standing(events).deadline == at(30) + CLOCK


def test_asking_for_more_rests_the_clock_and_gives_no_time_back() -> None:
    events = [
        Event(Step.RECEIVED, START),
        Event(Step.FOUND_INCOMPLETE, at(40), NOT_FOUND),
    ]
    resting = standing(events)
    assert (resting.deadline, resting.remaining(at(1000))) == (None, 8 * HOUR)
    events.append(Event(Step.COMPLETED, at(100)))
    assert standing(events).deadline == at(108)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (Step.REMOVED, Status.REMOVED),
        (Step.DECLINED, Status.DECLINED),
        (Step.WITHDRAWN, Status.WITHDRAWN),
    ],
)
def test_a_decision_or_a_withdrawal_stops_the_clock(step: Step, status: Status) -> None:
    now = standing([Event(Step.RECEIVED, START), Event(step, at(5))])
    assert (now.status, now.deadline, now.used) == (status, None, 5 * HOUR)
    assert not now.is_overdue(at(1000))


def test_each_side_can_appeal_and_is_answered() -> None:
    declined = [Event(Step.RECEIVED, START), Event(Step.DECLINED, at(1))]
    appealed = [*declined, Event(Step.APPEALED, at(2))]
    assert standing(appealed).appealed_at == at(2)
    assert standing([*appealed, Event(Step.REMOVED, at(3))]).status is Status.REMOVED
    assert standing([*appealed, Event(Step.APPEAL_ANSWERED, at(3))]) == Standing(
        Status.DECLINED, HOUR, None
    )
    removed = [Event(Step.RECEIVED, START), Event(Step.REMOVED, at(1))]
    poster = [*removed, Event(Step.POSTER_APPEALED, at(2))]
    assert standing([*poster, Event(Step.RESTORED, at(3))]).status is Status.RESTORED


RECEIVED = Event(Step.RECEIVED, START)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([Event(Step.REMOVED, START)], id="no receipt"),
        pytest.param([RECEIVED, RECEIVED], id="received twice"),
        pytest.param([RECEIVED, Event(Step.COMPLETED, at(1))], id="completed though complete"),
        pytest.param([RECEIVED, Event(Step.FOUND_INCOMPLETE, at(1))], id="nothing is lacking"),
        pytest.param([RECEIVED, Event(Step.RESTORED, at(1))], id="restored before removed"),
        pytest.param([RECEIVED, Event(Step.APPEALED, at(1))], id="appeal before a decision"),
        pytest.param(
            [RECEIVED, Event(Step.DECLINED, at(1)), Event(Step.APPEAL_ANSWERED, at(2))],
            id="answer without an appeal",
        ),
        pytest.param(
            [RECEIVED, Event(Step.DECLINED, at(1)), Event(Step.APPEALED, at(2)),
             Event(Step.APPEALED, at(3))],
            id="second appeal before the answer",
        ),
        pytest.param([RECEIVED, Event(Step.REMOVED, at(1)), Event(Step.DECLINED, at(2))],
                     id="declined after removal"),
        pytest.param([RECEIVED, Event(Step.WITHDRAWN, at(1)), Event(Step.REMOVED, at(2))],
                     id="removed after withdrawal"),
        pytest.param([RECEIVED, Event(Step.REMOVED, at(-1))], id="back in time"),
    ],
)  # fmt: skip
def test_what_cannot_have_happened_is_refused(events: list[Event]) -> None:
    with pytest.raises(ImpossibleStepError):
        standing(events)


@given(spans=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=6))
def test_however_often_more_is_asked_for_the_time_run_adds_up(
    spans: list[tuple[int, int]],
) -> None:
    now, events = START, [Event(Step.RECEIVED, START)]
    ran = timedelta()
    for run, rest in spans:
        ran += run * HOUR
        now += run * HOUR
        events.append(Event(Step.FOUND_INCOMPLETE, now, NOT_FOUND))
        now += rest * HOUR
        events.append(Event(Step.COMPLETED, now))
    assert standing(events).deadline == now + CLOCK - ran


def test_work_is_ordered_by_the_clock_then_by_age_of_appeals() -> None:
    def one(*events: Event) -> Standing:
        return standing(events)

    notices = [
        ("lacks", one(Event(Step.RECEIVED, START, NOT_FOUND))),
        ("appeal", one(RECEIVED, Event(Step.DECLINED, at(1)), Event(Step.APPEALED, at(2)))),
        ("late", one(Event(Step.RECEIVED, at(9)))),
        ("early", one(RECEIVED)),
        ("done", one(RECEIVED, Event(Step.REMOVED, at(1)))),
    ]
    assert by_deadline(notices) == ["early", "late", "appeal", "lacks"]
