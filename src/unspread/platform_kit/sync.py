"""Follows a clearinghouse's feed: pushes and polls over HTTP, trust by `unspread.feed.reader`.

Whatever goes wrong, the list stays: it is matched against, and said to be stale.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import structlog

from unspread.case_protocol import from_b64
from unspread.crypto import ML_DSA_44_PUBLIC_BYTES
from unspread.errors import InputError, TransportError, TrustError, UnspreadError
from unspread.feed.reader import Event, FeedReader, ListingAdded, ListingChanged, Request
from unspread.model import Listing, ListingId, State
from unspread.platform_kit.enrolment import Membership
from unspread.platform_kit.kit import Kit
from unspread.transparency.policy import LogPolicy, PolicyFile, trial_policy

log = structlog.get_logger("unspread.platform.sync")

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_PUSH_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""A push stream says something every 20 seconds."""
_LONGEST_WAIT_SECONDS: Final = 60.0
_APPROVAL_WAIT_SECONDS: Final = 3.0
_WORTH_ANOTHER_BYTES: Final = 64 * 1024
"""Of progress: with less since another connection broke, the round is given up."""


class NotApprovedError(TransportError):
    """The clearinghouse has no feed for us yet."""


@dataclass(slots=True)
class _Partial:
    """What has arrived of a file that never changes, or of the part of it that was asked for."""

    path: str
    offset_bytes: int | None = None
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Volume:
    """An answer under way: bytes of one volume, which several requests in a row are for."""

    response: httpx.Response
    path: str
    position: int
    """Of the next byte in the volume."""
    parts: AsyncIterator[bytes]
    ahead: bytes = b""
    """Bytes that arrived and were not asked for yet."""

    async def read_into(self, data: bytearray, length: int) -> None:
        """Append bytes until there are `length`.

        Raises:
            httpx.HTTPError: if they do not come.
        """
        while len(data) < length:
            self.ahead = self.ahead or await anext(self.parts, b"")
            if not self.ahead:
                raise httpx.RemoteProtocolError("the answer ended early")
            taken = self.ahead[: length - len(data)]
            self.ahead = self.ahead[len(taken) :]
            data += taken
            self.position += len(taken)


def policy_of(membership: Membership, file: Path | None) -> LogPolicy:
    """Trust in the log that we enrolled with, and in the witnesses that the file names.

    Raises:
        InputError: if the file is no policy, or names another key for this log.
    """
    second = membership.log_key_post_quantum
    own = trial_policy(
        membership.log_origin,
        from_b64(membership.log_key, 32, "log_key"),
        post_quantum_key=from_b64(second, ML_DSA_44_PUBLIC_BYTES, "log_key") if second else b"",
    )
    if file is None:
        return own
    policy = PolicyFile.from_text(file.read_text()).for_log(membership.log_origin)
    if policy.log_key != own.log_key:
        raise InputError("the policy's key for this log is not the one that we enrolled with")
    return replace(policy, post_quantum_key=own.post_quantum_key or policy.post_quantum_key)


