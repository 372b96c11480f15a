"""What the running clearinghouse puts into the log and each platform's feed, followed for real."""

import dataclasses
import hashlib
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from unspread.clearinghouse import backup, checking, own_entries, partners, publisher, store
from unspread.clearinghouse.commands import clearinghouse as command
from unspread.clearinghouse.service import Subscribers
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.store import Transaction
from unspread.crypto import OpeningKey
from unspread.errors import InputError
from unspread.feed.latest import Latest
from unspread.feed.partner_feed import BLOCK
from unspread.feed.reader import Event, FeedReader, ListingAdded, ListingChanged, Request
from unspread.feed.reader import follow as follow_feed
from unspread.feed.records import AddRecord, EntryKind, PolicyRecord, Surface, Terms, add_entry
from unspread.feed.sealing import Scope
from unspread.feed.segments import MalformedSegmentError, SegmentContext, Withheld
from unspread.model import Age, Fingerprint, Kind, Level, Media, MediaFingerprint
from unspread.transparency.note import MissingSignatureError, Note
from unspread.transparency.policy import LogPolicy, trial_policy

from .conftest import Platform, Running, admitted, on_sqlite, pdq, picture, receipt, running, until

DAY = store.SECONDS_PER_DAY


def where(settings: Settings) -> tuple[str, ...]:
    """How a command finds this clearinghouse."""
    return ("--data", str(settings.data), "--database", settings.database_url)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def now(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)


class Follower:
    """A platform that follows over HTTP, with what it has in its bank."""

    def __init__(self, at: Running, platform: Platform, clock: Clock | None = None) -> None:
        self._at = at
        self._clock = clock or Clock()
        self.partner_id = platform.partner_id
        self.listed: dict[int, AddRecord] = {}
        service = at.service
        self.reader = FeedReader(
            policy=trial_policy(
                service.log_origin,
                service.log_key.public,
                post_quantum_key=service.post_quantum_log_key.public,
            ),
            partner_id=platform.partner_id,
            key=platform.opening_key,
        )
        self.files: set[str] = set()

    def follow(self) -> list[Event]:
        """Follow once; the bank is what a platform would match afterwards."""
        events: list[Event] = []
        first_size = self.reader.size
        for some in follow_feed(self.reader, self._fetch, self._clock.now):
            events += some
        if self.reader.has_begun_anew():
            self.listed.clear()
        assert first_size <= self.reader.size
        for event in events:
            if isinstance(event, ListingAdded):
                self.listed[event.listing_id] = AddRecord.from_bytes(event.payload)
            elif isinstance(event, ListingChanged) and event.state != "listed":
                self.listed.pop(event.listing_id, None)
        return events

    def _fetch(self, request: Request) -> bytes:
        self.files.add(request.path)
        headers = {"range": request.http_range} if request.http_range else {}
        answer = self._at.get(f"/{request.path}", headers=headers)
        assert answer.status_code == (206 if headers else 200), request
        return answer.content

    def pdqs(self) -> list[str]:
        """What a leak of the bank shows: the first fingerprint of each listing, in hex."""
        return [each.fingerprints[0].value.hex() for each in self.listed.values()]


def planted(settings: Settings, count: int = 300) -> Settings:
    return dataclasses.replace(settings, canaries_per_epoch=count, canary_epoch_days=30.0)


def listed_canaries(at: Running) -> list[int]:
    """How many canaries of each epoch are in the log."""
    rows = at.service.readers.ask_now(
        lambda c: c.rows(
            "SELECT COUNT(a.position) FROM canary_epoch e LEFT JOIN canary a ON a.epoch = e.epoch"
            " GROUP BY e.epoch ORDER BY e.epoch"
        )
    )
    return [count for (count,) in rows]


def until_listed(at: Running, *counts: int) -> None:
    """Wait for so many canaries of each epoch to be public."""
    until(lambda: listed_canaries(at) == list(counts), 60)
    at.until_published()


def until_revealed(at: Running) -> None:
    question = "SELECT 1 FROM canary_epoch WHERE revealed_at > 0"
    until(lambda: at.service.readers.ask_now(lambda c: c.rows(question)))
    at.until_published()


# -- canaries


