"""Every record in the log has one form, and whatever else is refused."""

import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.crypto import item_key_digest
from unspread.errors import InputError
from unspread.feed.records import (
    AckRecord,
    AddPayloads,
    AddRecord,
    Authority,
    ChangeReason,
    ChangeRecord,
    Entry,
    EntryKind,
    MalformedRecordError,
    PolicyRecord,
    SeedRecord,
    Surface,
    Terms,
    add_entry,
    change_entry,
    padding_entries,
    padding_needed,
)
from unspread.model import Age, Fingerprint, Kind, Level, ListingId, Media, Part, State
from unspread.testing.feed import START, TrialLog

HOUR = START.replace(minute=0)

fingerprints = st.one_of(
    st.builds(
        Fingerprint,
        st.just(Kind.PDQ),
        st.binary(min_size=32, max_size=32),
        st.sampled_from(Part),
        st.integers(0, 100),
    ),
    st.builds(Fingerprint, st.just(Kind.SHA256), st.binary(min_size=32, max_size=32)),
    st.builds(Fingerprint, st.just(Kind.MD5), st.binary(min_size=16, max_size=16)),
)
adds = st.builds(
    AddRecord,
    st.sampled_from(Media),
    st.sampled_from(Age),
    st.sampled_from(Level),
    st.integers(0, 2**20).map(
        lambda hours: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    ),
    st.binary(min_size=16, max_size=16),
    st.lists(fingerprints, min_size=1, max_size=5).map(tuple),
    st.builds(
        Terms,
        st.frozensets(st.sampled_from(Surface), min_size=1),
        st.frozensets(st.sampled_from(["DE", "FR", "GB", "US"])),
    ),
)


@given(record=adds, salt=st.binary(min_size=16, max_size=16))
def test_a_listing_is_read_as_it_was_written(record: AddRecord, salt: bytes) -> None:
    assert AddRecord.from_bytes(record.to_bytes(salt)) == record


@settings(max_examples=300)
@given(
    record=adds,
    changes=st.lists(
        st.tuples(st.one_of(st.integers(16, 50), st.integers(0, 250)), st.integers(0, 255)),
        max_size=2,
    ),
    kept=st.one_of(st.none(), st.integers(0, 250)),
)
def test_the_quick_check_lets_pass_what_reading_in_full_does(
    record: AddRecord, changes: list[tuple[int, int]], kept: int | None
) -> None:
    assert_judged_alike(record, changes, kept)


@pytest.mark.parametrize(
    "change",
    [
        # Found by the test above: an hour past the year 9999.
        pytest.param((20, 5), id="no such year"),
        pytest.param((45, 101), id="quality past 100"),
        pytest.param((45, 100), id="quality of 100"),
        pytest.param((44, 0x10), id="another tag"),
        pytest.param((17, 2), id="no such media"),
    ],
)
def test_the_quick_check_looks_at_all_that_is_no_free_value(change: tuple[int, int]) -> None:
    record = AddRecord(
        Media.IMAGE, Age.MINOR, Level.UNVERIFIED, HOUR, bytes(16),
        (Fingerprint(Kind.PDQ, bytes(32), quality=60),),
    )  # fmt: skip
    assert_judged_alike(record, [change], None)


def assert_judged_alike(
    record: AddRecord, changes: list[tuple[int, int]], kept: int | None
) -> None:
    quick = AddPayloads()
    payload = bytearray(record.to_bytes(bytes(16)))
    quick.check_all([bytes(payload)])
    for at, value in changes:
        if at < len(payload):
            payload[at] = value
    del payload[len(payload) if kept is None else kept :]
    try:
        AddRecord.from_bytes(bytes(payload))
    except MalformedRecordError:
        with pytest.raises(MalformedRecordError):
            quick.check_all([bytes(payload)])
        # Among many that are good, too.
        with pytest.raises(MalformedRecordError):
            quick.check_all([*[record.to_bytes(bytes(16))] * 3, bytes(payload)])
    else:
        quick.check_all([bytes(payload), record.to_bytes(bytes(16))])


def test_however_many_shapes_a_length_has_each_is_checked() -> None:
    def payload(tags: int) -> bytearray:
        # Frames and windows are as long as each other: each choice is a shape of its own.
        parts = [Part.WINDOW if tags >> at & 1 else Part.FRAME for at in range(6)]
        pdqs = [Fingerprint(Kind.PDQ, bytes(32), part, 60) for part in parts]
        record = AddRecord(Media.VIDEO, Age.MINOR, Level.UNVERIFIED, HOUR, bytes(16), tuple(pdqs))
        return bytearray(record.to_bytes(bytes(16)))

    shapes = [bytes(payload(tags)) for tags in range(64)]
    AddPayloads().check_all(shapes * 3)
    for number in range(64):
        wrong = payload(number)
        wrong[45] = 101
        with pytest.raises(MalformedRecordError):
            AddPayloads().check_all([*shapes, bytes(wrong)])


