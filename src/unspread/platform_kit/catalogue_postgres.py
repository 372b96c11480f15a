"""The catalogue in PostgreSQL: for several machines, and where a database is kept already."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from unspread.errors import StateError, TransportError
from unspread.model import Kind, Media
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.catalogue import (
    Entry,
    Wanted,
    found_for,
    kept_probes,
    pack_probes,
    pdq_values,
    unpack_probes,
)
from unspread.platform_kit.catalogue_columns import Columns
from unspread.platform_kit.store import Finding

_SCHEMA: Final = (
    # Of before the first release: scan what is hosted once more.
    "DROP TABLE IF EXISTS unspread_catalogue_rows",
    "DROP TABLE IF EXISTS unspread_catalogue",
    """CREATE TABLE IF NOT EXISTS unspread_hosted (
        entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reference text NOT NULL UNIQUE,
        media text NOT NULL, seen_at timestamptz NOT NULL, probes bytea NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS unspread_hosted_digests (
        value bytea NOT NULL, entry bigint NOT NULL REFERENCES unspread_hosted (entry)
        ON DELETE CASCADE, PRIMARY KEY (value, entry))""",
    """CREATE INDEX IF NOT EXISTS unspread_hosted_digests_by_entry
        ON unspread_hosted_digests (entry)""",
    """CREATE TABLE IF NOT EXISTS unspread_hosted_gone (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, entry bigint NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS unspread_hosted_instance (
        one boolean PRIMARY KEY CHECK (one), id uuid NOT NULL)""",
    """INSERT INTO unspread_hosted_instance VALUES (true, gen_random_uuid())
        ON CONFLICT DO NOTHING""",
)
_ORDERED: Final = 0x756E7370
"""An advisory lock: entries become visible in the order of their numbers."""


class PostgresCatalogue:
    """A `Catalogue` in a PostgreSQL database, with columns on each machine that searches."""

    def __init__(self, url: str, directory: Path) -> None:
        """Connect; the columns lie in `directory`.

        Raises:
            StateError: if the database cannot be used.
        """
        self._url = url
        self._lock = threading.RLock()
        self._loading = threading.Lock()
        try:
            self._connection = psycopg.connect(url)
            with self._connection.transaction():
                self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ORDERED,))
                for statement in _SCHEMA:
                    self._connection.execute(statement)
        except psycopg.Error as error:
            # Its text may hold the address with a password.
            raise StateError(f"cannot use the catalogue: {type(error).__name__}") from None
        (instance,) = self._run("SELECT id FROM unspread_hosted_instance")[0]
        self.source = f"postgresql {instance}"
        self._columns = Columns(directory, self.source)

    def close(self) -> None:
        """Leave the columns whole for the next start, and disconnect."""
        self._columns.close()
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

    def catch_up(self) -> None:
        """Take into the columns what this or another process has written and erased since."""
        with self._loading:
            while rows := self._run(
                "SELECT entry, probes FROM unspread_hosted WHERE entry > %s"
                " ORDER BY entry LIMIT 2000",
                self._columns.last_entry,
            ):
                self._columns.add([(int(entry), pdq_values(probes)) for entry, probes in rows])
            # In the order in which erasures became visible: they hold the same lock as entries.
            gone = self.gone_after(self._columns.gone)
            if gone:
                numbers, entries = zip(*gone, strict=True)
                self._columns.remove(entries, max(numbers))

    def gone_after(self, number: int) -> list[tuple[int, int]]:
        """(number, entry) of what was forgotten after the erasure `number`, in order."""
        return [
            (int(each), int(entry))
            for each, entry in self._run(
                "SELECT number, entry FROM unspread_hosted_gone WHERE number > %s ORDER BY number",
                number,
            )
        ]

    def remember(self, reference: str, media: Media, probes: Sequence[Probe], at: datetime) -> int:
        """Keep the fingerprints of content, in the place of older ones; the entry's number."""
        kept = kept_probes(probes)
        try:
            with self._lock:
                with self._connection.transaction():
                    run = self._connection.execute
                    run("SELECT pg_advisory_xact_lock(%s)", (_ORDERED,))
                    _erase(run, [reference])
                    row = run(
                        "INSERT INTO unspread_hosted (reference, media, seen_at, probes)"
                        " VALUES (%s, %s, %s, %s) RETURNING entry",
                        (reference, str(media), at, pack_probes(kept)),
                    ).fetchone()
                    entry = int(row[0]) if row else 0
                    with self._connection.cursor() as cursor:
                        cursor.executemany(
                            "INSERT INTO unspread_hosted_digests VALUES (%s, %s)"
                            " ON CONFLICT DO NOTHING",
                            [(each.value, entry) for each in kept if each.kind is not Kind.PDQ],
                        )
                return entry
        except psycopg.OperationalError as error:
            self._reconnect()
            raise TransportError(f"the catalogue failed: {type(error).__name__}") from None

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""
        try:
            with self._lock, self._connection.transaction():
                self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ORDERED,))
                _erase(self._connection.execute, list(references))
        except psycopg.OperationalError as error:
            self._reconnect()
            raise TransportError(f"the catalogue failed: {type(error).__name__}") from None

    def search(self, wanted: Sequence[Wanted]) -> list[list[Finding]]:
        """Content within the radius of each listing, each once, nearest first."""
        self.catch_up()

        def entries_with(values: list[bytes]) -> Iterator[tuple[bytes, int]]:
            for value, entry in self._run(
                "SELECT value, entry FROM unspread_hosted_digests WHERE value = ANY(%s)", values
            ):
                yield bytes(value), int(entry)

        def references_of(entries: list[int]) -> dict[int, str]:
            return dict(
                self._run(
                    "SELECT entry, reference FROM unspread_hosted WHERE entry = ANY(%s)", entries
                )
            )

        return found_for(wanted, self._columns, entries_with, references_of)

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""
        rows = self._run("SELECT probes FROM unspread_hosted WHERE reference = %s", reference)
        return unpack_probes(bytes(rows[0][0])) if rows else ()

    def posted_at(self, reference: str) -> datetime | None:
        """When one piece of content was posted, as far as is known; None if it is unknown."""
        rows = self._run("SELECT seen_at FROM unspread_hosted WHERE reference = %s", reference)
        return rows[0][0] if rows else None

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""
        return int(self._run("SELECT coalesce(max(entry), 0) FROM unspread_hosted")[0][0])

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""
        while rows := self._run(
            "SELECT entry, reference, media, probes FROM unspread_hosted WHERE entry > %s"
            " ORDER BY entry LIMIT 1000",
            entry,
        ):
            for number, reference, media, probes in rows:
                entry = int(number)
                yield Entry(entry, reference, Media(media), unpack_probes(bytes(probes)))

    def __len__(self) -> int:
        """Pieces of content."""
        return int(self._run("SELECT count(*) FROM unspread_hosted")[0][0])


def _erase(run: Callable[..., Any], references: list[str]) -> None:
    run(
        "WITH gone AS (DELETE FROM unspread_hosted WHERE reference = ANY(%s) RETURNING entry)"
        " INSERT INTO unspread_hosted_gone (entry) SELECT entry FROM gone",
        (references,),
    )
