"""Whatever a log that has gone bad shows, a reader refuses it and keeps the list it has."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.crypto import (
    OpeningKey,
    PostQuantumSigningKey,
    SealError,
    SignatureError,
    SigningKey,
    sha256,
)
from unspread.errors import TrustError
from unspread.feed.latest import Latest, MalformedLatestError, SegmentLine
from unspread.feed.reader import (
    FeedReader,
    ForkError,
    Request,
    RollbackError,
    StaleFeedError,
    TooLongError,
    WrongContentError,
    WrongFeedError,
    bounded,
)
from unspread.feed.records import (
    AuthorityError,
    ChangeRecord,
    Entry,
    EntryKind,
    MalformedRecordError,
)
from unspread.feed.segments import (
    MalformedSegmentError,
    SegmentContext,
    opened,
    padding_run,
    subtree,
)
from unspread.model import Level, ListingId
from unspread.testing.feed import TrialLog
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import (
    MalformedNoteError,
    MissingSignatureError,
    Note,
    NoteSigner,
    Signature,
    sign_note,
)
from unspread.transparency.policy import Group, LogPolicy, WitnessQuorumError, WrongLogError

LATEST = "feed/board/latest"


@dataclass
class Evil:
    """A log that holds its own key and lies with it, and a reader that has followed it so far."""

    log: TrialLog
    reader: FeedReader

    def latest(self, partner: str = "board") -> Latest:
        return Latest.from_text(Note.from_bytes(self.log.public.get(f"feed/{partner}/latest")).text)

    def show(self, latest: Latest) -> None:
        note = sign_note(latest.to_text(), [self.signer()], self.log.now)
        self.log.public.put(LATEST, note.to_bytes())

    def signer(self) -> NoteSigner:
        return NoteSigner(self.log.origin, self.log.log_key)

    def last_records(self) -> list[bytes]:
        line = self.latest().segments[-1]
        return [opened(entry) for entry in self.log.rows[line.start : line.stop]]

    def reseal(self, plaintext: bytes) -> None:
        """Replace the last segment's content, with everything signed and sealed as it should."""
        latest = self.latest()
        line = latest.segments[-1]
        context = SegmentContext(self.log.origin, "board", line.start, line.stop, line.generation)
        self.replace_last(context.seal(plaintext, self.log.partners["board"].public_key))

    def replace_last(self, data: bytes) -> None:
        latest = self.latest()
        line = replace(latest.segments[-1], length_bytes=len(data), digest=sha256(data).hex())
        self.log.public.put(line.path("board"), data)
        self.show(replace(latest, segments=(*latest.segments[:-1], line), deltas=()))

    def checkpoint(self, change: Callable[[Checkpoint], Checkpoint]) -> None:
        """Sign another checkpoint."""
        latest = self.latest()
        wrong = change(Checkpoint.from_text(latest.checkpoint.text))
        note = sign_note(wrong.to_text(), [self.signer()], self.log.now)
        self.show(replace(latest, checkpoint=note))


def fork_of(log: TrialLog) -> TrialLog:
    """A log with the same keys and entries, that goes its own way from here on."""
    other = TrialLog(0)
    other.rows.extend(log.rows)
    other.partners, other.opening_keys = log.partners, log.opening_keys
    other.receipts = dict(log.receipts)
    other.now, other.random = log.now, random.Random(99)
    return other


@pytest.fixture
def evil() -> Evil:
    log = TrialLog(0)
    log.enrol()
    log.enrol("rival")
    for _ in range(4):
        log.add()
    log.publish()
    reader = log.reader()
    log.follow(reader)
    log.add()
    log.publish()
    return Evil(log, reader)


def fork_at_the_same_size(evil: Evil) -> None:
    evil.log.follow(evil.reader)
    other = fork_of(evil.log)
    other.rows[-1] = evil.log.rows[0]
    other.publish()
    evil.log.public = other.public


def fork_that_is_longer(evil: Evil) -> None:
    evil.log.follow(evil.reader)
    other = fork_of(evil.log)
    other.rows[1] = evil.log.rows[0]
    other.add()
    other.publish()
    evil.log.public = other.public


def fork_with_a_wrong_chain(evil: Evil) -> None:
    evil.checkpoint(lambda right: replace(right, root=bytes(32)))


def rollback(evil: Evil) -> None:
    other = fork_of(evil.log)
    del other.rows[3:]
    other.publish()
    evil.log.public = other.public


def truncated_segment(evil: Evil) -> None:
    path = evil.latest().segments[-1].path("board")
    evil.log.public.put(path, evil.log.public.get(path)[:-1])


def truncated_segment_signed(evil: Evil) -> None:
    path = evil.latest().segments[-1].path("board")
    evil.replace_last(evil.log.public.get(path)[:-1])


