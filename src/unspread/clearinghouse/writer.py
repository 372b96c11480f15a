"""One thread that writes: group commit.

Jobs wait in a queue; the thread takes all that wait, runs them in one transaction and answers each
only after the commit. So one fsync serves many acknowledgements, jobs see each other's effects in
order, and nobody ever meets a locked database.

A job refuses by raising an `UnspreadError` before it writes anything; that refuses it alone. Any
other error rolls the batch back and runs its jobs again one by one, so that it too hurts only its
own.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import psycopg

from unspread.clearinghouse.database import Connection, DatabaseUnavailableError
from unspread.errors import StateError, TransportError, UnspreadError

T = TypeVar("T")
Tx = TypeVar("Tx")

MAX_BATCH: Final = 256
"""Jobs in one transaction, at most: a bound on how long the first waits for the last."""

DATABASE_ERRORS: Final = (sqlite3.Error, psycopg.Error)


class BusyError(TransportError):
    """More waits to be written than is taken: try again soon."""


class WriterClosedError(StateError):
    """The clearinghouse is stopping."""


class _Job(Generic[Tx]):
    __slots__ = ("future", "loop", "run")

    def __init__(
        self,
        run: Callable[[Tx], Any],
        future: "Future[Any] | asyncio.Future[Any]",
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.run = run
        self.future = future
        self.loop = loop
        """On which the future is answered; None: on the writer's thread."""


_Answered = tuple[_Job[Tx], Any, Exception | None]
"""A job with its result or its refusal."""


def _told(error: Exception) -> Exception:
    """What whoever waits is told of an error that was not a refusal."""
    if not isinstance(error, DATABASE_ERRORS):
        return error
    unavailable = DatabaseUnavailableError("the database could not store this")
    unavailable.__cause__ = error
    return unavailable


def _answer(answered: Sequence[_Answered[Any]]) -> None:
    """Settle the jobs' futures; those of an event loop on it, all at once."""
    elsewhere: dict[asyncio.AbstractEventLoop, list[_Answered[Any]]] = {}
    here: list[_Answered[Any]] = []
    for each in answered:
        loop = each[0].loop
        (here if loop is None else elsewhere.setdefault(loop, [])).append(each)
    _settle(here)
    for loop, theirs in elsewhere.items():
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, theirs)


def _settle(answered: Sequence[_Answered[Any]]) -> None:
    for job, answer, refusal in answered:
        if job.future.cancelled():
            continue
        if refusal is None:
            job.future.set_result(answer)
        else:
            job.future.set_exception(refusal)


class Writer(Generic[Tx]):
    """Runs jobs in batches on a thread of its own.

    Args:
        connection: used by the thread alone.
        transaction: what each job is called with; made anew for every transaction.
        finish: called last in every transaction.
        committed: called after every commit, on the thread.
        max_waiting: more jobs than this in the queue are refused.
    """

    def __init__(
        self,
        connection: Connection,
        transaction: Callable[[Connection], Tx],
        finish: Callable[[Tx], None],
        committed: Callable[[Tx], None],
        *,
        max_waiting: int,
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._finish = finish
        self._committed = committed
        self._max_waiting = max_waiting
        self._jobs: queue.SimpleQueue[_Job[Tx] | None] = queue.SimpleQueue()
        self._closed = False
        self.is_busy = False
        """Whether a transaction may be open; true before its job's clock is read."""
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._jobs.qsize()

    def submit(self, job: Callable[[Tx], T]) -> "Future[T]":
        """Have `job` run; the future answers after its transaction is durable.

        Raises:
            BusyError: if too many wait already.
        """
        future: Future[T] = Future()
        self._put(_Job(job, future, None))
        return future

    def submit_here(self, job: Callable[[Tx], T]) -> "asyncio.Future[T]":
        """`submit` for coroutines: a whole batch wakes their event loop once, not once each."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(_Job(job, future, loop))
        return future

    def _put(self, job: _Job[Tx]) -> None:
        if self._closed:
            raise WriterClosedError("the clearinghouse is stopping")
        if self._jobs.qsize() >= self._max_waiting:
            raise BusyError("too many are writing at once: try again in a few seconds")
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what waits, then stop."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        stop = False
        while not stop:
            batch, stop = self._next_batch()
            if batch and not self._run(batch) and len(batch) > 1:
                # One of them was the trouble: alone, the others go through.
                for job in batch:
                    self._run([job])

    def _next_batch(self) -> tuple[list[_Job[Tx]], bool]:
        batch: list[_Job[Tx]] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == MAX_BATCH:
                return batch, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _run(self, batch: list[_Job[Tx]]) -> bool:
        """Whether the batch was committed; then all its futures are done."""
        answers: list[_Answered[Tx]] = []
        self.is_busy = True
        try:
            self._connection.begin()
            transaction = self._transaction(self._connection)
            for job in batch:
                try:
                    answers.append((job, job.run(transaction), None))
                except UnspreadError as error:
                    answers.append((job, None, error))
            self._finish(transaction)
            self._connection.commit()
        except Exception as error:  # noqa: BLE001 - the outermost loop of its thread: writing goes on
            self._roll_back()
            if len(batch) == 1:
                _answer([(batch[0], None, _told(error))])
            return False
        finally:
            self.is_busy = False
        self._committed(transaction)
        _answer(answers)
        return True

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except DATABASE_ERRORS:
            # The connection is gone; the next transaction says so to whoever asks.
            return