@pytest.mark.parametrize("colluders", [1, 2])
def test_a_leaked_list_is_traced_to_whoever_leaked_it(
    settings: Settings, tmp_path: Path, colluders: int
) -> None:
    clock = Clock()
    # 400 trace one leaker; of two they trace both in nine epochs of ten, 900 in all (0044).
    count = {1: 400, 2: 900}[colluders]
    with running(planted(settings, count), clock) as at:
        platforms = [admitted(at, f"Board {number}") for number in range(6)]
        for seed in range(5):
            at.submit(receipt(seed), [picture(seed)])
        until_listed(at, 0)
        clock.ahead = 16 * DAY
        until_listed(at, count)
        followers = [Follower(at, each, clock) for each in platforms]
        for each in followers:
            each.follow()
            assert each.reader.withheld[Withheld.SYNTHETIC] <= each.reader.most_withheld == count
        guilty = random.Random(colluders).sample(followers, colluders)
        # They merge their lists, and take out what not all of them have half of the time.
        dice = random.Random(7)
        everything = {value for each in guilty for value in each.pdqs()}
        shared = set.intersection(*(set(each.pdqs()) for each in guilty))
        leaked = tmp_path / "leak.csv"
        leaked.write_text(
            "".join(
                f"pdq,{value},100\n"
                for value in sorted(everything)
                if value in shared or dice.random() < 0.5
            )
        )
        said = CliRunner().invoke(
            command, ["trace", str(leaked), *where(settings)], catch_exceptions=False
        )
        assert said.exit_code == 0, said.output
        for each in followers:
            is_named = f"({each.partner_id})" in said.output
            assert is_named is (each in guilty), said.output


def test_a_list_without_canaries_accuses_nobody(settings: Settings, tmp_path: Path) -> None:
    with running(planted(settings)) as at:
        admitted(at)
        leaked = tmp_path / "list.txt"
        leaked.write_text("\n".join(pdq(seed).hex() for seed in range(100)))
        said = CliRunner().invoke(command, ["trace", str(leaked), *where(settings)])
        assert "no canaries in this list" in said.output


def test_canaries_come_one_by_one_and_their_seed_is_revealed_after_the_next_set(
    settings: Settings,
) -> None:
    clock = Clock()
    with running(planted(settings, 40), clock) as at:
        follower = Follower(at, admitted(at), clock)
        at.submit(receipt(), [picture(1)])
        until_listed(at, 0)
        clock.ahead = 7.5 * DAY
        until(lambda: listed_canaries(at) != [0])
        at.until_published()
        assert 5 < listed_canaries(at)[0] < 35, "half of the time, about half of them"
        follower.follow()
        clock.ahead = 16 * DAY
        until_listed(at, 40)
        follower.follow()
        given = len(follower.listed) - 1
        assert given + follower.reader.withheld[Withheld.SYNTHETIC] == 40
        clock.ahead = 31 * DAY
        until_listed(at, 40, 0)
        clock.ahead = 50 * DAY
        until_listed(at, 40, 40)
        until_revealed(at)
        # The reader has compared every canary of the first epoch, and drops its own.
        follower.follow()
        assert follower.reader.most_withheld == 40
        seconds = follower.reader.withheld[Withheld.SYNTHETIC] - (40 - given)
        assert len(follower.listed) == 1 + 40 - seconds
        assert checked(settings) == []


def checked(settings: Settings) -> list[str]:
    return [each.to_line() for each in checking.check(settings) if not each.is_good]


def test_feedback_on_a_canary_is_answered_like_any_other(settings: Settings) -> None:
    clock = Clock()
    with running(planted(settings, 3), clock) as at:
        platform = admitted(at)
        until_listed(at, 0)
        clock.ahead = 16 * DAY
        until_listed(at, 3)
        ((position,),) = at.service.readers.ask_now(
            lambda c: c.rows("SELECT MIN(position) FROM canary")
        )
        clock.ahead = 0
        told = (
            b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "found",'
            b' "at": "2026-11-23T06:00:00Z"}]}' % position
        )
        assert platform.signed_post("/v1/feedback", told).status_code == 200


# -- scope


