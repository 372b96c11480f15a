"""Makes vectors/feed.json: every format of the log and the feed, once, for other languages.

    python -m tests.feed_vectors > vectors/feed.json

What is sealed or signed with ML-DSA differs each time; all else follows from the seeds.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from unspread.crypto import (
    OpeningKey,
    PostQuantumSigningKey,
    Receipt,
    SigningKey,
    item_key_digest,
    withdrawal_message,
)
from unspread.feed.blobs import MemoryBlobs
from unspread.feed.canaries import CanaryBook, CanaryEpoch
from unspread.feed.latest import Latest
from unspread.feed.records import (
    AckRecord,
    AddRecord,
    ChangeRecord,
    PolicyRecord,
    Surface,
    Terms,
    add_entry,
    change_entry,
    padding_entries,
)
from unspread.feed.segments import SegmentContext
from unspread.feed.volumes import Volume
from unspread.feed.writer import FeedPartner, FeedWriter
from unspread.model import Age, Fingerprint, Kind, Level, ListingId, Media, Part
from unspread.testing.feed import MemoryEntries
from unspread.transparency.note import Note, NoteSigner, sign_note
from unspread.transparency.policy import LogPolicy
from unspread.transparency.proof import consistency_proof
from unspread.transparency.tiles import TileReader
from unspread.transparency.witness import CosignRequest

ORIGIN = "log.example/vectors"
NOW = datetime(2026, 11, 23, 6, 0, 5, tzinfo=UTC)
HOUR = NOW.replace(second=0)
SEEDS = {name: hashlib.sha256(name.encode()).digest() for name in ("log", "witness", "partner")}


def made(name: str, length: int) -> bytes:
    """Bytes that follow from a name."""
    return hashlib.shake_256(name.encode()).digest(length)


EPOCH = CanaryEpoch(1, made("seed", 32), count=2)
"""Of whose canaries the partner gets one."""


def entries() -> MemoryEntries:
    """One entry of each kind, and a second listing with everything in it."""
    source = MemoryEntries()
    receipt = Receipt(bytes(range(13)))
    keys = [receipt.item_key(number) for number in range(2)]
    image = AddRecord(
        Media.IMAGE, Age.MINOR, Level.UNVERIFIED, HOUR, item_key_digest(keys[0].public),
        (
            Fingerprint(Kind.PDQ, made("whole", 32), quality=100),
            Fingerprint(Kind.SHA256, made("sha256", 32)),
            Fingerprint(Kind.MD5, made("md5", 16)),
        ),
    )  # fmt: skip
    video = AddRecord(
        Media.VIDEO, Age.UNKNOWN, Level.CORROBORATED, HOUR, item_key_digest(keys[1].public),
        (
            Fingerprint(Kind.PDQ, made("frame", 32), Part.FRAME, 77),
            Fingerprint(Kind.PDQ, made("window", 32), Part.WINDOW, 50),
            Fingerprint(Kind.SHA256, made("video", 32)),
        ),
        Terms(frozenset({Surface.PUBLIC, Surface.STORAGE}), frozenset({"GB", "DE"})),
    )  # fmt: skip
    signature = keys[0].sign(withdrawal_message(ORIGIN, keys[0].public))
    withdrawal = ChangeRecord.withdrawal(ListingId(0), Level.UNVERIFIED, keys[0].public, signature)
    hour = int(HOUR.timestamp()) // 3600
    source.rows += [
        add_entry(image, receipt.item_salt(0)),
        add_entry(video, receipt.item_salt(1)),
        change_entry(withdrawal, made("change salt", 16)),
        *padding_entries(2, made("padding", 16)),
        AckRecord("Sample board", 5, NOW).to_entry(),
        EPOCH.commitment().to_entry(),
        EPOCH.entry(0, HOUR),
        EPOCH.entry(1, HOUR, windows=2),
        EPOCH.reveal([(7, hour, 0), (8, hour, 2)]).to_entry(),
        PolicyRecord("page", made("page", 32)).to_entry(),
    ]
    return source


def make() -> dict[str, Any]:
    """The vectors."""
    source, public = entries(), MemoryBlobs()
    key = OpeningKey(SEEDS["partner"])
    log_key = SigningKey(SEEDS["log"])
    writer = FeedWriter(
        origin=ORIGIN, log_key=log_key, public=public, private=MemoryBlobs(), source=source,
        canaries=CanaryBook({1: EPOCH}, {7: (1, 0), 8: (1, 1)}),
    )  # fmt: skip
    partner = FeedPartner("sample-board", key.public)
    roots = [
        writer.publish(size, [partner], NOW).root.hex() for size in range(len(source.rows) + 1)
    ]
    latest_file = public.get("feed/sample-board/latest")
    latest = Latest.from_text(Note.from_bytes(latest_file).text)
    witnesses = [
        NoteSigner("witness.example/w", SigningKey(SEEDS["witness"]), cosigns=True),
        NoteSigner("witness.example/w", PostQuantumSigningKey(SEEDS["witness"])),
    ]
    note = Note.from_bytes(public.get("log/checkpoint"))
    cosigned = sign_note(note.text, [NoteSigner(ORIGIN, log_key), *witnesses], NOW)
    tree = TileReader(lambda path: public.get(f"log/{path}"), len(source.rows))
    proof = tuple(consistency_proof(tree.node, 3, len(source.rows)))
    segments = []
    for line in (*latest.segments, *latest.deltas):
        context = SegmentContext(ORIGIN, "sample-board", line.start, line.stop, line.generation)
        data = public.get(line.path("sample-board"))
        segments.append(
            {
                "line": line.to_line(),
                "path": line.path("sample-board"),
                "file": data.hex(),
                "plaintext": context.open(data, key).hex(),
            }
        )
    volume = Volume("sample-board", latest.segments)
    placed = volume.write(public)
    return {
        "origin": ORIGIN,
        "log_seed": SEEDS["log"].hex(),
        "log_key": writer.keys[0].to_text(),
        "receipt_secret": bytes(range(13)).hex(),
        "entries": [
            {
                "kind": entry.kind.name.lower(),
                "payload": entry.payload.hex(),
                "public": entry.public().hex(),
            }
            for entry in source.rows
        ],
        "roots": roots,
        "files": {
            path: data.hex()
            for path, data in public.files.items()
            if path.startswith("log/tile/") and path.endswith(f"/{len(source.rows)}")
        },
        "checkpoint": note.to_bytes().decode(),
        "witness_keys": [each.key.to_text() for each in witnesses],
        "cosigned_checkpoint": cosigned.to_bytes().decode(),
        "consistency_from_3": [digest.hex() for digest in proof],
        "add_checkpoint_request": CosignRequest(3, proof, note).to_bytes().decode(),
        "proofs": [writer.proof(index).decode() for index in (0, 9)],
        "partner": "sample-board",
        "opening_key": SEEDS["partner"].hex(),
        "sealing_key": key.public.hex(),
        "segments": segments,
        # What these would be if they were of full blocks, and brought together.
        "volume": {
            "path": volume.path,
            "file": public.get(volume.path).hex(),
            "lines": [line.to_line() for line in placed],
        },
        "latest": latest_file.decode(),
        "policy_file": f"log {LogPolicy(writer.keys[0]).log_key.to_text()}\n"
        f"witness one {witnesses[0].key.to_text()} https://witness.example\nquorum one\n",
    }


if __name__ == "__main__":
    print(json.dumps(make(), indent=1, ensure_ascii=False))
