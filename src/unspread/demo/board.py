"""A small picture board where anyone can post: the demo's sample platform.

It holds what a platform holds (posts and files) and asks the platform kit about each upload over
HTTP, as any platform would. When the kit says that something already posted must go, it goes.
"""

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import jinja2
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unspread.errors import TransportError, TrustError
from unspread.fingerprint.files import HEAD_BYTES, sniff

MAX_UPLOAD_BYTES: Final = 200 * 1024 * 1024
MAX_CAPTION_CHARACTERS: Final = 200
POSTS_SHOWN: Final = 60

_HEADERS: Final = {
    b"content-security-policy": (
        b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True, slots=True)
class Post:
    """One post. `media_type` is what the sniffed bytes are, not what the uploader said."""

    post_id: str
    posted_at: str
    caption: str
    media_type: str
    removed_at: str | None

    @property
    def is_video(self) -> bool:
        """Whether the post shows as a video."""
        return self.media_type.startswith("video/")


class Posts:
    """The board's own storage: a row for each post, a file beside it."""

    def __init__(self, directory: Path) -> None:
        self._media = directory / "media"
        self._media.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(directory / "board.sqlite3", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS post (id TEXT PRIMARY KEY, posted_at TEXT NOT NULL,"
            " caption TEXT NOT NULL, media_type TEXT NOT NULL, removed_at TEXT)"
        )
        self._database.commit()

    def path(self, post_id: str) -> Path:
        """Where a post's file lies."""
        return self._media / post_id

    def add(self, post_id: str, caption: str, media_type: str, content: bytes) -> None:
        """Keep a post. File first: a row without its file would show as broken."""
        partial = self._media / f"{post_id}.part"
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.path(post_id))
        with self._database:
            self._database.execute(
                "INSERT INTO post VALUES (?, ?, ?, ?, NULL)",
                (post_id, _now(), caption, media_type),
            )

    def remove(self, post_id: str) -> bool:
        """Take a post down. Whether there was one; doing it again changes nothing."""
        with self._database:
            found = self._database.execute(
                "UPDATE post SET removed_at = coalesce(removed_at, ?) WHERE id = ?",
                (_now(), post_id),
            ).rowcount
        self.path(post_id).unlink(missing_ok=True)
        return found > 0

    def get(self, post_id: str) -> Post | None:
        """A post, also one that has been taken down."""
        row = self._database.execute("SELECT * FROM post WHERE id = ?", (post_id,)).fetchone()
        return Post(*row) if row else None

    def latest(self) -> list[Post]:
        """The newest posts, newest first."""
        rows = self._database.execute(
            "SELECT * FROM post ORDER BY posted_at DESC, id LIMIT ?", (POSTS_SHOWN,)
        )
        return [Post(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """What the kit answered about an upload; `message` is for the person who posts."""

    accepted: bool
    status: int
    message: str
    body: dict[str, object]


Scan = Callable[[bytes, str], Awaitable[ScanAnswer]]
"""Asks the platform kit about an upload: its bytes and the reference it will have if accepted."""

VerifyWebhook = Callable[[bytes, Mapping[str, str]], dict[str, object]]
"""The body of a webhook, if the platform kit signed it; else raises TrustError."""


def scan_over_http(url: str, headers: dict[str, str]) -> Scan:
    """Ask the kit at `url`. What cannot be asked is refused: an error is seen, a miss is not."""

    async def scan(content: bytes, reference: str) -> ScanAnswer:
        try:
            async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                response = await client.post(
                    url, content=content, params={"reference": reference}, headers=headers
                )
        except httpx.HTTPError as error:
            return ScanAnswer(
                False,
                503,
                "The check is not available. Try again later.",
                {"error": type(error).__name__},
            )
        try:
            body = response.json()
        except ValueError:
            raise TransportError("the scan service did not answer in JSON") from None
        return ScanAnswer(
            response.is_success, response.status_code, _explained(response.status_code, body), body
        )

    return scan


def _explained(status: int, body: dict[str, object]) -> str:
    if body.get("decision") in {"refuse", "hold", "remove"}:
        return (
            "This was not posted: it matches a picture or video that somebody asked platforms "
            "to keep off the internet. If you think this is a mistake, tell the moderators."
        )
    if status in {429, 503}:
        return "The check is busy. Try again in a moment."
    return f"This was not posted. {body.get('reason', 'It is not a picture or video.')}"


def in_front_of(kit: ASGIApp, board: ASGIApp) -> ASGIApp:
    """One server for both: `/` and `/board/…` are the board's, all else (`/scan`, …) the kit's."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        own = path == "/" or path.startswith("/board/")
        await (board if own else kit)(scope, receive, send)

    return app


def create_app(
    posts: Posts, scan: Scan, verify_webhook: VerifyWebhook, clearinghouse_url: str
) -> Starlette:
    """The board, at `/` and `/board/…`."""
    here = Path(__file__).parent
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(here / "templates"), autoescape=True)

    def board_page(message: str = "", status: int = 200) -> HTMLResponse:
        page = pages.get_template("board.html").render(
            posts=posts.latest(), message=message, clearinghouse_url=clearinghouse_url
        )
        return HTMLResponse(page, status)

    async def show(request: Request) -> Response:
        if _wants_json(request):
            listed = await asyncio.to_thread(posts.latest)
            return JSONResponse({"posts": [_as_json(each) for each in listed]})
        return await asyncio.to_thread(board_page)

    async def add(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_UPLOAD_BYTES:
            return _answered(request, board_page, 413, "Files of up to 200 MB can be posted.")
        async with request.form(max_files=1, max_fields=2) as form:
            upload = form.get("file")
            caption = str(form.get("caption", ""))[:MAX_CAPTION_CHARACTERS]
            content = await upload.read() if isinstance(upload, UploadFile) else b""
        if not content:
            return _answered(request, board_page, 400, "Choose a picture or a video first.")
        post_id = secrets.token_hex(8)
        answer = await scan(content, post_id)
        if not answer.accepted:
            return _answered(request, board_page, answer.status, answer.message, answer.body)
        await asyncio.to_thread(
            posts.add, post_id, caption, sniff(content[:HEAD_BYTES]).media_type, content
        )
        if _wants_json(request):
            return JSONResponse({"post": post_id}, 201)
        return Response(status_code=303, headers={"location": "/"})

    async def media(request: Request) -> Response:
        post = await asyncio.to_thread(posts.get, request.path_params["post_id"])
        if post is None or post.removed_at:
            return Response("This is not here.", 410 if post else 404, media_type="text/plain")
        return FileResponse(posts.path(post.post_id), media_type=post.media_type)

    async def take_down(request: Request) -> Response:
        try:
            body = verify_webhook(await request.body(), request.headers)
        except TrustError as error:
            return JSONResponse({"message": str(error)}, 403)
        reference = str(body["reference"])
        if body.get("action") == "remove":
            await asyncio.to_thread(posts.remove, reference)
        return JSONResponse({"done": True})

    return Starlette(
        routes=[
            Route("/", show),
            Route("/board/posts", add, methods=["POST"]),
            Route("/board/media/{post_id}", media),
            Route("/board/unspread", take_down, methods=["POST"]),
            Mount("/board/static", StaticFiles(directory=here / "static")),
        ],
        middleware=[Middleware(_SafeHeaders)],
    )


class _SafeHeaders:
    """Sets the board's headers on whatever has no policy of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                missing = [each for each in _HEADERS.items() if each[0] not in present]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, with_headers)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _as_json(post: Post) -> dict[str, object]:
    return {
        "post": post.post_id,
        "posted_at": post.posted_at,
        "caption": post.caption,
        "removed_at": post.removed_at,
    }


def _answered(
    request: Request,
    board_page: Callable[[str, int], HTMLResponse],
    status: int,
    message: str,
    body: dict[str, object] | None = None,
) -> Response:
    if _wants_json(request):
        return JSONResponse({"message": message, **({"scan": body} if body else {})}, status)
    return board_page(message, status)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
