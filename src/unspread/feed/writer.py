"""Publishes the log and the feed: committed entries in, static files out.

Order within a publication: tiles, signed checkpoint to our own private store, segments, then the
public checkpoint and each partner's `latest`. Whatever is interrupted is done again with the same
result: tiles are a function of the entries, and no other tree is ever signed than what was
signed before, or its continuation.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from unspread.crypto import PostQuantumSigningKey, SigningKey
from unspread.errors import StateError
from unspread.feed.blobs import BlobStore, MissingBlobError
from unspread.feed.latest import EXPIRES_AFTER_SECONDS, Latest, SegmentLine
from unspread.feed.partner_feed import BLOCK, PartnerFeed, between, cover, holds
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
from unspread.feed.volumes import Volume, due
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
_MOST_DELTAS: Final = 8
_MAX_DELTA: Final = 1 << 10
_WORTH: Final = BLOCK // 16
"""So many more dead entries of a block make it worth sealing again for newcomers."""
_READ_A_STEP: Final = 1 << 15
_BLOCKS_A_STEP: Final = 4
_PARTNERS_A_STEP: Final = 8
_UNKNOWN: Final = -1
_GRACE: Final = timedelta(minutes=10)
"""How long files stay that a newer list names no more, for those who hold an older one."""


class RefusesToSignError(StateError):
    """The entries handed in are not the ones that were signed: publishing them would be a fork."""


Cosign = Callable[[Note, NodeSource], Sequence[Signature]]
"""Asks the witnesses to sign a checkpoint; returns what they answered in time."""


def complete_subtrees(size: int) -> Iterator[tuple[int, int]]:
    """The (level, index) of the complete subtrees that what follows the full blocks consists of."""
    start = size & -BLOCK
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
        self._feeds: dict[str, PartnerFeed] = {}
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
            tree, positions = TileReader(self._fetch, self.size), sorted(erased)
            try:
                fed = [
                    (partner, self._extended(partner, tree, positions))
                    for partner in partners
                    if self._is_due(partner, tree, now, positions)
                ]
                self._announce(fed, self._note, now)
            except BaseException:
                # What we know is not what is there: look again.
                self._feeds.clear()
                raise
            for partner, _ in fed:
                self._forget(partner, positions)
        self._sweep(now)

    def improve_snapshots(self, partners: Sequence[FeedPartner], now: datetime) -> bool:
        """Do one step towards good snapshots for newcomers; whether there is more to do.

        A snapshot is the full blocks without what a newcomer has no use for: listings that ended,
        changes that were followed by others, acknowledgements. A block in which little is dead is
        offered as it is. A step reads 32 768 entries, or seals a few blocks for a few partners.
        """
        stop = self.size & -BLOCK
        if self._dead.stop < stop:
            self._dead.extend(self._source, min(stop, self._dead.stop + _READ_A_STEP))
            return True
        worth = [(each, self._worth_it(each)) for each in partners]
        blocks = next((worth_it for _, worth_it in worth if worth_it), [])[:_BLOCKS_A_STEP]
        due = [(each, hit) for each, of in worth if (hit := [b for b in of if b in blocks])]
        due = due[:_PARTNERS_A_STEP]
        self._sealer.begin(len(due))
        for partner, hit in due:
            self._collapse(partner, self._feeds[partner.partner_id], hit, now)
        return bool(due)

    def _worth_it(self, partner: FeedPartner) -> list[int]:
        """The blocks of which a partner should get another snapshot."""
        worth: list[int] = []
        feed = self._feeds.get(partner.partner_id)
        if feed is None:
            return worth
        for block in range(feed.size >> MAX_LEVEL):
            count, left_out = self._dead.count(block), feed.collapsed.get(block, 0)
            if left_out == _UNKNOWN:
                # Sealed before this process began: it is as good as it is today.
                left_out = feed.collapsed[block] = count
            if count - left_out >= _WORTH:
                worth.append(block)
        return worth

    def _collapse(
        self, partner: FeedPartner, feed: PartnerFeed, blocks: Sequence[int], now: datetime
    ) -> None:
        if self._note is None:
            raise StateError("publish to this partner first")
        tree = TileReader(self._fetch, feed.size)
        before = feed.paths()
        lines = list(feed.snapshot)
        # What is in full since the snapshot was made comes as it is.
        lines += between(feed.blocks, lines[-1].stop if lines else 0, feed.size)
        for block in reversed(blocks):
            start, stop = block << MAX_LEVEL, (block + 1) << MAX_LEVEL
            at = bisect_left(lines, start, key=lambda line: line.start)
            until = bisect_left(lines, stop, key=lambda line: line.start)
            lines[at:until] = self._sealer.subtree(partner, tree, (MAX_LEVEL, block), 0, self._dead)
            feed.collapsed[block] = self._dead.count(block)
        feed.set_snapshot(lines)
        self._announce([(partner, before)], self._note, now)

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

    def _is_due(
        self, partner: FeedPartner, tree: TileReader, now: datetime, erased: Sequence[int]
    ) -> bool:
        feed = self._feeds.get(partner.partner_id)
        if feed is None or feed.scope != partner.scope:
            feed = self._feeds[partner.partner_id] = self._load(partner, now)
        is_current = feed.size == tree.size and not erased
        return not (
            is_current and feed.expires_at and feed.expires_at - now > self._expires_after / 2
        )

    def _extended(self, partner: FeedPartner, tree: TileReader, erased: Sequence[int]) -> Set[str]:
        """Bring a feed up to the tree, without what was erased; the paths that it had before."""
        feed = self._feeds[partner.partner_id]
        before = feed.paths()
        if feed.size != tree.size or erased:
            self._extend(partner, feed, tree, erased)
        return before

    def _load(self, partner: FeedPartner, now: datetime) -> PartnerFeed:
        feed = PartnerFeed(partner.partner_id, partner.scope)
        with suppress(MissingBlobError):
            note = Note.from_bytes(self._public.get(f"feed/{partner.partner_id}/latest"))
            note.require(self._signer.key)
            latest = Latest.from_text(note.text)
            # What was sealed for another scope is of no use: all begins anew.
            if latest.scope == partner.scope.to_text():
                index, snapshot = (
                    self._public.get(files.path(partner.partner_id)) if files.stop else b""
                    for files in (latest.index, latest.snapshot)
                )
                feed = PartnerFeed.of(latest, index, snapshot, partner.scope)
            for line in feed.own_snapshot():
                feed.collapsed[line.start >> MAX_LEVEL] = _UNKNOWN
        named = feed.paths()
        # What an interrupted publication left behind, or one before it.
        for kind in ("seg", "index", "vol"):
            for path in self._public.paths(f"feed/{partner.partner_id}/{kind}/"):
                if path not in named:
                    self._retired[path] = now
        return feed

    def _extend(
        self, partner: FeedPartner, feed: PartnerFeed, tree: TileReader, erased: Sequence[int]
    ) -> None:
        present = {line.start: line for line in feed.rest}
        begun, full = len(feed.blocks) and feed.blocks[-1].stop, tree.size & -BLOCK
        blocks: list[SegmentLine] = []
        for index in range(begun >> MAX_LEVEL, full >> MAX_LEVEL):
            blocks += self._issued(partner, tree, (MAX_LEVEL, index), present, erased)
        rest: list[SegmentLine] = []
        for place in complete_subtrees(tree.size):
            rest += self._issued(partner, tree, place, present, erased)
        deltas = [each for each in feed.deltas if not holds(erased, each.start, each.stop)]
        is_whole = any(
            line.start == feed.size and line.stop == tree.size for line in (*blocks, *rest)
        )
        if 0 < tree.size - feed.size <= _MAX_DELTA and not is_whole:
            deltas += self._sealer.delta(partner, tree, feed.size, tree.size)
        again = self._issued_again(partner, tree, feed.blocks, erased)
        if blocks or again:
            feed.set_blocks([*(again or feed.blocks), *blocks])
        # A snapshot's segment that held something erased gives way to the ordinary one.
        hit = {index >> MAX_LEVEL for index in erased}
        lines: list[SegmentLine] = []
        for line in feed.snapshot:
            block = line.start >> MAX_LEVEL
            if block not in hit:
                lines.append(line)
            elif line.start == block << MAX_LEVEL:
                feed.collapsed.pop(block, None)
                lines += between(feed.blocks, line.start, line.start + BLOCK)
        if erased and feed.snapshot:
            feed.set_snapshot(lines)
        feed.rest, feed.deltas = rest, deltas[-_MOST_DELTAS:]
        feed.size = tree.size

    def _issued(
        self,
        partner: FeedPartner,
        tree: TileReader,
        place: tuple[int, int],
        present: Mapping[int, SegmentLine],
        erased: Sequence[int],
    ) -> list[SegmentLine]:
        """The segments of a subtree: those that are there, or new ones."""
        level, index = place
        kept = cover(present, index << level, (index + 1) << level)
        if not kept:
            return self._sealer.subtree(partner, tree, place)
        return self._issued_again(partner, tree, kept, erased) or kept

    def _issued_again(
        self,
        partner: FeedPartner,
        tree: TileReader,
        lines: Sequence[SegmentLine],
        erased: Sequence[int],
    ) -> list[SegmentLine]:
        """The lines with those issued again that hold something erased; none if none does."""
        if not any(holds(erased, line.start, line.stop) for line in lines):
            return []
        again: list[SegmentLine] = []
        for line in lines:
            if not holds(erased, line.start, line.stop):
                again.append(line)
                continue
            level = (line.stop - line.start).bit_length() - 1
            place = level, line.start >> level
            again += self._sealer.subtree(partner, tree, place, line.generation + 1)
        return again

    def _forget(self, partner: FeedPartner, erased: Sequence[int]) -> None:
        """Delete every old file of the partner's by which what was erased could be opened."""
        own = f"feed/{partner.partner_id}/"
        for path in [each for each in self._retired if erased and each.startswith(own)]:
            kind, _, name = path.removeprefix(own).partition("/")
            start, _, stop = name.partition(".")[0].partition("-")
            # An old list has the heads of segments in volumes. A volume says nothing without.
            if kind == "index" or (kind == "seg" and holds(erased, int(start), int(stop))):
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

    def _announce(
        self, fed: Sequence[tuple[FeedPartner, Set[str]]], note: Note, now: datetime
    ) -> None:
        """Publish what feeds consist of now; each with the paths of the files that it had before.

        Segments first, then the lists that name them, then what names these: whatever is
        interrupted, whoever looks finds all that he is told of.
        """
        self._sealer.settle()
        feeds = [(partner, self._feeds[partner.partner_id], before) for partner, before in fed]
        self._public.put_many(
            (path, data)
            for _, feed, _ in feeds
            for path, data in feed.unwritten.items()
            if path in feed.paths()
        )
        self._public.put_many(
            (f"feed/{partner.partner_id}/latest", self._latest(partner, feed, note, now))
            for partner, feed, _ in feeds
        )
        for _, feed, before in feeds:
            feed.unwritten.clear()
            feed.expires_at = now + self._expires_after
            named = feed.paths()
            for path in before - named:
                self._retired[path] = now
            for path in named - before:
                self._retired.pop(path, None)

    def _latest(self, partner: FeedPartner, feed: PartnerFeed, note: Note, now: datetime) -> bytes:
        latest = Latest(
            partner.partner_id,
            partner.scope.to_text(),
            now + self._expires_after,
            note,
            feed.index,
            feed.index_of_snapshot,
            tuple(feed.rest),
            tuple(feed.deltas),
        )
        return sign_note(latest.to_text(), [self._signer], now).to_bytes()

    # -- fewer files

    def volume_due(self, partners: Sequence[FeedPartner]) -> Volume | None:
        """A volume that should be written for one of the partners, none if all is well.

        Then, on any thread and while this one publishes: `Volume.write`; then `adopt`.
        """
        for partner in partners:
            feed = self._feeds.get(partner.partner_id)
            if feed is None or not feed.may_have_volume_due:
                continue
            for lines in (feed.blocks, feed.own_snapshot()):
                together = due(lines, partial(self._volume_bytes, partner.partner_id))
                if together:
                    return Volume(partner.partner_id, together)
            feed.may_have_volume_due = False
        return None

    def _volume_bytes(self, partner_id: str, name: str) -> int:
        return self._public.length_bytes(f"feed/{partner_id}/vol/{name}")

    def adopt(
        self,
        volume: Volume,
        lines: Iterable[SegmentLine],
        partners: Sequence[FeedPartner],
        now: datetime,
    ) -> None:
        """Publish that segments are in a volume now, those that are still listed."""
        partner = next((p for p in partners if p.partner_id == volume.partner_id), None)
        feed = self._feeds.get(volume.partner_id)
        before: Set[str] = feed.paths() if feed else set()
        if (
            partner is None
            or feed is None
            or self._note is None
            or not feed.place({line.digest: line for line in lines})
        ):
            if volume.path not in before:
                self._public.delete(volume.path)
            return
        self._announce([(partner, before)], self._note, now)