def add(tx: Transaction, seed: int, terms: Terms, level: Level = Level.UNVERIFIED) -> int:
    """A listing for some surfaces and countries alone."""
    record = AddRecord(
        Media.IMAGE,
        Age.UNKNOWN,
        level,
        datetime(2026, 11, 23, 6, tzinfo=UTC),
        bytes(16),
        (Fingerprint(Kind.PDQ, pdq(seed), quality=100),),
        terms,
    )
    return tx.append(add_entry(record, seed.to_bytes(16, "big")))


def test_a_partner_gets_its_surfaces_countries_and_levels_from_the_first_day(
    settings: Settings,
) -> None:
    with running(settings) as at:
        write = at.service.writer.submit
        scope = Scope.from_words(["public"], ["DE"], ["unverified"])
        invitation = write(
            lambda tx: partners.invite(
                tx, "Narrow", role="platform", scopes=frozenset({"feed"}), by="A", feed_scope=scope
            )
        ).result()
        narrow = Platform(at, "Narrow")
        narrow.enroll(invitation)
        for by in ("A", "B"):
            write(lambda tx, by=by: partners.approve(tx, narrow.partner_id, by=by)).result()
        wide = admitted(at, "Wide")
        everywhere = frozenset(Surface)
        ids = [
            write(lambda tx, seed=seed, terms=terms, level=level: add(tx, seed, terms, level))
            .result()
            for seed, (terms, level) in enumerate(
                [
                    (Terms(), Level.UNVERIFIED),
                    (Terms(frozenset({Surface.PUBLIC}), frozenset({"DE"})), Level.UNVERIFIED),
                    (Terms(frozenset({Surface.MESSAGES})), Level.UNVERIFIED),
                    (Terms(everywhere, frozenset({"FR"})), Level.UNVERIFIED),
                    (Terms(), Level.CONFIRMED),
                ]
            )
        ]  # fmt: skip
        at.until_published()
        followers = [Follower(at, each) for each in (narrow, wide)]
        for each in followers:
            each.follow()
        assert set(followers[0].listed) == set(ids[:2])
        assert set(followers[1].listed) == set(ids)
        assert followers[0].reader.withheld[Withheld.SCOPE] == 3
        assert followers[0].reader.scope == scope.to_text()


def test_two_members_of_staff_change_a_scope_and_the_list_begins_anew(settings: Settings) -> None:
    with running(settings) as at:
        platform = admitted(at)
        follower = Follower(at, platform)
        for seed in range(3):
            at.submit(receipt(seed), [picture(seed)])
        at.until_published()
        follower.follow()
        assert len(follower.listed) == 3
        run = lambda *words: CliRunner().invoke(  # noqa: E731
            command,
            ["partner", "scope", platform.partner_id, *words, *where(settings)],
        )
        alone = run("--level", "confirmed", "--by", "Ada")
        assert isinstance(alone.exception, InputError)
        twice = run("--level", "confirmed", "--by", "Ada", "--by", " Ada")
        assert isinstance(twice.exception, InputError)
        both = run("--level", "confirmed", "--by", "Ada", "--by", "Bob")
        assert "levels=confirmed" in both.output
        until(lambda: (follower.follow(), follower.reader.scope.endswith("levels=confirmed"))[1])
        assert follower.listed == {}
        trail = at.service.readers.ask_now(
            lambda c: c.rows("SELECT actor FROM audit_event WHERE action = 'partner.scope'")
        )
        assert trail == [("Ada (command line)",), ("Bob (command line)",)]
        listed = run("--by", "Ada", "--by", "Bob")
        assert listed.exit_code == 0
        until(lambda: (follower.follow(), len(follower.listed))[1] == 3)
        assert checked(settings) == []


# -- newcomers


