"""What is stored, as SQL: the jobs that the writer runs and the questions that readers ask.

A job decides first and writes afterwards, so that a refusal leaves nothing behind. Positions in
the log are given here, in the transaction that makes the change: whatever is committed stands in
the log, in that order, and what stands in the log is committed.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from unspread import crypto
from unspread.clearinghouse.database import Connection, Row
from unspread.clearinghouse.packing import pack, unpack
from unspread.clearinghouse.rules import (
    FINAL_STATES,
    Assessed,
    Said,
    SuspendedBecause,
    expiry_day,
    renewed_expiry_day,
    standing,
    state_after,
    to_day,
)
from unspread.errors import InputError, StateError, TransportError
from unspread.feed.records import (
    AddRecord,
    Authority,
    ChangeReason,
    ChangeRecord,
    Entry,
    EntryKind,
    add_entry,
    change_entry,
)
from unspread.model import (
    Age,
    Feedback,
    FeedbackKind,
    Fingerprint,
    Level,
    Listing,
    ListingId,
    Media,
    State,
)

SECONDS_PER_DAY: Final = 86_400
INTAKE_PAUSED: Final = "intake_paused"
"""Switch that two members of staff turn on in an incident."""

TOMBSTONE_SECONDS: Final = 30 * SECONDS_PER_DAY
"""Checkpoints of StopNCII's clients go stale after 30 days: whoever had the value has asked."""

_SUSPENDED_AS: Final = {
    SuspendedBecause.DISPUTES: ChangeReason.DISPUTES,
    SuspendedBecause.VIRAL: ChangeReason.SPREAD_TOO_WIDE,
    SuspendedBecause.OLDER: ChangeReason.SPREAD_TOO_WIDE,
}


class UnknownCaseError(InputError):
    """No such case or item, or the signature is not its key's: which of them is not said."""


class UnknownListingError(InputError):
    """There is no such listing."""


class IntakePausedError(TransportError):
    """Two members of staff have paused intake."""


class OtherContentError(StateError):
    """The case key is taken, with other content."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """One item of a submission, checked and assessed."""

    item_key: bytes
    salt: bytes
    media: Media
    assessed: Assessed


@dataclass(frozen=True, slots=True)
class NewCase:
    """A submission, checked and assessed."""

    case_key: bytes
    content_digest: bytes
    age: Age
    items: tuple[NewItem, ...]


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """One piece of a partner's feedback."""

    external_id: str
    """The partner's own id of it: the same again changes nothing."""
    feedback: Feedback


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One row of the table of items, with what its case adds."""

    item_id: int
    item_key: bytes
    salt: bytes
    media: Media
    state: State
    level: Level
    reasons: tuple[str, ...]
    commitment: bytes
    listing_id: int | None
    fingerprints: tuple[Fingerprint, ...]
    withdrawal_signature: bytes
    revision: int
    changed_at: int
    listed_at: int
    suspended_because: str
    asked_because: str
    upheld_through: int
    vouched_by: str
    is_erased: bool
    age: Age
    submitted_day: int

    def listing(self) -> Listing:
        """As platforms see it; only of what was listed."""
        if self.listing_id is None:
            raise StateError("this item was never listed")
        hour = self.listed_at - self.listed_at % 3600
        return Listing(
            listing_id=ListingId(self.listing_id),
            media=self.media,
            age=self.age,
            fingerprints=self.fingerprints,
            level=self.level,
            state=self.state,
            listed_at=datetime.fromtimestamp(hour, UTC),
            item_key_digest=crypto.item_key_digest(self.item_key),
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a submission."""

    created: bool
    items: tuple[tuple[bytes, State, tuple[str, ...], bytes], ...]
    """Item key, state, reasons, commitment."""
    promised_at: int


_ITEM: Final = (
    "SELECT i.id, i.item_key, i.salt, i.media, i.state, i.level, i.reasons, i.commitment,"
    " i.listing_id, i.fingerprints, i.withdrawal_signature, i.revision, i.changed_at,"
    " i.listed_at, i.suspended_because, i.asked_because, i.upheld_through, i.vouched_by, i.erased,"
    " c.age, c.submitted_day"
    " FROM item i JOIN case_record c ON c.id = i.case_id "
)