@given(st.binary(max_size=300))
def test_no_bytes_break_a_reader_of_records(payload: bytes) -> None:
    for read in (
        AddRecord.from_bytes, ChangeRecord.from_bytes, AckRecord.from_bytes,
        SeedRecord.from_bytes, PolicyRecord.from_bytes,
    ):  # fmt: skip
        try:
            read(payload)
        except MalformedRecordError:
            continue


def test_listings_changes_and_padding_look_alike_to_the_public() -> None:
    log = TrialLog()
    log.withdraw(log.add())
    log.pad(1)
    log.rows.append(log.rows[0].erased())
    publics = [entry.public() for entry in log.rows]
    assert {len(public) for public in publics} == {33}
    assert {public[0] for public in publics} == {1}
    assert publics[0] == publics[3], "erasing changes nothing in public"
    assert (
        publics[0] != add_entry(AddRecord.from_bytes(log.rows[0].payload), os.urandom(16)).public()
    ), "another salt is another commitment"


def test_the_device_can_rebuild_its_commitment() -> None:
    log = TrialLog()
    listing_id = log.add()
    receipt = log.receipts[listing_id]
    shown = AddRecord.from_bytes(log.rows[listing_id].payload)
    rebuilt = replace(shown, item_key_digest=item_key_digest(receipt.item_key(0).public))
    assert add_entry(rebuilt, receipt.item_salt(0)).commitment() == log.rows[0].commitment()


@pytest.mark.parametrize(
    ("state", "authority", "reason"),
    [
        pytest.param(State.WITHDRAWN, Authority.STAFF, ChangeReason.WITHDRAWN, id="by staff"),
        pytest.param(State.WITHDRAWN, Authority.RULE, ChangeReason.EXPIRED, id="by a rule"),
        pytest.param(State.REMOVED, Authority.RULE, ChangeReason.ABUSE, id="removed by a rule"),
        pytest.param(State.LISTED, Authority.PERSON, ChangeReason.WITHDRAWN, id="no withdrawal"),
        pytest.param(State.EXPIRED, Authority.RULE, ChangeReason.WITHDRAWN, id="wrong reason"),
    ],
)
def test_nobody_but_the_person_withdraws(
    state: State, authority: Authority, reason: ChangeReason
) -> None:
    with pytest.raises(InputError):
        ChangeRecord(ListingId(1), state, Level.UNVERIFIED, authority, reason)


def test_a_change_is_read_as_it_was_written() -> None:
    for record in (
        ChangeRecord.withdrawal(ListingId(7), Level.CONFIRMED, bytes(32), bytes(64)),
        ChangeRecord(
            ListingId(2**40 - 1), State.REMOVED, Level.DISPUTED, Authority.STAFF,
            ChangeReason.LEGAL_ORDER,
        ),
    ):  # fmt: skip
        assert ChangeRecord.from_bytes(change_entry(record, bytes(16)).payload) == record


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"listed_at": START}, id="not a whole hour"),
        pytest.param({"listed_at": datetime(3890, 1, 1, tzinfo=UTC)}, id="too far ahead"),
        pytest.param({"fingerprints": ()}, id="no fingerprint"),
        pytest.param({"item_key_digest": b""}, id="no key"),
    ],
)
def test_a_listing_out_of_range_is_not_written(change: dict[str, object]) -> None:
    log = TrialLog()
    log.add()
    record = AddRecord.from_bytes(log.rows[0].payload)
    with pytest.raises(InputError):
        replace(record, **change).to_bytes(bytes(16))  # type: ignore[arg-type]


def test_public_records_are_read_as_they_were_written() -> None:
    ack = AckRecord("Böard", 17, START)
    assert AckRecord.from_bytes(ack.to_entry().payload) == ack
    policy = PolicyRecord("page", bytes(range(32)))
    assert PolicyRecord.from_bytes(policy.to_entry().payload) == policy
    for wrong in (AckRecord("", 1, START), AckRecord("x" * 65, 1, START)):
        with pytest.raises(InputError):
            wrong.to_entry()
    with pytest.raises(InputError):
        ack.to_entry().erased()


@given(real=st.integers(0, 100), batch=st.integers(1, 16))
def test_a_padded_log_grows_in_whole_batches(real: int, batch: int) -> None:
    total = real + padding_needed(real, batch)
    assert total % batch == 0
    assert 0 < total < real + batch + 1


def test_padding_differs_at_every_place() -> None:
    entries = padding_entries(300, random.Random(1).randbytes(16))
    assert len({entry.public() for entry in entries}) == 300
    with pytest.raises(InputError):
        padding_entries(1, b"short")


def test_no_record_shows_its_content_when_printed() -> None:
    log = TrialLog()
    listing_id = log.add()
    assert log.rows[0].payload.hex()[:16] not in repr(log.rows[0]) + repr(
        Entry(EntryKind.ADD, b"secret")
    )
    log.withdraw(listing_id)
    text = repr(ChangeRecord.from_bytes(log.rows[1].payload))
    assert "item_key" not in text
