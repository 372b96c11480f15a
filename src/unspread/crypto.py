"""The only door to a cryptographic library: keys, signatures, receipts.

Everything derives from well-kept primitives of `cryptography`: Ed25519 (RFC 8032), HKDF with
SHA-256 (RFC 5869), SHA-256. The browser derives the same values; `vectors/receipts.json` judges
both. How they are used on the wire stands in docs/protocol/case.md.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from unspread.errors import InputError, MalformedReceiptError, TrustError

SECRET_BYTES: Final = 13
"""104 bits: beyond any search, and 24 characters to write down with the two check bytes."""

SALT_BYTES: Final = 16
ITEM_KEY_DIGEST_BYTES: Final = 16

_CHECK_BYTES: Final = 2
_GROUP: Final = 4
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32 (https://www.crockford.com/base32.html): no I, L, O, U."""
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_SEPARATORS: Final = str.maketrans(dict.fromkeys(" -_.\t\r\n‐‑‒–—−", ""))


class SignatureError(TrustError):
    """A signature does not fit its message and key."""


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of the parts, joined."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def derive(secret: bytes, info: str, length: int) -> bytes:
    """`length` bytes of HKDF-SHA256 , empty salt; another `info` gives unrelated bytes."""
    return HKDF(SHA256(), length, salt=None, info=info.encode()).derive(secret)


class SigningKey:
    """An Ed25519 private key. Its repr and its errors show nothing of it."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret bytes (RFC 8032, section 5.1.5)."""
        if len(seed) != 32:
            raise InputError("an Ed25519 seed has 32 bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        """The 32 bytes of the public key."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the deterministic signature."""
        return self._key.sign(message)

    def seed(self) -> bytes:
        """The 32 secret bytes, for writing to a key file and nothing else."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return "SigningKey(…)"


def verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` is `public_key`'s over `message`.

    Raises:
        SignatureError: if it is not, or key or signature are malformed.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureError("the signature does not hold") from None


def item_key_digest(item_key: bytes) -> bytes:
    """What a listing shows of an item's public key: enough to check a withdrawal against."""
    return sha256(item_key)[:ITEM_KEY_DIGEST_BYTES]


def withdrawal_message(log_origin: str, item_key: bytes) -> bytes:
    """What an item key signs to withdraw its item from one log; valid for ever, and only there."""
    return f"unspread/v1/withdraw\n{log_origin}\n{item_key.hex()}\n".encode()


def case_request_message(purpose: str, log_origin: str, challenge: str) -> bytes:
    """What a case key signs, over a fresh challenge, to read or renew its case.

    `purpose` is `status` or `renew`, so that one signature never serves for the other.
    """
    return f"unspread/v1/{purpose}\n{log_origin}\n{challenge}\n".encode()


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """The secret that alone opens a case again. Keys and salts of the case derive from it.

    Nobody can recover it. The server learns public keys and salts, from which it cannot be found.
    """

    secret: bytes
    """13 random bytes."""

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise MalformedReceiptError("a receipt's secret has 13 bytes")

    def to_text(self) -> str:
        """Six groups of four characters, for people to copy, print or write down."""
        number = int.from_bytes(self.secret + _check(self.secret), "big")
        digits = [_ALPHABET[(number >> shift) & 31] for shift in range(115, -1, -5)]
        text = "".join(digits)
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    @classmethod
    def from_text(cls, text: str) -> "Receipt":
        """Read a receipt as a person types it: any case, any grouping, O for 0, I or L for 1.

        Raises:
            MalformedReceiptError: if it is not one, or mistyped (16 bits of check).
        """
        letters = text.translate(_SEPARATORS).upper().translate(_READ_AS)
        if len(letters) != 24 or any(letter not in _ALPHABET for letter in letters):
            raise MalformedReceiptError("a receipt has 24 letters and digits, in groups of four")
        number = 0
        for letter in letters:
            number = number << 5 | _ALPHABET.index(letter)
        raw = number.to_bytes(15, "big")
        secret, check = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
        if not hmac.compare_digest(check, _check(secret)):
            raise MalformedReceiptError("this receipt is mistyped: check each letter")
        return cls(secret)

    def case_key(self) -> SigningKey:
        """Signs requests for the case's status."""
        return SigningKey(derive(self.secret, "unspread/v1/case-key", 32))

    def item_key(self, number: int) -> SigningKey:
        """Signs the withdrawal of the case's item `number`, 0.. in the order submitted."""
        return SigningKey(derive(self.secret, f"unspread/v1/item-key/{number}", 32))

    def item_salt(self, number: int) -> bytes:
        """16 bytes that blind item `number` in the public log."""
        return derive(self.secret, f"unspread/v1/item-salt/{number}", SALT_BYTES)

    def __repr__(self) -> str:
        return "Receipt(…)"


def _check(secret: bytes) -> bytes:
    return sha256(b"unspread/v1/receipt-check", secret)[:_CHECK_BYTES]
