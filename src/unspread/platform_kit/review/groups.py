"""Which content is decided together: everything within the radius of a group's first content.

The first content of a group is remembered by its fingerprints, so that near copies that come after
the decision find it, although the content itself is gone. They are erased in the transaction that
withdraws the listing for which it was held.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from unspread.match import Index
from unspread.model import Kind
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.database import DatabaseError
from unspread.platform_kit.review.rules import ContentKey
from unspread.platform_kit.store import Action, Store

SCHEMA: Final = (
    """CREATE TABLE review_groups (
        content_key TEXT PRIMARY KEY, first_key TEXT NOT NULL, bits INTEGER NOT NULL
        ) WITHOUT ROWID""",
    """CREATE TABLE review_prints (
        number INTEGER PRIMARY KEY AUTOINCREMENT, first_key TEXT NOT NULL, frame INTEGER NOT NULL,
        value BLOB NOT NULL, list INTEGER NOT NULL, listing_id INTEGER NOT NULL)""",
    "CREATE INDEX review_prints_by_first ON review_prints (first_key)",
    "CREATE INDEX review_prints_by_listing ON review_prints (list, listing_id)",
    """CREATE TRIGGER review_prints_go_with_their_listing AFTER UPDATE OF state ON listings
        WHEN NEW.state != 'listed' BEGIN
        DELETE FROM review_prints WHERE list = NEW.list AND listing_id = NEW.listing_id; END""",
    """CREATE TABLE review_apart (
        content_key TEXT NOT NULL, first_key TEXT NOT NULL, PRIMARY KEY (content_key, first_key)
        ) WITHOUT ROWID""",
)

SHARE_OF_FRAMES: Final = 0.8
"""Videos are near copies if so much of each is near the other: a scene in common is not enough."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where content belongs."""

    first: ContentKey
    bits: int


class Groups:
    """Review's groups in the store. Methods block; any thread may call."""

    def __init__(
        self, store: Store, probes_of: Callable[[str], Sequence[Probe]], radius_bits: int
    ) -> None:
        """`probes_of`: the fingerprints of content by its reference; needs review's own tables."""
        self._store = store
        self._probes_of = probes_of
        self._radius_bits = radius_bits
        # Both are touched by the database's writer alone, so they need no lock.
        self._index = _empty()
        self._loaded = 0
        store.migrate("review groups", SCHEMA)

    def places(self, holds: Sequence[tuple[ContentKey, Action]]) -> dict[ContentKey, Place]:
        """Where each content belongs; what is new joins the nearest group, or begins one."""
        found = self._known([key for key, _ in holds])
        for key, hold in holds:
            if key not in found:
                found[key] = self._join(key, hold)
        return found

    def _known(self, keys: Sequence[ContentKey]) -> dict[ContentKey, Place]:
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_groups WHERE content_key IN (SELECT value FROM json_each(?))",
                (json.dumps(keys),),
            ).fetchall()
        )
        return {
            ContentKey(row["content_key"]): Place(ContentKey(row["first_key"]), row["bits"])
            for row in rows
        }

    def _join(self, key: ContentKey, hold: Action) -> Place:
        probes = [each for each in self._probes_of(hold.reference) if each.kind is Kind.PDQ]

        def work(connection: sqlite3.Connection) -> Place:
            row = connection.execute(
                "SELECT * FROM review_groups WHERE content_key = ?", (key,)
            ).fetchone()
            if row is not None:
                return Place(ContentKey(row["first_key"]), row["bits"])
            self._load(connection)
            place = self._nearest(connection, key, probes)
            if place is None:
                place = Place(key, 0)
                _keep_prints(connection, key, hold, probes)
            connection.execute(
                "INSERT INTO review_groups VALUES (?, ?, ?)", (key, place.first, place.bits)
            )
            return place

        try:
            return self._store.write(work)
        except DatabaseError:
            # The index may hold rows that were never committed.
            self._index, self._loaded = _empty(), 0
            raise

    def _load(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT number, value FROM review_prints WHERE number > ? ORDER BY number",
            (self._loaded,),
        ).fetchall()
        if rows:
            words = np.frombuffer(b"".join(row["value"] for row in rows), "<u8").reshape(-1, 4)
            self._index.add(np.array([row["number"] for row in rows], np.int64), words)
            self._loaded = rows[-1]["number"]

    def _nearest(
        self,
        connection: sqlite3.Connection,
        key: ContentKey,
        probes: Sequence[Probe],
    ) -> Place | None:
        if not probes:
            return None
        queries = np.frombuffer(b"".join(each.value for each in probes), "<u8").reshape(-1, 4)
        positions, numbers, distances = self._index.within_many(queries, self._radius_bits)
        # By group: the nearest distance of each frame of the content, and the rows that are near.
        frames: dict[str, dict[int, int]] = {}
        near: dict[str, set[int]] = {}
        for position, number, bits in zip(
            positions.tolist(), numbers.tolist(), distances.tolist(), strict=True
        ):
            row = connection.execute(
                "SELECT first_key FROM review_prints WHERE number = ?", (number,)
            ).fetchone()
            # Withdrawn since: erased in the database, and not yet here.
            if row is not None:
                of_group = frames.setdefault(row["first_key"], {})
                frame = probes[position].frame
                of_group[frame] = min(bits, of_group.get(frame, bits))
                near.setdefault(row["first_key"], set()).add(number)
        all_frames = len({each.frame for each in probes})
        places = []
        for first, of_group in frames.items():
            rows = connection.execute(
                "SELECT count(*) FROM review_prints WHERE first_key = ?", (first,)
            ).fetchone()[0]
            share = min(len(of_group) / all_frames, len(near[first]) / rows)
            if share >= SHARE_OF_FRAMES:
                places.append(Place(ContentKey(first), max(of_group.values())))
        for place in sorted(places, key=lambda each: each.bits):
            if not _is_apart(connection, key, place.first):
                return place
        return None


def _is_apart(connection: sqlite3.Connection, key: ContentKey, first: ContentKey) -> bool:
    row = connection.execute(
        "SELECT 1 FROM review_apart WHERE content_key = ? AND first_key = ?", (key, first)
    ).fetchone()
    return row is not None


def set_apart(connection: sqlite3.Connection, key: ContentKey, first: ContentKey) -> None:
    """Take content out of a group for good; it joins another, or begins one."""
    connection.execute("INSERT OR IGNORE INTO review_apart VALUES (?, ?)", (key, first))
    connection.execute("DELETE FROM review_groups WHERE content_key = ?", (key,))


def _keep_prints(
    connection: sqlite3.Connection, key: ContentKey, hold: Action, probes: Sequence[Probe]
) -> None:
    """Remember the first of each frame's turns; queries have all of them."""
    upright: dict[int, bytes] = {}
    for each in probes:
        upright.setdefault(each.frame, each.value)
    row = connection.execute(
        "SELECT list, listing_id FROM actions WHERE action_id = ?", (hold.action_id,)
    ).fetchone()
    connection.executemany(
        "INSERT INTO review_prints (first_key, frame, value, list, listing_id)"
        " VALUES (?, ?, ?, ?, ?)",
        [(key, frame, value, row["list"], row["listing_id"]) for frame, value in upright.items()],
    )


def _empty() -> Index:
    return Index.build(np.empty(0, np.int64), np.empty((0, 4), np.uint64))
