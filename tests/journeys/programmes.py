"""A list in memory, served over real HTTP, and the published clients pointed at it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import ModuleType, SimpleNamespace

from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.impl import fb_threatexchange_api, ncmec_api, stop_ncii_api
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

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

SIGNALS = [PdqSignal, VideoMD5Signal]

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


class Copy:
    """What HMA keeps: an exchange class, its checkpoint, its state."""

    def __init__(self, api, collab) -> None:
        self.api, self.collab = api, collab
        self.state, self.checkpoint = {}, None
        self.told, self.repeated = 0, []

    def fetch(self) -> None:
        for delta in self.api.fetch_iter(SIGNALS, self.checkpoint):
            self.told += len(delta.updates)
            # Of a record that is neither new nor a deletion.
            self.repeated += [
                key
                for key, update in delta.updates.items()
                if key in self.state and update and not getattr(update, "deleted", False)
            ]
            self.api.naive_fetch_merge(self.state, delta.updates)
            if self.checkpoint is not None:
                # HMA and the command line insist.
                before = self.checkpoint.get_progress_timestamp()
                assert delta.checkpoint.get_progress_timestamp() >= before
            self.checkpoint = delta.checkpoint

    def signals(self) -> dict:
        found = self.api.naive_convert_to_signal_type(SIGNALS, self.collab, self.state)
        return {kind: found.get(kind, {}) for kind in SIGNALS}


def fetch_while_the_list_changes(home: House, fetch: Callable[[], None], changes: int) -> set[str]:
    """People submit and withdraw while somebody fetches; every PDQ that was ever listed."""
    random, listed = home.random, home.pictures(500)
    ever = {pdq(each) for each in active(home.listings, Media.IMAGE)}
    enough = threading.Event()
    made: list[int] = []

    def change() -> None:
        while not enough.wait(0.001):
            if random.random() < 0.4:
                home.listings.withdraw(listed.pop(random.randrange(len(listed))))
            else:
                listed.extend(home.pictures(1))
                ever.add(pdq(home.listing(listed[-1])))
            made.append(1)
            if random.random() < 0.2:
                home.clock.tick()

    changing = threading.Thread(target=change)
    changing.start()
    try:
        while len(made) < changes:
            fetch()
    finally:
        enough.set()
        changing.join()
    home.clock.tick(10)
    fetch()
    return ever


def pdq(listing: Listing) -> str:
    return next(
        each.value.hex()
        for each in listing.fingerprints
        if each.kind is Kind.PDQ and each.part is not Part.FRAME
    )


def active(listings: MemoryListings, media: Media) -> list[Listing]:
    return [each for each in listings.listings() if each.is_active and each.media is media]
