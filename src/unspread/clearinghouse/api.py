"""The protocol's routes: docs/protocol/case.md over HTTP. No rule stands here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from unspread.case_protocol import (
    MAX_BODY_BYTES,
    AcknowledgeRequest,
    CaseRequest,
    CaseSubmission,
    ErrorAnswer,
    ErrorBody,
    FeedbackRequest,
    ListingNumber,
    WithdrawalRequest,
    decode,
    from_b64,
    to_b64,
)
from unspread.clearinghouse import pages_bridge
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.django_mount import BodyTooLargeError, read_body
from unspread.clearinghouse.gate import ChallengeError, ProofError, TooManyError
from unspread.clearinghouse.partners import (
    NotSignedError,
    Partner,
    PartnerStateError,
    SignedMessage,
    UnknownPartnerError,
    sealing_key_from,
    signing_key_from,
)
from unspread.clearinghouse.service import Service, Subscribers
from unspread.clearinghouse.store import (
    IntakePausedError,
    OtherContentError,
    UnknownCaseError,
    UnknownListingError,
)
from unspread.clearinghouse.tokens import ASSERTION_TYPE, TOKEN_SECONDS
from unspread.clearinghouse.writer import BusyError
from unspread.errors import InputError, StateError, TransportError, TrustError, UnspreadError
from unspread.model import Fingerprint, Kind

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
PUSH_KEEPALIVE_SECONDS: Final = 15.0

_NO_STORE: Final = {"cache-control": "no-store"}

log = structlog.get_logger()

_ANSWERS: Final[tuple[tuple[type[UnspreadError], HTTPStatus, str], ...]] = (
    (BodyTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    (UnknownCaseError, HTTPStatus.NOT_FOUND, "not_found"),
    (UnknownListingError, HTTPStatus.NOT_FOUND, "unknown_listing"),
    (UnknownPartnerError, HTTPStatus.NOT_FOUND, "unknown_partner"),
    (ChallengeError, HTTPStatus.BAD_REQUEST, "challenge"),
    (ProofError, HTTPStatus.UNPROCESSABLE_ENTITY, "proof_of_work"),
    (OtherContentError, HTTPStatus.CONFLICT, "other_content"),
    (PartnerStateError, HTTPStatus.CONFLICT, "partner_state"),
    (NotSignedError, HTTPStatus.UNAUTHORIZED, "not_signed"),
    (TooManyError, HTTPStatus.TOO_MANY_REQUESTS, "too_many"),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    (InputError, HTTPStatus.BAD_REQUEST, "malformed"),
    (StateError, HTTPStatus.CONFLICT, "not_possible"),
    (TrustError, HTTPStatus.FORBIDDEN, "not_trusted"),
    (IntakePausedError, HTTPStatus.SERVICE_UNAVAILABLE, "paused"),
    (TransportError, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
)


def error_answer(error: UnspreadError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers that say an error to a client."""
    status, code = next((s, c) for kind, s, c in _ANSWERS if isinstance(error, kind))
    text = str(error)
    at = text.rfind(" - at `$")
    field = text[at + 8 :].strip("`").lstrip(".") if at >= 0 else None
    headers = dict(_NO_STORE)
    if isinstance(error, TooManyError):
        headers["retry-after"] = str(error.retry_after_seconds)
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "2"
    body = ErrorAnswer(ErrorBody(code, text if at < 0 else text[:at], field or None))
    return int(status), body.to_json(), headers


Handler = Callable[[Request], Awaitable[Response]]


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, {**_NO_STORE, **(headers or {})}, JSON)


