"""What the person's pages need from the service, and the service from them."""

import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from starlette.types import ASGIApp

from unspread.clearinghouse.composition import PAGES, has_pages
from unspread.clearinghouse.service import Service
from unspread.clearinghouse.staff import texts


def _pages(module: str) -> Any:
    return importlib.import_module(f"{PAGES}.{module}")


def django_values(service: Service) -> dict[str, Any]:
    """Django settings through which the pages reach this service."""
    if not has_pages():
        return {}
    pages = _pages("services")
    said = texts.load(service.settings)
    own_help = texts.helplines_file(service.settings)
    branding = pages.Branding.read(
        service.settings.data,
        name=service.settings.name,
        languages=service.settings.languages,
        contact=said.contact,
        message=said.message,
        help_file=own_help if own_help.exists() else None,
        neutral_url=said.neutral_url,
    )
    return {
        "UNSPREAD_PAGES": pages.PageServices(
            about=service.about,
            challenge=lambda: service.proof_of_work().decode(),
            branding=branding,
        )
    }


def texts_changed(service: Service) -> None:
    """Show the texts as they were just saved."""
    for name, value in django_values(service).items():
        setattr(django_settings, name, value)


def check_helplines(path: Path) -> None:
    """Return if the pages can show the helplines in a file.

    Raises:
        InputError: saying which entry is wrong.
    """
    if has_pages():
        _pages("help_data").read_help(path, datetime.now(UTC).date())


def shipped_helplines() -> str:
    """The package's own helplines, as an organisation's begin."""
    if not has_pages():
        return ""
    shipped: Path = _pages("help_data").SHIPPED
    return shipped.read_text()


def languages(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The languages of the pages."""
    if chosen or not has_pages():
        return chosen or ("en",)
    translated: tuple[str, ...] = _pages("languages").translated()
    return translated


def answer_page(outcome: str, challenge: str) -> str:
    """The small page that carries the answer to the page's form, and what to solve for another."""
    page: str = _pages("answer").render_answer(outcome, challenge)
    return page


def guarded(app: ASGIApp) -> ASGIApp:
    """The application with the browser policy on every response."""
    if not has_pages():
        return app
    wrapped: ASGIApp = _pages("policy").PolicyMiddleware(app)
    return wrapped
