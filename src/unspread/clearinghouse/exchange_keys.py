"""Static keys of the older programmes: made here, shown once, kept as digests.

A bearer key copied into configurations is the weakest door of a clearinghouse; it exists because
the programmes' clients know no other. So each key serves one programme and one set of rights, can
be replaced while the old one still works for a while, and can be revoked at once.

A key has 192 random bits: a plain SHA-256 of it cannot be searched, and needs no slow derivation.
"""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from unspread.clearinghouse import partners
from unspread.clearinghouse.audit import record
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.store import Transaction
from unspread.crypto import sha256
from unspread.errors import InputError
from unspread.exchange.listings import Caller, Member, Scope

SECRET_BYTES: Final = 24
PREFIX: Final = "unsp_"
"""So that scanners of leaked secrets can find ours."""


class UnknownKeyError(InputError):
    """There is no such key."""


class Programme(StrEnum):
    """Which wire format a key opens."""

    NCMEC = "ncmec"
    STOPNCII = "stopncii"
    STOPNCII_SUBSCRIPTION = "stopncii-subscription"
    """The second of StopNCII's two keys: says who calls, opens nothing alone."""
    THREATEXCHANGE = "threatexchange"


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """One key as it is kept."""

    key_id: str
    programme: Programme
    partner_id: str
    member: Member
    scope: Scope
    created_at: int
    revoked_at: int = 0
    """From this second on it opens nothing; 0: until further notice."""

    def opens(self, programme: Programme, now: int) -> bool:
        """Whether it serves here and now."""
        return self.programme is programme and (not self.revoked_at or now < self.revoked_at)

    @property
    def caller(self) -> Caller:
        """Whom it stands for."""
        return Caller(self.member, self.scope)


class KeyStore(Protocol):
    """Where keys are looked up. Called from worker threads."""

    def find(self, key_digest: bytes) -> ExchangeKey | None:
        """The key with this digest, whatever its state, if its partner takes part."""
        ...


def new_secret(randomness: bytes) -> str:
    """The text of a key, from 24 random bytes: shown once to the partner."""
    return PREFIX + base64.urlsafe_b64encode(randomness[:SECRET_BYTES]).decode()


def secret_digest(secret: str) -> bytes:
    """What is kept of a key."""
    return sha256(b"unspread/v1/exchange-key\n", secret.encode())


def scope_text(programme: Programme, scope: Scope) -> str:
    """How a key's programme and scope are stored: `ncmec:read feedback`."""
    return f"{programme}:{scope.to_text()}"


def read_scope(text: str) -> tuple[Programme, Scope]:
    """What `scope_text` wrote."""
    programme, _, scope = text.partition(":")
    return Programme(programme), Scope.from_text(scope)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key, shown this once."""

    key_id: str
    label: str
    """What the key is called in its programme's clients."""
    secret: str


STOPNCII_FUNCTIONS: Final = {
    "read": "fetch_function_key",
    "feedback": "feedback function key",
    "submit": "submit function key",
}


