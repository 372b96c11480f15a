"""What is published, to whom, and that no crash makes a fork of it."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from unspread.crypto import OpeningKey
from unspread.errors import InputError, StateError
from unspread.feed.blobs import (
    BlobStore,
    DirectoryBlobs,
    MemoryBlobs,
    MissingBlobError,
    ObjectBlobs,
)
from unspread.feed.latest import Latest
from unspread.feed.partner_feed import BLOCK
from unspread.feed.reader import Event, ListingAdded, ListingChanged, Request
from unspread.feed.records import Entry
from unspread.feed.segments import MAX_LEVEL, Withheld
from unspread.feed.writer import FeedPartner, RefusesToSignError, Scope, complete_subtrees
from unspread.model import Level, ListingId, State
from unspread.testing.feed import TrialLog
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import Note
from unspread.transparency.proof import EntryProof
from unspread.transparency.tiles import MalformedTileError


def levels_after(events: list[Event]) -> dict[ListingId, tuple[State, Level]]:
    """The bank of a platform that applied these events."""
    bank: dict[ListingId, tuple[State, Level]] = {}
    for event in events:
        if isinstance(event, ListingAdded):
            listing = event.listing
            bank[listing.listing_id] = (listing.state, listing.level)
        elif isinstance(event, ListingChanged) and event.listing_id in bank:
            bank[event.listing_id] = (event.state, event.level)
    return bank


@pytest.fixture
def log() -> TrialLog:
    log = TrialLog(0)
    log.enrol()
    return log


# -- whatever is interrupted


class PowerCutError(Exception):
    """The machine stops."""


class FailingBlobs:
    """A store on a machine that stops before some write, for good."""

    def __init__(self, inner: BlobStore, budget: list[int]) -> None:
        self._inner = inner
        self._budget = budget

    def _spend(self) -> None:
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise PowerCutError

    def get(self, path: str) -> bytes:
        return self._inner.get(path)

    def put(self, path: str, data: bytes) -> None:
        self._spend()
        self._inner.put(path, data)

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for path, data in files:
            self.put(path, data)

    def delete(self, path: str) -> None:
        self._spend()
        self._inner.delete(path)

    def paths(self, prefix: str) -> Iterator[str]:
        return self._inner.paths(prefix)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_power_cut_at_any_write_makes_no_fork(seed: int, data: st.DataObject) -> None:
    dice = random.Random(seed)
    budget = [10**9]
    public, private = MemoryBlobs(), MemoryBlobs()
    log = TrialLog(seed, public=FailingBlobs(public, budget), private=FailingBlobs(private, budget))
    log.enrol()
    reader = log.reader()
    seen: list[Event] = []
    signed: dict[int, bytes] = {}
    for _ in range(dice.randint(1, 8)):
        for _ in range(dice.choice([1, 2, 7, 300])):
            log.add()
        erased = [index for index in range(len(log.rows)) if dice.random() < 0.02]
        budget[0] = data.draw(st.integers(0, 25))
        try:
            log.publish()
        except PowerCutError:
            pass
        finally:
            budget[0] = 10**9
        log.restarted()
        # Whoever looks now sees the list before or the list after, whole.
        if "log/checkpoint" in public.files and "feed/board/latest" in public.files:
            seen += log.follow(reader)
        if "signed-checkpoint" in private.files:
            text = Note.from_bytes(private.get("signed-checkpoint")).text
            checkpoint = Checkpoint.from_text(text)
            assert signed.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root
        for index in erased:
            log.rows[index] = log.rows[index].erased() if index in log.receipts else log.rows[index]
            log.receipts.pop(ListingId(index), None)
        log.publish(erased=erased)
        seen += log.follow(reader)
        assert reader.size == len(log.rows)
        assert reader.root == log.writer.checkpoint.root
    newcomer = log.reader()
    log.follow(newcomer)
    assert newcomer.root == reader.root


@pytest.mark.parametrize("writes", range(9))
def test_what_a_store_refused_is_published_at_the_next_tick(writes: int) -> None:
    budget = [10**9]
    log = TrialLog(0, public=FailingBlobs(MemoryBlobs(), budget))
    log.enrol()
    log.enrol("second")
    log.add()
    log.publish()
    log.add()
    budget[0] = writes
    with suppress(PowerCutError):
        log.publish()
    budget[0] = 10**9
    log.publish()
    for partner_id in log.partners:
        reader = log.reader(partner_id)
        log.follow(reader)
        assert reader.size == 2


def test_a_writer_refuses_to_sign_anything_else_than_it_signed(log: TrialLog) -> None:
    for _ in range(3):
        log.add()
    log.publish()
    removed = log.rows.pop()
    with pytest.raises(RefusesToSignError):
        log.publish()
    log.rows.append(removed)
    log.public.delete("log/tile/0/000.p/3")
    with pytest.raises(MissingBlobError):
        log.restarted()
    log.public.put("log/tile/0/000.p/3", bytes(96))
    with pytest.raises(MalformedTileError):
        log.restarted()


def test_a_writer_refuses_a_database_that_was_restored_to_another_past(log: TrialLog) -> None:
    for _ in range(3):
        log.add()
    log.publish()
    del log.rows[2:]
    log.add()
    log.add()
    with pytest.raises(RefusesToSignError):
        log.restarted()


def test_publishing_again_changes_nothing_but_what_would_expire(log: TrialLog) -> None:
    log.add()
    log.publish()
    assert isinstance(log.public, MemoryBlobs)
    before = dict(log.public.files)
    log.publish()
    assert log.public.files == before
    log.now += timedelta(minutes=10)
    log.publish()
    assert {path for path in before if log.public.files[path] != before[path]} == {
        "feed/board/latest"
    }
    log.follow(log.reader())


def test_an_empty_log_can_be_followed(log: TrialLog) -> None:
    assert log.publish() == 0
    reader = log.reader()
    assert log.follow(reader) == []
    assert reader.size == 0
    log.add()
    log.publish()
    assert len(log.follow(reader)) == 1


# -- how much is fetched


def test_a_platform_that_was_away_fetches_few_files(log: TrialLog) -> None:
    readers = {}
    for tick in range(600):
        log.add()
        log.publish()
        readers[tick + 1] = log.reader(state=None)
        if tick in {1, 100, 500, 590, 598}:
            readers[tick] = log.reader()
            log.follow(readers[tick])
    for tick in (1, 100, 500, 590, 598):
        fetched: list[Request] = []

        def fetch(request: Request, fetched: list[Request] = fetched) -> bytes:
            fetched.append(request)
            return log.public.get(request.path)

        reader = readers[tick]
        reader.begin()
        while (request := reader.next_request()) is not None:
            reader.receive(request, fetch(request), log.now)
        behind = 600 - tick
        assert reader.size == 600
        assert len(fetched) <= 2 + behind.bit_length() * 2


def test_full_blocks_are_listed_apart_and_followed() -> None:
    log = TrialLog(0)
    log.enrol()
    log.add()
    payload = log.rows[0].payload
    dice = random.Random(1)
    log.rows.extend(
        Entry(log.rows[0].kind, dice.randbytes(16) + payload[16:]) for _ in range(BLOCK + 500)
    )
    log.publish()
    latest = Latest.from_text(Note.from_bytes(log.public.get("feed/board/latest")).text)
    assert latest.index.stop == BLOCK
    assert len(log.public.get("feed/board/latest")) < 4000
    reader = log.reader()
    assert len(log.follow(reader)) == BLOCK + 501
    log.add()
    log.publish()
    assert len(log.follow(log.reader(state=reader.state()))) == 1


@given(st.integers(0, 1 << 20))
@example(BLOCK)
@example(BLOCK - 1)
def test_segments_make_up_the_log_without_gap_or_overlap(size: int) -> None:
    stop = size & -BLOCK
    for level, index in complete_subtrees(size):
        assert index << level == stop
        assert level < MAX_LEVEL
        stop += 1 << level
    assert stop == size


def test_a_hundred_partners_cost_the_database_one_read() -> None:
    log = TrialLog(0)
    for number in range(100):
        log.enrol(f"board-{number}")
    for _ in range(63):
        log.add()
    log.publish()
    read: list[int] = []
    entries = log.source.entries

    def counted(start: int, stop: int) -> Sequence[Entry]:
        read.append(stop - start)
        return entries(start, stop)

    log.source.entries = counted  # type: ignore[method-assign]
    log.add()
    log.publish()
    # The new entry for the tree and for the delta, and the 64 of the subtree that it completes.
    assert sum(read) <= 1 + 1 + 64
    log.source.entries = entries  # type: ignore[method-assign]
    log.follow(log.reader("board-99"))


# -- who gets what


def test_a_partner_gets_what_is_in_its_scope_when_it_comes_into_it() -> None:
    log = TrialLog(0)
    log.enrol()
    log.enrol("careful", Scope(levels=frozenset({Level.CONFIRMED, Level.CORROBORATED})))
    first, second = log.add(), log.add()
    log.publish()
    careful = log.reader("careful")
    assert log.follow(careful) == []
    assert careful.withheld[Withheld.SCOPE] == 2
    log.confirm(second)
    log.add(level=Level.CORROBORATED)
    log.publish()
    bank = levels_after(log.follow(careful))
    assert bank == {
        second: (State.LISTED, Level.CONFIRMED),
        ListingId(3): (State.LISTED, Level.CORROBORATED),
    }
    # Compaction and a new beginning change nothing.
    for _ in range(9):
        log.pad(3)
        log.publish()
    assert levels_after(log.follow(log.reader("careful"))) == bank
    log.withdraw(second)
    log.withdraw(first)
    log.publish()
    changes = log.follow(careful)
    assert [event.listing_id for event in changes if isinstance(event, ListingChanged)] == [
        second,
        first,
    ]


def test_what_is_erased_is_in_no_file_any_more_and_the_log_is_the_same(log: TrialLog) -> None:
    listing_id = log.add()
    other = log.add()
    for _ in range(5):
        log.add()
        log.publish()
    payload = log.rows[listing_id].payload
    opened_by = log.opening_keys["board"]
    root = log.writer.checkpoint.root
    log.withdraw(listing_id)
    log.rows[listing_id] = log.rows[listing_id].erased()
    log.publish(erased=[listing_id])
    log.restarted()
    log.publish(erased=[listing_id])
    reader = log.reader()
    added = [e.listing_id for e in log.follow(reader) if isinstance(e, ListingAdded)]
    assert listing_id not in added
    assert other in added
    assert reader.withheld[Withheld.ERASED] == 1
    assert root != reader.root, "the withdrawal is an entry of its own"
    assert isinstance(log.public, MemoryBlobs)
    covering = [
        path
        for path in log.public.files
        if path.startswith("feed/board/seg/") and path.split("/")[3].startswith("0-")
    ]
    latest = Latest.from_text(Note.from_bytes(log.public.get("feed/board/latest")).text)
    assert covering == [latest.segments[0].path("board")]
    assert payload not in b"".join(log.public.files.values())
    assert opened_by is log.opening_keys["board"]


def test_a_newcomer_fetches_a_snapshot_and_has_the_same_list() -> None:
    log = TrialLog(0)
    log.enrol()
    dice = random.Random(2)
    for number in range(3000):
        listing_id = log.add()
        for _ in range(number % 3):
            log.confirm(listing_id)
        if dice.random() < 0.6:
            log.withdraw(listing_id)
            log.rows[listing_id] = log.rows[listing_id].erased()
    while len(log.rows) < BLOCK + 64:
        log.pad(8)
    log.publish()
    veteran = log.reader()
    bank = levels_after(log.follow(veteran))
    active = {each: how for each, how in bank.items() if how[0] is State.LISTED}
    before = fetched_bytes(log)
    steps = 0
    while log.writer.improve_snapshots(list(log.partners.values()), log.now):
        steps += 1
    assert steps == 2, "the block is read in one step and sealed in another"
    newcomer = log.reader()
    events = log.follow(newcomer)
    assert levels_after(events) == active
    changed = [event.listing_id for event in events if isinstance(event, ListingChanged)]
    assert set(changed) <= active.keys(), "nothing is heard of listings that are gone"
    assert len(changed) == len(set(changed)), "of several changes only the last is told"
    assert newcomer.root == veteran.root
    assert fetched_bytes(log) < before / 2
    # It stays good while the log grows, is erased from, and is written by another process.
    victim = next(iter(active))
    log.withdraw(victim)
    log.rows[victim] = log.rows[victim].erased()
    log.restarted()
    log.publish(erased=[victim])
    again = log.reader()
    assert set(levels_after(log.follow(again))) == active.keys() - {victim}
    assert [e.listing_id for e in log.follow(newcomer) if isinstance(e, ListingChanged)] == [victim]


def fetched_bytes(log: TrialLog) -> int:
    """What a newcomer fetches in all."""
    total = 0
    reader = log.reader()
    reader.begin()
    while (request := reader.next_request()) is not None:
        body = log.fetch(request)
        total += len(body)
        reader.receive(request, body, log.now)
    return total


def test_old_files_go_once_nobody_can_ask_for_them(log: TrialLog) -> None:
    assert isinstance(log.public, MemoryBlobs)
    for _ in range(300):
        log.add()
        log.publish()
    log.now += timedelta(minutes=11)
    log.add()
    log.publish()
    partial = [path for path in log.public.files if path.startswith("log/tile/0/000.p/")]
    assert partial == []
    latest = Latest.from_text(Note.from_bytes(log.public.get("feed/board/latest")).text)
    named = {line.path("board") for line in (*latest.segments, *latest.deltas)}
    present = {path for path in log.public.files if path.startswith("feed/board/seg/")}
    assert named <= present
    assert len(present) <= len(named) + 4
    log.follow(log.reader())


def test_hybrid_keys_open_what_is_sealed_to_them(log: TrialLog) -> None:
    key, _ = OpeningKey.generate(hybrid=True)
    log.opening_keys["board"] = key
    log.partners["board"] = FeedPartner("board", key.public)
    log.add()
    log.publish()
    assert len(log.follow(log.reader())) == 1


def test_a_person_gets_a_proof_for_an_entry(log: TrialLog) -> None:
    for _ in range(5):
        log.add()
    log.publish()
    proof = EntryProof.from_bytes(log.writer.proof(3))
    assert proof.verify(log.rows[3].public()) == log.writer.checkpoint
    log.policy.verify(proof.checkpoint)
    with pytest.raises(StateError):
        log.writer.proof(5)


@pytest.mark.parametrize("wrong", ["", "Board", "a/b", "..", "-a", "a" * 65, "ü"])
def test_a_partner_id_fits_in_a_url(wrong: str) -> None:
    with pytest.raises(InputError):
        FeedPartner(wrong, bytes(34))


# -- where it is kept


@pytest.fixture(params=["memory", "directory", "object store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    match request.param:
        case "memory":
            return MemoryBlobs()
        case "directory":
            return DirectoryBlobs(tmp_path / "public")
        case _:
            return ObjectBlobs(MemoryStore())


def test_stores_keep_what_they_are_given(blobs: BlobStore) -> None:
    blobs.put("a/b", b"1")
    blobs.put("a/b", b"2")
    blobs.put_many((f"many/{number:03d}/x", b"%d" % number) for number in range(70))
    assert blobs.get("a/b") == b"2"
    assert blobs.get("many/069/x") == b"69"
    assert len(list(blobs.paths("many/"))) == 70
    assert list(blobs.paths("none/")) == []
    blobs.delete("a/b")
    blobs.delete("a/b")
    for missing in ("a/b", "many"):
        with pytest.raises(MissingBlobError):
            blobs.get(missing)
    for wrong in ("../x", "/x", "a//b", "a/./b"):
        with pytest.raises(InputError):
            blobs.get(wrong)


def test_a_log_is_kept_in_any_store(blobs: BlobStore) -> None:
    log = TrialLog(0, public=blobs)
    log.enrol()
    reader = log.reader()
    for _ in range(5):
        log.add()
        log.publish()
        log.restarted()
        log.follow(reader)
    assert reader.size == 5


@pytest.mark.long
def test_a_log_is_kept_in_an_s3_bucket() -> None:
    moto_server = pytest.importorskip("moto.server", reason="make test-long installs it")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        httpx.put(f"{endpoint}/bucket").raise_for_status()
        store = ObjectBlobs.from_url(
            "s3://bucket/unspread",
            endpoint=endpoint,
            access_key_id="training",
            secret_access_key="training",
            region="us-east-1",
            virtual_hosted_style_request=False,
            allow_http=True,
        )
        log = TrialLog(0, public=store)
        log.enrol()
        reader = log.reader()
        for _ in range(5):
            log.add()
            log.publish()
            log.restarted()
            log.follow(reader)
        assert reader.size == 5
        assert len(list(store.paths("feed/board/seg/"))) >= 3
    finally:
        server.stop()
