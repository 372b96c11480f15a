"""The review queue in a browser. Server-rendered; scripts only show, time and sign in."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, UnspreadError
from unspread.model import Reason
from unspread.platform_kit.pages import HEADERS, check_same_origin, limited_body, to
from unspread.platform_kit.review.content import Content, NoContentError, media_type
from unspread.platform_kit.review.desk import Desk, Form, status_of
from unspread.platform_kit.review.records import Records
from unspread.platform_kit.review.rules import (
    ContentKey,
    ReviewerId,
    ReviewSettings,
    Task,
    next_task,
)
from unspread.platform_kit.review.signin import Reviewer, Role
from unspread.platform_kit.store import Store, Verdict

REASONS: Final = (
    (Reason.DIFFERENT_CONTENT, "It is something else than what the list means"),
    (Reason.NOT_INTIMATE, "It shows nothing intimate"),
    (Reason.PUBLIC_INTEREST, "It is of public interest"),
    (Reason.LAWFUL_ORDER, "A lawful order says so"),
    (Reason.WELL_KNOWN_CONTENT, "It is well known: a meme, a logo, a test picture"),
    (Reason.OTHER, "Another reason"),
)

VERDICTS: Final = {
    Verdict.REMOVE: "removed",
    Verdict.KEEP: "kept",
    Verdict.DISPUTE: "kept, and disputed",
}

LONGEST_VIEW_SECONDS: Final = 600.0
"""Longer ones are a lost key-up event, not a look."""


class ReviewPages:
    """Pages for those who decide."""

    def __init__(
        self,
        store: Store,
        records: Records,
        desk: Desk,
        *,
        content: Content,
        settings: ReviewSettings,
        clock: Callable[[], datetime],
        reports: bool = False,
    ) -> None:
        """`reports`: whether /review/report is there."""
        self._store = store
        self._records = records
        self._desk = desk
        self._content = content
        self._settings = settings
        self._clock = clock
        self._reports = reports
        self._skipped: dict[ReviewerId, set[ContentKey]] = {}

    def routes(self) -> list[BaseRoute]:
        """Everything under /review that needs a session, and the way to one."""
        staff = self._desk.staff
        return [
            Route("/review", staff(self._show)),
            Route("/review/decide", staff(self._decide), methods=["POST"]),
            Route("/review/content", staff(self._reveal), methods=["POST"]),
            Route("/review/seen", staff(self._seen), methods=["POST"]),
            Route("/review/apart", staff(self._apart), methods=["POST"]),
            Route("/review/decided", staff(self._decided)),
            Route("/review/take-back", staff(self._take_back), methods=["POST"]),
            Route("/review/people", staff(self._people, lead=True)),
            Route("/review/people/invite", staff(self._invite, lead=True), methods=["POST"]),
            Route("/review/people/close", staff(self._close, lead=True), methods=["POST"]),
            Route("/review/sign-in", self._sign_in),
            Route("/review/sign-out", self._sign_out, methods=["POST"]),
            Route("/review/passkey/{step}", self._passkey, methods=["POST"]),
        ]

    # The queue

    def _show(self, who: Reviewer, form: Form) -> Response:
        return self._page(who)

    def _page(self, who: Reviewer, message: str = "", status: int = 200) -> Response:
        now = self._clock()
        waiting = self._records.waiting(now)
        task = self._open_next(who, waiting, now)
        exposure = self._records.exposure(who.reviewer, now)
        return self._desk.pages.page(
            "task.html",
            status,
            who=who,
            task=task,
            waiting=len(waiting),
            age=self._age(task),
            reasons=[(reason.value, text) for reason, text in REASONS],
            people=self._settings.people,
            exposure=exposure,
            may_look=exposure.may_look(self._settings),
            settings=self._settings,
            message=message,
            reports=self._reports,
            last=next(
                (each for each in self._records.decisions() if who.reviewer in each.reviewers), None
            ),
            verdicts=VERDICTS,
        )

    def _open_next(self, who: Reviewer, waiting: list[Task], now: datetime) -> Task | None:
        voted = self._records.voted(who.reviewer)
        busy = self._records.busy(who.reviewer, now)
        skipped = self._skipped.get(who.reviewer, set())
        while True:
            task = next_task(waiting, voted, busy, skipped)
            if task is None or self._records.open(task.key, who.reviewer, now):
                return task
            busy.add(task.key)

    def _age(self, task: Task | None) -> str:
        if task is None:
            return ""
        listing = self._records.listing(task.first)
        return "not known" if listing is None else listing.age.value

    def _task(self, form: Form) -> Task | None:
        key = form.get("key", "")
        waiting = self._records.waiting(self._clock())
        return next((each for each in waiting if each.key == key), None)

    def _decide(self, who: Reviewer, form: Form) -> Response:
        task = self._task(form)
        if task is None:
            return self._page(who, "That one is decided already, or its listing was withdrawn.")
        choice = form.get("verdict", "")
        if choice == "skip":
            self._skipped.setdefault(who.reviewer, set()).add(task.key)
            return to("/review")
        try:
            verdict = Verdict(choice)
            reason = None if verdict is Verdict.REMOVE else Reason(form.get("reason", ""))
        except ValueError:
            raise InputError("choose a decision, and a reason to keep or dispute") from None
        self._records.vote(
            task, verdict, reason, reviewer=who.reviewer, by=who.name, at=self._clock()
        )
        return to("/review")

    def _reveal(self, who: Reviewer, form: Form) -> Response:
        now = self._clock()
        task = self._task(form)
        if task is None:
            raise NoContentError("that one is decided already")
        if not self._records.exposure(who.reviewer, now).may_look(self._settings):
            raise NoContentError("you have reached today's limit: decide without looking")
        content = self._content.read(task.first.reference)
        kind = media_type(content)
        # Counted before it is sent: a view that is not counted must not happen.
        self._records.record_view(who.reviewer, task.shown.key, now)
        self._store.audit(who.name, "looked", task.first.action_id, now)
        headers = HEADERS | {"content-security-policy": "default-src 'none'; sandbox"}
        return Response(content, media_type=kind, headers=headers)

    def _seen(self, who: Reviewer, form: Form) -> Response:
        try:
            seconds = float(form.get("seconds", ""))
        except ValueError:
            raise InputError("seconds is a number") from None
        if not seconds >= 0:
            raise InputError("seconds is not negative")
        self._records.record_seconds(
            who.reviewer, ContentKey(form.get("key", "")), min(seconds, LONGEST_VIEW_SECONDS)
        )
        return Response(status_code=204, headers=HEADERS)

    def _apart(self, who: Reviewer, form: Form) -> Response:
        task = self._task(form)
        if task is None:
            return self._page(who, "That one is decided already, or its listing was withdrawn.")
        self._records.set_apart(task, ContentKey(form.get("copy", "")), who.name, self._clock())
        return to("/review")

    # What was decided

    def _decided(self, who: Reviewer, form: Form) -> Response:
        return self._desk.pages.page(
            "decided.html",
            who=who,
            decisions=self._records.decisions(),
            verdicts=VERDICTS,
            reasons=dict(REASONS),
            lead=who.role is Role.LEAD,
        )

    def _take_back(self, who: Reviewer, form: Form) -> Response:
        only = form.get("copy")
        self._records.take_back(
            ContentKey(form.get("key", "")),
            ContentKey(only) if only else None,
            who,
            self._clock(),
        )
        return to("/review")

    # People

    def _people(self, who: Reviewer, form: Form) -> Response:
        return self._people_page(who)

    def _people_page(
        self, who: Reviewer, *, message: str = "", invitation: str = "", invited: str = ""
    ) -> Response:
        now = self._clock()
        return self._desk.pages.page(
            "people.html",
            who=who,
            people=[
                (each, self._records.exposure(each.reviewer, now))
                for each in self._desk.sign_in.reviewers()
            ],
            message=message,
            invitation=invitation,
            invited=invited,
        )

    def _invite(self, who: Reviewer, form: Form) -> Response:
        name = form.get("name", "").strip()
        try:
            role = Role(form.get("role", ""))
        except ValueError:
            raise InputError("choose a role") from None
        text = self._desk.sign_in.invite(name, role)
        self._store.audit(who.name, f"invited a {role}", "review", self._clock())
        return self._people_page(who, invitation=text, invited=name)

    def _close(self, who: Reviewer, form: Form) -> Response:
        number = form.get("reviewer", "")
        if not number.isdecimal():
            raise InputError("choose an account")
        self._desk.sign_in.close(ReviewerId(int(number)), who.name)
        return to("/review/people")

    # Signing in and out

    async def _sign_in(self, request: Request) -> Response:
        return self._desk.pages.page("signin.html")

    async def _sign_out(self, request: Request) -> Response:
        check_same_origin(request.headers)
        await asyncio.to_thread(self._desk.sign_in.sign_out, self._desk.session(request))
        return to("/review/sign-in")

    async def _passkey(self, request: Request) -> Response:
        try:
            check_same_origin(request.headers)
            try:
                sent = json.loads(await limited_body(request))
            except (ValueError, RecursionError):
                raise InputError("not JSON") from None
            if not isinstance(sent, dict):
                raise InputError("not a JSON object")
            return await asyncio.to_thread(self._step, request.path_params["step"], sent)
        except UnspreadError as error:
            return JSONResponse({"message": str(error)}, status_of(error), headers=HEADERS)

    def _step(self, step: str, sent: dict[str, object]) -> Response:
        sign_in = self._desk.sign_in
        invitation = str(sent.get("invitation", ""))
        match step:
            case "make-options":
                return JSONResponse(sign_in.registration(invitation), headers=HEADERS)
            case "use-options":
                return JSONResponse(sign_in.authentication(), headers=HEADERS)
            case "make":
                credential = sent.get("credential")
                if not isinstance(credential, dict):
                    raise InputError("no passkey came along")
                session = sign_in.register(invitation, credential)
            case "use":
                session = sign_in.authenticate(sent)
            case _:
                raise InputError("there is no such step")
        return self._desk.start(JSONResponse({"done": True}, headers=HEADERS), session)
