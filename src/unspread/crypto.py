"""The only door to a cryptographic library: keys, signatures, receipts, sealing.

Everything derives from well-kept primitives of `cryptography`: Ed25519 (RFC 8032), ML-DSA-44
(FIPS 204), HKDF with SHA-256 (RFC 5869), HPKE (RFC 9180), AES-256-GCM, SHA-256. The browser derives
the same values of a receipt; `vectors/receipts.json` judges both. How they are used on the wire
stands in docs/protocol/.
"""

import hashlib
import hmac
import os
import unicodedata
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
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
_SEPARATORS: Final = frozenset({"Cc", "Cf", "Pd", "Zs"})
"""Unicode's categories of blanks, dashes and the marks that chats put around copied text."""


class SignatureError(TrustError):
    """A signature does not fit its message and key."""


class SealError(TrustError):
    """What was sealed is for another key, or has been changed."""


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


ML_DSA_44_PUBLIC_BYTES: Final = 1312
"""FIPS 204, table 2."""


class PostQuantumSigningKey:
    """An ML-DSA-44 private key (FIPS 204). Its repr and its errors show nothing of it."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret bytes (FIPS 204, algorithm 1's ξ)."""
        if len(seed) != 32:
            raise InputError("an ML-DSA-44 seed has 32 bytes")
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        """The ML_DSA_44_PUBLIC_BYTES of the public key."""

    def sign(self, message: bytes) -> bytes:
        """The 2420 bytes of a signature, with an empty context."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "PostQuantumSigningKey(…)"


def verify_post_quantum(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` is the ML-DSA-44 `public_key`'s over `message`, with an empty context.

    Raises:
        SignatureError: if it is not, or key or signature are malformed.
    """
    try:
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureError("the signature does not hold") from None


_X25519_KEM: Final = 0x0020
"""RFC 9180, section 7.1."""
_HYBRID_KEM: Final = 0x647A
"""ML-KEM-768 with X25519 (X-Wing, draft-connolly-cfrg-xwing-kem; IANA HPKE KEM identifiers)."""
_MLKEM768_PUBLIC_BYTES: Final = 1184
_SUITES: Final = {
    kem_id: hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    for kem_id, kem in (
        (_X25519_KEM, hpke.KEM.X25519),
        (_HYBRID_KEM, hpke.KEM.MLKEM768_X25519),
    )
}

_HpkePrivateKey = X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
_HpkePublicKey = X25519PublicKey | hpke.MLKEM768X25519PublicKey


class OpeningKey:
    """The private key that opens what is sealed to its `public` key, by HPKE (RFC 9180)."""

    __slots__ = ("_kem_id", "_key", "public")

    def __init__(self, secret: bytes) -> None:
        """From 32 secret bytes (X25519), or 96 (ML-KEM-768's seed, then X25519's): hybrid."""
        self._key: _HpkePrivateKey
        if len(secret) == 32:
            self._kem_id = _X25519_KEM
            self._key = X25519PrivateKey.from_private_bytes(secret)
            raw = self._key.public_key().public_bytes_raw()
        elif len(secret) == 96:
            self._kem_id = _HYBRID_KEM
            lattice = MLKEM768PrivateKey.from_seed_bytes(secret[:64])
            curve = X25519PrivateKey.from_private_bytes(secret[64:])
            self._key = hpke.MLKEM768X25519PrivateKey(lattice, curve)
            raw = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        else:
            raise InputError("an opening key has 32 secret bytes, a hybrid one 96")
        self.public = self._kem_id.to_bytes(2, "big") + raw
        """The key encapsulation's identifier, 2 bytes, and its public key: 34 or 1218 bytes."""

    @classmethod
    def generate(cls, *, hybrid: bool = False) -> tuple["OpeningKey", bytes]:
        """A new key, and its secret bytes for writing to a key file and nothing else.

        `hybrid` stays closed even to somebody who stores it today and has a quantum computer later.
        """
        secret = os.urandom(96 if hybrid else 32)
        return cls(secret), secret

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to this key under the same `info`.

        Raises:
            SealError: if it was not, or has been changed.
        """
        try:
            return bytes(_SUITES[self._kem_id].decrypt(sealed, self._key, info=info))
        except (InvalidTag, ValueError):
            raise SealError("this is sealed to another key, or has been changed") from None

    def __repr__(self) -> str:
        return "OpeningKey(…)"


def _hpke_public_key(public: bytes) -> _HpkePublicKey:
    kem_id, raw = int.from_bytes(public[:2], "big"), public[2:]
    try:
        if kem_id == _X25519_KEM:
            return X25519PublicKey.from_public_bytes(raw)
        if kem_id == _HYBRID_KEM:
            lattice = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM768_PUBLIC_BYTES])
            curve = X25519PublicKey.from_public_bytes(raw[_MLKEM768_PUBLIC_BYTES:])
            return hpke.MLKEM768X25519PublicKey(lattice, curve)
    except ValueError:
        pass
    raise InputError("not a public key that can be sealed to")


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to the holder of an `OpeningKey`: HPKE's encapsulated key and ciphertext.

    48 bytes longer than the plaintext for X25519, 1136 for the hybrid.

    Raises:
        InputError: if `public` is not an `OpeningKey.public`.
    """
    suite = _SUITES.get(int.from_bytes(public[:2], "big"))
    if suite is None:
        raise InputError("not a public key that can be sealed to")
    return bytes(suite.encrypt(plaintext, _hpke_public_key(public), info=info))


