"""When a checkpoint is trusted: the log's signature, and those of k of n witnesses."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from unspread.errors import InputError, TrustError
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import MissingSignatureError, Note, SignatureKind, VerifierKey


class WitnessQuorumError(TrustError):
    """Too few witnesses have signed: the log may be showing others another list."""


class WrongLogError(TrustError):
    """A checkpoint of another log."""


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """Which log is followed, by which key, and which witnesses must have seen its checkpoints."""

    log_key: VerifierKey
    """Its name is the log's origin."""
    witnesses: frozenset[VerifierKey] = frozenset()
    quorum: int = 0
    """How many of the witnesses must have signed; 0 in a trial without witnesses."""

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= len(self.witnesses):
            raise InputError("the quorum is at most the number of witnesses")
        if any(key.kind is SignatureKind.ED25519 for key in self.witnesses):
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
        signed = note.signed_by([self.log_key, *self.witnesses])
        if self.log_key not in signed:
            raise MissingSignatureError("the log's own signature is missing")
        count = len(signed) - 1
        if count < self.quorum:
            raise WitnessQuorumError(
                f"{count} of {len(self.witnesses)} witnesses have signed, {self.quorum} are needed"
            )
        checkpoint = Checkpoint.from_text(note.text)
        if checkpoint.origin != self.origin:
            raise WrongLogError("the checkpoint is another log's")
        return checkpoint

    def witnessed_at(self, note: Note) -> list[tuple[str, datetime]]:
        """Which witnesses signed, and when.

        Raises:
            SignatureError: if one's signature does not hold.
        """
        found = note.signed_by(self.witnesses)
        return sorted((key.name, at) for key, at in found.items() if at is not None)


def trial_policy(
    origin: str, public_key: bytes, witnesses: Iterable[VerifierKey] = ()
) -> LogPolicy:
    """A policy that needs the log's own signature only."""
    key = VerifierKey(origin, SignatureKind.ED25519, public_key)
    return LogPolicy(key, frozenset(witnesses), 0)