def _stored(row: Row) -> StoredItem:
    return StoredItem(
        item_id=row[0],
        item_key=bytes(row[1]),
        salt=bytes(row[2]),
        media=Media(row[3]),
        state=State(row[4]),
        level=Level(row[5]),
        reasons=tuple(row[6].split()),
        commitment=bytes(row[7]),
        listing_id=row[8],
        fingerprints=unpack(bytes(row[9])),
        withdrawal_signature=bytes(row[10]),
        revision=row[11],
        changed_at=row[12],
        listed_at=row[13],
        suspended_because=row[14],
        asked_because=row[15],
        upheld_through=row[16],
        vouched_by=row[17],
        is_erased=bool(row[18]),
        age=Age(row[19]),
        submitted_day=row[20],
    )


class Transaction:
    """What a writer's job may do. Positions and seconds come from here, in commit order."""

    def __init__(self, connection: Connection, size: int, last_second: int, now: int) -> None:
        self.connection = connection
        self._size_before = size
        self.size = size
        """Of the log, with what this transaction appended."""
        self.now = max(now, last_second)
        """Seconds since 1970; never before an earlier transaction's."""
        self.changed: list[int] = []
        """Listings that were added or changed."""
        self.is_erasure_done = False
        """Erased content is gone from everywhere but, perhaps, the database's own log."""
        self.counts: dict[str, int] = {}

    @cached_property
    def intake_is_paused(self) -> bool:
        """As it was when a job of this transaction first asked; pausing is a job of its own."""
        return is_on(self.connection, INTAKE_PAUSED)

    def count(self, name: str, by: int = 1) -> None:
        """Count something for the transparency report; written at the transaction's end."""
        self.counts[name] = self.counts.get(name, 0) + by

    def append(self, entry: Entry, listing_id: int | None = None) -> int:
        """Append to the log; `listing_id` None: the entry adds the listing of its position."""
        position = self.size
        self.connection.run(
            "INSERT INTO log_entry (position, kind, payload, listing_id, committed_at)"
            " VALUES (?, ?, ?, ?, ?)",
            position,
            int(entry.kind),
            entry.payload,
            position if listing_id is None else listing_id,
            self.now,
        )
        self.size += 1
        return position

    @property
    def appended(self) -> int:
        """How many entries were appended."""
        return self.size - self._size_before

    def finish(self) -> None:
        """Write what was counted."""
        day = self.now // SECONDS_PER_DAY
        for name, count in self.counts.items():
            self.connection.run(
                "INSERT INTO daily_count (day, name, count) VALUES (?, ?, ?)"
                " ON CONFLICT (day, name) DO UPDATE SET count = daily_count.count + ?",
                day,
                name,
                count,
                count,
            )
        self.counts.clear()


_WRITER_LOCK: Final = 0x756E7370


def begin(connection: Connection, now: int) -> Transaction:
    """A transaction on a connection that has begun one: nobody else appends until it ends."""
    connection.exclude_others(_WRITER_LOCK)
    rows = connection.rows(
        "SELECT position, committed_at FROM log_entry ORDER BY position DESC LIMIT 1"
    )
    position, last_second = rows[0] if rows else (-1, 0)
    return Transaction(connection, position + 1, last_second, now)


def erasures_done(tx: Transaction, positions: Iterable[int]) -> None:
    """No published segment holds these positions' content any more."""
    tx.connection.run_many(
        "DELETE FROM pending_erasure WHERE position = ?", [(each,) for each in positions]
    )
    tx.is_erasure_done = True


