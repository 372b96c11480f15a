"""Follows the lists of other programmes: NCMEC, StopNCII, ThreatExchange.

The protocols are `unspread.exchange`'s; here their records become listings of ours, withdrawals
are honoured, and what we found, refused or disputed is told where the programme takes it.
"""

import asyncio
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec
import structlog

from unspread.crypto import ITEM_KEY_DIGEST_BYTES, sha256
from unspread.errors import InputError, TransportError
from unspread.exchange import ncmec, stopncii, threatexchange, transfer
from unspread.model import (
    Age,
    Feedback,
    FeedbackKind,
    Kind,
    Level,
    Listing,
    ListingId,
    State,
)
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.settings import ListSettings, SettingsError, Source

log = structlog.get_logger("unspread.platform.programmes")

ADDRESSES: Final = {
    Source.NCMEC: "https://hashsharing.ncmec.org/npo",
    Source.STOPNCII: "https://api.stopncii.org/v1",
    Source.THREATEXCHANGE: "https://graph.facebook.com/v21.0",
}
_LONGEST_WAIT_SECONDS: Final = 600.0
_YES: Final = frozenset({FeedbackKind.REMOVED, FeedbackKind.BLOCKED})
_REACTIONS: Final = {
    FeedbackKind.FOUND: "SAW_THIS_TOO",
    FeedbackKind.BLOCKED: "SAW_THIS_TOO",
    FeedbackKind.REMOVED: "HELPFUL",
    FeedbackKind.DISPUTED: "DISAGREE_WITH_TAGS",
}
"""ThreatExchange's; content that stayed without doubt about the listing is nothing to react to."""
_NEVER_TAKEN: Final = frozenset({400, 404, 405, 409, 410, 413, 422})
"""Statuses with which a programme says that this piece of feedback is not to be sent again."""
_STOPNCII_WORDS: Final = {
    FeedbackKind.FOUND: "PendingReview",
    FeedbackKind.REMOVED: "Blocked",
    FeedbackKind.BLOCKED: "Blocked",
    FeedbackKind.KEPT: "NotBlocked",
    FeedbackKind.DISPUTED: "NotBlocked",
}


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a programme gave us; which of these depends on the programme."""

    username: str = ""
    password: str = ""
    function_key: str = ""
    feedback_key: str = ""
    subscription_key: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


_NEEDED: Final = {
    Source.NCMEC: ("username", "password"),
    Source.STOPNCII: ("function_key", "subscription_key"),
    Source.THREATEXCHANGE: ("token",),
}


def credentials_from(data: Path, settings: ListSettings) -> Credentials:
    """Read a list's credentials.

    Raises:
        SettingsError: if the file is missing, malformed, or lacks what the programme asks for.
    """
    path = data / settings.credentials
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Credentials)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError):
        raise SettingsError(f"cannot read credentials from {path}") from None
    missing = [name for name in _NEEDED[settings.source] if not getattr(found, name)]
    if missing:
        raise SettingsError(f"{path} lacks {', '.join(missing)}")
    return found


def client_for(settings: ListSettings, credentials: Credentials) -> httpx.Client:
    """A client whose requests go to the programme, with what its gateway asks for."""
    auth = None
    if settings.source is Source.NCMEC:
        auth = httpx.BasicAuth(credentials.username, credentials.password)
    return httpx.Client(
        base_url=settings.url or ADDRESSES[settings.source],
        auth=auth,
        timeout=transfer.TIMEOUT_SECONDS,
        trust_env=False,
    )


class ProgrammeSync:
    """Keeps one list of the kit equal to what a programme says."""

    def __init__(self, kit: Kit, name: str, credentials: Credentials, http: httpx.Client) -> None:
        """For a list that the kit follows already."""
        self._kit = kit
        self._name = name
        self._settings = kit.lists[name]
        self._number = kit.states[name].number
        self._credentials = credentials
        self._http = http

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            wait = self._settings.poll_seconds
            try:
                await self.once()
                await self.send_feedback()
                failures = 0
            except TransportError as error:
                failures += 1
                self._kit.problems[self._name] = str(error)
                self._kit.metrics.sync_failures.labels(self._name, "transport").inc()
                log.warning("cannot follow the list", list=self._name, text=str(error))
                most = min(2.0**failures, _LONGEST_WAIT_SECONDS)
                wait = 1.0 + self._kit.random.random() * most
            await asyncio.sleep(wait)

    async def once(self) -> None:
        """Bring the list up to date; each page is durable before the next is asked for.

        Raises:
            TransportError: if the programme does not answer as it should; nothing is lost.
        """
        cursor = self._kit.states[self._name].cursor.decode()
        fetch = self._fetch(cursor)
        while (request := fetch.request()) is not None:
            response = await asyncio.to_thread(transfer.send, self._http, request)
            page = await asyncio.to_thread(fetch.receive, response)
            await self._take(page)
        await self._kit.checked(self._name)

    def _fetch(self, cursor: str) -> transfer.Fetch:
        now = int(self._kit.clock().timestamp())
        given = self._credentials
        match self._settings.source:
            case Source.NCMEC:
                return ncmec.EntriesFetch(ncmec.Cursor.from_text(cursor), now=now)
            case Source.STOPNCII:
                return stopncii.HashesFetch(
                    stopncii.Cursor.from_text(cursor),
                    now=now,
                    function_key=given.function_key,
                    subscription_key=given.subscription_key,
                )
            case Source.THREATEXCHANGE:
                group = self._settings.privacy_group
                return threatexchange.UpdatesFetch(
                    threatexchange.Cursor.from_text(cursor),
                    now=now,
                    base_url=str(self._http.base_url),
                    token=given.token,
                    group=int(group) if group else threatexchange.PRIVACY_GROUP,
                )
        raise InputError("not a programme")

    async def _take(self, page: transfer.Page) -> None:
        store = self._kit.store
        # What no page of a complete reading names has been deleted; it was written before it.
        began = f"reading-{self._number}"
        if page.reads_all and not await asyncio.to_thread(store.counter, began):
            before = await asyncio.to_thread(store.sequence)
            await asyncio.to_thread(lambda: store.set_counters(**{began: before + 1}))
        records = [each for each in page.records if self._is_wanted(each)]
        keys = [stored_key(self._settings.source, each.key) for each in records]
        listings = await asyncio.to_thread(self._listings, records, keys)
        descriptors = {
            listing.listing_id: record.descriptors
            for record, listing in zip(records, listings, strict=True)
        }
        if self._settings.source is Source.THREATEXCHANGE:
            await asyncio.to_thread(store.set_descriptors, self._number, descriptors)
        await self._apply(listings, keys, page.cursor)
        if page.skipped:
            self._kit.metrics.skipped_records.labels(self._name).inc(page.skipped)
            log.warning("records were left out", list=self._name, count=page.skipped)
        if page.reads_all and page.is_last:
            until = await asyncio.to_thread(store.counter, began)
            gone = await asyncio.to_thread(store.written_before, self._number, until)
            await self._apply([_withdrawn(each) for each in gone], None, page.cursor)
            await asyncio.to_thread(lambda: store.set_counters(**{began: 0}))

    def _is_wanted(self, record: transfer.Record) -> bool:
        members = self._settings.members
        return not members or record.key.partition("-")[0] in members

    def _listings(self, records: Sequence[transfer.Record], keys: Sequence[str]) -> list[Listing]:
        """The newest state of each record, later ones first in line for the same key."""
        ids = self._kit.store.listing_ids(self._number, keys)
        at = self._kit.clock().astimezone(UTC)
        return [
            listing_of(record, listing_id, self._settings.level, at)
            for record, listing_id in zip(records, ids, strict=True)
        ]

    async def _apply(
        self, listings: Sequence[Listing], keys: Sequence[str] | None, cursor: str
    ) -> None:
        size = await asyncio.to_thread(self._kit.store.active_count, self._number)
        await self._kit.apply(
            self._name, listings, cursor=cursor.encode(), size=size, root="", keys=keys
        )

    async def send_feedback(self) -> None:
        """Tell the programme what is due, in its own words.

        What it will never take (an entry that is gone there) is left out and logged: it must not
        hold back the rest.

        Raises:
            TransportError: if it does not answer; what is due stays due.
        """
        if not self._settings.feedback or not self._can_tell():
            return
        store = self._kit.store
        while due := await asyncio.to_thread(store.feedback_due, self._number):
            for request in await asyncio.to_thread(self._requests, due):
                response = await asyncio.to_thread(transfer.send, self._http, request)
                if response.status in _NEVER_TAKEN:
                    log.warning("feedback is not taken", list=self._name, status=response.status)
                else:
                    transfer.check(response)
            ids = [each_id for each_id, _ in due]
            await asyncio.to_thread(store.feedback_sent, ids, self._kit.clock())

    def _can_tell(self) -> bool:
        return self._settings.source is not Source.STOPNCII or bool(self._credentials.feedback_key)

    def _requests(self, due: Sequence[tuple[str, Feedback]]) -> list[transfer.Request]:
        if self._settings.source is Source.NCMEC:
            return self._votes(due)
        if self._settings.source is Source.THREATEXCHANGE:
            return self._reactions(due)
        said: dict[str, tuple[str, Sequence[str]]] = {}
        for _, feedback in due:
            listing = self._kit.store.listing(self._number, feedback.listing_id)
            for fingerprint in listing.fingerprints if listing is not None else ():
                tags = (feedback.reason,) if feedback.reason else ()
                said[fingerprint.value.hex()] = (_STOPNCII_WORDS[feedback.kind], tags)
        if not said:
            return []
        given = self._credentials
        return [stopncii.feedback_request(said, given.feedback_key, given.subscription_key)]

    def _reactions(self, due: Sequence[tuple[str, Feedback]]) -> list[transfer.Request]:
        """To every descriptor of what was found, each reaction once."""
        given = {
            (descriptor, _REACTIONS[feedback.kind]): None
            for _, feedback in due
            if feedback.kind in _REACTIONS
            for descriptor in self._kit.store.descriptors(self._number, feedback.listing_id)
        }
        return [
            threatexchange.reaction_request(descriptor, reaction, self._credentials.token)
            for descriptor, reaction in given
        ]

    def _votes(self, due: Sequence[tuple[str, Feedback]]) -> list[transfer.Request]:
        """A yes for what was acted on. A no needs a reason from the programme's own list, which
        changes: a person gives it there."""
        votes: dict[tuple[str, Kind], transfer.Request] = {}
        for _, feedback in due:
            key = self._kit.store.key_of(self._number, feedback.listing_id)
            listing = self._kit.store.listing(self._number, feedback.listing_id)
            if feedback.kind in _YES and key is not None and listing is not None:
                for fingerprint in listing.fingerprints:
                    votes[key, fingerprint.kind] = ncmec.vote_request(key, fingerprint.kind, None)
        return list(votes.values())


def stored_key(source: Source, key: str) -> str:
    """A record's key as we keep it: where the programme's keys are values, their digest."""
    return key if source is Source.NCMEC else sha256(key.encode()).hex()[:32]


def listing_of(
    record: transfer.Record, listing_id: ListingId, level: Level, at: datetime
) -> Listing:
    """A programme's record as a listing of ours.

    Votes raise or lower the level that the list starts with: one that agrees confirms, two
    corroborate, more that disagree than agree dispute.
    """
    if record.disagreeing > record.agreeing:
        level = Level.DISPUTED
    elif record.agreeing >= 2:
        level = Level.CORROBORATED
    elif record.agreeing == 1 and level is Level.UNVERIFIED:
        level = Level.CONFIRMED
    return Listing(
        listing_id=listing_id,
        media=record.media,
        age=Age.UNKNOWN,
        fingerprints=record.fingerprints,
        level=level,
        state=State.LISTED if record.fingerprints and not record.is_deleted else State.REMOVED,
        listed_at=at.replace(minute=0, second=0, microsecond=0),
        item_key_digest=bytes(ITEM_KEY_DIGEST_BYTES),
    )


def _withdrawn(listing: Listing) -> Listing:
    return Listing(
        listing.listing_id,
        listing.media,
        listing.age,
        (),
        listing.level,
        State.REMOVED,
        listing.listed_at,
        listing.item_key_digest,
    )
