"""The audit trail of staff and operators: appended, chained, never changed.

Each event's digest covers the one before, so that a missing or altered row is seen by `check`;
triggers in the database refuse changes on top.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from unspread.clearinghouse.database import Connection
from unspread.errors import TrustError

if TYPE_CHECKING:
    from unspread.clearinghouse.store import Transaction

START: Final = b"\x00" * 32


class BrokenTrailError(TrustError):
    """An event of the audit trail is missing or was altered."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that somebody did."""

    number: int
    at: int
    actor: str
    action: str
    subject: str
    detail: str
    digest: bytes

    def digest_after(self, before: bytes) -> bytes:
        """What its digest must be."""
        return _digest(before, self.at, self.actor, self.action, self.subject, self.detail)


def _digest(before: bytes, at: int, *words: str) -> bytes:
    digest = hashlib.sha256(b"unspread/v1/audit\n" + before + at.to_bytes(8, "big"))
    for word in words:
        raw = word.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


def record(tx: "Transaction", actor: str, action: str, subject: str, detail: str = "") -> None:
    """Append an event in the transaction of what it tells of: neither exists without the other."""
    rows = tx.connection.rows("SELECT digest FROM audit_event ORDER BY id DESC LIMIT 1")
    before = bytes(rows[0][0]) if rows else START
    words = (actor[:60], action[:60], subject[:120], detail[:400])
    tx.connection.run(
        "INSERT INTO audit_event (at, actor, action, subject, detail, digest)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        tx.now,
        *words,
        _digest(before, tx.now, *words),
    )


def trail(connection: Connection) -> Iterator[Event]:
    """Every event in order, its chain checked.

    Raises:
        BrokenTrailError: at the first event that does not follow from the one before.
    """
    before = START
    for row in connection.rows(
        "SELECT id, at, actor, action, subject, detail, digest FROM audit_event ORDER BY id"
    ):
        event = Event(row[0], row[1], row[2], row[3], row[4], row[5], bytes(row[6]))
        if event.digest != event.digest_after(before):
            raise BrokenTrailError(f"the audit trail is broken at event {event.number}")
        before = event.digest
        yield event
