"""Mastodon's admin webhook: media of new posts are scanned, and matches reported to moderators.

Mastodon has no hook before a post is public, and no way to delete a post over its admin interface
(https://docs.joinmastodon.org/methods/admin/). So a match files a report that names the post, and
may act on the account. Mastodon's own queue tries a webhook again that is not answered 2xx, for
days: nothing needs to be kept here.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, TransportError, TrustError
from unspread.platform_kit.accounts import Posting
from unspread.platform_kit.api import answering_errors
from unspread.platform_kit.hooks.fetch import FetchRefusedError, fetch, host_of
from unspread.platform_kit.hooks.settings import MastodonSettings
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.pages import limited_body
from unspread.platform_kit.policy import Decision

EVENTS: Final = frozenset({"status.created", "status.updated"})
MAX_BODY_BYTES: Final = 2 * 1024 * 1024

_log = structlog.get_logger(__name__)


class _Account(msgspec.Struct, frozen=True):
    id: str


class _Attachment(msgspec.Struct, frozen=True):
    id: str
    url: str | None = None
    remote_url: str | None = None


class _Status(msgspec.Struct, frozen=True):
    id: str
    account: _Account
    created_at: datetime | None = None
    media_attachments: tuple[_Attachment, ...] = ()


class _Hook(msgspec.Struct, frozen=True):
    event: str
    object: msgspec.Raw


class UnsignedError(TrustError):
    """The webhook is not signed with the secret that Mastodon showed."""


def check_signature(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """Return if `X-Hub-Signature` is Mastodon's over the body.

    Raises:
        UnsignedError: if it is not.
    """
    said = headers.get("x-hub-signature", "")
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(said.encode(), expected.encode()):
        raise UnsignedError("this webhook is not signed with the secret")


class Mastodon:
    """`POST /hooks/mastodon`: the address of an admin webhook for `status.created`."""

    def __init__(self, kit: Kit, settings: MastodonSettings, client: httpx.AsyncClient) -> None:
        """The client is the caller's to close.

        Raises:
            InputError: if the token or the secret is not there.
        """
        self._kit = kit
        self._settings = settings
        self._client = client
        self._token = _secret(kit.settings.data / settings.token_file)
        self._secret = _secret(kit.settings.data / settings.secret_file)
        self._hosts = frozenset(settings.media_hosts) or frozenset({host_of(settings.url)})

    def routes(self) -> list[BaseRoute]:
        """The hook."""
        return [Route("/hooks/mastodon", answering_errors(self._hook), methods=["POST"])]

    async def _hook(self, request: Request) -> Response:
        body = await limited_body(request, MAX_BODY_BYTES)
        try:
            check_signature(request.headers, body, self._secret)
        except UnsignedError as error:
            return JSONResponse({"error": {"message": str(error)}}, 401)
        try:
            hook = msgspec.json.decode(body, type=_Hook)
            if hook.event not in EVENTS:
                return JSONResponse({"scanned": 0})
            status = msgspec.json.decode(hook.object, type=_Status)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InputError("not a webhook of Mastodon") from None
        decisions = [await self._scan(status, each) for each in status.media_attachments]
        if {Decision.REFUSE, Decision.HOLD} & set(decisions):
            await self._report(status, refused=Decision.REFUSE in decisions)
        return JSONResponse({"scanned": len(decisions)})

    async def _scan(self, status: _Status, attachment: _Attachment) -> str:
        url = attachment.url or attachment.remote_url
        if url is None:
            return Decision.ACCEPT
        most = self._kit.settings.max_upload_bytes
        try:
            content = await fetch(self._client, url, self._hosts, most)
        except FetchRefusedError as error:
            _log.warning("media_not_scanned", why=str(error))
            return Decision.ACCEPT
        posted_on = status.created_at.date() if status.created_at else None
        answer = await self._kit.scan_bytes(
            content,
            f"mastodon/{status.id}/{attachment.id}",
            Posting(status.account.id, posted_on),
        )
        if answer.decision == "unavailable":
            # Not 2xx: Mastodon sends the same webhook again later.
            raise TransportError(answer.reason)
        return answer.decision

    async def _report(self, status: _Status, *, refused: bool) -> None:
        found = "matches a listing" if refused else "may match a listing; a person should look"
        report = await self._post(
            "/api/v1/reports",
            {
                "account_id": status.account.id,
                "status_ids": [status.id],
                "category": "legal",
                "comment": f"Unspread: a picture or video of this post {found}.",
                "forward": False,
            },
        )
        if refused and self._settings.account_action != "none":
            await self._post(
                f"/api/v1/admin/accounts/{status.account.id}/action",
                {
                    "type": self._settings.account_action,
                    "report_id": str(report.get("id", "")),
                    "send_email_notification": False,
                },
            )

    async def _post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        try:
            answer = await self._client.post(
                self._settings.url.rstrip("/") + path,
                json=body,
                headers={"authorization": f"Bearer {self._token}"},
            )
        except httpx.HTTPError as error:
            raise TransportError(f"Mastodon cannot be reached ({type(error).__name__})") from None
        if not answer.is_success:
            raise TransportError(f"Mastodon answered {answer.status_code} to a report or action")
        try:
            return msgspec.json.decode(answer.content, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}


def _secret(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError:
        text = ""
    if not text:
        raise InputError(f"Mastodon's token or the webhook's secret is missing: {path}")
    return text