def truncated_list(evil: Evil) -> None:
    latest = evil.latest()
    evil.show(replace(latest, segments=latest.segments[:-1], deltas=()))


def gap_in_the_list(evil: Evil) -> None:
    latest = evil.latest()
    evil.show(replace(latest, segments=latest.segments[1:], deltas=()))


def one_entry_fewer(evil: Evil) -> None:
    evil.reseal(b"".join(evil.last_records()[:-1]))


def one_entry_more(evil: Evil) -> None:
    evil.reseal(b"".join(evil.last_records()) + opened(evil.log.rows[0]))


def entry_exchanged(evil: Evil) -> None:
    evil.reseal(opened(evil.log.rows[0]))


def wrong_salt(evil: Evil) -> None:
    entry = evil.log.rows[-1]
    evil.reseal(opened(Entry(entry.kind, bytes(16) + entry.payload[16:])))


def reordered(evil: Evil) -> None:
    for _ in range(3):
        evil.log.add()
    evil.log.publish()
    records = evil.last_records()
    assert len(records) == 8
    evil.reseal(b"".join([*records[:4], records[5], records[4], *records[6:]]))


def replayed_segment(evil: Evil) -> None:
    first = evil.latest().segments[0]
    evil.replace_last(evil.log.public.get(first.path("board")))


def another_partners_segment(evil: Evil) -> None:
    rival = evil.latest("rival").segments[-1]
    evil.replace_last(evil.log.public.get(rival.path("rival")))


def another_partners_list(evil: Evil) -> None:
    evil.log.public.put(LATEST, evil.log.public.get("feed/rival/latest"))


def another_logs_checkpoint(evil: Evil) -> None:
    evil.checkpoint(lambda right: replace(right, origin="log.example/other"))


def unsigned_list(evil: Evil) -> None:
    note = Note.from_bytes(evil.log.public.get(LATEST))
    stranger = NoteSigner("log.example/stranger", SigningKey(bytes(32)))
    note = replace(note, signatures=(stranger.sign(note.text, evil.log.now),))
    evil.log.public.put(LATEST, note.to_bytes())


def changed_list(evil: Evil) -> None:
    data = evil.log.public.get(LATEST)
    evil.log.public.put(LATEST, data.replace(b"expires 1", b"expires 2", 1))


def unsigned_checkpoint(evil: Evil) -> None:
    latest = evil.latest()
    stranger = NoteSigner("log.example/stranger", SigningKey(bytes(32)))
    note = sign_note(latest.checkpoint.text, [stranger], evil.log.now)
    evil.show(replace(latest, checkpoint=note))


def stale_head(evil: Evil) -> None:
    evil.log.now += timedelta(hours=1)


def endless_answer(evil: Evil) -> None:
    evil.log.public.put(LATEST, b"\x00" * 1_000_000)


def segment_longer_than_said(evil: Evil) -> None:
    path = evil.latest().segments[-1].path("board")
    evil.log.public.put(path, evil.log.public.get(path) + b"\x00")


def segment_said_to_be_huge(evil: Evil) -> None:
    latest = evil.latest()
    line = replace(latest.segments[-1], length_bytes=10_000_000_000)
    evil.show(replace(latest, segments=(*latest.segments[:-1], line), deltas=()))


def segment_of_a_million_entries(evil: Evil) -> None:
    latest = evil.latest()
    line = replace(latest.segments[0], start=0, stop=1 << 20)
    evil.show(replace(latest, segments=(line,), deltas=()))


def subtree_out_of_place(evil: Evil) -> None:
    latest = evil.latest()
    line = replace(latest.segments[-1], start=5, stop=7)
    evil.show(replace(latest, segments=(*latest.segments[:-1], line), deltas=()))


def record_longer_than_the_segment(evil: Evil) -> None:
    evil.reseal((EntryKind.ADD << 24 | 0xFFFFFF).to_bytes(4, "big") + bytes(100))


def unknown_record(evil: Evil) -> None:
    evil.reseal((77 << 24).to_bytes(4, "big"))


def padding_bomb(evil: Evil) -> None:
    run = [Entry(EntryKind.PADDING, bytes(18))] * 65535
    evil.reseal(padding_run(run) * 1000)


def subtree_bomb(evil: Evil) -> None:
    evil.reseal(subtree(60, bytes(32)))


def late_bomb(evil: Evil) -> None:
    evil.reseal((19 << 24 | 9).to_bytes(4, "big") + bytes(8) + b"\xff")


def empty_segment(evil: Evil) -> None:
    evil.reseal(b"")


def listing_of_a_version_unknown(evil: Evil) -> None:
    entry = evil.log.rows[-1]
    evil.log.rows.append(Entry(EntryKind.ADD, entry.payload[:16] + b"\x09" + entry.payload[17:]))
    evil.log.publish()


