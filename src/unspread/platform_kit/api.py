"""The HTTP interface: what an upload path calls. Docs: docs/platform/http.md.

Nothing here touches the database on the event loop, and nothing decides: `Kit` does.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from unspread.errors import (
    InputError,
    StateError,
    TransportError,
    UnreadableMediaError,
    UnspreadError,
)
from unspread.model import VALUE_BYTES, Kind, Level, Media, Part
from unspread.platform_kit.access import AccessError, KeyRecord, Scope
from unspread.platform_kit.accounts import Posting
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.kit import Kit, ScanAnswer
from unspread.platform_kit.policy import Decision, Match, response_to
from unspread.platform_kit.scanner import BusyError

_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""Larger uploads are kept in a file without a name."""
_MAX_JSON_BYTES: Final = 4 * 1024 * 1024
_PROBES_ON_LOOP: Final = 100
"""More are looked up beside the event loop."""
RETRY_AFTER_SECONDS: Final = 2
ACCOUNT_HEADER: Final = "unspread-account"
"""Names the account that posts the content, by any text that is the same for the same account."""
POSTED_ON_HEADER: Final = "unspread-posted-on"
"""The day on which content was posted; today if not said."""

_STATUS: Final = {"accept": 200, "hold": 409, "refuse": 406, "unreadable": 422, "unavailable": 503}


class TooLargeError(InputError):
    """The body is larger than the settings allow."""


class MatchText(msgspec.Struct, frozen=True):
    """One match in an answer."""

    list: str
    listing_id: int
    level: Level
    kind: Kind
    part: Part
    distance_bits: int
    variant: str
    at_seconds: float | None
    matched_frames: int
    frames: int
    action: str
    shadow: bool


class ScanText(msgspec.Struct, frozen=True):
    """The answer of `POST /scan`."""

    decision: str
    checked: bool
    reason: str
    rule: str | None
    list: str | None
    listing_id: int | None
    level: Level | None
    distance_bits: int | None
    media: Media | None
    quality: int | None
    notes: tuple[str, ...]
    stale: bool
    matches: tuple[MatchText, ...]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fingerprint to look up: exactly one of the three, in hex."""

    pdq: str | None = None
    sha256: str | None = None
    md5: str | None = None


class LookupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /lookup`."""

    queries: list[Query]
    lists: list[str] | None = None
    """Match against these alone."""


class LookupAnswer(msgspec.Struct, frozen=True):
    """Its answer: the matches of each query, in order, nearest first."""

    results: list[tuple[MatchText, ...]]


class ForgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /catalogue/forget`."""

    references: list[str]


class ListText(msgspec.Struct, frozen=True):
    """One list in `/health/ready`."""

    name: str
    loaded: bool
    stale: bool
    enabled: bool
    shadow: bool
    size: int
    checked_at: datetime | None
    problem: str


class ReadyText(msgspec.Struct, frozen=True):
    """The answer of `/health/ready`."""

    ready: bool
    busy: bool
    rows: int
    lists: tuple[ListText, ...]


class Recorded(msgspec.Struct, frozen=True):
    """The answer of `POST /catalogue`."""

    recorded: bool
    matches: int


class Forgotten(msgspec.Struct, frozen=True):
    """The answer of `POST /catalogue/forget`."""

    forgotten: int


class LiveText(msgspec.Struct, frozen=True):
    """The answer of `/health/live`."""

    live: bool


class Problem(msgspec.Struct, frozen=True):
    """What is wrong: a stable name, and a text for people."""

    code: str
    message: str


class ProblemText(msgspec.Struct, frozen=True):
    """The answer to a request that cannot be served."""

    error: Problem


_lookup_decoder: Final = msgspec.json.Decoder(LookupRequest)
_forget_decoder: Final = msgspec.json.Decoder(ForgetRequest)
_encoder: Final = msgspec.json.Encoder()


def json_response(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON answer."""
    return Response(_encoder.encode(value), status, headers, "application/json")


def error_response(error: UnspreadError) -> Response:
    """The answer to a request that cannot be served; the text is for people."""
    headers: dict[str, str] = {}
    if isinstance(error, AccessError):
        status = error.status
        if status == 401:
            headers["www-authenticate"] = 'Bearer realm="unspread"'
        if error.retry_after_seconds is not None:
            headers["retry-after"] = str(error.retry_after_seconds)
    elif isinstance(error, TooLargeError):
        status = 413
    elif isinstance(error, UnreadableMediaError):
        status = 422
    elif isinstance(error, InputError):
        status = 400
    elif isinstance(error, TransportError):
        status = 503
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    else:
        status = 409 if isinstance(error, StateError) else 500
    code = type(error).__name__.removesuffix("Error")
    return json_response(ProblemText(Problem(code, str(error))), status, headers)


Handler = Callable[[Request], Awaitable[Response]]


def answering_errors(handler: Handler) -> Handler:
    """The handler, with refusals as answers."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except UnspreadError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=499)

    return answered


def allow(kit: Kit, request: Request, scope: Scope) -> KeyRecord:
    """The key of a request.

    Raises:
        AccessError: if it has none that allows this.
    """
    return kit.keys.allow(request.headers.get("authorization"), scope)


async def received(request: Request, most: int, directory: Path) -> bytes | Path:
    """The body: bytes when small, else a file in `directory` that the caller deletes.

    Raises:
        TooLargeError: as soon as more than `most` bytes have come.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    waiting = size = 0
    spool: _Spool | None = None
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise _too_large(most)  # noqa: TRY301 - the spool is cleared below
            parts.append(chunk)
            waiting += len(chunk)
            if waiting > _IN_MEMORY_BYTES:
                if spool is None:
                    spool = await asyncio.to_thread(_Spool, directory)
                await asyncio.to_thread(spool.write, parts)
                parts, waiting = [], 0
        if spool is None:
            return b"".join(parts)
        await asyncio.to_thread(spool.write, parts)
        await asyncio.to_thread(spool.close)
    except BaseException:
        if spool is not None:
            spool.discard()
        raise
    return spool.path


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"up to {most} bytes are taken")


class _Spool:
    """A large upload on its way to a file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=directory)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, parts: list[bytes]) -> None:
        self._file.writelines(parts)

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


async def _json_body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAX_JSON_BYTES:
            raise _too_large(_MAX_JSON_BYTES)
        parts.append(chunk)
    return b"".join(parts)


def match_text(kit: Kit, match: Match) -> MatchText:
    """A match as answers say it."""
    settings = kit.lists[match.list_name]
    return MatchText(
        match.list_name,
        match.listing_id,
        match.level,
        match.kind,
        match.part,
        match.distance_bits,
        match.variant,
        match.at_seconds,
        match.matched_frames,
        match.frames,
        response_to(match, settings),
        settings.shadow,
    )


def scan_text(kit: Kit, answer: ScanAnswer) -> ScanText:
    """An answer as JSON says it."""
    match = answer.match
    return ScanText(
        answer.decision,
        answer.checked,
        answer.reason,
        answer.rule,
        None if match is None else match.list_name,
        None if match is None else match.listing_id,
        None if match is None else match.level,
        None if match is None else match.distance_bits,
        answer.media,
        answer.quality,
        answer.notes,
        answer.stale,
        tuple(match_text(kit, each) for each in answer.matches),
    )


def probe_of(query: Query) -> Probe:
    """A query as the bank takes it.

    Raises:
        InputError: unless it has exactly one value in canonical hex.
    """
    given = [
        (kind, text)
        for kind, text in (
            (Kind.PDQ, query.pdq),
            (Kind.SHA256, query.sha256),
            (Kind.MD5, query.md5),
        )
        if text is not None
    ]
    if len(given) != 1:
        raise InputError("a query has one of pdq, sha256, md5")
    kind, text = given[0]
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise InputError(f"a {kind} is written in hex") from None
    if len(value) != VALUE_BYTES[kind] or value.hex() != text:
        raise InputError(f"a {kind} has {2 * VALUE_BYTES[kind]} small hex digits")
    return Probe(kind, value)


def _posting(request: Request) -> Posting:
    # In headers, not in the address: addresses are logged.
    headers = request.headers
    return Posting.from_text(headers.get(ACCOUNT_HEADER, ""), headers.get(POSTED_ON_HEADER, ""))


class Interface:
    """The endpoints of one kit."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._spool = kit.settings.data / "spool"

    async def scan(self, request: Request) -> Response:
        """`POST /scan`"""
        kit = self._kit
        allow(kit, request, Scope.SCAN)
        async with self._media(request) as media:
            reference = request.query_params.get("reference")
            answer = await kit.scan(media, reference, _posting(request))
        status = 200 if answer.accepted else _STATUS[answer.decision]
        if answer.decision == Decision.HOLD and request.query_params.get("hold") == "accept":
            status = 202
        headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else None
        return json_response(scan_text(kit, answer), status, headers)

    async def look_up(self, request: Request) -> Response:
        """`POST /lookup`"""
        kit = self._kit
        allow(kit, request, Scope.LOOKUP)
        body = await _json_body(request)
        try:
            wanted = _lookup_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(str(error)) from None
        if len(wanted.queries) > kit.settings.max_lookup_queries:
            raise InputError(f"up to {kit.settings.max_lookup_queries} queries at once")
        if not kit.is_loaded:
            raise BusyError("no list is loaded yet")
        lists = kit.lists
        if wanted.lists is not None:
            lists = {name: each for name, each in lists.items() if name in wanted.lists}
        kit.metrics.lookups.inc(len(wanted.queries))

        def answer() -> Response:
            probes = [probe_of(each) for each in wanted.queries]
            results = [
                tuple(match_text(kit, match) for match in kit.look_up([probe], lists))
                for probe in probes
            ]
            return json_response(LookupAnswer(results))

        if len(wanted.queries) > _PROBES_ON_LOOP:
            return await asyncio.to_thread(answer)
        return answer()

    async def remember(self, request: Request) -> Response:
        """`POST /catalogue`"""
        allow(self._kit, request, Scope.CATALOGUE)
        async with self._media(request) as media:
            reference = request.query_params.get("reference", "")
            matches = await self._kit.remember(media, reference, _posting(request))
        return json_response(Recorded(recorded=True, matches=matches))

    async def forget(self, request: Request) -> Response:
        """`POST /catalogue/forget`"""
        kit = self._kit
        key = allow(kit, request, Scope.CATALOGUE)
        try:
            wanted = _forget_decoder.decode(await _json_body(request))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(str(error)) from None
        count = len(wanted.references)
        await kit.forget(wanted.references)
        await asyncio.to_thread(
            kit.store.audit, key.name, "forget content", str(count), kit.clock()
        )
        return json_response(Forgotten(count))

    async def live(self, _: Request) -> Response:
        """`GET /health/live`"""
        alive = self._kit.is_running
        return json_response(LiveText(alive), 200 if alive else 503)

    async def ready(self, _: Request) -> Response:
        """`GET /health/ready`"""
        kit = self._kit
        lists = tuple(ListText(**asdict(each)) for each in kit.health())
        body = ReadyText(kit.is_loaded, kit.scanner.is_busy, len(kit.bank), lists)
        return json_response(body, 200 if kit.is_loaded else 503)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`"""
        kit = self._kit
        allow(kit, request, Scope.METRICS)
        for each in kit.health():
            kit.metrics.list_stale.labels(each.name).set(each.stale)
        info = await asyncio.to_thread(kit.bank.info)
        kit.metrics.match_kernel.labels(info.kernel).set(1)
        kit.metrics.index_waiting.set(info.waiting)
        kit.metrics.index_removed.set(info.removed)
        kit.metrics.index_memory.set(info.memory_bytes)
        text = await asyncio.to_thread(kit.metrics.to_text)
        return Response(text, media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def _media(self, request: Request) -> AsyncIterator[bytes | Path]:
        # Before the body is read: a kit that cannot scan takes nothing in.
        if self._kit.scanner.is_busy:
            raise BusyError("all scan workers are busy")
        media = await received(request, self._kit.settings.max_upload_bytes, self._spool)
        try:
            yield media
        finally:
            if isinstance(media, Path):
                await asyncio.to_thread(media.unlink, missing_ok=True)


def routes(kit: Kit) -> list[BaseRoute]:
    """The interface of one kit."""
    interface = Interface(kit)
    return [
        Route(path, answering_errors(handler), methods=[method])
        for path, handler, method in (
            ("/scan", interface.scan, "POST"),
            ("/lookup", interface.look_up, "POST"),
            ("/catalogue", interface.remember, "POST"),
            ("/catalogue/forget", interface.forget, "POST"),
            ("/health/live", interface.live, "GET"),
            ("/health/ready", interface.ready, "GET"),
            ("/metrics", interface.metrics, "GET"),
        )
    ]
