"""Signed notes (https://c2sp.org/signed-note) and cosignatures (https://c2sp.org/tlog-cosignature).

A note is a text ending in a newline, an empty line, and signature lines. Which signatures are
needed is for the caller to say; a signature by a known key that does not hold refuses the note.
"""

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from unspread.crypto import (
    ML_DSA_44_PUBLIC_BYTES,
    PostQuantumSigningKey,
    SignatureError,
    SigningKey,
    sha256,
    verify,
    verify_post_quantum,
)
from unspread.errors import InputError, TrustError

MAX_NOTE_BYTES: Final = 256 * 1024
"""More than 64 post-quantum cosignatures."""
MAX_SIGNATURES: Final = 64

_SIGNATURE_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class MalformedNoteError(TrustError):
    """Not a signed note, or not in canonical form."""


class MissingSignatureError(TrustError):
    """A signature that is needed is not on the note."""


class SignatureKind(IntEnum):
    """The signature type identifier bytes that are understood here."""

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_ML_DSA_44 = 0x06


_PUBLIC_BYTES: Final = {
    SignatureKind.ED25519: 32,
    SignatureKind.COSIGNATURE_ED25519: 32,
    SignatureKind.COSIGNATURE_ML_DSA_44: ML_DSA_44_PUBLIC_BYTES,
}
_SIGNATURE_BYTES: Final = {
    SignatureKind.ED25519: 64,
    SignatureKind.COSIGNATURE_ED25519: 72,
    SignatureKind.COSIGNATURE_ML_DSA_44: 2428,
}


