"""The page on which a lead drafts and files a report."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, UnspreadError
from unspread.platform_kit.cybertip.filing import Filings
from unspread.platform_kit.cybertip.report import (
    Annotation,
    Basis,
    Classification,
    IncidentType,
    Report,
    Reporter,
    report_xml,
)
from unspread.platform_kit.cybertip.settings import CyberTipSettings
from unspread.platform_kit.pages import HEADERS, to
from unspread.platform_kit.review.content import Content, NoContentError
from unspread.platform_kit.review.desk import Desk, Form, status_of
from unspread.platform_kit.review.records import Records
from unspread.platform_kit.review.rules import Task, Vote, settled
from unspread.platform_kit.review.signin import Reviewer
from unspread.platform_kit.store import Verdict

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class CyberTipPages:
    """Drafting and filing, for leads."""

    def __init__(
        self,
        records: Records,
        desk: Desk,
        content: Content,
        *,
        settings: CyberTipSettings,
        people: int,
        filings: Filings | None,
        clock: Callable[[], datetime],
    ) -> None:
        """`people`: how many must agree to remove; `filings`: None without credentials."""
        self._records = records
        self._desk = desk
        self._content = content
        self._settings = settings
        self._people = people
        self._filings = filings
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """`/review/report`."""
        return [
            # By POST also to show it: a key in an address would stand in logs.
            Route("/review/report", self._desk.staff(self._act, lead=True), methods=["POST"]),
        ]

    def _task(self, form: Form) -> Task:
        waiting = self._records.waiting(self._clock())
        task = next((each for each in waiting if each.key == form.get("key", "")), None)
        if task is None:
            raise NoContentError("that one is decided already, or its listing was withdrawn")
        return task

    def _page(self, who: Reviewer, task: Task, message: str = "", status: int = 200) -> Response:
        listing = self._records.listing(task.first)
        return self._desk.pages.page(
            "cybertip.html",
            status,
            who=who,
            task=task,
            message=message,
            age=listing.age.value if listing is not None else "not known",
            looked=self._records.has_looked(task.shown.key, who.reviewer),
            environment="production" if self._settings.production else "test",
            can_file=self._filings is not None,
            filings=self._filings.of(task.shown.key) if self._filings is not None else [],
            incidents=[each.value for each in IncidentType],
            annotations=[each.value for each in Annotation],
            classifications=[each.value for each in Classification],
            urls="\n".join(
                hold.reference for hold in task.holds if hold.reference.startswith("http")
            ),
        )

    def _act(self, who: Reviewer, form: Form) -> Response:
        task = self._task(form)
        if form.get("do") == "show":
            return self._page(who, task)
        try:
            report = self._report(form)
            if form.get("do") != "file":
                headers = HEADERS | {"content-disposition": 'attachment; filename="report.xml"'}
                return Response(report_xml(report), media_type="text/xml", headers=headers)
            self._file(who, task, report, form)
        except UnspreadError as error:
            return self._page(who, task, str(error), status_of(error))
        return to("/review")

    def _file(self, who: Reviewer, task: Task, report: Report, form: Form) -> None:
        if self._filings is None:
            raise InputError("there are no credentials of NCMEC's here")
        looked = self._records.has_looked(task.shown.key, who.reviewer)
        mine = Vote(who.reviewer, Verdict.REMOVE, None, looked)
        others = [each for each in self._records.votes(task.key) if each.reviewer != who.reviewer]
        decided = settled([*others, mine], self._people)
        removed = decided is not None and decided.verdict is Verdict.REMOVE
        chosen = form.get("classification", "")
        self._filings.file(
            task.shown.key,
            Basis(who.name, looked, removed),
            report,
            self._content.read(task.first.reference),
            classification=Classification(chosen) if chosen in set(Classification) else None,
            publicly_available=form.get("public") == "yes",
        )
        self._records.vote(
            task, Verdict.REMOVE, None, reviewer=who.reviewer, by=who.name, at=self._clock()
        )

    def _report(self, form: Form) -> Report:
        try:
            incident = IncidentType(form.get("incident", ""))
            at = datetime.strptime(form.get("at", "").strip(), _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise InputError("choose what happened; a time is 2026-11-23T05:00:00Z") from None
        return Report(
            incident,
            at,
            Reporter(self._settings.first_name, self._settings.last_name, self._settings.email),
            tuple(line.strip() for line in form.get("urls", "").splitlines() if line.strip()),
            reported_user=form.get("user", ""),
            annotations=frozenset(
                each for each in Annotation if form.get(f"a_{each.value}") == "yes"
            ),
            escalate=form.get("escalate", ""),
            additional_info=form.get("info", ""),
        )
