"""Makes committed log entries public: one thread, at every tick and soon after every commit.

Another brings the feeds' files together to fewer ones, which is copying and takes its time.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog

from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.partners import Partner, partners
from unspread.errors import UnspreadError
from unspread.feed.blobs import BlobStore
from unspread.feed.records import Entry, EntryKind
from unspread.feed.writer import FeedPartner, FeedWriter

_READ_AT_ONCE: Final = 1024
ERASE_EVERY_SECONDS: Final = 1.0
"""Segments are issued again without what was erased at most so often, for all of it at once."""
SNAPSHOT_EVERY_SECONDS: Final = 60.0
"""How often it is looked whether newcomers' snapshots can be made better."""
VOLUMES_EVERY_SECONDS: Final = 5.0
"""How often it is looked whether files of a feed should become one."""

log = structlog.get_logger()


class DatabaseEntries:
    """The log's entries as the database keeps them, for one thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def size(self) -> int:
        """How many are committed."""
        ((size,),) = self.connection.rows("SELECT COALESCE(MAX(position), -1) + 1 FROM log_entry")
        return int(size)

    def entries(self, start: int, stop: int) -> Iterable[Entry]:
        """Entries start..stop-1, in order."""
        for at in range(start, stop, _READ_AT_ONCE):
            for kind, payload in self.connection.rows(
                "SELECT kind, payload FROM log_entry WHERE position >= ? AND position < ?"
                " ORDER BY position",
                at,
                min(at + _READ_AT_ONCE, stop),
            ):
                yield Entry(EntryKind(kind), bytes(payload))

    def erasures(self) -> set[int]:
        """Positions that published segments may still hold open."""
        return {row[0] for row in self.connection.rows("SELECT position FROM pending_erasure")}

    def partners(self) -> list[Partner]:
        """Every partner."""
        return partners(self.connection)


def fed(known: Sequence[Partner]) -> list[FeedPartner]:
    """Those that get a feed, and what of it."""
    return [
        FeedPartner(each.partner_id, each.sealing_key, each.feed_scope)
        for each in known
        # A partner that only speaks an older programme's protocol has no key to seal to.
        if each.state == "active" and "feed" in each.scopes and each.sealing_key
    ]


class Publisher:
    """Calls the feed's writer with what is committed, and says so to whoever waits."""

    def __init__(
        self,
        make_writer: Callable[[], FeedWriter],
        blobs: BlobStore,
        source: DatabaseEntries,
        *,
        tick_seconds: float,
        batch: int,
        append_due: Callable[[Sequence[Partner]], None],
        clock: Callable[[], float],
        published: Callable[[int], None],
        erased: Callable[[set[int]], None],
    ) -> None:
        """Publish `source` by the writer that `make_writer` makes, on `blobs`.

        Args:
            tick_seconds: at most so long from a commit to its publication.
            batch: if not 0, the public log grows by whole batches of so many entries, at ticks
                alone.
            append_due: called before each publication, to append what the clearinghouse itself
                has to say, and padding.
            clock: seconds since 1970.
            published: called with each new size, on the publisher's thread.
            erased: called once segments hold positions no more, on the publisher's thread.
        """
        self._make_writer = make_writer
        self._writer = make_writer()
        self._blobs = blobs
        self._source = source
        self._tick_seconds = tick_seconds
        self._batch = batch
        self._append_due = append_due
        self._clock = clock
        self._published = published
        self._erased = erased
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._fed: dict[str, bytes] | None = None
        self._erased_at = float("-inf")
        self._snapshots_at = float("-inf")
        self.failing_since: float | None = None
        self.last_success: float = 0.0
        self._to: list[FeedPartner] = []
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._copying = threading.Thread(target=self._bring_together, name="volumes", daemon=True)

    @property
    def size(self) -> int:
        """Entries that are public."""
        return self._writer.size

    def start(self) -> None:
        """Publish what is committed, then go on with that until closed."""
        self._published(self.publish_once())
        self.last_success = self._clock()
        self._thread.start()
        self._copying.start()

    def wake(self) -> None:
        """Something was committed. From any thread."""
        if not self._batch:
            self._wake.set()

    def close(self) -> None:
        """Publish what is committed, then stop."""
        self._stopping.set()
        self._wake.set()
        for thread in (self._thread, self._copying):
            if thread.is_alive():
                thread.join()

    def proof(self, position: int) -> bytes:
        """The `.tlog-proof` of an entry. From any thread.

        Raises:
            StateError: if it is not public yet.
        """
        with self._writing:
            return self._writer.proof(position)

    def publish_once(self) -> int:
        """Publish what is committed now; the size that is public afterwards."""
        known = self._source.partners()
        self._append_due(known)
        with self._writing:
            return self._publish(fed(known))

    def _publish(self, to: list[FeedPartner]) -> int:
        # Before the size: what is erased later may have been committed later too.
        erased = self._source.erasures()
        size = self._source.size()
        if self._batch:
            # What came after the padding waits for the next tick: whole batches alone are seen.
            size = max(self._writer.signed_size, size - size % self._batch)
        self._to = to
        self._end_feeds_but({each.partner_id: each.public_key for each in to})
        before = self._writer.size
        self._writer.publish(size, to, self._now())
        if self._writer.size != before:
            # News first: what is issued again below may take its time.
            self._published(self._writer.size)
        self._erase({each for each in erased if each < self._writer.size}, to)
        self._improve_snapshots(to)
        return self._writer.size

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock()), UTC)

    def _erase(self, erased: set[int], to: list[FeedPartner]) -> None:
        is_due = time.monotonic() - self._erased_at >= ERASE_EVERY_SECONDS
        if not erased or not (is_due or self._stopping.is_set()):
            return
        self._writer.reissue(to, self._now(), erased=erased)
        self._erased(erased)
        self._erased_at = time.monotonic()

    def _improve_snapshots(self, to: list[FeedPartner]) -> None:
        now = time.monotonic()
        # One step at a time: what is new goes first.
        if now - self._snapshots_at >= SNAPSHOT_EVERY_SECONDS and not (
            self._writer.improve_snapshots(to, self._now())
        ):
            self._snapshots_at = now

    def _bring_together(self) -> None:
        while not self._stopping.wait(VOLUMES_EVERY_SECONDS):
            try:
                while not self._stopping.is_set() and self.write_volume():
                    pass
            except (UnspreadError, OSError) as error:
                # What is public stays as it is, in more files.
                log.warning("bringing_files_together_failed", error=type(error).__name__)

    def write_volume(self) -> bool:
        """Bring some files of a feed together; whether any were due. From any thread.

        Raises:
            StateError: if one of them was issued again meanwhile, or is damaged.
        """
        with self._writing:
            volume = self._writer.volume_due(self._to)
        if volume is None:
            return False
        # The copying itself keeps no listing waiting.
        lines = volume.write(self._blobs)
        with self._writing:
            self._writer.adopt(volume, lines, self._to, self._now())
        return True

    def _end_feeds_but(self, fed: dict[str, bytes]) -> None:
        """Delete the feeds of all that are not (or no longer) to be fed, or have a new key."""
        if fed == self._fed:
            return
        before = self._fed or {}
        ended = {path.split("/", 2)[1] for path in self._blobs.paths("feed/")} - set(fed)
        ended |= {each for each, key in fed.items() if before.get(each, key) != key}
        for partner_id in ended:
            for path in list(self._blobs.paths(f"feed/{partner_id}/")):
                self._blobs.delete(path)
        if ended:
            # The writer remembers what it wrote for whom: a feed that returns starts afresh.
            self._writer = self._make_writer()
        self._fed = fed
        self._snapshots_at = float("-inf")

    def _work(self) -> None:
        started = 0.0
        while True:
            self._wake.wait(self._tick_seconds)
            # The first commit goes out at once, what follows within a tick goes out together:
            # publishing for each of a thousand a second would leave no time for them.
            self._stopping.wait(started + self._tick_seconds - time.monotonic())
            self._wake.clear()
            stopping = self._stopping.is_set()
            started = time.monotonic()
            try:
                self.publish_once()
            except (UnspreadError, OSError, sqlite3.Error, psycopg.Error) as error:
                # Keep serving what is public; say loudly that it grows old; try again.
                if self.failing_since is None:
                    self.failing_since = self._clock()
                log.error("publishing_failed", error=type(error).__name__)  # noqa: TRY400 - a trace may quote values
                self._wake.clear()
                if not stopping:
                    self._wake.wait(min(5.0, self._tick_seconds * 4))
            else:
                self.failing_since = None
                self.last_success = self._clock()
            if stopping:
                return
