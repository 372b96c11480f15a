"""What every page of the kit has: a template, a strict policy, and a check of who sent a form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from unspread.errors import InputError, TrustError

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

MAX_FORM_BYTES: Final = 256 * 1024


class ForeignFormError(TrustError):
    """A form or script of another site sent this with our visitor's cookies."""


class TooLargeError(InputError):
    """More was sent than is taken here."""


class Pages:
    """Renders one part's templates, with the kit's own around them."""

    def __init__(self, *directories: Path) -> None:
        """`directories`: where to look for templates, in order."""
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([*directories, Path(__file__).parent / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page from its template."""
        text = self._environment.get_template(name).render(values)
        return HTMLResponse(text, status, headers=dict(HEADERS))


def to(path: str) -> Response:
    """Send the browser to another page after a form, by GET."""
    return Response(status_code=303, headers={**HEADERS, "location": path})


def check_same_origin(headers: Mapping[str, str]) -> None:
    """Return if a request that changes something comes from our own pages, or from no browser.

    Browsers say so themselves in Sec-Fetch-Site, older ones in Origin; programs send neither
    (https://words.filippo.io/csrf: the check that Go's CrossOriginProtection makes). Session
    cookies are SameSite=Strict besides.

    Raises:
        ForeignFormError: if it comes from another site.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in {"same-origin", "none"}:
            raise ForeignFormError("this form was sent from another site")
        return
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise ForeignFormError("this form was sent from another site")


async def limited_body(request: Request, max_bytes: int = MAX_FORM_BYTES) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: as soon as it is longer than `max_bytes`.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise TooLargeError(f"at most {max_bytes} bytes are taken here")
        parts.append(part)
    return b"".join(parts)
