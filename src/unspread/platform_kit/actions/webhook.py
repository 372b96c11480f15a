"""Actions as signed webhooks."""

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from unspread.platform_kit.actions.delivery import TryAgainError, UndeliverableError, body
from unspread.platform_kit.actions.signature import WebhookKey, signed_headers
from unspread.platform_kit.store import Action


class WebhookDelivery:
    """POSTs to one address. Redirects are not followed: a signed order goes where it was sent."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        keys: Sequence[WebhookKey],
        timeout_seconds: float,
    ) -> None:
        """The client is the caller's to close."""
        self._client = client
        self._url = url
        self._keys = keys
        self._timeout_seconds = timeout_seconds

    async def __call__(self, action: Action, now: datetime) -> None:
        """Deliver once."""
        content = body(action)
        headers = signed_headers(action.action_id, int(now.timestamp()), content, self._keys)
        try:
            # Streamed, so that what the receiver answers besides its status is never read.
            async with self._client.stream(
                "POST",
                self._url,
                content=content,
                headers={**headers, "content-type": "application/json"},
                timeout=self._timeout_seconds,
                follow_redirects=False,
            ) as response:
                pass
        except httpx.TimeoutException:
            raise TryAgainError("no answer in time") from None
        except httpx.TransportError as error:
            # The error's text can hold the address, which can hold a password.
            raise TryAgainError(f"no connection ({type(error).__name__})") from None
        if response.is_success:
            return
        if response.status_code == HTTPStatus.GONE:
            raise UndeliverableError("the receiver wants no more of these (410)")
        raise TryAgainError(
            f"answered {response.status_code}",
            asked_seconds=retry_after_seconds(response.headers.get("retry-after"), now),
        )


def retry_after_seconds(text: str | None, now: datetime) -> float | None:
    """What a `Retry-After` header asks for (RFC 9110, section 10.2.3); None if nothing."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None
