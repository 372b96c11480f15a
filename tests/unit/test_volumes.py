"""Few files however long the list, and nothing of what was erased in any of them."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from unspread.crypto import SealError
from unspread.errors import TrustError
from unspread.feed.blobs import (
    BlobStore,
    DirectoryBlobs,
    MemoryBlobs,
    MissingBlobError,
    ObjectBlobs,
)
from unspread.feed.latest import FileList, Latest, MalformedLatestError, Place, SegmentLine
from unspread.feed.partner_feed import BLOCK
from unspread.feed.reader import ListingAdded, WrongContentError
from unspread.feed.segments import MAX_LEVEL, MalformedSegmentError, SegmentContext
from unspread.feed.volumes import ChangedSegmentError, Volume, due
from unspread.model import ListingId
from unspread.testing.feed import TrialLog
from unspread.transparency.note import Note, NoteSigner, sign_note

# -- what is brought together when


class Files:
    """A feed's segments as numbers: how long they are, which file each is in."""

    def __init__(self) -> None:
        self.lines: list[SegmentLine] = []
        self.length_bytes: dict[str, int] = {}
        self.copied = 0

    def issue(self, block: int, generation: int) -> SegmentLine:
        digest = f"{block:032x}{generation:032x}"
        return SegmentLine(block * BLOCK, (block + 1) * BLOCK, generation, 100, digest, "0" * 64)

    def grow(self) -> None:
        self.lines.append(self.issue(len(self.lines), 0))

    def erase(self, block: int) -> None:
        self.lines[block] = self.issue(block, self.lines[block].generation + 1)

    def settle(self) -> None:
        while together := due(self.lines, self.length_bytes.__getitem__):
            assert list(together) == sorted(together, key=lambda line: line.start)
            volume = Volume("board", together)
            self.copied += len(together)
            self.length_bytes[volume.name] = 90 * len(together)
            for at, line in enumerate(together):
                place = Place(volume.name, 90 * at, bytes(10))
                self.lines[line.start // BLOCK] = replace(line, place=place)

    def live(self) -> Counter[str]:
        return Counter(line.path("board") for line in self.lines)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), blocks=st.integers(1, 400), rate=st.sampled_from([0, 0.3, 3]))
def test_files_grow_like_the_logarithm_whatever_is_erased(
    seed: int, blocks: int, rate: float
) -> None:
    dice, files, erased = random.Random(seed), Files(), 0
    for _ in range(blocks):
        files.grow()
        for _ in range(int(dice.random() < rate % 1) + int(rate)):
            files.erase(dice.randrange(len(files.lines)))
            erased += 1
        files.settle()
    powers = (blocks.bit_length() - 1) // 2 + 1
    assert len(files.live()) <= 3 * powers
    for path, count in files.live().items():
        if "/vol/" in path:
            assert files.length_bytes[path.rpartition("/")[2]] <= 2 * 90 * count
    assert files.copied <= 3 * powers * (blocks + erased)


# -- as it is published


def block_of(log: TrialLog) -> list[ListingId]:
    """A few listings, and padding up to the next full block."""
    listed = [log.add() for _ in range(3)]
    log.pad(-len(log.rows) % BLOCK)
    return listed


@pytest.fixture(scope="module")
def made() -> TrialLog:
    """Six full blocks and a little, in one volume and what came since."""
    log = TrialLog(0)
    log.enrol()
    for _ in range(5):
        block_of(log)
        log.publish()
    log.bring_together()
    block_of(log)
    log.add()
    log.publish()
    return log


def stored(blobs: BlobStore) -> MemoryBlobs:
    copied = MemoryBlobs()
    copied.put_many((path, blobs.get(path)) for path in blobs.paths(""))
    return copied


@pytest.fixture
def log(made: TrialLog) -> TrialLog:
    """A copy of it: making it takes a second."""
    log = TrialLog(0)
    log.enrol()
    log.rows.extend(made.rows)
    log.receipts.update(made.receipts)
    log.public, log.private = stored(made.public), stored(made.private)
    log.now = made.now
    log.random.seed(1)
    log.restarted()
    log.publish()
    return log


