"""Takes what a platform already hosts into the catalogue: a directory, a bucket, a list of URLs.

Every piece is noted in a ledger with its version, so that a scan that was stopped goes on where
it was and a scan that is repeated looks only at what is new. References are the path below the
directory, the key in the bucket, or the URL.
"""

import asyncio
import ipaddress
import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from unspread.errors import InputError, TransportError, UnreadableMediaError
from unspread.platform_kit.catalogue import MalformedReferenceError
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.store import Store, time_text

_SCHEMA: Final = (
    """CREATE TABLE scan_ledger (
        source TEXT NOT NULL, reference TEXT NOT NULL, version TEXT NOT NULL,
        outcome TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (source, reference)) WITHOUT ROWID""",
)
_MOST_REDIRECTS: Final = 5
_LONGEST_FETCH_SECONDS: Final = 120.0
"""For one piece of content as a whole: a host that drips would else hold a worker for ever."""
_FETCH_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)


class ForbiddenAddressError(InputError):
    """An address that is not to be fetched: its host is not listed, or lies inside a network."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of hosted content."""

    reference: str
    version: str
    """Changes when the content does; empty if the source does not say."""


class Hosted(Protocol):
    """A place that holds content."""

    name: str
    """The same on every scan of this place."""

    def pieces(self) -> AsyncIterator[Piece]:
        """All content, in an order that does not matter."""
        ...

    async def read(self, piece: Piece) -> bytes | Path:
        """The content.

        Raises:
            TransportError: if it cannot be had now.
            InputError: if it is not to be had.
        """
        ...


@dataclass(slots=True)
class Progress:
    """What a scan has done so far."""

    seen: int = 0
    known: int = 0
    """Noted in the ledger with the same version."""
    remembered: int = 0
    matching: int = 0
    """Pieces that match a listing now."""
    unreadable: int = 0
    failed: int = 0
    """Could not be had; the next scan tries them again."""
    by_outcome: dict[str, int] = field(default_factory=dict)


