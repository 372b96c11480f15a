"""Where the content of a review task comes from: kept here while it is held, or fetched."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import httpx

from unspread.crypto import sha256
from unspread.errors import StateError, UnreadableMediaError
from unspread.fingerprint.files import HEAD_BYTES, Format, sniff
from unspread.platform_kit.review.rules import ReviewSettings

MAX_BYTES: Final = 256 * 1024 * 1024

_SHOWN_BY_BROWSERS: Final = frozenset(Format) - {Format.BMP, Format.HEIC, Format.TIFF}


class NoContentError(StateError):
    """The content cannot be shown; the text says why."""


class Content(Protocol):
    """Gives content for review."""

    def read(self, reference: str) -> bytes:
        """The bytes.

        Raises:
            NoContentError: if they are not there, or cannot be fetched.
        """
        ...


class HeldContent:
    """Content of held uploads, in files that only this user can read, until it is decided."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when the first file is."""
        self._directory = directory

    def _path(self, reference: str) -> Path:
        # The reference is the platform's: nothing of it becomes part of a path.
        return self._directory / sha256(b"unspread/v1/held", reference.encode()).hex()

    def keep(self, reference: str, content: bytes | Path) -> None:
        """Keep content; what was kept for the reference before is replaced."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(reference)
        partial = path.with_suffix(".part")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            shutil.copyfile(content, partial)
        partial.replace(path)

    def read(self, reference: str) -> bytes:
        """The bytes that are kept."""
        try:
            return self._path(reference).read_bytes()
        except OSError:
            raise NoContentError(
                "the content is not kept here: set `content_url` in [review] to fetch it"
            ) from None

    def stored(self) -> set[Path]:
        """The files that are kept now."""
        if not self._directory.exists():
            return set()
        return {path for path in self._directory.iterdir() if path.suffix != ".part"}

    def forget_others(self, stored: set[Path], references: set[str]) -> None:
        """Delete those of `stored` that belong to none of the references.

        What is kept after `stored` was taken stays, so that nothing that is just being held goes.
        """
        for path in stored - {self._path(each) for each in references}:
            path.unlink(missing_ok=True)


class FetchedContent:
    """Content from the platform's own storage, over HTTP."""

    def __init__(
        self, url: str, key: str, client: Callable[[], httpx.Client] = httpx.Client
    ) -> None:
        """`url` has `{reference}` in it; `key` is sent as a bearer token unless empty."""
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = client

    def read(self, reference: str) -> bytes:
        """Fetch the bytes."""
        if ".." in reference.split("/"):
            raise NoContentError("this reference cannot be part of an address")
        url = self._url.replace("{reference}", quote(reference, safe="/"))
        parts: list[bytes] = []
        size = 0
        try:
            with self._client() as client, client.stream("GET", url, headers=self._headers) as got:
                if not got.is_success:
                    raise NoContentError(f"the platform answered {got.status_code} for the content")
                for part in got.iter_bytes():
                    size += len(part)
                    if size > MAX_BYTES:
                        raise NoContentError("the content is too large to show")
                    parts.append(part)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise NoContentError("the content cannot be fetched from the platform") from None
        return b"".join(parts)


def content_for(settings: ReviewSettings, data: Path, held: HeldContent) -> Content:
    """What the settings say."""
    if not settings.content_url:
        return held
    key = ""
    if settings.content_key_file:
        key = (data / settings.content_key_file).read_text().strip()
    return FetchedContent(settings.content_url, key)


def media_type(content: bytes) -> str:
    """What the bytes are, if a browser can show it; never what somebody said they are.

    Raises:
        NoContentError: if it is nothing of the kind.
    """
    try:
        kind = sniff(content[:HEAD_BYTES])
    except UnreadableMediaError as error:
        raise NoContentError(str(error)) from None
    if kind not in _SHOWN_BY_BROWSERS:
        raise NoContentError("no browser shows this kind of file")
    return kind.media_type
