"""What review must remember: votes, views, and decisions on content."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from unspread.crypto import sha256
from unspread.errors import StateError
from unspread.model import MATCH_RADIUS_BITS, Kind, Listing, Reason, State
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.review.groups import Groups, set_apart
from unspread.platform_kit.review.rules import (
    ContentKey,
    Exposure,
    Held,
    ReviewerId,
    Task,
    Vote,
    carried,
    settled,
    tasks,
)
from unspread.platform_kit.review.signin import Reviewer, Role
from unspread.platform_kit.store import (
    Action,
    Store,
    UnknownActionError,
    Verdict,
    time_of,
    time_text,
)

SCHEMA: Final = (
    """CREATE TABLE review_votes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, content_key TEXT NOT NULL,
        reviewer INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT, looked INTEGER NOT NULL,
        at TEXT NOT NULL, UNIQUE (content_key, reviewer))""",
    """CREATE TABLE review_views (
        number INTEGER PRIMARY KEY AUTOINCREMENT, reviewer INTEGER NOT NULL,
        content_key TEXT NOT NULL, at TEXT NOT NULL, seconds REAL NOT NULL DEFAULT 0)""",
    "CREATE INDEX review_views_by_reviewer ON review_views (reviewer, at)",
    """CREATE TABLE review_decisions (
        content_key TEXT PRIMARY KEY, verdict TEXT NOT NULL, reason TEXT, looked INTEGER NOT NULL,
        at TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE review_open (
        content_key TEXT PRIMARY KEY, reviewer INTEGER NOT NULL, until TEXT NOT NULL
        ) WITHOUT ROWID""",
    "ALTER TABLE review_decisions ADD COLUMN by TEXT NOT NULL DEFAULT ''",
    # What each decision decided, so that it can be taken back; `bits` from what was looked at.
    """CREATE TABLE review_carried (
        action_id TEXT PRIMARY KEY, first_key TEXT NOT NULL, content_key TEXT NOT NULL,
        bits INTEGER NOT NULL, follows TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX review_carried_by_first ON review_carried (first_key)",
    "CREATE INDEX review_carried_by_time ON review_carried (at)",
    # Of content that is held again and that the catalogue has forgotten since.
    """CREATE TABLE review_keys (
        action_id TEXT PRIMARY KEY, content_key TEXT NOT NULL) WITHOUT ROWID""",
)

OPEN_FOR: Final = timedelta(minutes=10)
"""How long what one reviewer has open is kept from others."""

MAX_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Carried:
    """One hold that a decision closed."""

    key: ContentKey
    reference: str
    bits: int
    """From what was looked at; 0 for that itself and what is equal to it."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision that stands, and everything that it decided."""

    key: ContentKey
    verdict: Verdict
    reason: Reason | None
    looked: bool
    by: str
    at: datetime
    carried: tuple[Carried, ...]
    reviewers: frozenset[ReviewerId]
    """Whose votes made it."""


class NoSuchContentError(StateError):
    """It is not in the queue, or was not decided by this."""


class NotYoursError(StateError):
    """Only who decided, or a lead, takes a decision back."""


class Records:
    """Review's part of the store. Methods block; any thread may call."""

    def __init__(
        self,
        store: Store,
        probes_of: Callable[[str], Sequence[Probe]],
        people: int,
        *,
        copies_radius_bits: int = MATCH_RADIUS_BITS,
    ) -> None:
        """`probes_of`: the fingerprints of content by its reference, as far as they are known."""
        self._store = store
        self._probes_of = probes_of
        self._people = people
        self._keys: dict[str, ContentKey] = {}
        store.migrate("review", SCHEMA)
        self._groups = Groups(store, probes_of, copies_radius_bits)

    def content_key(self, reference: str) -> ContentKey:
        """The key of content: by what it is where that is known, else by its reference."""
        probes = self._probes_of(reference)
        digest = next((each.value for each in probes if each.kind is Kind.SHA256), None)
        # A digest of the digest: a fingerprint on a page or in a table would be one too many.
        seed = b"content" + digest if digest is not None else b"reference" + reference.encode()
        return ContentKey(sha256(b"unspread/v1/review", seed)[:16].hex())

    def waiting(self, at: datetime) -> list[Task]:
        """What waits for a decision, oldest first, after settling what was decided before."""
        found = self._tasks()
        decided = self._decisions([task.key for task in found])
        left: list[Task] = []
        for task in found:
            decision = decided.get(task.key)
            if decision is None:
                left.append(task)
                continue
            vote, by = decision
            self._repeat(task, vote, by, at)
        # What a decision did not carry to is a task of its own now.
        return left if len(left) == len(found) else self._undecided()

    def _repeat(self, task: Task, vote: Vote, by: str, at: datetime) -> None:
        again = carried(task, vote.verdict, earlier=True)

        def work(connection: sqlite3.Connection) -> None:
            stands = connection.execute(
                "SELECT 1 FROM review_decisions WHERE content_key = ?", (task.key,)
            ).fetchone()
            # It may have been taken back since it was read.
            if stands is not None:
                self._carry_out(connection, task, again, vote, by, at)

        self._store.write(work)

    def _undecided(self) -> list[Task]:
        found = self._tasks()
        decided = self._decisions([task.key for task in found])
        return [task for task in found if task.key not in decided]

    def _tasks(self) -> list[Task]:
        held = self._store.held(limit=MAX_WAITING)
        known = self._keys
        reopened = self._reopened([each.action_id for each in held])
        # A hold's content does not change: asked for once, though the queue is read often.
        self._keys = {
            each.action_id: known.get(each.action_id)
            or reopened.get(each.action_id)
            or self.content_key(each.reference)
            for each in held
        }
        keyed = [(self._keys[each.action_id], each) for each in held]
        places = self._groups.places(keyed)
        return tasks(
            [(places[key].first, Held(each, key, places[key].bits)) for key, each in keyed]
        )

    def _reopened(self, action_ids: Sequence[str]) -> dict[str, ContentKey]:
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_keys WHERE action_id IN (SELECT value FROM json_each(?))",
                (json.dumps(action_ids),),
            ).fetchall()
        )
        return {row["action_id"]: ContentKey(row["content_key"]) for row in rows}

    def _decisions(self, keys: Sequence[ContentKey]) -> dict[ContentKey, tuple[Vote, str]]:
        """The decisions that stand, of some groups, and who decided."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_decisions WHERE content_key IN"
                " (SELECT value FROM json_each(?))",
                (json.dumps(keys),),
            ).fetchall()
        )
        return {
            ContentKey(row["content_key"]): (_vote(row, ReviewerId(0)), row["by"]) for row in rows
        }

    def listing(self, hold: Action) -> Listing | None:
        """The listing that a hold is for, as it is now."""
        if hold.list_name is None or hold.listing_id is None:
            return None
        number = self._store.list_state(hold.list_name).number
        return self._store.listing(number, hold.listing_id)

    def votes(self, key: ContentKey) -> list[Vote]:
        """Everyone's votes on content, oldest first."""
        return self._store.read(lambda c: _votes(c, key))

    def voted(self, reviewer: ReviewerId) -> set[ContentKey]:
        """What one reviewer has voted on."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT content_key FROM review_votes WHERE reviewer = ?", (reviewer,)
            ).fetchall()
        )
        return {ContentKey(row[0]) for row in rows}

    def vote(
        self,
        task: Task,
        verdict: Verdict,
        reason: Reason | None,
        *,
        reviewer: ReviewerId,
        by: str,
        at: datetime,
    ) -> Vote | None:
        """Record a vote, and carry the decision out if it is made by it.

        A second vote of the same reviewer on the same content changes nothing.

        Returns:
            The decision, if there is one now.
        """
        looked = self.has_looked(task.shown.key, reviewer)

        def work(connection: sqlite3.Connection) -> Vote | None:
            connection.execute(
                "INSERT INTO review_votes (content_key, reviewer, verdict, reason, looked, at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (task.key, reviewer, verdict, reason, looked, time_text(at)),
            )
            connection.execute("DELETE FROM review_open WHERE content_key = ?", (task.key,))
            decided = settled(_votes(connection, task.key), self._people)
            if decided is not None:
                connection.execute(
                    "INSERT INTO review_decisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (task.key, decided.verdict, decided.reason, decided.looked, time_text(at), by),
                )
                self._carry_out(connection, task, carried(task, decided.verdict), decided, by, at)
            return decided

        return self._store.write(work)

    def _carry_out(  # noqa: PLR0917 - inside a transaction, for both of its callers
        self,
        connection: sqlite3.Connection,
        task: Task,
        decided: Sequence[Held],
        vote: Vote,
        by: str,
        at: datetime,
    ) -> None:
        for each in decided:
            hold, how = each.action, f", near copy at {each.bits} bits" if each.bits else ""
            try:
                follows = self._store.record_review(
                    connection, hold.action_id, vote.verdict, vote.reason, by, at, how=how
                )
            except UnknownActionError:
                continue  # withdrawn or decided meanwhile: there is nothing left to do
            connection.execute(
                "INSERT INTO review_carried VALUES (?, ?, ?, ?, ?, ?)",
                (hold.action_id, task.key, each.key, each.bits, follows, time_text(at)),
            )
        for key in {each.key for each in task.held} - {each.key for each in decided}:
            set_apart(connection, key, task.key)

    def set_apart(self, task: Task, key: ContentKey, by: str, at: datetime) -> None:
        """Let a near copy be a task of its own.

        Raises:
            NoSuchContentError: if the task has no such copy.
        """
        copy = task.copies.get(key)
        if copy is None:
            raise NoSuchContentError("that one is decided already, or is apart")
        self._store.write(lambda c: set_apart(c, key, task.key))
        self._store.audit(by, "review set apart", copy.action.action_id, at)

    def decisions(self, limit: int = 50) -> list[Decision]:
        """The newest decisions that stand, newest first."""

        def work(connection: sqlite3.Connection) -> list[Decision]:
            rows = connection.execute(
                "SELECT * FROM review_decisions ORDER BY at DESC LIMIT ?", (limit,)
            ).fetchall()
            return [self._decision(connection, row) for row in rows]

        return self._store.read(work)

    def _decision(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Decision:
        key = ContentKey(row["content_key"])
        vote = _vote(row, ReviewerId(0))
        closed = connection.execute(
            "SELECT review_carried.*, reference FROM review_carried JOIN actions USING (action_id)"
            " WHERE first_key = ? ORDER BY number",
            (key,),
        ).fetchall()
        voters = connection.execute(
            "SELECT reviewer FROM review_votes WHERE content_key = ? AND verdict = ?",
            (key, vote.verdict),
        ).fetchall()
        return Decision(
            key,
            vote.verdict,
            vote.reason,
            vote.looked,
            row["by"],
            time_of(row["at"]),
            tuple(
                Carried(
                    ContentKey(each["content_key"]),
                    each["reference"],
                    each["bits"],
                    time_of(each["at"]),
                )
                for each in closed
            ),
            frozenset(ReviewerId(each["reviewer"]) for each in voters),
        )

    def take_back(
        self, key: ContentKey, only: ContentKey | None, who: Reviewer, at: datetime
    ) -> None:
        """Undo a decision, or let it not decide one near copy; what it decided is held again.

        Args:
            key: of the decision.
            only: the near copy that is to be decided by itself; None for the whole decision.

        Raises:
            NoSuchContentError: if there is no such decision, or it did not decide that copy.
            NotYoursError: if this person neither made it nor is a lead.
        """

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT * FROM review_decisions WHERE content_key = ?", (key,)
            ).fetchone()
            if row is None:
                raise NoSuchContentError("that decision does not stand any more")
            decision = self._decision(connection, row)
            if who.role is not Role.LEAD and who.reviewer not in decision.reviewers:
                raise NotYoursError("only who decided, or a lead, takes a decision back")
            closed = connection.execute(
                "SELECT review_carried.* FROM review_carried JOIN actions USING (action_id)"
                " WHERE first_key = ?1 AND (?2 IS NULL OR content_key = ?2) ORDER BY number",
                (key, only),
            ).fetchall()
            if only is not None and (only == key or not closed):
                raise NoSuchContentError("that decision did not decide this copy")
            for each in closed:
                self._hold_again(connection, each, who.name, at)
            if only is not None:
                set_apart(connection, only, key)
                return
            connection.execute("DELETE FROM review_decisions WHERE content_key = ?", (key,))
            connection.execute("DELETE FROM review_votes WHERE content_key = ?", (key,))

        self._store.write(work)

    def _hold_again(
        self, connection: sqlite3.Connection, closed: sqlite3.Row, by: str, at: datetime
    ) -> None:
        made = self._store.take_review_back(
            connection, closed["action_id"], closed["follows"], by, at
        )
        connection.execute("DELETE FROM review_carried WHERE action_id = ?", (closed["action_id"],))
        if made is not None:
            connection.execute(
                "INSERT INTO review_keys VALUES (?, ?)", (made, closed["content_key"])
            )

    def decided_since(self, at: datetime) -> set[str]:
        """References of what was decided since then, and is still listed."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT DISTINCT reference FROM review_carried JOIN actions USING (action_id)"
                " JOIN listings USING (list, listing_id)"
                " WHERE review_carried.at >= ? AND listings.state = ?",
                (time_text(at), State.LISTED),
            ).fetchall()
        )
        return {row["reference"] for row in rows}

    # Exposure

    def exposure(self, reviewer: ReviewerId, at: datetime) -> Exposure:
        """What one reviewer was shown on the day of `at` (UTC)."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        row = self._store.read(
            lambda c: c.execute(
                "SELECT count(*), coalesce(sum(seconds), 0) FROM review_views"
                " WHERE reviewer = ? AND at >= ?",
                (reviewer, time_text(day)),
            ).fetchone()
        )
        return Exposure(row[0], row[1])

    def record_view(self, reviewer: ReviewerId, key: ContentKey, at: datetime) -> int:
        """Count that content is revealed to a reviewer, before it is; the view's number."""

        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "INSERT INTO review_views (reviewer, content_key, at) VALUES (?, ?, ?)"
                " RETURNING number",
                (reviewer, key, time_text(at)),
            ).fetchone()
            return int(row[0])

        return self._store.write(work)

    def record_seconds(self, reviewer: ReviewerId, key: ContentKey, seconds: float) -> None:
        """Add to how long the reviewer's newest view of content lasted."""
        self._store.write(
            lambda c: c.execute(
                "UPDATE review_views SET seconds = seconds + ? WHERE number ="
                " (SELECT max(number) FROM review_views WHERE reviewer = ? AND content_key = ?)",
                (seconds, reviewer, key),
            )
        )

    def has_looked(self, key: ContentKey, reviewer: ReviewerId) -> bool:
        """Whether content was ever revealed to a reviewer."""
        row = self._store.read(
            lambda c: c.execute(
                "SELECT 1 FROM review_views WHERE content_key = ? AND reviewer = ?",
                (key, reviewer),
            ).fetchone()
        )
        return row is not None

    # What is open where

    def open(self, key: ContentKey, reviewer: ReviewerId, at: datetime) -> bool:
        """Keep content from other reviewers for a while; whether it was free."""

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                "INSERT INTO review_open VALUES (?, ?, ?) ON CONFLICT (content_key) DO UPDATE"
                " SET reviewer = excluded.reviewer, until = excluded.until"
                " WHERE reviewer = excluded.reviewer OR until < ? RETURNING 1",
                (key, reviewer, time_text(at + OPEN_FOR), time_text(at)),
            ).fetchone()
            return row is not None

        return self._store.write(work)

    def busy(self, reviewer: ReviewerId, at: datetime) -> set[ContentKey]:
        """What others have open."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT content_key FROM review_open WHERE reviewer != ? AND until >= ?",
                (reviewer, time_text(at)),
            ).fetchall()
        )
        return {ContentKey(row[0]) for row in rows}


def _votes(connection: sqlite3.Connection, key: ContentKey) -> list[Vote]:
    rows = connection.execute(
        "SELECT * FROM review_votes WHERE content_key = ? ORDER BY number", (key,)
    )
    return [_vote(row, ReviewerId(row["reviewer"])) for row in rows]


def _vote(row: sqlite3.Row, reviewer: ReviewerId) -> Vote:
    reason = Reason(row["reason"]) if row["reason"] else None
    return Vote(reviewer, Verdict(row["verdict"]), reason, bool(row["looked"]))
