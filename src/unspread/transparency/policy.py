"""When a checkpoint is trusted: the log's signature, and those of a quorum of witnesses.

A policy can be written as a file, https://c2sp.org/tlog-policy.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Union

from unspread.errors import InputError, TrustError
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import MissingSignatureError, Note, SignatureKind, VerifierKey

_MOST_LINES: Final = 1000


class WitnessQuorumError(TrustError):
    """Too few witnesses have signed: the log may be showing others another list."""


class WrongLogError(TrustError):
    """A checkpoint of another log."""


@dataclass(frozen=True, slots=True)
class Group:
    """Satisfied when `threshold` of its members are: witnesses that signed, or groups."""

    threshold: int
    members: tuple[Union[VerifierKey, "Group"], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= len(self.members):
            raise InputError("a group's threshold is at most the number of its members")

    def witnesses(self) -> frozenset[VerifierKey]:
        """Every witness in it."""
        found: set[VerifierKey] = set()
        for member in self.members:
            found |= member.witnesses() if isinstance(member, Group) else {member}
        return frozenset(found)

    def is_met_by(self, signed: Collection[VerifierKey]) -> bool:
        """Whether the witnesses that signed suffice."""
        met = sum(
            member.is_met_by(signed) if isinstance(member, Group) else member in signed
            for member in self.members
        )
        return met >= self.threshold


NO_WITNESSES: Final = Group(0)


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """Which log is followed, by which key, and which witnesses must have seen its checkpoints."""

    log_key: VerifierKey
    """Its name is the log's origin."""
    quorum: Group = NO_WITNESSES
    """Without witnesses, a log could show two platforms two lists."""
    post_quantum_key: VerifierKey | None = None
    """If there is one, it must have signed as well: whoever can forge the one kind of signature
    can then still show no other list."""

    def __post_init__(self) -> None:
        second = self.post_quantum_key
        if second is not None and (
            second.kind is not SignatureKind.COSIGNATURE_ML_DSA_44
            or second.name != self.log_key.name
        ):
            raise InputError("the log's second key is one of ML-DSA-44, under the log's name")
        if any(key.kind is SignatureKind.ED25519 for key in self.quorum.witnesses()):
            raise InputError("a witness signs cosignatures")

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.log_key.name

    def verify(self, note: Note) -> Checkpoint:
        """The checkpoint, trusted.

        Raises:
            WrongLogError: if it is another log's.
            MissingSignatureError: if the log did not sign.
            SignatureError: if a signature by a key of this policy does not hold.
            WitnessQuorumError: if too few witnesses signed.
            MalformedNoteError: if it is not a checkpoint.
        """
        witnesses = self.quorum.witnesses()
        own = [key for key in (self.log_key, self.post_quantum_key) if key is not None]
        signed = note.signed_by([*own, *witnesses])
        if any(key not in signed for key in own):
            raise MissingSignatureError("a signature of the log's own is missing")
        if not self.quorum.is_met_by(signed):
            raise WitnessQuorumError(
                f"only {len(signed) - len(own)} of {len(witnesses)} witnesses have signed"
            )
        checkpoint = Checkpoint.from_text(note.text)
        if checkpoint.origin != self.origin:
            raise WrongLogError("the checkpoint is another log's")
        return checkpoint

    def witnessed_at(self, note: Note) -> dict[str, datetime]:
        """Which witnesses signed, and when.

        Raises:
            SignatureError: if one's signature does not hold.
        """
        found = note.signed_by(self.quorum.witnesses())
        return {key.name: at for key, at in found.items() if at is not None}