def decode_base64(text: str) -> bytes:
    """The bytes of canonical standard base64 (RFC 4648, section 4).

    Raises:
        MalformedNoteError: for anything else.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedNoteError("not base64") from None
    if base64.b64encode(value).decode() != text:
        raise MalformedNoteError("base64 in another spelling")
    return value


def decode_decimal(text: str, limit: int = 2**63 - 1) -> int:
    """The number in ASCII decimal without leading zeros, 0..limit.

    Raises:
        MalformedNoteError: for anything else.
    """
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text, re.ASCII) or int(text) > limit:
        raise MalformedNoteError("not a number in canonical form, or too large")
    return int(text)


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and what kind of signature it makes."""

    name: str
    kind: SignatureKind
    public: bytes

    def __post_init__(self) -> None:
        if not _is_key_name(self.name) or len(self.public) != _PUBLIC_BYTES[self.kind]:
            raise InputError("not a verifier key")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, kind, public key)."""
        return sha256(self.name.encode(), b"\n", bytes([self.kind]), self.public)[:4]

    def to_text(self) -> str:
        """`name+hex id+base64(kind, public key)`, as signed-note's "vkey"."""
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def from_text(cls, text: str) -> "VerifierKey":
        """The key that `to_text` writes so.

        Raises:
            InputError: for anything else.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            key = cls(name, SignatureKind(raw[0]), raw[1:])
        except (ValueError, IndexError):
            raise InputError("not a verifier key") from None
        if key.key_id.hex() != key_id or key.to_text() != text:
            raise InputError("the verifier key's name, identifier and key do not belong together")
        return key


def signed_message(key: VerifierKey, text: str, timestamp: int) -> bytes:
    """What a signature of this kind covers; `timestamp` (seconds since 1970) in cosignatures only.

    Raises:
        MalformedNoteError: if a cosignature is asked of a text that is no checkpoint.
    """
    if key.kind is SignatureKind.ED25519:
        return text.encode()
    if key.kind is SignatureKind.COSIGNATURE_ED25519:
        return f"cosignature/v1\ntime {timestamp}\n{text}".encode()
    lines = text.split("\n")
    if len(lines) < 4:
        raise MalformedNoteError("only a checkpoint can be cosigned")
    name, origin, root = key.name.encode(), lines[0].encode(), decode_base64(lines[2])
    size = decode_decimal(lines[1])
    if not 0 < len(name) < 256 or not 0 < len(origin) < 256 or len(root) != 32:
        raise MalformedNoteError("only a checkpoint can be cosigned")
    return b"".join([
        b"subtree/v1\n\x00",
        bytes([len(name)]), name,
        struct.pack(">Q", timestamp),
        bytes([len(origin)]), origin,
        struct.pack(">QQ", 0, size),
        root,
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose it claims to be, and its bytes after the key's identifier."""

    name: str
    key_id: bytes
    value: bytes

    def to_line(self) -> str:
        """The line, with its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"

    @classmethod
    def from_line(cls, line: str) -> "Signature":
        """The signature in a line without its newline.

        Raises:
            MalformedNoteError: if it is not one.
        """
        match = _SIGNATURE_LINE.fullmatch(line)
        raw = decode_base64(match[2]) if match else b""
        if match is None or len(raw) < 5:
            raise MalformedNoteError("not a signature line")
        return cls(match[1], raw[:4], raw[4:])


class NoteSigner:
    """A private key with its name and the kind of signature that it makes."""

    __slots__ = ("_key", "key")

    def __init__(
        self,
        name: str,
        key: SigningKey | PostQuantumSigningKey,
        *,
        cosigns: bool = False,
    ) -> None:
        """A signer of notes with Ed25519, or with `cosigns` of checkpoints, at a time.

        ML-DSA-44 only ever cosigns (https://c2sp.org/tlog-checkpoint, "Signatures").
        """
        kind = SignatureKind.COSIGNATURE_ED25519 if cosigns else SignatureKind.ED25519
        if isinstance(key, PostQuantumSigningKey):
            kind = SignatureKind.COSIGNATURE_ML_DSA_44
        self._key = key
        self.key = VerifierKey(name, kind, key.public)
        """What verifies its signatures."""

    def sign(self, text: str, at: datetime) -> Signature:
        """Its signature over a note's text; the time `at` is part of cosignatures only."""
        timestamp = int(at.timestamp())
        value = self._key.sign(signed_message(self.key, text, timestamp))
        if self.key.kind is not SignatureKind.ED25519:
            value = struct.pack(">Q", timestamp) + value
        return Signature(self.key.name, self.key.key_id, value)


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures on it, not verified."""

    text: str
    """Ends in a newline."""
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """The note as a file."""
        return (self.text + "\n" + "".join(each.to_line() for each in self.signatures)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Note":
        """The note that `to_bytes` writes so.

        Raises:
            MalformedNoteError: if it is not a note.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise MalformedNoteError("a note this long is not read")
        try:
            content = data.decode()
        except UnicodeDecodeError:
            raise MalformedNoteError("a note is UTF-8") from None
        text, separator, lines = content.rpartition("\n\n")
        if not separator or not lines.endswith("\n") or _CONTROL.search(content):
            raise MalformedNoteError("not a signed note")
        signatures = lines[:-1].split("\n")
        if len(signatures) > MAX_SIGNATURES:
            raise MalformedNoteError("too many signatures on one note")
        return cls(text + "\n", tuple(Signature.from_line(line) for line in signatures))

    def signed_by(self, keys: Iterable[VerifierKey]) -> dict[VerifierKey, datetime | None]:
        """Which of `keys` signed, with the time of their cosignature.

        Raises:
            SignatureError: if a signature that claims to be by one of `keys` does not hold.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[VerifierKey, datetime | None] = {}
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                found[key] = _verify(key, self.text, signature.value)
        return found

    def require(self, key: VerifierKey) -> None:
        """Return if `key` signed.

        Raises:
            MissingSignatureError: if its signature is not there.
            SignatureError: if it does not hold.
        """
        if key not in self.signed_by([key]):
            raise MissingSignatureError(f"the signature of {key.name} is missing")


def _verify(key: VerifierKey, text: str, value: bytes) -> datetime | None:
    if len(value) != _SIGNATURE_BYTES[key.kind]:
        raise SignatureError(f"the signature of {key.name} has a wrong length")
    timestamp = 0
    if key.kind is not SignatureKind.ED25519:
        timestamp, value = int.from_bytes(value[:8], "big"), value[8:]
        if timestamp >= 1 << 40:
            raise SignatureError(f"the signature of {key.name} is of an impossible time")
    message = signed_message(key, text, timestamp)
    if key.kind is SignatureKind.COSIGNATURE_ML_DSA_44:
        verify_post_quantum(key.public, message, value)
    else:
        verify(key.public, message, value)
    return datetime.fromtimestamp(timestamp, UTC) if timestamp else None


def sign_note(text: str, signers: Sequence[NoteSigner], at: datetime) -> Note:
    """A note with the signatures of all `signers`.

    Raises:
        InputError: if the text cannot be that of a note.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise InputError("a note's text ends in a newline and has no control characters")
    return Note(text, tuple(signer.sign(text, at) for signer in signers))
