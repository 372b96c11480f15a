"""The person's pages. Each is one template; what a browser may do on them is in `policy`."""

from datetime import UTC, datetime
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.http import require_safe

from unspread.clearinghouse.pages.assets import assets
from unspread.clearinghouse.pages.help_data import SHIPPED, read_help
from unspread.clearinghouse.pages.languages import (
    NAMES,
    REVIEWED,
    RIGHT_TO_LEFT,
    choose,
    translated,
)
from unspread.clearinghouse.pages.services import services

INFORMATION: Final = frozenset({"now", "safe", "how", "letter"})
"""Pages without a step: what to do under threat, a shared device, checking us, a letter."""


def offered_languages() -> tuple[str, ...]:
    """Codes, in the operator's order."""
    return services().branding.languages or translated()


@require_safe
def to_language(request: HttpRequest) -> HttpResponse:
    """From `/` to the address of the language that the browser prefers."""
    language = choose(request.headers.get("accept-language", ""), offered_languages())
    return HttpResponseRedirect(f"/{language}/")


@require_safe
def start(request: HttpRequest, language: str) -> HttpResponse:
    """What this does and what it cannot do, before anything is asked."""
    return _page(request, language, "start", about=services().about())


@require_safe
def begin(request: HttpRequest, language: str) -> HttpResponse:
    """The way through: choose, check, send, receipt."""
    return _page(
        request, language, "begin", about=services().about(), challenge=services().challenge()
    )


@require_safe
def status(request: HttpRequest, language: str) -> HttpResponse:
    """What became of a case, for who has its receipt."""
    return _page(request, language, "status", about=services().about())


@require_safe
def helpers(request: HttpRequest, language: str) -> HttpResponse:
    """Who helps, by country."""
    path = services().branding.help_file or SHIPPED
    countries = read_help(path, datetime.now(UTC).date())
    return _page(request, language, "help", countries=countries)


@require_safe
def information(request: HttpRequest, language: str, name: str) -> HttpResponse:
    """A page to read."""
    if name not in INFORMATION:
        raise Http404
    return _page(request, language, name)


@require_safe
def leave(request: HttpRequest) -> HttpResponse:
    """Clear what the browser holds of us, then go on to a neutral page."""
    response = render(request, "pages/leave.html", {"url": services().branding.neutral_url})
    response["Clear-Site-Data"] = '"cache", "storage"'
    return response


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:
    """A script or style, as it is in the package."""
    found = assets().get(name)
    if found is None:
        raise Http404
    if "gzip" in request.headers.get("accept-encoding", ""):
        response = HttpResponse(found.gzipped, content_type=found.content_type)
        response["Content-Encoding"] = "gzip"
    else:
        response = HttpResponse(found.body, content_type=found.content_type)
    response["Vary"] = "Accept-Encoding"
    return response


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """The neutral icon, where a browser asks for it by itself."""
    return asset(request, "ui/icon.svg")


@require_safe
def brand_style(_request: HttpRequest) -> HttpResponse:
    """The operator's colour."""
    return HttpResponse(
        f":root {{ --brand: {services().branding.colour}; }}\n", content_type="text/css"
    )


def _page(request: HttpRequest, language: str, name: str, **context: Any) -> HttpResponse:
    if language not in offered_languages() or language not in NAMES:
        raise Http404
    context |= {
        "brand": services().branding,
        "training": services().about().training,
        "language": language,
        "language_name": NAMES[language],
        "direction": "rtl" if language in RIGHT_TO_LEFT else "ltr",
        "reviewed": language in REVIEWED,
        "languages": [(code, NAMES[code]) for code in offered_languages()],
    }
    with translation.override(language):
        return render(request, f"pages/{name}.html", context)
