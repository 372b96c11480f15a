"""Partners: invited by staff, enrolled with keys made on their side, approved by two, suspended.

No shared secret is stored: an invitation is known by its digest and serves once; afterwards a
partner proves itself by signing (RFC 9421) with the key whose public half stands here.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from unspread.case_protocol import from_b64
from unspread.clearinghouse.audit import record
from unspread.clearinghouse.database import Connection, Row
from unspread.clearinghouse.staff import members
from unspread.clearinghouse.store import Transaction
from unspread.crypto import seal_to, sha256
from unspread.errors import InputError, StateError, TrustError
from unspread.feed.sealing import EVERYTHING, Scope

INVITATION_SECONDS: Final = 14 * 86_400
APPROVALS_NEEDED: Final = 2
SIGNATURE_MAX_AGE_SECONDS: Final = 300
DEFAULT_SCOPES: Final = "feed feedback"
SCOPES: Final = frozenset({"feed", "feedback", "lookup", "blind", "submit", "vouch"})
ROLES: Final = ("platform", "helpline")

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")


class UnknownPartnerError(InputError):
    """There is no such partner, or the invitation is used or too old."""


class PartnerStateError(StateError):
    """Not possible for a partner in this state."""


class NotSignedError(TrustError):
    """The request is not signed by an active partner, or not for this."""


@dataclass(frozen=True, slots=True)
class Partner:
    """One partner's record."""

    partner_id: str
    name: str
    role: str
    state: str
    scopes: frozenset[str]
    signing_key: bytes
    next_signing_key: bytes
    sealing_key: bytes
    created_at: int
    last_heard_at: int
    applied_size: int
    feed_scope: Scope


_PARTNER: Final = (
    "SELECT partner_id, name, role, state, scopes, signing_key, next_signing_key, sealing_key,"
    " created_at, last_heard_at, applied_size, feed_scope FROM partner "
)


def _partner(row: Row) -> Partner:
    return Partner(
        row[0], row[1], row[2], row[3], frozenset(row[4].split()), bytes(row[5]), bytes(row[6]),
        bytes(row[7]), row[8], row[9], row[10],
        Scope.from_text(row[11]) if row[11] else EVERYTHING,
    )  # fmt: skip


def partners(connection: Connection) -> list[Partner]:
    """Every partner, by name."""
    return [_partner(row) for row in connection.rows(_PARTNER + "ORDER BY name, partner_id")]


def partner(connection: Connection, partner_id: str) -> Partner:
    """One partner.

    Raises:
        UnknownPartnerError: if there is none of that id.
    """
    rows = connection.rows(_PARTNER + "WHERE partner_id = ?", partner_id)
    if not rows:
        raise UnknownPartnerError("there is no such partner")
    return _partner(rows[0])


def invite(
    tx: Transaction,
    name: str,
    *,
    role: str,
    scopes: frozenset[str],
    by: str,
    feed_scope: Scope = EVERYTHING,
) -> str:
    """A new invitation, to be handed to the partner; it is not stored and cannot be shown again.

    `feed_scope` is what of the list the partner gets; two approve it with the partner's keys.

    Raises:
        InputError: for an empty name, an unknown role or scope.
    """
    if not name.strip() or len(name) > 60:
        raise InputError("a partner's name has 1 to 60 characters")
    if role not in ROLES or not scopes <= SCOPES or not scopes:
        raise InputError(f"roles are {', '.join(ROLES)}; scopes are {', '.join(sorted(SCOPES))}")
    partner_id = _free_id(tx.connection, name)
    invitation = f"{partner_id}.{secrets.token_urlsafe(24)}"
    tx.connection.run(
        "INSERT INTO partner (partner_id, name, role, state, scopes, invitation_digest,"
        " invitation_expires_at, signing_key, sealing_key, next_signing_key,"
        " created_at, last_heard_at, applied_size, logged_size, feed_scope)"
        " VALUES (?, ?, ?, 'invited', ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?)",
        partner_id,
        name.strip(),
        role,
        " ".join(sorted(scopes)),
        hashlib.sha256(invitation.encode()).digest(),
        tx.now + INVITATION_SECONDS,
        b"",
        b"",
        b"",
        tx.now,
        feed_scope.to_text(),
    )
    detail = f"role {role}, scopes {' '.join(sorted(scopes))}"
    if feed_scope != EVERYTHING:
        detail += f", {feed_scope.to_text()}"
    record(tx, by, "partner.invite", partner_id, detail)
    return invitation


def _free_id(connection: Connection, name: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30] or "partner"
    candidate, number = stem, 1
    while connection.rows("SELECT 1 FROM partner WHERE partner_id = ?", candidate):
        number += 1
        candidate = f"{stem}-{number}"
    return candidate


