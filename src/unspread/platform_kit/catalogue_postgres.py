"""The catalogue in PostgreSQL: for several machines, and where a database is kept already."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg

from unspread.errors import StateError, TransportError
from unspread.model import Fingerprint, Kind, Media
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.catalogue import Columns, Entry, kept_probes
from unspread.platform_kit.store import Finding

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS unspread_catalogue (
        entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reference text NOT NULL UNIQUE,
        media text NOT NULL, seen_at timestamptz NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS unspread_catalogue_rows (
        entry bigint NOT NULL REFERENCES unspread_catalogue (entry) ON DELETE CASCADE,
        place integer NOT NULL, kind text NOT NULL, value bytea NOT NULL, frame integer NOT NULL,
        PRIMARY KEY (entry, place))""",
    """CREATE INDEX IF NOT EXISTS unspread_catalogue_digests
        ON unspread_catalogue_rows (value) WHERE kind != 'pdq'""",
)
_ORDERED: Final = 0x756E7370
"""An advisory lock: entries become visible in the order of their numbers."""


class PostgresCatalogue:
    """A `Catalogue` in a PostgreSQL database; pdq words are kept in memory as well."""

    def __init__(self, url: str) -> None:
        """Connect, and read all rows into memory.

        Raises:
            StateError: if the database cannot be used.
        """
        self._url = url
        self._lock = threading.RLock()
        self._columns = Columns()
        self._in_memory = 0
        try:
            self._connection = psycopg.connect(url)
            with self._connection.transaction():
                for statement in _SCHEMA:
                    self._connection.execute(statement)
        except psycopg.Error as error:
            # Its text may hold the address with a password.
            raise StateError(f"cannot use the catalogue: {type(error).__name__}") from None
        self._load()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with self._lock, self._connection.transaction():
                return self._connection.execute(query.encode(), values).fetchall()
        except psycopg.OperationalError as error:
            self._reconnect()
            raise TransportError(f"the catalogue failed: {type(error).__name__}") from None

    def _reconnect(self) -> None:
        with self._lock:
            if self._connection.closed or self._connection.broken:
                try:
                    self._connection = psycopg.connect(self._url)
                except psycopg.OperationalError as error:
                    raise TransportError(
                        f"the catalogue does not answer: {type(error).__name__}"
                    ) from None

    def _load(self) -> None:
        with self._lock:
            for entry in self.entries_after(self._in_memory):
                pdqs = [probe.value for probe in entry.probes if probe.kind is Kind.PDQ]
                self._columns.add(entry.entry, pdqs)
                self._in_memory = entry.entry

    def remember(self, reference: str, media: Media, probes: Sequence[Probe], at: datetime) -> int:
        """Keep the fingerprints of content, in the place of older ones; the entry's number."""
        kept = kept_probes(probes)
        try:
            with self._lock:
                with self._connection.transaction():
                    run = self._connection.execute
                    run("SELECT pg_advisory_xact_lock(%s)", (_ORDERED,))
                    old = run(
                        "DELETE FROM unspread_catalogue WHERE reference = %s RETURNING entry",
                        (reference,),
                    ).fetchall()
                    row = run(
                        "INSERT INTO unspread_catalogue (reference, media, seen_at)"
                        " VALUES (%s, %s, %s) RETURNING entry",
                        (reference, str(media), at),
                    ).fetchone()
                    entry = int(row[0]) if row else 0
                    with self._connection.cursor() as cursor:
                        cursor.executemany(
                            "INSERT INTO unspread_catalogue_rows VALUES (%s, %s, %s, %s, %s)",
                            [
                                (entry, place, str(each.kind), each.value, each.frame)
                                for place, each in enumerate(kept)
                            ],
                        )
                self._columns.remove([int(each[0]) for each in old])
                self._load()
                return entry
        except psycopg.OperationalError as error:
            self._reconnect()
            raise TransportError(f"the catalogue failed: {type(error).__name__}") from None

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""
        gone = self._run(
            "DELETE FROM unspread_catalogue WHERE reference = ANY(%s) RETURNING entry",
            list(references),
        )
        self._columns.remove([int(row[0]) for row in gone])

    def search(self, fingerprints: Sequence[Fingerprint], radius_bits: int) -> list[Finding]:
        """Content within the radius of any of the fingerprints, each once, nearest first."""
        self._load()
        pdqs = [each.value for each in fingerprints if each.kind is Kind.PDQ]
        best: dict[int, tuple[int, Kind]] = {}
        if pdqs:
            queries = np.frombuffer(b"".join(pdqs), "<u8").reshape(-1, 4)
            found = self._columns.search(queries, radius_bits)
            best = {entry: (distance, Kind.PDQ) for entry, distance in found.items()}
        digests = [each.value for each in fingerprints if each.kind is not Kind.PDQ]
        if digests:
            for entry, kind in self._run(
                "SELECT entry, kind FROM unspread_catalogue_rows"
                " WHERE value = ANY(%s) AND kind != 'pdq'",
                digests,
            ):
                best[int(entry)] = (0, Kind(kind))
        names = self._run(
            "SELECT entry, reference FROM unspread_catalogue WHERE entry = ANY(%s)", list(best)
        )
        findings = [Finding(name, best[entry][1], best[entry][0]) for entry, name in names]
        return sorted(findings, key=lambda one: (one.distance_bits, one.reference))

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""
        rows = self._run(
            "SELECT kind, value, frame FROM unspread_catalogue_rows JOIN unspread_catalogue"
            " USING (entry) WHERE reference = %s ORDER BY place",
            reference,
        )
        return tuple(Probe(Kind(kind), bytes(value), frame=frame) for kind, value, frame in rows)

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""
        return int(self._run("SELECT coalesce(max(entry), 0) FROM unspread_catalogue")[0][0])

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""
        while rows := self._run(
            "SELECT entry, reference, media FROM unspread_catalogue WHERE entry > %s"
            " ORDER BY entry LIMIT 1000",
            entry,
        ):
            for number, reference, media in rows:
                entry = int(number)
                yield Entry(entry, reference, Media(media), self.probes_of(reference))

    def __len__(self) -> int:
        """Pieces of content."""
        return int(self._run("SELECT count(*) FROM unspread_catalogue")[0][0])
