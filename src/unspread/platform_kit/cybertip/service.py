"""Puts reporting together from the kit; nothing unless `[cybertip]` is set."""

from pathlib import Path

import httpx
from starlette.routing import BaseRoute

from unspread.errors import InputError
from unspread.platform_kit.cybertip.client import CyberTipline, Environment, credentials
from unspread.platform_kit.cybertip.filing import Filings
from unspread.platform_kit.cybertip.pages import CyberTipPages
from unspread.platform_kit.cybertip.settings import CyberTipSettings
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.review.content import content_for
from unspread.platform_kit.review.service import desk_of, held_content, records_of

TEMPLATES = Path(__file__).parent / "templates"


def routes(kit: Kit) -> list[BaseRoute]:
    """The page for leads.

    Raises:
        InputError: if reports are to be filed for real and there are no credentials.
    """
    settings = kit.settings.cybertip
    if settings is None:
        return []
    content = content_for(kit.settings.review, kit.settings.data, held_content(kit))
    pages = CyberTipPages(
        records_of(kit),
        desk_of(kit, TEMPLATES),
        content,
        settings=settings,
        people=kit.settings.review.people,
        filings=_filings(kit, settings),
        clock=kit.clock,
    )
    return pages.routes()


def _filings(kit: Kit, settings: CyberTipSettings) -> Filings | None:
    path = kit.settings.data / settings.credentials_file
    if not path.exists():
        if settings.production:
            raise InputError(f"NCMEC's credentials are missing: {path}")
        return None
    user, password = credentials(path.read_text())
    environment = Environment.PRODUCTION if settings.production else Environment.TEST
    client = httpx.Client(trust_env=False)
    tipline = CyberTipline(client, settings.address or environment, user, password)
    return Filings(kit.store, tipline, environment.name.lower(), kit.clock)