def submit(tx: Transaction, case: NewCase) -> Accepted:
    """Store a case and list what may be listed.

    Raises:
        OtherContentError: if the case key or an item key is taken.
    """
    if tx.intake_is_paused:
        raise IntakePausedError(
            "new cases cannot be taken just now: please keep your receipt and try again tomorrow"
        )
    earlier = tx.connection.rows(
        "SELECT id, content_digest, promised_at FROM case_record WHERE case_key = ?", case.case_key
    )
    if earlier:
        case_id, content_digest, promised_at = earlier[0]
        if bytes(content_digest) != case.content_digest:
            raise OtherContentError("this receipt already has a case with other content")
        rows = tx.connection.rows(
            "SELECT item_key, state, reasons, commitment FROM item WHERE case_id = ?"
            " ORDER BY number",
            case_id,
        )
        items = tuple(
            (
                bytes(key),
                # What was answered then, whatever became of it since.
                State.HELD if reasons else State.LISTED,
                tuple(reasons.split()),
                bytes(commitment),
            )
            for key, _state, reasons, commitment in rows
        )
        return Accepted(False, items, promised_at)
    marks = ", ".join("?" * len(case.items))
    if tx.connection.rows(
        f"SELECT 1 FROM item WHERE item_key IN ({marks})",  # noqa: S608 - question marks only
        *(item.item_key for item in case.items),
    ):
        raise OtherContentError("one of the items belongs to another case")
    today = tx.now // SECONDS_PER_DAY
    (case_id,) = tx.connection.rows(
        "INSERT INTO case_record (case_key, content_digest, age, submitted_day, expires_day,"
        " promised_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        case.case_key,
        case.content_digest,
        case.age,
        today,
        expiry_day(today),
        tx.now,
    )[0]
    tx.count("cases")
    tx.count(f"cases.{case.age}")
    stored = tuple(
        _store_item(tx, case_id, case.age, number, item) for number, item in enumerate(case.items)
    )
    return Accepted(True, stored, tx.now)


def _add_entry(
    item: NewItem | StoredItem, age: Age, fingerprints: Sequence[Fingerprint], arrived_at: int
) -> Entry:
    """The entry that lists an item; of a held one, the entry that would when it is released."""
    record = AddRecord(
        media=item.media,
        age=age,
        level=Level.UNVERIFIED,
        listed_at=datetime.fromtimestamp(arrived_at - arrived_at % 3600, UTC),
        item_key_digest=crypto.item_key_digest(item.item_key),
        fingerprints=tuple(fingerprints),
    )
    return add_entry(record, item.salt)


def _store_item(
    tx: Transaction, case_id: int, age: Age, number: int, item: NewItem
) -> tuple[bytes, State, tuple[str, ...], bytes]:
    assessed = item.assessed
    entry = _add_entry(item, age, assessed.fingerprints, tx.now)
    commitment = entry.commitment()
    listing_id = None
    if assessed.state is State.LISTED:
        listing_id = tx.append(entry)
        tx.changed.append(listing_id)
    reasons = " ".join(assessed.reasons)
    tx.connection.run(
        "INSERT INTO item (case_id, number, item_key, salt, media, state, level, reasons,"
        " commitment, listing_id, fingerprints, withdrawal_signature, listed_at, revision,"
        " changed_at, suspended_because, vouched_by, erased)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        case_id,
        number,
        item.item_key,
        item.salt,
        item.media,
        assessed.state,
        assessed.level,
        reasons,
        commitment,
        listing_id,
        pack(assessed.fingerprints),
        b"",
        tx.now,
        listing_id + 1 if listing_id is not None else 0,
        tx.now,
        "",
        "",
        False,
    )
    tx.count(f"items.{assessed.state}.{item.media}")
    for reason in assessed.reasons:
        tx.count(f"held.{reason}")
    return item.item_key, assessed.state, tuple(assessed.reasons), commitment


def item_by_key(connection: Connection, item_key: bytes) -> StoredItem | None:
    """The item of a public key."""
    rows = connection.rows(_ITEM + "WHERE i.item_key = ?", item_key)
    return _stored(rows[0]) if rows else None


def item_by_listing(connection: Connection, listing_id: int) -> StoredItem | None:
    """The item that a listing lists."""
    rows = connection.rows(_ITEM + "WHERE i.listing_id = ?", listing_id)
    return _stored(rows[0]) if rows else None


def items_of_case(connection: Connection, case_id: int) -> list[StoredItem]:
    """A case's items, in the order submitted."""
    rows = connection.rows(_ITEM + "WHERE i.case_id = ? ORDER BY i.number", case_id)
    return [_stored(row) for row in rows]


