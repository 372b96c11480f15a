"""What the clearinghouse itself puts into the log, beside what people and partners send.

Acknowledgements, digests of policies, canaries, padding: looked at before every publication, and
written in one transaction if anything is due.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from unspread.clearinghouse import canaries, policies
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.partners import Partner
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.store import Transaction
from unspread.errors import UnspreadError
from unspread.feed.records import AckRecord, EntryKind, padding_entries, padding_needed

ACKNOWLEDGEMENTS_EVERY_SECONDS: Final = 10.0
"""Acknowledgements are collected for so long, and written together."""
SECONDS_PER_PLATFORM: Final = 2.0
"""Or for so long times the number of platforms: at most one in two seconds, however many."""


class Submit(Protocol):
    """The writer's `submit`."""

    def __call__(self, job: Callable[[Transaction], Any]) -> "Future[Any]":
        """Have a job run."""


def log_acknowledgements(tx: Transaction) -> int:
    """Put what partners have acknowledged since the last time into the log; how many did."""
    due = tx.connection.rows(
        "SELECT p.partner_id, p.name, p.applied_size, p.logged_size,"
        " COALESCE(a.at, p.last_heard_at)"
        " FROM partner p LEFT JOIN acknowledgement a"
        " ON a.partner_id = p.partner_id AND a.size = p.applied_size"
        " WHERE p.applied_size > p.logged_size AND p.state = 'active' ORDER BY p.partner_id"
    )
    logged = 0
    for partner_id, name, applied_size, logged_size, second in due:
        # An acknowledgement of acknowledgements alone is none: the log would never rest.
        if tx.connection.rows(
            "SELECT 1 FROM log_entry WHERE position >= ? AND position < ? AND kind <> ? LIMIT 1",
            logged_size,
            applied_size,
            int(EntryKind.ACK),
        ):
            # When it was said, not when it is written down: the public counts the seconds.
            at = datetime.fromtimestamp(second, UTC)
            public_name = name.encode()[:64].decode(errors="ignore")
            tx.append(AckRecord(public_name, applied_size, at).to_entry(), listing_id=-1)
            logged += 1
        tx.connection.run(
            "UPDATE partner SET logged_size = ? WHERE partner_id = ?", applied_size, partner_id
        )
    return logged


def pad(tx: Transaction, batch: int) -> None:
    """Append padding until the log's size is a multiple of `batch`, one batch at least."""
    entries = padding_entries(padding_needed(tx.size % batch, batch), os.urandom(16))
    for entry in entries:
        tx.append(entry, listing_id=-1)


class OwnEntries:
    """Knows what is due, and has the writer append it."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        submit: Submit,
        *,
        canary_key: bytes,
        documents: Callable[[Sequence[Partner]], Mapping[str, bytes]],
        publish_document: Callable[[str, bytes], None],
        clock: Callable[[], float],
    ) -> None:
        """`connection` reads, on the thread that calls `append_due`; `documents` are those that
        the clearinghouse goes by, `publish_document` puts one at its path."""
        self._settings = settings
        self._connection = connection
        self._submit = submit
        self._canary_key = canary_key
        self._documents = documents
        self._publish_document = publish_document
        self._clock = clock
        self._has_acknowledgements = True
        self._acknowledged_at = float("-inf")
        self._shown: dict[str, bytes] = {}
        self._canary_due_at = 0.0

    def acknowledged(self) -> None:
        """A partner acknowledged something. From any thread."""
        self._has_acknowledgements = True

    def append_due(self, known: Sequence[Partner]) -> None:
        """Append what is due now; durable when this returns."""
        jobs = [
            *self._acknowledgements(sum(each.state == "active" for each in known)),
            *self._policies(known),
            *self._canaries(),
        ]
        if self._settings.padding_batch:
            jobs.append(lambda tx: pad(tx, self._settings.padding_batch))
        if not jobs:
            return

        def append(tx: Transaction) -> None:
            for job in jobs:
                job(tx)

        try:
            self._submit(append).result()
        except UnspreadError:
            self._has_acknowledgements, self._shown, self._canary_due_at = True, {}, 0.0
            raise
        if not self._canary_due_at:
            self._canary_due_at = canaries.next_due_at(
                self._connection,
                self._canary_key,
                count=self._settings.canaries_per_epoch,
                epoch_days=self._settings.canary_epoch_days,
            )

    def _acknowledgements(self, platforms: int) -> list[Callable[[Transaction], Any]]:
        now = self._clock()
        wait = max(ACKNOWLEDGEMENTS_EVERY_SECONDS, SECONDS_PER_PLATFORM * platforms)
        if not self._has_acknowledgements or 0 <= now - self._acknowledged_at < wait:
            return []
        # Before it is read: what comes meanwhile is looked at the next time.
        self._has_acknowledgements = False

        def log(tx: Transaction) -> None:
            if log_acknowledgements(tx):
                self._acknowledged_at = now

        return [log]

    def _policies(self, known: Sequence[Partner]) -> list[Callable[[Transaction], Any]]:
        documents = dict(self._documents(known))
        if documents == self._shown:
            return []
        for label, document in documents.items():
            if self._shown.get(label) != document:
                self._publish_document(label, document)
        self._shown = documents
        return [lambda tx: policies.log_changes(tx, documents)]

    def _canaries(self) -> list[Callable[[Transaction], Any]]:
        if self._clock() < self._canary_due_at:
            return []
        self._canary_due_at = 0.0
        return [
            lambda tx: canaries.advance(
                tx,
                self._canary_key,
                count=self._settings.canaries_per_epoch,
                epoch_days=self._settings.canary_epoch_days,
            )
        ]
