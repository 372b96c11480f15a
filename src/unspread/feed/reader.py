"""Follows a feed without doing any I/O: requests out, responses in, verified events out.

Everything that arrives is taken for hostile. What is handed out has been checked against the
checkpoint that the log, and as many witnesses as the policy asks for, have signed; and that
checkpoint continues everything handed out before. Any other outcome is a `TrustError`, and
then nothing has changed: keep matching on the list as it is, and call a person.

    reader.begin()
    while (request := reader.next_request()) is not None:
        body = fetch(request)
        for event in reader.receive(request, body, now):
            apply(event)
        save(reader.state())            # in the same transaction as what was applied
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, cast

import msgspec

from unspread.crypto import OpeningKey
from unspread.errors import InputError, StateError, TrustError
from unspread.feed.latest import (
    MAX_LATEST_BYTES,
    FileList,
    Latest,
    MalformedLatestError,
    SegmentLine,
    WrongContentError,
)
from unspread.feed.records import (
    AckRecord,
    AddPayloads,
    AddRecord,
    Authority,
    ChangeReason,
    ChangeRecord,
    Entry,
    EntryKind,
    SeedRecord,
    Terms,
    add_leaves,
)
from unspread.feed.segments import (
    MAX_LEVEL,
    MalformedSegmentError,
    SegmentContext,
    Tag,
    Withheld,
    records,
)
from unspread.feed.withheld import OpenEpoch, WithheldError, WithheldLedger
from unspread.model import Level, Listing, ListingId, State
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import DIGEST_BYTES, Frontier, leaf_digest
from unspread.transparency.note import MalformedNoteError, Note
from unspread.transparency.policy import LogPolicy
from unspread.transparency.proof import ProofError, verify_inclusion

_STATE_VERSION: Final = 1
_MOST_DELTA_BYTES: Final = 4 * 1024 * 1024
_MOST_PASSING: Final = 64
_WITHHELD: Final = frozenset(int(why) for why in Withheld)
_ADD: Final = int(EntryKind.ADD)
"""Compared as a plain number, once for each entry of a list of millions."""
_IN_SEGMENTS: Final = frozenset({
    EntryKind.ADD, EntryKind.CHANGE, EntryKind.ACK, EntryKind.SEED, EntryKind.POLICY,
})  # fmt: skip


class ForkError(TrustError):
    """The log shows a list that does not continue the one it showed before."""


class RollbackError(TrustError):
    """The log has become shorter than it was, or shows an older checkpoint."""


class StaleFeedError(TrustError):
    """The list of the feed has expired: somebody holds back newer ones, or publishing stands."""


class TooLongError(TrustError):
    """A file is longer than it may be."""


class WrongFeedError(TrustError):
    """A list of segments of another partner's feed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A file to fetch, or bytes in the midst of one. Stop reading once `max_bytes` are exceeded."""

    path: str
    """Below the clearinghouse's address, without a leading slash."""
    max_bytes: int
    is_immutable: bool
    """Whether a cache may keep it for ever; never so for `latest`."""
    offset_bytes: int | None = None
    """None: the whole file. Else `max_bytes` are wanted from here on, by an HTTP range."""
    more_bytes: int = 0
    """So many after these are what the next requests will be for: one answer can serve them all."""

    @property
    def http_range(self) -> str:
        """The value of HTTP's `Range` for these bytes; empty for a whole file."""
        if self.offset_bytes is None:
            return ""
        return f"bytes={self.offset_bytes}-{self.offset_bytes + self.max_bytes - 1}"


class ListingAdded:
    """A listing to match from now on. Read out of its payload when asked for."""

    __slots__ = ("listing_id", "payload")

    def __init__(self, listing_id: ListingId, payload: bytes) -> None:
        self.listing_id = listing_id
        self.payload = payload

    @property
    def listing(self) -> Listing:
        """What to match."""
        return AddRecord.from_checked(self.payload).listing(self.listing_id)

    @property
    def terms(self) -> Terms:
        """Where it may be used."""
        return AddRecord.from_checked(self.payload).terms

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ListingAdded):
            return NotImplemented
        return (self.listing_id, self.payload) == (other.listing_id, other.payload)

    def __hash__(self) -> int:
        return hash((self.listing_id, self.payload))

    def __repr__(self) -> str:
        return f"ListingAdded({self.listing_id}, …)"


