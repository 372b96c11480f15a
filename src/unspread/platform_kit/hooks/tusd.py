"""tusd's blocking `pre-finish` hook: a resumable upload is scanned before it is finished.

Source: https://tus.github.io/tusd/advanced-topics/hooks/. tusd refuses the upload with the answer
that the hook gives, but keeps the file: it is deleted through tusd itself, after the hook has
returned, because tusd holds the upload's lock until then.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import ObjectStore
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from unspread.errors import InputError, TransportError
from unspread.platform_kit.access import Scope
from unspread.platform_kit.actions.move import open_store
from unspread.platform_kit.api import allow, answering_errors
from unspread.platform_kit.hooks.settings import TusdSettings
from unspread.platform_kit.kit import Kit, ScanAnswer
from unspread.platform_kit.pages import limited_body

DELETE_ATTEMPTS: Final = 20
DELETE_AGAIN_SECONDS: Final = 0.5
_STATUS: Final = {"hold": 409, "refuse": 406, "unreadable": 422, "unavailable": 503}
_GONE: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

_log = structlog.get_logger(__name__)


class _Storage(msgspec.Struct, frozen=True):
    path: str = msgspec.field(name="Path", default="")
    key: str = msgspec.field(name="Key", default="")


class _Upload(msgspec.Struct, frozen=True):
    upload_id: str = msgspec.field(name="ID")
    size: int = msgspec.field(name="Size", default=0)
    storage: _Storage = msgspec.field(name="Storage", default=_Storage())


class _Event(msgspec.Struct, frozen=True):
    upload: _Upload = msgspec.field(name="Upload")


class _Hook(msgspec.Struct, frozen=True):
    kind: str = msgspec.field(name="Type")
    event: _Event = msgspec.field(name="Event")


class Tusd:
    """`POST /hooks/tusd`: point tusd's `-hooks-http` at it."""

    def __init__(self, kit: Kit, settings: TusdSettings, client: httpx.AsyncClient) -> None:
        """The client is the caller's to close."""
        self._kit = kit
        self._settings = settings
        self._client = client
        self._store: ObjectStore = open_store(settings.store, settings.options)

    def routes(self) -> list[BaseRoute]:
        """The hook."""
        return [Route("/hooks/tusd", answering_errors(self._hook), methods=["POST"])]

    async def _hook(self, request: Request) -> Response:
        allow(self._kit, request, Scope.SCAN)
        try:
            hook = msgspec.json.decode(await limited_body(request), type=_Hook)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InputError("not a hook of tusd") from None
        if hook.kind != "pre-finish":
            return JSONResponse({})
        upload = hook.event.upload
        reference = f"tusd/{upload.upload_id}"[:512]
        answer = await self._kit.scan_bytes(await self._content(upload), reference)
        if answer.accepted:
            return JSONResponse({})
        # What was only not checked may be finished later; everything else is deleted.
        delete = BackgroundTask(self._delete, upload.upload_id)
        task = None if answer.decision == "unavailable" else delete
        return JSONResponse(refusal(answer), background=task)

    async def _content(self, upload: _Upload) -> bytes:
        if upload.size > self._kit.settings.max_upload_bytes:
            raise InputError("the upload is larger than max_upload_bytes")
        # The name of the file alone: nothing outside the store can be named.
        key = upload.storage.key or Path(upload.storage.path).name
        try:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except (BaseError, OSError, ValueError) as error:
            raise TransportError(
                f"the upload cannot be read from tusd's store ({type(error).__name__})"
            ) from None

    async def _delete(self, upload_id: str) -> None:
        url = self._settings.url.rstrip("/") + "/" + quote(upload_id, safe="+")
        for _ in range(DELETE_ATTEMPTS):
            try:
                answer = await self._client.delete(url, headers={"tus-resumable": "1.0.0"})
                if answer.status_code in _GONE:
                    return
            except httpx.HTTPError as error:
                _log.info("tusd_not_reached", why=type(error).__name__)
            await asyncio.sleep(DELETE_AGAIN_SECONDS)
        _log.error("refused_upload_not_deleted", why="tusd did not delete it")


def refusal(answer: ScanAnswer) -> dict[str, Any]:
    """What tusd is told to answer the uploader. It says nothing of which listing matched."""
    said = {"decision": answer.decision, "reason": answer.reason}
    return {
        "HTTPResponse": {
            "StatusCode": _STATUS.get(answer.decision, 406),
            "Body": msgspec.json.encode(said).decode(),
            "Header": {"Content-Type": "application/json"},
        }
    }
