"""The person's pages with a stand-in clearinghouse behind them, which records what it is sent.

For what is awkward to bring about in a real one: a platform that kept a picture, an answer that
is lost. The journeys through the real programs are beside this.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import altcha
import uvicorn
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from unspread.case_protocol import (
    About,
    CaseSubmission,
    Limits,
    PlatformHeard,
    decode,
    from_b64,
    to_b64,
)
from unspread.clearinghouse.composition import compose
from unspread.clearinghouse.django_mount import DjangoMount
from unspread.clearinghouse.pages.answer import render_answer
from unspread.clearinghouse.pages.policy import PolicyMiddleware
from unspread.clearinghouse.pages.services import Branding, PageServices
from unspread.clearinghouse.settings import Settings
from unspread.crypto import SigningKey, case_request_message, verify, withdrawal_message
from unspread.feed.blobs import MemoryBlobs
from unspread.feed.records import Entry, EntryKind
from unspread.feed.writer import FeedWriter
from unspread.testing.feed import MemoryEntries

SECRET = "for this stand only"
LOG_KEY = SigningKey(bytes(32))
EARLIER_ENTRIES = 17
"""In the log before anybody submitted here."""
NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)


@dataclass
class Stand:
    """Where it serves, and everything that reached it."""

    url: str
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    """(method, path with query, body) of every request."""
    cases: list[CaseSubmission] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Given to the next submissions, instead of accepting them."""
    spent: set[str] = field(default_factory=set)
    """Proofs of work: each serves once."""
    withdrawn: set[str] = field(default_factory=set)
    renewed: int = 0
    platforms: list[dict[str, Any]] = field(default_factory=list)
    log: MemoryEntries = field(default_factory=MemoryEntries)
    """Every accepted item has an entry, like a real one but for what stands in it."""
    proof: Callable[[bytes], bytes | None] = lambda good: good
    """What is answered instead of a good `.tlog-proof`; None is an error."""

    def posts(self) -> list[tuple[str, bytes]]:
        """(path, body) of what was posted."""
        return [(path, body) for method, path, body in self.requests if method == "POST"]


def _challenge() -> str:
    challenge = altcha.create_challenge(
        "PBKDF2/SHA-256",
        100,
        counter=7,
        expires_at=datetime.now(UTC) + timedelta(hours=2),
        hmac_secret=SECRET,
    )
    return json.dumps(challenge.to_dict())


@contextmanager
def page_stand(data: Path, branding: Branding | None = None) -> Iterator[Stand]:
    """Serve the pages on a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    stand = Stand(f"http://127.0.0.1:{port}")
    about = About(
        protocol=1,
        name="Test",
        log_origin=f"127.0.0.1:{port}/log",
        training=True,
        log_key=to_b64(LOG_KEY.public),
        limits=Limits(),
        languages=["en", "ar", "fa"],
        platforms=[PlatformHeard("Board", NOW), PlatformHeard("Another", None)],
    )
    server = uvicorn.Server(uvicorn.Config(_nothing, log_level="error", lifespan="off"))

    def serve() -> None:
        # In this thread: Django refuses to be set up where Playwright's event loop runs.
        compose(Settings(data=data, url=stand.url, training=True), SECRET)
        django_settings.UNSPREAD_PAGES = PageServices(
            lambda: about, _challenge, branding or Branding()
        )
        server.config.app = PolicyMiddleware(_Recorder(_routes(stand, about), stand))
        server.run(sockets=[listening])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield stand
    finally:
        server.should_exit = True
        thread.join(20)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stands in until the application is put together."""


class _Recorder:
    def __init__(self, app: Any, stand: Stand) -> None:
        self.app = app
        self.stand = stand

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        path = scope["path"] + (f"?{query}" if query else "")
        parts: list[bytes] = []

        async def listening() -> Any:
            message = await receive()
            parts.append(message.get("body", b""))
            return message

        await self.app(scope, listening, send)
        self.stand.requests.append((scope["method"], path, b"".join(parts)))


