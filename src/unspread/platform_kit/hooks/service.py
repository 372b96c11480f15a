"""Puts the hooks together that the settings name."""

import httpx
from starlette.routing import BaseRoute

from unspread.platform_kit.hooks.hma import Hma
from unspread.platform_kit.hooks.mastodon import Mastodon
from unspread.platform_kit.kit import Kit

TIMEOUT_SECONDS = 60.0


def routes(kit: Kit) -> list[BaseRoute]:
    """Routes of every hook that is configured.

    Raises:
        InputError: if one is configured in a way that cannot work.
    """
    settings = kit.settings
    client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS)
    found: list[BaseRoute] = []
    if settings.hma.enabled:
        found.extend(Hma(kit, client).routes())
    if settings.tusd is not None:
        from unspread.platform_kit.hooks.tusd import Tusd

        found.extend(Tusd(kit, settings.tusd, client).routes())
    if settings.mastodon is not None:
        found.extend(Mastodon(kit, settings.mastodon, client).routes())
    return found
