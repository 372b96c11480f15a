"""The public form, its interface for programs, and the pages of those who decide."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, UnspreadError
from unspread.platform_kit.notices.answers import Answers
from unspread.platform_kit.notices.record import (
    NoSuchNoticeError,
    Notice,
    NoticeId,
    Record,
    TooManyError,
)
from unspread.platform_kit.notices.rules import (
    Lack,
    Need,
    Request,
    Status,
    Step,
    by_deadline,
    lacks,
)
from unspread.platform_kit.notices.settings import NoticeSettings
from unspread.platform_kit.notices.statement import (
    REFUSAL_TEXTS,
    Ground,
    Redress,
    Refusal,
    for_removal,
)
from unspread.platform_kit.notices.texts import LACKS, NEEDS, STATUSES, STEPS
from unspread.platform_kit.pages import HEADERS, Pages, limited_body, to
from unspread.platform_kit.review.desk import Desk, Form, read_form, status_of
from unspread.platform_kit.review.signin import Reviewer

MAX_COPIES: Final = 500
"""Shown and removed in one step; a notice with more is worked in several."""


class Copies(Protocol):
    """Finds known copies of content."""

    def __call__(self, reference: str) -> Sequence[tuple[str, int]]:
        """(reference, distance in bits) of every known copy, nearest first."""
        ...


class NoticeText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/notices`."""

    signature: str
    locations: list[str]
    good_faith: bool
    contact: str
    description: str = ""
    on_behalf: bool = False
    relation: str = ""

    def request(self) -> Request:
        """The request.

        Raises:
            InputError: if a field is too long.
        """
        return Request(
            self.signature,
            tuple(self.locations),
            self.good_faith,
            self.contact,
            self.description,
            self.on_behalf,
            self.relation,
        )


