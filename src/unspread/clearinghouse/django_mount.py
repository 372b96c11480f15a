"""Django inside the ASGI application: its WSGI handler on a few threads of its own.

Sync views under a WSGI handler cost 0.13 to 0.23 ms of CPU; under Django's ASGI handler, several
times that. Requests and answers are small here, so both are passed whole.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unspread.errors import InputError

MAX_BODY_BYTES: Final = 256 * 1024
"""Of a form sent to a page; fingerprints go to /v1/cases."""


class BodyTooLargeError(InputError):
    """More was sent than is taken here."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The request's body.

    Raises:
        BodyTooLargeError: as soon as more than `max_bytes` are announced or arrive.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise BodyTooLargeError(f"at most {max_bytes} bytes are taken here")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise BodyTooLargeError(f"at most {max_bytes} bytes are taken here")
        parts.append(part)
    return b"".join(parts)


def _environ(scope: Scope, body: bytes, extra: dict[str, Any]) -> dict[str, Any]:
    """PEP 3333's description of the request. It names no client address: no view needs one."""
    server = scope.get("server") or ("127.0.0.1", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("ascii"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **extra,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name == "CONTENT_LENGTH":
            continue
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


class DjangoMount:
    """An ASGI application that answers with a WSGI one."""

    def __init__(
        self,
        wsgi: Callable[[dict[str, Any], Any], Iterable[bytes]],
        *,
        threads: int = 4,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """`extra` is added to each request's environ (in Django: `request.META`)."""
        self._wsgi = wsgi
        self._extra = extra or {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="django")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            body = await read_body(request, MAX_BODY_BYTES)
        except BodyTooLargeError:
            response = Response("too large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            environ = _environ(scope, body, self._extra)
            response = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, environ
            )
        await response(scope, receive, send)

    def _answer(self, environ: dict[str, Any]) -> Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], *_error: object
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return lambda _data: None

        chunks = self._wsgi(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        status, headers = started[-1]
        response = Response(body, int(status.split(" ", 1)[0]))
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        if not any(name == b"content-length" for name, _ in response.raw_headers):
            response.raw_headers.append((b"content-length", str(len(body)).encode()))
        return response

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
