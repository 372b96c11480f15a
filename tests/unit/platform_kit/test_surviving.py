"""What a restart, a crash or a second process may not change."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.unit.platform_kit.conftest import REFUSING, Platform
from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import StateError
from unspread.match.kernel import choose
from unspread.match.snapshot import opened
from unspread.model import Kind
from unspread.platform_kit import bank, snapshots
from unspread.platform_kit.app import _sole_leader, follow_once, load_bank
from unspread.platform_kit.settings import Settings
from unspread.platform_kit.store import Store
from unspread.testing.stand_in import ADDRESS


def saved(platform: Platform) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bank, "_WAITING_ROWS", 1)
        platform.kit.settings = msgspec.structs.replace(
            platform.kit.settings, snapshot_after_changes=1
        )
        assert asyncio.run(platform.kit.save_snapshot())


def halves_in_snapshot(data: Path, value: bytes) -> bool:
    """Whether a file of the snapshot holds a fingerprint, in the order in which it keeps bits."""
    words = np.frombuffer(value, "<u8").astype(np.uint64).reshape(1, 4)
    files = [each for each in (data / "snapshots").rglob("*") if each.is_file()]
    (order, _), *_ = [opened(each) for each in files if each.name == "index"]
    wanted = choose().permuted(words, order)[0, :2].tobytes()
    return any(wanted in file.read_bytes() for file in files)


def test_a_restart_from_a_snapshot_matches_what_was_listed_before_and_after_it(
    platform, clearinghouse
):
    first = clearinghouse.protect(picture(1))
    platform.sync()
    saved(platform)
    clearinghouse.protect(picture(2))
    clearinghouse.take_back(first)
    platform.sync()

    again = platform.restarted()

    assert snapshots.load(again.data, again.kit.store, {0: "unspread"}) is not None
    assert again.scan(altered(1)).decision == "accept"
    assert again.scan(altered(2)).decision == "refuse"
    again.close()


def test_what_was_withdrawn_leaves_the_snapshot_too(platform, clearinghouse):
    listing_id = clearinghouse.protect(picture(1))
    clearinghouse.protect(picture(2))
    platform.sync()
    listing = platform.kit.store.listing(0, listing_id)
    value = next(each.value for each in listing.fingerprints if each.kind is Kind.PDQ)
    saved(platform)
    assert halves_in_snapshot(platform.data, value)

    clearinghouse.take_back(listing_id)
    platform.sync()
    platform.kit.settings = msgspec.structs.replace(
        platform.kit.settings, snapshot_after_changes=10**6
    )
    assert asyncio.run(platform.kit.save_snapshot())

    assert not halves_in_snapshot(platform.data, value)
    assert platform.scan(altered(2)).decision == "refuse"


def test_a_large_store_is_written_into_a_snapshot_and_matched_from_there(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    in_memory = platform.kit.bank
    kit = platform.kit
    kit.settings = msgspec.structs.replace(kit.settings, snapshot_after_changes=1)
    asyncio.run(load_bank(kit))
    assert not kit.bank.is_in_file
    asyncio.run(load_bank(kit, may_save=True))
    assert kit.bank.is_in_file
    assert (len(kit.bank), kit.bank.sequence) == (len(in_memory), in_memory.sequence)
    assert platform.scan(altered(1)).decision == "refuse"


def test_changes_go_on_while_a_snapshot_is_written(platform, clearinghouse, monkeypatch):
    clearinghouse.protect(picture(1))
    platform.sync()
    write = snapshots.save

    def meanwhile(*given) -> None:
        write(*given)
        clearinghouse.protect(picture(2))
        platform.sync()
        assert platform.scan(altered(2)).decision == "refuse"

    monkeypatch.setattr(snapshots, "save", meanwhile)
    before = platform.kit.bank
    saved(platform)
    assert platform.kit.bank is not before
    assert [platform.scan(altered(seed)).decision for seed in (1, 2)] == ["refuse"] * 2


@pytest.mark.parametrize("name", ["current", "index", "sha256-ids.npy"])
def test_a_damaged_snapshot_is_set_aside_and_the_store_serves(platform, clearinghouse, name):
    clearinghouse.protect(picture(1))
    platform.sync()
    saved(platform)
    (file,) = (platform.data / "snapshots").rglob(name)
    file.write_bytes(file.read_bytes()[:20])

    again = platform.restarted()

    assert again.scan(altered(1)).decision == "refuse"
    again.close()


def test_a_snapshot_of_another_store_is_not_used(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    saved(platform)
    platform.kit.store.set_counters(instance=7)
    assert snapshots.load(platform.data, platform.kit.store, {}) is None


def test_a_replica_sees_what_the_leader_learns(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    saved(platform)
    replica = Platform(platform.data, clearinghouse, {"unspread": REFUSING})
    assert replica.scan(altered(1)).decision == "refuse"

    listing_id = clearinghouse.protect(picture(2))
    platform.sync()
    assert replica.scan(altered(2)).decision == "accept"
    asyncio.run(replica.kit.catch_up())

    assert replica.scan(altered(2)).decision == "refuse"
    # When the leader writes a new snapshot, the replica matches from it, and misses nothing.
    clearinghouse.protect(picture(4))
    platform.sync()
    saved(platform)
    before = replica.kit.bank
    asyncio.run(replica.kit.share_snapshot())
    assert replica.kit.bank is not before
    assert replica.kit.bank.version > before.version
    assert [replica.scan(altered(seed)).decision for seed in (1, 2, 4)] == ["refuse"] * 3

    replica.scan(picture(3), "from-the-replica")
    listing_id = clearinghouse.protect(picture(3))
    platform.sync()
    assert platform.actions() == [("remove", "from-the-replica", listing_id)]
    replica.close()


def test_content_that_a_crash_left_unmatched_is_found_at_the_next_start(platform, clearinghouse):
    platform.sync()
    kit = platform.kit

    async def killed_between_catalogue_and_bank() -> None:
        scanned = await kit.scanner.scan(altered(1))
        # The listing comes and is searched for before the entry is written; then the process dies.
        listing_id = clearinghouse.protect(picture(1))
        assert listing_id == 0
        platform_sync = asyncio.to_thread(platform.sync)
        await platform_sync
        kit.catalogue.remember("post-1", scanned.media, scanned.probes, platform.now())

    asyncio.run(killed_between_catalogue_and_bank())
    assert platform.actions() == []

    again = platform.restarted()

    assert again.actions() == [("remove", "post-1", 0)]
    again.close()


WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from unspread.model import *
from unspread.platform_kit.store import *
store = Store(Path(sys.argv[1]))
number = store.list_number("bench", "local")
at = datetime(2026, 11, 23, tzinfo=UTC)
turn = store.active_count(number)
while True:
    prints = (Fingerprint(Kind.SHA256, os.urandom(32)),)
    listing = Listing(ListingId(turn), Media.IMAGE, Age.UNKNOWN, prints, Level.CONFIRMED,
                      State.LISTED, at, bytes(16))
    store.apply(number, [listing], cursor=str(turn).encode(), size=turn + 1, root="", at=at)
    store.record_findings(number, listing, [Finding(f"post-{turn}", Kind.SHA256, 0)],
                          ActionKind.REMOVE, rule="r", origin=Origin.CATALOGUE, at=at)
    store.record_findings(number, listing, [Finding(f"post-{turn}", Kind.SHA256, 0)],
                          ActionKind.REMOVE, rule="r", origin=Origin.CATALOGUE, at=at)
    for action in store.actions_due(at):
        store.action_delivered(action.action_id, at)
        store.action_delivered(action.action_id, at)
    print(turn, flush=True)
    turn += 1
"""