@dataclass(frozen=True, slots=True)
class ListingChanged:
    """A listing's new state and level. It may be one that this platform was never given."""

    listing_id: ListingId
    state: State
    level: Level
    authority: Authority
    reason: ChangeReason


@dataclass(frozen=True, slots=True)
class PlatformAcknowledged:
    """A platform's public word that it has applied everything up to a size."""

    partner: str
    size: int
    at: datetime


Event = ListingAdded | ListingChanged | PlatformAcknowledged

ItemKeyDigestOf = Callable[[ListingId], bytes | None]
"""What the platform has stored as a listing's `item_key_digest`; None if it has no such listing."""


class _State(msgspec.Struct, frozen=True):
    version: int
    origin: str
    partner: str
    size: int
    subtrees: list[bytes]
    trusted_size: int
    trusted_root: bytes
    passing: list[tuple[int, bytes]]
    withheld: list[int]
    scope: str = ""
    epochs: tuple[OpenEpoch, ...] = ()
    last_epoch: int = -1
    snapshot_stop: int = 0


class FeedReader:
    """One partner's place in one log, and what is needed to go on from there."""

    def __init__(
        self,
        *,
        policy: LogPolicy,
        partner_id: str,
        key: OpeningKey,
        state: bytes | None = None,
        item_key_digest_of: ItemKeyDigestOf = lambda _listing_id: None,
    ) -> None:
        """Go on from a saved `state()`, or from nothing.

        Raises:
            InputError: if the state is not one of this log and partner.
        """
        self._policy = policy
        self._partner = partner_id
        self._key = key
        self._item_key_digest_of = item_key_digest_of
        self._payloads = AddPayloads()
        self._frontier = Frontier()
        self._trusted_size = 0
        self._trusted_root = self._frontier.root()
        self._passing: dict[int, bytes] = {}
        self._withheld = dict.fromkeys(Withheld, 0)
        self._scope = ""
        self._ledger = WithheldLedger(partner_id)
        self.begins_anew = False
        """Whether the list is being read from its beginning, for this platform's scope is another
        now. Everything that is for it is handed out again; see `has_begun_anew`."""
        if state is not None:
            self._restore(state)
        self._expires_at: datetime | None = None
        self._wants_latest = False
        self._latest: Latest | None = None
        self._plan: list[SegmentLine] = []
        self._wants_list: FileList | None = None
        self._first: list[SegmentLine] = []
        self._held: list[Event] = []
        self._held_withheld: dict[Withheld, int] = {}
        self._held_frontier: Frontier | None = None
        self._held_ledger: WithheldLedger | None = None

    # -- what the platform asks

    @property
    def size(self) -> int:
        """How many entries of the log have been handed out: the platform's cursor."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """The root of the log at `size`, for acknowledging."""
        return self._frontier.root()

    @property
    def log_size(self) -> int:
        """How long the log was when it was last seen."""
        return self._trusted_size

    @property
    def withheld(self) -> dict[Withheld, int]:
        """How many entries this platform was not given, by reason."""
        return dict(self._withheld)

    def has_begun_anew(self) -> bool:
        """Whether a list that began anew has been read to its end; it is an ordinary one then.

        What was not handed out again since `begins_anew` is no longer for this platform: drop it,
        and save `state()`.
        """
        if self.begins_anew and self.size == self._trusted_size:
            self.begins_anew = False
            return True
        return False

    @property
    def scope(self) -> str:
        """What this platform gets, as the clearinghouse says it; empty before it did."""
        return self._scope

    @property
    def most_withheld(self) -> int:
        """How many entries may at most be withheld as canaries until their seeds are revealed."""
        return self._ledger.most

    def is_stale(self, now: datetime) -> bool:
        """Whether the newest list seen by this object has expired, or none was seen yet."""
        return self._expires_at is None or now >= self._expires_at

    def state(self) -> bytes:
        """What to save, and to hand to the next reader."""
        return msgspec.msgpack.encode(
            _State(
                _STATE_VERSION,
                self._policy.origin,
                self._partner,
                self._frontier.size,
                self._frontier.subtrees(),
                self._trusted_size,
                self._trusted_root,
                sorted(self._passing.items()),
                [self._withheld[each] for each in Withheld],
                # Until it is read to its end, a list that begins anew begins anew.
                "anew" if self.begins_anew else self._scope,
                self._ledger.epochs,
                self._ledger.last_epoch,
                self._ledger.snapshot_stop,
            )
        )

    def _restore(self, state: bytes) -> None:
        try:
            saved = msgspec.msgpack.decode(state, type=_State)
            self._frontier = Frontier(saved.size, saved.subtrees)
            self._withheld = dict(zip(Withheld, saved.withheld, strict=True))
        except (msgspec.DecodeError, ValueError):
            raise InputError("the saved place in the feed is damaged") from None
        if (saved.version, saved.origin, saved.partner) != (
            _STATE_VERSION,
            self._policy.origin,
            self._partner,
        ):
            raise InputError("the saved place is in another feed")
        self._trusted_size, self._trusted_root = saved.trusted_size, saved.trusted_root
        self._passing = dict(saved.passing)
        self._scope = saved.scope
        self._ledger = WithheldLedger(
            self._partner, saved.epochs, saved.last_epoch, saved.snapshot_stop
        )

    # -- the exchange

    def begin(self) -> None:
        """Look for what is new, from the next request on."""
        self._wants_latest = True

    def next_request(self) -> Request | None:
        """The next file to fetch; None when there is nothing left to do."""
        if self._wants_latest:
            path = f"feed/{self._partner}/latest"
            return Request(path, MAX_LATEST_BYTES, is_immutable=False)
        if self._wants_list is not None:
            files = self._wants_list
            return Request(files.path(self._partner), files.length_bytes, is_immutable=True)
        if self._plan:
            return self._request_for(self._plan)
        return None

    def _request_for(self, plan: Sequence[SegmentLine]) -> Request:
        line, path = plan[0], plan[0].path(self._partner)
        if line.place is None:
            return Request(path, line.length_bytes, is_immutable=True)
        stop = line.place.offset_bytes + line.body_bytes
        more = 0
        for each in plan[1:]:
            if (
                each.place is None
                or each.place.volume != line.place.volume
                or (each.place.offset_bytes != stop + more)
            ):
                break
            more += each.body_bytes
        return Request(path, line.body_bytes, True, line.place.offset_bytes, more)

    def receive(self, request: Request, body: bytes, now: datetime) -> list[Event]:
        """What has become certain through the answer to `next_request()`'s request.

        After a `TrustError` the reader has given up the round and stands where it stood; `begin`
        starts another.

        Raises:
            TrustError: a subclass that says what does not hold; nothing has changed.
            StateError: if this is not the request that was asked last.
        """
        if request != self.next_request():
            raise StateError("this is not the answer that the reader waits for")
        try:
            if len(body) > request.max_bytes:
                raise TooLongError("a file of the feed is longer than it may be")
            if self._wants_latest:
                self._take_latest(body, now)
                return []
            if self._wants_list is not None:
                self._take_list(self._wants_list, body)
                return []
            return self._take_segment(body)
        except TrustError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Forget the round under way, as when a file cannot be fetched. What is trusted stays."""
        self._wants_latest = False
        self._wants_list = None
        self._first = []
        self._plan = []
        self._latest = None
        self._hold([], {}, None, None)

    def _hold(
        self,
        events: list[Event],
        withheld: dict[Withheld, int],
        frontier: Frontier | None,
        ledger: WithheldLedger | None,
    ) -> None:
        self._held, self._held_withheld = events, withheld
        self._held_frontier, self._held_ledger = frontier, ledger

    def _take_latest(self, body: bytes, now: datetime) -> None:
        note = Note.from_bytes(body)
        note.require(self._policy.log_key)
        latest = Latest.from_text(note.text)
        if latest.partner != self._partner:
            raise WrongFeedError("the list of segments is another partner's")
        checkpoint = self._policy.verify(latest.checkpoint)
        if checkpoint.size < self._trusted_size:
            raise RollbackError("the log has become shorter than it was")
        if checkpoint.size == self._trusted_size and checkpoint.root != self._trusted_root:
            raise ForkError("the log shows two different lists of one size")
        if now >= latest.expires_at:
            raise StaleFeedError("the list of the feed has expired")
        stop = stop_of_blocks = latest.index.stop
        if stop != checkpoint.size >> MAX_LEVEL << MAX_LEVEL:
            raise MalformedLatestError("the list of segments does not begin where it should")
        for line in latest.segments:
            if line.start != stop or line.stop > checkpoint.size:
                raise MalformedLatestError("the list of segments leaves a gap")
            stop = line.stop
        if stop != checkpoint.size:
            raise MalformedLatestError("the list of segments ends too early")
        self.give_up()
        self._latest = latest
        if (0 if self._is_rescoped(latest) else self.size) < stop_of_blocks:
            self._wants_list = latest.index
            return
        # Whoever is past the full blocks has their roots in his own frontier.
        high = self._frontier.truncated(stop_of_blocks)
        self._check_chain(checkpoint.root, high, latest.segments)
        self._trust(latest, checkpoint)
        self._plan = self._deltas(latest, checkpoint.size) or self._rest(latest.segments)

    def _takes_snapshot(self, latest: Latest) -> bool:
        """Whether we are newcomers, or have begun as such and are not through yet."""
        if self.begins_anew or self._is_rescoped(latest):
            return False
        return latest.snapshot.stop > 0 and (
            not self.size or self.size < self._ledger.snapshot_stop
        )

    def _is_rescoped(self, latest: Latest) -> bool:
        return bool(self._scope) and latest.scope != self._scope

    def _begin_anew(self) -> None:
        # What was read so far has to come again, the same.
        if self.size:
            self._passing[self.size] = self.root
        self._frontier = Frontier()
        self._withheld = dict.fromkeys(Withheld, 0)
        self._ledger = WithheldLedger(self._partner)
        self.begins_anew = True

    def _trust(self, latest: Latest, checkpoint: Checkpoint) -> None:
        # What was promised and not read yet is compared when the place is reached.
        if self.size < self._trusted_size < checkpoint.size and len(self._passing) < _MOST_PASSING:
            self._passing[self._trusted_size] = self._trusted_root
        self._trusted_size, self._trusted_root = checkpoint.size, checkpoint.root
        self._expires_at = latest.expires_at
        if self._is_rescoped(latest):
            self._begin_anew()
        self._scope = latest.scope

    def _check_chain(
        self, root: bytes, frontier: Frontier, segments: tuple[SegmentLine, ...]
    ) -> None:
        """Refuse unless our own tree up to the first segment, and the segments, give the root."""
        whole = frontier.copy()
        own_at_start: Frontier | None = None
        for line in segments:
            if line.start <= self.size < line.stop:
                own_at_start = whole.copy()
            _append_line(whole, line)
        if whole.root() != root:
            raise ForkError("the segments are not those of the log that was signed")
        if own_at_start is not None:
            known = self._frontier.truncated(own_at_start.size)
        else:
            known, own_at_start = self._frontier, whole
            if whole.size != known.size:
                raise MalformedLatestError("the list of segments leaves a gap")
        if known.subtrees() != own_at_start.subtrees():
            raise ForkError("the log does not continue the list that was shown before")

    def _take_list(self, files: FileList, body: bytes) -> None:
        latest = self._latest
        if latest is None:
            raise StateError("no list of segments is known")
        lines = files.read(body)
        if files == latest.index:
            self._first = lines
            if self._takes_snapshot(latest) and files != latest.snapshot:
                self._wants_list = latest.snapshot
                return
        else:
            lines += [line for line in self._first if line.start >= files.stop]
        segments = (*lines, *latest.segments)
        checkpoint = self._policy.verify(latest.checkpoint)
        self._check_chain(checkpoint.root, Frontier(), segments)
        self._wants_list = None
        self._first = []
        if self._takes_snapshot(latest):
            stop = max(self._ledger.snapshot_stop, latest.snapshot.stop)
            self._ledger = replace(self._ledger, snapshot_stop=stop)
        self._trust(latest, checkpoint)
        self._plan = self._rest(segments)

    def _rest(self, segments: tuple[SegmentLine, ...]) -> list[SegmentLine]:
        return [line for line in segments if line.stop > self.size]

    def _deltas(self, latest: Latest, size: int) -> list[SegmentLine]:
        """The deltas that lead from here to the end of the log, none if they do not."""
        both = (*latest.segments, *latest.deltas)
        starts = {line.start: line for line in sorted(both, key=lambda line: line.stop)}
        plan: list[SegmentLine] = []
        at = self.size
        while at < size:
            line = starts.get(at)
            if line is None or line.stop > size:
                return []
            plan.append(line)
            at = line.stop
        if sum(line.length_bytes for line in plan) > _MOST_DELTA_BYTES:
            return []
        return plan

    def _take_segment(self, body: bytes) -> list[Event]:
        line = self._plan[0]
        if line.place is not None:
            body = line.place.head + body
        if len(body) != line.length_bytes or sha256(body).hexdigest() != line.digest:
            raise WrongContentError("a segment is not the one that the signed list names")
        context = SegmentContext(
            self._policy.origin, self._partner, line.start, line.stop, line.generation
        )
        before = self._held_frontier or self._frontier
        start = before.truncated(line.start) if line.start < before.size else before.copy()
        seen = start.copy()
        checks = {size: root for size, root in self._passing.items() if line.start < size}
        if line.start < before.size:
            checks[before.size] = before.root()
        content = _Content(
            self._policy.origin,
            self._item_key_digest_of,
            self._held,
            payloads=self._payloads,
            frontier=seen,
            ledger=self._held_ledger or self._ledger,
            new_from=before.size,
            checks=checks,
        )
        content.read(context.open(body, self._key), line.stop)
        if line.root:
            _append_line(start, line)
            if seen.subtrees() != start.subtrees():
                raise ForkError("a segment does not hold the entries of the log")
        is_last = len(self._plan) == 1
        if is_last and (seen.size != self._trusted_size or seen.root() != self._trusted_root):
            raise ForkError("the feed does not hold the entries of the log")
        events = self._held + content.events
        withheld = {
            why: self._held_withheld.get(why, 0) + content.withheld[why] for why in Withheld
        }
        self._plan = self._plan[1:]
        # A delta shows nothing by itself: what follows from it is certain at the end of the log.
        if not is_last and (not line.root or self._held_frontier is not None):
            self._hold(events, withheld, seen, content.ledger)
            return []
        self._hold([], {}, None, None)
        self._frontier, self._ledger = seen, content.ledger
        self._passing = {size: root for size, root in self._passing.items() if seen.size < size}
        for why, count in withheld.items():
            self._withheld[why] += count
        return events


