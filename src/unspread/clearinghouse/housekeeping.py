"""What is due without anybody asking: expiry and erasure.

Each function is a job for the writer and does a bounded amount; `Housekeeper` calls them again
until nothing is left, and every ten minutes.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from unspread.clearinghouse import store
from unspread.clearinghouse.rules import FINAL_STATES, is_over
from unspread.clearinghouse.store import SECONDS_PER_DAY, Transaction
from unspread.clearinghouse.writer import DATABASE_ERRORS, Writer
from unspread.errors import UnspreadError
from unspread.feed.records import Authority, ChangeReason, ChangeRecord
from unspread.model import ListingId, State

EVERY_SECONDS: Final = 600.0
AT_ONCE: Final = 200
KEEP_ENDED_DAYS: Final = 90
"""How long a person can still read what became of an ended case."""

log = structlog.get_logger()


def expire(tx: Transaction) -> int:
    """End cases whose time is over; how many were looked at."""
    today = tx.now // SECONDS_PER_DAY
    due = tx.connection.rows(
        "SELECT id, expires_day FROM case_record c WHERE expires_day < ? AND EXISTS (SELECT 1 FROM"
        " item i WHERE i.case_id = c.id AND i.state IN ('held', 'listed', 'suspended'))"
        " ORDER BY expires_day LIMIT ?",
        today,
        AT_ONCE,
    )
    for case_id, expires_day in due:
        ((last,),) = tx.connection.rows(
            "SELECT COALESCE(MAX(f.received_at), 0) FROM feedback f JOIN item i"
            " ON i.listing_id = f.listing_id WHERE i.case_id = ?"
            " AND f.kind IN ('found', 'removed', 'blocked')",
            case_id,
        )
        if is_over(expires_day, today, last // SECONDS_PER_DAY):
            _expire_case(tx, case_id)
        else:
            # It is still being found: a year more, without a word.
            tx.connection.run(
                "UPDATE case_record SET expires_day = ? WHERE id = ?", today + 365, case_id
            )
            tx.count("renewals.by_match")
    return len(due)


def _expire_case(tx: Transaction, case_id: int) -> None:
    for item in store.items_of_case(tx.connection, case_id):
        if item.state in FINAL_STATES:
            continue
        if item.listing_id is not None:
            record = ChangeRecord(
                ListingId(item.listing_id),
                State.EXPIRED,
                item.level,
                Authority.RULE,
                ChangeReason.EXPIRED,
            )
            store.append_change(tx, item, record)
        else:
            store.set_state(tx, item, State.EXPIRED)
        store.erase(tx, item)
        tx.count("expired")


def forget_ended(tx: Transaction) -> int:
    """Delete cases all of whose items ended long ago; how many."""
    before = tx.now - KEEP_ENDED_DAYS * SECONDS_PER_DAY
    ended = tx.connection.rows(
        "SELECT id FROM case_record c WHERE NOT EXISTS (SELECT 1 FROM item i WHERE"
        " i.case_id = c.id AND (i.state IN ('held', 'listed', 'suspended') OR i.changed_at > ?))"
        " LIMIT ?",
        before,
        AT_ONCE,
    )
    for (case_id,) in ended:
        tx.connection.run(
            "DELETE FROM exchange_value WHERE listing_id IN"
            " (SELECT listing_id FROM item WHERE case_id = ?)",
            case_id,
        )
        tx.connection.run("DELETE FROM item WHERE case_id = ?", case_id)
        tx.connection.run("DELETE FROM case_record WHERE id = ?", case_id)
    return len(ended)


def erase_tombstones(tx: Transaction) -> int:
    """Erase values kept for programmes whose withdrawals must name them, and what finds them."""
    if tx.connection.run("DELETE FROM pending_tombstone WHERE erase_at <= ?", tx.now):
        tx.is_erasure_done = True
    tx.connection.run(
        "UPDATE exchange_value SET tag = NULL WHERE tag IS NOT NULL AND listing_id IN"
        " (SELECT i.listing_id FROM item i WHERE i.erased AND NOT EXISTS"
        " (SELECT 1 FROM pending_tombstone t WHERE t.listing_id = i.listing_id))"
    )
    return 0


def forget_codes(tx: Transaction) -> int:
    """Delete codes with which no key was collected in time."""
    tx.connection.run("DELETE FROM key_grant WHERE expires_at < ?", tx.now)
    return 0


JOBS: Final[tuple[Callable[[Transaction], int], ...]] = (
    expire,
    forget_ended,
    erase_tombstones,
    forget_codes,
)


def run_due(writer: Writer[Transaction]) -> None:
    """Do all that is due now."""
    for job in JOBS:
        while writer.submit(job).result() >= AT_ONCE:
            pass


class Housekeeper:
    """A thread that does what is due, now and every ten minutes.

    Args:
        writer: runs `JOBS`.
        chores: what is due outside of transactions; each does a bounded amount and says whether
            more is left.
    """

    def __init__(
        self, writer: Writer[Transaction], chores: Sequence[Callable[[], bool]] = ()
    ) -> None:
        self._writer = writer
        self._chores = chores
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="housekeeper", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                run_due(self._writer)
                for chore in self._chores:
                    while not self._stop.is_set() and chore():
                        pass
            except (UnspreadError, OSError, *DATABASE_ERRORS) as error:
                log.error("housekeeping_failed", error=type(error).__name__)  # noqa: TRY400 - a trace may quote values
            self._stop.wait(EVERY_SECONDS)

    def close(self) -> None:
        """Stop after the job at hand."""
        self._stop.set()
        self._thread.join()