class SealedStream:
    """AES-256-GCM under one key for one message in chunks, never used for a second message.

    The nonce of a chunk is its number, 11 bytes, and 1 for the last or 0: no chunk can be left
    out, moved, or taken for the last (the STREAM construction, Hoang, Reyhanitabar, Rogaway and
    Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015).
    """

    __slots__ = ("_associated", "_cipher")

    def __init__(self, key: bytes, associated: bytes) -> None:
        """`key` has 32 bytes; `associated` is what the message must belong to."""
        self._cipher = AESGCM(key)
        self._associated = associated

    def seal(
        self, number: int, plaintext: bytes | memoryview, into: memoryview, *, is_last: bool
    ) -> None:
        """Write chunk `number`, 0.., which is 16 bytes longer than its plaintext."""
        nonce = number.to_bytes(11, "big") + bytes([is_last])
        self._cipher.encrypt_into(nonce, plaintext, self._associated, into)

    def open(
        self, number: int, sealed: bytes | memoryview, into: memoryview, *, is_last: bool
    ) -> None:
        """Write the plaintext of chunk `number`, which is 16 bytes shorter than it.

        Raises:
            SealError: if it is another chunk, another message's, or has been changed.
        """
        nonce = number.to_bytes(11, "big") + bytes([is_last])
        try:
            self._cipher.decrypt_into(nonce, sealed, self._associated, into)
        except (InvalidTag, ValueError):
            raise SealError("a sealed chunk does not open here") from None


class HandleKey:
    """Turns small numbers into handles that say nothing, and back: AES-SIV (RFC 5297)."""

    __slots__ = ("_siv",)

    def __init__(self, key: bytes) -> None:
        """From 32 secret bytes."""
        self._siv = AESSIV(key)

    def seal(self, number: int) -> bytes:
        """24 bytes, always the same for the same number."""
        return self._siv.encrypt(number.to_bytes(8, "big"), [b"unspread/v1/handle"])

    def open(self, handle: bytes) -> int:
        """The number.

        Raises:
            SealError: if the handle was not made with this key.
        """
        try:
            return int.from_bytes(self._siv.decrypt(handle, [b"unspread/v1/handle"]), "big")
        except (InvalidTag, ValueError):
            raise SealError("this handle is not from here") from None

    def __repr__(self) -> str:
        return "HandleKey(…)"


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
        """Read a receipt as a person types it: any case, any grouping, digits of any script, O for
        0, I or L for 1.

        Raises:
            MalformedReceiptError: if it is not one, or mistyped (16 bits of check).
        """
        written = "".join(
            str(unicodedata.decimal(each, each))
            for each in unicodedata.normalize("NFKC", text)
            if unicodedata.category(each) not in _SEPARATORS and each not in "_.−"
        )
        letters = written.upper().translate(_READ_AS)
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
