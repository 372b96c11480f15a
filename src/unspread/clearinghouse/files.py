"""Serves the log and the feed as the static files that they are."""

import asyncio
import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError
from unspread.feed.blobs import DirectoryBlobs, MissingBlobError

_CHANGING: Final = ("log/checkpoint", "/latest")
FOREVER: Final = "public, max-age=31536000, immutable"
A_DAY: Final = "public, max-age=86400"
"""Of sealed segments: one may be erased, and then caches forget it within a day."""


def routes(blobs: DirectoryBlobs) -> list[BaseRoute]:
    """`/log/…` and `/feed/…`."""

    async def file(request: Request) -> Response:
        path = request.url.path.lstrip("/")
        try:
            if path.endswith(_CHANGING):
                return await _changing(request, blobs, path)
            found = blobs.file(path)
        except (MissingBlobError, InputError):
            return _missing()
        if not found.is_file():
            return _missing()
        lasting = FOREVER if path.startswith("log/") else A_DAY
        headers = {"cache-control": lasting, "x-content-type-options": "nosniff"}
        return FileResponse(found, headers=headers, media_type="application/octet-stream")

    return [
        Route("/log/{path:path}", file, methods=["GET"]),
        Route("/feed/{path:path}", file, methods=["GET"]),
    ]


def _missing() -> Response:
    return Response("not found", 404, {"cache-control": "no-store"}, "text/plain")


async def _changing(request: Request, blobs: DirectoryBlobs, path: str) -> Response:
    body = await asyncio.to_thread(blobs.get, path)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"cache-control": "no-cache", "etag": etag, "x-content-type-options": "nosniff"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="text/plain; charset=utf-8")
