"""A kit that follows a clearinghouse in memory."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from unspread.model import ListingId
from unspread.platform_kit.access import Keys
from unspread.platform_kit.app import load_bank
from unspread.platform_kit.bank import Bank
from unspread.platform_kit.catalogue import SqliteCatalogue
from unspread.platform_kit.enrolment import enrol, memberships
from unspread.platform_kit.feedback import FeedbackSender
from unspread.platform_kit.kit import Kit, ScanAnswer
from unspread.platform_kit.metrics import Metrics
from unspread.platform_kit.scanner import Scanner, thread_fingerprinter
from unspread.platform_kit.settings import LevelResponses, ListSettings, Response, Settings
from unspread.platform_kit.store import Store
from unspread.platform_kit.sync import FeedSync
from unspread.testing.stand_in import ADDRESS, StandInClearinghouse

REFUSING = ListSettings(actions=LevelResponses(unverified=Response.REFUSE))
HOLDING = ListSettings()


class Platform:
    """A platform kit on a directory, driven step by step; `restarted` is the next process."""

    def __init__(
        self,
        data: Path,
        clearinghouse: StandInClearinghouse,
        lists: dict[str, ListSettings] | None = None,
        **values: object,
    ) -> None:
        self.data = data
        self.clearinghouse = clearinghouse
        self.values = values
        self.settings = Settings(
            data=data, lists={"unspread": REFUSING} if lists is None else lists, **values
        )
        if not list(memberships(data)):
            with clearinghouse.sync_client() as http:
                enrol(data, "unspread", ADDRESS, "please come in", "Board", http=http)
        self.kit = self._opened()

    def now(self) -> datetime:
        return self.clearinghouse.now

    def _opened(self) -> Kit:
        store = Store(self.data)
        kit = Kit(
            settings=self.settings,
            store=store,
            bank=Bank({}),
            catalogue=SqliteCatalogue(store, self.data / "catalogue"),
            scanner=Scanner(thread_fingerprinter(self.settings.min_quality), 4),
            keys=Keys(store, self.settings.requests_per_minute, lambda: 0.0),
            metrics=Metrics(),
            clock=self.now,
            random=random.Random(1),
        )

        async def load() -> None:
            for name, _ in memberships(self.data):
                await kit.follow(name, "feed", self.settings.list_settings(name))
            await load_bank(kit)
            await kit.match_uncovered()

        asyncio.run(load())
        return kit

    def restarted(self, lists: dict[str, ListSettings] | None = None) -> "Platform":
        self.close()
        return Platform(self.data, self.clearinghouse, lists or self.settings.lists, **self.values)

    def sync(self) -> None:
        """Follow the feed and search the catalogue."""

        async def work() -> None:
            async with self.clearinghouse.client() as http:
                for name, membership in memberships(self.data):
                    await FeedSync(self.kit, name, membership, http).once()
            await self.kit.search_new_listings()

        asyncio.run(work())

    @contextmanager
    def following(self) -> Iterator[Callable[[], None]]:
        """Rounds of one sync, as the running program makes them."""
        with asyncio.Runner() as runner:
            http = self.clearinghouse.client()
            ((name, membership),) = memberships(self.data)
            sync = FeedSync(self.kit, name, membership, http)
            yield lambda: runner.run(sync.once())
            runner.run(http.aclose())

    def send_feedback(self) -> None:
        async def work() -> None:
            self.kit.store.sum_up_blocked(self.now())
            async with self.clearinghouse.client() as http:
                for name, membership in memberships(self.data):
                    await FeedbackSender(self.kit, name, membership, http).once()

        asyncio.run(work())

    def scan(self, media: bytes, reference: str | None = None) -> ScanAnswer:
        return asyncio.run(self.kit.scan(media, reference))

    def remember(self, media: bytes, reference: str) -> int:
        return asyncio.run(self.kit.remember(media, reference))

    def actions(self) -> list[tuple[str, str, ListingId]]:
        due = self.kit.store.actions_due(self.now() + timedelta(days=1))
        return [(each.action, each.reference, each.listing_id) for each in due]

    def carry_out(self) -> None:
        """Do what is due, as a webhook's receiver that always says yes."""
        for each in self.kit.store.actions_due(self.now() + timedelta(days=1)):
            self.kit.store.action_delivered(each.action_id, self.now())

    def close(self) -> None:
        self.kit.close()


@pytest.fixture
def clearinghouse() -> StandInClearinghouse:
    return StandInClearinghouse()


@pytest.fixture
def platform(tmp_path: Path, clearinghouse: StandInClearinghouse) -> Iterator[Platform]:
    opened = Platform(tmp_path, clearinghouse)
    yield opened
    opened.close()
