"""Audits a public log: everything that anybody can check with its URL alone, without I/O.

The whole log is read once and its tree rebuilt, so that the root is known to be that of the
entries shown; from then on only what is new is read. Saved between audits, the state shows a
fork or a rollback whenever one happens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

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
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import Frontier, leaf_digest
from unspread.transparency.note import Note, VerifierKey
from unspread.transparency.policy import LogPolicy
from unspread.transparency.tiles import TILE_WIDTH, bundle_path, decode_bundle

_STATE_VERSION: Final = 1
_MOST_OBSERVATIONS: Final = 4000
_MOST_DELAYS: Final = 1000
_LATE_SECONDS: Final = 24 * 3600
"""A platform that has acknowledged nothing new for so long, while there was, is called late."""
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (65_535 + 2)


class Platform(msgspec.Struct):
    """What a platform has said, in public, that it has applied."""

    size: int = 0
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    acknowledgements: int = 0
    delays_seconds: list[float] = msgspec.field(default_factory=list)
    """From the first that is known of a size to the acknowledgement that covers it."""


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
    seeds: dict[int, bytes] = msgspec.field(default_factory=dict)
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
            raise InputError("the file of the last audit is another version's")
        return state


@dataclass(frozen=True, slots=True)
class PlatformReport:
    """How far a platform is, by its own public word."""

    name: str
    behind: int
    """Entries that it has not acknowledged, short of acknowledgements at the end."""
    acknowledged_at: datetime
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
    policies: dict[str, str]
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
        self._witnesses: dict[str, datetime] = {}
        self._has_quorum = False

    def take_checkpoint(self, data: bytes) -> None:
        """Look at the log's newest checkpoint.

        Raises:
            RollbackError: if the log has become shorter than at the last audit.
            ForkError: if it shows another tree of the size it had.
            TrustError: if it is not a checkpoint signed by the log.
        """
        note = Note.from_bytes(data)
        self._target = LogPolicy(self._policy.log_key).verify(note)
        signed: Sequence[VerifierKey] = list(note.signed_by(self._policy.quorum.witnesses()))
        self._has_quorum = self._policy.quorum.is_met_by(signed)
        self._witnesses = self._policy.witnessed_at(note)
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

    def canaries_to_check(self) -> Iterator[tuple[int, int, bytes]]:
        """Epoch, index and public form of each canary that was revealed since the last check."""
        for epoch, (seed, canaries) in self.state.revealed.items():
            for number, (index, hour, windows) in enumerate(canaries):
                payload = canary_payload(seed, number, hour, windows)
                yield epoch, index, Entry(EntryKind.CANARY, payload).public()

    def canaries_checked(self, wrong: Sequence[int]) -> None:
        """Every canary of the revealed epochs has been compared; `wrong` lists epochs that lied."""
        for epoch in sorted(set(wrong)):
            self._problem(f"epoch {epoch}: an entry withheld as a canary was none")
        self.state.epochs_checked += len(self.state.revealed)
        self.state.revealed = {}

    def report(self) -> Report:
        """What there is to say."""
        first = self.state.observations[0] if self.state.observations else (self._now, 0)
        days = (self._now - first[0]) / timedelta(days=1)
        platforms = sorted(
            (self._platform(name, each) for name, each in self.state.platforms.items()),
            key=lambda each: (each.behind, each.p95_seconds or 0),
            reverse=True,
        )
        problems = list(self.state.problems)
        if not self._has_quorum:
            problems.append("too few witnesses have signed the newest checkpoint")
        problems += [
            f"{each.name} has acknowledged nothing for {self._ago(each.acknowledged_at)}, "
            f"and is {each.behind} entries behind"
            for each in platforms
            if each.behind and (self._now - each.acknowledged_at).total_seconds() > _LATE_SECONDS
        ]
        return Report(
            self._policy.origin,
            self._target.size,
            self._target.root.hex(),
            self.state.size - self._size_before,
            (self._target.size - first[1]) / days if days > 0.01 else None,
            self.state.blinded,
            self.state.public,
            self._witnesses,
            len({key.name for key in self._policy.quorum.witnesses()}),
            self._has_quorum,
            platforms,
            len(self.state.seeds),
            self.state.epochs_checked,
            dict(self.state.policies),
            problems,
        )

    def _platform(self, name: str, platform: Platform) -> PlatformReport:
        delays = sorted(platform.delays_seconds)
        median = delays[len(delays) // 2] if delays else None
        p95 = delays[min(len(delays) - 1, len(delays) * 95 // 100)] if delays else None
        behind = max(0, self.state.to_apply - platform.size)
        return PlatformReport(name, behind, platform.at, median, p95)

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
                self._seed(SeedRecord.from_bytes(payload))
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

    def _seed(self, seed: SeedRecord) -> None:
        if not seed.is_revealed:
            if seed.epoch in self.state.seeds:
                self._problem(f"epoch {seed.epoch}: two seeds were committed to")
            self.state.seeds.setdefault(seed.epoch, seed.value)
        elif self.state.seeds.pop(seed.epoch, None) != seed_digest(seed.epoch, seed.value):
            self._problem(f"epoch {seed.epoch}: the seed revealed is not the one committed to")
        else:
            self.state.revealed[seed.epoch] = (seed.value, list(seed.canaries))


__all__ = ["MAX_BUNDLE_BYTES", "Audit", "AuditState", "PlatformReport", "Report", "TrustError"]