def release(tx: Transaction, item: StoredItem) -> None:
    """List a held item, by the entry whose commitment its person was given."""
    entry = _add_entry(item, item.age, item.fingerprints, item.listed_at)
    listing_id = tx.append(entry)
    tx.connection.run(
        "UPDATE item SET state = ?, level = ?, listing_id = ?, revision = ?, changed_at = ?"
        " WHERE id = ?",
        State.LISTED,
        Level.UNVERIFIED,
        listing_id,
        listing_id + 1,
        tx.now,
        item.item_id,
    )
    tx.changed.append(listing_id)


def note_suspension(tx: Transaction, item: StoredItem, because: str) -> None:
    """Say why a listing is suspended."""
    tx.connection.run(
        "UPDATE item SET suspended_because = ? WHERE id = ?", because[:24], item.item_id
    )


def clear_suspension(tx: Transaction, item: StoredItem) -> None:
    """A listing is suspended no more."""
    tx.connection.run("UPDATE item SET suspended_because = '' WHERE id = ?", item.item_id)


def uphold(tx: Transaction, item: StoredItem) -> None:
    """Staff stand by a listing: what was said of it so far asks for no review again, and what looks
    famous suspends it no more."""
    tx.connection.run(
        "UPDATE item SET suspended_because = '', asked_because = '', upheld_through ="
        " (SELECT COALESCE(MAX(id), 0) + 1 FROM feedback WHERE listing_id = ?) WHERE id = ?",
        item.listing_id,
        item.item_id,
    )


def set_switch(tx: Transaction, name: str, *, is_on: bool) -> None:
    """Turn something on or off for everybody."""
    tx.connection.run(
        "INSERT INTO switch (name, is_on) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET is_on = ?",
        name,
        is_on,
        is_on,
    )


def is_on(connection: Connection, name: str) -> bool:
    """Whether something is on."""
    rows = connection.rows("SELECT is_on FROM switch WHERE name = ?", name)
    return bool(rows and rows[0][0])


def vouch(tx: Transaction, partner_id: str, listing_ids: Sequence[int]) -> None:
    """A helpline's word that it knows the case behind listings.

    Raises:
        UnknownListingError: if one does not exist; then nothing is changed.
    """
    items = [item_by_listing(tx.connection, each) for each in listing_ids]
    if any(item is None for item in items):
        raise UnknownListingError("there is no such listing")
    for item in items:
        if item is not None and item.state not in FINAL_STATES and not item.vouched_by:
            tx.connection.run(
                "UPDATE item SET vouched_by = ? WHERE id = ?", partner_id, item.item_id
            )
            tx.count("vouched")
            if item.listing_id is not None:
                reconsider(tx, item.listing_id)


def every_item(connection: Connection) -> Iterator[StoredItem]:
    """Every item, by id, read in pages."""
    after = 0
    while rows := connection.rows(_ITEM + "WHERE i.id > ? ORDER BY i.id LIMIT 500", after):
        for row in rows:
            yield _stored(row)
        after = rows[-1][0]


def mark_lost(tx: Transaction, item: StoredItem) -> None:
    """End and erase an item that was erased before, after an older database was restored.

    What ended it is in the log, as an entry that cannot be opened any more: this says it again.
    """
    if item.listing_id is not None:
        record = ChangeRecord(
            ListingId(item.listing_id),
            State.EXPIRED,
            item.level,
            Authority.RULE,
            ChangeReason.CORRECTION,
        )
        append_change(tx, item, record)
    erase(tx, item)


def set_state(tx: Transaction, item: StoredItem, state: State) -> None:
    """Change the state of an item that was never listed: nobody is told."""
    tx.connection.run(
        "UPDATE item SET state = ?, changed_at = ? WHERE id = ?", state, tx.now, item.item_id
    )


def items_where(connection: Connection, rest: str, *parameters: object) -> list[StoredItem]:
    """Items by the rest of a query: conditions on `i` (item) and `c` (case), order, limit."""
    return [_stored(row) for row in connection.rows(_ITEM + rest, *parameters)]