class CompletedText(NoticeText, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/notices/complete`: the whole notice again, and its number."""

    number: str


class AppealText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/notices/appeal`, by who sent the notice."""

    number: str
    text: str


class NumberText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/notices/status` and `/withdraw`."""

    number: str


@dataclass(frozen=True, slots=True)
class _Given:
    """What stands in the form's fields."""

    locations: str = ""
    description: str = ""
    good_faith: bool = False
    contact: str = ""
    on_behalf: bool = False
    relation: str = ""
    signature: str = ""

    @classmethod
    def of(cls, form: Form) -> "_Given":
        return cls(
            form.get("locations", ""),
            form.get("description", ""),
            form.get("good_faith") == "yes",
            form.get("contact", ""),
            form.get("on_behalf") == "yes",
            form.get("relation", ""),
            form.get("signature", ""),
        )

    @classmethod
    def again(cls, request: Request) -> "_Given":
        return cls(
            "\n".join(request.locations),
            request.description,
            request.good_faith,
            request.contact,
            request.on_behalf,
            request.relation,
            request.signature,
        )

    def request(self) -> Request:
        lines = tuple(line.strip() for line in self.locations.splitlines() if line.strip())
        return Request(
            self.signature.strip(),
            lines,
            self.good_faith,
            self.contact.strip(),
            self.description.strip(),
            self.on_behalf,
            self.relation.strip(),
        )


PublicHandler = Callable[[Form], Response]


class PublicPages:
    """For people without an account."""

    def __init__(
        self,
        record: Record,
        pages: Pages,
        settings: NoticeSettings,
        answers: Answers,
        clock: Callable[[], datetime],
    ) -> None:
        self._record = record
        self._pages = pages
        self._settings = settings
        self._answers = answers
        self._hosts = frozenset(settings.hosts)
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """The form under /notices, and the same for programs under /v1/notices."""
        return [
            Route("/notices", self._form),
            Route("/notices", self._public(self._receive), methods=["POST"]),
            Route("/notices/status", self._open),
            Route("/notices/status", self._public(self._status), methods=["POST"]),
            Route("/notices/complete", self._public(self._complete), methods=["POST"]),
            Route("/notices/withdraw", self._public(self._withdraw), methods=["POST"]),
            Route("/notices/appeal", self._appeal_form),
            Route("/notices/appeal", self._public(self._appeal), methods=["POST"]),
            Route("/notices/appeal/answer", self._public(self._answer), methods=["POST"]),
            Route("/v1/notices", self._api(NoticeText, self._api_receive), methods=["POST"]),
            Route("/v1/notices/status", self._api(NumberText, self._api_status), methods=["POST"]),
            Route(
                "/v1/notices/withdraw",
                self._api(NumberText, self._api_withdraw),
                methods=["POST"],
            ),
            Route(
                "/v1/notices/complete",
                self._api(CompletedText, self._api_complete),
                methods=["POST"],
            ),
            Route("/v1/notices/appeal", self._api(AppealText, self._api_appeal), methods=["POST"]),
        ]

    # Pages

    def _public(self, handler: PublicHandler) -> Callable[[HttpRequest], Any]:
        async def endpoint(request: HttpRequest) -> Response:
            try:
                form = await read_form(request)
                return await asyncio.to_thread(handler, form)
            except NoSuchNoticeError as error:
                return self._pages.page("notice_open.html", 404, problem=str(error))
            except UnspreadError as error:
                status = _status(error)
                return self._pages.page("problem.html", status, text=str(error))

        return endpoint

    async def _form(self, request: HttpRequest) -> Response:
        return self._form_page(_Given())

    def _form_page(
        self,
        given: _Given,
        missing: dict[Need, Lack] | None = None,
        problem: str = "",
        status: int = 200,
    ) -> Response:
        return self._pages.page(
            "notice_form.html",
            status,
            settings=self._settings,
            given=given,
            lacks=_texts(missing or {}),
            problem=problem,
        )

    def _receive(self, form: Form) -> Response:
        given = _Given.of(form)
        request = given.request()
        missing = lacks(request, self._hosts)
        if missing:
            # Nothing is recorded yet: whoever is still typing has not sent a notice.
            problem = "Something is lacking. Your notice has not been sent yet."
            return self._form_page(given, missing, problem, 400)
        number, notice = self._record.receive(request, self._clock())
        return self._status_page(notice, number, fresh=True, status=201)

    async def _open(self, request: HttpRequest) -> Response:
        return self._pages.page("notice_open.html", problem="")

    def _status(self, form: Form) -> Response:
        number = form.get("number", "")
        return self._status_page(self._record.by_tracking(number), number)

    def _status_page(
        self, notice: Notice, number: str, *, fresh: bool = False, status: int = 200
    ) -> Response:
        request = self._record.request(notice.notice_id)
        return self._pages.page(
            "notice_status.html",
            status,
            notice=notice,
            standing=notice.standing,
            number=number,
            fresh=fresh,
            given=_Given.again(request) if request is not None else _Given(),
            lacks=_texts(dict(notice.standing.lacks)),
            answer=self._answer_to(notice),
            confirmed=self._record.confirmed(notice),
            written=self._written(notice),
            steps=STEPS,
            problem="",
        )

    def _written(self, notice: Notice) -> dict[int, str]:
        """What the platform wrote, by the number of the step; nobody else's words."""
        texts = {line.text_digest: text for line, text in self._record.texts(notice.notice_id)}
        return {
            number: texts[line.text_digest]
            for number, line in enumerate(notice.lines, start=1)
            if line.text_digest in texts and line.by not in {"requester", "poster"}
        }

    def _answer_to(self, notice: Notice) -> str:
        return self._answers.answer(notice, self._written(notice).get(len(notice.lines), ""))

    def _complete(self, form: Form) -> Response:
        number = form.get("number", "")
        notice = self._record.by_tracking(number)
        request = _Given.of(form).request()
        return self._status_page(
            self._record.complete(notice.notice_id, request, self._clock()), number
        )

    def _withdraw(self, form: Form) -> Response:
        number = form.get("number", "")
        notice = self._record.by_tracking(number)
        return self._status_page(self._record.withdraw(notice.notice_id, self._clock()), number)

    async def _appeal_form(self, request: HttpRequest) -> Response:
        return self._appeal_page()

    def _appeal_page(
        self, *, problem: str = "", done: bool = False, answer: str = "", status: int = 200
    ) -> Response:
        return self._pages.page(
            "notice_appeal.html",
            status,
            settings=self._settings,
            problem=problem,
            done=done,
            answer=answer,
        )

    def _answer(self, form: Form) -> Response:
        try:
            notice = self._record.by_appeal_code(form.get("code", ""))
        except NoSuchNoticeError as error:
            return self._appeal_page(problem=str(error), status=404)
        return self._appeal_page(answer=self._answer_to_poster(notice))

    def _answer_to_poster(self, notice: Notice) -> str:
        steps = [line.step for line in notice.lines]
        if Step.POSTER_APPEALED not in steps:
            return "Nobody has appealed with this code."
        if notice.standing.appealed_at is not None:
            return "Your appeal waits for an answer."
        asked = max(at for at, step in enumerate(steps) if step is Step.POSTER_APPEALED)
        answered = notice.lines[asked + 1]
        words = [text for line, text in self._record.texts(notice.notice_id) if line == answered]
        return " ".join([STEPS[answered.step] + ".", *words])

    def _appeal(self, form: Form) -> Response:
        text, now = form.get("text", ""), self._clock()
        if "number" in form:
            number = form["number"]
            notice = self._record.by_tracking(number)
            return self._status_page(
                self._record.appeal(notice.notice_id, text, now, poster=False), number
            )
        try:
            notice = self._record.by_appeal_code(form.get("code", ""))
        except NoSuchNoticeError as error:
            return self._appeal_page(problem=str(error), status=404)
        self._record.appeal(notice.notice_id, text, now, poster=True)
        return self._appeal_page(done=True)

    # For programs: hotlines that sign for many people

    def _api(
        self, kind: type[msgspec.Struct], handler: Callable[[Any], Response]
    ) -> Callable[[HttpRequest], Any]:
        async def endpoint(request: HttpRequest) -> Response:
            try:
                body = await limited_body(request)
                try:
                    sent = msgspec.json.decode(body, type=kind)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    raise InputError("not the JSON that docs/platform/notices.md shows") from None
                return await asyncio.to_thread(handler, sent)
            except UnspreadError as error:
                status = 404 if isinstance(error, NoSuchNoticeError) else _status(error)
                return JSONResponse(
                    {"error": {"message": str(error)}}, status, headers=_retry(status)
                )

        return endpoint

    def _api_receive(self, sent: NoticeText) -> Response:
        number, notice = self._record.receive(sent.request(), self._clock())
        return JSONResponse({"number": number, **self._as_json(notice)}, 201, headers=HEADERS)

    def _api_status(self, sent: NumberText) -> Response:
        return self._json(self._record.by_tracking(sent.number))

    def _api_withdraw(self, sent: NumberText) -> Response:
        notice = self._record.by_tracking(sent.number)
        return self._json(self._record.withdraw(notice.notice_id, self._clock()))

    def _api_complete(self, sent: CompletedText) -> Response:
        notice = self._record.by_tracking(sent.number)
        return self._json(self._record.complete(notice.notice_id, sent.request(), self._clock()))

    def _api_appeal(self, sent: AppealText) -> Response:
        notice = self._record.by_tracking(sent.number)
        return self._json(
            self._record.appeal(notice.notice_id, sent.text, self._clock(), poster=False)
        )

    def _json(self, notice: Notice) -> Response:
        return JSONResponse(self._as_json(notice), headers=HEADERS)

    def _as_json(self, notice: Notice) -> dict[str, Any]:
        now, written = notice.standing, self._written(notice)
        declined = now.status is Status.DECLINED and notice.refusal is not None
        return {
            "status": now.status,
            "received_at": notice.received_at.isoformat(),
            "deadline": now.deadline.isoformat() if now.deadline is not None else None,
            "lacks": dict(now.lacks),
            "removed": len(notice.removed),
            "removal_confirmed": self._record.confirmed(notice),
            "reason": notice.refusal if declined else None,
            "appealed": now.appealed_at is not None,
            "answer": self._answer_to(notice),
            "steps": [
                {"at": line.at.isoformat(), "step": line.step, "text": written.get(number)}
                for number, line in enumerate(notice.lines, start=1)
            ],
        }


class StaffPages:
    """For those who decide, behind review's door."""

    def __init__(
        self,
        record: Record,
        desk: Desk,
        settings: NoticeSettings,
        *,
        copies: Copies,
        appeal_at: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._record = record
        self._desk = desk
        self._settings = settings
        self._copies = copies
        self._appeal_at = appeal_at
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Everything under /review/notices."""
        staff = self._desk.staff
        steps: dict[str, Callable[[Reviewer, Notice, Form], Response]] = {
            "find": self._find,
            "remove": self._remove,
            "remove-all": self._remove_all,
            "incomplete": self._incomplete,
            "decline": self._decline,
            "answer": self._answer,
        }
        made: list[BaseRoute] = [
            Route("/review/notices", staff(self._list)),
            Route("/review/notices/export", staff(self._export, lead=True)),
            Route("/review/notices/{notice:int}", self._numbered(self._show)),
            Route(
                "/review/notices/{notice:int}/erase",
                self._numbered(self._erase, lead=True),
                methods=["POST"],
            ),
        ]
        made.extend(
            Route(f"/review/notices/{{notice:int}}/{name}", self._numbered(step), methods=["POST"])
            for name, step in steps.items()
        )
        return made

    def _numbered(
        self, handler: Callable[[Reviewer, Notice, Form], Response], *, lead: bool = False
    ) -> Callable[[HttpRequest], Any]:
        async def endpoint(request: HttpRequest) -> Response:
            notice_id = NoticeId(request.path_params["notice"])

            def found(who: Reviewer, form: Form) -> Response:
                return handler(who, self._record.get(notice_id), form)

            return await self._desk.staff(found, lead=lead)(request)

        return endpoint

    def _list(self, who: Reviewer, form: Form) -> Response:
        now = self._clock()
        notices = {str(each.notice_id): each for each in self._record.waiting()}
        order = by_deadline((name, each.standing) for name, each in notices.items())
        return self._desk.pages.page(
            "notices.html",
            who=who,
            waiting=[notices[name] for name in order],
            unconfirmed=[
                (each, self._text_of(each.standing.remaining_while_up(each.removed_at, now)))
                for each in self._record.unconfirmed()
                if each.removed_at is not None
            ],
            decided=self._record.decided(),
            now=now,
            left=self._left,
        )

    def _left(self, notice: Notice) -> str:
        return self._text_of(notice.standing.remaining(self._clock()))

    def _text_of(self, left: timedelta) -> str:
        sign = "-" if left < timedelta() else ""
        minutes = int(abs(left).total_seconds()) // 60
        return f"{sign}{minutes // 60} h {minutes % 60:02} min"

    def _show(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        return self._page(who, notice)

    def _page(
        self,
        who: Reviewer,
        notice: Notice,
        *,
        found: Sequence[tuple[str, int | None]] | None = None,
        typed: Sequence[str] = (),
        message: str = "",
    ) -> Response:
        request = self._record.request(notice.notice_id)
        places = []
        for at, address in enumerate(request.locations if request is not None else ()):
            guess = self._settings.reference_in(address) or ""
            places.append((address, typed[at] if at < len(typed) else guess))
        statement = notice.statement
        return self._desk.pages.page(
            "notice.html",
            who=who,
            notice=notice,
            request=request,
            places=places,
            found=found,
            message=message,
            texts=self._record.texts(notice.notice_id),
            confirmed=self._record.confirmed(notice),
            statement=statement.to_text() if statement is not None else "",
            appeal_code=self._record.appeal_code(notice.notice_id),
            now=self._clock(),
            left=self._left,
            statuses=STATUSES,
            steps=STEPS,
            needs=NEEDS,
            refusals=REFUSAL_TEXTS,
        )

    def _find(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        typed = [form.get(f"r{at}", "").strip() for at in range(1, len(form) + 1)]
        found = self._known(typed)
        return self._page(who, notice, found=list(found.items()), typed=typed)

    def _known(self, typed: Sequence[str]) -> dict[str, int | None]:
        """What is named and its known copies, with the distance of each copy in bits."""
        named = [each for each in typed if each]
        if not named:
            raise InputError("type the reference of what the notice names")
        found: dict[str, int | None] = dict.fromkeys(named)
        for reference in named:
            for copy, distance in self._copies(reference):
                if len(found) < MAX_COPIES:
                    found.setdefault(copy, distance)
        return found

    def _remove_all(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        """Find what is named and its known copies, and remove them, in one step."""
        typed = [form.get(f"r{at}", "").strip() for at in range(1, len(form) + 1)]
        return self._take_down(who, notice, list(self._known(typed)), form)

    def _remove(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        chosen = list(
            dict.fromkeys(
                value for name, value in form.items() if name[:1] == "c" and name[1:].isdecimal()
            )
        )
        return self._take_down(who, notice, chosen, form)

    def _take_down(
        self, who: Reviewer, notice: Notice, chosen: Sequence[str], form: Form
    ) -> Response:
        try:
            ground = Ground(form.get("ground", ""))
        except ValueError:
            raise InputError("choose on what the decision rests") from None
        now = self._clock()
        statement = for_removal(
            count=len(chosen),
            with_copies=len(chosen) > 1,
            ground=ground,
            decided_at=now,
            redress=Redress(self._settings.platform, self._appeal_at, self._settings.complaints),
        )
        self._record.remove(notice.notice_id, chosen, statement, who.name, now)
        return to(f"/review/notices/{notice.notice_id}")

    def _incomplete(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        try:
            need = Need(form.get("need", ""))
        except ValueError:
            raise InputError("choose what is lacking") from None
        lack = Lack.NOT_FOUND if need is Need.LOCATION else Lack.MISSING
        self._record.found_incomplete(notice.notice_id, {need: lack}, who.name, self._clock())
        return to(f"/review/notices/{notice.notice_id}")

    def _decline(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        try:
            refusal = Refusal(form.get("refusal", ""))
        except ValueError:
            raise InputError("choose a reason") from None
        self._record.decline(
            notice.notice_id, refusal, form.get("explanation", ""), who.name, self._clock()
        )
        return to(f"/review/notices/{notice.notice_id}")

    def _answer(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        self._record.answer_appeal(
            notice.notice_id,
            form.get("explanation", ""),
            who.name,
            self._clock(),
            restore=form.get("restore") == "yes",
        )
        return to(f"/review/notices/{notice.notice_id}")

    def _erase(self, who: Reviewer, notice: Notice, form: Form) -> Response:
        self._record.erase_texts(notice.notice_id, who.name, self._clock())
        return to(f"/review/notices/{notice.notice_id}")

    def _export(self, who: Reviewer, form: Form) -> Response:
        text = "".join(f"{line}\n" for line in self._record.export())
        headers = HEADERS | {"content-disposition": 'attachment; filename="notices.jsonl"'}
        return PlainTextResponse(text, headers=headers)


def _texts(missing: dict[Need, Lack]) -> dict[str, str]:
    return {need.value: LACKS[lack] for need, lack in missing.items()}


def _status(error: UnspreadError) -> int:
    if isinstance(error, TooManyError):
        return HTTPStatus.TOO_MANY_REQUESTS
    return status_of(error)


def _retry(status: int) -> dict[str, str]:
    return {**HEADERS, "retry-after": "60"} if status == HTTPStatus.TOO_MANY_REQUESTS else HEADERS
