"""Filing one report, step by step, so that a crash leaves nothing half done and unseen.

A report is drafted from a decision, checked, opened, given its file, and finished. What NCMEC has
opened is written down before anything else is sent; if the rest fails it is retracted, and if that
fails NCMEC deletes it by itself after a day.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from unspread.errors import StateError, UnspreadError
from unspread.platform_kit.cybertip.client import CyberTipline
from unspread.platform_kit.cybertip.report import (
    Basis,
    Classification,
    FileDetails,
    Report,
    check_basis,
    file_xml,
    report_xml,
)
from unspread.platform_kit.store import Store, time_text

SCHEMA: Final = (
    """CREATE TABLE cybertip_reports (
        filing INTEGER PRIMARY KEY AUTOINCREMENT, content_key TEXT NOT NULL, state TEXT NOT NULL,
        environment TEXT NOT NULL, report_id TEXT NOT NULL DEFAULT '', by TEXT NOT NULL,
        at TEXT NOT NULL, error TEXT NOT NULL DEFAULT '')""",
    """CREATE UNIQUE INDEX cybertip_once ON cybertip_reports (content_key, environment)
        WHERE state IN ('started', 'opened', 'filed')""",
)


UNFINISHED_LASTS: Final = timedelta(hours=25)
"""NCMEC deletes what is unfinished a day after it was opened, or an hour after its last change."""

INTERRUPTED: Final = "this program ended before NCMEC answered: ask them before filing it again"


class FilingState(StrEnum):
    """Where a filing stands."""

    STARTED = "started"
    OPENED = "opened"
    """NCMEC has given it a number."""
    FILED = "filed"
    RETRACTED = "retracted"
    FAILED = "failed"


class AlreadyFiledError(StateError):
    """This content has been reported, or is being reported."""


@dataclass(frozen=True, slots=True)
class Filing:
    """One report, filed or tried."""

    filing: int
    state: FilingState
    environment: str
    report_id: str
    by: str
    error: str


class Filings:
    """Reports to NCMEC. Methods block; any thread may call."""

    def __init__(
        self, store: Store, tipline: CyberTipline, environment: str, clock: Callable[[], datetime]
    ) -> None:
        """`environment`: a word for the record, `test` or `production`."""
        self._store = store
        self._tipline = tipline
        self._environment = environment
        self._clock = clock
        store.migrate("cybertip", SCHEMA)

    def file(
        self,
        content_key: str,
        basis: Basis,
        report: Report,
        content: bytes,
        *,
        classification: Classification | None,
        publicly_available: bool,
    ) -> Filing:
        """File a report on one content, once.

        Raises:
            NotReportableError: if nobody looked, or the decision was not to remove.
            AlreadyFiledError: if it was filed here before.
            InputError: if NCMEC's schema would refuse it; nothing has been sent.
            RefusedReportError, TransportError: what was opened has been retracted.
        """
        check_basis(basis)
        document = report_xml(report)
        details = FileDetails(
            report.urls[0],
            basis.looked,
            publicly_available=publicly_available,
            classification=classification,
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        filing = self._start(content_key, basis.decided_by)
        report_id = ""
        try:
            report_id = self._tipline.open(document)
            self._note(filing, FilingState.OPENED, report_id)
            file_id = self._tipline.add_file(report_id, content)
            self._tipline.describe_file(file_xml(report_id, file_id, details))
            self._tipline.finish(report_id)
        except UnspreadError as error:
            self._take_back(filing, report_id, str(error))
            raise
        self._note(filing, FilingState.FILED, report_id)
        self._store.audit(
            basis.decided_by, f"filed a report ({self._environment})", report_id, self._clock()
        )
        return self.of(content_key)[-1]

    def _take_back(self, filing: int, report_id: str, why: str) -> None:
        state = FilingState.FAILED
        if report_id:
            try:
                self._tipline.retract(report_id)
                state = FilingState.RETRACTED
            except UnspreadError:
                why += "; it could not be retracted, and NCMEC deletes it after a day"
        self._note(filing, state, report_id, why)

    def _start(self, content_key: str, by: str) -> int:
        now = time_text(self._clock())

        def work(connection: sqlite3.Connection) -> int | None:
            connection.execute(
                "UPDATE cybertip_reports SET state = 'failed', error = ? WHERE at < ?"
                " AND state IN ('started', 'opened')",
                (INTERRUPTED, time_text(self._clock() - UNFINISHED_LASTS)),
            )
            row = connection.execute(
                "INSERT INTO cybertip_reports (content_key, state, environment, by, at)"
                " VALUES (?, 'started', ?, ?, ?) ON CONFLICT DO NOTHING RETURNING filing",
                (content_key, self._environment, by, now),
            ).fetchone()
            return None if row is None else int(row[0])

        filing = self._store.write(work)
        if filing is None:
            raise AlreadyFiledError("this has been reported, or is being reported")
        return filing

    def _note(self, filing: int, state: FilingState, report_id: str, error: str = "") -> None:
        self._store.write(
            lambda c: c.execute(
                "UPDATE cybertip_reports SET state = ?, report_id = ?, error = ? WHERE filing = ?",
                (state, report_id, error, filing),
            )
        )

    def of(self, content_key: str) -> list[Filing]:
        """What was filed or tried for one content, oldest first."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM cybertip_reports WHERE content_key = ? ORDER BY filing",
                (content_key,),
            ).fetchall()
        )
        return [
            Filing(
                row["filing"],
                FilingState(row["state"]),
                row["environment"],
                row["report_id"],
                row["by"],
                row["error"],
            )
            for row in rows
        ]