def issue(
    tx: Transaction, partner_id: str, programme: Programme, scope: Scope, *, by: Sequence[str]
) -> list[IssuedKey]:
    """New keys for a partner: one, or for StopNCII one per function and the subscription key.

    A partner that was only invited, because it has no keys of its own and speaks nothing but an
    older protocol, takes part from now on: so two members of staff say yes to it, here only as
    long as there are no two who could at the console.

    Raises:
        StateError: if the partner is suspended, or fewer than two say yes to a new one.
    """
    known = partners.partner(tx.connection, partner_id)
    approvers = sorted({name.strip() for name in by if name.strip()})
    if known.state == "invited" and len(approvers) >= partners.APPROVALS_NEEDED:
        for name in approvers:
            partners.approve(tx, partner_id, by=name, without_keys=True, signed=False)
    elif known.state != "active" or not approvers:
        raise partners.PartnerStateError(
            f"{partner_id} is {known.state}: its keys are issued once two members of staff (--by)"
            " say yes, and never while it is suspended"
        )
    issuer = partners.on_command_line(approvers[0])
    if programme is not Programme.STOPNCII:
        label = "password" if programme is Programme.NCMEC else "access_token"
        return [_issue(tx, partner_id, programme, scope, label=label, by=issuer)]
    issued = [
        _issue(
            tx,
            partner_id,
            programme,
            replace(
                scope,
                may_read=right == "read",
                may_give_feedback=right == "feedback",
                may_submit=right == "submit",
            ),
            label=label,
            by=issuer,
        )
        for right, label in STOPNCII_FUNCTIONS.items()
        if right in scope.to_text().split()
    ]
    nothing = Scope(may_read=False, may_give_feedback=False)
    subscription = _issue(
        tx,
        partner_id,
        Programme.STOPNCII_SUBSCRIPTION,
        nothing,
        label="subscription_key",
        by=issuer,
    )
    return [*issued, subscription]


def _issue(
    tx: Transaction, partner_id: str, programme: Programme, scope: Scope, *, label: str, by: str
) -> IssuedKey:
    secret = new_secret(os.urandom(SECRET_BYTES))
    key_id = f"key-{os.urandom(6).hex()}"
    text = scope_text(programme, scope)
    tx.connection.run(
        "INSERT INTO partner_key (key_id, partner_id, key_digest, scope, created_at,"
        " last_used_day, revoked_at) VALUES (?, ?, ?, ?, ?, 0, 0)",
        key_id,
        partner_id,
        secret_digest(secret),
        text,
        tx.now,
    )
    record(tx, by, "key.issue", partner_id, f"{key_id} {text}")
    return IssuedKey(key_id, label, secret)


def rotate(tx: Transaction, key_id: str, *, overlap_seconds: int, by: str) -> IssuedKey:
    """A new key with the same rights; the old one opens until the overlap is over.

    Raises:
        UnknownKeyError: if there is none, or it was revoked.
    """
    partner_id, text = _live(tx, key_id)
    programme, scope = read_scope(text)
    issued = _issue(tx, partner_id, programme, scope, label="new key", by=by)
    _end(tx, key_id, tx.now + overlap_seconds)
    record(tx, by, "key.rotate", partner_id, f"{key_id} by {issued.key_id}")
    return issued


def revoke(tx: Transaction, key_id: str, *, by: str) -> None:
    """Make a key open nothing, from now on.

    Raises:
        UnknownKeyError: if there is none, or it was revoked.
    """
    partner_id, _ = _live(tx, key_id)
    _end(tx, key_id, tx.now)
    record(tx, by, "key.revoke", partner_id, key_id)


def _live(tx: Transaction, key_id: str) -> tuple[str, str]:
    rows = tx.connection.rows(
        "SELECT partner_id, scope FROM partner_key WHERE key_id = ?"
        " AND (revoked_at = 0 OR revoked_at > ?)",
        key_id,
        tx.now,
    )
    if not rows:
        raise UnknownKeyError("there is no such key, or it was revoked")
    return str(rows[0][0]), str(rows[0][1])


def _end(tx: Transaction, key_id: str, at: int) -> None:
    tx.connection.run("UPDATE partner_key SET revoked_at = ? WHERE key_id = ?", at, key_id)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key as staff see it."""

    key_id: str
    partner_id: str
    scope: str
    created_at: int
    last_used_day: int
    revoked_at: int


def keys_of(connection: Connection, partner_id: str = "") -> list[KeyRecord]:
    """Every key, or every key of one partner, in the order issued."""
    rows = connection.rows(
        "SELECT key_id, partner_id, scope, created_at, last_used_day, revoked_at FROM partner_key"
        " WHERE partner_id = ? OR ? = '' ORDER BY created_at, key_id",
        partner_id,
        partner_id,
    )
    return [KeyRecord(*row) for row in rows]
