"""A list in memory behind the real routes, called in process."""

from dataclasses import dataclass, field
from random import Random

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from unspread.clearinghouse import exchange_api
from unspread.clearinghouse.exchange_api import Exchange
from unspread.exchange.listings import Scope
from unspread.testing.exchange import Credentials, MemoryAudit, MemoryKeys, credentials
from unspread.testing.listings import MemoryListings

BASE = "http://testserver"


class Clock:
    """Seconds since 1970, moved by the test alone."""

    def __init__(self, at: float = 1_795_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def tick(self, seconds: float = 1) -> None:
        self.at += seconds


@dataclass
class World:
    """One clearinghouse's list, one partner, and a way to call it."""

    clock: Clock = field(default_factory=Clock)
    random: Random = field(default_factory=lambda: Random(9))
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    audit: MemoryAudit = field(default_factory=MemoryAudit)

    def __post_init__(self) -> None:
        self.listings = MemoryListings(self.clock)
        self.acme = self.partner("acme")
        exchange = Exchange(self.listings, self.keys, self.audit, self.clock, BASE)
        self.app = Starlette(routes=exchange_api.routes(exchange))

    def partner(self, name: str, scope: Scope | None = None) -> Credentials:
        return credentials(
            self.keys, name, self.listings.join(name.title()), scope or Scope(windows=True)
        )

    def client(self, path: str) -> TestClient:
        client = TestClient(self.app, base_url=BASE + "/exchange" + path)
        client.headers["user-agent"] = "test"
        return client

    def ncmec(self, who: Credentials | None = None) -> TestClient:
        who = who or self.acme
        client = self.client("/ncmec")
        client.auth = (who.user, who.password)
        return client


@pytest.fixture
def world() -> World:
    return World()
