"""What must survive: lists, listings, findings, actions, feedback, keys, the audit trail.

Every method is blocking and safe in any thread; those that change something return once it is
durable. What follows from a change (a listing withdrawn releases what was held for it) is written
in the same transaction, so that `kill -9` leaves either all of it or nothing.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from unspread.crypto import sha256
from unspread.errors import InputError, StateError
from unspread.model import (
    Age,
    Feedback,
    FeedbackKind,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Reason,
    State,
)
from unspread.platform_kit.accounts import MAX_COUNTED, Accounts, rounded
from unspread.platform_kit.database import Database
from unspread.platform_kit.packing import Packed, pack, unpack

FILE_NAME: Final = "platform.sqlite3"

_T = TypeVar("_T")

_NO_LIST: Final = -1
"""Stands for the list of actions that come from a notice."""

_ERASED_STATES: Final = frozenset({State.WITHDRAWN, State.EXPIRED, State.REMOVED})
"""Final states: the fingerprints are erased here, not only set aside."""

_SCHEMA: Final = (
    """CREATE TABLE lists (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
        cursor BLOB NOT NULL DEFAULT x'', size INTEGER NOT NULL DEFAULT 0,
        root TEXT NOT NULL DEFAULT '', checked_at TEXT NOT NULL DEFAULT '',
        relevant_size INTEGER NOT NULL DEFAULT 0,
        acknowledged_size INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE listings (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, key TEXT, media TEXT NOT NULL,
        age TEXT NOT NULL, level TEXT NOT NULL, state TEXT NOT NULL, listed_at TEXT NOT NULL,
        item_key_digest BLOB NOT NULL, fingerprints BLOB NOT NULL, sequence INTEGER NOT NULL,
        first_sequence INTEGER NOT NULL, PRIMARY KEY (list, listing_id)) WITHOUT ROWID""",
    "CREATE INDEX listings_by_sequence ON listings (sequence)",
    "CREATE UNIQUE INDEX listings_by_key ON listings (list, key) WHERE key IS NOT NULL",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    # A platform that begins anew must not repeat ids that the clearinghouse has seen.
    "INSERT INTO counters VALUES ('instance', abs(random()) % 1000000000000)",
    """CREATE TABLE findings (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, reference TEXT NOT NULL,
        response TEXT NOT NULL, PRIMARY KEY (list, listing_id, reference)) WITHOUT ROWID""",
    "CREATE INDEX findings_by_reference ON findings (reference)",
    """CREATE TABLE actions (
        number INTEGER PRIMARY KEY AUTOINCREMENT, action_id TEXT NOT NULL UNIQUE,
        action TEXT NOT NULL, reference TEXT NOT NULL, list INTEGER NOT NULL,
        list_name TEXT NOT NULL, listing_id INTEGER NOT NULL, level TEXT NOT NULL,
        kind TEXT NOT NULL, distance_bits INTEGER NOT NULL, rule TEXT NOT NULL,
        origin TEXT NOT NULL, decided_at TEXT NOT NULL, state TEXT NOT NULL,
        due_at TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '', closed_at TEXT,
        forgotten INTEGER NOT NULL DEFAULT 0)""",
    """CREATE INDEX actions_to_forget ON actions (number)
        WHERE action = 'remove' AND state = 'delivered' AND NOT forgotten""",
    "CREATE INDEX actions_due ON actions (due_at) WHERE state = 'pending'",
    "CREATE INDEX actions_by_listing ON actions (list, listing_id, reference)",
    "CREATE INDEX actions_held ON actions (number) WHERE action = 'hold' AND closed_at IS NULL",
    """CREATE TABLE feedback (
        id TEXT PRIMARY KEY, list INTEGER NOT NULL, listing_id INTEGER NOT NULL,
        kind TEXT NOT NULL, at TEXT NOT NULL, count INTEGER NOT NULL, reason TEXT,
        sent_at TEXT) WITHOUT ROWID""",
    "CREATE INDEX feedback_unsent ON feedback (list, at) WHERE sent_at IS NULL",
    """CREATE TABLE blocked (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, count INTEGER NOT NULL,
        reported INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (list, listing_id)) WITHOUT ROWID""",
    """CREATE TABLE api_keys (
        key_digest BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
        created_at TEXT NOT NULL, revoked_at TEXT) WITHOUT ROWID""",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL,
        what TEXT NOT NULL, subject TEXT NOT NULL)""",
    """CREATE INDEX actions_pending_by_reference ON actions (reference, number)
        WHERE state = 'pending'""",
    """CREATE TABLE descriptors (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, descriptor TEXT NOT NULL,
        PRIMARY KEY (list, listing_id, descriptor)) WITHOUT ROWID""",
    "ALTER TABLE feedback ADD COLUMN accounts INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE feedback ADD COLUMN oldest_on TEXT",
    "CREATE TABLE postings (reference TEXT PRIMARY KEY, account INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE posters (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, account INTEGER NOT NULL,
        PRIMARY KEY (list, listing_id, account)) WITHOUT ROWID""",
    """CREATE TABLE oldest_copies (
        list INTEGER NOT NULL, listing_id INTEGER NOT NULL, oldest_on TEXT NOT NULL,
        PRIMARY KEY (list, listing_id)) WITHOUT ROWID""",
)


class ActionKind(StrEnum):
    """What to do with one piece of content."""

    REMOVE = "remove"
    """Take it down."""
    HOLD = "hold"
    """Hide it until a person has looked."""
    RELEASE = "release"
    """Show again what was only held."""
    TELL = "tell"
    """Tell the person who sent a notice where it stands; the reference names the notice."""


class Origin(StrEnum):
    """How content came to be matched."""

    UPLOAD = "upload"
    CATALOGUE = "catalogue"
    NOTICE = "notice"
    """A person asked by a notice, and a person decided; no listing is involved."""


class Verdict(StrEnum):
    """What a reviewer concludes about held content."""

    REMOVE = "remove"
    KEEP = "keep"
    """It is not what the listing means, or may stay."""
    DISPUTE = "dispute"
    """The listing itself seems wrong."""


class UnknownActionError(InputError):
    """There is no such action, or it is not open."""


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody who sent a notice is told, and where they are reached. Shown by no repr."""

    contact: str = field(repr=False)
    """As they wrote it: an e-mail address, or anything else."""
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Action:
    """Something to be done with one piece of content, the same on every attempt."""

    action_id: str
    action: ActionKind
    reference: str
    list_name: str | None
    """None, like the four that follow, when it comes from a notice and not from a listing."""
    listing_id: ListingId | None
    level: Level | None
    kind: Kind | None
    distance_bits: int | None
    rule: str
    origin: Origin
    decided_at: datetime
    attempts: int = 0
    error: str = ""
    message: Message | None = None
    """Of `tell` alone, and put here only to be delivered."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Hosted content that matches a listing: which, by what, how far."""

    reference: str
    kind: Kind
    distance_bits: int