def _routes(stand: Stand, about: About) -> Starlette:
    writer = FeedWriter(
        origin=about.log_origin,
        log_key=LOG_KEY,
        public=MemoryBlobs(),
        private=MemoryBlobs(),
        source=stand.log,
    )
    stand.log.rows += [Entry(EntryKind.ADD, bytes([each])) for each in range(EARLIER_ENTRIES)]

    async def submit(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode())
        proof = fields["proof"][0]
        solved = altcha.verify_solution(altcha.Payload.from_base64(proof), SECRET).verified
        status, answer, challenge = 201, {}, ""
        if not solved or proof in stand.spent:
            status, answer = 422, {"error": {"code": "proof_of_work", "message": "no"}}
        elif stand.answers:
            status, answer = stand.answers.pop(0)
        else:
            case = decode(fields["case"][0], CaseSubmission)
            entries = [Entry(EntryKind.ADD, item.to_json()) for item in case.items]
            if case not in stand.cases:
                stand.cases.append(case)
                stand.log.rows += entries
                writer.publish(len(stand.log.rows), [], NOW)
            items = [
                {
                    "item_key": item.item_key,
                    "state": "listed",
                    "reasons": [],
                    "commitment": entry.commitment().hex(),
                }
                for item, entry in zip(case.items, entries, strict=True)
            ]
            answer = {"items": items, "promise": {}}
        stand.spent.add(proof)
        if answer.get("error", {}).get("code") == "proof_of_work":
            challenge = _challenge()
        return HTMLResponse(render_answer(json.dumps(answer), challenge), status)

    async def say_about(request: Request) -> Response:
        return Response(about.to_json(), media_type="application/json")

    async def challenge(request: Request) -> Response:
        return JSONResponse({"challenge": "once", "expires_at": NOW.isoformat()})

    async def status(request: Request) -> Response:
        purpose = request.path_params["purpose"]
        asked = await request.json()
        case = next((each for each in stand.cases if each.case_key == asked["case_key"]), None)
        if case is None:
            return JSONResponse({"error": {"code": "not_found", "message": "no"}}, 404)
        verify(
            from_b64(asked["case_key"], 32, "case_key"),
            case_request_message(purpose, about.log_origin, asked["challenge"]),
            from_b64(asked["signature"], 64, "signature"),
        )
        stand.renewed += purpose == "renew"
        items = [
            {
                "item_key": item.item_key,
                "media": item.media,
                "state": "withdrawn" if item.item_key in stand.withdrawn else "listed",
                "level": "unverified",
                "reasons": [],
                "listing_id": listing,
                "commitment": stand.log.rows[listing].commitment().hex(),
                "platforms": stand.platforms if number == 0 else [],
            }
            for number, item in enumerate(case.items)
            for listing in [stand.log.rows.index(Entry(EntryKind.ADD, item.to_json()))]
        ]
        return JSONResponse(
            {
                "submitted_on": "2026-11-23",
                "expires_on": "2029-11-23" if stand.renewed else "2028-11-23",
                "age": case.age,
                "items": items,
            }
        )

    async def proof(request: Request) -> Response:
        answer = stand.proof(writer.proof(request.path_params["listing"]))
        return Response(answer or b"", 503 if answer is None else 200)

    async def withdraw(request: Request) -> Response:
        for each in (await request.json())["withdrawals"]:
            key = from_b64(each["item_key"], 32, "item_key")
            signature = from_b64(each["signature"], 64, "signature")
            verify(key, withdrawal_message(about.log_origin, key), signature)
            stand.withdrawn.add(each["item_key"])
        return JSONResponse({"items": []})

    return Starlette(
        routes=[
            Route("/v1/cases", submit, methods=["POST"]),
            Route("/v1/about", say_about),
            Route("/v1/challenge", challenge),
            Route("/v1/proof/{listing:int}", proof),
            Route("/v1/cases/withdraw", withdraw, methods=["POST"]),
            Route("/v1/cases/{purpose}", status, methods=["POST"]),
            Mount("/", DjangoMount(get_wsgi_application())),
        ]
    )
