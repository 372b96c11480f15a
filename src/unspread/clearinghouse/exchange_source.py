"""The clearinghouse's hash list, keys and feedback, as the older programmes' addresses need them.

Two of the programmes key their lists by value, and the database keeps an item's fingerprints
packed. So a table `exchange_value` finds the listings of a value by 64 bits of a keyed digest; it
is filled from the start on, in the order of the log, and never holds a value. What a withdrawn
value was is kept for 30 days at most, and only while somebody speaks such a programme
(`models.PendingTombstone`).
"""

import hmac
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from starlette.routing import BaseRoute

from unspread.clearinghouse import exchange_api, key_files, partners, store
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.exchange_keys import ExchangeKey, Programme, member_number, read_scope
from unspread.clearinghouse.packing import unpack
from unspread.clearinghouse.rules import assess
from unspread.clearinghouse.service import Service
from unspread.clearinghouse.store import SECONDS_PER_DAY, NewCase, NewItem, StoredItem, Transaction
from unspread.crypto import SECRET_BYTES, Receipt, sha256
from unspread.errors import StateError
from unspread.exchange.listings import (
    CLEARINGHOUSE_MEMBER,
    Member,
    NotSettledError,
    Opinion,
    Row,
    Settled,
    UnknownListingError,
    digest,
    picture_fingerprints,
)
from unspread.model import (
    Age,
    Feedback,
    FeedbackKind,
    Fingerprint,
    Kind,
    ListingId,
    Media,
    Part,
    Reason,
)

CATCH_UP_AT_ONCE: Final = 1000
CATCH_UP_SECONDS: Final = 2.0
"""A question to a large list is answered with "not yet" until the table is filled."""
PARAMETERS_AT_ONCE: Final = 5000

_T = TypeVar("_T")
_Value = tuple[Kind, bytes]
DatabaseRow = tuple[Any, ...]


def routes(service: Service) -> list[BaseRoute]:
    """Everything under `/exchange`."""
    listings = DatabaseListings(service)
    audit = exchange_api.AuditFiles(service.settings.data / "audit")
    service.chores += [listings.prepare, lambda: audit.forget_old(int(service.clock()))]
    return exchange_api.routes(
        exchange_api.Exchange(
            listings,
            DatabaseKeys(service),
            audit,
            service.clock,
            service.settings.url,
            service.settings.name,
        )
    )


