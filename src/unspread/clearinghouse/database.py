"""Two databases behind one small surface: SQLite in a file, PostgreSQL by URL.

SQL is written once, with `?` for parameters, from what both understand. The schema is Django's
(`models`, migrations); the connections are the drivers' own, so that the writer holds one for
itself and pays nothing for the ORM.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import psycopg

from unspread.clearinghouse.settings import Settings
from unspread.errors import TransportError

Row = tuple[Any, ...]

_TIMEOUT_SECONDS: Final = 20
_SETTLING_MS: Final = 50


class DatabaseUnavailableError(TransportError):
    """The database does not answer."""


class Connection(Protocol):
    """One connection, for one thread at a time."""

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Every row of the answer."""

    def run(self, sql: str, *parameters: object) -> int:
        """How many rows were changed."""

    def run_many(self, sql: str, parameters: Iterable[Sequence[object]]) -> None:
        """Run once for each sequence of parameters."""

    def begin(self) -> None:
        """Start a transaction that may write."""

    def begin_reading(self) -> None:
        """Start a transaction that sees one state of the database throughout."""

    def commit(self) -> None:
        """Return once everything since `begin` survives a crash."""

    def rollback(self) -> None:
        """Forget everything since `begin`."""

    def exclude_others(self, lock: int) -> None:
        """Until the transaction ends, no other that says so runs."""

    def settle(self) -> bool:
        """Outside a transaction: let nothing that was deleted linger in the database's own log.

        Whether that is done; another try is needed if a reader was in the way. Writers wait for
        moments at most.
        """

    def close(self) -> None:
        """Give the connection back."""


class Sqlite:
    """SQLite in WAL mode; commits are on the disk before they return (synchronous=FULL)."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        """Open the file, which must exist when `read_only`."""
        uri = f"file:{path}?mode=ro" if read_only else f"file:{path}"
        try:
            self._connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            if not read_only:
                self._connection.execute("PRAGMA journal_mode=WAL")
            for pragma in (
                "synchronous=FULL",
                "foreign_keys=ON",
                # What is deleted is overwritten: a fingerprint must not linger in free pages.
                "secure_delete=ON",
                "trusted_schema=OFF",
                "temp_store=MEMORY",
                "cache_size=-65536",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise DatabaseUnavailableError(f"the database cannot be opened: {error}") from error

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Every row of the answer."""
        return self._connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, *parameters: object) -> int:
        """How many rows were changed."""
        return self._connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[object]]) -> None:
        """Run once for each sequence of parameters."""
        self._connection.executemany(sql, parameters)

    def begin(self) -> None:
        """Start a transaction that may write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        """Start a transaction that sees one state of the database throughout."""
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT 1 FROM log_entry LIMIT 1")

    def commit(self) -> None:
        """Return once everything since `begin` survives a crash."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Forget everything since `begin`."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def exclude_others(self, lock: int) -> None:
        """Nothing to do: `BEGIN IMMEDIATE` is exclusive among writers."""

    def settle(self) -> bool:
        """Move the write-ahead log into the file and empty it: old pages stand there in clear.

        The file itself holds none: `secure_delete` overwrites in it.
        """
        # This does the work, beside writers and readers …
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        # … and this little, for which writers have to wait: also while it waits for readers.
        self._connection.execute(f"PRAGMA busy_timeout={_SETTLING_MS}")
        try:
            ((busy, _, _),) = self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout={1000 * _TIMEOUT_SECONDS}")
        return not busy

    def backup_to(self, path: str) -> None:
        """Write a consistent copy while others go on reading and writing."""
        target = sqlite3.connect(path)
        try:
            self._connection.backup(target, pages=1024)
        finally:
            target.close()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@lru_cache(maxsize=512)
def _postgres_sql(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class Postgres:
    """PostgreSQL through psycopg, with synchronous commit.

    Outside a transaction a connection that broke is made anew: a database that was restarted is
    found again.
    """

    def __init__(self, url: str) -> None:
        """Connect."""
        self._url = url
        self._is_inside = False
        """A transaction: what was run in it is lost with its connection."""
        self._connection = self._connected()

    def _connected(self) -> "psycopg.Connection[Row]":
        try:
            made = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            made.execute("SET synchronous_commit = on")
        except psycopg.Error as error:
            raise DatabaseUnavailableError("the database does not answer") from error
        return made

    def _execute(self, sql: str, parameters: Sequence[object] = ()) -> "psycopg.Cursor[Row]":
        try:
            return self._connection.execute(sql, parameters)
        except psycopg.OperationalError:
            if self._is_inside or not self._connection.closed:
                raise
        self._connection = self._connected()
        return self._connection.execute(sql, parameters)

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Every row of the answer."""
        return self._execute(_postgres_sql(sql), parameters).fetchall()

    def run(self, sql: str, *parameters: object) -> int:
        """How many rows were changed."""
        return self._execute(_postgres_sql(sql), parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[object]]) -> None:
        """Run once for each sequence of parameters, in one round trip."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_postgres_sql(sql), parameters)

    def begin(self) -> None:
        """Start a transaction that may write."""
        self._execute("BEGIN")
        self._is_inside = True

    def begin_reading(self) -> None:
        """Start a transaction that sees one state of the database throughout."""
        self._execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._is_inside = True

    def commit(self) -> None:
        """Return once everything since `begin` survives a crash."""
        self._execute("COMMIT")
        self._is_inside = False

    def rollback(self) -> None:
        """Forget everything since `begin`."""
        self._is_inside = False
        if not self._connection.closed and self._connection.info.transaction_status:
            self._execute("ROLLBACK")

    def exclude_others(self, lock: int) -> None:
        """Until the transaction ends, no other that says so runs."""
        self._execute("SELECT pg_advisory_xact_lock(%s)", (lock,))

    def settle(self) -> bool:
        """Overwrite what was deleted as far as PostgreSQL can: its own log keeps it a while."""
        # To give space back at a table's end it would lock all others out.
        self._execute("VACUUM (TRUNCATE FALSE) item, log_entry, pending_tombstone")
        return True

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def connect(settings: Settings, *, read_only: bool = False) -> Sqlite | Postgres:
    """A new connection to the clearinghouse's database.

    Raises:
        DatabaseUnavailableError: if there is none.
    """
    if settings.database_url:
        return Postgres(settings.database_url)
    return Sqlite(str(settings.sqlite_path), read_only=read_only)
