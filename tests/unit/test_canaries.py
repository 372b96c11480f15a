"""A leaked list points at those who leaked it, and at nobody else."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from unspread.feed.canaries import CanaryBook, CanaryEpoch, synthetic_pdq
from unspread.feed.reader import ListingAdded
from unspread.feed.records import EntryKind, SeedRecord
from unspread.feed.segments import Withheld
from unspread.feed.writer import FeedWriter
from unspread.model import Kind
from unspread.testing.feed import START, TrialLog

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
