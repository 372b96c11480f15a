"""A leaked list points at those who leaked it, and at nobody else."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from unspread.feed.canaries import CanaryBook, CanaryEpoch, synthetic_pdq
from unspread.feed.latest import Latest, SegmentLine
from unspread.feed.partner_feed import BLOCK
from unspread.feed.reader import ForkError, ListingAdded, ListingChanged, WithheldError
from unspread.feed.records import AckRecord, Entry, EntryKind, SeedRecord
from unspread.feed.segments import MalformedSegmentError, SegmentContext, Withheld, subtree
from unspread.feed.writer import FeedPartner, FeedWriter, Scope
from unspread.model import Kind, Level, ListingId
from unspread.testing.feed import START, TrialLog
from unspread.transparency.note import Note, NoteSigner, sign_note
from unspread.transparency.tiles import TileReader

PLATFORMS = [f"platform-{number}" for number in range(40)]
HOUR = START.replace(minute=0)


def lists_of(epoch: CanaryEpoch, members: list[str]) -> list[set[int]]:
    return [
        {number for number in range(epoch.count) if epoch.is_given(member, number)}
        for member in members
    ]


def all_that_any_has(lists: list[set[int]], _: random.Random) -> set[int]:
    return set.union(*lists)


def only_what_all_have(lists: list[set[int]], _: random.Random) -> set[int]:
    return set.intersection(*lists)


def each_from_one_at_random(lists: list[set[int]], dice: random.Random) -> set[int]:
    everything = set.union(*lists)
    return {number for number in everything if number in dice.choice(lists)}


@pytest.mark.parametrize("leakers", [1, 2])
@pytest.mark.parametrize(
    "mix", [all_that_any_has, only_what_all_have, each_from_one_at_random], ids=lambda f: f.__name__
)
def test_one_or_two_leakers_are_traced_and_no_innocent_is_accused(
    leakers: int, mix: Callable[[list[set[int]], random.Random], set[int]]
) -> None:
    for trial in range(2):
        dice = random.Random(f"{leakers} {trial}")
        epoch = CanaryEpoch(trial, dice.randbytes(32), count=400)
        guilty = dice.sample(PLATFORMS, leakers)
        leaked = mix(lists_of(epoch, guilty), dice)
        traced = {each.partner_id for each in epoch.trace(leaked, PLATFORMS) if each.is_traced}
        assert traced == set(guilty)


def test_a_list_that_nobody_leaked_accuses_nobody() -> None:
    epoch = CanaryEpoch(1, bytes(32), count=400)
    dice = random.Random(4)
    for share in (0.0, 0.3, 1.0):
        leaked = {number for number in range(400) if dice.random() < share}
        assert not any(each.is_traced for each in epoch.trace(leaked, PLATFORMS))


def test_canaries_are_found_in_a_leak_though_some_bits_were_changed() -> None:
    epoch = CanaryEpoch(1, bytes(32), count=20)
    value = int.from_bytes(synthetic_pdq(epoch.seed, 7, 0)) ^ 0b111 << 90
    unrelated = random.Random(1).randbytes(32)
    assert epoch.found_in([value.to_bytes(32), unrelated]) == {7}


def test_a_canary_looks_like_a_listing() -> None:
    epoch = CanaryEpoch(1, bytes(range(32)))
    entry = epoch.entry(3, HOUR, windows=2)
    log = TrialLog()
    log.add(pdqs=3)
    assert len(entry.payload) == len(log.rows[0].payload)
    assert int.from_bytes(synthetic_pdq(epoch.seed, 3, 1)).bit_count() == 128
    assert entry == epoch.entry(3, HOUR, windows=2)
    assert entry != epoch.entry(4, HOUR, windows=2)


def test_each_platform_is_given_its_own_canaries_and_told_of_the_others() -> None:
    log = TrialLog(0)
    for name in ("board", "rival"):
        log.enrol(name)
    epoch = CanaryEpoch(1, bytes(range(32)), count=40)
    log.rows.append(epoch.commitment().to_entry())
    numbers = {}
    for number in range(epoch.count):
        numbers[len(log.rows)] = (1, number)
        log.rows.append(epoch.entry(number, HOUR))
    log.writer = FeedWriter(
        origin=log.origin,
        log_key=log.log_key,
        public=log.public,
        private=log.private,
        source=log.source,
        canaries=CanaryBook({1: epoch}, numbers),
    )
    log.publish()
    for name in ("board", "rival"):
        reader = log.reader(name)
        pdqs = [
            fingerprint.value
            for event in log.follow(reader)
            if isinstance(event, ListingAdded)
            for fingerprint in event.listing.fingerprints
            if fingerprint.kind is Kind.PDQ
        ]
        own = {number for number in range(epoch.count) if epoch.is_given(name, number)}
        assert epoch.found_in(pdqs) == own
        assert reader.withheld[Withheld.SYNTHETIC] == epoch.count - len(own)


def test_what_is_revealed_is_what_was_committed_to() -> None:
    epoch = CanaryEpoch(7, bytes(range(32)), count=2)
    hour = int(datetime(2026, 11, 23, 5, tzinfo=UTC).timestamp()) // 3600
    for record in (epoch.commitment(), epoch.reveal([(5, hour, 0), (9, hour, 2)])):
        entry = record.to_entry()
        assert entry.kind is EntryKind.SEED
        assert SeedRecord.from_bytes(entry.payload) == record
    assert replace(epoch, epoch=8).commitment().value != epoch.commitment().value


class Planted:
    """A log with canaries of epochs, as its clearinghouse keeps them."""

    def __init__(self, *names: str) -> None:
        self.log = TrialLog(0)
        for name in names:
            self.log.enrol(name)
        self.epochs: dict[int, CanaryEpoch] = {}
        self.numbers: dict[int, tuple[int, int]] = {}
        self.restarted()

    def restarted(self) -> None:
        self.log.writer = FeedWriter(
            origin=self.log.origin,
            log_key=self.log.log_key,
            public=self.log.public,
            private=self.log.private,
            source=self.log.source,
            canaries=CanaryBook(self.epochs, self.numbers),
        )

    def begin(self, number: int, count: int = 12) -> CanaryEpoch:
        epoch = self.epochs[number] = CanaryEpoch(number, bytes([number] * 32), count)
        self.log.rows.append(epoch.commitment().to_entry())
        return epoch

    def plant(self, epoch: CanaryEpoch, count: int) -> None:
        first = sum(each == epoch.epoch for each, _ in self.numbers.values())
        for number in range(first, first + count):
            self.numbers[len(self.log.rows)] = (epoch.epoch, number)
            self.log.rows.append(epoch.entry(number, HOUR, windows=number % 3))

    def reveal(self, epoch: CanaryEpoch, *, but: int | None = None) -> None:
        hour = int(HOUR.timestamp()) // 3600
        rows = [
            (index, hour, number % 3)
            for index, (each, number) in self.numbers.items()
            if each == epoch.epoch and number != but
        ]
        self.log.rows.append(epoch.reveal(rows).to_entry())

    def withhold(self, count: int) -> None:
        """Listings of persons that nobody is given, as if they were canaries."""
        nobodys = self.epochs.setdefault(0, CanaryEpoch(0, bytes(32)))
        number = next(n for n in range(99) if not nobodys.is_given("board", n))
        for _ in range(count):
            listing_id = self.log.add()
            self.log.rows[listing_id] = Entry(EntryKind.CANARY, self.log.rows[listing_id].payload)
            self.numbers[listing_id] = (0, number)


def test_a_platform_can_check_every_canary_that_was_withheld_from_it() -> None:
    planted = Planted("board", "rival")
    readers = [planted.log.reader(name) for name in ("board", "rival")]
    first = planted.begin(1)
    planted.plant(first, 7)
    planted.log.publish()
    for reader in readers:
        planted.log.follow(reader)
    planted.plant(first, 5)
    second = planted.begin(2)
    planted.plant(second, 3)
    planted.reveal(first)
    planted.log.publish()
    for reader, name in zip(readers, ("board", "rival"), strict=True):
        # A saved place holds the account, too.
        again = planted.log.reader(name, state=reader.state())
        ended = {e.listing_id for e in planted.log.follow(again) if isinstance(e, ListingChanged)}
        given = {
            index
            for index, (epoch, number) in planted.numbers.items()
            if epoch == 1 and first.is_given(name, number)
        }
        assert ended == given, "what served to trace is not matched any longer"
        assert again.most_withheld == second.count


def test_no_more_is_withheld_than_was_said_before() -> None:
    planted = Planted("board")
    epoch = planted.begin(1, count=5)
    planted.withhold(5)
    planted.log.publish()
    reader = planted.log.reader()
    planted.log.follow(reader)
    assert (reader.withheld[Withheld.SYNTHETIC], reader.most_withheld) == (5, 5)
    place = reader.size, reader.root
    planted.withhold(1)
    planted.log.publish()
    with pytest.raises(WithheldError, match="more than 5"):
        planted.log.follow(reader)
    assert (reader.size, reader.root) == place, "the list stays as it was"
    assert epoch.count == 5


def test_nothing_is_withheld_as_a_canary_before_the_word_is_given() -> None:
    planted = Planted("board")
    planted.withhold(1)
    planted.log.publish()
    with pytest.raises(WithheldError, match="no epoch"):
        planted.log.follow(planted.log.reader())


def test_a_persons_listing_that_was_withheld_as_a_canary_shows_when_the_seed_does() -> None:
    planted = Planted("board")
    epoch = planted.begin(1, count=20)
    planted.plant(epoch, 6)
    planted.withhold(1)
    planted.log.publish()
    reader = planted.log.reader()
    planted.log.follow(reader)
    planted.reveal(epoch)
    planted.log.publish()
    with pytest.raises(WithheldError, match="were none"):
        planted.log.follow(reader)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        pytest.param("another seed", "not the one committed to", id="another seed"),
        pytest.param("left out", "were none", id="a canary left out"),
        pytest.param("twice", "begins twice", id="an epoch that begins twice"),
        pytest.param("third", "not over", id="a third epoch before the first is revealed"),
        pytest.param("unknown", "not under way", id="an epoch that never began"),
        pytest.param("elsewhere", "cannot have any", id="canaries from before the epoch"),
    ],
)
def test_lies_about_canaries_are_refused(lie: str, match: str) -> None:
    planted = Planted("board")
    planted.log.add()
    epoch = planted.begin(1)
    planted.plant(epoch, 6)
    if lie == "another seed":
        planted.reveal(replace(epoch, seed=bytes(32)))
    elif lie == "left out":
        kept = next(n for n in range(6) if not epoch.is_given("board", n))
        planted.reveal(epoch, but=kept)
    elif lie == "twice":
        planted.begin(1)
    elif lie == "third":
        planted.begin(2)
        planted.begin(3)
    elif lie == "unknown":
        planted.reveal(CanaryEpoch(9, bytes(32)))
    else:
        planted.log.rows.append(epoch.reveal([(0, 0, 0)]).to_entry())
    planted.log.publish()
    with pytest.raises(WithheldError, match=match):
        planted.log.follow(planted.log.reader())


def test_a_newcomers_snapshot_leaves_out_epochs_that_are_over_and_no_others() -> None:
    planted = Planted("board", "late")
    log = planted.log
    first = planted.begin(1, count=400)
    planted.plant(first, 400)
    second = planted.begin(2, count=400)
    planted.plant(second, 400)
    planted.reveal(first)
    for _ in range(4200):
        log.rows.append(AckRecord("Sample board", 0, HOUR).to_entry())
    while len(log.rows) < BLOCK + 64:
        log.pad(64)
    third = planted.begin(3, count=12)
    planted.reveal(second)
    log.publish()
    while log.writer.improve_snapshots(list(log.partners.values()), log.now):
        pass
    newcomer = log.reader("late")
    added = [e.listing_id for e in log.follow(newcomer) if isinstance(e, ListingAdded)]
    wanted = [
        index
        for index, (epoch, number) in planted.numbers.items()
        if epoch == 2 and second.is_given("late", number)
    ]
    assert added == wanted, "canaries of the first epoch are of no use to anybody"
    assert newcomer.most_withheld == third.count
    # Whoever was interrupted in the midst of a snapshot goes on as well.
    planted.plant(third, 5)
    planted.restarted()
    log.publish()
    log.follow(log.reader("late", state=newcomer.state()))
    interrupted = log.reader("late")
    interrupted.begin()
    while interrupted.size < BLOCK:
        request = interrupted.next_request()
        assert request is not None
        interrupted.receive(request, log.fetch(request), log.now)
    again = log.reader("late", state=interrupted.state())
    log.follow(again)
    assert again.size == len(log.rows)


def test_only_snapshots_leave_entries_out() -> None:
    log = TrialLog(0)
    log.enrol()
    for _ in range(8):
        log.add()
    log.publish()
    tree = TileReader(lambda path: log.public.get(f"log/{path}"), 8)
    latest = Latest.from_text(Note.from_bytes(log.public.get("feed/board/latest")).text)
    line = latest.segments[0]
    context = SegmentContext(log.origin, "board", 0, 8, 0)
    data = context.seal(subtree(3, tree.node(3, 0)), log.partners["board"].public_key)
    forged = SegmentLine(0, 8, 0, len(data), sha256(data).hexdigest(), line.root)
    log.public.put(forged.path("board"), data)
    note = sign_note(
        replace(latest, segments=(forged,), deltas=()).to_text(),
        [NoteSigner(log.origin, log.log_key)],
        log.now,
    )
    log.public.put("feed/board/latest", note.to_bytes())
    with pytest.raises(MalformedSegmentError, match="leaves out"):
        log.follow(log.reader())


def test_a_scope_that_changes_makes_the_list_begin_anew() -> None:
    log = TrialLog(0)
    log.enrol("board", Scope(levels=frozenset({Level.CONFIRMED})))
    listed = [log.add(level=level) for level in (Level.UNVERIFIED, Level.CONFIRMED) * 3]
    log.publish()
    reader = log.reader()
    first = {e.listing_id for e in log.follow(reader) if isinstance(e, ListingAdded)}
    assert first == set(listed[1::2])
    assert reader.scope == log.partners["board"].scope.to_text()
    state = reader.state()
    scope = Scope(levels=frozenset({Level.UNVERIFIED}))
    log.partners["board"] = FeedPartner("board", log.partners["board"].public_key, scope)
    log.add()
    log.publish()
    for following in (reader, log.reader(state=state)):
        again = {e.listing_id for e in log.follow(following) if isinstance(e, ListingAdded)}
        assert again == {*listed[::2], ListingId(6)}
        assert following.begins_anew
        assert following.has_begun_anew()
        assert not following.has_begun_anew()
        assert log.follow(following) == []


def test_a_list_that_begins_anew_still_is_the_one_known() -> None:
    log, fork = TrialLog(0), TrialLog(0)
    for each in (log, fork):
        each.enrol()
        each.random.seed(each is fork)
        for _ in range(5):
            each.add()
    log.publish()
    reader = log.reader()
    log.follow(reader)
    fork.opening_keys, key = log.opening_keys, log.partners["board"].public_key
    fork.partners["board"] = FeedPartner("board", key, Scope(countries=frozenset({"DE"})))
    fork.add()
    fork.publish()
    before = reader.state()
    with pytest.raises(ForkError):
        fork.follow(reader)
    assert reader.state() == before
