"""One SQLite file, one writer thread, many readers: every write of the platform kit goes here.

The writer takes all that is waiting into one transaction (group commit: 2 to 20 times the
throughput of a transaction each, and never SQLITE_BUSY among ourselves) and answers each caller
after COMMIT. What was answered survives `kill -9` and power loss (WAL, synchronous=FULL).
Other processes (the command line, replicas) may write too; SQLite's lock orders them.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from unspread.errors import StateError

_T = TypeVar("_T")
_BUSY_SECONDS: Final = 30.0
_LARGEST_GROUP: Final = 512
_READ_CACHE_KIBIBYTES: Final = 512
_ERASE_MILLISECONDS: Final = 200

Work = Callable[[sqlite3.Connection], object]


class DatabaseError(StateError):
    """The database cannot be opened, is newer than this program, or is closed."""


class Database:
    """A SQLite file with one writer thread and a reading connection per thread."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`, readable by this user alone.

        Raises:
            DatabaseError: if that is not possible.
        """
        self._path = path
        self._local = threading.local()
        self._after_commit: list[Callable[[], None]] = []
        self._waiting: queue.SimpleQueue[tuple[Work, Future[object]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._readers: list[sqlite3.Connection] = []
        self._must_erase = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            connection = self._connect()
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations (part TEXT, number INTEGER,"
                " PRIMARY KEY (part, number)) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise DatabaseError(f"cannot open the database {path}: {error}") from None
        self._thread = threading.Thread(
            target=self._write_all, args=(connection,), name="database-writer", daemon=True
        )
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # What a person withdrew must not stay behind in free pages.
        connection.execute("PRAGMA secure_delete=ON")
        return connection

    def migrate(self, part: str, statements: Sequence[str]) -> None:
        """Run the statements of `part` that have not run yet, each once, in order.

        Raises:
            DatabaseError: if the file has been used by a newer program.
        """

        def work(connection: sqlite3.Connection) -> None:
            done = connection.execute(
                "SELECT count(*) FROM migrations WHERE part = ?", (part,)
            ).fetchone()[0]
            if done > len(statements):
                raise DatabaseError("the database was made by a newer version of this program")
            for number, statement in enumerate(statements):
                if number >= done:
                    connection.execute(statement)
                    connection.execute("INSERT INTO migrations VALUES (?, ?)", (part, number))

        try:
            self.write(work)
        except sqlite3.Error as error:
            raise DatabaseError(f"the database cannot be brought up to date: {error}") from None

    def submit(self, work: Callable[[sqlite3.Connection], _T]) -> "Future[_T]":
        """Queue `work` for the next transaction; the future is done once it is durable.

        If `work` raises, its own changes alone are undone and the future carries the error.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise DatabaseError("the database is closed")
            self._waiting.put((work, future))  # type: ignore[arg-type]  # Future is invariant
        return future

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in a transaction and wait until it is durable."""
        return self.submit(work).result()

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on this thread's reading connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            # One for each thread: SQLite's own 2 MB would be some 12 in all, of what the system
            # keeps in its page cache anyway.
            connection.execute(f"PRAGMA cache_size=-{_READ_CACHE_KIBIBYTES}")
            self._local.connection = connection
            with self._lock:
                self._readers.append(connection)
        return work(connection)

    def erase_after_commit(self) -> None:
        """Called by work that erases: leave no copy behind in the write-ahead log either."""
        self._must_erase = True

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback`, from the writer's thread, after each commit."""
        self._after_commit.append(callback)

    def close(self) -> None:
        """Finish what is queued, and close."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        for reader in self._readers:
            reader.close()

    def _write_all(self, connection: sqlite3.Connection) -> None:
        open_to_work = True
        while open_to_work:
            group = [self._waiting.get()]
            while len(group) < _LARGEST_GROUP:
                try:
                    group.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            open_to_work = None not in group
            self._write_group(connection, [each for each in group if each is not None])
        connection.close()

    def _write_group(
        self, connection: sqlite3.Connection, group: list[tuple[Work, Future[object]]]
    ) -> None:
        done: list[tuple[Future[object], object]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, future in group:
                connection.execute("SAVEPOINT one")
                try:
                    result = work(connection)
                except BaseException as error:  # noqa: BLE001 - handed to the caller
                    connection.execute("ROLLBACK TO one")
                    future.set_exception(error)
                else:
                    done.append((future, result))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for _, future in group:
                if not future.done():
                    future.set_exception(DatabaseError(f"cannot write: {error}"))
            return
        if self._must_erase:
            self._erase(connection)
        for future, result in done:
            future.set_result(result)
        for callback in self._after_commit if done else ():
            callback()

    def _erase(self, connection: sqlite3.Connection) -> None:
        """Fold the write-ahead log into the file and empty it; later, if a reader is in the way."""
        connection.execute(f"PRAGMA busy_timeout={_ERASE_MILLISECONDS}")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        connection.execute(f"PRAGMA busy_timeout={int(_BUSY_SECONDS * 1000)}")
        self._must_erase = bool(busy)
