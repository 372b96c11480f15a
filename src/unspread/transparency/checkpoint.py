"""Checkpoints (https://c2sp.org/tlog-checkpoint): a log's size and root, signed."""

import base64
from dataclasses import dataclass

from unspread.transparency.merkle import DIGEST_BYTES
from unspread.transparency.note import MalformedNoteError, decode_base64, decode_decimal


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to by its signature: that its first `size` entries have this root."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> "Checkpoint":
        """The checkpoint in a note's text. Lines after the third are ignored, as by witnesses.

        Raises:
            MalformedNoteError: if the text is not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise MalformedNoteError("not a checkpoint")
        root = decode_base64(lines[2])
        if len(root) != DIGEST_BYTES:
            raise MalformedNoteError("a root has 32 bytes")
        return cls(lines[0], decode_decimal(lines[1]), root)