def test_after_kill_9_nothing_is_lost_and_no_action_is_doubled(tmp_path: Path):
    acknowledged: list[int] = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        until = time.monotonic() + 60
        wanted = len(acknowledged) + 15
        while len(acknowledged) < wanted and time.monotonic() < until:
            acknowledged.append(int(process.stdout.readline()))
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged += [int(line) for line in rest.split()]

    store = Store(tmp_path)
    state = store.list_state("bench")
    assert state.size >= len(acknowledged) > 30
    # What was committed as the process died may have been acknowledged to nobody: a gap, no loss.
    assert acknowledged == sorted(set(acknowledged))
    assert acknowledged[-1] < state.size
    # The place in the list and the listings stand in one transaction.
    assert store.active_count(state.number) == state.size == int(state.cursor) + 1
    rows = store.read(
        lambda c: c.execute("SELECT reference, count(*) AS n FROM actions GROUP BY 1").fetchall()
    )
    assert {row["n"] for row in rows} == {1}
    assert {f"post-{turn}" for turn in acknowledged} <= {row["reference"] for row in rows}
    said = store.read(
        lambda c: c.execute("SELECT listing_id FROM feedback WHERE kind = 'removed'").fetchall()
    )
    assert len(said) == len({row["listing_id"] for row in said})
    store.close()
    with sqlite3.connect(tmp_path / "platform.sqlite3") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_one_round_without_a_server_says_what_is_wrong_and_keeps_the_list(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    platform.close()
    path = platform.data / "lists" / "unspread.json"
    # Nothing listens on port 9 (discard) of this machine.
    path.write_text(path.read_text().replace(ADDRESS, "http://127.0.0.1:9"))

    ((name, count, problem),) = asyncio.run(follow_once(platform.settings))

    assert (name, count) == ("unspread", 1)
    assert "does not answer" in problem


def test_two_servers_do_not_both_follow_one_directory(tmp_path):
    first = _sole_leader(Settings(data=tmp_path))
    assert first is not None
    with pytest.raises(StateError, match="replica"):
        _sole_leader(Settings(data=tmp_path))
    assert _sole_leader(Settings(data=tmp_path, replica=True)) is None
    first.close()


def test_what_a_search_has_covered_is_not_matched_again_at_the_next_start(platform, clearinghouse):
    platform.sync()
    platform.scan(picture(1), "post-1")
    assert platform.kit.store.counter("covered") == 0
    platform.sync()  # nothing new was listed
    assert platform.kit.store.counter("covered") == 1

    platform.scan(picture(2), "post-2")
    again = platform.restarted()
    assert again.kit.store.counter("covered") == 2
    again.close()