def test_a_newcomer_of_a_long_log_gets_a_snapshot_and_few_files(settings: Settings) -> None:
    with running(settings) as at:
        veteran = Follower(at, admitted(at, "Veteran"))
        write = at.service.writer.submit
        for seed in range(40):
            at.submit(receipt(seed), [picture(seed)])
        for seed in range(30):
            at.withdraw(receipt(seed), 0)

        def acknowledgements(tx: Transaction) -> None:
            for _ in range(6000):
                tx.append(own_entries.AckRecord("x", 0, Clock().now()).to_entry(), listing_id=-1)

        write(acknowledgements).result()
        for _ in range(9):
            write(lambda tx: own_entries.pad(tx, 8192)).result()
        size = at.until_published()
        assert size > 8 * BLOCK
        veteran.follow()
        latest = lambda who: Latest.from_text(  # noqa: E731
            Note.from_bytes(at.get(f"/feed/{who.partner_id}/latest").content).text
        )
        platform = admitted(at, "Newcomer")
        until(lambda: at.get(f"/feed/{platform.partner_id}/latest").is_success)
        until(lambda: latest(platform).snapshot.stop == size & -BLOCK, 60)
        snapshot = latest(platform).snapshot
        line, *_ = snapshot.read(at.get(f"/{snapshot.path(platform.partner_id)}").content)
        whole, *_ = latest(platform).index.read(
            at.get(f"/{latest(platform).index.path(platform.partner_id)}").content
        )
        assert line.length_bytes < whole.length_bytes / 2
        newcomer = Follower(at, platform)
        newcomer.follow()
        veteran.follow()
        assert newcomer.listed == veteran.listed
        assert len(newcomer.listed) == 10
        assert newcomer.reader.root == veteran.reader.root
        assert len(newcomer.files) <= 2 * size.bit_length() + 2
        assert checked(settings) == []


def test_files_of_full_blocks_become_one_beside_the_publishing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "VOLUMES_EVERY_SECONDS", 0.1)
    with running(settings) as at:
        platform = admitted(at)
        for seed in range(3):
            at.submit(receipt(seed), [picture(seed)])
        for _ in range(8):
            at.service.writer.submit(lambda tx: own_entries.pad(tx, 8192)).result()
        at.until_published()

        def newcomer_of_few_files() -> Follower | None:
            newcomer = Follower(at, platform)
            newcomer.follow()
            has_volume = any("/vol/" in path for path in newcomer.files)
            return newcomer if has_volume else None

        until(newcomer_of_few_files, 30)
        newcomer = newcomer_of_few_files()
        assert newcomer is not None
        assert len(newcomer.listed) == 3
        assert not any(f"-{BLOCK}." in path for path in newcomer.files)
        at.withdraw(receipt(1), 0)
        until(lambda: (newcomer.follow(), len(newcomer.listed))[1] == 2)
        pending = lambda c: c.rows("SELECT 1 FROM pending_erasure")  # noqa: E731
        until(lambda: not at.service.readers.ask_now(pending))
        later = Follower(at, platform)
        later.follow()
        assert later.listed == newcomer.listed
        assert checked(settings) == []


# -- signatures and policies


def test_the_log_signs_with_two_keys_and_a_platform_wants_both(settings: Settings) -> None:
    with running(settings) as at:
        platform = admitted(at)
        at.submit(receipt(), [picture(1)])
        at.until_published()
        note = Note.from_bytes(at.get("/log/checkpoint").content)
        keys = [each.key for each in at.service.log_signers]
        assert set(note.signed_by(keys)) == set(keys)
        policy = Follower(at, platform).reader._policy
        policy.verify(note)
        lacking = dataclasses.replace(note, signatures=note.signatures[:1])
        LogPolicy(keys[0]).verify(lacking)
        with pytest.raises(MissingSignatureError):
            policy.verify(lacking)


def policies_of(at: Running) -> dict[str, list[dict]]:
    """Every document whose digest stands in the log, by label, in the log's order."""
    found: dict[str, list[dict]] = {}
    rows = at.service.readers.ask_now(
        lambda c: c.rows(
            "SELECT payload FROM log_entry WHERE kind = ? ORDER BY position",
            int(EntryKind.POLICY),
        )
    )
    for (payload,) in rows:
        record = PolicyRecord.from_bytes(bytes(payload))
        answer = at.get(f"/policy/{record.digest.hex()}")
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).digest() == record.digest
        found.setdefault(record.label, []).append(json.loads(answer.content))
    return found