@dataclass(frozen=True, slots=True)
class ListState:
    """Where one list stands."""

    number: int
    """0..127, for the life of the database."""
    name: str
    source: str
    cursor: bytes
    """The place in the list, in its source's own form."""
    size: int
    root: str
    checked_at: datetime | None
    """When the list was last known to be current."""
    relevant_size: int
    """Size behind the newest listing or change: what is worth acknowledging."""
    acknowledged_size: int


@dataclass(frozen=True, slots=True)
class Change:
    """One listing as it is since a change."""

    sequence: int
    """Strictly increasing over all lists."""
    first_sequence: int
    """When the listing came."""
    list_number: int
    listing: Listing


def time_text(at: datetime) -> str:
    """UTC, to the microsecond; such texts sort like times."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> datetime:
    """What `time_text` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def bucketed(count: int) -> int:
    """The largest of 1, 10, 100 … not above `count`: exact counts could single somebody out."""
    return int(10 ** (len(str(count)) - 1))


class Store:
    """The platform kit's durable state in one SQLite file."""

    def __init__(self, data: Path) -> None:
        """Open or create the store under the data directory."""
        self._database = Database(data / FILE_NAME)
        self._database.migrate("kit", _SCHEMA)
        self._accounts = Accounts(data / "accounts.key")
        self._has_new_actions = False
        self._on_actions: list[Callable[[], None]] = []
        self._database.on_commit(self._committed)

    def close(self) -> None:
        """Finish what is queued, and close."""
        self._database.close()

    def migrate(self, part: str, statements: Sequence[str]) -> None:
        """Add the tables of another part of the kit; each statement runs once."""
        self._database.migrate(part, statements)

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in the writer's transaction and wait until it is durable."""
        return self._database.write(work)

    def submit(self, work: Callable[[sqlite3.Connection], _T]) -> "Future[_T]":
        """Queue `work` for the writer; the future is done once it is durable."""
        return self._database.submit(work)

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on a reading connection."""
        return self._database.read(work)

    def erase_after_commit(self) -> None:
        """Called by work that erases: leave no copy behind in the write-ahead log either."""
        self._database.erase_after_commit()

    def on_actions(self, callback: Callable[[], None]) -> None:
        """Call `callback`, from the writer's thread, after a commit that queued actions."""
        self._on_actions.append(callback)

    def _committed(self) -> None:
        if self._has_new_actions:
            self._has_new_actions = False
            for callback in self._on_actions:
                callback()

    # Lists

    def list_number(self, name: str, source: str) -> int:
        """The number of a list, new or known."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(
                "INSERT INTO lists (number, name, source)"
                " SELECT coalesce(max(number) + 1, 0), ?, ? FROM lists WHERE true"
                " ON CONFLICT (name) DO UPDATE SET source = excluded.source",
                (name, source),
            )
            number = connection.execute("SELECT number FROM lists WHERE name = ?", (name,))
            return int(number.fetchone()[0])

        number = self.write(work)
        if number > 127:
            raise StateError("there can be 128 lists in all")
        return number

    def lists(self) -> tuple[ListState, ...]:
        """All lists that were ever followed here."""
        rows = self.read(lambda c: c.execute("SELECT * FROM lists ORDER BY number").fetchall())
        return tuple(
            ListState(
                row["number"],
                row["name"],
                row["source"],
                row["cursor"],
                row["size"],
                row["root"],
                time_of(row["checked_at"]) if row["checked_at"] else None,
                row["relevant_size"],
                row["acknowledged_size"],
            )
            for row in rows
        )

    def list_state(self, name: str) -> ListState:
        """Where one list stands.

        Raises:
            StateError: if it is not followed here.
        """
        for each in self.lists():
            if each.name == name:
                return each
        raise StateError(f"there is no list named {name}")

    def apply(
        self,
        number: int,
        listings: Sequence[Listing],
        *,
        cursor: bytes,
        size: int,
        root: str,
        at: datetime,
        keys: Sequence[str] | None = None,
    ) -> int:
        """Write listings as they are now, and the cursor behind them, in one transaction.

        A listing that is no longer active releases what was held for it and cancels what was not
        yet done; in a final state its fingerprints are erased.

        Args:
            keys: each listing's key in the list's own terms, where it has one.

        Returns:
            The sequence of the newest change, in this list or another.
        """

        def work(connection: sqlite3.Connection) -> int:
            sequence = _advance(connection, "sequence", len(listings))
            for place, listing in enumerate(listings):
                key = keys[place] if keys is not None else None
                _write_listing(connection, number, listing, key, sequence + place)
                if listing.state in _ERASED_STATES:
                    self._database.erase_after_commit()
                if not listing.is_active:
                    self._release(connection, number, listing, at)
            connection.execute(
                "UPDATE lists SET cursor = ?, size = ?, root = ?,"
                " relevant_size = CASE WHEN ? THEN ? ELSE relevant_size END WHERE number = ?",
                (cursor, size, root, bool(listings), size, number),
            )
            return sequence + len(listings) - 1

        return self.write(work)

    def checked(self, number: int, at: datetime) -> None:
        """Note that the list was found to be current."""
        self.write(
            lambda c: c.execute(
                "UPDATE lists SET checked_at = ? WHERE number = ?", (time_text(at), number)
            )
        )

    def acknowledged(self, number: int, size: int) -> None:
        """Note that the clearinghouse knows that everything up to `size` is applied here."""
        self.write(
            lambda c: c.execute(
                "UPDATE lists SET acknowledged_size = max(acknowledged_size, ?) WHERE number = ?",
                (size, number),
            )
        )

    def listing(self, number: int, listing_id: int) -> Listing | None:
        """One listing as it is now."""
        return self.read(lambda c: _listing(c, number, listing_id))

    def listing_by_key(self, number: int, key: str) -> Listing | None:
        """One listing by its key in the list's own terms."""

        def work(connection: sqlite3.Connection) -> Listing | None:
            row = connection.execute(
                "SELECT * FROM listings WHERE list = ? AND key = ?", (number, key)
            ).fetchone()
            return None if row is None else _listing_of(row)

        return self.read(work)

    def listing_ids(self, number: int, keys: Sequence[str]) -> list[ListingId]:
        """A number for each key: the known one, or a new one that is not written yet."""

        def work(connection: sqlite3.Connection) -> list[ListingId]:
            found: dict[str, ListingId] = {}
            for key in keys:
                row = connection.execute(
                    "SELECT listing_id FROM listings WHERE list = ? AND key = ?", (number, key)
                ).fetchone()
                if key not in found:
                    found[key] = ListingId(
                        row[0] if row is not None else _advance(connection, f"list-{number}", 1)
                    )
            return [found[key] for key in keys]

        return self.write(work)

    def key_of(self, number: int, listing_id: int) -> str | None:
        """A listing's key in the list's own terms."""
        row = self.read(
            lambda c: c.execute(
                "SELECT key FROM listings WHERE list = ? AND listing_id = ?", (number, listing_id)
            ).fetchone()
        )
        return None if row is None else row["key"]

    def set_descriptors(self, number: int, descriptors: Mapping[ListingId, Sequence[str]]) -> None:
        """Keep what opinions on listings are addressed to, in the place of what it was."""

        def work(connection: sqlite3.Connection) -> None:
            for listing_id, names in descriptors.items():
                connection.execute(
                    "DELETE FROM descriptors WHERE list = ? AND listing_id = ?",
                    (number, listing_id),
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO descriptors VALUES (?, ?, ?)",
                    [(number, listing_id, each) for each in names],
                )

        self.write(work)

    def descriptors(self, number: int, listing_id: int) -> list[str]:
        """What opinions on a listing are addressed to, where the list has such."""
        rows = self.read(
            lambda c: c.execute(
                "SELECT descriptor FROM descriptors WHERE list = ? AND listing_id = ?",
                (number, listing_id),
            ).fetchall()
        )
        return [row[0] for row in rows]

    def active_count(self, number: int) -> int:
        """How many listings of a list are matched."""
        return self.read(
            lambda c: int(
                c.execute(
                    "SELECT count(*) FROM listings WHERE list = ? AND state = ?",
                    (number, State.LISTED),
                ).fetchone()[0]
            )
        )

    def all_active_count(self) -> int:
        """How many listings of all lists are matched."""
        return sum(self.active_count(each.number) for each in self.lists())

    def written_before(self, number: int, sequence: int) -> list[Listing]:
        """Active listings of a list that nothing has written since before `sequence`."""

        def work(connection: sqlite3.Connection) -> list[Listing]:
            rows = connection.execute(
                "SELECT * FROM listings WHERE list = ? AND state = ? AND sequence < ?",
                (number, State.LISTED, sequence),
            )
            return [_listing_of(row) for row in rows]

        return self.read(work)

    def changes_after(self, sequence: int, limit: int = 10_000) -> list[Change]:
        """What changed after `sequence`, oldest first, each listing once, as it is now."""

        def work(connection: sqlite3.Connection) -> list[Change]:
            rows = connection.execute(
                "SELECT * FROM listings WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            )
            return [
                Change(row["sequence"], row["first_sequence"], row["list"], _listing_of(row))
                for row in rows
            ]

        return self.read(work)

    def active_listings(self, since: int = 0) -> Iterator[tuple[int, Listing]]:
        """(list number, listing) of all to be matched that changed after sequence `since`.

        Read while it is consumed.
        """
        cursor = self.read(
            lambda c: c.execute(
                "SELECT * FROM listings WHERE state = ? AND sequence > ?", (State.LISTED, since)
            )
        )
        for row in cursor:
            yield row["list"], _listing_of(row)

    def active_packed(self) -> Iterator[Packed]:
        """As `active_listings`, with no more than a bank needs. Read while it is consumed."""
        cursor = self.read(
            lambda c: c.execute(
                "SELECT list, listing_id, level, media, fingerprints FROM listings WHERE state = ?",
                (State.LISTED,),
            )
        )
        for number, listing_id, level, media, packed in cursor:
            yield Packed(number, listing_id, Level(level), Media(media), packed)

    def sequence(self) -> int:
        """The sequence of the newest change, 0 if there was none."""
        return self.read(lambda c: _counter(c, "sequence"))

    def counter(self, name: str) -> int:
        """A durable number, 0 when never set."""
        return self.read(lambda c: _counter(c, name))

    def set_counters(self, **values: int) -> None:
        """Set durable numbers, together."""

        def work(connection: sqlite3.Connection) -> None:
            for name, value in values.items():
                connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))

        self.write(work)

    # Findings and actions

    def record_findings(
        self,
        number: int,
        listing: Listing,
        findings: Sequence[Finding],
        action: ActionKind | None,
        *,
        rule: str,
        origin: Origin,
        at: datetime,
        oldest_on: date | None = None,
    ) -> int:
        """Record hosted content that matches a listing; queue what is to be done, each once.

        Args:
            action: `remove` or `hold`; None records that nothing is to be done, and releases
                what was held for this listing.
            oldest_on: the day on which the oldest of these was posted, as far as is known.

        Returns:
            How many actions were queued.
        """

        def work(connection: sqlite3.Connection) -> int:
            current = _listing(connection, number, listing.listing_id)
            # Withdrawn while the catalogue was being searched: there is nothing to act on.
            if current is None or not current.is_active or current.level != listing.level:
                return 0
            if action is None:
                return self._release(connection, number, current, at)
            queued = 0
            for finding in findings:
                queued += self._find(
                    connection, number, current, finding, action, rule=rule, origin=origin, at=at
                )
            if queued:
                if oldest_on is not None:
                    _note_age(connection, number, listing.listing_id, oldest_on)
                self._say(
                    connection,
                    number,
                    listing.listing_id,
                    FeedbackKind.FOUND,
                    at,
                    count=queued,
                    # An old copy that nobody stands by suspends the listing, and releases what is
                    # held: where a person decides, the age is told with that person's word.
                    tells_age=action is not ActionKind.HOLD,
                )
            return queued

        return self.write(work)

    def _find(
        self,
        connection: sqlite3.Connection,
        number: int,
        listing: Listing,
        finding: Finding,
        action: ActionKind,
        *,
        rule: str,
        origin: Origin,
        at: datetime,
    ) -> bool:
        key = (number, listing.listing_id, finding.reference)
        row = connection.execute(
            "SELECT response FROM findings WHERE list = ? AND listing_id = ? AND reference = ?",
            key,
        ).fetchone()
        before = row and row["response"]
        if before in {action, ActionKind.REMOVE}:
            return False
        connection.execute("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?)", (*key, action))
        posted_by = connection.execute(
            "SELECT account FROM postings WHERE reference = ?", (finding.reference,)
        ).fetchone()
        if posted_by is not None:
            _count_account(connection, number, listing.listing_id, posted_by["account"])
        if before == ActionKind.HOLD:
            _close(connection, number, listing.listing_id, finding.reference, at)
        self._queue(connection, number, listing, finding, action, rule=rule, origin=origin, at=at)
        return True

    def _queue(
        self,
        connection: sqlite3.Connection,
        number: int,
        listing: Listing,
        finding: Finding,
        action: ActionKind,
        *,
        rule: str,
        origin: Origin,
        at: datetime,
    ) -> str:
        name = connection.execute("SELECT name FROM lists WHERE number = ?", (number,)).fetchone()
        turn = _advance(connection, "actions", 1)
        action_id = sha256(
            f"{number}\n{listing.listing_id}\n{finding.reference}\n{action}\n{turn}".encode()
        )[:16].hex()
        # The caller of /scan has been told to hold in the answer itself.
        told = origin is Origin.UPLOAD and action is ActionKind.HOLD
        connection.execute(
            "INSERT INTO actions (action_id, action, reference, list, list_name, listing_id,"
            " level, kind, distance_bits, rule, origin, decided_at, state, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                action_id,
                action,
                finding.reference,
                number,
                name["name"],
                listing.listing_id,
                listing.level,
                finding.kind,
                finding.distance_bits,
                rule,
                origin,
                time_text(at),
                "delivered" if told else "pending",
                time_text(at),
            ),
        )
        self._has_new_actions = True
        return action_id

    def queue_for_notice(
        self,
        connection: sqlite3.Connection,
        action: ActionKind,
        references: Iterable[str],
        *,
        rule: str,
        at: datetime,
    ) -> list[str]:
        """Queue an action that a notice leads to, each once for each rule; their ids.

        For use inside `write`, so that the notice's record and its actions are one transaction.
        """
        queued = []
        for reference in references:
            action_id = sha256(f"notice\n{rule}\n{reference}\n{action}".encode())[:16].hex()
            queued.append(action_id)
            connection.execute(
                "INSERT INTO actions (action_id, action, reference, list, list_name, listing_id,"
                " level, kind, distance_bits, rule, origin, decided_at, state, due_at)"
                " VALUES (?, ?, ?, ?, '', -1, '', '', -1, ?, ?, ?, 'pending', ?)"
                " ON CONFLICT DO NOTHING",
                (
                    action_id,
                    action,
                    reference,
                    _NO_LIST,
                    rule,
                    Origin.NOTICE,
                    time_text(at),
                    time_text(at),
                ),
            )
        self._has_new_actions = True
        return queued

    def _release(
        self, connection: sqlite3.Connection, number: int, listing: Listing, at: datetime
    ) -> int:
        """Undo what was only held for a listing, and what was not yet done."""
        key = (number, listing.listing_id)
        held = connection.execute(
            "SELECT * FROM actions WHERE list = ? AND listing_id = ? AND closed_at IS NULL"
            " AND action IN ('hold', 'remove')",
            key,
        ).fetchall()
        released = 0
        for row in held:
            undone = row["state"] in {"pending", "dead"} and row["attempts"] == 0
            if row["action"] == ActionKind.REMOVE and not undone:
                continue
            connection.execute(
                "UPDATE actions SET closed_at = ?, state = CASE WHEN state = 'delivered'"
                " THEN state ELSE 'cancelled' END WHERE number = ?",
                (time_text(at), row["number"]),
            )
            others = connection.execute(
                "SELECT 1 FROM actions WHERE reference = ? AND closed_at IS NULL"
                " AND action IN ('hold', 'remove') AND (list, listing_id) != (?, ?) LIMIT 1",
                (row["reference"], *key),
            ).fetchone()
            if row["action"] == ActionKind.HOLD and not undone and others is None:
                finding = Finding(row["reference"], Kind(row["kind"]), row["distance_bits"])
                self._queue(
                    connection,
                    number,
                    listing,
                    finding,
                    ActionKind.RELEASE,
                    rule=f"{row['list_name']}: listing is {listing.state}, {listing.level}",
                    origin=Origin(row["origin"]),
                    at=at,
                )
                released += 1
        connection.execute("DELETE FROM findings WHERE list = ? AND listing_id = ?", key)
        if listing.state in _ERASED_STATES:
            connection.execute("DELETE FROM posters WHERE list = ? AND listing_id = ?", key)
            connection.execute("DELETE FROM oldest_copies WHERE list = ? AND listing_id = ?", key)
        return released

    def has_findings(self) -> bool:
        """Whether anything hosted was found or is held, for whatever listing."""
        return self.read(
            lambda c: bool(
                c.execute(
                    "SELECT EXISTS (SELECT 1 FROM findings)"
                    " OR EXISTS (SELECT 1 FROM actions WHERE closed_at IS NULL)"
                ).fetchone()[0]
            )
        )

    def with_findings(self, listings: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Of (list number, listing id), those for which something hosted was found or is held."""

        def work(connection: sqlite3.Connection) -> set[tuple[int, int]]:
            return {
                each
                for each in listings
                if connection.execute(
                    "SELECT 1 FROM findings WHERE list = ? AND listing_id = ? UNION ALL"
                    " SELECT 1 FROM actions WHERE list = ? AND listing_id = ?"
                    " AND closed_at IS NULL LIMIT 1",
                    (*each, *each),
                ).fetchone()
            }

        return self.read(work)

    def actions_due(self, now: datetime, limit: int = 100) -> tuple[Action, ...]:
        """Actions to be delivered now, oldest first.

        Not while an older one on the same content is open: a `remove` that is tried again must
        not arrive after its `release`.
        """
        return self._actions(
            "state = 'pending' AND due_at <= ? AND NOT EXISTS (SELECT 1 FROM actions AS older"
            " WHERE older.reference = actions.reference AND older.number < actions.number"
            " AND older.state = 'pending') ORDER BY due_at, number LIMIT ?",
            (time_text(now), limit),
        )

    def next_due_at(self) -> datetime | None:
        """When the next action is to be delivered."""
        row = self.read(
            lambda c: c.execute(
                "SELECT min(due_at) FROM actions WHERE state = 'pending'"
            ).fetchone()
        )
        return time_of(row[0]) if row[0] else None

    def action_delivered(self, action_id: str, at: datetime) -> None:
        """Note that an action was carried out; once or twice is the same.

        A removal tells the list, once nothing more is to be removed for that listing.
        """

        def work(connection: sqlite3.Connection) -> None:
            row = _action_row(connection, action_id)
            if row["state"] == "delivered":
                return
            closed = None if row["action"] == ActionKind.HOLD else time_text(at)
            connection.execute(
                "UPDATE actions SET state = 'delivered', closed_at = ?, error = ''"
                " WHERE action_id = ?",
                (closed, action_id),
            )
            if row["action"] == ActionKind.REMOVE and row["list"] != _NO_LIST:
                self._has_new_actions = True
                self._say_removed(connection, row["list"], row["listing_id"], at)

        self.write(work)

    def _say_removed(
        self, connection: sqlite3.Connection, number: int, listing_id: int, at: datetime
    ) -> None:
        counts = connection.execute(
            "SELECT sum(state = 'pending'), sum(state = 'delivered') FROM actions"
            " WHERE list = ? AND listing_id = ? AND action = 'remove'",
            (number, listing_id),
        ).fetchone()
        if not counts[0]:
            self._say(
                connection, number, ListingId(listing_id), FeedbackKind.REMOVED, at, counts[1]
            )

    def removed_references(self, limit: int = 1000) -> list[str]:
        """Content that was taken down and is still in the catalogue."""
        rows = self.read(
            lambda c: c.execute(
                "SELECT DISTINCT reference FROM actions WHERE action = 'remove'"
                " AND state = 'delivered' AND NOT forgotten LIMIT ?",
                (limit,),
            ).fetchall()
        )
        return [row[0] for row in rows]

    def references_forgotten(self, references: Iterable[str]) -> None:
        """Note that the catalogue holds these no longer."""
        values = [(each,) for each in references]
        self.write(
            lambda c: c.executemany(
                "UPDATE actions SET forgotten = 1 WHERE reference = ? AND action = 'remove'"
                " AND state = 'delivered'",
                values,
            )
        )

    def action_failed(
        self, action_id: str, at: datetime, retry_at: datetime | None, error: str
    ) -> None:
        """Note a failed attempt: again at `retry_at`, or never by itself when None (dead)."""

        def work(connection: sqlite3.Connection) -> None:
            if _action_row(connection, action_id)["state"] != "pending":
                return
            connection.execute(
                "UPDATE actions SET attempts = attempts + 1, error = ?, state = ?, due_at = ?"
                " WHERE action_id = ?",
                (
                    error,
                    "dead" if retry_at is None else "pending",
                    time_text(retry_at or at),
                    action_id,
                ),
            )
            self._has_new_actions = True

        self.write(work)

    def dead_actions(self, limit: int = 1000) -> tuple[Action, ...]:
        """Actions that wait for a person, oldest first."""
        return self._actions("state = 'dead' ORDER BY number LIMIT ?", (limit,))

    def action_retry(self, action_id: str, at: datetime) -> None:
        """Queue a dead action again."""

        def work(connection: sqlite3.Connection) -> None:
            if _action_row(connection, action_id)["state"] == "dead":
                connection.execute(
                    "UPDATE actions SET state = 'pending', due_at = ? WHERE action_id = ?",
                    (time_text(at), action_id),
                )
                self._has_new_actions = True

        self.write(work)

    def held(self, after: int = 0, limit: int = 100) -> tuple[Action, ...]:
        """Content held for a person to look at, oldest first, skipping the first `after`."""
        return self._actions(
            "action = 'hold' AND closed_at IS NULL AND state != 'cancelled'"
            " ORDER BY number LIMIT ? OFFSET ?",
            (limit, after),
        )

    def record_review(  # noqa: PLR0917 - the columns of one row
        self,
        connection: sqlite3.Connection,
        action_id: str,
        verdict: Verdict,
        reason: Reason | None,
        by: str,
        at: datetime,
        *,
        how: str = "",
    ) -> str:
        """Close a hold as a person decided, inside `write`: remove or release, and tell the list.

        Args:
            how: for the audit trail, when it follows from a decision on other content.

        Returns:
            The id of the action that follows.

        Raises:
            UnknownActionError: if it is not an open hold.
            InputError: if `keep` or `dispute` comes without a reason.
        """
        if (verdict is Verdict.REMOVE) != (reason is None):
            raise InputError("keep and dispute need a reason; remove has none")
        row = _action_row(connection, action_id)
        if row["action"] != ActionKind.HOLD or row["closed_at"] is not None:
            raise UnknownActionError("this is not held, or it has been decided")
        listing = _listing(connection, row["list"], row["listing_id"])
        if listing is None:
            raise UnknownActionError("the listing is gone")
        connection.execute(
            "UPDATE actions SET closed_at = ?, state = 'delivered' WHERE action_id = ?",
            (time_text(at), action_id),
        )
        finding = Finding(row["reference"], Kind(row["kind"]), row["distance_bits"])
        action = ActionKind.REMOVE if verdict is Verdict.REMOVE else ActionKind.RELEASE
        follows = self._queue(
            connection,
            row["list"],
            listing,
            finding,
            action,
            rule=f"review: {verdict}",
            origin=Origin(row["origin"]),
            at=at,
        )
        # Kept content stays a finding, so that the next search does not hold it again.
        connection.execute(
            "INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?)",
            (row["list"], row["listing_id"], row["reference"], ActionKind.REMOVE),
        )
        if reason is not None:
            kind = FeedbackKind.KEPT if verdict is Verdict.KEEP else FeedbackKind.DISPUTED
            self._say(connection, row["list"], listing.listing_id, kind, at, 1, reason)
        _audit(connection, at, by, f"review {verdict}{how}", action_id)
        return follows

    def take_review_back(
        self, connection: sqlite3.Connection, action_id: str, follows: str, by: str, at: datetime
    ) -> str | None:
        """Undo `record_review`, inside `write`: the content is held again until somebody decides.

        What the list has been told stays told; the next decision tells it anew.

        Args:
            action_id: the hold that was closed.
            follows: the action that followed.

        Returns:
            The id of the new hold; None if its listing is withdrawn, and nothing holds it.
        """
        row, followed = _action_row(connection, action_id), _action_row(connection, follows)
        is_untold = followed["state"] in {"pending", "dead"} and followed["attempts"] == 0
        if is_untold:
            connection.execute(
                "UPDATE actions SET state = 'cancelled', closed_at = ? WHERE action_id = ?",
                (time_text(at), follows),
            )
        connection.execute(
            "DELETE FROM feedback WHERE list = ? AND listing_id = ? AND at = ?"
            " AND sent_at IS NULL AND kind IN ('kept', 'disputed')",
            (row["list"], row["listing_id"], followed["decided_at"]),
        )
        _audit(connection, at, by, "review taken back", action_id)
        listing = _listing(connection, row["list"], row["listing_id"])
        if listing is None:
            return None
        is_removed = followed["action"] == ActionKind.REMOVE and not is_untold
        if not listing.is_active and not is_removed:
            return None
        made = self._queue(
            connection,
            row["list"],
            listing,
            Finding(row["reference"], Kind(row["kind"]), row["distance_bits"]),
            ActionKind.HOLD if listing.is_active else ActionKind.RELEASE,
            rule="review: taken back",
            # Whoever uploaded it was told of the first hold; of this one the platform is told.
            origin=Origin.CATALOGUE,
            at=at,
        )
        return made if listing.is_active else None

    def _actions(self, condition: str, values: tuple[object, ...]) -> tuple[Action, ...]:
        rows = self.read(
            lambda c: c.execute(
                f"SELECT * FROM actions WHERE {condition}",  # noqa: S608 - our own text
                values,
            ).fetchall()
        )
        return tuple(_action_of(row) for row in rows)

    # Feedback

    def count_blocked(self, refusals: Iterable[tuple[int, int]], account: str = "") -> None:
        """Count refused uploads, as (list number, listing id), and who tried; told in sums."""

        def work(connection: sqlite3.Connection) -> None:
            for number, listing_id in refusals:
                connection.execute(
                    "INSERT INTO blocked (list, listing_id, count) VALUES (?, ?, 1)"
                    " ON CONFLICT DO UPDATE SET count = count + 1",
                    (number, listing_id),
                )
                if account:
                    _count_account(connection, number, listing_id, self._accounts.number(account))

        self.write(work)

    def note_posting(self, reference: str, account: str) -> None:
        """Note which account posted content, as a number that stands for it."""
        row = (reference, self._accounts.number(account))
        self.write(lambda c: c.execute("INSERT OR REPLACE INTO postings VALUES (?, ?)", row))

    def forget_postings(self, references: Iterable[str]) -> None:
        """Erase who posted what is gone."""
        values = [(each,) for each in references]
        self.write(lambda c: c.executemany("DELETE FROM postings WHERE reference = ?", values))

    def sum_up_blocked(self, at: datetime) -> int:
        """Turn new refusals into feedback, one piece for each listing; how many there were."""

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute("SELECT * FROM blocked WHERE count > reported").fetchall()
            for row in rows:
                self._say(
                    connection,
                    row["list"],
                    ListingId(row["listing_id"]),
                    FeedbackKind.BLOCKED,
                    at,
                    row["count"] - row["reported"],
                )
            connection.execute("UPDATE blocked SET reported = count WHERE count > reported")
            return len(rows)

        if not self.read(
            lambda c: c.execute("SELECT 1 FROM blocked WHERE count > reported LIMIT 1").fetchone()
        ):
            return 0
        return self.write(work)

    def _say(  # noqa: PLR0917 - the columns of one row
        self,
        connection: sqlite3.Connection,
        number: int,
        listing_id: ListingId,
        kind: FeedbackKind,
        at: datetime,
        count: int = 1,
        reason: Reason | None = None,
        *,
        tells_age: bool = True,
    ) -> None:
        key = (number, listing_id)
        accounts = oldest_on = None
        if kind in {FeedbackKind.FOUND, FeedbackKind.BLOCKED}:
            (accounts,) = connection.execute(
                "SELECT count(*) FROM posters WHERE list = ? AND listing_id = ?", key
            ).fetchone()
        if tells_age and kind is not FeedbackKind.BLOCKED:
            oldest_on = connection.execute(
                "SELECT oldest_on FROM oldest_copies WHERE list = ? AND listing_id = ?", key
            ).fetchone()
        said = Feedback(listing_id, kind, at, bucketed(max(count, 1)), reason)
        turn = _advance(connection, "feedback", 1)
        connection.execute(
            "INSERT INTO feedback (id, list, listing_id, kind, at, count, reason, accounts,"
            " oldest_on) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                f"{_counter(connection, 'instance')}-{turn}",
                number,
                listing_id,
                said.kind,
                time_text(said.at),
                said.count,
                said.reason,
                rounded(accounts or 0),
                oldest_on and oldest_on[0],
            ),
        )

    def feedback_due(self, number: int, limit: int = 500) -> list[tuple[str, Feedback]]:
        """(id, feedback) not yet sent to one list, oldest first."""

        def work(connection: sqlite3.Connection) -> list[tuple[str, Feedback]]:
            rows = connection.execute(
                "SELECT * FROM feedback WHERE list = ? AND sent_at IS NULL ORDER BY at LIMIT ?",
                (number, limit),
            )
            return [
                (
                    row["id"],
                    Feedback(
                        ListingId(row["listing_id"]),
                        FeedbackKind(row["kind"]),
                        time_of(row["at"]),
                        row["count"],
                        Reason(row["reason"]) if row["reason"] else None,
                        row["accounts"],
                        date.fromisoformat(row["oldest_on"]) if row["oldest_on"] else None,
                    ),
                )
                for row in rows
            ]

        return self.read(work)

    def feedback_sent(self, ids: Iterable[str], at: datetime) -> None:
        """Note that the list has taken these."""
        pairs = [(time_text(at), each) for each in ids]
        self.write(lambda c: c.executemany("UPDATE feedback SET sent_at = ? WHERE id = ?", pairs))

    def waiting(self) -> tuple[int, datetime | None, int]:
        """Actions not delivered, when the oldest of them was decided, feedback not sent."""

        def work(connection: sqlite3.Connection) -> tuple[int, datetime | None, int]:
            count, oldest = connection.execute(
                "SELECT count(*), min(decided_at) FROM actions WHERE state IN ('pending', 'dead')"
            ).fetchone()
            unsent = connection.execute(
                "SELECT count(*) FROM feedback WHERE sent_at IS NULL"
            ).fetchone()
            return int(count), time_of(oldest) if oldest else None, int(unsent[0])

        return self.read(work)

    # The audit trail

    def audit(self, actor: str, what: str, subject: str, at: datetime) -> None:
        """Append to the audit trail."""
        self.write(lambda c: _audit(c, at, actor, what, subject))

    def audit_trail(
        self, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, str, str, str, str]]:
        """(number, at, actor, what, subject), oldest first."""
        rows = self.read(
            lambda c: c.execute(
                "SELECT * FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
            ).fetchall()
        )
        return [tuple(row) for row in rows]


def _advance(connection: sqlite3.Connection, name: str, by: int) -> int:
    """The first of `by` new numbers, 1.."""
    row = connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + ?"
        " RETURNING value",
        (name, by, by),
    ).fetchone()
    return int(row[0]) - by + 1


def _counter(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _listing(connection: sqlite3.Connection, number: int, listing_id: int) -> Listing | None:
    row = connection.execute(
        "SELECT * FROM listings WHERE list = ? AND listing_id = ?", (number, listing_id)
    ).fetchone()
    return None if row is None else _listing_of(row)


def _listing_of(row: sqlite3.Row) -> Listing:
    return Listing(
        ListingId(row["listing_id"]),
        Media(row["media"]),
        Age(row["age"]),
        unpack(row["fingerprints"]),
        Level(row["level"]),
        State(row["state"]),
        time_of(row["listed_at"]),
        row["item_key_digest"],
    )


def _write_listing(
    connection: sqlite3.Connection, number: int, listing: Listing, key: str | None, sequence: int
) -> None:
    fingerprints: tuple[Fingerprint, ...] = (
        () if listing.state in _ERASED_STATES else listing.fingerprints
    )
    connection.execute(
        "INSERT INTO listings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (list, listing_id) DO UPDATE SET media = excluded.media,"
        " age = excluded.age, level = excluded.level, state = excluded.state,"
        " fingerprints = excluded.fingerprints, sequence = excluded.sequence",
        (
            number,
            listing.listing_id,
            key,
            listing.media,
            listing.age,
            listing.level,
            listing.state,
            time_text(listing.listed_at),
            listing.item_key_digest,
            pack(fingerprints),
            sequence,
            sequence,
        ),
    )


def _action_row(connection: sqlite3.Connection, action_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM actions WHERE action_id = ?", (action_id,)
    ).fetchone()
    if row is None:
        raise UnknownActionError("there is no such action")
    return row


def _action_of(row: sqlite3.Row) -> Action:
    listed = row["list"] != _NO_LIST
    return Action(
        row["action_id"],
        ActionKind(row["action"]),
        row["reference"],
        row["list_name"] if listed else None,
        ListingId(row["listing_id"]) if listed else None,
        Level(row["level"]) if listed else None,
        Kind(row["kind"]) if listed else None,
        row["distance_bits"] if listed else None,
        row["rule"],
        Origin(row["origin"]),
        time_of(row["decided_at"]),
        row["attempts"],
        row["error"],
    )


def _close(
    connection: sqlite3.Connection, number: int, listing_id: int, reference: str, at: datetime
) -> None:
    connection.execute(
        "UPDATE actions SET closed_at = ?, state = CASE WHEN state = 'pending' THEN 'cancelled'"
        " ELSE state END WHERE list = ? AND listing_id = ? AND reference = ?"
        " AND action = 'hold' AND closed_at IS NULL",
        (time_text(at), number, listing_id, reference),
    )


def _count_account(
    connection: sqlite3.Connection, number: int, listing_id: int, account: int
) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO posters SELECT ?1, ?2, ?3 WHERE"
        " (SELECT count(*) FROM posters WHERE list = ?1 AND listing_id = ?2) < ?4",
        (number, listing_id, account, MAX_COUNTED),
    )


def _note_age(
    connection: sqlite3.Connection, number: int, listing_id: int, oldest_on: date
) -> None:
    connection.execute(
        "INSERT INTO oldest_copies VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET oldest_on = min(oldest_on, excluded.oldest_on)",
        (number, listing_id, oldest_on.isoformat()),
    )


def _audit(
    connection: sqlite3.Connection, at: datetime, actor: str, what: str, subject: str
) -> None:
    connection.execute(
        "INSERT INTO audit (at, actor, what, subject) VALUES (?, ?, ?, ?)",
        (time_text(at), actor, what, subject),
    )
