"""A list in memory, served over real HTTP, and the published clients pointed at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import ModuleType, SimpleNamespace

from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.impl import fb_threatexchange_api, ncmec_api, stop_ncii_api

from unspread.exchange.listings import Scope
from unspread.model import Kind, Listing, Media, Part
from unspread.testing.exchange import (
    Credentials,
    MemoryAudit,
    MemoryKeys,
    credentials,
    served,
)
from unspread.testing.listings import MemoryListings, sample_picture, sample_video

CLIENT_MODULES: tuple[ModuleType, ...] = (
    hash_api,
    ncmec_api,
    stop_ncii_api,
    fb_threatexchange_api,
)


class Clock:
    """One clock for the server and the published clients, moved by the test."""

    def __init__(self, at: float = 1_795_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def tick(self, seconds: float = 1) -> None:
        self.at += seconds


@dataclass
class House:
    """A clearinghouse without its database: a list, keys, and an address."""

    url: str
    clock: Clock
    listings: MemoryListings
    keys: MemoryKeys
    audit: MemoryAudit
    random: Random

    def partner(self, name: str, scope: Scope | None = None) -> Credentials:
        return credentials(self.keys, name, self.listings.join(name), scope)

    def pictures(self, count: int) -> list[int]:
        return [self.listings.list_item(sample_picture(self.random)) for _ in range(count)]

    def video(self) -> int:
        return self.listings.list_item(sample_video(self.random), media=Media.VIDEO)

    def listing(self, listing_id: int) -> Listing:
        return self.listings.find(listing_id).listing


@contextmanager
def house(monkeypatch, clock: Clock | None = None) -> Iterator[House]:
    """Serve an empty list. The published clients are told the time by the same clock."""
    clock = clock or Clock()
    listings, keys, audit = MemoryListings(clock), MemoryKeys(), MemoryAudit()
    for module in CLIENT_MODULES:
        monkeypatch.setattr(module, "time", SimpleNamespace(time=clock))
    with served(listings, keys, audit, clock) as url:
        yield House(url, clock, listings, keys, audit, Random(31))


def pdq(listing: Listing) -> str:
    return next(
        each.value.hex()
        for each in listing.fingerprints
        if each.kind is Kind.PDQ and each.part is not Part.FRAME
    )


def active(listings: MemoryListings, media: Media) -> list[Listing]:
    return [each for each in listings.listings() if each.is_active and each.media is media]
