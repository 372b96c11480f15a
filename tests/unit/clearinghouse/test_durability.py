"""What was acknowledged is there: after a backup, after a restore, on both databases."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from unspread.clearinghouse import backup, composition, settling, store
from unspread.clearinghouse.checking import check
from unspread.clearinghouse.database import DatabaseUnavailableError, Sqlite, connect
from unspread.clearinghouse.settings import Settings

from .conftest import (
    URL,
    Running,
    admitted,
    fresh_settings,
    new_postgres,
    on_sqlite,
    pdq,
    picture,
    receipt,
    running,
    until,
)
from .test_feed import Clock, Follower, planted, until_listed, until_revealed

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with an empty database of each kind, for what `make test` shows of both."""
    return fresh_settings(request.param, request, tmp_path)


def settled(clearinghouse: Running) -> None:
    """Wait for everything committed to be public, with what was erased gone from the feed."""
    ask = clearinghouse.service.readers.ask_now
    until(
        lambda: (
            clearinghouse.service.publisher.size
            == ask(lambda c: c.rows("SELECT COUNT(*) FROM log_entry"))[0][0]
            and not ask(lambda c: c.rows("SELECT 1 FROM pending_erasure"))
        )
    )


def good(settings: Settings) -> list[str]:
    """What `check` found to be wrong: hopefully nothing."""
    return [each.to_line() for each in check(settings) if not each.is_good]


def test_the_whole_life_of_a_case(either: Settings) -> None:
    with running(either) as clearinghouse:
        platform = admitted(clearinghouse)
        assert clearinghouse.submit(receipt(1), [picture(1), picture(2)]).status_code == 201
        assert clearinghouse.submit(receipt(1), [picture(1), picture(2)]).status_code == 200
        assert clearinghouse.submit(receipt(2), [picture(3)]).status_code == 201
        assert clearinghouse.submit(receipt(2), [picture(4)]).status_code == 409
        assert clearinghouse.withdraw(receipt(1), 0).status_code == 200
        told = (
            b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "disputed", "reason": "other",'
            b' "at": "2026-11-23T06:00:00Z"}]}' % clearinghouse.listing_id(receipt(1), 1)
        )
        assert platform.signed_post("/v1/feedback", told).json() == {"new": 1}
        first, second = clearinghouse.status(receipt(1)).json()["items"]
        assert (first["state"], second["level"]) == ("withdrawn", "disputed")
        assert clearinghouse.status(receipt(1), "renew").status_code == 200
        settled(clearinghouse)
        assert good(either) == []
    assert good(either) == []


def test_a_second_start_goes_on_where_the_first_ended(either: Settings) -> None:
    with running(either) as clearinghouse:
        clearinghouse.submit(receipt(1), [picture(1)])
        before = clearinghouse.get("/v1/about").json()
        first = clearinghouse.listing_id(receipt(1))
    with running(either) as clearinghouse:
        assert clearinghouse.get("/v1/about").json()["log_key"] == before["log_key"]
        assert clearinghouse.submit(receipt(2), [picture(2)]).status_code == 201
        assert clearinghouse.listing_id(receipt(2)) == first + 1
        settled(clearinghouse)
    assert good(either) == []


def test_a_job_that_fails_hurts_nobody_else(either: Settings) -> None:
    with running(either) as clearinghouse:
        submit = clearinghouse.service.writer.submit
        stop = threading.Event()
        held = submit(lambda _tx: stop.wait(30))
        # What waits meanwhile goes into one transaction.
        jobs: list[Callable[[store.Transaction], object]] = [
            lambda tx: tx.connection.run("INSERT INTO switch (name, is_on) VALUES ('a', ?)", True),
            lambda tx: tx.connection.run("no SQL"),
            lambda _tx: 1 // 0,
            lambda tx: tx.connection.run("INSERT INTO switch (name, is_on) VALUES ('b', ?)", True),
        ]
        first, bad, wrong, last = [submit(job) for job in jobs]
        stop.set()
        held.result(30)
        with pytest.raises(DatabaseUnavailableError):
            bad.result(30)
        with pytest.raises(ZeroDivisionError):
            wrong.result(30)
        assert (first.result(30), last.result(30)) == (1, 1)
        ask = clearinghouse.service.readers.ask_now
        assert ask(lambda c: c.rows("SELECT name FROM switch ORDER BY name")) == [("a",), ("b",)]
        assert clearinghouse.submit(receipt(1), [picture(1)]).status_code == 201