def answering(handler: Handler) -> Handler:
    """The handler, with our errors as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except UnspreadError as error:
            status, body, headers = error_answer(error)
            return _json(body, status, headers)

    return answer


def client_address(request: Request, header: str) -> str:
    """The address to count requests by; used in memory at once, and never kept."""
    if header:
        return request.headers.get(header, "").rpartition(",")[2].strip()
    return request.client.host if request.client else ""


class _People:
    """Handlers of what people's devices ask."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def limited(self, cost: float, handler: Handler) -> Handler:
        """The handler, behind the bucket of the client's network."""

        async def take_and_handle(request: Request) -> Response:
            self._take(request, cost)
            return await handler(request)

        return answering(take_and_handle)

    def _take(self, request: Request, cost: float) -> None:
        address = client_address(request, self._service.settings.client_address_header)
        self._service.buckets.take(address, cost)

    async def about(self, _request: Request) -> Response:
        message = await self._service.about_now()
        return _json(message.to_json())

    async def proof_of_work(self, _request: Request) -> Response:
        return _json(self._service.proof_of_work())

    async def challenge(self, _request: Request) -> Response:
        return _json(self._service.challenge().to_json())

    async def submit(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM:
            return await self._submit_form(request)
        return await answering(self._submit_json)(request)

    async def _submit_json(self, request: Request) -> Response:
        self._take(request, 1)
        body = await read_body(request, MAX_BODY_BYTES)
        created, answer = await self._service.submit(decode(body, CaseSubmission), "")
        return _json(answer.to_json(), 201 if created else 200)

    async def _submit_form(self, request: Request) -> Response:
        """The page's form: the same answer, inside a small page."""
        challenge = b""
        try:
            self._take(request, 1)
            # Each byte of JSON may be three of a form.
            raw = await read_body(request, 3 * MAX_BODY_BYTES)
            fields = parse_qs(raw.decode("ascii"), max_num_fields=4, strict_parsing=True)
            text, proof = fields.get("case", [""])[0], fields.get("proof", [""])[0]
            created, answer = await self._service.submit(decode(text, CaseSubmission), proof)
            status, body, headers = (201 if created else 200), answer.to_json(), _NO_STORE
        except UnspreadError as error:
            status, body, headers = error_answer(error)
            # Spent by an answer that was lost, too old, or of before a restart: not the end.
            challenge = self._service.proof_of_work() if isinstance(error, ProofError) else b""
        except ValueError:
            status, body, headers = error_answer(InputError("the form is malformed"))
        page = await asyncio.to_thread(pages_bridge.answer_page, body.decode(), challenge.decode())
        return Response(page, status, headers, "text/html")

    async def status(self, request: Request) -> Response:
        message = decode(await read_body(request, 4096), CaseRequest)
        return _json((await self._service.status(message)).to_json())

    async def renew(self, request: Request) -> Response:
        message = decode(await read_body(request, 4096), CaseRequest)
        return _json((await self._service.renew(message)).to_json())

    async def withdraw(self, request: Request) -> Response:
        message = decode(await read_body(request, 16_384), WithdrawalRequest)
        return _json((await self._service.withdraw(message)).to_json())


class _Partners:
    """Handlers of what platforms and helplines ask."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _signed(self, request: Request, scope: str, max_bytes: int) -> tuple[str, bytes]:
        """Partner's id and body of a request that an active partner signed."""
        body = await read_body(request, max_bytes)
        message = SignedMessage(request.method, target_uri(self._service, request), request.headers)
        known = await self._service.signed_by_partner(message, body, scope)
        return known.partner_id, body

    async def feedback(self, request: Request) -> Response:
        partner_id, body = await self._signed(request, "feedback", 256 * 1024)
        new = await self._service.take_feedback(partner_id, decode(body, FeedbackRequest))
        return _json(msgspec.json.encode({"new": new}))

    async def acknowledge(self, request: Request) -> Response:
        partner_id, body = await self._signed(request, "feed", 4096)
        await self._service.acknowledge(partner_id, decode(body, AcknowledgeRequest))
        return _json(b"{}")

    async def enroll(self, request: Request) -> Response:
        body = await read_body(request, 16_384)
        message = decode(body, EnrollRequest)
        service = self._service
        known = await service.enroll(message.invitation, message.signing_key, message.sealing_key)
        answer = {
            "partner_id": known.partner_id,
            "name": known.name,
            "state": known.state,
            "log_origin": service.log_origin,
            "log_key": to_b64(service.log_key.public),
            "log_key_post_quantum": to_b64(service.post_quantum_log_key.public),
            "feed": service.settings.feed_url or service.settings.url,
            "push": f"{service.settings.url}/feed/push",
        }
        return _json(msgspec.json.encode(answer), 201)

    async def vouch(self, request: Request) -> Response:
        partner_id, body = await self._signed(request, "vouch", 4096)
        await self._service.vouch(partner_id, decode(body, VouchRequest).listing_ids)
        return _json(b"{}")

    async def rotate(self, request: Request) -> Response:
        partner_id, body = await self._signed(request, "feed", 16_384)
        message = decode(body, RotateRequest)
        signing = signing_key_from(message.signing_key) if message.signing_key else b""
        sealing = sealing_key_from(message.sealing_key) if message.sealing_key else b""
        await self._service.rotate(partner_id, signing, sealing)
        return _json(b"{}")

    async def push(self, _request: Request) -> Response:
        """The log's size as server-sent events, whenever it grows. Nothing else is said here."""
        subscribers = self._service.subscribers
        if subscribers.count >= subscribers.MAX:
            raise BusyError("too many follow already: poll the checkpoint instead")
        return StreamingResponse(
            self._sizes(subscribers),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _sizes(self, subscribers: Subscribers) -> AsyncIterator[bytes]:
        subscribers.count += 1
        try:
            size = subscribers.size
            yield f"retry: 2000\ndata: {size}\n\n".encode()
            while not self._service.stopping:
                new = await subscribers.beyond(size, PUSH_KEEPALIVE_SECONDS)
                yield b": ping\n\n" if new == size else f"data: {new}\n\n".encode()
                size = new
        finally:
            subscribers.count -= 1


async def _proof(service: Service, request: Request) -> Response:
    """The `.tlog-proof` of a listing's entry: public, like the tiles that it is made of."""
    listing_id: int = request.path_params["listing_id"]
    proof = await asyncio.to_thread(service.publisher.proof, listing_id)
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response(proof, headers=headers, media_type="text/plain; charset=utf-8")


class _Lookup:
    """Handlers of platforms that ask instead of holding the list."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def token(self, request: Request) -> Response:
        """RFC 6749's token endpoint: client credentials, private_key_jwt, DPoP."""
        raw = await read_body(request, 16_384)
        try:
            fields = parse_qs(raw.decode("ascii"), max_num_fields=8, strict_parsing=True)
        except ValueError:
            raise InputError("the form is malformed") from None
        given = {name: values[0] for name, values in fields.items()}
        if (given.get("grant_type"), given.get("client_assertion_type")) != (
            "client_credentials",
            ASSERTION_TYPE,
        ):
            raise InputError("ask with grant_type=client_credentials and a client assertion")
        assertion = given.get("client_assertion", "")
        claimed = self._service.tokens.claimed_partner_id(assertion)
        try:
            known = await self._service.partner(claimed)
        except UnknownPartnerError:
            raise NotSignedError("this partner is not known here") from None
        token, scopes = self._service.tokens.issue(
            assertion,
            known,
            frozenset(given.get("scope", "").split()),
            request.headers.get("dpop", ""),
            target_uri(self._service, request),
        )
        answer = {
            "access_token": token,
            "token_type": "DPoP",
            "expires_in": TOKEN_SECONDS,
            "scope": " ".join(sorted(scopes)),
        }
        return _json(msgspec.json.encode(answer))

    async def _caller(self, request: Request, body: bytes, scope: str) -> Partner:
        """The active partner that asks, by token or by signature."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        url = target_uri(self._service, request)
        if kind.lower() != "dpop":
            message = SignedMessage(request.method, url, request.headers)
            return await self._service.signed_by_partner(message, body, scope)
        proof = request.headers.get("dpop", "")
        granted = self._service.tokens.check(token, proof, request.method, url)
        known = await self._service.partner(granted.partner_id)
        # Suspension counts at once, not when the token ends.
        if known.state != "active" or scope not in granted.scopes & known.scopes:
            raise NotSignedError("this partner may not do that")
        return known

    async def look_up(self, request: Request) -> Response:
        body = await read_body(request, 64 * 1024)
        known = await self._caller(request, body, "lookup")
        questions = [each.fingerprint() for each in decode(body, LookupRequest).queries]
        found = await self._service.look_up(known, questions)
        results = [
            {"match": False}
            if each is None
            else {
                "match": True,
                "level": each.level,
                "part": "window" if each.is_part else "whole",
                "handle": to_b64(self._service.handles.seal(each.listing_id)),
            }
            for each in found
        ]
        return _json(msgspec.json.encode({"results": results}))

    async def blind_key(self, _request: Request) -> Response:
        service = self._service

        def ask(connection: Connection) -> int:
            service.bank.refresh(connection)
            return service.bank.bits()

        answer = {
            "suite": "ristretto255-SHA512",
            "public_key": to_b64(service.evaluator.public_key),
            "bits": await service.readers.ask(ask),
        }
        return _json(msgspec.json.encode(answer))

    async def look_up_blind(self, request: Request) -> Response:
        body = await read_body(request, 16_384)
        known = await self._caller(request, body, "blind")
        message = decode(body, BlindRequest)
        elements = [from_b64(each, 32, "elements") for each in message.elements]
        evaluated, proof, buckets = await self._service.look_up_blind(
            known, elements, message.buckets, message.bits
        )
        answer = {
            "evaluated": [to_b64(each) for each in evaluated],
            "proof": to_b64(proof),
            "buckets": [to_b64(each) for each in buckets],
        }
        return _json(msgspec.json.encode(answer))


def routes(service: Service) -> list[BaseRoute]:
    """Every route of the protocol."""
    people, partners, lookup = _People(service), _Partners(service), _Lookup(service)
    limited = people.limited
    return [
        Route("/v1/about", answering(people.about), methods=["GET"]),
        Route("/v1/proof-of-work", limited(0.1, people.proof_of_work), methods=["GET"]),
        Route("/v1/challenge", limited(0.1, people.challenge), methods=["GET"]),
        Route("/v1/cases", people.submit, methods=["POST"]),
        Route("/v1/cases/status", limited(0.2, people.status), methods=["POST"]),
        Route("/v1/cases/renew", limited(0.2, people.renew), methods=["POST"]),
        Route("/v1/cases/withdraw", limited(0.2, people.withdraw), methods=["POST"]),
        Route("/v1/feedback", answering(partners.feedback), methods=["POST"]),
        Route("/v1/acknowledge", answering(partners.acknowledge), methods=["POST"]),
        Route("/v1/partners/enroll", limited(1, partners.enroll), methods=["POST"]),
        Route("/v1/vouch", answering(partners.vouch), methods=["POST"]),
        Route(
            "/v1/proof/{listing_id:int}",
            limited(0.1, partial(_proof, service)),
            methods=["GET"],
        ),
        Route("/v1/partners/rotate", answering(partners.rotate), methods=["POST"]),
        Route("/v1/token", limited(0.1, lookup.token), methods=["POST"]),
        Route("/v1/lookup", answering(lookup.look_up), methods=["POST"]),
        Route("/v1/lookup/key", answering(lookup.blind_key), methods=["GET"]),
        Route("/v1/lookup/blind", answering(lookup.look_up_blind), methods=["POST"]),
        Route("/feed/push", answering(partners.push), methods=["GET"]),
    ]


class VouchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/vouch`: a helpline knows the case behind these listings."""

    listing_ids: list[ListingNumber]


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/partners/rotate`: one new key or both."""

    signing_key: str = ""
    sealing_key: str = ""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fingerprint to look up: exactly one of the three, in hex."""

    pdq: str | None = None
    sha256: str | None = None
    md5: str | None = None

    def fingerprint(self) -> Fingerprint:
        """The fingerprint that is asked for.

        Raises:
            InputError: if there is not exactly one.
        """
        given = [
            (kind, text)
            for kind, text in (
                (Kind.PDQ, self.pdq),
                (Kind.SHA256, self.sha256),
                (Kind.MD5, self.md5),
            )
            if text is not None
        ]
        if len(given) != 1:
            raise InputError("a question has one of pdq, sha256, md5")
        kind, text = given[0]
        return Fingerprint.from_text(f"{kind}:{text}", quality=100 if kind is Kind.PDQ else None)


class LookupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/lookup`."""

    queries: list[Question]


class BlindRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/lookup/blind`: a blinded element and a bucket's first bits for each question."""

    elements: list[str]
    buckets: list[int]
    bits: int


class EnrollRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/partners/enroll`."""

    invitation: str
    signing_key: str
    sealing_key: str
    name: str = ""
    """Ignored: staff named the partner when they invited it."""
    sealing_kind: str = "x25519"


def target_uri(service: Service, request: Request) -> str:
    """The request's target as its sender wrote it: at our public address."""
    base = service.settings.url
    if service.settings.training:
        # Trials run on whatever port is free; replay to another clearinghouse harms nobody there.
        base = f"{request.url.scheme}://{request.headers.get('host', '')}"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{base}{request.url.path}{query}"
