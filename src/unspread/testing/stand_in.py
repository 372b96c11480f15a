"""A clearinghouse in memory behind an HTTP client: no socket, no process, no waiting.

For tests of the platform kit, and of platforms that build on it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

import httpx
import msgspec
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

from unspread.case_protocol import (
    AcknowledgeRequest,
    FeedbackRequest,
    FeedbackText,
    from_b64,
    to_b64,
)
from unspread.crypto import Receipt, item_key_digest
from unspread.feed.blobs import MissingBlobError
from unspread.feed.records import AddRecord, add_entry
from unspread.feed.writer import EVERYTHING, FeedPartner
from unspread.fingerprint import fingerprint_image
from unspread.model import Age, Fingerprint, Level, ListingId, Media
from unspread.testing.feed import START, TrialLog

ADDRESS = "https://stand-in.example"


class StandInClearinghouse(TrialLog):
    """Lists pictures, publishes, enrols platforms, and keeps what they tell."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.signing_keys: dict[str, bytes] = {}
        self.acknowledged: list[AcknowledgeRequest] = []
        self.feedback: dict[str, FeedbackText] = {}
        """By id, as the first time it came."""
        self.requests: list[httpx.Request] = []
        self.is_reachable = True
        self.breaks_after_bytes: int | None = None
        """Of a file's body: there every connection breaks."""
        self.sent_bytes = 0
        """Of files' bodies."""
        self.answers: dict[str, Callable[[], httpx.Response]] = {}
        """By path: what to answer instead of what is right."""

    def protect(self, picture: bytes, *, level: Level = Level.UNVERIFIED) -> ListingId:
        """List a picture and publish."""
        return self.protect_fingerprints(fingerprint_image(picture).fingerprints, level=level)

    def protect_fingerprints(
        self,
        fingerprints: tuple[Fingerprint, ...],
        *,
        level: Level = Level.UNVERIFIED,
        media: Media = Media.IMAGE,
    ) -> ListingId:
        """List fingerprints and publish."""
        listing_id = ListingId(len(self.rows))
        receipt = Receipt(self.random.randbytes(13))
        self.receipts[listing_id] = receipt
        digest = item_key_digest(receipt.item_key(0).public)
        hour: datetime = START.replace(minute=0)
        record = AddRecord(media, Age.UNKNOWN, level, hour, digest, fingerprints)
        self.rows.append(add_entry(record, receipt.item_salt(0)))
        self.publish()
        return listing_id

    def take_back(self, listing_id: ListingId) -> None:
        """Withdraw a listing with its person's key, and publish."""
        self.withdraw(listing_id)
        self.publish()

    def client(self) -> httpx.AsyncClient:
        """A client whose every request comes here."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def sync_client(self) -> httpx.Client:
        """The same for code that does not await."""
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if not self.is_reachable:
            raise httpx.ConnectError("not reachable", request=request)
        path = request.url.path.removeprefix("/")
        if path in self.answers:
            return self.answers[path]()
        if path == "v1/partners/enroll":
            return self._enrol(request)
        if path == "v1/acknowledge":
            self._verify(request)
            self.acknowledged.append(msgspec.json.decode(request.content, type=AcknowledgeRequest))
            return httpx.Response(200, json={})
        if path == "v1/feedback":
            self._verify(request)
            for each in msgspec.json.decode(request.content, type=FeedbackRequest).feedback:
                self.feedback.setdefault(each.id, each)
            return httpx.Response(200, json={})
        try:
            content = self.public.get(path)
        except MissingBlobError:
            return httpx.Response(404)
        return self._file(request.headers.get("range", ""), content)

    def _file(self, asked: str, content: bytes) -> httpx.Response:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), int(last or len(content) - 1) + 1
        rest = content[start:stop]
        self.sent_bytes += min(len(rest), self.breaks_after_bytes or len(rest))
        headers = {"content-range": f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}"}
        return httpx.Response(
            206 if asked else 200,
            headers=headers if asked else {},
            stream=_Breaking(rest, self.breaks_after_bytes),
        )

    def _enrol(self, request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(request.content)
        if body["invitation"] != "please come in":
            text = "this invitation is unknown"
            return httpx.Response(404, json={"error": {"code": "unknown", "message": text}})
        partner_id = "board"
        self.signing_keys[partner_id] = from_b64(body["signing_key"], 32, "signing_key")
        sealing = body["sealing_key"]
        public = from_b64(sealing, len(sealing) * 3 // 4, "sealing_key")
        self.partners[partner_id] = FeedPartner(partner_id, public, EVERYTHING)
        self.publish()
        answer = {
            "partner_id": partner_id,
            "log_origin": self.origin,
            "log_key": to_b64(self.log_key.public),
            "feed": f"{ADDRESS}/feed/{partner_id}",
            "push": f"{ADDRESS}/feed/push",
            "state": "active",
        }
        return httpx.Response(200, json=answer)

    def _verify(self, request: httpx.Request) -> None:
        verifier = HTTPMessageVerifier(
            signature_algorithm=algorithms.ED25519, key_resolver=_Resolver(self.signing_keys)
        )
        verifier.verify(request, max_age=None, body=request.content)


class _Breaking(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A body whose connection may break."""

    def __init__(self, content: bytes, after_bytes: int | None) -> None:
        self._content = content
        self._after_bytes = after_bytes

    def __iter__(self) -> Iterator[bytes]:
        yield self._content[: self._after_bytes]
        if self._after_bytes is not None and len(self._content) > self._after_bytes:
            raise httpx.ReadError("the connection broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class _Resolver(HTTPSignatureKeyResolver):
    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    def resolve_public_key(self, key_id: str) -> object:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self._keys[key_id])