def latest_of(log: TrialLog) -> Latest:
    return Latest.from_text(Note.from_bytes(log.public.get("feed/board/latest")).text)


def index_of(log: TrialLog) -> list[SegmentLine]:
    index = latest_of(log).index
    return index.read(log.public.get(index.path("board")))


def test_a_volume_holds_what_was_in_many_files(log: TrialLog) -> None:
    lines = index_of(log)
    assert [line.place is not None for line in lines] == [True] * 5 + [False]
    assert len({line.path("board") for line in lines}) == 2
    newcomer = log.reader()
    added = [event for event in log.follow(newcomer) if isinstance(event, ListingAdded)]
    assert len(added) == 19
    assert newcomer.root == log.writer.checkpoint.root
    # The files that it was made of go once nobody can ask for them.
    log.now += replace(latest_of(log)).expires_at - log.now
    log.add()
    log.publish()
    assert len([path for path in log.public.paths("feed/board/seg/") if f"-{BLOCK}." in path]) == 0
    log.follow(log.reader())


def test_one_answer_serves_what_stands_in_a_row(log: TrialLog) -> None:
    reader = log.reader()
    reader.begin()
    asked = []
    while (request := reader.next_request()) is not None:
        asked.append(request)
        reader.receive(request, log.fetch(request), log.now)
    parts = [request for request in asked if request.offset_bytes is not None]
    assert len(parts) == 5
    for request, after in pairwise(parts):
        assert request.offset_bytes is not None
        assert after.offset_bytes == request.offset_bytes + request.max_bytes
        assert request.more_bytes == after.max_bytes + after.more_bytes
    assert parts[-1].more_bytes == 0
    assert parts[0].http_range == f"bytes=0-{(parts[1].offset_bytes or 0) - 1}"


def openings(log: TrialLog) -> bytes:
    """All that the platform's key opens, of all files and with every head in any of them."""
    key, found = log.opening_keys["board"], b""
    files = {path: log.public.get(path) for path in log.public.paths("feed/board/")}
    lines = [
        SegmentLine.from_line(line)
        for path, data in files.items()
        if "/index/" in path
        for line in data.decode().splitlines()
    ]
    for path, data in files.items():
        if "/seg/" in path:
            start, stop = map(int, path.rpartition("/")[2].partition(".")[0].split("-"))
            lines += [SegmentLine(start, stop, each, len(data), "", "") for each in range(5)]
    for line in lines:
        context = SegmentContext(log.origin, "board", line.start, line.stop, line.generation)
        if line.place is not None:
            body = files.get(line.path("board"), b"")[line.place.offset_bytes :][: line.body_bytes]
            candidates = [line.place.head + body]
        else:
            name = f"/seg/{line.start}-{line.stop}."
            candidates = [data for path, data in files.items() if name in path]
        for data in candidates:
            try:
                found += context.open(data, key)
            except (SealError, MalformedSegmentError):
                continue
    return found


def erase(log: TrialLog, listing_id: ListingId) -> None:
    log.withdraw(listing_id)
    log.rows[listing_id] = log.rows[listing_id].erased()
    log.publish(erased=[listing_id])


def test_volumes_are_copied_within_an_object_store(log: TrialLog) -> None:
    store = ObjectBlobs(MemoryStore())
    store.put_many((path, log.public.get(path)) for path in log.public.paths(""))
    log.public = store
    log.restarted()
    for _ in range(3):
        block_of(log)
        log.publish()
    log.bring_together()
    assert len({line.path("board") for line in index_of(log)}) == 2
    assert len(log.follow(log.reader())) == 28


