"""The door to all pages for staff: nobody passes without a session, no form from elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from unspread.errors import InputError, StateError, UnspreadError
from unspread.platform_kit.pages import (
    HEADERS,
    ForeignFormError,
    Pages,
    check_same_origin,
    limited_body,
    to,
)
from unspread.platform_kit.review.signin import LONGEST, Reviewer, Role, SignIn, SignInError

SIGN_IN: Final = "/review/sign-in"

Form = Mapping[str, str]
Handler = Callable[[Reviewer, Form], Response]
"""Answers a request of somebody who is signed in. Runs in a thread: it may block."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """Sessions in a cookie, and endpoints that need one."""

    def __init__(self, sign_in: SignIn, pages: Pages, origin: str) -> None:
        """`origin`: over https the cookie is bound to the host and never sent without TLS."""
        self.sign_in = sign_in
        self.pages = pages
        self._secure = origin.startswith("https://")
        self._cookie = "__Host-review" if self._secure else "review"

    def start(self, response: Response, session: str) -> Response:
        """Put a session into the browser."""
        response.set_cookie(
            self._cookie,
            session,
            max_age=int(LONGEST.total_seconds()),
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    def session(self, request: Request) -> str:
        """The session's text that a browser sent, or an empty one."""
        return request.cookies.get(self._cookie, "")

    def staff(self, handler: Handler, *, lead: bool = False) -> Endpoint:
        """An endpoint for those who are signed in, or only for leads."""

        async def endpoint(request: Request) -> Response:
            try:
                form = await read_form(request)
                return await asyncio.to_thread(answer, self.session(request), form)
            except SignInError:
                return to(SIGN_IN)
            except UnspreadError as error:
                return self._problem(request, error)

        def answer(session: str, form: Form) -> Response:
            who = self.sign_in.who(session)
            if lead and who.role is not Role.LEAD:
                raise ForbiddenError("this needs a lead")
            return handler(who, form)

        return endpoint

    def _problem(self, request: Request, error: UnspreadError) -> Response:
        status = status_of(error)
        if request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"message": str(error)}, status, headers=HEADERS)
        return self.pages.page("problem.html", status, text=str(error))


class ForbiddenError(StateError):
    """Signed in, but not with this right."""


def status_of(error: UnspreadError) -> int:
    """The HTTP status for an error that a page shows."""
    match error:
        case ForbiddenError() | ForeignFormError():
            return HTTPStatus.FORBIDDEN
        case SignInError():
            return HTTPStatus.UNAUTHORIZED
        case InputError():
            return HTTPStatus.BAD_REQUEST
        case StateError():
            return HTTPStatus.CONFLICT
        case _:
            return HTTPStatus.BAD_GATEWAY


async def read_form(request: Request) -> Form:
    """The fields of a query, a form, or a JSON object of texts and numbers.

    Raises:
        ForeignFormError: if a form was sent from another site.
        InputError: if it is anything else.
    """
    if request.method == "GET":
        return dict(request.query_params)
    check_same_origin(request.headers)
    body = await limited_body(request)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = msgspec.json.decode(body, type=dict[str, str | int | float])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InputError("not a JSON object of texts") from None
        return {name: str(value) for name, value in fields.items()}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
    except (UnicodeDecodeError, ValueError):
        raise InputError("not a form") from None