async def scan_hosted(
    kit: Kit,
    hosted: Hosted,
    *,
    workers: int,
    dry_run: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Take everything that is new into the catalogue; what matches is acted on at once.

    Args:
        dry_run: say what would match, and remember and do nothing.
    """
    kit.store.migrate("scan-ledger", _SCHEMA)
    progress = Progress()
    queue: asyncio.Queue[Piece | None] = asyncio.Queue(2 * workers)

    async def work() -> None:
        while (piece := await queue.get()) is not None:
            outcome = await _take(kit, hosted, piece, dry_run=dry_run)
            _count(progress, outcome)
            if outcome != "failed" and not dry_run:
                await asyncio.to_thread(_note, kit, hosted.name, piece, outcome)
            report(progress)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(work())
        async for piece in hosted.pieces():
            progress.seen += 1
            if await asyncio.to_thread(_is_known, kit.store, hosted.name, piece):
                progress.known += 1
                report(progress)
            else:
                await queue.put(piece)
        for _ in range(workers):
            await queue.put(None)
    return progress


async def _take(kit: Kit, hosted: Hosted, piece: Piece, *, dry_run: bool) -> str:
    try:
        media = await hosted.read(piece)
        scanned = await kit.scanner.scan(media)
        if dry_run:
            matches = len(await asyncio.to_thread(kit.look_up, scanned.probes))
        else:
            matches = await kit.remember_scanned(scanned, piece.reference)
    except UnreadableMediaError:
        return "unreadable"
    except MalformedReferenceError:
        return "unusable reference"
    except (TransportError, InputError):
        return "failed"
    return "matches" if matches else "remembered"


def _count(progress: Progress, outcome: str) -> None:
    progress.by_outcome[outcome] = progress.by_outcome.get(outcome, 0) + 1
    progress.remembered += outcome in {"matches", "remembered"}
    progress.matching += outcome == "matches"
    progress.unreadable += outcome in {"unreadable", "unusable reference"}
    progress.failed += outcome == "failed"


def _is_known(store: Store, source: str, piece: Piece) -> bool:
    row = store.read(
        lambda c: c.execute(
            "SELECT version FROM scan_ledger WHERE source = ? AND reference = ?",
            (source, piece.reference),
        ).fetchone()
    )
    return row is not None and row["version"] == piece.version


def _note(kit: Kit, source: str, piece: Piece, outcome: str) -> None:
    values = (source, piece.reference, piece.version, outcome, time_text(kit.clock()))

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO scan_ledger VALUES (?, ?, ?, ?, ?)", values)

    kit.store.write(work)


class Directory:
    """Files below a directory; links are not followed."""

    def __init__(self, root: Path) -> None:
        """All files below `root`."""
        self._root = root.resolve()
        self.name = f"directory {self._root}"

    async def pieces(self) -> AsyncIterator[Piece]:
        """All files, by their path below the directory."""
        walk = self._walk()
        while batch := await asyncio.to_thread(_some_of, walk, 256):
            for piece in batch:
                yield piece

    def _walk(self) -> Iterator[Piece]:
        for parent, directories, names in os.walk(self._root):
            directories.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if path.is_file() and not path.is_symlink():
                    about = path.stat()
                    version = f"{about.st_size}-{about.st_mtime_ns}"
                    yield Piece(path.relative_to(self._root).as_posix(), version)

    async def read(self, piece: Piece) -> bytes | Path:
        """The file itself."""
        return self._root / piece.reference


def _some_of(pieces: Iterator[Piece], count: int) -> list[Piece]:
    return [piece for piece, _ in zip(pieces, range(count), strict=False)]


class Bucket:
    """Objects of a bucket, through obstore: `s3://`, `gs://`, `az://`, `file://`."""

    def __init__(self, url: str, max_bytes: int, **options: Any) -> None:
        """All objects below a prefix; credentials as the provider's own tools find them."""
        from obstore.store import from_url

        self._store = from_url(url, **options)
        self._max_bytes = max_bytes
        self.name = f"bucket {url}"

    async def pieces(self) -> AsyncIterator[Piece]:
        """All objects, by key."""
        async for batch in self._store.list():
            for about in batch:
                version = about.get("e_tag") or str(about["last_modified"])
                yield Piece(about["path"], str(version))

    async def read(self, piece: Piece) -> bytes | Path:
        """The object's bytes."""
        from obstore.exceptions import BaseError

        try:
            found = await self._store.get_async(piece.reference)
            if found.meta["size"] > self._max_bytes:
                raise UnreadableMediaError("the object is larger than uploads may be")
            return bytes(await found.bytes_async())
        except (BaseError, OSError) as error:
            raise TransportError(f"the bucket did not answer: {type(error).__name__}") from None


Resolve = Callable[[str, int], list[str]]
"""Host and port to addresses."""


def resolved(host: str, port: int) -> list[str]:
    """All addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(address[4][0]) for address in found})


class Fetcher:
    """Fetches from places that the settings list, and from nowhere else.

    Only hosts that are listed, only addresses of the open internet, and the address that was
    checked is the one that is connected to: a name that changes its mind is not followed.
    """

    def __init__(
        self,
        hosts: tuple[str, ...],
        max_bytes: int,
        http: httpx.AsyncClient,
        *,
        seconds: float = _LONGEST_FETCH_SECONDS,
        resolve: Resolve = resolved,
    ) -> None:
        """Fetches at most `max_bytes` in `seconds`, redirects and all."""
        self._hosts = frozenset(hosts)
        self._max_bytes = max_bytes
        self._http = http
        self._seconds = seconds
        self._resolve = resolve

    async def fetch(self, url: str) -> bytes:
        """What the URL answers, after redirects that are each checked again.

        Raises:
            ForbiddenAddressError: if it, or where it leads, may not be fetched.
            UnreadableMediaError: if there is more of it than uploads may have.
            TransportError: if it cannot be had now.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._fetch(url)
        except TimeoutError:
            raise TransportError("the content took too long to come") from None

    async def _fetch(self, url: str) -> bytes:
        for _ in range(_MOST_REDIRECTS + 1):
            request = await self._request(url)
            try:
                response = await self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                raise TransportError(f"no answer: {type(error).__name__}") from None
            try:
                if response.is_redirect:
                    url = urljoin(url, response.headers.get("location", ""))
                    continue
                if not response.is_success:
                    raise TransportError(f"status {response.status_code}")
                return await self._body(response)
            except httpx.HTTPError as error:
                raise TransportError(f"broken off: {type(error).__name__}") from None
            finally:
                await response.aclose()
        raise TransportError("too many redirects")

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._max_bytes:
                raise UnreadableMediaError("the content is larger than uploads may be")
        return bytes(body)

    async def _request(self, url: str) -> httpx.Request:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or host not in self._hosts or parts.username:
            raise ForbiddenAddressError("a host that fetch_hosts does not list")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = await asyncio.to_thread(self._resolve, host, port)
        except OSError:
            raise TransportError("the host has no address") from None
        if not addresses or not all(is_public(each) for each in addresses):
            raise ForbiddenAddressError("an address that is not of the open internet")
        address = addresses[0]
        literal = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=f"{literal}:{port}").geturl()
        return self._http.build_request(
            "GET",
            target,
            headers={"host": parts.netloc},
            extensions={"sni_hostname": host},
            timeout=_FETCH_TIMEOUT,
        )


class Urls:
    """Content at URLs, one a line in a file."""

    def __init__(self, file: Path, fetcher: Fetcher) -> None:
        """The URLs in `file`."""
        self._file = file
        self._fetcher = fetcher
        self.name = f"urls {file.resolve()}"

    async def pieces(self) -> AsyncIterator[Piece]:
        """All URLs."""
        text = await asyncio.to_thread(self._file.read_text, encoding="utf-8")
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                yield Piece(line.strip(), "")

    async def read(self, piece: Piece) -> bytes | Path:
        """What the URL answers."""
        return await self._fetcher.fetch(piece.reference)


def is_public(address: str) -> bool:
    """Whether an address is of the open internet."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast
