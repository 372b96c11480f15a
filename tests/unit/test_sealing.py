"""What is sealed opens for one key, in one place; judged by the RFCs and by a twin of HPKE."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from unspread.crypto import (
    OpeningKey,
    PostQuantumSigningKey,
    SealedStream,
    SealError,
    SignatureError,
    SigningKey,
    seal_to,
    verify,
    verify_post_quantum,
)
from unspread.errors import InputError
from unspread.feed.segments import CHUNK_BYTES, MalformedSegmentError, SegmentContext

VECTORS = Path(__file__).parents[2] / "vectors"


def vector(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


# -- RFC 9180, written down once more from its pseudo-code


def extract(salt: bytes, suite: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def expand(key: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", "sha256")[:length]


def key_and_nonce(shared: bytes, info: bytes, aead: int) -> tuple[bytes, bytes]:
    suite = b"HPKE" + (0x20).to_bytes(2) + (1).to_bytes(2) + aead.to_bytes(2)
    context = (
        b"\x00" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    )
    secret = extract(shared, suite, b"secret", b"")
    length = {1: 16, 2: 32}[aead]
    key = expand(secret, suite, b"key", context, length)
    return key, expand(secret, suite, b"base_nonce", context, 12)


def shared_secret(own: bytes, other: bytes, encapsulated: bytes, recipient: bytes) -> bytes:
    suite = b"KEM" + (0x20).to_bytes(2)
    agreed = X25519PrivateKey.from_private_bytes(own).exchange(
        X25519PublicKey.from_public_bytes(other)
    )
    prk = extract(b"", suite, b"eae_prk", agreed)
    return expand(prk, suite, b"shared_secret", encapsulated + recipient, 32)


@pytest.mark.parametrize("number", [0, 1], ids=["AES-128-GCM", "AES-256-GCM"])
def test_the_twin_agrees_with_rfc_9180(number: int) -> None:
    given = vector("rfc9180.json")["vectors"][number]
    aead_id = given.pop("aead_id")
    assert aead_id == number + 1
    v = {name: bytes.fromhex(value) for name, value in given.items()}
    for own, other in (
        (v["ephemeral_secret"], v["recipient_public"]),
        (v["recipient_secret"], v["encapsulated"]),
    ):
        shared = shared_secret(own, other, v["encapsulated"], v["recipient_public"])
        assert shared == v["shared_secret"]
    assert key_and_nonce(shared, v["info"], aead_id) == (v["key"], v["base_nonce"])
    sealed = AESGCM(v["key"]).encrypt(v["base_nonce"], v["plaintext"], v["associated"])
    assert sealed == v["ciphertext"]


@given(secret=st.binary(min_size=32, max_size=32), message=st.binary(max_size=64))
def test_what_we_seal_the_twin_opens_and_the_other_way_round(secret: bytes, message: bytes) -> None:
    key = OpeningKey(secret)
    public = key.public[2:]
    sealed = seal_to(key.public, message, b"info")
    shared = shared_secret(secret, sealed[:32], sealed[:32], public)
    content_key, nonce = key_and_nonce(shared, b"info", 2)
    assert AESGCM(content_key).decrypt(nonce, sealed[32:], b"") == message

    ephemeral = hashlib.sha256(secret).digest()
    encapsulated = X25519PrivateKey.from_private_bytes(ephemeral).public_key().public_bytes_raw()
    shared = shared_secret(ephemeral, public, encapsulated, public)
    content_key, nonce = key_and_nonce(shared, b"info", 2)
    theirs = encapsulated + AESGCM(content_key).encrypt(nonce, message, b"")
    assert key.open(theirs, b"info") == message


@pytest.mark.parametrize("hybrid", [False, True], ids=["X25519", "hybrid"])
def test_what_is_sealed_opens_for_its_key_and_purpose_only(*, hybrid: bool) -> None:
    key, secret = OpeningKey.generate(hybrid=hybrid)
    other, _ = OpeningKey.generate(hybrid=hybrid)
    sealed = seal_to(key.public, b"message", b"here")
    assert OpeningKey(secret).open(sealed, b"here") == b"message"
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for opener, text, info in (
        (key, sealed, b"there"),
        (other, sealed, b"here"),
        (key, flipped, b"here"),
        (key, sealed[:-1], b"here"),
        (key, b"", b"here"),
    ):
        with pytest.raises(SealError):
            opener.open(text, info)
    assert "…" in repr(key)


@pytest.mark.parametrize("wrong", [b"", bytes(34), b"\x00\x20" + bytes(31), b"\x64\x7a" + bytes(9)])
def test_a_key_that_is_none_cannot_be_sealed_to(wrong: bytes) -> None:
    with pytest.raises(InputError):
        seal_to(wrong, b"message", b"")


@pytest.mark.parametrize("length", [0, 31, 33, 95])
def test_keys_have_their_length(length: int) -> None:
    for kind in (OpeningKey, PostQuantumSigningKey, SigningKey):
        with pytest.raises(InputError):
            kind(bytes(length))


def test_signatures_are_those_of_rfc_8032() -> None:
    for each in vector("rfc8032.json")["vectors"]:
        key = SigningKey(bytes.fromhex(each["seed"]))
        message = bytes.fromhex(each["message"])
        assert key.public.hex() == each["public"]
        assert key.sign(message).hex() == each["signature"]
        verify(key.public, message, bytes.fromhex(each["signature"]))


def test_post_quantum_keys_are_those_of_fips_204() -> None:
    for each in vector("mldsa44.json")["vectors"]:
        assert PostQuantumSigningKey(bytes.fromhex(each["seed"])).public.hex() == each["public"]


def test_a_post_quantum_signature_holds_for_its_message_and_key_only() -> None:
    key = PostQuantumSigningKey(bytes(32))
    signature = key.sign(b"message")
    assert (len(key.public), len(signature)) == (1312, 2420)
    verify_post_quantum(key.public, b"message", signature)
    for public, message in (
        (key.public, b"other"),
        (PostQuantumSigningKey(b"1" * 32).public, b"message"),
    ):
        with pytest.raises(SignatureError):
            verify_post_quantum(public, message, signature)
    with pytest.raises(SignatureError):
        verify_post_quantum(b"short", b"message", signature)


def test_chunks_cannot_change_place_message_or_end() -> None:
    stream = SealedStream(bytes(32), b"here")
    sealed, opened = bytearray(5 + 16), bytearray(5)
    stream.seal(3, b"chunk", memoryview(sealed), is_last=False)
    stream.open(3, sealed, memoryview(opened), is_last=False)
    assert opened == b"chunk"
    # The nonce of the format, so that another language gets the same.
    assert AESGCM(bytes(32)).decrypt(bytes(10) + b"\x03\x00", sealed, b"here") == b"chunk"
    for other, number, is_last in (
        (stream, 2, False),
        (stream, 3, True),
        (SealedStream(bytes(32), b"there"), 3, False),
        (SealedStream(b"1" * 32, b"here"), 3, False),
    ):
        with pytest.raises(SealError):
            other.open(number, sealed, memoryview(opened), is_last=is_last)
    for length in (4, 6):
        with pytest.raises(SealError):
            stream.open(3, sealed, memoryview(bytearray(length)), is_last=False)
    with pytest.raises(InvalidTag):
        AESGCM(bytes(32)).decrypt(bytes(10) + b"\x03\x01", sealed, b"here")


@given(st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]))
def test_segments_of_any_length_open_in_their_place_only(length: int) -> None:
    key = OpeningKey(bytes(32))
    context = SegmentContext("log.example", "board", 0, 4, 0)
    plaintext = bytes(length)
    sealed = context.seal(plaintext, key.public)
    assert context.open(sealed, key) == plaintext
    for other, error in (
        (SegmentContext("log.example", "board", 0, 8, 0), MalformedSegmentError),
        (SegmentContext("log.example", "board", 0, 4, 1), MalformedSegmentError),
        (SegmentContext("log.example", "rival", 0, 4, 0), SealError),
        (SegmentContext("log.other", "board", 0, 4, 0), SealError),
    ):
        with pytest.raises(error):
            other.open(sealed, key)
    with pytest.raises((SealError, MalformedSegmentError)):
        context.open(sealed[:-1], key)
    if length > CHUNK_BYTES:
        with pytest.raises(SealError):
            context.open(sealed[: -(CHUNK_BYTES + 16)], key)