def trial_policy(
    origin: str,
    public_key: bytes,
    witnesses: Iterable[VerifierKey] = (),
    quorum: int = 0,
    *,
    post_quantum_key: bytes = b"",
) -> LogPolicy:
    """A policy that needs the log's own signatures and those of `quorum` of the witnesses."""
    key = VerifierKey(origin, SignatureKind.ED25519, public_key)
    second = None
    if post_quantum_key:
        second = VerifierKey(origin, SignatureKind.COSIGNATURE_ML_DSA_44, post_quantum_key)
    return LogPolicy(key, Group(quorum, tuple(witnesses)), second)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a tlog-policy file says."""

    logs: tuple[tuple[VerifierKey, str], ...]
    """Each log's key and address, which may be empty."""
    witnesses: tuple[tuple[VerifierKey, str], ...]
    """Each witness's key and address, which may be empty."""
    quorum: Group

    def for_log(self, origin: str | None = None) -> LogPolicy:
        """The policy for one of its logs; for its only log if `origin` is not given.

        Raises:
            InputError: if it names no such log.
        """
        keys = [key for key, _ in self.logs if origin in {None, key.name}]
        first = [key for key in keys if key.kind is SignatureKind.ED25519]
        second = [key for key in keys if key.kind is not SignatureKind.ED25519]
        if len(first) != 1 or len(second) > 1:
            raise InputError("the policy does not name this log, or names several")
        return LogPolicy(first[0], self.quorum, second[0] if second else None)

    @classmethod
    def from_text(cls, text: str) -> "PolicyFile":
        """Read a policy.

        Raises:
            InputError: with the number of the line that is wrong.
        """
        lines = text.split("\n")
        if len(lines) > _MOST_LINES or any(c < " " and c not in "\t\n" for c in text):
            raise InputError("not a policy file")
        reading = _PolicyReading()
        for number, line in enumerate(lines, 1):
            words = line.replace("\t", " ").split(" ")
            words = [word for word in words if word]
            if not words or words[0].startswith("#"):
                continue
            try:
                reading.take(words)
            except InputError as error:
                raise InputError(f"line {number} of the policy: {error}") from None
        if reading.quorum is None:
            raise InputError("a policy has one quorum line")
        return cls(tuple(reading.logs), tuple(reading.witnesses), reading.quorum)


@dataclass(slots=True)
class _PolicyReading:
    logs: list[tuple[VerifierKey, str]] = field(default_factory=list)
    witnesses: list[tuple[VerifierKey, str]] = field(default_factory=list)
    named: dict[str, VerifierKey | Group] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)
    quorum: Group | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", key, *url] if len(url) <= 1:
                self.logs.append((self._key(key, self.logs), "".join(url)))
            case ["witness", name, key, *url] if len(url) <= 1:
                witness = self._key(key, self.witnesses)
                self._name(name, witness)
                self.witnesses.append((witness, "".join(url)))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name] if self.quorum is None:
                known = NO_WITNESSES if name == "none" else self._known(name)
                self.quorum = known if isinstance(known, Group) else Group(1, (known,))
            case _:
                raise InputError("not understood")

    def _key(self, text: str, others: list[tuple[VerifierKey, str]]) -> VerifierKey:
        key = VerifierKey.from_text(text)
        if any(other.public == key.public for other, _ in others):
            raise InputError("this key is named twice")
        return key

    def _name(self, name: str, member: VerifierKey | Group) -> None:
        if name == "none" or name in self.named:
            raise InputError("this name is taken")
        self.named[name] = member

    def _known(self, name: str) -> VerifierKey | Group:
        if name not in self.named:
            raise InputError("a name is not defined above")
        return self.named[name]

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        if len(set(members)) < len(members) or not self.grouped.isdisjoint(members):
            raise InputError("a name can be a member once only")
        known = tuple(self._known(member) for member in members)
        words = {"any": 1, "all": len(known)}
        if threshold not in words and not (threshold.isascii() and threshold.isdigit()):
            raise InputError("a threshold is any, all or a number")
        count = words[threshold] if threshold in words else int(threshold)
        if not count >= 1:
            raise InputError("a threshold is at least 1")
        self._name(name, Group(count, known))
        self.grouped.update(members)
