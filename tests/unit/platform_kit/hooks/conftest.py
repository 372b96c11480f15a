"""A kit with a protected picture on its list, asked over HTTP as each software asks."""

import asyncio
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from tests.unit.platform_kit.conftest import REFUSING, Platform
from unspread.platform_kit.access import Scope
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.settings import ListSettings
from unspread.testing.samples import encoded, landscape
from unspread.testing.stand_in import StandInClearinghouse


@cache
def picture(seed: int) -> bytes:
    return encoded(landscape(seed, 320, 240), "JPEG", quality=90)


PROTECTED, HARMLESS = 1, 2


class Hooked:
    """A platform whose list protects one picture."""

    def __init__(self, platform: Platform, clearinghouse: StandInClearinghouse) -> None:
        self.platform = platform
        self.clearinghouse = clearinghouse
        self.listing_id = clearinghouse.protect(picture(PROTECTED))
        platform.sync()
        self.key = platform.kit.keys.issue("hook", Scope, "test", platform.now())

    @property
    def kit(self) -> Kit:
        return self.platform.kit

    def asked(
        self,
        routes: Callable[[httpx.AsyncClient], list[BaseRoute]],
        *requests: dict[str, Any],
        outside: Callable[[httpx.Request], httpx.Response] | None = None,
    ) -> list[httpx.Response]:
        """Answers of the hook's routes; what the hook itself calls is answered by `outside`."""

        def nobody(_request: httpx.Request) -> httpx.Response:
            raise AssertionError("the hook called somebody")

        async def work() -> list[httpx.Response]:
            calls = httpx.MockTransport(outside or nobody)
            async with httpx.AsyncClient(transport=calls) as client:
                app = Starlette(routes=routes(client))
                transport = httpx.ASGITransport(app=app)
                async with httpx.AsyncClient(transport=transport, base_url="http://kit") as http:
                    return [await http.request(**each) for each in requests]

        return asyncio.run(work())


@pytest.fixture
def hooked(tmp_path: Path, clearinghouse: StandInClearinghouse) -> Iterator[Callable[..., Hooked]]:
    opened: list[Platform] = []

    def make(lists: ListSettings = REFUSING, **settings: object) -> Hooked:
        opened.append(Platform(tmp_path, clearinghouse, {"unspread": lists}, **settings))
        return Hooked(opened[-1], clearinghouse)

    yield make
    for each in opened:
        each.close()
