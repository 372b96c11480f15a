"""Publishes the log and the feed: committed entries in, static files out.

Order within a publication: tiles, signed checkpoint to our own private store, segments, then the
public checkpoint and each partner's `latest`. Whatever is interrupted is done again with the same
result: tiles are a function of the entries, and no other tree is ever signed than what was
signed before, or its continuation.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from unspread.crypto import PostQuantumSigningKey, SigningKey
from unspread.errors import StateError
from unspread.feed.blobs import BlobStore, MissingBlobError
from unspread.feed.latest import EXPIRES_AFTER_SECONDS, FileList, Latest, SegmentLine
from unspread.feed.sealing import (
    BATCH,
    EVERYTHING,
    Canaries,
    Dead,
    EntrySource,
    FeedPartner,
    Scope,
    Sealer,
    read,
)
from unspread.feed.segments import MAX_LEVEL
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import EMPTY_ROOT
from unspread.transparency.note import Note, NoteSigner, Signature, VerifierKey, sign_note
from unspread.transparency.policy import NO_WITNESSES, Group
from unspread.transparency.proof import EntryProof, NodeSource, inclusion_proof
from unspread.transparency.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileBuilder,
    TileReader,
    bundle_path,
    tile_path,
)

__all__ = [
    "EVERYTHING",
    "Canaries",
    "EntrySource",
    "FeedPartner",
    "FeedWriter",
    "RefusesToSignError",
    "Scope",
    "complete_subtrees",
]

LOG_PREFIX: Final = "log/"
CHECKPOINT_PATH: Final = "log/checkpoint"
_SIGNED: Final = "signed-checkpoint"
_BLOCK: Final = 1 << MAX_LEVEL
_MOST_DELTAS: Final = 8
_MAX_DELTA: Final = 1 << 10
_WORTH: Final = _BLOCK // 16
"""So many more dead entries of a block make it worth sealing again for newcomers."""
_READ_A_STEP: Final = 1 << 15
_COLLAPSED_A_STEP: Final = 8
_UNKNOWN: Final = -1
_GRACE: Final = timedelta(minutes=10)
"""How long files stay that a newer list names no more, for those who hold an older one."""


class RefusesToSignError(StateError):
    """The entries handed in are not the ones that were signed: publishing them would be a fork."""


Cosign = Callable[[Note, NodeSource], Sequence[Signature]]
"""Asks the witnesses to sign a checkpoint; returns what they answered in time."""


@dataclass(slots=True)
class _Feed:
    """What a partner's feed consists of at present."""

    lines: list[SegmentLine] = field(default_factory=list)
    deltas: list[SegmentLine] = field(default_factory=list)
    snapshot: list[SegmentLine] = field(default_factory=list)
    collapsed: dict[int, int] = field(default_factory=dict)
    """Blocks whose line in the snapshot leaves dead entries out, and how many it did."""
    scope: Scope = EVERYTHING
    size: int = 0
    expires_at: datetime | None = None
    lists: set[str] = field(default_factory=set)
    """Paths of the files of lines that were written."""

    def all_lines(self) -> list[SegmentLine]:
        return self.lines + self.deltas + self.snapshot


def complete_subtrees(size: int) -> Iterator[tuple[int, int]]:
    """The (level, index) of the complete subtrees, of level 16 at most, that `size` consists of."""
    blocks = size >> MAX_LEVEL
    for index in range(blocks):
        yield MAX_LEVEL, index
    start = blocks << MAX_LEVEL
    for level in range(MAX_LEVEL - 1, -1, -1):
        if size >> level & 1:
            yield level, start >> level
            start += 1 << level