def test_a_restarted_database_is_found_again(postgres: str, tmp_path: Path) -> None:
    settings = Settings(
        data=tmp_path / "data",
        url=URL,
        training=True,
        tick_seconds=0.05,
        database_url=new_postgres(postgres, "one"),
    )
    with running(settings) as clearinghouse:
        assert clearinghouse.submit(receipt(1), [picture(1)]).status_code == 201
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'one'"
            )
        assert clearinghouse.submit(receipt(2), [picture(2)]).status_code == 201
        assert clearinghouse.status(receipt(1)).status_code == 200
        settled(clearinghouse)
        assert good(settings) == []


def test_canaries_are_planted_and_revealed_on_both(either: Settings) -> None:
    clock = Clock()
    with running(planted(either, 6), clock) as clearinghouse:
        follower = Follower(clearinghouse, admitted(clearinghouse), clock)
        latest = f"/feed/{follower.partner_id}/latest"
        until(lambda: clearinghouse.get(latest).is_success)
        for days, listed in ((0, (0,)), (16, (6,)), (31, (6, 0)), (50, (6, 6))):
            clock.ahead = days * store.SECONDS_PER_DAY
            until_listed(clearinghouse, *listed)
            follower.follow()
        until_revealed(clearinghouse)
        follower.follow()
        assert follower.reader.most_withheld == 6
        settled(clearinghouse)
    assert good(either) == []


