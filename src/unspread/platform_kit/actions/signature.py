"""Signed webhooks in the form of Standard Webhooks, so that receivers need nothing of ours.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
("Signature scheme"): `webhook-id`, `webhook-timestamp` and `webhook-signature`, where the signed
content is `{id}.{timestamp}.{body}`. A signature is `v1,` and base64 of an HMAC-SHA256 with a
shared secret, or `v1a,` and base64 of an Ed25519 signature that anyone can check.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from unspread import crypto
from unspread.errors import InputError, TrustError

TOLERANCE_SECONDS: Final = 300
"""How far a receiver's clock may be off, and how old a replayed request can be."""

SECRET_BYTES: Final = (24, 64)
"""Shortest and longest shared secret that the specification allows."""

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix, not a secret
_SIGNING_PREFIX: Final = "whsk_"
_PUBLIC_PREFIX: Final = "whpk_"


class WebhookSignatureError(TrustError):
    """A webhook is not from who shares the key, was changed on its way, or is old."""


class WebhookKey(Protocol):
    """Signs what we send."""

    def signature(self, content: bytes) -> str:
        """One signature with its version, as it stands in the header."""
        ...


class WebhookCheck(Protocol):
    """Checks what was received."""

    def holds(self, content: bytes, signature: str) -> bool:
        """Whether one signature of the header is right for the content."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret that sender and receiver hold; each can do what the other can."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        low, high = SECRET_BYTES
        if not low <= len(self.secret) <= high:
            raise InputError(f"a webhook secret has {low} to {high} bytes")

    @classmethod
    def from_text(cls, text: str) -> "SharedSecret":
        """From `whsec_` and base64.

        Raises:
            InputError: if it is anything else.
        """
        return cls(_from_text(text, _SECRET_PREFIX))

    def to_text(self) -> str:
        """`whsec_` and base64, for the secret's file and the receiver's configuration."""
        return _SECRET_PREFIX + base64.b64encode(self.secret).decode()

    def signature(self, content: bytes) -> str:
        """`v1,` and the HMAC-SHA256."""
        digest = hmac.digest(self.secret, content, hashlib.sha256)
        return f"v1,{base64.b64encode(digest).decode()}"

    def holds(self, content: bytes, signature: str) -> bool:
        """Whether `signature` is ours; takes equally long for any wrong one."""
        return hmac.compare_digest(self.signature(content).encode(), signature.encode())


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An Ed25519 key of the sender's, for receivers that should not be able to sign."""

    key: crypto.SigningKey

    @classmethod
    def from_text(cls, text: str) -> "PrivateKey":
        """From `whsk_` and base64 of the 32 secret bytes.

        Raises:
            InputError: if it is anything else.
        """
        return cls(crypto.SigningKey(_from_text(text, _SIGNING_PREFIX)))

    def to_text(self) -> str:
        """`whsk_` and base64, for the key's file and nothing else."""
        return _SIGNING_PREFIX + base64.b64encode(self.key.seed()).decode()

    def public(self) -> "PublicKey":
        """What receivers check with."""
        return PublicKey(self.key.public)

    def signature(self, content: bytes) -> str:
        """`v1a,` and the Ed25519 signature."""
        return f"v1a,{base64.b64encode(self.key.sign(content)).decode()}"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a `PrivateKey`."""

    public: bytes

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """From `whpk_` and base64 of 32 bytes.

        Raises:
            InputError: if it is anything else.
        """
        return cls(_from_text(text, _PUBLIC_PREFIX))

    def to_text(self) -> str:
        """`whpk_` and base64, to publish."""
        return _PUBLIC_PREFIX + base64.b64encode(self.public).decode()

    def holds(self, content: bytes, signature: str) -> bool:
        """Whether `signature` is the key's."""
        version, _, text = signature.partition(",")
        if version != "v1a":
            return False
        try:
            crypto.verify(self.public, content, base64.b64decode(text, validate=True))
        except (crypto.SignatureError, ValueError):
            return False
        return True


def key_from_text(text: str) -> SharedSecret | PrivateKey:
    """The key in a secret's file, of either kind.

    Raises:
        InputError: if it is neither.
    """
    text = text.strip()
    if text.startswith(_SIGNING_PREFIX):
        return PrivateKey.from_text(text)
    return SharedSecret.from_text(text)


def signed_headers(
    message_id: str, timestamp: int, body: bytes, keys: Sequence[WebhookKey]
) -> dict[str, str]:
    """The three headers of a webhook.

    Args:
        message_id: the same on every retry, so that a receiver can drop what it has seen.
        timestamp: of this attempt, whole seconds since 1970, UTC.
        body: exactly as sent.
        keys: all in use, so that a key can be replaced without a gap.

    Raises:
        InputError: if the id has a dot.
    """
    # A dot in the id would let one signed text be read as two different messages.
    if "." in message_id:
        raise InputError("a webhook's id has no dot")
    content = _content(message_id, str(timestamp), body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.signature(content) for key in keys),
    }


def verify(
    headers: Mapping[str, str],
    body: bytes,
    checks: Sequence[WebhookCheck],
    now: int,
    *,
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> str:
    """Return the id of a webhook that one of `checks` vouches for.

    Args:
        headers: of the request, names in lower case.
        body: exactly as received.
        checks: the keys to accept.
        now: the receiver's clock, whole seconds since 1970, UTC.
        tolerance_seconds: inclusive, to both sides.

    Raises:
        WebhookSignatureError: if none does, a header is missing, or it is too old or too new.
    """
    try:
        message_id = headers["webhook-id"]
        timestamp = headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split(" ")
    except KeyError:
        raise WebhookSignatureError("the webhook is not signed") from None
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise WebhookSignatureError("the webhook's time is not a number of seconds")
    if abs(now - int(timestamp)) > tolerance_seconds:
        raise WebhookSignatureError("the webhook is too old, or one of the two clocks is wrong")
    if "." in message_id:
        raise WebhookSignatureError("a webhook's id has no dot")
    content = _content(message_id, timestamp, body)
    if not any(check.holds(content, each) for each in signatures for check in checks):
        raise WebhookSignatureError("no signature of the webhook holds")
    return message_id


def _content(message_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode() + body


def _from_text(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise InputError(f"a webhook key of this kind starts with {prefix}")
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except ValueError:
        raise InputError("a webhook key is base64 after its prefix") from None
