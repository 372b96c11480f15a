"""The older programmes' addresses: who calls, what they may, what is answered, what is noted.

`/exchange/ncmec/v2/…` (basic authentication), `/exchange/stopncii/v1/…` (two keys in headers),
`/exchange/threatexchange/…` (token in the query). What is said there is decided in
`unspread.exchange`; here are keys, limits, errors and the audit, and no rule.
"""

import asyncio
import base64
import binascii
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from unspread.clearinghouse.exchange_keys import ExchangeKey, KeyStore, Programme, secret_digest
from unspread.errors import InputError, StateError, TransportError, UnspreadError
from unspread.exchange import ncmec, stopncii, threatexchange
from unspread.exchange.listings import (
    ListingSource,
    NotSettledError,
    UnknownListingError,
)

JSON: Final = "application/json"
SETTLE_WAIT_SECONDS: Final = 3.0
"""How long a question into the current second waits for the second to be over."""
SETTLE_POLL_SECONDS: Final = 0.1
KEEP_CALLS_DAYS: Final = 365
"""How long it can be seen what was done with a key."""


class KeyRefusedError(StateError):
    """No key, a wrong one, or one that was revoked."""


class RightMissingError(StateError):
    """The key is good, but not for this."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it is noted: who, what kind, how it ended, how much; no fingerprint, no query."""

    at: int
    key_id: str
    """Empty when no key was accepted."""
    programme: str
    operation: str
    status: int
    records: int


class Audit(Protocol):
    """Where calls are noted. Called from worker threads."""

    def note(self, call: Call) -> None:
        """Keep one call."""
        ...


class AuditFiles:
    """One file a day in a directory that nobody else reads, a line of JSON for each call."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def note(self, call: Call) -> None:
        """Append one line."""
        day = datetime.fromtimestamp(call.at, UTC).date()
        line = json.dumps({field: getattr(call, field) for field in Call.__slots__}) + "\n"
        with self._lock:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path(day).open("a", encoding="utf-8") as file:
                file.write(line)

    def forget_old(self, now: int) -> bool:
        """Delete what is older than `KEEP_CALLS_DAYS`; nothing more is left to do then."""
        today = datetime.fromtimestamp(now, UTC).date()
        oldest = self._path(today - timedelta(days=KEEP_CALLS_DAYS)).name
        for path in self._directory.glob("exchange-????-??-??.jsonl"):
            # ISO dates are in the order of their texts.
            if path.name < oldest:
                path.unlink(missing_ok=True)
        return False

    def _path(self, day: date) -> Path:
        return self._directory / f"exchange-{day.isoformat()}.jsonl"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the routes need."""

    source: ListingSource
    keys: KeyStore
    audit: Audit
    now: Callable[[], float]
    """Seconds since 1970, UTC."""
    url: str
    """Where partners reach this clearinghouse, without a path."""
    name: str = "Clearinghouse"


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    media_type: str
    records: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    """A call, after its key was accepted and its body read."""

    key: ExchangeKey
    request: Request
    body: bytes
    at: datetime

    @property
    def now(self) -> int:
        return int(self.at.timestamp())

    @property
    def params(self) -> Mapping[str, str]:
        return dict(self.request.query_params)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])


def routes(exchange: Exchange) -> list[BaseRoute]:
    """Everything under `/exchange`."""
    door = _Door(exchange)
    return [
        Mount(
            "/exchange",
            routes=[
                Mount("/ncmec", routes=_ncmec_routes(door, exchange)),
                Mount("/stopncii/v1", routes=_stopncii_routes(door, exchange)),
                Mount("/threatexchange", routes=_threatexchange_routes(door, exchange)),
            ],
        )
    ]