def test_what_the_clearinghouse_goes_by_stands_in_the_log_whenever_it_changes(
    settings: Settings,
) -> None:
    with running(settings) as at:
        at.until_published()
        before = policies_of(at)
        assert {label: len(each) for label, each in before.items()} == {
            "keys": 1, "partners": 1, "release": 1, "rules": 1,
        }  # fmt: skip
        assert before["partners"] == [{"partners": []}]
        assert before["keys"][0]["log"] == [e.key.to_text() for e in at.service.log_signers]
        admitted(at, "Sample board")
        until(lambda: len(policies_of(at)["partners"]) == 2)
        (known,) = policies_of(at)["partners"][-1]["partners"]
        assert (known["name"], known["may"]) == ("Sample board", ["feed", "feedback"])
    # The same again says nothing; another rule does.
    with running(settings) as at:
        at.submit(receipt(), [picture(1)])
        at.until_published()
        assert [len(each) for each in policies_of(at).values()] == [1, 2, 1, 1]
    with running(dataclasses.replace(settings, padding_batch=4)) as at:
        until(lambda: len(policies_of(at)["rules"]) == 2)


# -- where it is kept


def test_log_and_feed_live_in_an_object_store(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    stored = dataclasses.replace(settings, store_url=f"file://{tmp_path / 'bucket'}")
    with running(stored) as at:
        platform = admitted(at)
        follower = Follower(at, platform)
        at.submit(receipt(1), [picture(1)])
        at.submit(receipt(2), [picture(2)])
        at.until_published()
        follower.follow()
        assert len(follower.listed) == 2
        at.withdraw(receipt(1), 0)
        at.until_published()
        follower.follow()
        assert len(follower.listed) == 1
    assert not any(settings.blobs.rglob("*"))
    assert (tmp_path / "bucket" / "log" / "checkpoint").is_file()
    with running(stored) as at:
        at.submit(receipt(3), [picture(3)])
        at.until_published()
        again = Follower(at, platform)
        again.follow()
        assert len(again.listed) == 2
        assert checked(stored) == []


@pytest.mark.parametrize("kept", ["directory", "object store"])
def test_files_are_served_in_parts(settings: Settings, tmp_path: Path, kept: str) -> None:
    if kept == "object store":
        (tmp_path / "bucket").mkdir()
        settings = dataclasses.replace(settings, store_url=f"file://{tmp_path / 'bucket'}")
    with running(settings) as at:
        at.until_published()
        at.service.blobs.put("feed/board/seg/0-1.0", bytes(range(256)) * 4096)
        path = "/feed/board/seg/0-1.0"
        whole = at.get(path)
        assert (whole.status_code, len(whole.content)) == (200, 1 << 20)
        asked = lambda text: at.request("GET", path, headers={"range": text})  # noqa: E731
        rest = asked("bytes=300000-")
        assert (rest.status_code, rest.content) == (206, whole.content[300_000:])
        assert rest.headers["content-range"] == "bytes 300000-1048575/1048576"
        few = asked("bytes=10-19")
        assert (few.status_code, few.content) == (206, whole.content[10:20])
        assert asked("bytes=1048576-").status_code == 416
        # What is not a single range from a place on is answered in full, as RFC 9110 allows.
        for other in ("bytes=-5", "bytes=0-1,5-6", "pages=1-", "bytes=9-2000000"):
            assert asked(other).status_code in {200, 206}
        assert at.get("/feed/board/seg/nothing").status_code == 404
        assert at.get("/feed/../keys/log.key").status_code == 404


# -- when it grows, and what goes


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every size of the public log, as somebody sees who looks all the time."""
    seen: list[int] = []
    publish = Subscribers.publish

    def see(self: Subscribers, size: int) -> None:
        if not seen or seen[-1] != size:
            seen.append(size)
        publish(self, size)

    monkeypatch.setattr(Subscribers, "publish", see)
    return seen


def test_with_padding_nobody_sees_from_outside_when_somebody_came(
    settings: Settings, sizes: list[int]
) -> None:
    padded = dataclasses.replace(settings, padding_batch=8, tick_seconds=0.5)
    with running(padded) as at:
        platform = admitted(at)
        until(lambda: len(sizes) >= 4)
        at.submit(receipt(1), [picture(1)])
        at.submit(receipt(2), [picture(2)])
        at.withdraw(receipt(2), 0)
        came = len(sizes)
        until(lambda: len(sizes) >= came + 4)
        assert {after - before for before, after in pairwise(sizes[1:])} == {8}
        assert all(size % 8 == 0 for size in sizes)
        follower = Follower(at, platform)
        follower.follow()
        assert len(follower.listed) == 1


def test_what_comes_after_the_padding_waits_for_the_next_tick(
    settings: Settings, sizes: list[int]
) -> None:
    with running(dataclasses.replace(settings, padding_batch=8)) as at:
        append_due, write = at.service.publisher._append_due, at.service.writer.submit

        def and_one_more(known: Sequence[partners.Partner]) -> None:
            append_due(known)
            entry = own_entries.AckRecord("late", 0, Clock().now()).to_entry()
            write(lambda tx: tx.append(entry, listing_id=-1)).result()

        at.service.publisher._append_due = and_one_more
        until(lambda: at.committed() % 8)
        came = len(sizes)
        until(lambda: len(sizes) >= came + 4)
        assert all(size % 8 == 0 for size in sizes)
        at.service.publisher._append_due = append_due


def test_a_withdrawal_is_told_first_and_soon_gone_from_every_file(settings: Settings) -> None:
    with running(dataclasses.replace(settings, tick_seconds=0.25)) as at:
        platform = admitted(at)
        follower = Follower(at, platform)
        for seed in range(6):
            at.submit(receipt(seed), [picture(seed)])
        at.until_published()
        follower.follow()
        before = {path for path in at.service.blobs.paths("feed/") if "/seg/" in path}
        for left in (5, 4, 3):
            at.withdraw(receipt(left), 0)
            until(lambda left=left: (follower.follow(), len(follower.listed))[1] == left)
            until(
                lambda: (
                    not at.service.readers.ask_now(
                        lambda c: c.rows("SELECT 1 FROM pending_erasure")
                    )
                )
            )
        after = {path for path in at.service.blobs.paths("feed/") if "/seg/" in path}
        holding = {
            path
            for path in after & before
            for left in (5, 4, 3)
            if opens_to(at, platform, path, picture(left))
        }
        assert holding == set()


def opens_to(at: Running, platform: Platform, path: str, media: MediaFingerprint) -> bool:
    """Whether a segment of a platform's holds a picture's fingerprint."""
    start, stop = path.rpartition("/")[2].partition(".")[0].split("-")
    data = at.service.blobs.get(path)
    key: OpeningKey = platform.opening_key
    for generation in range(9):
        context = SegmentContext(
            at.service.log_origin, platform.partner_id, int(start), int(stop), generation
        )
        try:
            plain = context.open(data, key)
        except MalformedSegmentError:
            continue
        return media.fingerprints[0].value in plain
    raise AssertionError("the segment does not open")


@on_sqlite
@pytest.mark.parametrize("made_at", ["before the epoch", "in its midst"])
def test_a_restored_backup_knows_which_entries_were_canaries(
    settings: Settings, tmp_path: Path, made_at: str
) -> None:
    clock = Clock()
    first = settings if made_at == "before the epoch" else planted(settings, 30)
    with running(first, clock) as at:
        platform = admitted(at)
        if made_at == "in its midst":
            until_listed(at, 0)
        at.until_published()
        made = backup.back_up(settings, tmp_path / "backups", clock.now())
    with running(planted(settings, 30), clock) as at:
        until_listed(at, 0)
        at.submit(receipt(), [picture(1)])
        clock.ahead = 16 * DAY
        until_listed(at, 30)
        follower = Follower(at, platform, clock)
        follower.follow()
        assert follower.reader.withheld[Withheld.SYNTHETIC]
    again = planted(dataclasses.replace(settings, data=tmp_path / "again"), 30)
    backup.restore(made, again, published=settings.blobs, now=int(clock()))
    with running(again, clock) as at:
        assert listed_canaries(at) == [30]
        clock.ahead = 31 * DAY
        until_listed(at, 30, 0)
        clock.ahead = 50 * DAY
        until_listed(at, 30, 30)
        until_revealed(at)
        # Whoever saw them withheld before finds that they were what was said.
        following = Follower(at, platform, clock)
        following.reader = FeedReader(
            policy=follower.reader._policy,
            partner_id=platform.partner_id,
            key=platform.opening_key,
            state=follower.reader.state(),
        )
        following.follow()
        assert following.reader.most_withheld == 30