def _at_a_time(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    listed = list(values)
    for at in range(0, len(listed), size):
        yield listed[at : at + size]


def _rows_of(connection: Connection, sql: str, values: Iterable[int]) -> Iterator[DatabaseRow]:
    """Rows of a query with `IN (*)`, for however many values."""
    for some in _at_a_time(values, PARAMETERS_AT_ONCE):
        marks = ", ".join("?" * len(some))
        yield from connection.rows(sql.replace("IN (*)", f"IN ({marks})"), *some)


class DatabaseListings:
    """A `ListingSource` over the clearinghouse's database."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._key = key_files.exchange_key(service.settings)
        self._filling = threading.Lock()
        self._filled = -1
        """The last listing that the table of values has; -1 before the first look."""

    # --- the table of values

    def _tag(self, value: _Value) -> int:
        mac = hmac.digest(self._key, value[0].encode() + value[1], "sha256")
        return int.from_bytes(mac[:8], "big", signed=True)

    def _fill(self) -> None:
        """Bring the table up to every listing that is visible now.

        Raises:
            NotSettledError: if that takes longer than a caller should wait; it went on a bit.
        """
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self._fill_some():
            if time.monotonic() > deadline:
                raise NotSettledError("the list is being prepared: ask again in a moment")

    def prepare(self) -> bool:
        """Fill the table a bit ahead of the first question, if somebody may ask; whether to go on.

        While no partner has a key of such a programme there is nothing to find, so nothing is kept.
        """
        keys = self._service.readers.ask_now(
            lambda connection: connection.rows(
                "SELECT 1 FROM partner_key WHERE revoked_at = 0 LIMIT 1"
            )
        )
        return bool(keys) and self._fill_some()

    def _fill_some(self) -> bool:
        """Add some listings to the table; whether there were any."""
        ask = self._service.readers.ask_now
        with self._filling:
            if self._filled < 0:
                ((last,),) = ask(
                    lambda connection: connection.rows(
                        "SELECT COALESCE(MAX(listing_id), -1) FROM exchange_value"
                    )
                )
                self._filled = last
            items = ask(self._next_to_fill)
            if items:
                rows = [row for item in items for row in self._value_rows(item)]
                self._service.writer.submit(partial(_insert, rows=rows)).result()
                self._filled = items[-1].listing_id or 0
            return bool(items)

    def _next_to_fill(self, connection: Connection) -> list[StoredItem]:
        return store.items_where(
            connection,
            "WHERE i.listing_id > ? ORDER BY i.listing_id LIMIT ?",
            self._filled,
            CATCH_UP_AT_ONCE,
        )

    def _value_rows(self, item: StoredItem) -> Iterator[tuple[int, int, int]]:
        listing = item.listing()
        if listing.media is Media.IMAGE:
            for number, each in enumerate(picture_fingerprints(listing, windows=True)):
                yield listing.listing_id, number, self._tag((each.kind, each.value))
        md5 = digest(listing, Kind.MD5)
        if md5 is not None:
            yield listing.listing_id, -1, self._tag((md5.kind, md5.value))

    # --- reading

    def settled(self) -> Settled:
        """As the writer says; with the table of values filled at least that far."""
        at = self._service.settled_second()
        self._fill()
        rows = self._service.readers.ask_now(
            lambda connection: connection.rows(
                "SELECT position FROM log_entry WHERE committed_at <= ?"
                " ORDER BY position DESC LIMIT 1",
                at,
            )
        )
        return Settled(at, rows[0][0] + 1 if rows else 0)

    def rows(
        self, *, stamped_after: int, stamped_until: int, after_revision: int, limit: int
    ) -> Sequence[Row]:
        """In the order of changes."""

        def ask(connection: Connection) -> list[Row]:
            # Seconds grow with revisions, so a place within the order is both: one index serves.
            entry = connection.rows(
                "SELECT committed_at FROM log_entry WHERE position = ?", after_revision - 1
            )
            start = (stamped_after + 1, -1)
            if entry:
                start = max(start, (entry[0][0], after_revision))
            items = store.items_where(
                connection,
                "WHERE i.listing_id IS NOT NULL AND (i.changed_at, i.revision) > (?, ?)"
                " AND i.changed_at <= ? ORDER BY i.changed_at, i.revision LIMIT ?",
                *start,
                stamped_until,
                limit,
            )
            return self._rows(connection, items)

        return self._service.readers.ask_now(ask)

    def find(self, listing_id: ListingId) -> Row | None:
        """By its id."""

        def ask(connection: Connection) -> list[Row]:
            item = store.item_by_listing(connection, listing_id)
            return [] if item is None else self._rows(connection, [item])

        return next(iter(self._service.readers.ask_now(ask)), None)

    def holders(self, values: Iterable[_Value]) -> Mapping[_Value, list[Row]]:
        """By fingerprint: candidates by tag, then by the value itself."""
        self._fill()
        wanted = dict.fromkeys(values)
        by_tag: dict[int, list[_Value]] = defaultdict(list)
        for value in wanted:
            by_tag[self._tag(value)].append(value)
        found: dict[_Value, list[Row]] = {value: [] for value in wanted}

        def ask(connection: Connection) -> None:
            listings: dict[int, list[_Value]] = defaultdict(list)
            for tag, listing_id in _rows_of(
                connection,
                "SELECT DISTINCT tag, listing_id FROM exchange_value WHERE tag IN (*)",
                by_tag,
            ):
                listings[listing_id] += by_tag[tag]
            for ids in _at_a_time(sorted(listings), PARAMETERS_AT_ONCE):
                marks = ", ".join("?" * len(ids))
                items = store.items_where(
                    connection, f"WHERE i.listing_id IN ({marks}) ORDER BY i.listing_id", *ids
                )
                for row in self._rows(connection, items):
                    having = {(each.kind, each.value) for each in row.listing.fingerprints}
                    for value in listings[row.listing.listing_id]:
                        if value in having:
                            found[value].append(row)

        self._service.readers.ask_now(ask)
        return found

    def _rows(self, connection: Connection, items: Sequence[StoredItem]) -> list[Row]:
        ids = [item.listing_id for item in items if item.listing_id is not None]
        erased = [
            item.listing_id
            for item in items
            if item.listing_id is not None and not item.fingerprints
        ]
        opinions = _opinions(connection, ids)
        kept = _kept_values(connection, erased)
        windows = _window_counts(connection, erased)
        rows = []
        for item in items:
            listing = item.listing()
            number = listing.listing_id
            if not listing.fingerprints and number in kept:
                listing = replace(listing, fingerprints=kept[number])
            rows.append(
                Row(
                    listing,
                    item.revision,
                    item.changed_at,
                    item.listed_at,
                    windows.get(
                        number, sum(each.part is Part.WINDOW for each in listing.fingerprints)
                    ),
                    tuple(opinions.get(number, {}).values()),
                )
            )
        return rows

    def members(self) -> Sequence[Member]:
        """The clearinghouse, then every partner that takes part."""
        known = self._service.readers.ask_now(partners.partners)
        return (
            Member(CLEARINGHOUSE_MEMBER, self._service.settings.name),
            *(
                Member(member_number(each.partner_id), each.name)
                for each in known
                if each.state == "active"
            ),
        )

    # --- writing

    def take_feedback(self, member: Member, feedback: Sequence[Feedback], source: str) -> None:
        """Through the rules that apply to what the platform kit sends."""

        def job(tx: Transaction) -> None:
            partner_id = _partner_of(tx.connection, member)
            said = []
            for each in feedback:
                before = tx.connection.rows(
                    "SELECT kind, reason FROM feedback WHERE partner_id = ? AND listing_id = ?"
                    " ORDER BY id",
                    partner_id,
                    each.listing_id,
                )
                if not before or before[-1] != (each.kind, each.reason or ""):
                    external_id = f"{source}:{each.listing_id}:{len(before)}"
                    said.append(store.NewFeedback(external_id, each))
            store.take_feedback(tx, partner_id, said)

        try:
            self._service.writer.submit(job).result()
        except store.UnknownListingError as error:
            raise UnknownListingError(str(error)) from None

    def take_submission(
        self, member: Member, media: Media, fingerprints: tuple[Fingerprint, ...]
    ) -> None:
        """A case of one item, with keys that nobody keeps: it ends by expiry or by staff."""
        receipt = Receipt(os.urandom(SECRET_BYTES))
        (assessed,) = assess([fingerprints], lambda _value: None)
        item = NewItem(receipt.item_key(0).public, receipt.item_salt(0), media, assessed)
        case = NewCase(receipt.case_key().public, sha256(receipt.secret), Age.UNKNOWN, (item,))

        def job(tx: Transaction) -> None:
            store.submit(tx, case)
            tx.count("submitted_by_partners")

        self._service.writer.submit(job).result()


def _insert(tx: Transaction, rows: Sequence[tuple[int, int, int]]) -> None:
    tx.connection.run_many(
        "INSERT INTO exchange_value (listing_id, number, tag) VALUES (?, ?, ?)", rows
    )


def _partner_of(connection: Connection, member: Member) -> str:
    for (partner_id,) in connection.rows("SELECT partner_id FROM partner"):
        if member_number(partner_id) == member.number:
            return str(partner_id)
    raise StateError("this partner takes part no more")


def _opinions(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, Opinion]]:
    """For each listing the last word of each partner; a look counts more than a match."""
    said: dict[int, dict[str, Opinion]] = defaultdict(dict)
    for listing_id, partner_id, name, kind, reason, at in _rows_of(
        connection,
        "SELECT f.listing_id, f.partner_id, p.name, f.kind, f.reason, f.at FROM feedback f"
        " JOIN partner p ON p.partner_id = f.partner_id"
        " WHERE p.state = 'active' AND NOT f.settled AND f.listing_id IN (*) ORDER BY f.id",
        ids,
    ):
        if kind in _MATCHED and partner_id in said[listing_id]:
            continue
        said[listing_id][partner_id] = Opinion(
            Member(member_number(partner_id), name),
            FeedbackKind(kind),
            Reason(reason) if reason else None,
            at,
        )
    return said


_MATCHED: Final = frozenset({FeedbackKind.FOUND, FeedbackKind.BLOCKED})


def _kept_values(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[Fingerprint, ...]]:
    sql = "SELECT listing_id, fingerprints FROM pending_tombstone WHERE listing_id IN (*)"
    return {
        listing_id: unpack(bytes(packed)) for listing_id, packed in _rows_of(connection, sql, ids)
    }


def _window_counts(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    sql = (
        "SELECT listing_id, COUNT(*) FROM exchange_value WHERE number > 0 AND listing_id IN (*)"
        " GROUP BY listing_id"
    )
    return dict(_rows_of(connection, sql, ids))


class DatabaseKeys:
    """A `KeyStore` over the table of partners' keys."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def find(self, key_digest: bytes) -> ExchangeKey | None:
        """The key with this digest, limited to what its partner may; notes the day of its use."""
        rows = self._service.readers.ask_now(
            lambda connection: connection.rows(
                "SELECT k.key_id, k.scope, k.created_at, k.revoked_at, k.last_used_day,"
                " p.partner_id, p.name, p.scopes FROM partner_key k"
                " JOIN partner p ON p.partner_id = k.partner_id"
                " WHERE k.key_digest = ? AND p.state = 'active'",
                key_digest,
            )
        )
        if not rows:
            return None
        key_id, text, created_at, revoked_at, used_day, partner_id, name, may = rows[0]
        programme, scope = read_scope(text)
        if programme is not Programme.STOPNCII_SUBSCRIPTION:
            rights = may.split()
            scope = replace(
                scope,
                may_read=scope.may_read and "feed" in rights,
                may_give_feedback=scope.may_give_feedback and "feedback" in rights,
                may_submit=scope.may_submit and "submit" in rights,
            )
        today = int(self._service.clock()) // SECONDS_PER_DAY
        if used_day != today:
            self._service.writer.submit(
                lambda tx: tx.connection.run(
                    "UPDATE partner_key SET last_used_day = ? WHERE key_id = ?", today, key_id
                )
            )
        member = Member(member_number(partner_id), name)
        return ExchangeKey(key_id, programme, partner_id, member, scope, created_at, revoked_at)
