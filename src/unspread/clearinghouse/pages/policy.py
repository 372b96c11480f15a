"""The protective headers on every response, set in one place (`unspread.page_headers`)."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unspread.page_headers import headers_for


class PolicyMiddleware:
    """Adds the headers to every response of a whole ASGI application.

    A response that brings its own Content-Security-Policy (the staff console's) keeps all that
    it brings.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _guard(message, path)
            await send(message)

        await self.app(scope, receive, send_guarded)


def _guard(message: Message, path: str) -> None:
    message.setdefault("headers", [])
    headers = MutableHeaders(raw=message["headers"])
    own = "content-security-policy" in headers
    for name, value in headers_for(path).items():
        # Caching of the feed's immutable files is theirs to say; pages say nothing.
        if name not in headers and not (own and name == "Connection-Allowlist"):
            headers.append(name, value)