class FeedWriter:
    """The one writer of a log. Not for use by two threads or processes at once."""

    def __init__(
        self,
        *,
        origin: str,
        log_key: SigningKey,
        public: BlobStore,
        private: BlobStore,
        source: EntrySource,
        post_quantum_key: PostQuantumSigningKey | None = None,
        cosign: Cosign | None = None,
        quorum: Group = NO_WITNESSES,
        canaries: Canaries | None = None,
        expires_after_seconds: int = EXPIRES_AFTER_SECONDS,
    ) -> None:
        """Continue the log in `public`, which began when `private` and `public` were empty.

        `private` remembers what was signed. It must be as durable as the database: without it the
        writer could sign a fork. A checkpoint is published once `quorum` is met by what `cosign`
        returns; until then the one before stands.

        Raises:
            TrustError: if `public` does not hold what was signed.
        """
        self.origin = origin
        self._public = public
        self._private = private
        self._source = source
        self._sealer = Sealer(origin, public, source, canaries)
        self._cosign = cosign
        self._quorum = quorum
        self._expires_after = timedelta(seconds=expires_after_seconds)
        self._signer = NoteSigner(origin, log_key)
        self._signers = [self._signer]
        if post_quantum_key is not None:
            self._signers.append(NoteSigner(origin, post_quantum_key))
        self._feeds: dict[str, _Feed] = {}
        self._dead = Dead()
        self._retired: dict[str, datetime] = {}
        self._note: Note | None = None
        self._published = self._signed = Checkpoint(origin, 0, EMPTY_ROOT)
        with suppress(MissingBlobError):
            self._signed = self._ours(Note.from_bytes(private.get(_SIGNED)))
        with suppress(MissingBlobError):
            note = Note.from_bytes(public.get(CHECKPOINT_PATH))
            self._published, self._note = self._ours(note), note
        self._builder = TileBuilder(TileReader(self._fetch, self._signed.size))
        if (
            self._builder.frontier.root() != self._signed.root
            or self._published.size > self._signed.size
        ):
            raise RefusesToSignError("the log's files are not the tree that was signed")
        self._check_source()

    def _check_source(self) -> None:
        # A database restored from an older copy may have gone another way since.
        size = self._signed.size
        start = max(0, (size - 1) // TILE_WIDTH * TILE_WIDTH)
        logged = [entry for _, entry in TileReader(self._fetch, size).entries(start, size)]
        if [entry.public() for entry in read(self._source, start, size)] != logged:
            raise RefusesToSignError("the database does not hold the entries that were signed")

    def _ours(self, note: Note) -> Checkpoint:
        note.require(self._signer.key)
        checkpoint = Checkpoint.from_text(note.text)
        if checkpoint.origin != self.origin:
            raise RefusesToSignError("the files are another log's")
        return checkpoint

    @property
    def size(self) -> int:
        """How many entries are published."""
        return self._published.size

    @property
    def signed_size(self) -> int:
        """How many entries are signed; more than published while witnesses have not answered."""
        return self._signed.size

    @property
    def checkpoint(self) -> Checkpoint:
        """What was published last."""
        return self._published

    @property
    def keys(self) -> list[VerifierKey]:
        """What verifies the log's own signatures, Ed25519 first."""
        return [signer.key for signer in self._signers]

    def publish(
        self,
        size: int,
        partners: Sequence[FeedPartner],
        now: datetime,
        *,
        erased: Collection[int] = (),
    ) -> Checkpoint:
        """Publish the first `size` committed entries to everybody; cheap when nothing is new.

        Call it at every tick, also when nothing is new: it renews what would expire. `erased` are
        indexes that the source has begun to give as erased; segments that still hold their
        content are issued again, and the old files deleted.

        Raises:
            RefusesToSignError: if `size` is less than what was signed.
        """
        if size < self._signed.size:
            raise RefusesToSignError("the database has fewer entries than were signed")
        if size > self._published.size or self._note is None:
            self._sign(size, now)
        self.reissue(partners, now, erased=erased)
        return self._published

    def reissue(
        self, partners: Sequence[FeedPartner], now: datetime, *, erased: Collection[int] = ()
    ) -> None:
        """Bring each partner's feed up to the published log, without what was `erased`."""
        self._sealer.begin(len(partners))
        if self._note is not None:
            reader = TileReader(self._fetch, self.size)
            for partner in partners:
                self._publish_to(partner, self._note, reader, now, sorted(erased))
        self._sweep(now)

    def improve_snapshots(self, partners: Sequence[FeedPartner], now: datetime) -> bool:
        """Do one step towards good snapshots for newcomers; whether there is more to do.

        A snapshot is the full blocks without what a newcomer has no use for: listings that ended,
        changes that were followed by others, acknowledgements. A block in which little is dead is
        offered as it is. A step reads 32 768 entries, or seals one block for a few partners.
        """
        stop = self.size & -_BLOCK
        if self._dead.stop < stop:
            self._dead.extend(self._source, min(stop, self._dead.stop + _READ_A_STEP))
            return True
        for block in range(stop >> MAX_LEVEL):
            due = [each for each in partners if self._is_worth(each, block)][:_COLLAPSED_A_STEP]
            self._sealer.begin(len(due))
            for partner in due:
                self._collapse(partner, self._feeds[partner.partner_id], block, now)
            if due:
                return True
        return False

    def _is_worth(self, partner: FeedPartner, block: int) -> bool:
        feed = self._feeds.get(partner.partner_id)
        if feed is None or block >= feed.size >> MAX_LEVEL:
            return False
        count, left_out = self._dead.count(block), feed.collapsed.get(block, 0)
        if left_out == _UNKNOWN:
            # Sealed before this process began: it is as good as it is today.
            left_out = feed.collapsed[block] = count
        return count - left_out >= _WORTH

    def _collapse(self, partner: FeedPartner, feed: _Feed, block: int, now: datetime) -> None:
        if self._note is None:
            raise StateError("publish to this partner first")
        tree = TileReader(self._fetch, feed.size)
        sealed = self._sealer.subtree(partner, tree, (MAX_LEVEL, block), 0, self._dead)
        present = {line.start: line for line in (feed.snapshot or feed.lines)}
        ordinary = {line.start: line for line in feed.lines}
        lines: list[SegmentLine] = []
        for index in range(feed.size >> MAX_LEVEL):
            start, stop = index << MAX_LEVEL, (index + 1) << MAX_LEVEL
            kept = _cover(present, start, stop) or _cover(ordinary, start, stop)
            lines += sealed if index == block else kept
        used = {line.digest for line in (*lines, *feed.lines, *feed.deltas)}
        self._retire(partner, [line for line in feed.snapshot if line.digest not in used], now)
        feed.snapshot = lines
        feed.collapsed[block] = self._dead.count(block)
        self._put_latest(partner, feed, self._note, now)

    def proof(self, index: int) -> bytes:
        """The `.tlog-proof` of entry `index`, for the person whose listing it is.

        Raises:
            StateError: if the entry is not published yet.
        """
        if self._note is None or not 0 <= index < self.size:
            raise StateError("the entry is not in the published log yet")
        reader = TileReader(self._fetch, self.size)
        digests = inclusion_proof(reader.node, index, self.size)
        return EntryProof(index, tuple(digests), self._note).to_bytes()

    def _fetch(self, path: str) -> bytes:
        return self._public.get(LOG_PREFIX + path)

    def _sign(self, size: int, now: datetime) -> None:
        before = self._builder.size
        self._public.put_many(self._grow(size))
        self._retire_partial(before, size, now)
        checkpoint = Checkpoint(self.origin, size, self._builder.frontier.root())
        note = sign_note(checkpoint.to_text(), self._signers, now)
        # From here on this tree is ours for ever, even if nobody has seen it yet.
        self._private.put(_SIGNED, note.to_bytes())
        self._signed = checkpoint
        if self._cosign is not None:
            signatures = self._cosign(note, TileReader(self._fetch, size).node)
            note = replace(note, signatures=(*note.signatures, *signatures))
        if self._quorum.is_met_by(note.signed_by(self._quorum.witnesses())):
            self._public.put(CHECKPOINT_PATH, note.to_bytes())
            self._published, self._note = checkpoint, note

    def _grow(self, size: int) -> Iterator[tuple[str, bytes]]:
        for start in range(self._builder.size, size, BATCH):
            publics = [
                entry.public() for entry in read(self._source, start, min(start + BATCH, size))
            ]
            for path, data in self._builder.append(publics):
                yield LOG_PREFIX + path, data
        for path, data in self._builder.partial():
            yield LOG_PREFIX + path, data

    def _publish_to(
        self,
        partner: FeedPartner,
        note: Note,
        tree: TileReader,
        now: datetime,
        erased: Sequence[int],
    ) -> None:
        feed = self._feeds.get(partner.partner_id)
        if feed is None or feed.scope != partner.scope:
            feed = self._feeds[partner.partner_id] = self._load(partner, now)
        is_current = feed.size == tree.size and not erased
        if is_current and feed.expires_at and feed.expires_at - now > self._expires_after / 2:
            return
        previous = feed.all_lines()
        if not is_current:
            self._extend(partner, feed, tree, erased)
        self._put_latest(partner, feed, note, now)
        kept = {line.digest for line in feed.all_lines()}
        self._retire(partner, [line for line in previous if line.digest not in kept], now)
        self._forget(partner, erased)

    def _load(self, partner: FeedPartner, now: datetime) -> _Feed:
        feed = _Feed(scope=partner.scope)
        with suppress(MissingBlobError):
            note = Note.from_bytes(self._public.get(f"feed/{partner.partner_id}/latest"))
            note.require(self._signer.key)
            latest = Latest.from_text(note.text)
            if latest.scope != partner.scope.to_text():
                # What was sealed for another scope is of no use: all begins anew.
                latest = replace(
                    latest, index=FileList(), snapshot=FileList(), segments=(), deltas=()
                )
            for files, lines in ((latest.index, feed.lines), (latest.snapshot, feed.snapshot)):
                if files.stop:
                    path = files.path(partner.partner_id)
                    lines.extend(files.read(self._public.get(path)))
                    feed.lists.add(path)
            feed.lines += latest.segments
            feed.deltas = list(latest.deltas)
            feed.size = feed.lines[-1].stop if feed.lines else 0
            feed.expires_at = latest.expires_at
            ordinary = {line.digest for line in feed.lines}
            for line in feed.snapshot:
                if line.digest not in ordinary:
                    feed.collapsed[line.start >> MAX_LEVEL] = _UNKNOWN
        named = feed.lists | {line.path(partner.partner_id) for line in feed.all_lines()}
        # What an interrupted publication left behind, or one before it.
        for kind in ("seg", "index"):
            for path in self._public.paths(f"feed/{partner.partner_id}/{kind}/"):
                if path not in named:
                    self._retired[path] = now
        return feed

    def _extend(
        self, partner: FeedPartner, feed: _Feed, tree: TileReader, erased: Sequence[int]
    ) -> None:
        present = {line.start: line for line in feed.lines}
        lines: list[SegmentLine] = []
        for level, index in complete_subtrees(tree.size):
            kept = _cover(present, index << level, (index + 1) << level)
            if not kept:
                lines += self._sealer.subtree(partner, tree, (level, index))
            for line in kept:
                if not _holds(erased, line.start, line.stop):
                    lines.append(line)
                    continue
                height = (line.stop - line.start).bit_length() - 1
                place = height, line.start >> height
                lines += self._sealer.subtree(partner, tree, place, line.generation + 1)
        deltas = [each for each in feed.deltas if not _holds(erased, each.start, each.stop)]
        is_whole = any(line.start == feed.size and line.stop == tree.size for line in lines)
        if 0 < tree.size - feed.size <= _MAX_DELTA and not is_whole:
            deltas += self._sealer.delta(partner, tree, feed.size, tree.size)
        # A snapshot's segment that held something erased gives way to the ordinary one.
        blocks = {line.start: line for line in lines}
        for block in {line.start >> MAX_LEVEL for line in feed.snapshot}:
            start, stop = block << MAX_LEVEL, (block + 1) << MAX_LEVEL
            if _holds(erased, start, stop):
                feed.collapsed.pop(block, None)
                at = bisect_left(feed.snapshot, start, key=lambda line: line.start)
                until = bisect_left(feed.snapshot, stop, key=lambda line: line.start)
                feed.snapshot[at:until] = _cover(blocks, start, stop)
        feed.lines, feed.deltas = lines, deltas[-_MOST_DELTAS:]
        feed.size = tree.size

    def _retire(self, partner: FeedPartner, lines: Iterable[SegmentLine], now: datetime) -> None:
        for line in lines:
            self._retired[line.path(partner.partner_id)] = now

    def _forget(self, partner: FeedPartner, erased: Sequence[int]) -> None:
        """Delete every old file of the partner's that may still hold what was erased."""
        prefix = f"feed/{partner.partner_id}/seg/"
        for path in [each for each in self._retired if erased and each.startswith(prefix)]:
            start, stop = path.removeprefix(prefix).partition(".")[0].split("-")
            if _holds(erased, int(start), int(stop)):
                self._public.delete(path)
                del self._retired[path]

    def _retire_partial(self, before: int, size: int, now: datetime) -> None:
        """Partial tiles have served once the full one is there (tlog-tiles, "Partial Tiles")."""
        level = 0
        while complete := before >> TILE_HEIGHT * level:
            number = complete // TILE_WIDTH
            if complete % TILE_WIDTH and size >> TILE_HEIGHT * level >= (number + 1) * TILE_WIDTH:
                full = [tile_path(level, number), *([] if level else [bundle_path(number)])]
                for path in full:
                    for partial in self._public.paths(f"{LOG_PREFIX}{path}.p/"):
                        self._retired[partial] = now
            level += 1

    def _sweep(self, now: datetime) -> None:
        """Delete what nobody who fetched a list lately can still ask for."""
        for path in [each for each, since in self._retired.items() if now - since > _GRACE]:
            self._public.delete(path)
            del self._retired[path]

    def _put_latest(self, partner: FeedPartner, feed: _Feed, note: Note, now: datetime) -> None:
        index_stop = feed.size & -_BLOCK
        index, index_data = FileList.of([each for each in feed.lines if each.stop <= index_stop])
        snapshot, snapshot_data = FileList.of(feed.snapshot)
        latest = Latest(
            partner.partner_id,
            partner.scope.to_text(),
            now + self._expires_after,
            note,
            index,
            snapshot,
            tuple(line for line in feed.lines if line.stop > index_stop),
            tuple(feed.deltas),
        )
        lists = {
            files.path(partner.partner_id): data
            for files, data in ((index, index_data), (snapshot, snapshot_data))
            if files.stop
        }
        for path in lists.keys() - feed.lists:
            self._public.put(path, lists[path])
        for path in feed.lists - lists.keys():
            self._retired[path] = now
        feed.lists = set(lists)
        signed = sign_note(latest.to_text(), [self._signer], now)
        self._public.put(f"feed/{partner.partner_id}/latest", signed.to_bytes())
        feed.expires_at = latest.expires_at


def _holds(erased: Sequence[int], start: int, stop: int) -> bool:
    at = bisect_left(erased, start)
    return at < len(erased) and erased[at] < stop


def _cover(present: dict[int, SegmentLine], start: int, stop: int) -> list[SegmentLine]:
    """The segments that together cover exactly start..stop-1, none if they do not."""
    lines: list[SegmentLine] = []
    while start < stop:
        line = present.get(start)
        if line is None or line.stop > stop:
            return []
        lines.append(line)
        start = line.stop
    return lines
