"""Publishes the log and the feed: committed entries in, static files out.

Order within a publication: tiles, signed checkpoint to our own private store, segments, then the
public checkpoint and each partner's `latest`. Whatever is interrupted is done again with the same
result: tiles are a function of the entries, and no other tree is ever signed than what was
signed before, or its continuation.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from unspread.crypto import PostQuantumSigningKey, SigningKey, sha256
from unspread.errors import StateError
from unspread.feed.blobs import BlobStore, MissingBlobError
from unspread.feed.latest import (
    EXPIRES_AFTER_SECONDS,
    Latest,
    SegmentLine,
    check_partner_id,
    lines_from_text,
    lines_to_text,
)
from unspread.feed.records import AddRecord, Entry, EntryKind, Surface
from unspread.feed.segments import (
    MAX_LEVEL,
    MAX_SEGMENT_BYTES,
    SegmentContext,
    Withheld,
    check_payload,
    continues_run,
    opened,
    padding_run,
    withheld,
)
from unspread.model import Level
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import EMPTY_ROOT
from unspread.transparency.note import Note, NoteSigner, Signature, VerifierKey, sign_note
from unspread.transparency.policy import NO_WITNESSES, Group
from unspread.transparency.proof import EntryProof, NodeSource, inclusion_proof
from unspread.transparency.tiles import TileBuilder, TileReader

LOG_PREFIX: Final = "log/"
CHECKPOINT_PATH: Final = "log/checkpoint"
_SIGNED: Final = "signed-checkpoint"
_BATCH: Final = 1 << 12
_BLOCK: Final = 1 << MAX_LEVEL
_MOST_DELTAS: Final = 8
_MAX_DELTA: Final = 1 << 10
_MOST_PLAINTEXT: Final = MAX_SEGMENT_BYTES - 64 * 1024


class RefusesToSignError(StateError):
    """The entries handed in are not the ones that were signed: publishing them would be a fork."""


class EntrySource(Protocol):
    """The committed entries of the log, as the clearinghouse's database keeps them."""

    def entries(self, start: int, stop: int) -> Iterable[Entry]:
        """Entries start..stop-1, in order, all of them; those that were erased as `erased`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a partner gets: listings for one of its surfaces, in one of its countries, at a level.

    Withdrawals and other changes always reach every partner.
    """

    surfaces: frozenset[Surface] = frozenset(Surface)
    countries: frozenset[str] = frozenset()
    """ISO 3166-1 alpha-2; none: all."""
    levels: frozenset[Level] = frozenset(Level) - {Level.QUARANTINED}

    def covers(self, record: AddRecord) -> bool:
        """Whether the listing is for this partner, at the level that its record shows."""
        terms = record.terms
        return (
            record.level in self.levels
            and not terms.surfaces.isdisjoint(self.surfaces)
            and not (
                terms.countries and self.countries and terms.countries.isdisjoint(self.countries)
            )
        )


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True)
class FeedPartner:
    """A partner that the feed is sealed to."""

    partner_id: str
    """1 to 64 small letters, digits and hyphens; stands in URLs."""
    public_key: bytes
    """`OpeningKey.public`."""
    scope: Scope = EVERYTHING

    def __post_init__(self) -> None:
        check_partner_id(self.partner_id)


Cosign = Callable[[Note, NodeSource], Sequence[Signature]]
"""Asks the witnesses to sign a checkpoint; returns what they answered in time."""


class Canaries(Protocol):
    """Who gets which canary; `canaries.CanaryBook` is one."""

    def is_given(self, partner_id: str, index: int) -> bool:
        """Whether a partner gets the canary at an index of the log."""


