"""Lets nothing that was erased linger in the database's own log, beside the writer and not on it.

SQLite's write-ahead log holds pages as they were, until it is emptied; PostgreSQL's tables hold
rows as they were, until they are vacuumed. With a million listings that takes half a second, in
which nobody's case could be taken if the writer did it.
"""

import threading
import time
from typing import Final

import structlog

from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.writer import DATABASE_ERRORS

AGAIN_SECONDS: Final = 0.25
"""After so long it is tried again, while a reader is in the way or the database is away."""
LAST_ATTEMPTS: Final = 20

log = structlog.get_logger()


class Settler:
    """A thread that settles the database: at its start, whenever it is woken, and at its end.

    At its start, because the process before may have been killed between an erasure and this.
    """

    def __init__(self, connection: Connection) -> None:
        """Use a connection of its own."""
        self._connection = connection
        self._wake = threading.Event()
        self._wake.set()
        self._stopping = threading.Event()
        self._asked = 1
        self._done = 0
        self._thread = threading.Thread(target=self._work, name="settler", daemon=True)
        self._thread.start()

    @property
    def is_settled(self) -> bool:
        """Whether nothing lingers of what was erased before the last call of `wake`."""
        return self._done >= self._asked

    def wake(self) -> None:
        """Something was erased and committed. From one thread."""
        self._asked += 1
        self._wake.set()

    def close(self) -> None:
        """Settle once more, then stop."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._settle():
                self._stopping.wait(AGAIN_SECONDS)
                self._wake.set()
        for _ in range(LAST_ATTEMPTS):
            if self._settle():
                return
            time.sleep(AGAIN_SECONDS)
        log.error("not_settled", until="the next start")

    def _settle(self) -> bool:
        asked = self._asked
        try:
            is_settled = self._connection.settle()
        except DATABASE_ERRORS as error:
            log.warning("settling_failed", error=type(error).__name__)
            return False
        if is_settled:
            self._done = max(self._done, asked)
        return is_settled
