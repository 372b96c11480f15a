"""What review must remember: votes, views, and decisions on content."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from unspread.crypto import sha256
from unspread.model import Listing, Reason
from unspread.platform_kit.review.rules import (
    ContentKey,
    Exposure,
    ReviewerId,
    Task,
    Vote,
    settled,
    tasks,
)
from unspread.platform_kit.store import Action, Store, UnknownActionError, Verdict, time_text

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
)

OPEN_FOR: Final = timedelta(minutes=10)
"""How long what one reviewer has open is kept from others."""

MAX_WAITING: Final = 10_000


class Records:
    """Review's part of the store. Methods block; any thread may call."""

    def __init__(self, store: Store, digest: Callable[[str], bytes | None], people: int) -> None:
        """`digest`: the SHA-256 of content by its reference, where the catalogue knows it."""
        self._store = store
        self._digest = digest
        self._people = people
        self._keys: dict[str, ContentKey] = {}
        store.migrate("review", SCHEMA)

    def content_key(self, reference: str) -> ContentKey:
        """The key of content: by what it is where that is known, else by its reference."""
        digest = self._digest(reference)
        # A digest of the digest: a fingerprint on a page or in a table would be one too many.
        seed = b"content" + digest if digest is not None else b"reference" + reference.encode()
        return ContentKey(sha256(b"unspread/v1/review", seed)[:16].hex())

    def waiting(self, at: datetime) -> list[Task]:
        """What waits for a decision, oldest first, after settling what was decided before."""
        held = self._store.held(limit=MAX_WAITING)
        known = self._keys
        # A hold's content does not change: asked for once, though the queue is read often.
        self._keys = {
            each.action_id: known.get(each.action_id) or self.content_key(each.reference)
            for each in held
        }
        found = tasks([(self._keys[each.action_id], each) for each in held])
        decided = self._decisions([task.key for task in found])
        for task in found:
            if task.key in decided:
                self._carry_out(task.holds, decided[task.key], "repeat of a decision", at)
        return [task for task in found if task.key not in decided]

    def _decisions(self, keys: Sequence[ContentKey]) -> dict[ContentKey, Vote]:
        """The decisions that stand, of some content."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_decisions WHERE content_key IN"
                " (SELECT value FROM json_each(?))",
                (json.dumps(keys),),
            ).fetchall()
        )
        return {ContentKey(row["content_key"]): _vote(row, ReviewerId(0)) for row in rows}

    def listing(self, hold: Action) -> Listing | None:
        """The listing that a hold is for, as it is now."""
        if hold.list_name is None or hold.listing_id is None:
            return None
        number = self._store.list_state(hold.list_name).number
        return self._store.listing(number, hold.listing_id)

    def votes(self, key: ContentKey) -> list[Vote]:
        """Everyone's votes on content, oldest first."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_votes WHERE content_key = ? ORDER BY number", (key,)
            ).fetchall()
        )
        return [_vote(row, ReviewerId(row["reviewer"])) for row in rows]

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
        looked = self.has_looked(task.key, reviewer)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO review_votes (content_key, reviewer, verdict, reason, looked, at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (task.key, reviewer, verdict, reason, looked, time_text(at)),
            )
            connection.execute("DELETE FROM review_open WHERE content_key = ?", (task.key,))

        self._store.write(work)
        decided = settled(self.votes(task.key), self._people)
        if decided is None:
            return None

        def decide(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO review_decisions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (task.key, decided.verdict, decided.reason, decided.looked, time_text(at)),
            )

        # The decision first: should the process end here, the holds are settled as repeats.
        self._store.write(decide)
        self._carry_out(task.holds, decided, by, at)
        return decided

    def _carry_out(self, holds: tuple[Action, ...], decided: Vote, by: str, at: datetime) -> None:
        for hold in holds:
            try:
                self._store.record_review(hold.action_id, decided.verdict, decided.reason, by, at)
            except UnknownActionError:
                continue  # withdrawn or decided meanwhile: there is nothing left to do

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


def _vote(row: sqlite3.Row, reviewer: ReviewerId) -> Vote:
    reason = Reason(row["reason"]) if row["reason"] else None
    return Vote(reviewer, Verdict(row["verdict"]), reason, bool(row["looked"]))
