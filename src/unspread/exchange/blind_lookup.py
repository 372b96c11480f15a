"""Asking for an exact digest without saying which: a verifiable oblivious PRF.

RFC 9497, mode VOPRF, ciphersuite ristretto255-SHA512, over libsodium's group operations. The asker
blinds the digest; the clearinghouse evaluates its key on what it cannot read and proves that it
used the one key it has published; the asker unblinds the result and looks for it in a bucket of
the answer. The clearinghouse learns the bucket (docs/protocol/lookup.md says how many listings
share one) and nothing else; the asker learns nothing about other listings of the bucket.

The names of functions and steps are those of RFC 9497.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import rbcl

from unspread.errors import InputError, TrustError
from unspread.model import Fingerprint, Kind, Level

ELEMENT_BYTES: Final = 32
PROOF_BYTES: Final = 64
TAG_BYTES: Final = 16
HANDLE_BYTES: Final = 24
RECORD_BYTES: Final = TAG_BYTES + 1 + HANDLE_BYTES

_CONTEXT: Final = b"OPRFV1-\x01-ristretto255-SHA512"
_KEY_INFO: Final = b"unspread/v1/blind-lookup"
_LEVELS: Final = (
    Level.QUARANTINED, Level.UNVERIFIED, Level.CONFIRMED, Level.CORROBORATED, Level.DISPUTED,
)  # fmt: skip


class MalformedElementError(InputError):
    """Not an element of the group, or not a proof."""


class EvaluationError(TrustError):
    """The answer was not computed with the key that was published: do not believe it."""


def _length_prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def _expand(message: bytes, tag: bytes) -> bytes:
    """64 bytes of expand_message_xmd with SHA-512 (RFC 9380, section 5.3.1)."""
    tag += bytes([len(tag)])
    first = hashlib.sha512(bytes(128) + message + (64).to_bytes(2, "big") + b"\x00" + tag).digest()
    return hashlib.sha512(first + b"\x01" + tag).digest()


def _hash_to_group(message: bytes) -> bytes:
    uniform = _expand(message, b"HashToGroup-" + _CONTEXT)
    return bytes(rbcl.crypto_core_ristretto255_from_hash(uniform))


def _hash_to_scalar(message: bytes, tag: bytes = b"HashToScalar-") -> bytes:
    return bytes(rbcl.crypto_core_ristretto255_scalar_reduce(_expand(message, tag + _CONTEXT)))


def _times(scalar: bytes, element: bytes) -> bytes:
    return bytes(rbcl.crypto_scalarmult_ristretto255(scalar, element))


def _plus(left: bytes, right: bytes) -> bytes:
    return bytes(rbcl.crypto_core_ristretto255_add(left, right))


def check_element(element: bytes) -> bytes:
    """The element, if it is a valid one and not the identity (RFC 9497, section 2.1).

    Raises:
        MalformedElementError: otherwise.
    """
    if (
        len(element) != ELEMENT_BYTES
        or element == bytes(ELEMENT_BYTES)
        or not rbcl.crypto_core_ristretto255_is_valid_point(element)
    ):
        raise MalformedElementError("not an element of ristretto255")
    return element


def _composite_weights(
    public_key: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes]
) -> list[bytes]:
    seed = hashlib.sha512(_length_prefixed(public_key, b"Seed-" + _CONTEXT)).digest()
    return [
        _hash_to_scalar(
            _length_prefixed(seed)
            + number.to_bytes(2, "big")
            + _length_prefixed(left, right)
            + b"Composite"
        )
        for number, (left, right) in enumerate(zip(blinded, evaluated, strict=True))
    ]


def _weighted(weights: Sequence[bytes], elements: Sequence[bytes]) -> bytes:
    total = b""
    for weight, element in zip(weights, elements, strict=True):
        term = _times(weight, element)
        total = _plus(total, term) if total else term
    return total


def _challenge(*elements: bytes) -> bytes:
    return _hash_to_scalar(_length_prefixed(*elements) + b"Challenge")


def encoded(digest: Fingerprint) -> bytes:
    """What of a digest goes into the function.

    Raises:
        InputError: for a PDQ: blind lookup is exact, and near is not equal.
    """
    if digest.kind is Kind.PDQ:
        raise InputError("a blind lookup asks for exact digests: sha256 or md5")
    return digest.to_text().encode()


class Evaluator:
    """The clearinghouse's side. Its repr shows nothing of the key."""

    __slots__ = ("_key", "public_key")

    def __init__(self, seed: bytes, info: bytes = _KEY_INFO) -> None:
        """From 32 secret bytes (DeriveKeyPair, section 3.2.1)."""
        if len(seed) != 32:
            raise InputError("a seed has 32 bytes")
        for counter in range(256):
            message = seed + _length_prefixed(info) + bytes([counter])
            self._key = _hash_to_scalar(message, b"DeriveKeyPair")
            if any(self._key):
                break
        self.public_key = bytes(rbcl.crypto_scalarmult_ristretto255_base(self._key))
        """32 bytes that askers check proofs against."""

    def evaluate(self, message: bytes) -> bytes:
        """The function's 64 bytes for a message that is known here."""
        element = _times(self._key, _hash_to_group(message))
        return _finalize(message, element)

    def blind_evaluate(
        self, blinded: Sequence[bytes], *, random_scalar: bytes | None = None
    ) -> tuple[list[bytes], bytes]:
        """The evaluated elements and one proof for all (BlindEvaluate, section 3.3.2).

        `random_scalar` is given by test vectors only.

        Raises:
            MalformedElementError: if an element is none.
        """
        evaluated = [_times(self._key, check_element(each)) for each in blinded]
        weights = _composite_weights(self.public_key, blinded, evaluated)
        m = _weighted(weights, blinded)
        z = _times(self._key, m)
        r = random_scalar or bytes(rbcl.crypto_core_ristretto255_scalar_random())
        t2, t3 = bytes(rbcl.crypto_scalarmult_ristretto255_base(r)), _times(r, m)
        c = _challenge(self.public_key, m, z, t2, t3)
        s = rbcl.crypto_core_ristretto255_scalar_sub(
            r, rbcl.crypto_core_ristretto255_scalar_mul(c, self._key)
        )
        return evaluated, c + bytes(s)

    def __repr__(self) -> str:
        return "Evaluator(…)"


