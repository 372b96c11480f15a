"""Joining a clearinghouse: keys made here, of which only the public halves leave.

`POST /v1/partners/enroll`, with the invitation that the clearinghouse gave by another way. The
keys are written before they are sent, so that a lost answer costs nothing: asking again with the
same invitation and keys gives the same answer.
"""

import ipaddress
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from unspread.case_protocol import ErrorAnswer, from_b64, to_b64
from unspread.crypto import ML_DSA_44_PUBLIC_BYTES, OpeningKey, SigningKey, sha256
from unspread.errors import InputError, StateError, TransportError, TrustError
from unspread.platform_kit.signing import sign

DIRECTORY: Final = "lists"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_TIMEOUT_SECONDS: Final = 30.0


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a platform keeps of its membership; the file holds secrets."""

    clearinghouse: str
    """Its address, without a slash at the end."""
    signing_seed: str
    opening_secret: str
    invitation_digest: str
    partner_id: str = ""
    """Empty until the clearinghouse has answered."""
    log_origin: str = ""
    log_key: str = ""
    log_key_post_quantum: str = ""
    """ML-DSA-44; empty if the clearinghouse had none when we joined."""
    feed: str = ""
    """Address below which the feed's files are."""
    push: str = ""
    """Address of the stream that announces growth."""
    next_signing_seed: str = ""
    """Of a key that the clearinghouse is being told of."""

    def signing_key(self) -> SigningKey:
        """Signs what we tell the clearinghouse."""
        return SigningKey(from_b64(self.signing_seed, 32, "signing_seed"))

    def opening_key(self) -> OpeningKey:
        """Opens the segments sealed to us."""
        secret = self.opening_secret
        return OpeningKey(from_b64(secret, len(secret) * 3 // 4, "opening_secret"))

    def __repr__(self) -> str:
        return f"Membership({self.clearinghouse}, {self.partner_id})"


class _Enrolled(msgspec.Struct, frozen=True):
    partner_id: str
    log_origin: str
    log_key: str
    feed: str
    push: str
    state: str
    log_key_post_quantum: str = ""


def enrol(
    data: Path,
    list_name: str,
    clearinghouse: str,
    invitation: str,
    platform_name: str,
    *,
    http: httpx.Client,
) -> tuple[Membership, bool]:
    """Make keys, join, and keep the membership under `data`; whether it is active already.

    Raises:
        InputError: for a malformed address or list name, or an invitation that is not taken.
        StateError: if the list is joined already.
        TransportError: if the clearinghouse does not answer.
    """
    if not _NAME.fullmatch(list_name):
        raise InputError("a list's name has small letters, digits, '.', '_' and '-'")
    address = checked_address(clearinghouse)
    path = data / DIRECTORY / f"{list_name}.json"
    membership = _prepared(path, address, invitation)
    if membership.partner_id:
        raise StateError(f"the list {list_name} is joined already")
    request = {
        "invitation": invitation,
        "name": platform_name,
        "signing_key": to_b64(membership.signing_key().public),
        "sealing_key": to_b64(membership.opening_key().public),
    }
    try:
        response = http.post(
            f"{address}/v1/partners/enroll", json=request, timeout=_TIMEOUT_SECONDS
        )
    except httpx.HTTPError as error:
        raise TransportError(f"the clearinghouse does not answer: {error}") from None
    if not response.is_success:
        raise _refusal(response)
    try:
        enrolled = msgspec.json.decode(response.content, type=_Enrolled)
        from_b64(enrolled.log_key, 32, "log_key")
        if enrolled.log_key_post_quantum:
            from_b64(enrolled.log_key_post_quantum, ML_DSA_44_PUBLIC_BYTES, "log_key_post_quantum")
    except (msgspec.DecodeError, UnicodeDecodeError, InputError):
        raise TrustError("the clearinghouse's answer is malformed") from None
    joined = msgspec.structs.replace(
        membership,
        partner_id=enrolled.partner_id,
        log_origin=enrolled.log_origin,
        log_key=enrolled.log_key,
        log_key_post_quantum=enrolled.log_key_post_quantum,
        # A reader's paths begin with feed/PARTNER themselves.
        feed=enrolled.feed.rstrip("/").removesuffix(f"/feed/{enrolled.partner_id}"),
        push=enrolled.push,
    )
    _write(path, joined)
    return joined, enrolled.state == "active"


def memberships(data: Path) -> Iterator[tuple[str, Membership]]:
    """(list name, membership) of every clearinghouse that was joined.

    Raises:
        StateError: if a file is damaged.
    """
    for path in sorted((data / DIRECTORY).glob("*.json")):
        membership = _read(path)
        if membership.partner_id:
            yield path.stem, membership


def follow_at(data: Path, list_name: str, clearinghouse: str) -> None:
    """Follow the same clearinghouse at another address; its log and our keys stay what they are.

    Raises:
        InputError: for a malformed address.
        StateError: if the list was not joined, or its file is damaged.
    """
    path = data / DIRECTORY / f"{list_name}.json"
    before, after = _read(path), checked_address(clearinghouse)
    _write(
        path,
        msgspec.structs.replace(
            before,
            clearinghouse=after,
            feed=after + before.feed.removeprefix(before.clearinghouse),
            push=after + before.push.removeprefix(before.clearinghouse),
        ),
    )


def rotate(data: Path, list_name: str, *, http: httpx.Client, now: datetime) -> Membership:
    """Replace our signing key: the clearinghouse takes the new one, signed for with the old.

    The old key goes on serving there until the new one is first used, so a running kit may be
    started anew when it suits. A lost answer costs nothing: the same key is sent again.

    Raises:
        StateError: if the list was not joined, or its file is damaged.
        InputError: if the clearinghouse does not take it.
        TransportError: if it does not answer.
    """
    path = data / DIRECTORY / f"{list_name}.json"
    before = _read(path)
    if not before.partner_id:
        raise StateError(f"the list {list_name} is not joined")
    if not before.next_signing_seed:
        before = msgspec.structs.replace(before, next_signing_seed=to_b64(os.urandom(32)))
        _write(path, before)
    following = SigningKey(from_b64(before.next_signing_seed, 32, "next_signing_seed"))
    request = http.build_request(
        "POST",
        f"{before.clearinghouse}/v1/partners/rotate",
        json={"signing_key": to_b64(following.public)},
        timeout=_TIMEOUT_SECONDS,
    )
    nonce = to_b64(os.urandom(16))
    sign(request, before.signing_key(), key_id=before.partner_id, created=now, nonce=nonce)
    try:
        response = http.send(request)
    except httpx.HTTPError as error:
        raise TransportError(f"the clearinghouse does not answer: {error}") from None
    if not response.is_success:
        raise _refusal(response)
    after = msgspec.structs.replace(
        before, signing_seed=before.next_signing_seed, next_signing_seed=""
    )
    _write(path, after)
    return after


def words_of_keys(signing_key: bytes, sealing_key: bytes) -> str:
    """What to compare with the clearinghouse by telephone: digits of both public keys' digest."""
    digits = sha256(signing_key, sealing_key).hex()[:16]
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def checked_address(text: str) -> str:
    """An address of `https`, or of `http` on this machine, without a slash at the end.

    Raises:
        InputError: for anything else.
    """
    parts = urlsplit(text)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise InputError("an address looks like https://clearinghouse.example")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InputError("an address that is not on this machine starts with https://")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _prepared(path: Path, address: str, invitation: str) -> Membership:
    digest = sha256(invitation.encode()).hex()
    if path.exists():
        known = _read(path)
        if known.partner_id or (known.clearinghouse, known.invitation_digest) == (address, digest):
            return known
    _, secret = OpeningKey.generate(hybrid=True)
    made = Membership(
        clearinghouse=address,
        signing_seed=to_b64(os.urandom(32)),
        opening_secret=to_b64(secret),
        invitation_digest=digest,
    )
    _write(path, made)
    return made


def _refusal(response: httpx.Response) -> InputError | TransportError:
    if response.status_code >= 500 or response.status_code == 429:
        return TransportError(f"the clearinghouse answered {response.status_code}: try again later")
    try:
        text = msgspec.json.decode(response.content, type=ErrorAnswer).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = f"the clearinghouse answered {response.status_code}"
    return InputError(text)


def _read(path: Path) -> Membership:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Membership)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        raise StateError(f"the membership in {path} is damaged or cannot be read") from None


def _write(path: Path, membership: Membership) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(".part")
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as file:
            file.write(msgspec.json.format(msgspec.json.encode(membership)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from None