class _Door:
    """Checks the key, reads the body, runs the answer in a worker thread, notes the call."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def route(
        self,
        path: str,
        answer: Callable[[_Question], _Answer],
        *,
        wire: "_Wire",
        operation: str,
        right: str = "may_read",
        method: str = "GET",
    ) -> Route:
        """One operation of one programme."""

        async def endpoint(request: Request) -> Response:
            return await self._serve(request, answer, wire, operation, right)

        return Route(path, endpoint, methods=[method], name=f"{wire.name}-{operation}")

    async def _serve(
        self,
        request: Request,
        answer: Callable[[_Question], _Answer],
        wire: "_Wire",
        operation: str,
        right: str,
    ) -> Response:
        now = self._exchange.now()
        key_id = ""
        records = 0
        try:
            key = await run_in_threadpool(wire.key, self._exchange.keys, request, int(now))
            key_id = key.key_id
            if not getattr(key.caller.scope, right):
                raise RightMissingError("this key may not do that: ask the clearinghouse")
            body = await _body(request, wire.max_body_bytes)
            question = _Question(key, request, body, datetime.fromtimestamp(now, UTC))
            given = await self._when_settled(answer, question)
            records = given.records
            response = Response(given.body, media_type=given.media_type)
        except (UnspreadError, ClientDisconnect) as error:
            response = wire.refuse(_status(error), str(error))
        response.headers["Cache-Control"] = "no-store"
        call = Call(int(now), key_id, wire.name, operation, response.status_code, records)
        await run_in_threadpool(self._exchange.audit.note, call)
        return response

    async def _when_settled(
        self, answer: Callable[[_Question], _Answer], question: _Question
    ) -> _Answer:
        deadline = time.monotonic() + SETTLE_WAIT_SECONDS
        while True:
            try:
                return await run_in_threadpool(answer, question)
            except NotSettledError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(SETTLE_POLL_SECONDS)


_STATUSES: Final = (
    (KeyRefusedError, 401),
    (UnknownListingError, 404),
    (NotSettledError, 503),
    (TransportError, 503),
    (StateError, 403),
)


def _status(error: Exception) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise InputError("the document is too large")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class _Wire:
    """How one programme shows a key, and how it words a refusal."""

    name: str
    key: Callable[[KeyStore, Request, int], ExchangeKey]
    error: Callable[[int, str], bytes]
    media_type: str
    max_body_bytes: int
    challenge: str = ""

    def refuse(self, status: int, message: str) -> Response:
        response = Response(self.error(status, message), status, media_type=self.media_type)
        if status == 401 and self.challenge:
            response.headers["WWW-Authenticate"] = self.challenge
        if status == 503:
            response.headers["Retry-After"] = "1"
        return response


def _find(keys: KeyStore, programme: Programme, secret: str, now: int) -> ExchangeKey:
    key = keys.find(secret_digest(secret)) if secret else None
    if key is None or not key.opens(programme, now):
        raise KeyRefusedError("this key opens nothing here: it may have been replaced or revoked")
    return key


# --- NCMEC --------------------------------------------------------------------------------------


def _basic_key(keys: KeyStore, request: Request, now: int) -> ExchangeKey:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    user, _, secret = text.partition(":")
    if scheme.lower() != "basic":
        raise KeyRefusedError("this programme wants a user name and a password")
    key = _find(keys, Programme.NCMEC, secret, now)
    if user != key.partner_id:
        raise KeyRefusedError("the user name is not that of the key")
    return key


def _ncmec_routes(door: _Door, exchange: Exchange) -> Sequence[Route]:
    wire = _Wire(
        "ncmec",
        _basic_key,
        lambda _, message: ncmec.error(message).body,
        ncmec.CONTENT_TYPE,
        ncmec.MAX_BODY_BYTES,
        'Basic realm="hash sharing", charset="UTF-8"',
    )
    source = exchange.source

    def xml(answer: ncmec.XmlAnswer) -> _Answer:
        return _Answer(answer.body, ncmec.CONTENT_TYPE, answer.entries)

    def status(question: _Question) -> _Answer:
        # The programme shows callers their address; ours keeps none, so it shows none.
        return xml(ncmec.status(question.key.caller, "0.0.0.0"))  # noqa: S104 - nothing binds

    def members(_: _Question) -> _Answer:
        return xml(ncmec.members(source))

    def entries(question: _Question) -> _Answer:
        query = ncmec.EntriesQuery.from_params(question.params, now=question.now)
        return xml(ncmec.entries(source, question.key.caller, query))

    def reasons(question: _Question) -> _Answer:
        return xml(ncmec.feedback_reasons(question.path("kind")))

    def feedback(question: _Question) -> _Answer:
        return xml(
            ncmec.give_feedback(
                source,
                question.key.caller,
                name=question.path("entry"),
                kind=question.path("kind"),
                body=question.body,
                at=question.at,
            )
        )

    def fingerprint(question: _Question) -> _Answer:
        body = ncmec.large_fingerprint(
            source, question.key.caller, question.path("entry"), question.path("kind")
        )
        return _Answer(body, "application/octet-stream", 1)

    return [
        door.route("/v2/status", status, wire=wire, operation="status"),
        door.route("/v2/members", members, wire=wire, operation="members"),
        door.route("/v2/entries", entries, wire=wire, operation="entries"),
        door.route("/v2/feedback/{kind}/reasons", reasons, wire=wire, operation="reasons"),
        door.route(
            "/v2/entries/{member:int}/{entry}/{kind}/feedback",
            feedback,
            wire=wire,
            operation="feedback",
            right="may_give_feedback",
            method="PUT",
        ),
        door.route(
            "/v2/entries/{member:int}/{entry}/{kind}",
            fingerprint,
            wire=wire,
            operation="fingerprint",
        ),
    ]


# --- StopNCII -----------------------------------------------------------------------------------


def _two_keys(keys: KeyStore, request: Request, now: int) -> ExchangeKey:
    function_key = _find(keys, Programme.STOPNCII, request.headers.get("x-functions-key", ""), now)
    subscription = request.headers.get("ocp-apim-subscription-key", "")
    whose = _find(keys, Programme.STOPNCII_SUBSCRIPTION, subscription, now)
    if whose.partner_id != function_key.partner_id:
        raise KeyRefusedError("the two keys are not of the same partner")
    return function_key


def _stopncii_routes(door: _Door, exchange: Exchange) -> Sequence[Route]:
    wire = _Wire("stopncii", _two_keys, stopncii.error, JSON, stopncii.MAX_BODY_BYTES)
    source = exchange.source

    def fetch(question: _Question) -> _Answer:
        query = stopncii.HashQuery.from_params(question.params)
        page = stopncii.fetch_hashes(source, question.key.caller, query)
        return _Answer(msgspec.json.encode(page), JSON, page.count)

    def feedback(question: _Question) -> _Answer:
        taken = stopncii.submit_feedback(source, question.key.caller, question.body, question.at)
        return _Answer(stopncii.result(taken), JSON, taken)

    def submit(question: _Question) -> _Answer:
        taken = stopncii.submit_hashes(source, question.key.caller, question.body, question.at)
        return _Answer(stopncii.result(taken), JSON, taken)

    return [
        door.route("/FetchHashes", fetch, wire=wire, operation="fetch"),
        door.route(
            "/SubmitFeedback",
            feedback,
            wire=wire,
            operation="feedback",
            right="may_give_feedback",
            method="POST",
        ),
        door.route(
            "/SubmitHashes",
            submit,
            wire=wire,
            operation="submit",
            right="may_submit",
            method="POST",
        ),
    ]


# --- ThreatExchange -----------------------------------------------------------------------------


def _token_key(keys: KeyStore, request: Request, now: int) -> ExchangeKey:
    app, _, secret = request.query_params.get("access_token", "").partition("|")
    key = _find(keys, Programme.THREATEXCHANGE, secret, now)
    if app != str(threatexchange.app_id(key.member.number)):
        raise KeyRefusedError("the token is not that of this app")
    return key


def _threatexchange_routes(door: _Door, exchange: Exchange) -> Sequence[Route]:
    wire = _Wire("threatexchange", _token_key, threatexchange.error, JSON, 64 << 10)
    source = exchange.source
    group = str(threatexchange.PRIVACY_GROUP)

    def updates(question: _Question) -> _Answer:
        if question.path("group") != group:
            raise UnknownListingError("there is no such privacy group")
        query = threatexchange.UpdatesQuery.from_params(question.params, now=question.now)
        body, count = threatexchange.threat_updates(
            source,
            question.key.caller,
            query,
            now=question.now,
            page_url=f"{exchange.url}/exchange/threatexchange/{group}/threat_updates/",
            params=question.params,
        )
        return _Answer(body, JSON, count)

    def groups(question: _Question) -> _Answer:
        listed = [threatexchange.privacy_group(exchange.name, question.now)]
        return _Answer(msgspec.json.encode({"data": listed}), JSON)

    def one_group(question: _Question) -> _Answer:
        if question.path("group") != group:
            raise UnknownListingError("there is no such privacy group")
        given = threatexchange.privacy_group(exchange.name, question.now)
        return _Answer(msgspec.json.encode(given), JSON)

    def react(question: _Question) -> _Answer:
        body = threatexchange.react(
            source,
            question.key.caller,
            descriptor=question.path("descriptor"),
            reactions=question.params.get("reactions", ""),
            at=question.at,
        )
        return _Answer(body, JSON, 1)

    return [
        door.route("/{group}/threat_updates/", updates, wire=wire, operation="updates"),
        door.route("/{app}/threat_privacy_groups_member", groups, wire=wire, operation="groups"),
        door.route("/{app}/threat_privacy_groups_owner", groups, wire=wire, operation="owned"),
        door.route("/{group}", one_group, wire=wire, operation="group"),
        door.route(
            "/{descriptor}/",
            react,
            wire=wire,
            operation="react",
            right="may_give_feedback",
            method="POST",
        ),
    ]
