"""The part of Hasher-Matcher-Actioner's REST interface that its callers use.

Read from facebook/ThreatExchange, hasher-matcher-actioner/src/OpenMediaMatch/blueprints, and from
the callers in roostorg/coop (server/services/hmaService) and the Ruby gem
hasher-matcher-actioner-api. What differs, on purpose: a picture without a usable hash gives no
hash, not an empty one; the turned and mirrored picture is looked up too; nothing can be changed
here but which name a caller has for a list.
"""

import json
import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, StateError, TransportError, UnspreadError
from unspread.model import VALUE_BYTES, Kind, Media
from unspread.platform_kit.access import AccessError, Scope
from unspread.platform_kit.api import allow
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.hooks.fetch import fetch
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.pages import limited_body
from unspread.platform_kit.policy import Match, response_to
from unspread.platform_kit.scanner import BusyError, Scanned
from unspread.platform_kit.settings import Response as Answer

SIGNAL_TYPES: Final = {
    "pdq": Kind.PDQ,
    "video_md5": Kind.MD5,
    "md5": Kind.MD5,
    "sha256": Kind.SHA256,
}
_HASHED_AS: Final = {Media.IMAGE: "pdq", Media.VIDEO: "video_md5"}
_NO_DISTANCE: Final = "-"
"""What HMA answers in the place of a distance where there is none (threatexchange,
signal_type/index.py, `NO_DISTANCE_STR`)."""
_CONTENT_TYPES: Final = frozenset({"photo", "video"})
_FORM_BYTES: Final = 4096
"""What a multipart form adds to the file in it."""
_BANK_NAME: Final = re.compile(r"[A-Z0-9_]{1,255}")

SCHEMA: Final = (
    "CREATE TABLE hma_banks (name TEXT PRIMARY KEY, list_name TEXT NOT NULL) WITHOUT ROWID",
)
"""Names that callers gave to lists, besides the lists' own."""


class UnknownBankError(StateError):
    """No list is known by this name."""


def bank_name(list_name: str) -> str:
    """A list's name as HMA writes names of banks: capitals, digits and underscores."""
    return re.sub(r"_+", "_", re.sub(r"[^A-Z0-9]", "_", list_name.upper())).strip("_")


