"""What the person's pages need from the service, and the service from them."""

import importlib
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from unspread.clearinghouse.composition import PAGES, has_pages

if TYPE_CHECKING:
    from unspread.clearinghouse.service import Service


def _pages(module: str) -> Any:
    return importlib.import_module(f"{PAGES}.{module}")


def django_values(service: "Service") -> dict[str, Any]:
    """Django settings through which the pages reach this service."""
    if not has_pages():
        return {}
    pages = _pages("services")
    return {
        "UNSPREAD_PAGES": pages.PageServices(
            about=service.about,
            challenge=lambda: service.proof_of_work().decode(),
            branding=pages.Branding(
                name=service.settings.name, languages=service.settings.languages
            ),
        )
    }


def languages(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The languages of the pages."""
    if chosen or not has_pages():
        return chosen or ("en",)
    translated: tuple[str, ...] = _pages("languages").translated()
    return translated


def answer_page(outcome: str) -> str:
    """The small page that carries the answer to the page's form."""
    page: str = _pages("answer").render_answer(outcome)
    return page


def guarded(app: ASGIApp) -> ASGIApp:
    """The application with the browser policy on every response."""
    if not has_pages():
        return app
    wrapped: ASGIApp = _pages("policy").PolicyMiddleware(app)
    return wrapped