def items_of(connection: Connection, case_key: bytes) -> list[StoredItem]:
    """A case's items, in the order submitted."""
    rows = connection.rows(_ITEM + "WHERE c.case_key = ? ORDER BY i.number", case_key)
    return [_stored(row) for row in rows]


def withdraw(tx: Transaction, withdrawals: Sequence[tuple[bytes, bytes]]) -> None:
    """Withdraw items whose signatures were checked; what is over already stays as it is.

    Raises:
        UnknownCaseError: if any is not known; then nothing is changed.
    """
    items: list[tuple[StoredItem, bytes]] = []
    for item_key, signature in withdrawals:
        item = item_by_key(tx.connection, item_key)
        if item is None:
            raise UnknownCaseError("one of these items is not known here")
        items.append((item, signature))
    done: set[int] = set()
    for item, signature in items:
        if item.state is State.WITHDRAWN or item.item_id in done:
            continue
        done.add(item.item_id)
        if item.listing_id is not None:
            record = ChangeRecord.withdrawal(
                ListingId(item.listing_id), item.level, item.item_key, signature
            )
            append_change(tx, item, record)
        tx.connection.run(
            "UPDATE item SET withdrawal_signature = ?, state = ? WHERE id = ?",
            signature,
            State.WITHDRAWN,
            item.item_id,
        )
        erase(tx, item)
        tx.count("withdrawals")


def append_change(tx: Transaction, item: StoredItem, record: ChangeRecord) -> None:
    """Change a listing, in the log and in the table."""
    salt = os.urandom(crypto.SALT_BYTES)
    position = tx.append(change_entry(record, salt), record.listing_id)
    tx.connection.run(
        "UPDATE item SET state = ?, level = ?, revision = ?, changed_at = ? WHERE id = ?",
        record.state,
        record.level,
        position + 1,
        tx.now,
        item.item_id,
    )
    tx.changed.append(record.listing_id)


def erase(tx: Transaction, item: StoredItem) -> None:
    """Remove fingerprint and salt of an item from the database; published segments follow.

    The commitment stays in the log: without the salt nobody can open it.
    """
    if item.listing_id is None:
        tx.is_erasure_done = True
    else:
        if tx.connection.rows(
            "SELECT 1 FROM partner_key WHERE revoked_at = 0 AND (scope LIKE 'stopncii%'"
            " OR scope LIKE 'threatexchange%') LIMIT 1"
        ):
            tx.connection.run(
                "INSERT INTO pending_tombstone (listing_id, media, fingerprints, erase_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (listing_id) DO NOTHING",
                item.listing_id,
                item.media,
                pack(item.fingerprints),
                tx.now + TOMBSTONE_SECONDS,
            )
        tx.connection.run(
            "UPDATE log_entry SET kind = ?, payload = ? WHERE position = ?",
            int(EntryKind.ERASED),
            item.commitment,
            item.listing_id,
        )
        tx.connection.run(
            "INSERT INTO pending_erasure (position) VALUES (?) ON CONFLICT (position) DO NOTHING",
            item.listing_id,
        )
    tx.connection.run(
        "UPDATE item SET fingerprints = ?, salt = ?, erased = ? WHERE id = ?",
        b"",
        b"",
        True,
        item.item_id,
    )