def enroll(tx: Transaction, invitation: str, signing_key: bytes, sealing_key: bytes) -> Partner:
    """Take a partner's public keys. The invitation is used up; approval by staff comes next.

    The same keys with the same invitation again give the same answer, so that a lost answer costs
    nothing.

    Raises:
        UnknownPartnerError: if the invitation is unknown, used for other keys, or too old.
    """
    rows = tx.connection.rows(
        "SELECT partner_id, invitation_expires_at FROM partner WHERE invitation_digest = ?",
        hashlib.sha256(invitation.encode()).digest(),
    )
    unknown = UnknownPartnerError("this invitation is unknown, used, or too old: ask for a new one")
    if not rows:
        raise unknown
    partner_id, expires_at = rows[0]
    known = partner(tx.connection, partner_id)
    if known.signing_key:
        if (known.signing_key, known.sealing_key) != (signing_key, sealing_key):
            raise unknown
        return known
    if expires_at < tx.now:
        raise unknown
    tx.connection.run(
        "UPDATE partner SET state = 'enrolled', signing_key = ?, sealing_key = ?"
        " WHERE partner_id = ?",
        signing_key,
        sealing_key,
        partner_id,
    )
    record(tx, partner_id, "partner.enroll", partner_id, _keys_digest(signing_key, sealing_key))
    return partner(tx.connection, partner_id)


def _keys_digest(signing_key: bytes, sealing_key: bytes) -> str:
    return sha256(signing_key, sealing_key).hex()[:16]


def keys_words(known: Partner) -> str:
    """A short digest of a partner's keys, to be compared with the partner over another channel."""
    digits = _keys_digest(known.signing_key, known.sealing_key)
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def approve(
    tx: Transaction, partner_id: str, *, by: str, without_keys: bool = False, signed: bool = True
) -> bool:
    """One member of staff's yes to a partner's present keys; whether the partner is active now.

    Args:
        by: the member's name.
        without_keys: yes to an invited partner that has no keys of its own, because it speaks
            nothing but an older programme's protocol.
        signed: whether the member signed in; else somebody named them on the command line, and
            the trail says so.

    Raises:
        PartnerStateError: if it has not enrolled, or is suspended; or for one who did not sign in,
            once two could.
    """
    known = partner(tx.connection, partner_id)
    if not by.strip():
        raise InputError("an approval is somebody's")
    if not signed:
        refuse_from_now_on(tx.connection, f"each approves {partner_id}")
    if known.state == "active":
        return True
    needed = "invited" if without_keys else "enrolled"
    if known.state != needed:
        raise PartnerStateError(f"{partner_id} is {known.state}: only {needed} ones are approved")
    digest = sha256(known.signing_key, known.sealing_key)
    tx.connection.run(
        "INSERT INTO partner_approval (partner_id, given_by, keys_digest, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (partner_id, given_by, keys_digest) DO NOTHING",
        partner_id,
        by.strip(),
        digest,
        tx.now,
    )
    approvers = approvals(tx.connection, known)
    actor = by.strip() if signed else on_command_line(by)
    keys = "without keys of its own" if without_keys else keys_words(known)
    record(tx, actor, "partner.approve", partner_id, keys)
    if len(approvers) < APPROVALS_NEEDED:
        return False
    tx.connection.run(
        "UPDATE partner SET state = 'active', invitation_digest = ? WHERE partner_id = ?",
        b"",
        partner_id,
    )
    record(tx, actor, "partner.active", partner_id)
    return True


def approvals(connection: Connection, known: Partner) -> list[str]:
    """Who said yes to a partner's present keys so far."""
    rows = connection.rows(
        "SELECT given_by FROM partner_approval WHERE partner_id = ? AND keys_digest = ?"
        " ORDER BY at, given_by",
        known.partner_id,
        sha256(known.signing_key, known.sealing_key),
    )
    return [row[0] for row in rows]


def refuse_from_now_on(connection: Connection, instead: str) -> None:
    """Let names on the command line stand for two members only until two could sign in.

    Raises:
        PartnerStateError: from then on, saying what they do instead.
    """
    signing = members.count_signing(connection, members.Role.ONBOARDING)
    if signing >= APPROVALS_NEEDED:
        raise PartnerStateError(f"two members of staff have passkeys: {instead} at /staff/partners")


def on_command_line(name: str) -> str:
    """How the audit trail calls somebody who was named on the command line and did not sign in."""
    return f"{name.strip()} (command line)" if name.strip() else "command line"


def suspend(tx: Transaction, partner_id: str, *, by: str, reason: str) -> None:
    """Stop a partner at once: no new segments, no feedback, no lookups."""
    partner(tx.connection, partner_id)
    tx.connection.run("UPDATE partner SET state = 'suspended' WHERE partner_id = ?", partner_id)
    tx.connection.run("DELETE FROM partner_approval WHERE partner_id = ?", partner_id)
    tx.connection.run(
        "UPDATE partner_key SET revoked_at = ? WHERE partner_id = ? AND revoked_at = 0",
        tx.now,
        partner_id,
    )
    tx.connection.run("DELETE FROM key_grant WHERE partner_id = ?", partner_id)
    record(tx, by, "partner.suspend", partner_id, reason)