@dataclass(slots=True)
class _Feed:
    """What a partner's feed consists of at present."""

    lines: list[SegmentLine] = field(default_factory=list)
    deltas: list[SegmentLine] = field(default_factory=list)
    size: int = 0
    expires_at: datetime | None = None


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
        self._cosign = cosign
        self._quorum = quorum
        self._canaries = canaries
        self._expires_after = timedelta(seconds=expires_after_seconds)
        self._signer = NoteSigner(origin, log_key)
        self._signers = [self._signer]
        if post_quantum_key is not None:
            self._signers.append(NoteSigner(origin, post_quantum_key))
        self._feeds: dict[str, _Feed] = {}
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
        if self._note is not None:
            reader = TileReader(self._fetch, self.size)
            for partner in partners:
                self._publish_to(partner, self._note, reader, now, erased)
        return self._published

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
        self._public.put_many(self._grow(size))
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
        for start in range(self._builder.size, size, _BATCH):
            stop = min(start + _BATCH, size)
            entries = self._entries(start, stop)
            for path, data in self._builder.append([entry.public() for entry in entries]):
                yield LOG_PREFIX + path, data
        for path, data in self._builder.partial():
            yield LOG_PREFIX + path, data

    def _entries(self, start: int, stop: int) -> list[Entry]:
        entries = list(self._source.entries(start, stop))
        if len(entries) != stop - start:
            raise RefusesToSignError("the database does not hold every entry")
        for entry in entries:
            check_payload(entry)
        return entries

    def _publish_to(
        self,
        partner: FeedPartner,
        note: Note,
        reader: TileReader,
        now: datetime,
        erased: Collection[int],
    ) -> None:
        feed = self._feeds.get(partner.partner_id)
        if feed is None:
            feed = self._feeds[partner.partner_id] = self._load(partner)
        touched = sorted(erased)
        is_current = feed.size == reader.size and not touched
        if is_current and feed.expires_at and feed.expires_at - now > self._expires_after / 2:
            return
        previous = feed.lines + feed.deltas
        if not is_current:
            self._extend(partner, feed, reader, touched)
        self._put_latest(partner, feed, note, now)
        if touched:
            kept = {line.digest for line in feed.lines + feed.deltas}
            for line in previous:
                if line.digest not in kept and any(line.start <= at < line.stop for at in touched):
                    self._public.delete(line.path(partner.partner_id))

    def _load(self, partner: FeedPartner) -> _Feed:
        try:
            note = Note.from_bytes(self._public.get(f"feed/{partner.partner_id}/latest"))
        except MissingBlobError:
            return _Feed()
        note.require(self._signer.key)
        latest = Latest.from_text(note.text)
        lines: list[SegmentLine] = []
        if latest.index_stop:
            lines = lines_from_text(self._public.get(latest.index_path()).decode())
        lines += latest.segments
        size = lines[-1].stop if lines else 0
        return _Feed(lines, list(latest.deltas), size, latest.expires_at)

    def _extend(
        self, partner: FeedPartner, feed: _Feed, reader: TileReader, erased: Sequence[int]
    ) -> None:
        def is_erased(start: int, stop: int) -> bool:
            return any(start <= at < stop for at in erased)

        present = {line.start: line for line in feed.lines}
        lines: list[SegmentLine] = []
        for level, index in complete_subtrees(reader.size):
            start, stop = index << level, (index + 1) << level
            kept = _cover(present, start, stop)
            if kept and not is_erased(start, stop):
                lines += kept
            else:
                generation = max((each.generation + 1 for each in kept), default=0)
                lines += self._seal(partner, reader, level, index, generation)
        deltas = [each for each in feed.deltas if not is_erased(each.start, each.stop)]
        is_whole = any(line.start == feed.size and line.stop == reader.size for line in lines)
        if 0 < reader.size - feed.size <= _MAX_DELTA and not is_whole:
            plaintext = self._plaintext(partner, feed.size, reader.size)
            if len(plaintext) <= _MOST_PLAINTEXT:
                context = self._context(partner, feed.size, reader.size, 0)
                deltas.append(self._put(partner, context, plaintext))
        feed.lines, feed.deltas = lines, deltas[-_MOST_DELTAS:]
        feed.size = reader.size

    def _seal(
        self, partner: FeedPartner, reader: TileReader, level: int, index: int, generation: int
    ) -> list[SegmentLine]:
        start, stop = index << level, (index + 1) << level
        plaintext = self._plaintext(partner, start, stop)
        if len(plaintext) > _MOST_PLAINTEXT and level:
            return [
                line
                for half in (2 * index, 2 * index + 1)
                for line in self._seal(partner, reader, level - 1, half, generation)
            ]
        context = self._context(partner, start, stop, generation)
        return [self._put(partner, context, plaintext, reader.node(level, index).hex())]

    def _context(
        self, partner: FeedPartner, start: int, stop: int, generation: int
    ) -> SegmentContext:
        return SegmentContext(self.origin, partner.partner_id, start, stop, generation)

    def _put(
        self, partner: FeedPartner, context: SegmentContext, plaintext: bytes, root: str = ""
    ) -> SegmentLine:
        data = context.seal(plaintext, partner.public_key)
        line = SegmentLine(
            context.start, context.stop, context.generation, len(data), sha256(data).hex(), root
        )
        self._public.put(line.path(partner.partner_id), data)
        return line

    def _plaintext(self, partner: FeedPartner, start: int, stop: int) -> bytes:
        parts: list[bytes] = []
        run: list[Entry] = []
        for first in range(start, stop, _BATCH):
            entries = self._entries(first, min(first + _BATCH, stop))
            for index, entry in enumerate(entries, first):
                if run and not (entry.kind is EntryKind.PADDING and continues_run(entry, run[-1])):
                    parts.append(padding_run(run))
                    run = []
                if entry.kind is EntryKind.PADDING:
                    run.append(entry)
                else:
                    parts.append(self._record(partner, index, entry))
        if run:
            parts.append(padding_run(run))
        return b"".join(parts)

    def _record(self, partner: FeedPartner, index: int, entry: Entry) -> bytes:
        if entry.kind is EntryKind.ERASED:
            return withheld(entry, Withheld.ERASED)
        if entry.kind is EntryKind.CANARY and (
            self._canaries is None or not self._canaries.is_given(partner.partner_id, index)
        ):
            return withheld(entry, Withheld.SYNTHETIC)
        if (
            entry.kind is EntryKind.ADD
            and partner.scope is not EVERYTHING
            and not partner.scope.covers(AddRecord.from_bytes(entry.payload))
        ):
            return withheld(entry, Withheld.SCOPE)
        return opened(entry)

    def _put_latest(self, partner: FeedPartner, feed: _Feed, note: Note, now: datetime) -> None:
        index_stop = feed.size & -_BLOCK
        index = lines_to_text([line for line in feed.lines if line.stop <= index_stop]).encode()
        latest = Latest(
            partner.partner_id,
            now + self._expires_after,
            note,
            index_stop,
            len(index),
            sha256(index).hex(),
            tuple(line for line in feed.lines if line.stop > index_stop),
            tuple(feed.deltas),
        )
        if index_stop:
            self._public.put(latest.index_path(), index)
        signed = sign_note(latest.to_text(), [self._signer], now)
        self._public.put(f"feed/{partner.partner_id}/latest", signed.to_bytes())
        feed.expires_at = latest.expires_at


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