@pytest.mark.parametrize("is_restarted", [False, True])
def test_nothing_opens_what_was_erased_though_its_volume_stays(
    log: TrialLog, *, is_restarted: bool
) -> None:
    listing_id = ListingId(2 * BLOCK)
    payload, before = log.rows[listing_id].payload, index_of(log)
    assert payload in openings(log)
    veteran = log.reader()
    log.follow(veteran)
    if is_restarted:
        log.restarted()
    erase(log, listing_id)
    assert payload not in openings(log)
    head = before[2].place
    assert head is not None
    assert not any(line.place and line.place.head == head.head for line in index_of(log)), (
        "nobody can open the segment in the volume any more"
    )
    assert before[1] in index_of(log), "its neighbours were not touched"
    for reader in (log.reader(), veteran):
        log.follow(reader)
        assert reader.root == log.writer.checkpoint.root
    # What was issued again finds its way into volumes too.
    for block in (0, 1, 3, 4):
        erase(log, ListingId(block * BLOCK))
    log.bring_together()
    assert payload not in openings(log)
    assert len({line.path("board") for line in index_of(log)}) <= 6
    added = [each.listing_id for each in log.follow(log.reader()) if isinstance(each, ListingAdded)]
    assert listing_id not in added
    assert len(added) == 19 - 5


def test_what_is_erased_while_it_is_copied_is_not_taken_from_the_copy(log: TrialLog) -> None:
    partners = list(log.partners.values())
    for _ in range(3):
        block_of(log)
    log.publish()
    volume = log.writer.volume_due(partners)
    assert volume is not None
    assert [line.start >> MAX_LEVEL for line in volume.lines] == [5, 6, 7, 8]
    lines = volume.write(log.public)
    payload = log.rows[6 * BLOCK].payload
    erase(log, ListingId(6 * BLOCK))
    log.writer.adopt(volume, lines, partners, log.now)
    assert [line.place is not None for line in index_of(log)] == [True] * 6 + [False] + [True] * 2
    assert payload not in openings(log)
    log.follow(log.reader())


def test_a_copy_that_comes_too_late_is_thrown_away(log: TrialLog) -> None:
    partners = list(log.partners.values())
    for _ in range(3):
        block_of(log)
    log.publish()
    volume = log.writer.volume_due(partners)
    assert volume is not None
    for block in range(5, 9):
        erase(log, ListingId(block * BLOCK))
    with pytest.raises(MissingBlobError):
        volume.write(log.public)
    kept = [line for line in index_of(log) if line.place is not None]
    stray = Volume("board", tuple(kept[1:]))
    lines = stray.write(log.public)
    log.writer.adopt(stray, lines, [], log.now)
    assert stray.path not in set(log.public.paths("feed/"))
    log.follow(log.reader())


def test_a_file_that_rotted_is_not_copied(log: TrialLog) -> None:
    for _ in range(3):
        block_of(log)
    log.publish()
    volume = log.writer.volume_due(list(log.partners.values()))
    assert volume is not None
    path = volume.lines[1].path("board")
    data = log.public.get(path)
    log.public.put(path, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ChangedSegmentError):
        volume.write(log.public)
    assert volume.path not in set(log.public.paths("feed/"))


def test_snapshots_have_volumes_of_their_own(log: TrialLog) -> None:
    victims = [ListingId(block * BLOCK + at) for block in range(5) for at in range(2)]
    for listing_id in victims:
        log.withdraw(listing_id)
        log.rows[listing_id] = log.rows[listing_id].erased()
    for _ in range(2 * BLOCK):
        log.rows.append(log.rows[0])
    log.publish(erased=victims)
    veteran = log.reader()
    log.follow(veteran)
    partners = list(log.partners.values())
    while log.writer.improve_snapshots(partners, log.now):
        pass
    log.bring_together()
    assert latest_of(log).snapshot.stop
    newcomer = log.reader()
    log.follow(newcomer)
    assert newcomer.root == veteran.root


# -- whatever is wrong with it