def resume(tx: Transaction, partner_id: str, *, by: str) -> None:
    """Make a suspended partner wait for two approvals again."""
    known = partner(tx.connection, partner_id)
    if known.state != "suspended":
        raise PartnerStateError(f"{partner_id} is {known.state}, not suspended")
    state = "enrolled" if known.signing_key else "invited"
    tx.connection.run("UPDATE partner SET state = ? WHERE partner_id = ?", state, partner_id)
    record(tx, by, "partner.resume", partner_id)


def rotate(tx: Transaction, partner_id: str, signing_key: bytes, sealing_key: bytes) -> None:
    """Take an active partner's next signing key, or its new sealing key; empty: as before.

    Both signing keys serve until the next one is first used; then the old one is forgotten.
    """
    if signing_key:
        tx.connection.run(
            "UPDATE partner SET next_signing_key = ? WHERE partner_id = ?", signing_key, partner_id
        )
    if sealing_key:
        tx.connection.run(
            "UPDATE partner SET sealing_key = ? WHERE partner_id = ?", sealing_key, partner_id
        )
    known = partner(tx.connection, partner_id)
    record(tx, partner_id, "partner.rotate", partner_id, keys_words(known))


def set_feed_scope(tx: Transaction, partner_id: str, scope: Scope) -> None:
    """Change what of the list a partner gets; its feed begins anew with the next publication."""
    tx.connection.run(
        "UPDATE partner SET feed_scope = ? WHERE partner_id = ?", scope.to_text(), partner_id
    )


def set_feed_scope_for(
    tx: Transaction, partner_id: str, scope: Scope, *, by: Collection[str]
) -> None:
    """The same for members of staff that somebody named on the command line; the trail says so.

    Raises:
        InputError: unless two members of staff say yes.
        UnknownPartnerError: if there is no such partner.
        PartnerStateError: once two members could do it at the console.
    """
    refuse_from_now_on(tx.connection, "one proposes the scope, another decides,")
    names = {each.strip() for each in by} - {""}
    if len(names) < APPROVALS_NEEDED:
        raise InputError("two members of staff have to say yes to another scope")
    partner(tx.connection, partner_id)
    set_feed_scope(tx, partner_id, scope)
    for name in sorted(names):
        record(tx, on_command_line(name), "partner.scope", partner_id, scope.to_text())


def promote(tx: Transaction, partner_id: str) -> None:
    """The next signing key was used: from now on it is the only one."""
    tx.connection.run(
        "UPDATE partner SET signing_key = next_signing_key, next_signing_key = ?"
        " WHERE partner_id = ? AND next_signing_key <> ?",
        b"",
        partner_id,
        b"",
    )


def signing_key_from(text: str) -> bytes:
    """An Ed25519 public key from base64url.

    Raises:
        InputError: if it is malformed.
    """
    key = from_b64(text, 32, "signing_key")
    try:
        Ed25519PublicKey.from_public_bytes(key)
    except ValueError:
        raise InputError("signing_key is not an Ed25519 public key") from None
    return key


def sealing_key_from(text: str) -> bytes:
    """An `OpeningKey.public` from base64url.

    Raises:
        InputError: if it is malformed.
    """
    key = from_b64(text, len(text) * 3 // 4, "sealing_key")
    # Sealing something is the surest test of a key to seal to.
    seal_to(key, b"", b"unspread/v1/enroll")
    return key


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        return self._key


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A request, as RFC 9421 sees it."""

    method: str
    url: str
    """The target URI as the sender wrote it."""
    headers: Mapping[str, str]


_KEY_ID: Final = re.compile(r'(?:^|[;\s])keyid="([a-z0-9-]{1,40})"')


def claimed_partner_id(signature_input: str) -> str:
    """Who says to have signed.

    Raises:
        NotSignedError: if nobody does.
    """
    found = _KEY_ID.findall(signature_input)
    if len(found) != 1:
        raise NotSignedError("sign this request as docs/protocol/case.md says")
    return str(found[0])


def verify_signed(
    message: SignedMessage,
    body: bytes,
    known: Partner,
    *,
    scope: str,
    spend: Callable[[str], bool],
) -> bool:
    """Check that an active partner with `scope` signed this request, freshly and for the first
    time; whether it used its next key.

    Raises:
        NotSignedError: otherwise.
    """
    if known.state != "active" or scope not in known.scopes:
        raise NotSignedError("this partner may not do that")
    for key in (known.signing_key, known.next_signing_key):
        if not key:
            continue
        verifier = HTTPMessageVerifier(
            signature_algorithm=algorithms.ED25519,
            key_resolver=_Keys(Ed25519PublicKey.from_public_bytes(key)),
        )
        try:
            (result,) = verifier.verify(
                message,
                max_age=timedelta(seconds=SIGNATURE_MAX_AGE_SECONDS),
                require_components=("@method", "@target-uri", "content-digest"),
                body=body,
            )
        except HTTPMessageSignaturesException:
            continue
        nonce = result.nonce
        if not nonce or not spend(f"{known.partner_id} {nonce}"):
            raise NotSignedError("a signature serves once and needs a nonce")
        return key == known.next_signing_key
    raise NotSignedError("the signature does not hold for this request")