def listing_with_a_tail(evil: Evil) -> None:
    evil.log.rows.append(Entry(EntryKind.ADD, evil.log.rows[-1].payload + b"\x00"))
    evil.log.publish()


def withdrawal_by_a_stranger(evil: Evil) -> None:
    own = evil.log.receipts[ListingId(1)]
    evil.log.receipts[ListingId(1)] = evil.log.receipts[ListingId(2)]
    evil.log.withdraw(ListingId(1))
    evil.log.receipts[ListingId(1)] = own
    evil.log.publish()


def withdrawal_made_for_another_log(evil: Evil) -> None:
    evil.log.origin = "log.example/other"
    evil.log.withdraw(ListingId(1))
    evil.log.origin = "log.example/trial"
    evil.log.publish()


def withdrawal_by_the_clearinghouse(evil: Evil) -> None:
    right = ChangeRecord.withdrawal(ListingId(1), Level.UNVERIFIED, bytes(32), bytes(64))
    payload = bytearray(right.to_bytes(os.urandom(16)))
    payload[27] = 3
    evil.log.rows.append(Entry(EntryKind.CHANGE, bytes(payload[:29])))
    evil.log.publish()


def change_of_a_listing_to_come(evil: Evil) -> None:
    evil.log.confirm(ListingId(4000))
    evil.log.publish()


def not_a_note(evil: Evil) -> None:
    evil.log.public.put(LATEST, b"\xff\xfe\n")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (fork_at_the_same_size, ForkError),
        (fork_that_is_longer, ForkError),
        (fork_with_a_wrong_chain, ForkError),
        (rollback, RollbackError),
        (truncated_segment, WrongContentError),
        (truncated_segment_signed, SealError),
        (truncated_list, MalformedLatestError),
        (gap_in_the_list, MalformedLatestError),
        (one_entry_fewer, MalformedSegmentError),
        (one_entry_more, MalformedSegmentError),
        (entry_exchanged, ForkError),
        (wrong_salt, ForkError),
        (reordered, ForkError),
        (replayed_segment, MalformedSegmentError),
        (another_partners_segment, SealError),
        (another_partners_list, WrongFeedError),
        (another_logs_checkpoint, WrongLogError),
        (unsigned_list, MissingSignatureError),
        (changed_list, SignatureError),
        (unsigned_checkpoint, MissingSignatureError),
        (stale_head, StaleFeedError),
        (endless_answer, TooLongError),
        (segment_longer_than_said, TooLongError),
        (segment_said_to_be_huge, MalformedLatestError),
        (segment_of_a_million_entries, MalformedLatestError),
        (subtree_out_of_place, MalformedLatestError),
        (record_longer_than_the_segment, MalformedSegmentError),
        (unknown_record, MalformedSegmentError),
        (padding_bomb, MalformedSegmentError),
        (subtree_bomb, MalformedSegmentError),
        (late_bomb, MalformedSegmentError),
        (empty_segment, MalformedSegmentError),
        (listing_of_a_version_unknown, MalformedRecordError),
        (listing_with_a_tail, MalformedRecordError),
        (withdrawal_by_a_stranger, AuthorityError),
        (withdrawal_made_for_another_log, AuthorityError),
        (withdrawal_by_the_clearinghouse, MalformedRecordError),
        (change_of_a_listing_to_come, MalformedSegmentError),
        (not_a_note, MalformedNoteError),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_reader_names_what_is_wrong_and_keeps_its_list(
    evil: Evil, wrong: Callable[[Evil], None], error: type[TrustError]
) -> None:
    wrong(evil)
    before = evil.reader.size, evil.reader.root
    # The platform may have been restarted in between; nothing depends on memory alone.
    reader = evil.log.reader(state=evil.reader.state())
    for each in (evil.reader, reader):
        with pytest.raises(error) as caught:
            evil.log.follow(each)
        assert type(caught.value) is error
        assert (each.size, each.root) == before
        assert each.next_request() is None


def test_a_fork_past_what_was_read_is_seen_when_the_place_is_reached(evil: Evil) -> None:
    newcomer = evil.log.reader()
    newcomer.begin()
    request = newcomer.next_request()
    assert request is not None
    newcomer.receive(request, evil.log.fetch(request), evil.log.now)
    newcomer.give_up()
    other = fork_of(evil.log)
    other.rows[2] = other.rows[0]
    other.add()
    other.publish()
    newcomer = evil.log.reader(state=newcomer.state())
    with pytest.raises(ForkError):
        other.follow(newcomer)
    assert newcomer.size == 0


def test_segments_that_do_not_add_up_are_not_even_fetched(evil: Evil) -> None:
    latest = evil.latest()
    first = replace(latest.segments[0], root="00" * 32)
    evil.show(replace(latest, segments=(first, *latest.segments[1:]), deltas=()))
    newcomer = evil.log.reader()
    newcomer.begin()
    request = newcomer.next_request()
    assert request is not None
    with pytest.raises(ForkError):
        newcomer.receive(request, evil.log.fetch(request), evil.log.now)