def _append_line(frontier: Frontier, line: SegmentLine) -> None:
    frontier.append([bytes.fromhex(line.root)], (line.stop - line.start).bit_length() - 1)


class _Content:
    """Reads the records of one segment: leaves to a frontier, what is new to events."""

    def __init__(
        self,
        origin: str,
        item_key_digest_of: ItemKeyDigestOf,
        held: list[Event],
        *,
        payloads: AddPayloads,
        frontier: Frontier,
        ledger: WithheldLedger,
        new_from: int,
        checks: dict[int, bytes],
    ) -> None:
        """Append to `frontier`; hand out what is of entries from `new_from` on.

        `checks` gives sizes at which the tree must have a known root.
        """
        self._origin = origin
        self._item_key_digest_of = item_key_digest_of
        self._added = {
            event.listing_id: event.payload for event in held if isinstance(event, ListingAdded)
        }
        self._frontier = frontier
        self._leaves: list[bytes] = []
        self._payloads = payloads
        self._unchecked: list[bytes] = []
        self._index = frontier.size
        self._stop = frontier.size
        self._new_from = new_from
        self._checks = checks
        self._late: list[tuple[ListingId, list[bytes], bytes]] = []
        self.ledger = ledger
        self.events: list[Event] = []
        self.withheld = dict.fromkeys(Withheld, 0)

    def read(self, plaintext: bytes, stop: int) -> None:
        """Read the records of entries up to `stop`."""
        self._stop = stop
        # What lists consist of comes in long rows, and goes through in rows.
        row: list[bytes] = []
        for tag, content in records(plaintext):
            if tag == _ADD and self._new_from <= self._index + len(row) < stop:
                row.append(content)
                continue
            if row:
                self._add(row)
                row = []
            if tag == Tag.SUBTREE:
                self._subtree(content)
            elif tag == Tag.PADDING_RUN:
                self._padding(content)
            elif tag == Tag.LATE:
                self._take_late(content)
            elif self._index >= stop:
                raise MalformedSegmentError("a segment holds more entries than it says")
            else:
                self._entry(tag, content)
        self._add(row)
        if self._index != stop:
            raise MalformedSegmentError("a segment holds fewer entries than it says")
        self._payloads.check_all(self._unchecked)
        self._settle()
        for listing_id, proof, leaf in self._late:
            try:
                verify_inclusion(leaf, listing_id, stop, proof, self._frontier.root())
            except ProofError:
                raise ForkError("a late listing does not stand in the log") from None

    def _add(self, payloads: list[bytes]) -> None:
        stop = self._index + len(payloads)
        listing_ids = cast("Iterable[ListingId]", range(self._index, stop))
        self._unchecked += payloads
        self._leaves += add_leaves(payloads)
        self._added.update(zip(listing_ids, payloads, strict=True))
        self.events += map(ListingAdded, listing_ids, payloads)
        self._index = stop

    def _settle(self) -> None:
        """Append the leaves read so far, looking at the root wherever it is known."""
        leaves, first = self._leaves, self._index - len(self._leaves)
        for size in sorted(self._checks):
            if first < size <= self._index:
                self._frontier.append(leaves[: size - first])
                leaves, first = leaves[size - first :], size
                if self._frontier.root() != self._checks[size]:
                    raise ForkError("the log does not continue the list that was shown before")
        self._frontier.append(leaves)
        self._leaves = []

    def _entry(self, tag: int, content: bytes) -> None:
        entry = _entry(tag, content)
        self._leaves.append(leaf_digest(entry.public()))
        if self._index >= self._new_from:
            if tag == Tag.WITHHELD:
                why = Withheld(content[0])
                self.withheld[why] += 1
                if why is Withheld.SYNTHETIC:
                    self.ledger = self.ledger.withhold(self._index, content[1:])
            else:
                self._take(self._index, entry)
        self._index += 1

    def _subtree(self, content: bytes) -> None:
        level, digest = content[0] if content else 255, content[1:]
        if self._index >= self.ledger.snapshot_stop:
            raise MalformedSegmentError("a segment leaves out entries, and is not of a snapshot")
        if level > MAX_LEVEL or len(digest) != DIGEST_BYTES:
            raise MalformedSegmentError("a subtree in a segment is malformed")
        self._settle()
        stop = self._index + (1 << level)
        if self._index % (1 << level) or stop > self._stop:
            raise MalformedSegmentError("a subtree in a segment is out of place")
        if any(self._index < size < stop for size in self._checks):
            raise ForkError("a segment hides the place that was reached before")
        self._frontier.append([digest], level)
        self._index = stop
        self.withheld[Withheld.ERASED] += max(0, min(1 << level, stop - self._new_from))

    def _padding(self, content: bytes) -> None:
        seed, first = content[:16], int.from_bytes(content[16:18], "big")
        count = int.from_bytes(content[18:], "big")
        if (
            len(content) != 20
            or not count
            or self._index + count > self._stop
            or first + count > 1 << 16
        ):
            raise MalformedSegmentError("a run of padding is malformed")
        for at in range(first, first + count):
            entry = Entry(EntryKind.PADDING, seed + at.to_bytes(2, "big"))
            self._leaves.append(leaf_digest(entry.public()))
        self._index += count

    def _take_late(self, content: bytes) -> None:
        listing_id, proof, payload = _late(content)
        # Its proof is of the tree at the segment's end, which is not known yet.
        (leaf,) = add_leaves([payload])
        self._late.append((listing_id, proof, leaf))
        self._unchecked.append(payload)
        if self._index >= self._new_from:
            self._added[listing_id] = payload
            self.events.append(ListingAdded(listing_id, payload))

    def _take(self, index: int, entry: Entry) -> None:
        if entry.kind is EntryKind.CHANGE:
            change = ChangeRecord.from_bytes(entry.payload)
            if change.listing_id >= index:
                raise MalformedSegmentError("a change comes before its listing")
            added = self._added.get(change.listing_id)
            if added is not None:
                self._payloads.check_all([added])
            known = (
                AddRecord.from_checked(added).item_key_digest
                if added is not None
                else self._item_key_digest_of(change.listing_id)
            )
            change.check(self._origin, known)
            self.events.append(
                ListingChanged(
                    change.listing_id, change.state, change.level, change.authority, change.reason
                )
            )
        elif entry.kind is EntryKind.ACK:
            ack = AckRecord.from_bytes(entry.payload)
            self.events.append(PlatformAcknowledged(ack.partner, ack.size, ack.at))
        elif entry.kind is EntryKind.SEED:
            self._take_seed(index, SeedRecord.from_bytes(entry.payload))

    def _take_seed(self, index: int, seed: SeedRecord) -> None:
        if not seed.is_revealed:
            self.ledger = self.ledger.begin(index, seed)
            return
        self.ledger, given = self.ledger.reveal(index, seed)
        # They have served: everybody knows them now, and nobody needs to match them.
        self.events += [
            ListingChanged(
                listing_id, State.EXPIRED, Level.UNVERIFIED, Authority.RULE, ChangeReason.EXPIRED
            )
            for listing_id in given
        ]


def _entry(tag: int, content: bytes) -> Entry:
    if tag == Tag.WITHHELD:
        if len(content) != 33 or content[0] not in _WITHHELD:
            raise MalformedSegmentError("a withheld entry is malformed")
        return Entry(EntryKind.ERASED, content[1:])
    if tag not in _IN_SEGMENTS:
        raise MalformedSegmentError("a segment holds a record of an unknown kind")
    return Entry(EntryKind(tag), content)


def _late(content: bytes) -> tuple[ListingId, list[bytes], bytes]:
    count = content[8] if len(content) > 8 else 0
    stop = 9 + count * DIGEST_BYTES
    if len(content) <= stop or int.from_bytes(content[:8], "big") >= 1 << 40:
        raise MalformedSegmentError("a late listing is malformed")
    proof = [content[at : at + DIGEST_BYTES] for at in range(9, stop, DIGEST_BYTES)]
    return ListingId(int.from_bytes(content[:8], "big")), proof, content[stop:]


def bounded(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """The bytes of a response as they arrive, given up once they exceed `max_bytes`.

    Raises:
        TooLongError: if they do; what is left of the response is not read.
    """
    parts: list[bytes] = []
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > max_bytes:
            raise TooLongError("a file of the feed is longer than it may be")
        parts.append(chunk)
    return b"".join(parts)


def follow(
    reader: FeedReader,
    fetch: Callable[[Request], bytes],
    now: Callable[[], datetime],
) -> Iterator[list[Event]]:
    """Bring a reader up to date; after each list of events, apply them and save `state()`.

    `fetch` reads no more than a request's `max_bytes`, as `bounded` does.

    Raises:
        TrustError: as `FeedReader.receive` does.
        TransportError: as `fetch` does; the round is given up.
    """
    reader.begin()
    while (request := reader.next_request()) is not None:
        try:
            body = fetch(request)
        except BaseException:
            reader.give_up()
            raise
        yield reader.receive(request, body, now())


__all__ = [
    "Event",
    "FeedReader",
    "ForkError",
    "ListingAdded",
    "ListingChanged",
    "MalformedNoteError",
    "PlatformAcknowledged",
    "Request",
    "RollbackError",
    "StaleFeedError",
    "TooLongError",
    "WithheldError",
    "WrongContentError",
    "WrongFeedError",
    "bounded",
    "follow",
]
