"""Takes in the rest of an upload that was answered already, so that the answer arrives.

A refusal (no key, too large, busy) is sent before the upload was read. Closing the connection then
resets it, and a proxy that was still sending makes a 502 of our answer: RFC 9112, section 9.6.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST_SECONDS: Final = 30.0


class Lingering:
    """An ASGI application that reads what its callers send to the end, within bounds."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        """Read up to `most_bytes` after an answer, for half a minute at most."""
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _comes_with_a_body(scope):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def received() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def take_in_the_rest() -> None:
            taken = 0
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    while not is_read and taken <= self._most_bytes:
                        taken += len((await received()).get("body", b""))
            except TimeoutError:
                pass

        async def answered(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and not is_read:
                # The whole answer goes out first: whoever listens need not send the rest.
                await send({**message, "more_body": True})
                await take_in_the_rest()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, received, answered)


def _comes_with_a_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if b"expect" in headers:
        # It waits for our word before it sends.
        return False
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
