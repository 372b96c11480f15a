"""The formats are those that vectors/feed.json shows to other languages."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import feed_vectors
from unspread.crypto import OpeningKey
from unspread.feed.latest import Latest, SegmentLine
from unspread.feed.reader import FeedReader, ListingAdded, ListingChanged
from unspread.feed.records import Entry, EntryKind
from unspread.feed.segments import SegmentContext
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import Note, VerifierKey
from unspread.transparency.policy import LogPolicy, PolicyFile
from unspread.transparency.proof import EntryProof, verify_consistency
from unspread.transparency.witness import CosignRequest

FILE = Path(__file__).parents[2] / "vectors" / "feed.json"
STABLE = (
    "origin", "log_key", "entries", "roots", "files", "checkpoint", "witness_keys",
    "consistency_from_3", "add_checkpoint_request", "proofs", "sealing_key", "policy_file",
)  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text())
    return loaded


def test_what_follows_from_seeds_is_made_again_bit_for_bit(vectors: dict[str, Any]) -> None:
    made = feed_vectors.make()
    for name in STABLE:
        assert made[name] == vectors[name], name
    plain = [each["plaintext"] for each in made["segments"]]
    assert plain == [each["plaintext"] for each in vectors["segments"]]


def test_entries_have_the_public_form_shown(vectors: dict[str, Any]) -> None:
    for each in vectors["entries"]:
        entry = Entry(EntryKind[each["kind"].upper()], bytes.fromhex(each["payload"]))
        assert entry.public().hex() == each["public"]


def test_segments_open_to_the_records_shown(vectors: dict[str, Any]) -> None:
    key = OpeningKey(bytes.fromhex(vectors["opening_key"]))
    for each in vectors["segments"]:
        line = SegmentLine.from_line(each["line"].removesuffix("\n"))
        assert line.path(vectors["partner"]) == each["path"]
        context = SegmentContext(
            vectors["origin"], vectors["partner"], line.start, line.stop, line.generation
        )
        assert context.open(bytes.fromhex(each["file"]), key).hex() == each["plaintext"]


def test_a_volume_has_what_the_lines_say(vectors: dict[str, Any]) -> None:
    files = {each["line"]: bytes.fromhex(each["file"]) for each in vectors["segments"]}
    volume = bytes.fromhex(vectors["volume"]["file"])
    stop = 0
    for text in vectors["volume"]["lines"]:
        line = SegmentLine.from_line(text.removesuffix("\n"))
        assert line.to_line() == text
        assert line.path(vectors["partner"]) == vectors["volume"]["path"]
        assert line.place is not None
        assert line.place.offset_bytes == stop
        stop += line.body_bytes
        body = volume[line.place.offset_bytes : stop]
        assert line.place.head + body == files[replace(line, place=None).to_line()]
    assert stop == len(volume)


def test_cosignatures_and_proofs_hold(vectors: dict[str, Any]) -> None:
    log_key = VerifierKey.from_text(vectors["log_key"])
    cosigned = Note.from_bytes(vectors["cosigned_checkpoint"].encode())
    keys = [VerifierKey.from_text(text) for text in vectors["witness_keys"]]
    signed = cosigned.signed_by([log_key, *keys])
    assert [signed[key] for key in keys] == [feed_vectors.NOW] * 2
    policy = PolicyFile.from_text(vectors["policy_file"]).for_log()
    checkpoint = policy.verify(cosigned)
    assert checkpoint.root.hex() == vectors["roots"][-1]
    proof = [bytes.fromhex(digest) for digest in vectors["consistency_from_3"]]
    verify_consistency(
        3, bytes.fromhex(vectors["roots"][3]), checkpoint.size, checkpoint.root, proof
    )
    request = CosignRequest.from_bytes(vectors["add_checkpoint_request"].encode())
    assert list(request.proof) == proof
    for index, text in zip((0, 9), vectors["proofs"], strict=True):
        entry = bytes.fromhex(vectors["entries"][index]["public"])
        assert EntryProof.from_bytes(text.encode()).verify(entry) == checkpoint


def test_the_feed_shown_can_be_followed(vectors: dict[str, Any]) -> None:
    reader = FeedReader(
        policy=LogPolicy(VerifierKey.from_text(vectors["log_key"])),
        partner_id=vectors["partner"],
        key=OpeningKey(bytes.fromhex(vectors["opening_key"])),
    )
    files = {each["path"]: bytes.fromhex(each["file"]) for each in vectors["segments"]}
    files[f"feed/{vectors['partner']}/latest"] = vectors["latest"].encode()
    events = []
    reader.begin()
    while (request := reader.next_request()) is not None:
        events += reader.receive(request, files[request.path], feed_vectors.NOW)
    assert reader.root.hex() == vectors["roots"][-1]
    added = [event.listing_id for event in events if isinstance(event, ListingAdded)]
    changed = [event.listing_id for event in events if isinstance(event, ListingChanged)]
    # A canary is a listing like any other, until its epoch is revealed.
    assert (added, changed) == ([0, 1, 8], [0, 8])
    latest = Latest.from_text(Note.from_bytes(vectors["latest"].encode()).text)
    assert Checkpoint.from_text(latest.checkpoint.text).size == len(vectors["entries"])