def renew(tx: Transaction, case_key: bytes) -> None:
    """Give a case two more years, if it is in its last months.

    Raises:
        UnknownCaseError: if there is none.
    """
    rows = tx.connection.rows(
        "SELECT id, expires_day FROM case_record WHERE case_key = ?", case_key
    )
    if not rows:
        raise UnknownCaseError("this case is not known here, or the signature is not its own")
    case_id, expires_day = rows[0]
    later = renewed_expiry_day(expires_day, tx.now // SECONDS_PER_DAY)
    if later != expires_day:
        tx.connection.run("UPDATE case_record SET expires_day = ? WHERE id = ?", later, case_id)
        tx.count("renewals")


def take_feedback(tx: Transaction, partner_id: str, said: Sequence[NewFeedback]) -> int:
    """Store a partner's feedback and apply the rules; how many pieces were new.

    Raises:
        UnknownListingError: if a listing was never published; then nothing is stored.
    """
    kept: list[NewFeedback] = []
    for new in said:
        named = new.feedback.listing_id
        if item_by_listing(tx.connection, named) is not None:
            kept.append(new)
        elif tx.connection.rows("SELECT 1 FROM canary WHERE position = ?", named):
            # A chance match with a canary: the answer must not tell it from a listing.
            tx.count("feedback.canary")
        else:
            raise UnknownListingError("feedback names a listing that does not exist")
    count = 0
    touched: dict[int, None] = {}
    for new in kept:
        each = new.feedback
        inserted = tx.connection.run(
            "INSERT INTO feedback (partner_id, external_id, listing_id, kind, at, count, reason,"
            " accounts, oldest_day, received_at, settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (partner_id, external_id) DO NOTHING",
            partner_id,
            new.external_id,
            each.listing_id,
            each.kind,
            int(each.at.timestamp()),
            each.count,
            each.reason or "",
            each.accounts,
            to_day(each.oldest_on) if each.oldest_on else 0,
            tx.now,
            False,
        )
        if inserted:
            count += 1
            touched[each.listing_id] = None
            tx.count(f"feedback.{each.kind}")
    for listing_id in touched:
        reconsider(tx, listing_id)
    return count


def reconsider(tx: Transaction, listing_id: int) -> None:
    """Apply the rules to all that partners said of a listing; publish what that changes."""
    item = item_by_listing(tx.connection, listing_id)
    if item is None or item.state in FINAL_STATES:
        return
    rows = tx.connection.rows(
        "SELECT f.partner_id, f.kind, f.count, f.accounts, f.oldest_day, f.id < ? FROM feedback f"
        " JOIN partner p ON p.partner_id = f.partner_id"
        " WHERE f.listing_id = ? AND f.settled = ? AND p.state = 'active' ORDER BY f.id",
        item.upheld_through,
        listing_id,
        False,
    )
    said = [
        Said(partner, FeedbackKind(kind), count, accounts, oldest_day, bool(is_answered))
        for partner, kind, count, accounts, oldest_day, is_answered in rows
    ]
    judged = standing(
        said,
        submitted_day=item.submitted_day,
        vouched=bool(item.vouched_by),
        upheld=item.upheld_through > 0,
    )
    state, because = state_after(item.state, item.suspended_because, judged)
    _note_review(tx, item, because, judged.asked or "" if state is State.LISTED else "")
    if (state, judged.level) == (item.state, item.level):
        return
    reason = ChangeReason.VOUCHED if item.vouched_by else ChangeReason.FEEDBACK
    if state is State.SUSPENDED and state is not item.state:
        reason = _SUSPENDED_AS[SuspendedBecause(because)]
    record = ChangeRecord(ListingId(listing_id), state, judged.level, Authority.RULE, reason)
    append_change(tx, item, record)


def _note_review(tx: Transaction, item: StoredItem, because: str, asked: str) -> None:
    """Note why somebody has to look at a listing, for the console and the report."""
    if (because, asked) == (item.suspended_because, item.asked_because):
        return
    tx.connection.run(
        "UPDATE item SET suspended_because = ?, asked_because = ? WHERE id = ?",
        because,
        asked,
        item.item_id,
    )
    if because and because != item.suspended_because:
        tx.count(f"suspended.{because}")
    if asked and asked != item.asked_because:
        tx.count(f"asked.{asked}")


def acknowledge(tx: Transaction, partner_id: str, size: int, root: bytes) -> None:
    """Store a partner's word that it applied the log up to `size`."""
    tx.connection.run(
        "INSERT INTO acknowledgement (partner_id, size, root, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (partner_id, size) DO NOTHING",
        partner_id,
        size,
        root,
        tx.now,
    )
    tx.connection.run(
        "UPDATE partner SET last_heard_at = ?,"
        " applied_size = CASE WHEN applied_size < ? THEN ? ELSE applied_size END"
        " WHERE partner_id = ?",
        tx.now,
        size,
        size,
        partner_id,
    )
