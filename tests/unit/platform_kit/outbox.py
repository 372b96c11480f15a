"""A store on which tests queue actions, and a clock that only they move."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unspread.model import Age, Fingerprint, Kind, Level, Listing, ListingId, Media, State
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.store import Action, ActionKind, Finding, Origin, Store

START = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def nothing_known(reference: str) -> tuple[Probe, ...]:
    """The fingerprints of content that no catalogue has seen."""
    return ()


class Outbox:
    """The kit's store, with what a test needs to fill it."""

    def __init__(self, data: Path) -> None:
        self.store = Store(data)
        self.now = START
        self._list = self.store.list_number("unspread", "feed")

    def clock(self) -> datetime:
        return self.now

    def pass_time(self, **spans: float) -> None:
        self.now += timedelta(**spans)

    def find(
        self, reference: str, *, listing_id: int = 17, hold: bool = False, bits: int = 8
    ) -> Action:
        """Queue a `remove` (or a `hold`) for content that matches a listing."""
        listing = Listing(
            ListingId(listing_id),
            Media.IMAGE,
            Age.UNKNOWN,
            (Fingerprint(Kind.PDQ, bytes(32), quality=100),),
            Level.CONFIRMED,
            State.LISTED,
            START,
            bytes(16),
        )
        self.store.apply(self._list, [listing], cursor=b"", size=listing_id, root="", at=self.now)
        self.store.record_findings(
            self._list,
            listing,
            [Finding(reference, Kind.PDQ, bits)],
            ActionKind.HOLD if hold else ActionKind.REMOVE,
            rule="unspread: confirmed -> refuse, 8 of 31 bits",
            origin=Origin.CATALOGUE,
            at=self.now,
        )
        # Not of those that are due: a worker that runs meanwhile may have delivered it.
        (newest,) = self.store._actions("true ORDER BY number DESC LIMIT 1", ())
        return newest

    def withdraw(self, listing_id: int = 17) -> None:
        """Take a listing off the list, as its person asked."""
        listing = self.store.listing(self._list, listing_id)
        assert listing is not None
        gone = dataclasses.replace(listing, state=State.WITHDRAWN)
        self.store.apply(self._list, [gone], cursor=b"", size=listing_id + 1, root="", at=self.now)

    def due(self) -> tuple[Action, ...]:
        return self.store.actions_due(self.now)