def _finalize(message: bytes, element: bytes) -> bytes:
    return hashlib.sha512(_length_prefixed(message, element) + b"Finalize").digest()


@dataclass(frozen=True, slots=True, repr=False)
class Blinded:
    """The asker's side of one question."""

    message: bytes
    blind: bytes
    element: bytes
    """What is sent."""

    @classmethod
    def of(cls, message: bytes, blind: bytes | None = None) -> "Blinded":
        """A question; `blind` is given by test vectors only."""
        scalar = blind or bytes(rbcl.crypto_core_ristretto255_scalar_random())
        return cls(message, scalar, _times(scalar, _hash_to_group(message)))


def finalize(
    questions: Sequence[Blinded], evaluated: Sequence[bytes], proof: bytes, public_key: bytes
) -> list[bytes]:
    """The function's 64 bytes for each question (Finalize, section 3.3.2).

    Raises:
        EvaluationError: if the proof does not hold for the published key.
        MalformedElementError: if an element or the proof is malformed.
    """
    if len(evaluated) != len(questions) or len(proof) != PROOF_BYTES:
        raise MalformedElementError("not an answer to these questions")
    for element in (*evaluated, public_key):
        check_element(element)
    c, s = proof[:32], proof[32:]
    blinded = [each.element for each in questions]
    weights = _composite_weights(public_key, blinded, evaluated)
    m, z = _weighted(weights, blinded), _weighted(weights, evaluated)
    try:
        t2 = _plus(bytes(rbcl.crypto_scalarmult_ristretto255_base(s)), _times(c, public_key))
        t3 = _plus(_times(s, m), _times(c, z))
    except (ValueError, RuntimeError):
        raise EvaluationError("the answer's proof does not hold") from None
    if _challenge(public_key, m, z, t2, t3) != c:
        raise EvaluationError("the answer's proof does not hold")
    return [
        _finalize(
            each.message,
            _times(bytes(rbcl.crypto_core_ristretto255_scalar_invert(each.blind)), element),
        )
        for each, element in zip(questions, evaluated, strict=True)
    ]


def bucket_of(message: bytes) -> int:
    """16 bits, of which an answer uses the first few: what a question reveals."""
    return int.from_bytes(hashlib.sha256(b"unspread/v1/bucket\n" + message).digest()[:2], "big")


def make_record(output: bytes, level: Level, handle: bytes) -> bytes:
    """One entry of a bucket: a tag to find it by, and what only the finder can read."""
    clear = bytes([_LEVELS.index(level)]) + handle
    pad = output[TAG_BYTES : TAG_BYTES + len(clear)]
    return output[:TAG_BYTES] + bytes(a ^ b for a, b in zip(clear, pad, strict=True))


def find_record(output: bytes, bucket: bytes) -> tuple[Level, bytes] | None:
    """Level and opaque handle of the digest that was asked for, if it is listed.

    Raises:
        MalformedElementError: if the bucket is not made of records.
    """
    if len(bucket) % RECORD_BYTES:
        raise MalformedElementError("not a bucket of records")
    for at in range(0, len(bucket), RECORD_BYTES):
        record = bucket[at : at + RECORD_BYTES]
        if record[:TAG_BYTES] == output[:TAG_BYTES]:
            pad = output[TAG_BYTES:RECORD_BYTES]
            clear = bytes(a ^ b for a, b in zip(record[TAG_BYTES:], pad, strict=True))
            return _LEVELS[clear[0]], clear[1:]
    return None


def random_seed() -> bytes:
    """A new secret for an `Evaluator`."""
    return os.urandom(32)
