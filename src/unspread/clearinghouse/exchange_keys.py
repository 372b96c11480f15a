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
from unspread.clearinghouse.store import SECONDS_PER_DAY, Transaction
from unspread.crypto import sha256
from unspread.errors import InputError
from unspread.exchange.listings import CLEARINGHOUSE_MEMBER, Caller, Member, Scope
from unspread.exchange.threatexchange import app_id

SECRET_BYTES: Final = 24
COLLECT_SECONDS: Final = 7 * SECONDS_PER_DAY
"""A partner collects keys that it is allowed within so long."""
OVERLAP_SECONDS: Final = 7 * SECONDS_PER_DAY
"""A key that is replaced opens for so long beside the new one."""
_AT_THE_CONSOLE: Final = "one proposes the key, another decides,"
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
    """What `scope_text` wrote.

    Raises:
        InputError: for anything else.
    """
    programme, _, scope = text.partition(":")
    if programme not in set(Programme):
        raise InputError(f"the programmes are {', '.join(Programme)}")
    return Programme(programme), Scope.from_text(scope)


def wanted_scope(programme: str, words: str) -> str:
    """What a key to be issued opens, as `scope_text` writes it.

    Raises:
        InputError: if there is no such programme or scope, or it would open nothing.
    """
    chosen, scope = read_scope(f"{programme}:{words}")
    if chosen is Programme.STOPNCII_SUBSCRIPTION:
        raise InputError("StopNCII's subscription key comes with its others")
    if not (scope.may_read or scope.may_give_feedback or scope.may_submit):
        raise InputError("a key opens something: read, feedback or submit")
    return scope_text(chosen, scope)


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
    """New keys for a partner, for members of staff that somebody named on the command line.

    A partner that was only invited, because it has no keys of its own and speaks nothing but an
    older protocol, takes part from now on: so two members of staff say yes to it.

    Raises:
        StateError: if the partner is suspended, or fewer than two say yes to a new one; once two
            members could do it at the console.
    """
    partners.refuse_from_now_on(tx.connection, _AT_THE_CONSOLE)
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
    by_whom = partners.on_command_line(approvers[0])
    return _issue_all(tx, partner_id, programme, scope, by=by_whom)


def allow(tx: Transaction, partner_id: str, scope: str, *, replaces: str = "") -> str:
    """A code with which a partner collects keys that two members allowed it, once, within a week.

    So nobody at the clearinghouse sees a key. The code is not stored and cannot be shown again.

    Args:
        scope: as `scope_text` writes it.
        replaces: the key that ends a week after these are collected.
    """
    code = f"{partner_id}.{base64.urlsafe_b64encode(os.urandom(SECRET_BYTES)).decode()}"
    tx.connection.run(
        "INSERT INTO key_grant (code_digest, partner_id, scope, replaces, expires_at)"
        " VALUES (?, ?, ?, ?, ?)",
        _code_digest(code),
        partner_id,
        scope,
        replaces,
        tx.now + COLLECT_SECONDS,
    )
    return code


def _code_digest(code: str) -> bytes:
    return sha256(b"unspread/v1/key-code\n", code.encode())


def collect(tx: Transaction, code: str) -> tuple[str, Programme, list[IssuedKey]]:
    """The keys that a code stands for, made now: its partner, the programme, the keys.

    Raises:
        UnknownKeyError: if the code is unknown, used or too old.
        PartnerStateError: if the partner does not take part.
    """
    digest = _code_digest(code.strip())
    rows = tx.connection.rows(
        "SELECT partner_id, scope, replaces FROM key_grant WHERE code_digest = ?"
        " AND expires_at >= ?",
        digest,
        tx.now,
    )
    if not rows:
        raise UnknownKeyError("this code is unknown, used, or too old: ask for a new one")
    partner_id, text, replaces = rows[0]
    known = partners.partner(tx.connection, partner_id)
    if known.state != "active":
        raise partners.PartnerStateError(f"{partner_id} is {known.state}: it gets no keys")
    programme, scope = read_scope(text)
    tx.connection.run("DELETE FROM key_grant WHERE code_digest = ?", digest)
    if not replaces:
        return partner_id, programme, _issue_all(tx, partner_id, programme, scope, by=partner_id)
    return (
        partner_id,
        programme,
        [_replace(tx, replaces, overlap_seconds=OVERLAP_SECONDS, by=partner_id)],
    )


def entered(
    partner_id: str, programme: Programme, issued: Sequence[IssuedKey]
) -> list[tuple[str, str, str]]:
    """What a partner enters in its client: a name for it, the text, and the key's id."""
    app = f"{app_id(member_number(partner_id))}|" if programme is Programme.THREATEXCHANGE else ""
    user = [("user name", partner_id, "")] if programme is Programme.NCMEC else []
    return [*user, *((each.label, f"{app}{each.secret}", each.key_id) for each in issued)]


def member_number(partner_id: str) -> int:
    """A partner's number in the programmes that want one: 31 bits of its id's digest, above 1."""
    number = int.from_bytes(
        sha256(b"unspread/v1/exchange-member\n", partner_id.encode())[:4], "big"
    )
    return CLEARINGHOUSE_MEMBER + 1 + number % (2**31 - 2)


def _issue_all(
    tx: Transaction, partner_id: str, programme: Programme, scope: Scope, *, by: str
) -> list[IssuedKey]:
    """One key, or for StopNCII one per function and the subscription key."""
    if programme is not Programme.STOPNCII:
        label = "password" if programme is Programme.NCMEC else "access_token"
        return [_issue(tx, partner_id, programme, scope, label=label, by=by)]
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
            by=by,
        )
        for right, label in STOPNCII_FUNCTIONS.items()
        if right in scope.to_text().split()
    ]
    nothing = Scope(may_read=False, may_give_feedback=False)
    subscription = Programme.STOPNCII_SUBSCRIPTION
    return [
        *issued,
        _issue(tx, partner_id, subscription, nothing, label="subscription_key", by=by),
    ]


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

    For somebody on the command line, as `issue` is.

    Raises:
        UnknownKeyError: if there is none, or it was revoked.
        StateError: once two members could do it at the console.
    """
    partners.refuse_from_now_on(tx.connection, _AT_THE_CONSOLE)
    return _replace(tx, key_id, overlap_seconds=overlap_seconds, by=by)


def _replace(tx: Transaction, key_id: str, *, overlap_seconds: int, by: str) -> IssuedKey:
    partner_id, text = live(tx.connection, key_id, tx.now)
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
    partner_id, _ = live(tx.connection, key_id, tx.now)
    _end(tx, key_id, tx.now)
    record(tx, by, "key.revoke", partner_id, key_id)


def live(connection: Connection, key_id: str, now: int) -> tuple[str, str]:
    """Whose key it is, and its programme and scope.

    Raises:
        UnknownKeyError: if there is none, or it opens nothing any more.
    """
    rows = connection.rows(
        "SELECT partner_id, scope FROM partner_key WHERE key_id = ?"
        " AND (revoked_at = 0 OR revoked_at > ?)",
        key_id,
        now,
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
