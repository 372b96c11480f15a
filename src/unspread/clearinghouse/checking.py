"""`unspread clearinghouse check`: do log, database and feed say the same?

Works beside a running server: what was signed is read first, the database afterwards in one
snapshot, so that the database can only be further on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from unspread.clearinghouse import audit, key_files
from unspread.clearinghouse.database import Connection, connect
from unspread.clearinghouse.files import public_blobs
from unspread.clearinghouse.partners import partners
from unspread.clearinghouse.publisher import DatabaseEntries
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.store import every_item
from unspread.crypto import sha256
from unspread.errors import TrustError
from unspread.feed.blobs import BlobStore, DirectoryBlobs, MissingBlobError
from unspread.feed.latest import Latest
from unspread.feed.records import AddRecord, EntryKind
from unspread.feed.writer import CHECKPOINT_PATH, LOG_PREFIX
from unspread.model import ListingId, State
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import EMPTY_ROOT, Frontier, leaf_digest
from unspread.transparency.note import Note, NoteSigner
from unspread.transparency.tiles import TileReader

SIGNED: Final = "signed-checkpoint"
_BATCH: Final = 4096


class InconsistentError(TrustError):
    """Log, database and feed do not say the same: stop publishing and look into it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_good: bool
    detail: str = ""

    def to_line(self) -> str:
        """For people."""
        word = "ok  " if self.is_good else "FAIL"
        return f"{word} {self.what}: {self.detail}" if self.detail else f"{word} {self.what}"


def signed_checkpoint(settings: Settings, blobs: BlobStore, path: str) -> Checkpoint | None:
    """The checkpoint in a store, if both signatures of the log's hold; None if there is none.

    Raises:
        TrustError: if it is not the log's.
    """
    try:
        note = Note.from_bytes(blobs.get(path))
    except MissingBlobError:
        return None
    origin = key_files.log_origin(settings)
    note.require(NoteSigner(origin, key_files.log_key(settings)).key)
    note.require(NoteSigner(origin, key_files.post_quantum_log_key(settings)).key)
    return Checkpoint.from_text(note.text)


def check(settings: Settings) -> Iterator[Finding]:
    """Everything that can be compared, one finding after the other."""
    public, private = public_blobs(settings), DirectoryBlobs(settings.private_blobs)
    try:
        published = signed_checkpoint(settings, public, CHECKPOINT_PATH)
        signed = signed_checkpoint(settings, private, SIGNED)
    except TrustError as error:
        yield Finding("signatures of the checkpoints", is_good=False, detail=str(error))
        return
    yield Finding("signatures of the checkpoints", is_good=True)
    connection = connect(settings, read_only=True)
    try:
        connection.begin_reading()
        yield from _log(connection, signed, published, public)
        yield from _items(connection)
        yield from _feeds(connection, settings, public)
        yield _trail(connection)
        connection.rollback()
    finally:
        connection.close()


def _log(
    connection: Connection,
    signed: Checkpoint | None,
    published: Checkpoint | None,
    public: BlobStore,
) -> Iterator[Finding]:
    source = DatabaseEntries(connection)
    size = source.size()
    ((count,),) = connection.rows("SELECT COUNT(*) FROM log_entry")
    yield Finding("positions of the log without gaps", count == size, f"{count} entries")
    wanted = {each.size: each.root for each in (signed, published) if each is not None}
    frontier, found = Frontier(), {0: EMPTY_ROOT}
    stops = sorted({*wanted, *range(0, size, _BATCH), size})
    for start, stop in pairwise(stops):
        if stop > size:
            break
        frontier.append([leaf_digest(e.public()) for e in source.entries(start, stop)])
        found[stop] = frontier.root()
    for name, checkpoint in (("signed", signed), ("published", published)):
        if checkpoint is None:
            yield Finding(f"the {name} checkpoint", size == 0 or name == "published", "none yet")
            continue
        yield Finding(
            f"the {name} checkpoint is of the database's entries",
            found.get(checkpoint.size) == checkpoint.root,
            f"{checkpoint.size} of {size}",
        )
    if published is not None:
        try:
            reader = TileReader(lambda path: public.get(LOG_PREFIX + path), published.size)
            is_good = reader.frontier().root() == published.root
        except (TrustError, MissingBlobError):
            is_good = False
        yield Finding("the published tiles are the checkpoint's", is_good)


def _items(connection: Connection) -> Iterator[Finding]:
    listed, unlike = 0, 0
    for item in every_item(connection):
        if item.listing_id is None:
            continue
        listed += 1
        rows = connection.rows(
            "SELECT kind, payload FROM log_entry WHERE position = ?", item.listing_id
        )
        newest = connection.rows(
            "SELECT MAX(position) FROM log_entry WHERE listing_id = ?", item.listing_id
        )
        is_like = bool(rows) and newest[0][0] == item.revision - 1
        if is_like:
            kind, payload = EntryKind(rows[0][0]), bytes(rows[0][1])
            if item.is_erased:
                is_like = kind is EntryKind.ERASED and payload == item.commitment
                is_like = is_like and not item.fingerprints and not item.salt
            else:
                is_like = (
                    kind is EntryKind.ADD
                    and AddRecord.from_bytes(payload)
                    .listing(ListingId(item.listing_id))
                    .fingerprints
                    == item.fingerprints
                    and item.state not in {State.WITHDRAWN, State.EXPIRED, State.REMOVED}
                )
        unlike += not is_like
    yield Finding("listings are their entries", unlike == 0, f"{listed} listed, {unlike} unlike")
    ((strays,),) = connection.rows(
        "SELECT COUNT(*) FROM log_entry e WHERE e.kind = ? AND NOT EXISTS"
        " (SELECT 1 FROM item i WHERE i.listing_id = e.position)",
        int(EntryKind.ADD),
    )
    yield Finding("entries that add are listings", strays == 0, f"{strays} strays")


def _feeds(connection: Connection, settings: Settings, public: BlobStore) -> Iterator[Finding]:
    key = NoteSigner(key_files.log_origin(settings), key_files.log_key(settings)).key
    for each in partners(connection):
        if each.state != "active" or not each.sealing_key or "feed" not in each.scopes:
            continue
        what = f"the feed of {each.partner_id}"
        try:
            note = Note.from_bytes(public.get(f"feed/{each.partner_id}/latest"))
            note.require(key)
            latest = Latest.from_text(note.text)
            bad = sum(
                sha256(public.get(line.path(each.partner_id))).hex() != line.digest
                for line in latest.segments + latest.deltas
            )
        except MissingBlobError:
            yield Finding(what, is_good=False, detail="a file is missing")
        except TrustError as error:
            yield Finding(what, is_good=False, detail=str(error))
        else:
            yield Finding(what, bad == 0, f"{len(latest.segments)} segments, {bad} damaged")


def _trail(connection: Connection) -> Finding:
    try:
        events = sum(1 for _ in audit.trail(connection))
    except audit.BrokenTrailError as error:
        return Finding("the audit trail", is_good=False, detail=str(error))
    return Finding("the audit trail", is_good=True, detail=f"{events} events")
