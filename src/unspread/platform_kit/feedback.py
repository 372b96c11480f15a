"""Tells a clearinghouse what was received, found, refused, removed and disputed, signed.

Everything stands in the store first and stays there until the clearinghouse has taken it; each
piece has an id of its own, so that sending again changes nothing.
"""

import asyncio
import os
from datetime import timedelta
from typing import Final

import httpx
import structlog

from unspread.case_protocol import AcknowledgeRequest, FeedbackRequest, FeedbackText, to_b64
from unspread.errors import InputError, TransportError
from unspread.platform_kit.enrolment import Membership
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.signing import sign

log = structlog.get_logger("unspread.platform.feedback")

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_LONGEST_WAIT_SECONDS: Final = 60.0
STILL_HERE: Final = timedelta(minutes=10)
"""So often a platform says how far it is although nothing is new: people see on the first page
when it was last heard from. The clearinghouse logs nothing for it."""


class FeedbackRefusedError(InputError):
    """The clearinghouse will not take this, now or later."""


class FeedbackSender:
    """Sends one list's acknowledgements and feedback."""

    def __init__(
        self, kit: Kit, name: str, membership: Membership, http: httpx.AsyncClient
    ) -> None:
        """For a list that the kit follows already."""
        self._kit = kit
        self._name = name
        self._membership = membership
        self._key = membership.signing_key()
        self._http = http

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            try:
                await self.once()
                failures = 0
            except (TransportError, FeedbackRefusedError) as error:
                failures += 1
                log.warning("cannot send feedback", list=self._name, text=str(error))
            wait = self._kit.settings.feedback_flush_seconds
            if failures:
                wait = 0.5 + self._kit.random.random() * min(2.0**failures, _LONGEST_WAIT_SECONDS)
                await asyncio.sleep(wait)
                continue
            try:
                async with asyncio.timeout(wait):
                    await self._kit.feedback_event(self._name).wait()
            except TimeoutError:
                pass
            self._kit.feedback_event(self._name).clear()

    async def once(self) -> None:
        """Send what is due.

        Raises:
            TransportError: if the clearinghouse does not answer.
            FeedbackRefusedError: if it refuses.
        """
        store = self._kit.store
        await self._kit.refresh_states()
        state = self._kit.states[self._name]
        now = self._kit.clock()
        said_at = self._kit.said_at.get(self._name)
        is_silent = said_at is None or now - said_at >= STILL_HERE
        is_news = state.relevant_size > state.acknowledged_size
        if state.checked_at is not None and (is_news or is_silent):
            await self._post("acknowledge", AcknowledgeRequest(state.size, state.root).to_json())
            await asyncio.to_thread(store.acknowledged, state.number, state.size)
            self._kit.said_at[self._name] = now
        if not self._kit.lists[self._name].feedback:
            return
        while due := await asyncio.to_thread(store.feedback_due, state.number):
            texts = [
                FeedbackText(
                    each_id,
                    each.listing_id,
                    each.kind,
                    each.at,
                    each.count,
                    each.reason,
                    each.accounts,
                    each.oldest_on,
                )
                for each_id, each in due
            ]
            await self._post("feedback", FeedbackRequest(texts).to_json())
            await asyncio.to_thread(
                store.feedback_sent, [each_id for each_id, _ in due], self._kit.clock()
            )

    async def _post(self, what: str, body: bytes) -> None:
        request = self._http.build_request(
            "POST",
            f"{self._membership.clearinghouse}/v1/{what}",
            content=body,
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT,
        )
        sign(
            request,
            self._key,
            key_id=self._membership.partner_id,
            created=self._kit.clock(),
            nonce=to_b64(os.urandom(16)),
        )
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            raise TransportError(
                f"the clearinghouse does not answer ({type(error).__name__})"
            ) from None
        if response.is_success:
            return
        text = f"the clearinghouse answered {response.status_code} to {what}"
        if response.status_code >= 500 or response.status_code == 429:
            raise TransportError(text)
        raise FeedbackRefusedError(text)
