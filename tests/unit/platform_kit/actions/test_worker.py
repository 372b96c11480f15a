"""The worker carries every action out at least once, or says that it could not."""

import asyncio
import json
import sqlite3
from datetime import datetime, timedelta

import pytest

from tests.unit.platform_kit.outbox import START, Outbox
from unspread.platform_kit.actions.delivery import TryAgainError, UndeliverableError, body
from unspread.platform_kit.actions.schedule import RETRY_AFTER_SECONDS
from unspread.platform_kit.actions.settings import ON_CONTENT, Move
from unspread.platform_kit.actions.worker import Route, Worker
from unspread.platform_kit.store import Action, ActionKind, Message

ALL = frozenset(ActionKind)


class Receiver:
    """Takes what it is given, unless it is told to fail."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.failure: Exception | None = None

    async def __call__(self, action: Action, now: datetime) -> None:
        if self.failure is not None:
            raise self.failure
        self.got.append((action.action, action.reference))


def worker(outbox: Outbox, *receivers: Receiver, on: frozenset[ActionKind] = ALL) -> Worker:
    routes = [Route(str(number), on, each) for number, each in enumerate(receivers)]
    return Worker(outbox.store, routes, outbox.clock, lambda: 0.0)


def deliver(worker: Worker) -> int:
    return asyncio.run(worker.deliver_due())


def test_an_action_is_delivered_once_and_reported_to_the_list(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    assert deliver(worker(outbox, receiver)) == 1
    assert deliver(worker(outbox, receiver)) == 0
    assert receiver.got == [("remove", "post/1")]
    assert "removed" in [said.kind for _, said in outbox.store.feedback_due(0)]


def test_nothing_is_reported_removed_before_the_receiver_confirmed(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    receiver.failure = TryAgainError("answered 500")
    deliver(worker(outbox, receiver))
    assert "removed" not in [said.kind for _, said in outbox.store.feedback_due(0)]


def test_a_failed_action_is_tried_again_when_it_is_due_and_not_before(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    receiver.failure = TryAgainError("answered 500")
    deliver(worker(outbox, receiver))
    receiver.failure = None
    outbox.pass_time(seconds=RETRY_AFTER_SECONDS[0] - 1)
    assert deliver(worker(outbox, receiver)) == 0
    outbox.pass_time(seconds=1)
    assert deliver(worker(outbox, receiver)) == 1
    assert receiver.got == [("remove", "post/1")]


def test_a_receiver_that_asks_for_time_gets_it(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    receiver.failure = TryAgainError("answered 503", asked_seconds=600)
    deliver(worker(outbox, receiver))
    assert outbox.store.next_due_at() == START + timedelta(seconds=600)


def test_an_action_that_keeps_failing_ends_on_the_dead_letter_list(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    receiver.failure = TryAgainError("answered 500")
    tries = 0
    while deliver(worker(outbox, receiver)):
        tries += 1
        outbox.pass_time(days=1)
    assert tries == len(RETRY_AFTER_SECONDS) + 1
    (dead,) = outbox.store.dead_actions()
    assert (dead.reference, dead.error) == ("post/1", "answered 500")
    receiver.failure = None
    outbox.store.action_retry(dead.action_id, outbox.now)
    assert deliver(worker(outbox, receiver)) == 1
    assert outbox.store.dead_actions() == ()


def test_what_can_never_work_is_given_up_at_once(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Receiver()
    receiver.failure = UndeliverableError("gone")
    deliver(worker(outbox, receiver))
    assert [dead.error for dead in outbox.store.dead_actions()] == ["gone"]


def test_of_two_destinations_only_the_one_that_failed_is_tried_again(outbox: Outbox) -> None:
    outbox.find("post/1")
    good, bad = Receiver(), Receiver()
    bad.failure = TryAgainError("answered 500")
    deliver(worker(outbox, good, bad))
    assert len(outbox.store.dead_actions()) == 0
    bad.failure = None
    outbox.pass_time(minutes=1)
    deliver(worker(outbox, good, bad))
    assert (len(good.got), len(bad.got)) == (1, 1)


def test_one_bad_receiver_does_not_keep_the_other_from_its_actions(outbox: Outbox) -> None:
    for number in range(20):
        outbox.find(f"post/{number}", listing_id=number)
    good, bad = Receiver(), Receiver()
    bad.failure = TryAgainError("answered 500")
    deliver(worker(outbox, good, bad))
    assert len(good.got) == 20


def test_an_action_that_no_destination_wants_is_done(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    receiver = Receiver()
    only_removals = worker(outbox, receiver, on=frozenset({ActionKind.REMOVE}))
    assert deliver(only_removals) == 1
    assert (receiver.got, outbox.due()) == ([], ())


@pytest.mark.timeout(60)
def test_the_worker_delivers_what_arrives_while_it_runs_and_stops_when_told(
    outbox: Outbox,
) -> None:
    async def scene() -> list[tuple[str, str]]:
        receiver = Receiver()
        works = worker(outbox, receiver)
        loop = asyncio.get_running_loop()
        outbox.store.on_actions(lambda: loop.call_soon_threadsafe(works.wake))
        stop = asyncio.Event()
        running = asyncio.create_task(works.run(stop))
        await asyncio.to_thread(outbox.find, "post/1")
        while not receiver.got:  # noqa: ASYNC110 - the test's own time limit ends it
            await asyncio.sleep(0.01)
        stop.set()
        await running
        return receiver.got

    assert asyncio.run(scene()) == [("remove", "post/1")]


def test_a_hold_that_may_have_arrived_is_released_and_not_tried_again(outbox: Outbox) -> None:
    outbox.find("post/1", hold=True)
    receiver = Receiver()
    receiver.failure = TryAgainError("no answer in time")
    deliver(worker(outbox, receiver))
    receiver.failure = None
    outbox.withdraw()
    outbox.pass_time(days=1)
    while deliver(worker(outbox, receiver)):
        pass
    assert receiver.got == [("release", "post/1")]


def test_an_action_waits_until_the_one_before_it_on_the_same_content_has_arrived(
    outbox: Outbox,
) -> None:
    def queue(action: ActionKind, reference: str) -> None:
        outbox.store.write(
            lambda c: outbox.store.queue_for_notice(
                c, action, [reference], rule="notice 1", at=outbox.now
            )
        )

    queue(ActionKind.REMOVE, "post/1")
    receiver = Receiver()
    receiver.failure = TryAgainError("answered 500")
    deliver(worker(outbox, receiver))
    receiver.failure = None
    queue(ActionKind.RELEASE, "post/1")
    queue(ActionKind.REMOVE, "post/2")
    deliver(worker(outbox, receiver))
    assert receiver.got == [("remove", "post/2")]
    outbox.pass_time(seconds=RETRY_AFTER_SECONDS[0])
    while deliver(worker(outbox, receiver)):
        pass
    assert receiver.got == [("remove", "post/2"), ("remove", "post/1"), ("release", "post/1")]


def tell(outbox: Outbox) -> None:
    """Queue that the sender of a notice is told."""

    def work(connection: sqlite3.Connection) -> None:
        outbox.store.queue_for_notice(
            connection, ActionKind.TELL, ["notice/3"], rule="notice 3, step 2", at=outbox.now
        )

    outbox.store.write(work)


class Bodies(Receiver):
    """Keeps what it is given as it would go out."""

    async def __call__(self, action: Action, now: datetime) -> None:
        self.got.append((action.action, body(action).decode()))


def test_a_message_to_a_person_goes_only_where_it_is_wanted(outbox: Outbox) -> None:
    tell(outbox)
    asked_for, not_asked_for = Bodies(), Bodies()
    routes = [
        Route("mail", frozenset({ActionKind.TELL}), asked_for),
        Route("webhook", frozenset(ON_CONTENT), not_asked_for),
    ]
    message = Message("person@example.org", "it was removed")
    deliver(Worker(outbox.store, routes, outbox.clock, message_of=lambda _: message))
    assert not_asked_for.got == []
    ((kind, sent),) = asked_for.got
    told = json.loads(sent)
    assert (kind, told["contact"], told["text"]) == ("tell", "person@example.org", "it was removed")
    assert "person@example.org" not in repr(message)


def test_a_message_that_was_erased_goes_nowhere_and_is_done(outbox: Outbox) -> None:
    tell(outbox)
    receiver = Bodies()
    assert deliver(worker(outbox, receiver)) == 1
    assert (receiver.got, outbox.due()) == ([], ())


def test_other_actions_carry_no_message(outbox: Outbox) -> None:
    outbox.find("post/1")
    receiver = Bodies()
    deliver(worker(outbox, receiver))
    assert "contact" not in receiver.got[0][1]


def test_a_move_tells_nobody() -> None:
    with pytest.raises(ValueError, match="tells nobody"):
        Move(store="a", quarantine="b", on=(ActionKind.TELL,))
