"""Follows a clearinghouse's feed: pushes and polls over HTTP, trust by `unspread.feed.reader`.

Whatever goes wrong, the list stays: it is matched against, and said to be stale.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import structlog

from unspread.case_protocol import from_b64
from unspread.crypto import ML_DSA_44_PUBLIC_BYTES
from unspread.errors import InputError, TransportError, TrustError, UnspreadError
from unspread.feed.reader import Event, FeedReader, ListingAdded, ListingChanged, Request
from unspread.model import Listing, ListingId
from unspread.platform_kit.enrolment import Membership
from unspread.platform_kit.kit import Kit
from unspread.transparency.policy import LogPolicy, PolicyFile, trial_policy

log = structlog.get_logger("unspread.platform.sync")

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_PUSH_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""A push stream says something every 20 seconds."""
_LONGEST_WAIT_SECONDS: Final = 60.0
_APPROVAL_WAIT_SECONDS: Final = 3.0
_HTTP_STATUS_OK: Final = 200
_HTTP_STATUS_NOT_FOUND: Final = 404


class NotApprovedError(TransportError):
    """The clearinghouse has no feed for us yet."""


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
        reader = self._reader
        reader.begin()
        while (request := reader.next_request()) is not None:
            try:
                body = await self._fetch(request)
            except BaseException:
                reader.give_up()
                raise
            before = reader.size
            events = await asyncio.to_thread(reader.receive, request, body, self._kit.clock())
            if events or reader.size != before:
                await self._kit.apply(
                    self._name,
                    await asyncio.to_thread(self._listings, events),
                    cursor=reader.state(),
                    size=reader.size,
                    root=reader.root.hex(),
                )
        await self._kit.checked(self._name)

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
        url = f"{self._membership.feed}/{request.path}"
        parts: list[bytes] = []
        size = 0
        try:
            async with self._http.stream("GET", url, timeout=_TIMEOUT) as response:
                if response.status_code == _HTTP_STATUS_NOT_FOUND and not request.is_immutable:
                    raise NotApprovedError(
                        "the clearinghouse has no feed for us yet: it waits for approval there"
                    )
                if response.status_code != _HTTP_STATUS_OK:
                    raise TransportError(f"the clearinghouse answered {response.status_code}")
                async for part in response.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > request.max_bytes:
                        break
        except httpx.HTTPError as error:
            raise TransportError(
                f"the clearinghouse does not answer ({type(error).__name__})"
            ) from None
        return b"".join(parts)

    async def _listen(self) -> None:
        """Wake the follower at every push; without pushes it polls."""
        failures = 0
        while True:
            try:
                async with self._http.stream(
                    "GET", self._membership.push, timeout=_PUSH_TIMEOUT
                ) as response:
                    if response.status_code == _HTTP_STATUS_OK:
                        async for line in response.aiter_lines():
                            failures = 0
                            if line.startswith("data:"):
                                self._news.set()
            except httpx.HTTPError:
                pass
            failures += 1
            wait = 0.2 + self._kit.random.random() * min(2.0**failures, _LONGEST_WAIT_SECONDS)
            await asyncio.sleep(wait)
