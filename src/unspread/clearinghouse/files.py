"""Serves the log, the feed and the policies as the static files that they are."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from unspread.clearinghouse.settings import Settings
from unspread.errors import InputError, TransportError
from unspread.feed.blobs import BlobStore, DirectoryBlobs, MissingBlobError, ObjectBlobs

_CHANGING: Final = ("log/checkpoint", "/latest")
FOREVER: Final = "public, max-age=31536000, immutable"
A_DAY: Final = "public, max-age=86400"
"""Of sealed segments: one may be erased, and then caches forget it within a day."""
_PART_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")


def public_blobs(settings: Settings) -> BlobStore:
    """Where what is published is kept.

    Raises:
        InputError: if it names an object store that cannot be used.
    """
    if settings.store_url:
        return ObjectBlobs.from_url(settings.store_url)
    return DirectoryBlobs(settings.blobs)


def routes(blobs: BlobStore) -> list[BaseRoute]:
    """`/log/…`, `/feed/…` and `/policy/…`."""

    async def file(request: Request) -> Response:
        path = request.url.path.lstrip("/")
        try:
            if path.endswith(_CHANGING):
                return await _changing(request, blobs, path)
            return await _lasting(request, blobs, path)
        except (MissingBlobError, InputError):
            return Response("not found", 404, {"cache-control": "no-store"}, "text/plain")
        except TransportError:
            return Response("try again", 503, {"cache-control": "no-store"}, "text/plain")

    return [
        Route(f"/{prefix}/{{path:path}}", file, methods=["GET"])
        for prefix in ("log", "feed", "policy")
    ]


async def _lasting(request: Request, blobs: BlobStore, path: str) -> Response:
    length = await asyncio.to_thread(blobs.length_bytes, path)
    headers = {
        "cache-control": A_DAY if path.startswith("feed/") else FOREVER,
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
    }
    start, stop, status = 0, length, 200
    # Only what a fetcher asks that goes on where its connection broke (RFC 9110, section 14).
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match:
        start, stop = int(match[1]), min(int(match[2] or length) + 1, length)
        if start >= stop:
            return Response(status_code=416, headers={"content-range": f"bytes */{length}"})
        headers["content-range"] = f"bytes {start}-{stop - 1}/{length}"
        status = 206
    headers["content-length"] = str(stop - start)
    # The first part before any header is sent: a file may go at any time.
    first = await asyncio.to_thread(blobs.part, path, start, min(start + _PART_BYTES, stop))

    async def body() -> AsyncIterator[bytes]:
        yield first
        for at in range(start + _PART_BYTES, stop, _PART_BYTES):
            yield await asyncio.to_thread(blobs.part, path, at, min(at + _PART_BYTES, stop))

    return StreamingResponse(body(), status, headers, "application/octet-stream")


async def _changing(request: Request, blobs: BlobStore, path: str) -> Response:
    body = await asyncio.to_thread(blobs.get, path)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"cache-control": "no-cache", "etag": etag, "x-content-type-options": "nosniff"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="text/plain; charset=utf-8")
