"""Members of staff: invited, known by passkeys alone, with one role each."""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from unspread.clearinghouse.audit import record
from unspread.clearinghouse.database import Connection, Row
from unspread.clearinghouse.store import Transaction
from unspread.errors import InputError, StateError

INVITATION_SECONDS: Final = 24 * 3600


class Role(StrEnum):
    """What somebody may do. Everybody may look."""

    ONBOARDING = "onboarding"
    """Invites, approves and suspends partners."""
    INTEGRITY = "integrity"
    """Decides on quarantine, disputes, incidents."""
    EDITOR = "editor"
    """Writes texts and helplines."""
    AUDITOR = "auditor"
    """Reads everything, changes nothing."""


class NotAllowedError(StateError):
    """This role may not do that."""


class UnknownMemberError(InputError):
    """No such member, or the invitation is used or too old."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of staff."""

    member_id: int
    name: str
    role: Role
    is_active: bool

    def require(self, role: Role) -> None:
        """Return if the member has the role.

        Raises:
            NotAllowedError: otherwise.
        """
        if self.role is not role:
            raise NotAllowedError(f"this is for the role {role}; yours is {self.role}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A passkey's public half."""

    member: Member
    credential_id: bytes
    public_key: bytes
    sign_count: int


_MEMBER: Final = "SELECT id, name, role, is_active FROM staff_member "


def _member(row: Row) -> Member:
    return Member(row[0], row[1], Role(row[2]), bool(row[3]))


def members(connection: Connection) -> list[Member]:
    """Everybody, by name."""
    return [_member(row) for row in connection.rows(_MEMBER + "ORDER BY name")]


def member(connection: Connection, member_id: int) -> Member:
    """One active member.

    Raises:
        UnknownMemberError: if there is none, or not any more.
    """
    rows = connection.rows(_MEMBER + "WHERE id = ? AND is_active = ?", member_id, True)
    if not rows:
        raise UnknownMemberError("there is no such member of staff")
    return _member(rows[0])


def count_signing(connection: Connection, role: Role) -> int:
    """How many active members of a role have a passkey."""
    ((count,),) = connection.rows(
        "SELECT COUNT(DISTINCT m.id) FROM staff_member m JOIN passkey p ON p.member_id = m.id"
        " WHERE m.is_active = ? AND m.role = ?",
        True,
        role,
    )
    return int(count)


def invite(tx: Transaction, name: str, role: Role, *, by: str) -> str:
    """A link's secret with which a new member registers a passkey, good once, for a day.

    For a member that is there already: registers another passkey, as when one was lost.
    """
    if not 1 <= len(name.strip()) <= 60:
        raise InputError("a name has 1 to 60 characters")
    secret = secrets.token_urlsafe(24)
    digest = hashlib.sha256(secret.encode()).digest()
    until = tx.now + INVITATION_SECONDS
    tx.connection.run(
        "INSERT INTO staff_member (name, role, is_active, invitation_digest,"
        " invitation_expires_at, created_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name)"
        " DO UPDATE SET role = ?, is_active = ?, invitation_digest = ?, invitation_expires_at = ?",
        name.strip(), role, True, digest, until, tx.now, role, True, digest, until,
    )  # fmt: skip
    record(tx, by, "staff.invite", name.strip(), f"role {role}")
    return secret


def invited(connection: Connection, secret: str, now: int) -> Member:
    """Who an invitation is for.

    Raises:
        UnknownMemberError: if it is unknown, used or too old.
    """
    rows = connection.rows(
        _MEMBER + "WHERE invitation_digest = ? AND invitation_expires_at >= ? AND is_active = ?",
        hashlib.sha256(secret.encode()).digest(),
        now,
        True,
    )
    if not rows:
        raise UnknownMemberError("this invitation is used or too old: ask for a new one")
    return _member(rows[0])


def register(
    tx: Transaction, secret: str, credential_id: bytes, public_key: bytes, sign_count: int
) -> Member:
    """Store an invited member's passkey; the invitation is used up."""
    known = invited(tx.connection, secret, tx.now)
    tx.connection.run(
        "INSERT INTO passkey (member_id, credential_id, public_key, sign_count, created_at)"
        " VALUES (?, ?, ?, ?, ?)",
        known.member_id,
        credential_id,
        public_key,
        sign_count,
        tx.now,
    )
    tx.connection.run(
        "UPDATE staff_member SET invitation_digest = ? WHERE id = ?", b"", known.member_id
    )
    record(tx, known.name, "staff.passkey", known.name)
    return known


def credential(connection: Connection, credential_id: bytes) -> Credential:
    """A passkey of an active member.

    Raises:
        UnknownMemberError: if it is nobody's.
    """
    rows = connection.rows(
        "SELECT m.id, m.name, m.role, m.is_active, p.public_key, p.sign_count FROM passkey p"
        " JOIN staff_member m ON m.id = p.member_id WHERE p.credential_id = ? AND m.is_active = ?",
        credential_id,
        True,
    )
    if not rows:
        raise UnknownMemberError("this passkey is not known here")
    row = rows[0]
    return Credential(_member(row), credential_id, bytes(row[4]), row[5])


def signed_in(tx: Transaction, credential_id: bytes, sign_count: int, name: str) -> None:
    """Note a sign-in, and the passkey's counter against copies."""
    tx.connection.run(
        "UPDATE passkey SET sign_count = ? WHERE credential_id = ?", sign_count, credential_id
    )
    record(tx, name, "staff.sign-in", name)


def dismiss(tx: Transaction, name: str, *, by: str) -> None:
    """End somebody's access at once; passkeys are deleted."""
    rows = tx.connection.rows(_MEMBER + "WHERE name = ?", name)
    if not rows:
        raise UnknownMemberError("there is no such member of staff")
    tx.connection.run("DELETE FROM passkey WHERE member_id = ?", rows[0][0])
    tx.connection.run(
        "UPDATE staff_member SET is_active = ?, invitation_digest = ? WHERE name = ?",
        False,
        b"",
        name,
    )
    record(tx, by, "staff.dismiss", name)