def test_a_restored_backup_goes_on_without_a_fork(
    either: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with running(either) as clearinghouse:
        admitted(clearinghouse)
        clearinghouse.submit(receipt(1), [picture(1)])
        clearinghouse.submit(receipt(2), [picture(2)])
        settled(clearinghouse)
        made = backup.back_up(either, tmp_path / "backups", NOW)
        # After the backup: one more case, and one withdrawal. Both are public.
        clearinghouse.submit(receipt(3), [picture(3)])
        clearinghouse.withdraw(receipt(2), 0)
        settled(clearinghouse)
        signed = clearinghouse.get("/log/checkpoint").text
    database_url = either.database_url and new_postgres(request.getfixturevalue("postgres"), "two")
    again = Settings(
        data=tmp_path / "again",
        url=URL,
        training=True,
        tick_seconds=0.05,
        database_url=database_url,
    )
    size = backup.restore(made, again, published=either.blobs, now=1_795_420_000)
    # What the public saw stays; the listing erased meanwhile is ended once more.
    assert size == int(signed.splitlines()[1]) + 1
    with running(again) as clearinghouse:
        assert clearinghouse.status(receipt(1)).json()["items"][0]["state"] == "listed"
        assert clearinghouse.status(receipt(2)).json()["items"][0]["state"] == "expired"
        assert clearinghouse.status(receipt(3)).status_code == 404
        assert clearinghouse.submit(receipt(3), [picture(3)]).status_code == 201
        settled(clearinghouse)
    assert good(again) == []


def traces(data: Path, value: bytes) -> list[str]:
    """The files that hold these bytes."""
    return [path.name for path in data.rglob("*") if path.is_file() and value in path.read_bytes()]


def erased(clearinghouse: Running) -> None:
    """Wait for what was erased to be gone from the feed and the database's own log."""
    settled(clearinghouse)
    until(lambda: clearinghouse.service.settler.is_settled)


@on_sqlite
@pytest.mark.parametrize("quality", [100, 3], ids=["a listed item", "a held item"])
def test_what_is_withdrawn_stands_in_no_file(settings: Settings, quality: int) -> None:
    value = pdq(7)
    with running(settings) as clearinghouse:
        clearinghouse.submit(receipt(1), [picture(7, quality=quality)])
        clearinghouse.until_published()
        assert traces(settings.data, value)
        clearinghouse.withdraw(receipt(1), 0)
        erased(clearinghouse)
        assert traces(settings.data, value) == []


@on_sqlite
def test_a_reader_delays_an_erasure_and_nobodys_case(settings: Settings) -> None:
    value = pdq(7)
    with running(settings) as clearinghouse:
        clearinghouse.submit(receipt(1), [picture(7)])
        clearinghouse.until_published()
        reader = connect(settings, read_only=True)
        reader.begin_reading()
        clearinghouse.withdraw(receipt(1), 0)
        settled(clearinghouse)
        for number in range(3):
            assert clearinghouse.submit(receipt(10 + number), [picture(number)]).is_success
        assert not clearinghouse.service.settler.is_settled
        assert traces(settings.data, value)
        reader.rollback()
        reader.close()
        erased(clearinghouse)
        assert traces(settings.data, value) == []


@contextmanager
def connect_kept(settings: Settings) -> Iterator[None]:
    """Another connection: the last to close would empty SQLite's write-ahead log."""
    other = connect(settings)
    other.rows("SELECT 1 FROM item")
    yield
    other.close()


@on_sqlite
def test_an_erasure_that_a_kill_interrupted_is_settled_at_the_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = pdq(7)
    with connect_kept(settings):
        # A killed process settles nothing more; its write-ahead log stays.
        with monkeypatch.context() as killed:
            killed.setattr(Sqlite, "settle", lambda _self: False)
            killed.setattr(settling, "LAST_ATTEMPTS", 1)
            with running(settings) as clearinghouse:
                clearinghouse.submit(receipt(1), [picture(7)])
                clearinghouse.until_published()
                clearinghouse.withdraw(receipt(1), 0)
                settled(clearinghouse)
        assert traces(settings.data, value)
        with running(settings) as clearinghouse:
            until(lambda: clearinghouse.service.settler.is_settled)
            assert traces(settings.data, value) == []


def test_vacuuming_keeps_nobody_waiting(postgres: str, tmp_path: Path) -> None:
    url = new_postgres(postgres, "vacuumed")
    made = Settings(
        data=tmp_path / "data", url=URL, database_url=url, training=True, tick_seconds=0.05
    )
    with running(made) as clearinghouse:
        clearinghouse.submit(receipt(1), [picture(1)])
        clearinghouse.until_published()
        until(lambda: clearinghouse.service.settler.is_settled)
        with psycopg.connect(url) as other:
            # Vacuuming has to wait for this, rows of cases have not.
            other.execute("LOCK TABLE item IN SHARE UPDATE EXCLUSIVE MODE")
            clearinghouse.withdraw(receipt(1), 0)
            settled(clearinghouse)
            assert clearinghouse.submit(receipt(2), [picture(2)]).is_success
            assert not clearinghouse.service.settler.is_settled
        until(lambda: clearinghouse.service.settler.is_settled)


def test_backups_end_after_their_days(settings: Settings, tmp_path: Path) -> None:
    composition.compose(settings, "test")
    kept = backup.back_up(settings, tmp_path / "backups", NOW)
    older = backup.back_up(settings, tmp_path / "backups", NOW + timedelta(days=30))
    assert kept.exists()
    backup.back_up(settings, tmp_path / "backups", NOW + timedelta(days=31))
    assert not kept.exists()
    assert older.exists()
    assert (older.stat().st_mode & 0o777) == 0o700


def test_a_restore_needs_an_empty_place(settings: Settings, tmp_path: Path) -> None:
    made = backup.back_up(settings, tmp_path / "backups", NOW)
    with pytest.raises(backup.BackupError, match="not empty"):
        backup.restore(made, settings, published=None, now=0)
    with pytest.raises(backup.BackupError, match="not a backup"):
        backup.restore(tmp_path, settings, published=None, now=0)


@on_sqlite
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("DELETE FROM log_entry WHERE position = 0", id="an entry is missing"),
        pytest.param(
            "UPDATE log_entry SET kind = 6 WHERE position = FIRST",
            id="an entry was altered",
        ),
        pytest.param(
            "UPDATE item SET fingerprints = x'90' WHERE listing_id = FIRST", id="a listing"
        ),
        pytest.param("UPDATE item SET state = 'withdrawn'", id="a state without its entry"),
        pytest.param("DELETE FROM item WHERE listing_id = FIRST", id="an item vanished"),
        pytest.param("UPDATE item SET revision = 99 WHERE listing_id = FIRST", id="a revision"),
    ],
)
def test_check_finds_what_was_tampered_with(settings: Settings, damage: str) -> None:
    with running(settings) as clearinghouse:
        clearinghouse.submit(receipt(1), [picture(1), picture(2)])
        first = clearinghouse.listing_id(receipt(1))
        settled(clearinghouse)
    assert good(settings) == []
    connection = connect(settings)
    connection.begin()
    connection.run(damage.replace("FIRST", str(first)))
    connection.commit()
    connection.close()
    assert good(settings) != []


@pytest.mark.parametrize("name", ["log/checkpoint", "tile", "feed"])
def test_check_finds_damaged_files(settings: Settings, name: str) -> None:
    with running(settings) as clearinghouse:
        admitted(clearinghouse)
        clearinghouse.submit(receipt(1), [picture(1), picture(2)])
        settled(clearinghouse)
    pattern = {
        "log/checkpoint": "log/checkpoint",
        "tile": "log/tile/0/**/*",
        "feed": "feed/*/seg/*",
    }
    for path in settings.blobs.glob(pattern[name]):
        if path.is_file():
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
    assert good(settings) != []
