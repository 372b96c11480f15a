"""What becomes public, when, and what is due without anybody asking."""

import contextlib
import dataclasses
import threading
import time
from datetime import date

import pytest

from unspread.clearinghouse import housekeeping, own_entries, store
from unspread.clearinghouse.rules import to_day
from unspread.clearinghouse.settings import Settings, SettingsError
from unspread.clearinghouse.writer import BusyError, Writer
from unspread.feed.reader import ListingChanged, PlatformAcknowledged
from unspread.feed.records import AckRecord
from unspread.model import State

from .conftest import Platform, Running, admitted, picture, receipt, running, until
from .test_case import follow

DAY = store.SECONDS_PER_DAY


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def test_with_padding_the_log_grows_by_whole_batches(settings: Settings) -> None:
    padded = dataclasses.replace(settings, padding_batch=8)
    with running(padded) as clearinghouse:
        platform = admitted(clearinghouse)
        clearinghouse.submit(receipt(), [picture(1)])
        until(lambda: clearinghouse.service.subscribers.size >= 24)
        assert clearinghouse.service.publisher.size % 8 == 0
        until(lambda: clearinghouse.get(f"/feed/{platform.partner_id}/latest").is_success)
        assert len(follow(clearinghouse, platform)) == 1


def test_a_case_ends_after_two_years_and_is_deleted_after_ninety_days(settings: Settings) -> None:
    clock = Clock()
    with running(settings, clock) as clearinghouse:
        platform = admitted(clearinghouse)
        clearinghouse.submit(receipt(1), [picture(1)])
        clearinghouse.submit(receipt(2), [picture(2, quality=1)])
        run = lambda: housekeeping.run_due(clearinghouse.service.writer)  # noqa: E731
        clock.ahead = 730 * DAY
        run()
        assert clearinghouse.status(receipt(1)).json()["items"][0]["state"] == "listed"
        clock.ahead = 733 * DAY
        run()
        assert clearinghouse.status(receipt(1)).json()["items"][0]["state"] == "expired"
        assert clearinghouse.status(receipt(2)).json()["items"][0]["state"] == "expired"
        read = clearinghouse.service.readers.ask_now
        assert read(lambda c: c.rows("SELECT DISTINCT fingerprints, salt FROM item")) == [
            (b"", b"")
        ]
        until(lambda: not read(lambda c: c.rows("SELECT 1 FROM pending_erasure")))
        clock.ahead = 824 * DAY
        run()
        assert clearinghouse.status(receipt(1)).status_code == 404
        clock.ahead = 0
        changes = [e for e in follow(clearinghouse, platform) if isinstance(e, ListingChanged)]
        assert [each.state for each in changes] == [State.EXPIRED]


def test_what_is_still_found_does_not_end(settings: Settings) -> None:
    clock = Clock()
    with running(settings, clock) as clearinghouse:
        clearinghouse.submit(receipt(), [picture(1)])
        write = clearinghouse.service.writer.submit
        listing_id = clearinghouse.listing_id(receipt())
        clock.ahead = 700 * DAY
        write(
            lambda tx: tx.connection.run(
                "INSERT INTO partner (partner_id, name, role, state, scopes, invitation_digest,"
                " invitation_expires_at, signing_key, sealing_key, next_signing_key, created_at,"
                " last_heard_at, applied_size, logged_size) VALUES"
                " ('a', 'A', 'platform', 'active', 'feedback', ?, 0, ?, ?, ?, 0, 0, 0, 0)",
                *[b""] * 4,
            )
        ).result()
        write(
            lambda tx: tx.connection.run(
                "INSERT INTO feedback (partner_id, external_id, listing_id, kind, at, count,"
                " reason, oldest_day, received_at, settled)"
                " VALUES ('a', '1', ?, 'found', 0, 1, '', 0, ?, ?)",
                listing_id,
                tx.now,
                False,
            )
        ).result()
        clock.ahead = 735 * DAY
        housekeeping.run_due(clearinghouse.service.writer)
        status = clearinghouse.status(receipt()).json()
        assert status["items"][0]["state"] == "listed"
        today = int(clock()) // DAY
        ends = status["expires_on"]
        assert to_day(date.fromisoformat(ends)) == today + 365


def acknowledge(clearinghouse: Running, platform: Platform, size: int) -> None:
    body = f'{{"size": {size}, "root": "{"00" * 32}"}}'.encode()
    assert platform.signed_post("/v1/acknowledge", body).is_success


