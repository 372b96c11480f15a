"""The bank gives exactly what comparing with every listing gives."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.model import (
    Age,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Part,
    State,
)
from unspread.platform_kit import digests
from unspread.platform_kit.bank import Bank, Probe, rows_of
from unspread.platform_kit.digests import DigestTable
from unspread.platform_kit.packing import pack, unpack
from unspread.platform_kit.settings import ListSettings

NAMES = {0: "one", 5: "two"}
LISTS = {"one": ListSettings(radius_bits=31), "two": ListSettings(radius_bits=8)}
VALUES = [bytes([seed]) * 32 for seed in range(3)]


def flipped(value: bytes, bits: int) -> bytes:
    return (int.from_bytes(value, "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


# Around both radii, where an off-by-one hides.
near = st.builds(flipped, st.sampled_from(VALUES), st.sampled_from([0, 7, 8, 9, 30, 31, 32]))
prints = st.lists(
    st.one_of(
        near.map(lambda value: Fingerprint(Kind.PDQ, value, quality=100)),
        st.sampled_from(VALUES).map(lambda value: Fingerprint(Kind.SHA256, value)),
        st.sampled_from(VALUES).map(lambda value: Fingerprint(Kind.MD5, value[:16])),
    ),
    max_size=4,
)


@st.composite
def listings(draw) -> tuple[int, Listing]:
    return draw(st.sampled_from(sorted(NAMES))), Listing(
        ListingId(draw(st.integers(0, 3))),
        draw(st.sampled_from(Media)),
        Age.UNKNOWN,
        tuple(draw(prints)),
        draw(st.sampled_from(Level)),
        draw(st.sampled_from([State.LISTED, State.LISTED, State.WITHDRAWN])),
        datetime(2026, 11, 23, tzinfo=UTC),
        bytes(16),
    )


def matches_one_by_one(current, probes):
    found = {}
    for (number, listing_id), listing in current.items():
        for probe in probes:
            for each in listing.fingerprints if listing.is_active else ():
                if each.kind is not probe.kind:
                    continue
                one, other = (int.from_bytes(value, "big") for value in (each.value, probe.value))
                distance = (one ^ other).bit_count()
                most = LISTS[NAMES[number]].radius_bits if each.kind is Kind.PDQ else 0
                if distance <= most:
                    key = (number, listing_id)
                    found[key] = min(distance, found.get(key, 256))
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.lists(listings(), max_size=6),
    st.lists(listings(), max_size=12),
    st.lists(near, min_size=1, max_size=3),
)
def test_the_bank_returns_exactly_what_comparing_one_by_one_returns(before, changes, wanted):
    start = {(number, each.listing_id): each for number, each in before}
    bank = Bank(NAMES, [rows_of([(number, each)]) for (number, _), each in start.items()])
    current = dict(start)
    for number, listing in changes:
        key = (number, listing.listing_id)
        bank.take([(number, listing, key in current)])
        current[key] = listing
    probes = [Probe(Kind.PDQ, value) for value in wanted]
    probes += [Probe(Kind.SHA256, VALUES[0]), Probe(Kind.MD5, VALUES[1][:16])]

    found = bank.matches(probes, LISTS)

    assert {
        (match.list_number, match.listing_id): match.distance_bits for match in found
    } == matches_one_by_one(current, probes)
    assert [match.distance_bits for match in found] == sorted(m.distance_bits for m in found)
    for match in found:
        listing = current[match.list_number, match.listing_id]
        assert (match.level, match.media) == (listing.level, listing.media)


# Around what one fingerprint can be near both of: twice the radius.
apart = st.builds(
    flipped,
    st.sampled_from(VALUES[:1]),
    st.sampled_from([0, 31, 32, 40, 61, 62, 63, 64, 80, 81, 93, 94, 128]),
)
parts_listed = st.lists(
    st.builds(
        lambda value, part: Fingerprint(Kind.PDQ, value, part, 100),
        apart,
        st.sampled_from([Part.WINDOW, Part.WINDOW, Part.WINDOW, Part.WHOLE]),
    ),
    min_size=1,
    max_size=5,
)
parts_looked_up = st.lists(
    st.builds(
        lambda value, part, turn: Probe(Kind.PDQ, value, part=part, turn=turn),
        apart,
        st.sampled_from([Part.WINDOW, Part.WINDOW, Part.WINDOW, Part.WHOLE]),
        st.sampled_from([0, 0, 0, 5, None]),
    ),
    min_size=1,
    max_size=6,
)


def differing(one: bytes, other: bytes) -> int:
    return sum(a != b for a, b in zip(bits_of(one), bits_of(other), strict=True))


def bits_of(value: bytes) -> str:
    return f"{int.from_bytes(value, 'big'):0256b}"


@settings(max_examples=300, deadline=None)
@given(parts_listed, parts_looked_up, st.sampled_from([4, 31, 31, 40]))
def test_parts_match_only_if_two_of_them_do(fingerprints, probes, radius_bits):
    listing = Listing(
        ListingId(3), Media.IMAGE, Age.UNKNOWN, tuple(fingerprints), Level.CONFIRMED, State.LISTED,
        datetime(2026, 11, 23, tzinfo=UTC), bytes(16),
    )  # fmt: skip
    bank = Bank(NAMES, [rows_of([(0, listing)])])
    pairs = [
        (probe, each)
        for probe in probes
        for each in fingerprints
        if differing(probe.value, each.value) <= radius_bits
    ]
    by_whole = any(Part.WINDOW not in {probe.part, each.part} for probe, each in pairs)

    by_one, by_two = (
        bank.matches(probes, {"one": ListSettings(window_matches=count, radius_bits=radius_bits)})
        != ()
        for count in (1, 2)
    )

    assert by_one == bool(pairs)
    if by_whole or not pairs:
        assert by_two == by_whole
        return
    nearest, _ = min(pairs, key=lambda pair: differing(pair[0].value, pair[1].value))
    assert by_two == any(
        probe.turn == nearest.turn is not None
        and differing(probe.value, nearest.value) > max(62, 2 * radius_bits)
        for probe, _ in pairs
    )
    # What it stands for: two listed fingerprints, each found by another one of what is looked up.
    if by_two:
        assert any(
            one[0] is not other[0] and one[1].value != other[1].value
            for one in pairs
            for other in pairs
        )


def test_a_disabled_list_matches_nothing_and_loses_nothing():
    number, listing = (
        0,
        Listing(
            ListingId(7),
            Media.IMAGE,
            Age.UNKNOWN,
            (Fingerprint(Kind.PDQ, VALUES[1], quality=100),),
            Level.CONFIRMED,
            State.LISTED,
            datetime(2026, 11, 23, tzinfo=UTC),
            bytes(16),
        ),
    )
    bank = Bank(NAMES, [rows_of([(number, listing)])])
    probe = [Probe(Kind.PDQ, VALUES[1])]

    assert bank.matches(probe, {"one": ListSettings(enabled=False)}) == ()
    assert len(bank.matches(probe, {"one": ListSettings()})) == 1


digest_steps = st.lists(
    st.tuples(st.booleans(), st.sampled_from(VALUES), st.integers(0, 4), st.integers(0, 1)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(digest_steps, st.sets(st.integers(0, 40)), st.integers(1, 9))
def test_a_digest_table_is_a_dictionary_of_sets(steps, saves, merge_at):
    """Through merges, and files written while it changes on; all ids of an owner go at once."""
    table, model = DigestTable(owner_mask=~1), {}
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_MERGE_AT", merge_at)
        patch.setattr(digests, "_BLOCK_ROWS", 3)
        for count, (adds, value, owner, variant) in enumerate(steps):
            row_id = 2 * owner + variant
            if count in saves:
                frozen = table.frozen()
                table.remove([0, 2, 4])
                frozen.save(Path(directory) / f"{count}")
                table = DigestTable.open(Path(directory) / f"{count}", owner_mask=~1)
            if adds and row_id not in model.get(value, set()):
                table.add([(value, row_id)])
                model.setdefault(value, set()).add(row_id)
            elif not adds:
                table.remove([2 * owner])
                for ids in model.values():
                    ids -= {2 * owner, 2 * owner + 1}
        for value in VALUES:
            assert table.find(value) == tuple(sorted(model.get(value, ())))


@given(prints)
def test_packed_fingerprints_come_back_as_they_were(fingerprints):
    assert unpack(pack(fingerprints)) == tuple(fingerprints)


def test_a_listing_that_changes_list_by_list_is_kept_apart():
    fingerprint = (Fingerprint(Kind.SHA256, VALUES[1]),)
    listing = Listing(
        ListingId(1), Media.IMAGE, Age.UNKNOWN, fingerprint, Level.CONFIRMED, State.LISTED,
        datetime(2026, 11, 23, tzinfo=UTC), bytes(16),
    )  # fmt: skip
    bank = Bank(NAMES, [rows_of([(0, listing), (5, listing)])])
    bank.take([(0, replace(listing, state=State.WITHDRAWN), True)])

    found = bank.matches([Probe(Kind.SHA256, VALUES[1])], LISTS)

    assert [match.list_name for match in found] == ["two"]
