"""A clearinghouse's log and feed in memory: list, withdraw, publish, follow, in a test's time."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from unspread.crypto import (
    OpeningKey,
    Receipt,
    SigningKey,
    item_key_digest,
    withdrawal_message,
)
from unspread.feed.blobs import BlobStore, MemoryBlobs
from unspread.feed.reader import Event, FeedReader, Request, follow
from unspread.feed.records import (
    AddRecord,
    Authority,
    ChangeReason,
    ChangeRecord,
    Entry,
    add_entry,
    change_entry,
    padding_entries,
)
from unspread.feed.writer import EVERYTHING, FeedPartner, FeedWriter, Scope
from unspread.model import Age, Fingerprint, Kind, Level, ListingId, Media, State
from unspread.transparency.policy import LogPolicy, trial_policy

ORIGIN = "log.example/trial"
START = datetime(2026, 11, 23, 5, 30, tzinfo=UTC)


class MemoryEntries:
    """The entries of a log in a list: the database's part of the writer."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []

    def entries(self, start: int, stop: int) -> Sequence[Entry]:
        return self.rows[start:stop]


def fetched(blobs: BlobStore, request: Request) -> bytes:
    """What a reader asks for, out of a store; one byte more of a file that is too long."""
    if request.offset_bytes is None:
        return blobs.get(request.path)[: request.max_bytes + 1]
    stop = request.offset_bytes + request.max_bytes
    return blobs.part(request.path, request.offset_bytes, stop)


class TrialLog:
    """One log, its writer, its partners; everything follows from the seed but content keys."""

    def __init__(
        self,
        seed: int = 0,
        *,
        public: BlobStore | None = None,
        private: BlobStore | None = None,
        policy: LogPolicy | None = None,
        origin: str = ORIGIN,
    ) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.origin = origin
        self.source = MemoryEntries()
        self.public = public or MemoryBlobs()
        self.private = private or MemoryBlobs()
        self.log_key = SigningKey(self.random.randbytes(32))
        self.policy = policy or trial_policy(self.origin, self.log_key.public)
        self.receipts: dict[ListingId, Receipt] = {}
        self.partners: dict[str, FeedPartner] = {}
        self.opening_keys: dict[str, OpeningKey] = {}
        self.writer = self.restarted()

    @property
    def rows(self) -> list[Entry]:
        """The committed entries."""
        return self.source.rows

    def restarted(self) -> FeedWriter:
        """Another writer on the same files, as after a crash; it is `writer` from now on."""
        self.writer = FeedWriter(
            origin=self.origin,
            log_key=self.log_key,
            public=self.public,
            private=self.private,
            source=self.source,
        )
        return self.writer

    def enrol(self, partner_id: str = "board", scope: Scope = EVERYTHING) -> FeedPartner:
        """A partner with a key of its own."""
        key = OpeningKey(self.random.randbytes(32))
        self.opening_keys[partner_id] = key
        self.partners[partner_id] = FeedPartner(partner_id, key.public, scope)
        return self.partners[partner_id]

    def add(self, *, level: Level = Level.UNVERIFIED, pdqs: int = 1) -> ListingId:
        """List a picture that nobody ever took."""
        listing_id = ListingId(len(self.rows))
        receipt = Receipt(self.random.randbytes(13))
        self.receipts[listing_id] = receipt
        fingerprints = [
            Fingerprint(Kind.PDQ, self.random.randbytes(32), quality=100) for _ in range(pdqs)
        ]
        record = AddRecord(
            Media.IMAGE,
            Age.UNKNOWN,
            level,
            START.replace(minute=0),
            item_key_digest(receipt.item_key(0).public),
            (
                *fingerprints,
                Fingerprint(Kind.SHA256, self.random.randbytes(32)),
                Fingerprint(Kind.MD5, self.random.randbytes(16)),
            ),
        )
        self.rows.append(add_entry(record, receipt.item_salt(0)))
        return listing_id

    def withdraw(self, listing_id: ListingId) -> int:
        """Withdraw a listing with its person's key; returns the index of the change."""
        key = self.receipts[listing_id].item_key(0)
        signature = key.sign(withdrawal_message(self.origin, key.public))
        return self.change(
            ChangeRecord.withdrawal(listing_id, Level.UNVERIFIED, key.public, signature)
        )

    def confirm(self, listing_id: ListingId) -> int:
        """Raise a listing's level by rule; returns the index of the change."""
        return self.change(
            ChangeRecord(
                listing_id,
                State.LISTED,
                Level.CONFIRMED,
                Authority.RULE,
                ChangeReason.FEEDBACK,
            )
        )

    def change(self, record: ChangeRecord) -> int:
        """Log a change; returns its index."""
        self.rows.append(change_entry(record, self.random.randbytes(16)))
        return len(self.rows) - 1

    def pad(self, count: int) -> None:
        """Log entries that mean nothing."""
        self.rows.extend(padding_entries(count, self.random.randbytes(16)))

    def publish(self, erased: Sequence[int] = ()) -> int:
        """Publish everything committed, a second later; returns the log's size."""
        self.now += timedelta(seconds=1)
        partners = list(self.partners.values())
        return self.writer.publish(len(self.rows), partners, self.now, erased=erased).size

    def bring_together(self) -> None:
        """Write volumes as long as one is due."""
        partners = list(self.partners.values())
        while (volume := self.writer.volume_due(partners)) is not None:
            self.writer.adopt(volume, volume.write(self.public), partners, self.now)

    def reader(self, partner_id: str = "board", state: bytes | None = None) -> FeedReader:
        """A partner's reader, from nothing or a saved state."""
        return FeedReader(
            policy=self.policy,
            partner_id=partner_id,
            key=self.opening_keys[partner_id],
            state=state,
            item_key_digest_of=self.item_key_digest_of,
        )

    def item_key_digest_of(self, listing_id: ListingId) -> bytes | None:
        """As a platform's bank would answer that applied everything."""
        receipt = self.receipts.get(listing_id)
        return item_key_digest(receipt.item_key(0).public) if receipt else None

    def fetch(self, request: Request) -> bytes:
        """The bytes that a reader asks for, cut off as a careful fetcher does."""
        return fetched(self.public, request)

    def follow(self, reader: FeedReader) -> list[Event]:
        """Bring a reader up to date."""
        batches = follow(reader, self.fetch, lambda: self.now)
        return [event for events in batches for event in events]
