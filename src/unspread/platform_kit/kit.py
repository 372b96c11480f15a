"""The platform kit put together: what a scan does from bytes to a durable answer.

The order of writing and matching matters, and is the same everywhere: a listing goes into the
store, then into the bank, then the catalogue is searched for it; an upload is matched against the
bank, then goes into the catalogue, then is matched again if the bank has changed meanwhile. So
content and listing find each other whichever comes first.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import islice
from pathlib import Path
from random import Random

import structlog

from unspread.errors import UnreadableMediaError
from unspread.model import Listing, Media
from unspread.platform_kit import snapshots
from unspread.platform_kit.access import Keys
from unspread.platform_kit.accounts import UNSAID, Posting
from unspread.platform_kit.bank import Bank, Probe
from unspread.platform_kit.catalogue import Catalogue, Wanted, checked_reference
from unspread.platform_kit.metrics import Metrics
from unspread.platform_kit.policy import (
    Decision,
    Match,
    action_for,
    conclude,
    is_searched_for,
    response_to,
)
from unspread.platform_kit.scanner import BusyError, Scanned, Scanner
from unspread.platform_kit.settings import Fallback, ListSettings, Response, Settings
from unspread.platform_kit.store import Finding, ListState, Origin, Store
from unspread.platform_kit.traces import span

log = structlog.get_logger("unspread.platform")

_PROBES_ON_LOOP = 32
"""More are looked up beside the event loop."""
_SEARCH_BATCH = 2_500
"""One pass over the catalogue looks for so many listings at most."""
_MATCH_BATCH = 100
_TAKE_BATCH = 2_500
_TAKE_ON_LOOP = 100
"""More changes at once go into the bank beside the event loop."""
_FLOOD_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """What `/scan` answers, and what every hook gets."""

    decision: str
    """`accept`, `hold`, `refuse`, `unreadable` or `unavailable`."""
    checked: bool
    """False if nothing was compared; then `accepted` is what the settings say of such a case."""
    accepted: bool
    reason: str
    """For people."""
    rule: str | None = None
    match: Match | None = None
    matches: tuple[Match, ...] = ()
    media: Media | None = None
    quality: int | None = None
    notes: tuple[str, ...] = ()
    stale: bool = False
    """Whether a list that was matched against is out of date."""


@dataclass(frozen=True, slots=True)
class ListHealth:
    """One list, for orchestrators and people."""

    name: str
    loaded: bool
    stale: bool
    enabled: bool
    shadow: bool
    size: int
    checked_at: datetime | None
    problem: str = ""
    """What stops it from being followed, for people."""


@dataclass(slots=True)
class Kit:
    """Everything that the HTTP interface, the hooks and the tasks share in one process."""

    settings: Settings
    store: Store
    bank: Bank
    catalogue: Catalogue
    scanner: Scanner
    keys: Keys
    metrics: Metrics
    clock: Callable[[], datetime]
    """UTC now."""
    random: Random
    names: dict[int, str] = field(default_factory=dict)
    """List names by number."""
    lists: dict[str, ListSettings] = field(default_factory=dict)
    """Settings of the lists that are followed, by name."""
    states: dict[str, ListState] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """By list name: why it cannot be followed at the moment."""
    is_running: bool = True
    """Whether the tasks behind the interface are at work."""
    loaded: bool = False
    """Whether the bank holds what the store holds."""
    new_listings: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the catalogue is to be searched."""
    snapshot_is_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the bank is to be written into a file."""
    _new_feedback: dict[str, asyncio.Event] = field(default_factory=dict)
    said_at: dict[str, datetime] = field(default_factory=dict)
    """By list name: when this process last told the clearinghouse how far it is."""
    keep_held: Callable[[str, bytes | Path], None] | None = None
    """Keeps the content of a held upload for those who review it."""
    _catching_up: asyncio.Lock = field(default_factory=asyncio.Lock)
    _snapshot: str = ""
    """Which snapshot the bank was opened from, if any."""
    _remembering: dict[int, int] = field(default_factory=dict)
    _turn: int = 0
    _hits: dict[tuple[int, int], deque[datetime]] = field(default_factory=dict)

    def close(self) -> None:
        """Finish what is being written, and let go of the data directory."""
        self.catalogue.close()
        self.store.close()

    # Scanning

    async def scan_bytes(
        self, data: bytes, reference: str | None = None, posting: Posting = UNSAID
    ) -> ScanAnswer:
        """Scan one upload and make durable what follows. See `scan`."""
        return await self.scan(data, reference, posting)

    async def scan(
        self, media: bytes | Path, reference: str | None = None, posting: Posting = UNSAID
    ) -> ScanAnswer:
        """Decide on one upload; returns once everything that follows is durable.

        Args:
            media: the raw bytes, or a file that stays until this returns.
            reference: the platform's own name for it; then it is remembered if it is not refused.
            posting: who uploads it and when it was posted, as far as the platform says.

        Raises:
            MalformedReferenceError: if the reference is not one.
        """
        if reference is not None:
            reference = checked_reference(reference)
        if not self.is_loaded:
            return self._unavailable("no list is loaded yet")
        try:
            with self.metrics.scan_seconds.time(), span("fingerprint"):
                scanned = await self.scanner.scan(media)
        except BusyError as error:
            return self._unavailable(str(error))
        except UnreadableMediaError as error:
            accepted = self.settings.unreadable is Fallback.ACCEPT
            self.metrics.scans.labels("unreadable").inc()
            if accepted:
                self.metrics.fail_open.labels("unreadable").inc()
            return ScanAnswer("unreadable", False, accepted, str(error))
        with span("decide", media=scanned.media) as current:
            answer = await self.decide(scanned, reference, posting)
            if current is not None:
                current.set_attribute("decision", answer.decision)
        if reference is not None and answer.decision == Decision.HOLD and self.keep_held:
            await asyncio.to_thread(self.keep_held, reference, media)
        return answer

    async def decide(
        self, scanned: Scanned, reference: str | None = None, posting: Posting = UNSAID
    ) -> ScanAnswer:
        """As `scan`, for media that is fingerprinted already."""
        version = self.bank.version
        if len(scanned.probes) > _PROBES_ON_LOOP:
            answer = await asyncio.to_thread(self._answer, scanned)
        else:
            answer = self._answer(scanned)
        self.metrics.scans.labels(answer.decision).inc()
        if answer.decision == Decision.REFUSE:
            await self._count_blocked(answer, posting)
        elif reference is not None:
            await self._remember(scanned, reference, version, answer, posting)
        return answer

    def look_up(
        self, probes: Sequence[Probe], lists: Mapping[str, ListSettings] | None = None
    ) -> tuple[Match, ...]:
        """All matches of fingerprints, nearest first; nothing is decided or kept."""
        return self.bank.matches(probes, self.lists if lists is None else lists)

    async def remember(self, media: bytes | Path, reference: str, posting: Posting = UNSAID) -> int:
        """Take hosted content into the catalogue; how many listings it matches now.

        Raises:
            BusyError, UnreadableMediaError, MalformedReferenceError: nothing is remembered.
        """
        reference = checked_reference(reference)
        scanned = await self.scanner.scan(media)
        return await self.remember_scanned(scanned, reference, posting)

    async def remember_scanned(
        self, scanned: Scanned, reference: str, posting: Posting = UNSAID
    ) -> int:
        """As `remember`, for media that is fingerprinted already."""
        await self._write_entry(scanned, reference, posting)
        matches = await asyncio.to_thread(self.look_up, scanned.probes)
        await self._act_on_hosted(matches, reference)
        return len(matches)

    def _answer(self, scanned: Scanned) -> ScanAnswer:
        matches = self.look_up(scanned.probes)
        conclusion = conclude(
            matches, self.lists, draw=self.random.random(), flooded=self._flooded(matches)
        )
        for match in matches:
            self.metrics.matches.labels(match.list_name, match.level, match.kind).inc()
            if match.kind == "pdq":
                self.metrics.distances.labels(match.list_name).observe(match.distance_bits)
        return ScanAnswer(
            conclusion.decision,
            True,
            conclusion.decision is Decision.ACCEPT,
            conclusion.reason,
            conclusion.rule,
            conclusion.match,
            matches,
            scanned.media,
            scanned.quality,
            scanned.notes,
            self.is_stale,
        )

    def _flooded(self, matches: Sequence[Match]) -> frozenset[tuple[int, int]]:
        now = self.clock()
        flooded = set()
        for match in matches:
            limit = self.lists[match.list_name].flood_limit
            if not limit:
                continue
            hits = self._hits.setdefault((match.list_number, match.listing_id), deque())
            hits.append(now)
            while (now - hits[0]).total_seconds() > _FLOOD_SECONDS or len(hits) > limit + 1:
                hits.popleft()
            if len(hits) > limit:
                flooded.add((match.list_number, int(match.listing_id)))
        return frozenset(flooded)

    def _unavailable(self, reason: str) -> ScanAnswer:
        accepted = self.settings.when_unavailable is Fallback.ACCEPT
        self.metrics.scans.labels("unavailable").inc()
        if accepted:
            self.metrics.fail_open.labels("unavailable").inc()
        return ScanAnswer("unavailable", False, accepted, reason)

    async def _count_blocked(self, answer: ScanAnswer, posting: Posting) -> None:
        refusing = [
            (match.list_number, int(match.listing_id))
            for match in answer.matches
            if response_to(match, self.lists[match.list_name]) is Response.REFUSE
        ]
        await asyncio.to_thread(self.store.count_blocked, refusing, posting.account)
        self.wake_feedback()

    async def _remember(
        self,
        scanned: Scanned,
        reference: str,
        version: int,
        answer: ScanAnswer,
        posting: Posting,
    ) -> None:
        if not self.settings.remember_uploads:
            return
        if answer.decision == Decision.HOLD:
            await self._write_entry(scanned, reference, posting)
            await self._act_on_hosted(answer.matches, reference, origin=Origin.UPLOAD)
        else:
            await self._write_entry(scanned, reference, posting)
        # A listing that came between the match and the entry was searched for before the entry
        # was there; one that comes later is searched for with it.
        if self.bank.version != version:
            again = await asyncio.to_thread(self.look_up, scanned.probes)
            await self._act_on_hosted(again, reference)

    async def _write_entry(self, scanned: Scanned, reference: str, posting: Posting) -> None:
        if posting.account:
            await asyncio.to_thread(self.store.note_posting, reference, posting.account)
        posted_at = self.clock()
        if posting.on is not None:
            posted_at = datetime.combine(posting.on, time(), UTC)
        self._turn += 1
        turn = self._turn
        self._remembering[turn] = await asyncio.to_thread(self.catalogue.last_entry)
        try:
            await asyncio.to_thread(
                self.catalogue.remember, reference, scanned.media, scanned.probes, posted_at
            )
        finally:
            del self._remembering[turn]
        self.metrics.remembered.inc()

    async def _act_on_hosted(
        self, matches: Sequence[Match], reference: str, *, origin: Origin = Origin.CATALOGUE
    ) -> None:
        allowed = conclude(matches, self.lists, draw=0.0)
        if allowed.match is not None and self.lists[allowed.match.list_name].allow:
            return
        for match in matches:
            response = response_to(match, self.lists[match.list_name])
            if origin is Origin.UPLOAD and response is Response.REFUSE:
                # Flooded, or overruled: the answer was to hold, and so is the record.
                response = Response.HOLD
            listing = await asyncio.to_thread(
                self.store.listing, match.list_number, match.listing_id
            )
            if listing is not None and response is not Response.IGNORE:
                finding = Finding(reference, match.kind, match.distance_bits)
                await self._record(match.list_number, listing, [finding], response, origin)

    # The catalogue, when listings change

    async def search_new_listings(self) -> int:
        """Search the catalogue for what changed since the last search; how many actions came."""
        queued = 0
        after = await asyncio.to_thread(self.store.counter, "searched")
        while True:
            up_to = self.bank.sequence
            covered = min(
                self._remembering.values(),
                default=await asyncio.to_thread(self.catalogue.last_entry),
            )
            if not covered and not await asyncio.to_thread(self.store.has_findings):
                # Nothing is hosted yet. What is being remembered now sees that the bank changed.
                after = max(after, up_to)
                await asyncio.to_thread(self.store.set_counters, searched=after, covered=0)
                return queued
            every = await asyncio.to_thread(self.store.changes_after, after, _SEARCH_BATCH)
            # What another process has written meanwhile is not in the bank yet, which says how
            # content matches: it would count as searched and be found no more.
            changes = [each for each in every if each.sequence <= self.bank.sequence]
            if not changes:
                await asyncio.to_thread(self.store.set_counters, covered=covered)
                return queued
            queued += await self._search([(each.list_number, each.listing) for each in changes])
            after = changes[-1].sequence
            await asyncio.to_thread(self.store.set_counters, searched=after, covered=covered)

    async def match_uncovered(self) -> None:
        """After a start: match entries that a crash may have left between catalogue and bank."""
        covered = await asyncio.to_thread(self.store.counter, "covered")
        entries = iter(self.catalogue.entries_after(covered))
        while some := await asyncio.to_thread(lambda: list(islice(entries, _MATCH_BATCH))):
            for entry in some:
                matches = await asyncio.to_thread(self.look_up, entry.probes)
                await self._act_on_hosted(matches, entry.reference)
            await asyncio.to_thread(self.store.set_counters, covered=some[-1].entry)

    async def _search(self, changed: Sequence[tuple[int, Listing]]) -> int:
        """Search for listings, all in one pass over the catalogue; how many actions came."""
        listings = [
            (number, listing, self.lists[self.names[number]])
            for number, listing in changed
            if self.names.get(number) in self.lists and listing.is_active
        ]
        wanted: list[Wanted] = [
            (
                [
                    each
                    for each in listing.fingerprints
                    if (each.quality is None or each.quality >= self.settings.min_quality)
                    and is_searched_for(each, settings)
                ],
                settings.radius_bits,
            )
            for _, listing, settings in listings
        ]
        queued = 0
        every = await asyncio.to_thread(self.catalogue.search, wanted) if wanted else []
        known = await asyncio.to_thread(
            self.store.with_findings, [(number, each.listing_id) for number, each, _ in listings]
        )
        for (number, listing, settings), found in zip(listings, every, strict=True):
            if found or (number, listing.listing_id) in known:
                queued += await self._act_on_found(number, listing, settings, found)
        return queued

    async def _act_on_found(
        self, number: int, listing: Listing, settings: ListSettings, found: list[Finding]
    ) -> int:
        found = await self._without_allowed(found)
        by_response: dict[Response, list[Finding]] = {each: [] for each in Response}
        only = {self.names[number]: settings}
        for finding in found:
            # The catalogue says which; how, and how much of it, the bank says as for an upload.
            probes = await asyncio.to_thread(self.catalogue.probes_of, finding.reference)
            for match in await asyncio.to_thread(self.look_up, probes, only):
                if match.listing_id == listing.listing_id:
                    by_response[response_to(match, settings)].append(finding)
        refused, held = by_response[Response.REFUSE], by_response[Response.HOLD]
        if len(refused) > self.settings.quarantine_listings_with_matches:
            log.warning("listing matches much of the catalogue", listing_id=listing.listing_id)
            refused, held = [], held + refused
        if not refused and not held:
            return await self._record(number, listing, [], Response.IGNORE, Origin.CATALOGUE)
        queued = await self._record(number, listing, refused, Response.REFUSE, Origin.CATALOGUE)
        return queued + await self._record(number, listing, held, Response.HOLD, Origin.CATALOGUE)

    async def _without_allowed(self, findings: list[Finding]) -> list[Finding]:
        allowing = {name: each for name, each in self.lists.items() if each.allow and each.enabled}
        if not allowing:
            return findings
        kept = []
        for finding in findings:
            probes = await asyncio.to_thread(self.catalogue.probes_of, finding.reference)
            if all(match.is_partial for match in self.look_up(probes, allowing)):
                kept.append(finding)
        return kept

    async def _record(
        self,
        number: int,
        listing: Listing,
        findings: Sequence[Finding],
        response: Response,
        origin: Origin,
    ) -> int:
        if not findings and response is not Response.IGNORE:
            return 0
        name = self.names[number]
        rule = f"{name}: {listing.level} -> {response}"
        oldest_on = await asyncio.to_thread(self._oldest_on, findings)
        queued = await asyncio.to_thread(
            lambda: self.store.record_findings(
                number,
                listing,
                findings,
                action_for(response),
                rule=rule,
                origin=origin,
                at=self.clock(),
                oldest_on=oldest_on,
            )
        )
        if queued:
            self.metrics.actions.labels(response).inc(queued)
            self.wake_feedback()
        return queued

    def _oldest_on(self, findings: Sequence[Finding]) -> date | None:
        posted = [self.catalogue.posted_at(each.reference) for each in findings]
        days = [each.astimezone(UTC).date() for each in posted if each is not None]
        return min(days, default=None)

    async def forget(self, references: Sequence[str]) -> None:
        """Erase what is kept of content that is gone; unknown ones are no error."""
        await asyncio.to_thread(self.catalogue.forget, references)
        await asyncio.to_thread(self.store.forget_postings, references)

    # Lists

    def feedback_event(self, name: str) -> asyncio.Event:
        """Set when there may be something to tell a list."""
        return self._new_feedback.setdefault(name, asyncio.Event())

    def wake_feedback(self) -> None:
        """Let all lists be told what there is to tell."""
        for event in self._new_feedback.values():
            event.set()

    async def follow(self, name: str, source: str, settings: ListSettings) -> int:
        """Take a list in among those that are matched; its number."""
        number = await asyncio.to_thread(self.store.list_number, name, source)
        self.names[number] = name
        self.lists[name] = settings
        self.bank.name_lists({number: name})
        await self.refresh_states()
        return number

    async def apply(
        self,
        name: str,
        listings: Sequence[Listing],
        *,
        cursor: bytes,
        size: int,
        root: str,
        keys: Sequence[str] | None = None,
    ) -> None:
        """Take in what a list says now: durable, then matched, then searched for."""
        number = self.states[name].number
        now = self.clock()
        await asyncio.to_thread(
            lambda: self.store.apply(
                number, listings, cursor=cursor, size=size, root=root, at=now, keys=keys
            )
        )
        await self.catch_up()
        await self.refresh_states()

    async def catch_up(self) -> None:
        """Take into the bank what has changed in the store, whoever changed it."""
        async with self._catching_up:
            if await self._take_changes(self.bank):
                self.metrics.bank_rows.set(len(self.bank))
                self.new_listings.set()
                if self._is_due(self.bank):
                    self.snapshot_is_due.set()

    async def _take_changes(self, bank: Bank) -> bool:
        """Bring a bank up to the store; whether it was behind."""
        was_behind = False
        while changes := await asyncio.to_thread(
            self.store.changes_after, bank.sequence, _TAKE_BATCH
        ):
            listings = [
                (each.list_number, each.listing, each.first_sequence <= bank.sequence)
                for each in changes
            ]
            with span("take listings", count=len(listings)):
                if len(listings) > _TAKE_ON_LOOP:
                    await asyncio.to_thread(bank.take, listings)
                else:
                    bank.take(listings)
            bank.sequence = changes[-1].sequence
            was_behind = True
        return was_behind

    async def save_snapshot(self) -> bool:
        """Write a snapshot if enough changed, or if the last holds what was withdrawn.

        Raises:
            OSError: if it cannot be written.
        """
        bank, data = self.bank, self.settings.data
        if not (self._is_due(bank) or (bank.erased_since_save and snapshots.exists(data))):
            return False
        async with self._catching_up:
            frozen = await asyncio.to_thread(bank.frozen)
        await asyncio.to_thread(snapshots.save, data, self.store, frozen)
        del bank, frozen
        await self.share_snapshot()
        return True

    def _is_due(self, bank: Bank) -> bool:
        """Whether a bank has to go into a new file: memory is kept small, queries quick."""
        return bank.waits_long or (
            not bank.is_in_file and bank.changes_since_save >= self.settings.snapshot_after_changes
        )

    async def share_snapshot(self) -> None:
        """Match from the newest snapshot, once there is another: all processes map one file.

        What a process has built for itself since the last one is let go.
        """
        data = self.settings.data
        async with self._catching_up:
            newest = await asyncio.to_thread(snapshots.current, data)
            if newest == self._snapshot:
                return
            self._snapshot = newest
            self.bank.give_back()
            bank = await asyncio.to_thread(snapshots.load, data, self.store, self.names)
            if bank is not None:
                if await self._take_changes(bank):
                    self.new_listings.set()
                bank.version = self.bank.version + 1
                self.bank = bank

    async def checked(self, name: str) -> None:
        """Note that a list was found to be current."""
        await asyncio.to_thread(self.store.checked, self.states[name].number, self.clock())
        self.problems.pop(name, None)
        await self.refresh_states()
        self.wake_feedback()

    async def refresh_states(self) -> None:
        """Learn where the lists stand."""
        states = await asyncio.to_thread(self.store.lists)
        self.states = {each.name: each for each in states if each.name in self.lists}
        for each in self.states.values():
            self.metrics.list_size.labels(each.name).set(each.size)
            if each.checked_at is not None:
                self.metrics.list_checked.labels(each.name).set(each.checked_at.timestamp())

    @property
    def is_loaded(self) -> bool:
        """Whether the bank is filled and every enabled list was fetched at least once."""
        return self.loaded and all(
            each.checked_at is not None
            for name, each in self.states.items()
            if self.lists[name].enabled
        )

    @property
    def is_stale(self) -> bool:
        """Whether any enabled list is out of date."""
        return any(each.stale for each in self.health() if each.enabled)

    def health(self) -> tuple[ListHealth, ...]:
        """All lists that are followed."""
        now = self.clock()
        found = []
        for name, settings in self.lists.items():
            state = self.states.get(name)
            checked_at = state.checked_at if state else None
            age = (now - checked_at).total_seconds() if checked_at else float("inf")
            found.append(
                ListHealth(
                    name,
                    self.loaded and checked_at is not None,
                    age > settings.stale_after_seconds and settings.source != "local",
                    settings.enabled,
                    settings.shadow,
                    state.size if state else 0,
                    checked_at,
                    self.problems.get(name, ""),
                )
            )
        return tuple(found)