class Hma:
    """HMA's endpoints, answered from the kit's bank."""

    def __init__(self, kit: Kit, client: httpx.AsyncClient) -> None:
        """The client is the caller's to close."""
        self._kit = kit
        self._client = client
        kit.store.migrate("hma", SCHEMA)

    def routes(self) -> list[BaseRoute]:
        """The paths that HMA has for them."""
        both, one = ["GET", "POST"], ["GET", "PUT", "DELETE"]
        return [
            Route("/status", self._status),
            Route("/status/live", self._live),
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/h/hash", self._answering(self._hash), methods=both),
            Route("/m/lookup", self._answering(self._lookup), methods=both),
            Route("/m/raw_lookup", self._answering(self._raw_lookup)),
            Route("/c/banks", self._answering(self._banks), methods=both),
            Route("/c/bank/{name}", self._answering(self._bank), methods=one),
        ]

    def _answering(
        self, handler: Callable[[Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if not self._kit.settings.hma.without_key:
                    allow(self._kit, request, Scope.LOOKUP)
                return JSONResponse(await handler(request))
            except UnspreadError as error:
                return JSONResponse({"message": str(error)}, _status_of(error))

        return endpoint

    async def _status(self, request: Request) -> Response:
        if not self._kit.is_loaded:
            return PlainTextResponse("INDEX-NOT-LOADED", 503)
        if self._kit.is_stale:
            return PlainTextResponse("INDEX-STALE", 503)
        return PlainTextResponse("I-AM-ALIVE")

    async def _live(self, request: Request) -> Response:
        return PlainTextResponse("I-AM-ALIVE")

    async def _livez(self, request: Request) -> Response:
        return PlainTextResponse("OK")

    async def _readyz(self, request: Request) -> Response:
        answer = await self._status(request)
        return answer if answer.status_code != HTTPStatus.OK else PlainTextResponse("READY")

    # Hashing

    async def _media(self, request: Request) -> bytes:
        most = self._kit.settings.max_upload_bytes
        if request.method == "GET":
            url = request.query_params.get("url", "")
            if not url:
                raise InputError("url is required")
            return await fetch(self._client, url, self._kit.settings.fetch_hosts, most)
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > most + _FORM_BYTES:
            raise InputError(f"up to {most} bytes are taken, and their number must be said")
        try:
            async with request.form(max_files=1, max_fields=10) as form:
                return await _file_of(form)
        except HTTPException as error:
            raise InputError(f"Only one file allowed per request ({error.detail})") from None

    async def _scanned(self, request: Request) -> Scanned:
        return await self._kit.scanner.scan(await self._media(request))

    async def _hash(self, request: Request) -> dict[str, str]:
        return _wanted(await self._scanned(request), request)

    # Looking up

    async def _lookup(self, request: Request) -> dict[str, Any]:
        banks = _banks_asked(request)
        if request.method == "GET" and "url" not in request.query_params:
            return self._by_bank(self._matches([_signal(request)]), banks)
        scanned = await self._scanned(request)
        found: dict[str, Any] = {}
        for name in _wanted(scanned, request):
            probes = [each for each in scanned.probes if each.kind is SIGNAL_TYPES[name]]
            found[name] = self._by_bank(self._matches(probes), banks)
        only = request.query_params.get("signal_type") if request.method == "GET" else None
        return found if only is None else found.get(only, {})

    async def _raw_lookup(self, request: Request) -> dict[str, Any]:
        matches, banks = self._matches([_signal(request)]), _banks_asked(request)
        if banks is not None:
            lists = {list_name for name, list_name in self._names().items() if name in banks}
            matches = [each for each in matches if each.list_name in lists]
        if request.query_params.get("include_distance", "").lower() in {"true", "1"}:
            return {"matches": [_match(each) for each in matches]}
        return {"matches": [content_id(each) for each in matches]}

    def _matches(self, probes: Sequence[Probe]) -> list[Match]:
        if not self._kit.is_loaded:
            raise BusyError("index not yet ready")
        self._kit.metrics.lookups.inc()
        lists = self._kit.lists
        return [
            match
            for match in self._kit.look_up(probes)
            if match.distance_bits <= lists[match.list_name].radius_bits
            and response_to(match, lists[match.list_name]) is not Answer.IGNORE
        ]

    def _by_bank(
        self, matches: Sequence[Match], banks: frozenset[str] | None
    ) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        if not matches:
            return found
        for name, list_name in self._names().items():
            if banks is not None and name not in banks:
                continue
            of_list = [_match(match) for match in matches if match.list_name == list_name]
            if of_list:
                found[name] = of_list
        return found

    # Banks: lists, under the names that callers have for them

    def _names(self) -> dict[str, str]:
        rows = self._kit.store.read(lambda c: c.execute("SELECT * FROM hma_banks").fetchall())
        own = {bank_name(name): name for name in self._kit.lists}
        return own | {row["name"]: row["list_name"] for row in rows}

    async def _banks(self, request: Request) -> Any:
        if request.method == "GET":
            return [_bank(name) for name in sorted(self._names())]
        try:
            sent = json.loads(await limited_body(request))
        except (ValueError, RecursionError):
            raise InputError("not JSON") from None
        name = str(sent.get("name", "")) if isinstance(sent, dict) else ""
        if not _BANK_NAME.fullmatch(name):
            raise InputError("a bank's name has capitals, digits and underscores")
        for list_name in self._kit.lists:
            own = bank_name(list_name)
            if name == own or name.endswith(f"_{own}"):
                self._give_name(name, list_name)
                return _bank(name)
        known = ", ".join(bank_name(each) for each in self._kit.lists) or "none yet"
        raise InputError(f"name the bank after a list that is followed here: {known}")

    def _give_name(self, name: str, list_name: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO hma_banks VALUES (?, ?)", (name, list_name))

        self._kit.store.write(work)

    async def _bank(self, request: Request) -> Any:
        name = request.path_params["name"]
        if name not in self._names():
            raise UnknownBankError("no bank has this name")
        if request.method == "PUT":
            raise InputError("how a list is applied is set in platform.toml")
        if request.method == "DELETE":
            self._kit.store.write(
                lambda c: c.execute("DELETE FROM hma_banks WHERE name = ?", (name,))
            )
            return {"message": "Done"}
        return _bank(name)


def content_id(match: Match) -> int:
    """HMA's number of what matched: unique over all lists, and safe in JavaScript (53 bits)."""
    return match.list_number << 40 | int(match.listing_id)


def signals(scanned: Scanned) -> dict[str, str]:
    """What HMA would call the hashes of media: `pdq` of a picture, `video_md5` of a video."""
    name = _HASHED_AS[scanned.media]
    kind = SIGNAL_TYPES[name]
    upright = [each for each in scanned.probes if each.kind is kind and each.variant == "original"]
    return {name: upright[0].value.hex()} if upright else {}


def _wanted(scanned: Scanned, request: Request) -> dict[str, str]:
    found, types = signals(scanned), request.query_params.get("types")
    if types is None:
        return found
    wanted = [each.strip() for each in types.split(",") if each.strip()]
    known = _HASHED_AS[scanned.media]
    if not wanted or any(each != known for each in wanted):
        raise InputError(f"a signal type in `types` does not exist or is not of this: {known} is")
    return found


def _banks_asked(request: Request) -> frozenset[str] | None:
    """The banks to which a caller restricts a search; None if to none."""
    banks = request.query_params.get("banks")
    return frozenset(banks.split(",")) if banks else None


async def _file_of(form: FormData) -> bytes:
    files = [(name, each) for name, each in form.items() if isinstance(each, UploadFile)]
    if not files:
        raise InputError("Missing multipart/form-data file upload")
    name, upload = files[0]
    if name not in _CONTENT_TYPES:
        raise InputError("no such content_type: photo and video are known")
    return await upload.read()


def _signal(request: Request) -> Probe:
    name = request.query_params.get("signal_type", "")
    kind = SIGNAL_TYPES.get(name)
    if kind is None:
        raise InputError("No such SignalType: pdq, video_md5, md5 and sha256 are known")
    try:
        value = bytes.fromhex(request.query_params.get("signal", ""))
    except ValueError:
        value = b""
    if len(value) != VALUE_BYTES[kind]:
        raise InputError(f"invalid signal: a {name} has {2 * VALUE_BYTES[kind]} hex digits")
    return Probe(kind, value)


def _match(match: Match) -> dict[str, Any]:
    distance = str(match.distance_bits) if match.kind is Kind.PDQ else _NO_DISTANCE
    return {"bank_content_id": content_id(match), "distance": distance}


def _bank(name: str) -> dict[str, Any]:
    return {"name": name, "matching_enabled_ratio": 1.0}


def _status_of(error: UnspreadError) -> int:
    match error:
        case AccessError():
            return error.status
        case UnknownBankError():
            return 404
        case InputError():
            return 400
        case TransportError():
            return 503
        case _:
            return 409
