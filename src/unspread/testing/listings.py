"""A hash list in memory, behind the same seam as the clearinghouse's."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from random import Random

from unspread.clearinghouse.rules import Said, standing, state_after
from unspread.errors import StateError
from unspread.exchange.listings import (
    CLEARINGHOUSE_MEMBER,
    Member,
    Opinion,
    Row,
    Settled,
)
from unspread.model import (
    Age,
    Feedback,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Part,
    State,
)

SETTLE_SECONDS = 1
"""A second is over before it is told."""


class MemoryListings:
    """A `ListingSource` whose clock is an argument. Safe to use from many threads.

    `now` gives seconds since 1970, UTC; stamps are its whole seconds, never falling.
    """

    def __init__(self, now: Callable[[], float], *, takes_submissions: bool = True) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._rows: dict[ListingId, Row] = {}
        self._order: list[tuple[int, ListingId]] = []
        """Every change ever, by revision; a row counts where its revision is the newest."""
        self._holders: defaultdict[tuple[Kind, bytes], list[ListingId]] = defaultdict(list)
        self._stamp = 0
        self._members = [Member(CLEARINGHOUSE_MEMBER, "Clearinghouse")]
        self._takes_submissions = takes_submissions
        self.feedback: list[tuple[Member, Feedback, str]] = []
        """All that was said, in order, with the programme it came by."""

    def join(self, name: str) -> Member:
        """A new partner."""
        with self._lock:
            member = Member(len(self._members) + 1, name)
            self._members.append(member)
            return member

    def list_item(
        self,
        fingerprints: tuple[Fingerprint, ...],
        *,
        media: Media = Media.IMAGE,
        age: Age = Age.UNKNOWN,
        level: Level = Level.UNVERIFIED,
    ) -> ListingId:
        """Publish one item."""
        with self._lock:
            stamp = self._next_stamp()
            listing = Listing(
                ListingId(len(self._rows)),
                media,
                age,
                fingerprints,
                level,
                State.LISTED,
                datetime.fromtimestamp(stamp // 3600 * 3600, UTC),
                bytes(16),
            )
            windows = sum(each.part is Part.WINDOW for each in fingerprints)
            self._put(Row(listing, 0, stamp, stamp, windows))
            for each in fingerprints:
                self._holders[each.kind, each.value].append(listing.listing_id)
            return listing.listing_id

    def change(
        self, listing_id: ListingId, *, state: State | None = None, level: Level | None = None
    ) -> None:
        """Move one listing to another state or level: a withdrawal, a suspension, a promotion."""
        with self._lock:
            row = self._rows[listing_id]
            listing = replace(
                row.listing, state=state or row.listing.state, level=level or row.listing.level
            )
            self._put(replace(row, listing=listing, changed_at=self._next_stamp()))

    def withdraw(self, listing_id: ListingId) -> None:
        """As the person does."""
        self.change(listing_id, state=State.WITHDRAWN)

    def erase(self, listing_id: ListingId) -> None:
        """Forget the fingerprints of a listing that is no longer active, without a stamp."""
        with self._lock:
            row = self._rows[listing_id]
            for each in row.listing.fingerprints:
                self._holders[each.kind, each.value].remove(listing_id)
            self._rows[listing_id] = replace(row, listing=replace(row.listing, fingerprints=()))

    def listings(self) -> list[Listing]:
        """Every listing in its newest state."""
        with self._lock:
            return [row.listing for row in self._rows.values()]

    def _next_stamp(self) -> int:
        self._stamp = max(self._stamp, int(self._now()))
        return self._stamp

    def _put(self, row: Row) -> None:
        revision = len(self._order) + 1
        self._order.append((row.changed_at, row.listing.listing_id))
        self._rows[row.listing.listing_id] = replace(row, revision=revision)

    def settled(self) -> Settled:
        """The second before this one."""
        with self._lock:
            # A clock that was set back must not settle a second that is still being stamped.
            at = max(int(self._now()), self._stamp) - SETTLE_SECONDS
            return Settled(at, self._first_after(at))

    def _first_after(self, stamp: int) -> int:
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._order[middle][0] <= stamp:
                low = middle + 1
            else:
                high = middle
        return low

    def rows(
        self, *, stamped_after: int, stamped_until: int, after_revision: int, limit: int
    ) -> Sequence[Row]:
        """In the order of changes."""
        with self._lock:
            first = max(self._first_after(stamped_after), after_revision)
            last = self._first_after(stamped_until)
            newest = (
                row
                for position in range(first, last)
                if (row := self._rows[self._order[position][1]]).revision == position + 1
            )
            return list(islice(newest, limit))

    def find(self, listing_id: ListingId) -> Row | None:
        """By its id."""
        with self._lock:
            return self._rows.get(listing_id)

    def holders(self, values: Iterable[tuple[Kind, bytes]]) -> dict[tuple[Kind, bytes], list[Row]]:
        """By fingerprint."""
        with self._lock:
            return {
                value: [self._rows[each] for each in self._holders.get(value, ())]
                for value in values
            }

    def members(self) -> Sequence[Member]:
        """The clearinghouse first."""
        with self._lock:
            return tuple(self._members)

    def take_feedback(self, member: Member, feedback: Sequence[Feedback], source: str) -> None:
        """Judged by the clearinghouse's own rules."""
        for said in feedback:
            with self._lock:
                row = self._rows[said.listing_id]
                opinion = Opinion(member, said.kind, said.reason, int(said.at.timestamp()))
                others = tuple(each for each in row.opinions if each.member != member)
                if any(
                    (each.member, each.kind, each.reason) == (member, said.kind, said.reason)
                    for each in row.opinions
                ):
                    continue
                self.feedback.append((member, said, source))
                row = replace(row, opinions=(*others, opinion), changed_at=self._next_stamp())
                judged = standing(
                    [Said(str(each.member.number), each.kind) for each in row.opinions],
                    submitted_day=row.listed_at // 86_400,
                )
                state, _ = state_after(row.listing.state, "", judged)
                listing = replace(row.listing, level=judged.level, state=state)
                self._put(replace(row, listing=listing))

    def take_submission(
        self, member: Member, media: Media, fingerprints: tuple[Fingerprint, ...]
    ) -> None:
        """Listed like any other item."""
        if not self._takes_submissions:
            raise StateError("this list takes no submissions from partners")
        self.list_item(fingerprints, media=media)


def sample_picture(random: Random, *, windows: int = 0) -> tuple[Fingerprint, ...]:
    """Fingerprints such as one picture has, out of nothing but chance."""
    parts = [Part.WHOLE, *[Part.WINDOW] * windows]
    return (
        *(Fingerprint(Kind.PDQ, random.randbytes(32), part, 100) for part in parts),
        Fingerprint(Kind.SHA256, random.randbytes(32)),
        Fingerprint(Kind.MD5, random.randbytes(16)),
    )


def sample_video(random: Random, *, frames: int = 3) -> tuple[Fingerprint, ...]:
    """Fingerprints such as one video has."""
    return (
        *(Fingerprint(Kind.PDQ, random.randbytes(32), Part.FRAME, 100) for _ in range(frames)),
        Fingerprint(Kind.SHA256, random.randbytes(32)),
        Fingerprint(Kind.MD5, random.randbytes(16)),
    )