def logged_acknowledgements(clearinghouse: Running) -> list[AckRecord]:
    rows = clearinghouse.service.readers.ask_now(
        lambda c: c.rows("SELECT payload FROM log_entry WHERE kind = 3 ORDER BY position")
    )
    return [AckRecord.from_bytes(bytes(payload)) for (payload,) in rows]


def test_acknowledgements_stand_in_the_log_at_once_and_once(settings: Settings) -> None:
    clock = Clock()
    with running(settings, clock) as clearinghouse:
        platforms = [admitted(clearinghouse, name) for name in ("One", "Two")]
        clearinghouse.submit(receipt(), [picture(1)])
        size = clearinghouse.until_published()
        acknowledge(clearinghouse, platforms[0], size)
        until(lambda: len(logged_acknowledgements(clearinghouse)) == 1)
        # What comes within the next seconds is collected, and logged together.
        for platform in platforms:
            clearinghouse.submit(receipt(7), [picture(7)])
            acknowledge(clearinghouse, platform, clearinghouse.until_published())
        time.sleep(3 * settings.tick_seconds)
        assert len(logged_acknowledgements(clearinghouse)) == 1
        clock.ahead = own_entries.ACKNOWLEDGEMENTS_EVERY_SECONDS
        until(lambda: len(logged_acknowledgements(clearinghouse)) == 3)
        # Having applied acknowledgements alone is no news, or two platforms would never rest.
        for _ in range(3):
            clock.ahead += own_entries.ACKNOWLEDGEMENTS_EVERY_SECONDS
            for platform in platforms:
                acknowledge(clearinghouse, platform, clearinghouse.until_published())
            time.sleep(3 * settings.tick_seconds)
        assert [each.partner for each in logged_acknowledgements(clearinghouse)] == [
            "One", "One", "Two",
        ]  # fmt: skip
        said = [
            e for e in follow(clearinghouse, platforms[0]) if isinstance(e, PlatformAcknowledged)
        ]
        assert len(said) == 3


def test_nobody_acknowledges_what_is_not_there(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    body = f'{{"size": 99, "root": "{"00" * 32}"}}'.encode()
    assert platform.signed_post("/v1/acknowledge", body).status_code == 400


def test_a_second_server_on_the_same_data_is_refused(clearinghouse: Running) -> None:
    with (
        pytest.raises(AssertionError, match="already runs"),
        running(clearinghouse.service.settings),
    ):
        pass


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "help.example.org"},
        {"url": "https://help.example.org/path"},
        {"database_url": "mysql://x"},
        {"tick_seconds": 0},
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(
    settings: Settings, changed: dict[str, object]
) -> None:
    with pytest.raises(SettingsError):
        dataclasses.replace(settings, **changed)  # type: ignore[arg-type]


def test_too_many_waiting_writes_are_refused_at_once(settings: Settings) -> None:
    begun, release = threading.Event(), threading.Event()

    def block(_tx: store.Transaction) -> None:
        begun.set()
        release.wait(60)

    with running(dataclasses.replace(settings, max_waiting_writes=10)) as clearinghouse:
        writer = clearinghouse.service.writer
        writer.submit(block)
        assert begun.wait(30)
        # The batch with the blocking job is taken: what comes now stays in the queue.
        with contextlib.suppress(BusyError):
            for _ in range(11):
                writer.submit(lambda _tx: None)
        answer = clearinghouse.submit(receipt(), [picture(1)])
        release.set()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["error"]["code"] == "busy"


def test_one_jobs_trouble_is_its_own(clearinghouse: Running) -> None:
    release = threading.Event()
    writer: Writer[store.Transaction] = clearinghouse.service.writer
    writer.submit(lambda _tx: release.wait(30))

    def good(tx: store.Transaction) -> int:
        store.set_switch(tx, "good", is_on=True)
        return 1

    def refused(_tx: store.Transaction) -> int:
        raise store.OtherContentError("no")

    def broken(tx: store.Transaction) -> int:
        return tx.connection.run("INSERT INTO nowhere VALUES (1)")

    answers = [writer.submit(job) for job in (good, refused, broken, good)]
    release.set()
    assert answers[0].result(30) == answers[3].result(30) == 1
    with pytest.raises(store.OtherContentError):
        answers[1].result(30)
    assert "could not store" in str(answers[2].exception(30))