@pytest.fixture
def witnesses() -> list[NoteSigner]:
    return [
        NoteSigner("one.example/w", SigningKey(b"\x01" * 32), cosigns=True),
        NoteSigner("two.example/w", SigningKey(b"\x02" * 32), cosigns=True),
        NoteSigner("three.example/w", PostQuantumSigningKey(b"\x03" * 32)),
    ]


@pytest.mark.parametrize(
    ("signing", "broken", "error"),
    [
        pytest.param([0, 1], None, None, id="two classical of three"),
        pytest.param([0, 2], None, None, id="one of them post-quantum"),
        pytest.param([0], None, WitnessQuorumError, id="one too few"),
        pytest.param([], None, WitnessQuorumError, id="none"),
        pytest.param([0, 0], None, WitnessQuorumError, id="the same twice"),
        pytest.param([0, 1, 2], 1, SignatureError, id="one does not hold"),
        pytest.param([0, 1, 2], 2, SignatureError, id="the post-quantum one does not hold"),
    ],
)
def test_a_quorum_of_witnesses_is_needed(
    evil: Evil,
    witnesses: list[NoteSigner],
    signing: list[int],
    broken: int | None,
    error: type[TrustError] | None,
) -> None:
    quorum = Group(2, tuple(each.key for each in witnesses))
    evil.log.policy = LogPolicy(evil.signer().key, quorum)
    latest = evil.latest()
    note = latest.checkpoint
    for number in signing:
        signature = witnesses[number].sign(note.text, evil.log.now)
        if number == broken:
            flipped = bytes([signature.value[-1] ^ 1])
            signature = Signature(signature.name, signature.key_id, signature.value[:-1] + flipped)
        note = replace(note, signatures=(*note.signatures, signature))
    evil.show(replace(latest, checkpoint=note))
    reader = evil.log.reader()
    if error is None:
        evil.log.follow(reader)
        assert reader.size == len(evil.log.rows)
    else:
        with pytest.raises(error):
            evil.log.follow(reader)
        assert reader.size == 0


def test_ten_gigabytes_of_nothing_are_not_read() -> None:
    given_out = 0

    def endless() -> Iterator[bytes]:
        nonlocal given_out
        for _ in range(10_000):
            given_out += 1_000_000
            yield bytes(1_000_000)

    with pytest.raises(TooLongError):
        bounded(endless(), 2_500_000)
    assert given_out == 3_000_000


@settings(max_examples=150)
@given(data=st.data())
def test_no_change_to_any_file_gets_through_or_breaks_the_reader(data: st.DataObject) -> None:
    log = TrialLog(0)
    log.enrol()
    for _ in range(5):
        log.withdraw(log.add())
    log.publish()
    honest = log.follow(log.reader())
    target = data.draw(st.sampled_from([0, 1, 2]), label="which file")
    files = 0

    def fetch(request: Request) -> bytes:
        nonlocal files
        body = bytearray(log.public.get(request.path))
        if files == target:
            match data.draw(st.sampled_from(["flip", "cut", "insert", "swap"])):
                case "flip":
                    at = data.draw(st.integers(0, len(body) - 1))
                    body[at] ^= data.draw(st.integers(1, 255))
                case "cut":
                    del body[data.draw(st.integers(0, len(body) - 1)) :]
                case "insert":
                    at = data.draw(st.integers(0, len(body)))
                    body[at:at] = data.draw(st.binary(min_size=1, max_size=9))
                case _:
                    half = len(body) // 2
                    body = body[half:] + body[:half]
        files += 1
        return bytes(body)

    reader = log.reader()
    seen = []
    reader.begin()
    try:
        while (request := reader.next_request()) is not None:
            seen += reader.receive(request, fetch(request), log.now)
    except TrustError:
        assert seen == honest[: len(seen)]
    else:
        assert seen == honest


def test_the_wrong_key_opens_nothing(evil: Evil) -> None:
    evil.log.opening_keys["board"] = OpeningKey(bytes(range(32)))
    reader = evil.log.reader()
    with pytest.raises(SealError):
        evil.log.follow(reader)


def test_segment_lines_are_read_in_one_spelling_only() -> None:
    line = SegmentLine(0, 4, 0, 100, "ab" * 32, "cd" * 32)
    assert SegmentLine.from_line(line.to_line()[:-1]) == line
    for wrong in ("segment 00 4 0 100", "segment 0 4 0 100", "Segment 0 4 0 100"):
        with pytest.raises(MalformedLatestError):
            SegmentLine.from_line(f"{wrong} {'ab' * 32} {'CD' * 32}")