class FeedSync:
    """Keeps one list of the kit equal to one clearinghouse's feed."""

    def __init__(
        self, kit: Kit, name: str, membership: Membership, http: httpx.AsyncClient
    ) -> None:
        """For a list that the kit follows already."""
        self._kit = kit
        self._name = name
        self._membership = membership
        self._http = http
        self._news = asyncio.Event()
        state = kit.states[name]
        self._number = state.number
        self._partial = _Partial("")
        self._volume: _Volume | None = None
        self._arrived_bytes = 0
        """In this round, since a connection broke."""
        self._anew_from: int | None = None
        self._reader = self._reader_from(state.cursor or None)

    def _reader_from(self, state: bytes | None) -> FeedReader:
        membership = self._membership
        return FeedReader(
            policy=policy_of(membership, self._kit.settings.witness_policy),
            partner_id=membership.partner_id,
            key=membership.opening_key(),
            state=state,
            item_key_digest_of=self._item_key_digest,
        )

    def _item_key_digest(self, listing_id: ListingId) -> bytes | None:
        listing = self._kit.store.listing(self._number, listing_id)
        return None if listing is None else listing.item_key_digest

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        failures = 0
        while True:
            waits_for_approval = False
            try:
                await self.once()
                failures = 0
            except UnspreadError as error:
                failures += 1
                waits_for_approval = isinstance(error, NotApprovedError)
                self._note(error)
            wait = self._kit.lists[self._name].poll_seconds
            if failures:
                # Full jitter, so that platforms do not come back all at once.
                longest = _APPROVAL_WAIT_SECONDS if waits_for_approval else _LONGEST_WAIT_SECONDS
                most = min(2.0**failures, longest)
                wait = 0.2 + self._kit.random.random() * most
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()

    def _note(self, error: UnspreadError) -> None:
        kind = "trust" if isinstance(error, TrustError) else "transport"
        self._kit.problems[self._name] = str(error)
        self._kit.metrics.sync_failures.labels(self._name, kind).inc()
        if kind == "trust":
            log.error(
                "the list is not to be trusted; keeping the last one",
                list=self._name,
                problem=type(error).__name__,
                text=str(error),
            )
        else:
            log.warning("cannot follow the list", list=self._name, text=str(error))

    async def once(self) -> None:
        """Bring the list up to date.

        Raises:
            TrustError: if what came does not hold; the list is as it was.
            TransportError: if the clearinghouse does not answer.
        """
        try:
            await self._follow_to_the_end()
        finally:
            await self._close_volume()
        await self._kit.checked(self._name)

    async def _follow_to_the_end(self) -> None:
        reader = self._reader
        self._arrived_bytes = 0
        reader.begin()
        while (request := reader.next_request()) is not None:
            try:
                body = await self._fetch(request)
            except BaseException:
                reader.give_up()
                raise
            before = reader.size
            events = await asyncio.to_thread(reader.receive, request, body, self._kit.clock())
            if reader.begins_anew and self._anew_from is None:
                self._anew_from = await asyncio.to_thread(self._kit.store.sequence)
            if events or reader.size != before:
                await self._kit.apply(
                    self._name,
                    await asyncio.to_thread(self._listings, events),
                    cursor=reader.state(),
                    size=reader.size,
                    root=reader.root.hex(),
                )
        if reader.has_begun_anew():
            await self._drop_what_did_not_come_again()

    async def _drop_what_did_not_come_again(self) -> None:
        """End what another scope no longer covers: it is not ours to match any more."""
        since, self._anew_from = self._anew_from or 0, None
        store, reader = self._kit.store, self._reader
        gone = await asyncio.to_thread(store.written_before, self._number, since + 1)
        log.warning("the list has another scope", list=self._name, scope=reader.scope)
        await self._kit.apply(
            self._name,
            [replace(each, state=State.EXPIRED) for each in gone],
            cursor=reader.state(),
            size=reader.size,
            root=reader.root.hex(),
        )

    def _listings(self, events: Sequence[Event]) -> list[Listing]:
        """What the listings in the events have become, each once."""
        changed: dict[ListingId, Listing] = {}
        for event in events:
            if isinstance(event, ListingAdded):
                changed[event.listing.listing_id] = event.listing
            elif isinstance(event, ListingChanged):
                listing = changed.get(event.listing_id) or self._kit.store.listing(
                    self._number, event.listing_id
                )
                if listing is not None:
                    changed[event.listing_id] = replace(
                        listing, state=event.state, level=event.level
                    )
        return list(changed.values())

    async def _fetch(self, request: Request) -> bytes:
        """The bytes; where a connection breaks, the next goes on, in this round or a later one."""
        known = self._partial
        is_known = (known.path, known.offset_bytes) == (request.path, request.offset_bytes)
        partial = known if is_known else _Partial(request.path, request.offset_bytes)
        try:
            while not await self._fetch_some(request, partial):
                pass
        except BaseException:
            if request.is_immutable:
                self._partial = partial
            raise
        if is_known:
            self._partial = _Partial("")
        return bytes(partial.data)

    async def _fetch_some(self, request: Request, partial: "_Partial") -> bool:
        """Fetch until it is complete or the connection breaks; whether it is complete.

        Raises:
            TransportError: if so little arrived that another try is for another round.
        """
        fetch_on = self._fetch_on if request.offset_bytes is None else self._fetch_on_in_volume
        before = len(partial.data)
        try:
            await fetch_on(request, partial)
        except httpx.HTTPError as error:
            arrived = self._arrived_bytes + len(partial.data) - before
            self._arrived_bytes = 0
            if not request.is_immutable or arrived < _WORTH_ANOTHER_BYTES:
                raise TransportError(
                    f"the clearinghouse does not answer ({type(error).__name__})"
                ) from None
            return False
        self._arrived_bytes += len(partial.data) - before
        return True

    async def _fetch_on(self, request: Request, partial: "_Partial") -> None:
        url = f"{self._membership.feed}/{request.path}"
        start = len(partial.data)
        if start >= request.max_bytes and request.is_immutable:
            return
        headers = {"range": f"bytes={start}-"} if start else {}
        async with self._http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
            status = response.status_code
            if status == HTTPStatus.NOT_FOUND and not request.is_immutable:
                raise NotApprovedError(
                    "the clearinghouse has no feed for us yet: it waits for approval there"
                )
            goes_on = status == HTTPStatus.PARTIAL_CONTENT and response.headers.get(
                "content-range", ""
            ).startswith(f"bytes {start}-")
            if not (goes_on or status == HTTPStatus.OK):
                partial.data.clear()
                raise TransportError(f"the clearinghouse answered {status}")
            if not goes_on:
                partial.data.clear()
            async for part in response.aiter_bytes():
                partial.data += part
                if len(partial.data) > request.max_bytes:
                    break

    async def _fetch_on_in_volume(self, request: Request, partial: "_Partial") -> None:
        """Go on with the answer that is under way, if it is where the request is; else ask."""
        at = (request.offset_bytes or 0) + len(partial.data)
        try:
            volume = self._volume
            if volume is None or (volume.path, volume.position) != (request.path, at):
                volume = await self._open_volume(request, at)
            await volume.read_into(partial.data, request.max_bytes)
        except BaseException:
            await self._close_volume()
            raise

    async def _open_volume(self, request: Request, at: int) -> "_Volume":
        await self._close_volume()
        stop = (request.offset_bytes or 0) + request.max_bytes + request.more_bytes
        url = f"{self._membership.feed}/{request.path}"
        headers = {"range": f"bytes={at}-{stop - 1}"}
        asked = self._http.build_request("GET", url, headers=headers, timeout=_TIMEOUT)
        response = await self._http.send(asked, stream=True)
        self._volume = _Volume(response, request.path, at, response.aiter_bytes())
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or not response.headers.get(
            "content-range", ""
        ).startswith(f"bytes {at}-"):
            raise TransportError(f"the clearinghouse answered {response.status_code} to a range")
        return self._volume

    async def _close_volume(self) -> None:
        volume, self._volume = self._volume, None
        if volume is not None:
            await volume.response.aclose()

    async def _listen(self) -> None:
        """Wake the follower at every push; without pushes it polls."""
        failures = 0
        while True:
            try:
                async with self._http.stream(
                    "GET", self._membership.push, timeout=_PUSH_TIMEOUT
                ) as response:
                    if response.status_code == HTTPStatus.OK:
                        async for line in response.aiter_lines():
                            failures = 0
                            if line.startswith("data:"):
                                self._news.set()
            except httpx.HTTPError:
                pass
            failures += 1
            wait = 0.2 + self._kit.random.random() * min(2.0**failures, _LONGEST_WAIT_SECONDS)
            await asyncio.sleep(wait)
