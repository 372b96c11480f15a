"""Audits a public log: everything that anybody can check with its URL alone, without I/O.

The whole log is read once and its tree rebuilt, so that the root is known to be that of the
entries shown; from then on only what is new is read. Saved between audits, the state shows a
fork or a rollback whenever one happens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from unspread.errors import InputError, TrustError
from unspread.feed.canaries import canary_payload, seed_digest
from unspread.feed.reader import ForkError, RollbackError
from unspread.feed.records import (
    BLINDED,
    AckRecord,
    Entry,
    EntryKind,
    MalformedRecordError,
    PolicyRecord,
    SeedRecord,
)
from unspread.feed.withheld import MAX_OPEN_EPOCHS
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import Frontier, leaf_digest
from unspread.transparency.note import Note, VerifierKey
from unspread.transparency.policy import LogPolicy, PolicyFile
from unspread.transparency.tiles import TILE_WIDTH, bundle_path, decode_bundle

_STATE_VERSION: Final = 2
_MOST_OBSERVATIONS: Final = 4000
_MOST_DELAYS: Final = 1000
_LATE_SECONDS: Final = 24 * 3600
"""A platform that has acknowledged nothing new for so long, while there was, is called late."""
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (65_535 + 2)
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024


class Platform(msgspec.Struct):
    """What a platform has said, in public, that it has applied."""

    size: int = 0
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    acknowledgements: int = 0
    delays_seconds: list[float] = msgspec.field(default_factory=list)
    """From the first that is known of a size to the acknowledgement that covers it."""


class OpenSeed(msgspec.Struct, frozen=True):
    """The word given on an epoch's seed."""

    digest: bytes
    most: int
    """Canaries that the epoch has at most."""
    index: int


class AuditState(msgspec.Struct):
    """What is known of a log from the audits so far."""

    version: int
    log_key: str
    size: int = 0
    subtrees: list[bytes] = msgspec.field(default_factory=list)
    observations: list[tuple[datetime, int]] = msgspec.field(default_factory=list)
    """When which size was first seen, by this audit or by a platform that acknowledged it."""
    blinded: int = 0
    public: int = 0
    to_apply: int = 0
    """Up to here there is something to apply; what follows are acknowledgements alone."""
    platforms: dict[str, Platform] = msgspec.field(default_factory=dict)
    seeds: dict[int, OpenSeed] = msgspec.field(default_factory=dict)
    """Epochs whose seed is committed to and not revealed yet."""
    revealed: dict[int, tuple[bytes, list[tuple[int, int, int]]]] = msgspec.field(
        default_factory=dict
    )
    """Revealed seeds whose canaries are not checked yet."""
    epochs_checked: int = 0
    policies: dict[str, str] = msgspec.field(default_factory=dict)
    """The last digest of each label, in hex."""
    problems: list[str] = msgspec.field(default_factory=list)
    """What was found wrong with the log, for good."""

    def to_bytes(self) -> bytes:
        """What to save between audits."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "AuditState":
        """What `to_bytes` saved.

        Raises:
            InputError: if it is not that.
        """
        try:
            state = msgspec.json.decode(data, type=cls)
            Frontier(state.size, state.subtrees)
        except (msgspec.DecodeError, ValueError):
            raise InputError("the file of the last audit is damaged") from None
        if state.version != _STATE_VERSION:
            raise InputError(
                "the file of the last audit is another version's: move it away to audit from the"
                " beginning"
            )
        return state


@dataclass(frozen=True, slots=True)
class PlatformReport:
    """How far a platform is, by its own public word."""

    name: str
    behind: int
    """Entries that it has not acknowledged, short of acknowledgements at the end."""
    acknowledged_at: datetime | None
    """None if it has never acknowledged anything."""
    behind_since: datetime | None
    """When the first entry that it has not acknowledged was known, as far as anybody saw."""
    median_seconds: float | None
    """From the first that is known of an entry, a listing or a withdrawal alike, to its word."""
    p95_seconds: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found."""

    origin: str
    size: int
    root: str
    grown: int
    """Entries since the last audit."""
    per_day: float | None
    """Entries a day, over everything observed; None after the first look."""
    blinded: int
    public: int
    witnesses: dict[str, datetime]
    witnesses_known: int
    has_quorum: bool
    platforms: list[PlatformReport]
    """Slowest first."""
    epochs_open: int
    epochs_checked: int
    most_withheld: int
    """Entries that a platform may be refused as canaries, by seeds that are not revealed yet."""
    policies: dict[str, str]
    """The digest of each document that the clearinghouse goes by."""
    documents: dict[str, dict[str, Any]]
    """These documents."""
    is_signed_twice: bool
    """Whether the log's ML-DSA-44 key has signed as well."""
    witnesses_are_own: bool
    """Whether the witnesses are those that the clearinghouse itself names."""
    problems: list[str] = field(default_factory=list)


class Audit:
    """One look at a log: `checkpoint`, then every path of `paths`, then `report`."""

    def __init__(self, policy: LogPolicy, state: AuditState | None, now: datetime) -> None:
        """Go on from an earlier audit's state, or from nothing.

        Raises:
            InputError: if the state is another log's, or for another key of it.
        """
        key = policy.log_key.to_text()
        self.state = state or AuditState(_STATE_VERSION, key)
        if self.state.log_key != key:
            raise InputError("the last audit was of another log, or of another key of this one")
        self._policy = policy
        self._now = now
        self._size_before = self.state.size
        self._frontier = Frontier(self.state.size, self.state.subtrees)
        self._target = Checkpoint(policy.origin, 0, self._frontier.root())
        self._note: Note | None = None
        self._documents: dict[str, dict[str, Any]] = {}
        self._unserved: list[str] = []

    def take_checkpoint(self, data: bytes) -> None:
        """Look at the log's newest checkpoint.

        Raises:
            RollbackError: if the log has become shorter than at the last audit.
            ForkError: if it shows another tree of the size it had.
            TrustError: if it is not a checkpoint signed by the log.
        """
        note = Note.from_bytes(data)
        self._target = LogPolicy(self._policy.log_key).verify(note)
        self._note = note
        if self._target.size < self.state.size:
            raise RollbackError("the log has become shorter than it was at the last audit")
        if self._target.size == self.state.size and self._target.root != self._frontier.root():
            raise ForkError("the log shows another list than at the last audit")

    def paths(self) -> Iterator[tuple[str, int]]:
        """The paths of the entry bundles to read, in order, each with its number of entries."""
        for number in range(self.state.size // TILE_WIDTH, -(-self._target.size // TILE_WIDTH)):
            width = min(self._target.size - number * TILE_WIDTH, TILE_WIDTH)
            yield bundle_path(number, width), width

    def take_bundle(self, data: bytes, width: int) -> None:
        """Read the next of `paths`.

        Raises:
            TrustError: if it is no bundle of that many entries.
        """
        start = self._frontier.size // TILE_WIDTH * TILE_WIDTH
        entries = decode_bundle(data, width)[self._frontier.size - start :]
        index = self._frontier.size
        self._frontier.append([leaf_digest(entry) for entry in entries])
        for entry in entries:
            self._read(index, entry)
            index += 1

    def finish(self) -> None:
        """Compare the tree of all entries with the one signed; what was read counts from now on.

        Raises:
            ForkError: if the entries shown are not those that were signed, or not those that the
                last audit saw continued.
        """
        if self._frontier.root() != self._target.root:
            raise ForkError("the entries shown are not those of the signed checkpoint")
        self.state.size = self._frontier.size
        self.state.subtrees = self._frontier.subtrees()
        self._observe(self._now, self._target.size)

    def documents_to_read(self) -> Iterator[tuple[str, str]]:
        """Label and path of each document that the clearinghouse goes by at present."""
        for label, digest in sorted(self.state.policies.items()):
            yield label, f"policy/{digest}"

    def take_document(self, label: str, data: bytes | None) -> None:
        """Read one of `documents_to_read`; None if it is not served."""
        if data is None or sha256(data).hexdigest() != self.state.policies[label]:
            self._unserved.append(label)
            return
        try:
            self._documents[label] = msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.DecodeError:
            self._unserved.append(label)

    def canaries_to_check(self) -> Iterator[tuple[int, int, bytes]]:
        """Epoch, index and public form of each canary that was revealed since the last check."""
        for epoch, (seed, canaries) in self.state.revealed.items():
            for number, (index, hour, windows) in enumerate(canaries):
                payload = canary_payload(seed, number, hour, windows)
                yield epoch, index, Entry(EntryKind.CANARY, payload).public()

    def canaries_checked(self, wrong: Sequence[int]) -> None:
        """Every canary of the revealed epochs has been compared; `wrong` lists epochs that lied."""
        for epoch in sorted(set(wrong)):
            self._problem(f"{_epoch(epoch)}: an entry withheld as a canary was none")
        self.state.epochs_checked += len(self.state.revealed)
        self.state.revealed = {}

    def report(self) -> Report:
        """What there is to say.

        Raises:
            SignatureError: if a witness's signature, or the log's second one, does not hold.
        """
        first = self.state.observations[0] if self.state.observations else (self._now, 0)
        days = (self._now - first[0]) / timedelta(days=1)
        platforms = sorted(self._platforms(), key=self._slowness, reverse=True)
        problems = list(self.state.problems)
        problems += [
            f"the document {label!r} that the log names is not served" for label in self._unserved
        ]
        policy = self._witness_policy()
        witnessed, has_quorum, is_signed_twice = {}, policy.quorum.threshold == 0, False
        if self._note is not None:
            witnessed = policy.witnessed_at(self._note)
            has_quorum = policy.quorum.is_met_by(
                list(self._note.signed_by(policy.quorum.witnesses()))
            )
            is_signed_twice = self._is_signed_twice(self._note, problems)
        if not has_quorum:
            problems.append("too few witnesses have signed the newest checkpoint")
        problems += [
            f"{each.name} has acknowledged nothing for {self._ago(each.acknowledged_at)}, "
            f"and is {each.behind} entries behind"
            for each in platforms
            if each.behind
            and each.acknowledged_at is not None
            and (self._now - each.acknowledged_at).total_seconds() > _LATE_SECONDS
        ]
        return Report(
            self._policy.origin,
            self._target.size,
            self._target.root.hex(),
            self.state.size - self._size_before,
            (self._target.size - first[1]) / days if days > 0.01 else None,
            self.state.blinded,
            self.state.public,
            witnessed,
            len({key.name for key in policy.quorum.witnesses()}),
            has_quorum,
            platforms,
            len(self.state.seeds),
            self.state.epochs_checked,
            sum(each.most for each in self.state.seeds.values()),
            dict(self.state.policies),
            self._documents,
            is_signed_twice,
            policy is not self._policy,
            problems,
        )

    def _witness_policy(self) -> LogPolicy:
        """The auditor's, or else that of the clearinghouse, as the log says."""
        lines = self._documents.get("keys", {}).get("witnesses")
        if self._policy.quorum.witnesses() or not isinstance(lines, list):
            return self._policy
        try:
            quorum = PolicyFile.from_text("\n".join(map(str, lines))).quorum
        except InputError:
            return self._policy
        return LogPolicy(self._policy.log_key, quorum)

    def _is_signed_twice(self, note: Note, problems: list[str]) -> bool:
        named = self._documents.get("keys", {}).get("log")
        keys = []
        for text in named if isinstance(named, list) else []:
            try:
                keys.append(VerifierKey.from_text(str(text)))
            except InputError:
                problems.append("the log names a key of its own that is malformed")
        if not keys:
            return False
        if self._policy.log_key not in keys:
            problems.append("the log is signed by another key than it names as its own")
        signed = note.signed_by(keys)
        problems += [
            f"the log's own {each.kind.name} signature is missing"
            for each in keys
            if each not in signed
        ]
        return len(signed) > 1

    def _platforms(self) -> Iterator[PlatformReport]:
        named = self._documents.get("partners", {}).get("partners")
        fed = {
            str(each.get("name", ""))
            for each in (named if isinstance(named, list) else [])
            if isinstance(each, dict) and each.get("feed")
        }
        for name, platform in self.state.platforms.items():
            yield self._platform(name, platform)
        for name in sorted(fed - self.state.platforms.keys()):
            # It has a feed, and has never said a word.
            yield PlatformReport(name, self.state.to_apply, None, None, None, None)

    def _platform(self, name: str, platform: Platform) -> PlatformReport:
        delays = sorted(platform.delays_seconds)
        median = delays[len(delays) // 2] if delays else None
        p95 = delays[min(len(delays) - 1, len(delays) * 95 // 100)] if delays else None
        behind = max(0, self.state.to_apply - platform.size)
        known = [at for at, size in self.state.observations if size > platform.size]
        since = min(known) if behind and known else None
        return PlatformReport(name, behind, platform.at, since, median, p95)

    def _slowness(self, platform: PlatformReport) -> tuple[float, float, int]:
        since = platform.behind_since or self._now
        waits = (self._now - since).total_seconds()
        if platform.acknowledged_at is None:
            waits = float("inf")
        return waits, platform.p95_seconds or 0.0, platform.behind

    def _ago(self, at: datetime) -> str:
        hours = int((self._now - at).total_seconds() // 3600)
        return f"{hours} hours" if hours < 72 else f"{hours // 24} days"

    def _problem(self, text: str) -> None:
        if text not in self.state.problems:
            self.state.problems.append(text)

    def _observe(self, at: datetime, size: int) -> None:
        seen = self.state.observations
        if not seen or size > seen[-1][1]:
            seen.append((at, size))
            # The first is kept: growth is counted from there.
            del seen[1 : max(1, len(seen) - _MOST_OBSERVATIONS)]

    def _read(self, index: int, entry: bytes) -> None:
        kind, payload = entry[:1], entry[1:]
        if kind != bytes([EntryKind.ACK]):
            self.state.to_apply = index + 1
        if kind == bytes([BLINDED]):
            self.state.blinded += 1
            if len(payload) != 32:
                self._problem(f"entry {index} is not a commitment")
            return
        self.state.public += 1
        try:
            if kind == bytes([EntryKind.ACK]):
                self._acknowledge(index, AckRecord.from_bytes(payload))
            elif kind == bytes([EntryKind.SEED]):
                self._seed(index, SeedRecord.from_bytes(payload))
            elif kind == bytes([EntryKind.POLICY]):
                policy = PolicyRecord.from_bytes(payload)
                self.state.policies[policy.label] = policy.digest.hex()
            else:
                self._problem(f"entry {index} is of an unknown kind")
        except MalformedRecordError as error:
            self._problem(f"entry {index}: {error}")

    def _acknowledge(self, index: int, ack: AckRecord) -> None:
        if ack.size > index:
            self._problem(f"entry {index}: a platform acknowledged what was not there yet")
            return
        platform = self.state.platforms.setdefault(ack.partner, Platform())
        platform.acknowledgements += 1
        if ack.size < platform.size:
            self._problem(f"{ack.partner} acknowledged less than it had before")
            return
        known = [at for at, size in self.state.observations if platform.size < size <= ack.size]
        if known:
            delays = platform.delays_seconds
            delays.append(max(0.0, (ack.at - min(known)).total_seconds()))
            del delays[: max(0, len(delays) - _MOST_DELAYS)]
        platform.size, platform.at = ack.size, ack.at
        self._observe(ack.at, ack.size)

    def _seed(self, index: int, seed: SeedRecord) -> None:
        if not seed.is_revealed:
            if seed.epoch in self.state.seeds:
                self._problem(f"{_epoch(seed.epoch)}: two seeds were committed to")
            if len(self.state.seeds) >= MAX_OPEN_EPOCHS:
                self._problem(f"{_epoch(seed.epoch)} began before the last but one was revealed")
            self.state.seeds.setdefault(seed.epoch, OpenSeed(seed.value, seed.most, index))
            return
        known = self.state.seeds.pop(seed.epoch, None)
        if known is None or known.digest != seed_digest(seed.epoch, seed.value):
            self._problem(f"{_epoch(seed.epoch)}: the seed revealed is not the one committed to")
        elif len(seed.canaries) > known.most or any(
            not known.index < at < index for at, _, _ in seed.canaries
        ):
            self._problem(f"{_epoch(seed.epoch)} had more canaries than was said, or elsewhere")
        else:
            self.state.revealed[seed.epoch] = (seed.value, list(seed.canaries))


def _epoch(number: int) -> str:
    return f"the canaries of {datetime.fromtimestamp(number, UTC):%d %B %Y}"


__all__ = ["MAX_BUNDLE_BYTES", "Audit", "AuditState", "PlatformReport", "Report", "TrustError"]