def lie_about(log: TrialLog, lines: list[SegmentLine]) -> None:
    """Sign a list that says something else of the full blocks."""
    files, data = FileList.of(lines)
    log.public.put(files.path("board"), data)
    latest = replace(latest_of(log), index=files)
    signer = NoteSigner(log.origin, log.log_key)
    note = sign_note(latest.to_text(), [signer], log.now)
    log.public.put("feed/board/latest", note.to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda place, other: replace(place, head=other.head), id="another's head"),
        pytest.param(lambda place, _: replace(place, offset_bytes=0), id="another's body"),
        pytest.param(lambda place, _: replace(place, offset_bytes=1 << 40), id="past the end"),
        pytest.param(lambda place, _: replace(place, head=place.head[:-1]), id="a shorter head"),
    ],
)
def test_a_segment_in_the_wrong_place_is_not_taken(
    log: TrialLog, change: Callable[[Place, Place], Place]
) -> None:
    lines = index_of(log)
    first, third = lines[0].place, lines[2].place
    assert first is not None
    assert third is not None
    lines[2] = replace(lines[2], place=change(third, first))
    lie_about(log, lines)
    reader = log.reader()
    with pytest.raises(WrongContentError):
        log.follow(reader)
    assert reader.size == 2 * BLOCK, "what was good was taken"


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("", id="no place"),
        pytest.param(f" {'a' * 32} 0", id="no head"),
        pytest.param(f" {'a' * 31} 0 AAAA", id="short name"),
        pytest.param(f" {'A' * 32} 0 AAAA", id="capitals"),
        pytest.param(f" ../../../{'a' * 23} 0 AAAA", id="another directory"),
        pytest.param(f" {'a' * 32} 00 AAAA", id="a zero too many"),
        pytest.param(f" {'a' * 32} -1 AAAA", id="negative"),
        pytest.param(f" {'a' * 32} {1 << 60} AAAA", id="too far"),
        pytest.param(f" {'a' * 32} 0 AAA", id="no base64"),
        pytest.param(f" {'a' * 32} 0 ", id="empty head"),
        pytest.param(f" {'a' * 32} 0 {'A' * 2800}", id="long head"),
        pytest.param(f" {'a' * 32} 0 {'A' * 136}", id="nothing but a head"),
        pytest.param(f" {'a' * 32} 0 AAAA AAAA", id="something after it"),
    ],
)
def test_places_are_read_in_one_spelling_only(ending: str) -> None:
    line = f"segment 0 {BLOCK} 0 102 {'0' * 64} {'0' * 64}"
    if not ending:
        assert SegmentLine.from_line(line).place is None
        good = SegmentLine.from_line(f"{line} {'a' * 32} 7 AAAA")
        assert good.to_line() == f"{line} {'a' * 32} 7 AAAA\n"
        assert good.body_bytes == 99
        return
    with pytest.raises(MalformedLatestError):
        SegmentLine.from_line(line + ending)


def test_what_is_listed_without_an_index_is_in_no_volume(log: TrialLog) -> None:
    latest, place = latest_of(log), index_of(log)[0].place
    line = replace(latest.segments[0], place=place)
    text = replace(latest, segments=(line, *latest.segments[1:])).to_text()
    with pytest.raises(TrustError):
        Latest.from_text(text)


@pytest.mark.parametrize("kind", ["directory", "memory", "object store"])
def test_long_files_are_written_whole_or_not_at_all(kind: str, tmp_path: Path) -> None:
    stores: dict[str, BlobStore] = {
        "directory": DirectoryBlobs(tmp_path),
        "memory": MemoryBlobs(),
        "object store": ObjectBlobs(MemoryStore()),
    }
    store = stores[kind]
    store.put_parts("feed/a/vol/1", (bytes([each]) * 6_000_000 for each in range(4)))
    assert store.length_bytes("feed/a/vol/1") == 24_000_000
    assert store.part("feed/a/vol/1", 11_999_999, 12_000_001) == b"\x01\x02"

    def broken() -> Iterator[bytes]:
        yield bytes(11_000_000)
        raise MissingBlobError("gone")

    with pytest.raises(MissingBlobError):
        store.put_parts("feed/a/vol/2", broken())
    assert list(store.paths("feed/")) == ["feed/a/vol/1"]
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == (
        [tmp_path / "feed/a/vol/1"] if kind == "directory" else []
    )
