"""What is already hosted, by fingerprint, so that a new listing finds it at once.

What a scan asks the bank is kept (all turns of a picture, the frames of a video; not windows), so
a listing that comes after the upload finds what it would have refused before it.
The rows stand in the database; the pdq words also in memory, 40 bytes for each, read from end to
end by every search.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError
from unspread.match import Catalogue as Hosted
from unspread.match import found_in
from unspread.model import Fingerprint, Kind, Media, Part
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.store import Finding, Store, time_text

MAX_REFERENCE_CHARACTERS: Final = 512
_FIRST_ROWS: Final = 4096

_SCHEMA: Final = (
    """CREATE TABLE catalogue (
        entry INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL UNIQUE,
        media TEXT NOT NULL, seen_at TEXT NOT NULL)""",
    """CREATE TABLE catalogue_rows (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        entry INTEGER NOT NULL REFERENCES catalogue (entry) ON DELETE CASCADE,
        kind TEXT NOT NULL, value BLOB NOT NULL, frame INTEGER NOT NULL)""",
    "CREATE INDEX catalogue_rows_by_entry ON catalogue_rows (entry)",
    "CREATE INDEX catalogue_digests ON catalogue_rows (value) WHERE kind != 'pdq'",
)


class MalformedReferenceError(InputError):
    """Not a reference: empty, too long, or with control characters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of hosted content."""

    entry: int
    """Grows with every entry."""
    reference: str
    """The platform's own name for it."""
    media: Media
    probes: tuple[Probe, ...]


class Catalogue(Protocol):
    """Where the fingerprints of hosted content are kept. Methods block; any thread may call."""

    def remember(self, reference: str, media: Media, probes: Sequence[Probe], at: datetime) -> int:
        """Keep the fingerprints of content, in the place of older ones; the entry's number."""

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""

    def search(self, fingerprints: Sequence[Fingerprint], radius_bits: int) -> list[Finding]:
        """Content within the radius of any of the fingerprints, each once, nearest first."""

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""

    def __len__(self) -> int:
        """Pieces of content."""


def checked_reference(text: str) -> str:
    """A reference as a platform sends it.

    Raises:
        MalformedReferenceError: if it is empty, too long or has control characters.
    """
    if not 0 < len(text) <= MAX_REFERENCE_CHARACTERS or not text.isprintable():
        raise MalformedReferenceError(
            f"a reference has 1 to {MAX_REFERENCE_CHARACTERS} printable characters"
        )
    return text


class Columns:
    """Growing columns of pdq words with the entry each belongs to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._front = np.empty((_FIRST_ROWS, 2), np.uint64)
        self._back = np.empty((_FIRST_ROWS, 2), np.uint64)
        self._entries = np.empty(_FIRST_ROWS, np.int64)
        self._rows = 0

    def add(self, entry: int, values: Sequence[bytes]) -> None:
        """Append the pdq values of one entry."""
        if not values:
            return
        new = np.frombuffer(b"".join(values), "<u8").reshape(-1, 4)
        with self._lock:
            start, end = self._rows, self._rows + len(new)
            if end > len(self._entries):
                rows = max(end, 2 * len(self._entries))
                self._front = _grown(self._front, rows)
                self._back = _grown(self._back, rows)
                self._entries = _grown(self._entries, rows)
            self._front[start:end], self._back[start:end] = new[:, :2], new[:, 2:]
            self._entries[start:end] = entry
            self._rows = end

    def remove(self, entries: Iterable[int]) -> None:
        """Erase the rows of entries."""
        wanted = np.fromiter(entries, np.int64)
        if not len(wanted):
            return
        with self._lock:
            gone = np.flatnonzero(np.isin(self._entries[: self._rows], wanted))
            for column in (self._front, self._back, self._entries):
                column[gone] = 0

    def search(self, queries: NDArray[np.uint64], radius_bits: int) -> dict[int, int]:
        """Entry → distance of its nearest row to any of the (k, 4) queries, within the radius."""
        with self._lock:
            hosted = Hosted(self._front[: self._rows], self._back[: self._rows])
            owners = self._entries[: self._rows]
        best: dict[int, int] = {}
        for stretch in found_in(hosted, queries, radius_bits):
            for row, distance in zip(
                stretch.rows.tolist(), stretch.distances_bits.tolist(), strict=True
            ):
                entry = int(owners[row])
                if entry:
                    best[entry] = min(distance, best.get(entry, distance))
        return best


_Column = TypeVar("_Column", NDArray[np.uint64], NDArray[np.int64])


def _grown(column: _Column, rows: int) -> _Column:
    grown = np.empty((rows, *column.shape[1:]), column.dtype)
    grown[: len(column)] = column
    return grown


class SqliteCatalogue:
    """The catalogue in the kit's own database: millions of pieces on one machine."""

    def __init__(self, store: Store) -> None:
        """Open it; reads all rows into memory."""
        self._store = store
        store.migrate("catalogue", _SCHEMA)
        self._columns = Columns()
        self._in_memory = 0
        self._loading = threading.Lock()
        self._load()

    def _load(self) -> None:
        """Read rows into memory that this or another process has written since."""
        with self._loading:
            for entry in self.entries_after(self._in_memory):
                self._columns.add(entry.entry, _pdqs(entry.probes))
                self._in_memory = entry.entry

    def remember(self, reference: str, media: Media, probes: Sequence[Probe], at: datetime) -> int:
        """Keep the fingerprints of content, in the place of older ones; the entry's number."""
        old: list[int] = []
        kept = kept_probes(probes)

        def work(connection: sqlite3.Connection) -> int:
            old.extend(_entries_of(connection, [reference]))
            connection.execute("DELETE FROM catalogue WHERE reference = ?", (reference,))
            entry = connection.execute(
                "INSERT INTO catalogue (reference, media, seen_at) VALUES (?, ?, ?)",
                (reference, media, time_text(at)),
            ).lastrowid
            connection.executemany(
                "INSERT INTO catalogue_rows (entry, kind, value, frame) VALUES (?, ?, ?, ?)",
                [(entry, each.kind, each.value, each.frame) for each in kept],
            )
            return int(entry or 0)

        entry = self._store.write(work)
        self._columns.remove(old)
        self._load()
        return entry

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""
        names = list(references)

        def work(connection: sqlite3.Connection) -> list[int]:
            entries = _entries_of(connection, names)
            connection.executemany(
                "DELETE FROM catalogue WHERE entry = ?", [(each,) for each in entries]
            )
            self._store.erase_after_commit()
            return entries

        self._columns.remove(self._store.write(work))

    def search(self, fingerprints: Sequence[Fingerprint], radius_bits: int) -> list[Finding]:
        """Content within the radius of any of the fingerprints, each once, nearest first."""
        self._load()
        pdqs = [each.value for each in fingerprints if each.kind is Kind.PDQ]
        best: dict[int, tuple[int, Kind]] = {}
        if pdqs:
            queries = np.frombuffer(b"".join(pdqs), "<u8").reshape(-1, 4)
            found = self._columns.search(queries, radius_bits)
            best = {entry: (distance, Kind.PDQ) for entry, distance in found.items()}

        def work(connection: sqlite3.Connection) -> list[Finding]:
            for each in fingerprints:
                if each.kind is not Kind.PDQ:
                    for row in connection.execute(
                        "SELECT entry FROM catalogue_rows WHERE value = ? AND kind != 'pdq'",
                        (each.value,),
                    ):
                        best[row["entry"]] = (0, each.kind)
            names = {
                entry: connection.execute(
                    "SELECT reference FROM catalogue WHERE entry = ?", (entry,)
                ).fetchone()
                for entry in best
            }
            return [
                Finding(names[entry]["reference"], kind, distance)
                for entry, (distance, kind) in sorted(best.items(), key=lambda one: one[1])
                if names[entry] is not None
            ]

        return self._store.read(work)

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""
        entries = self._store.read(lambda c: _entries_of(c, [reference]))
        return self._probes(entries[0]) if entries else ()

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""
        return self._store.read(
            lambda c: int(c.execute("SELECT coalesce(max(entry), 0) FROM catalogue").fetchone()[0])
        )

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""
        page: Callable[[int], list[sqlite3.Row]] = lambda last: self._store.read(  # noqa: E731
            lambda c: c.execute(
                "SELECT * FROM catalogue WHERE entry > ? ORDER BY entry LIMIT 1000", (last,)
            ).fetchall()
        )
        while rows := page(entry):
            for row in rows:
                entry = row["entry"]
                yield Entry(entry, row["reference"], Media(row["media"]), self._probes(entry))

    def _probes(self, entry: int) -> tuple[Probe, ...]:
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT kind, value, frame FROM catalogue_rows WHERE entry = ? ORDER BY row",
                (entry,),
            ).fetchall()
        )
        return tuple(Probe(Kind(row["kind"]), row["value"], frame=row["frame"]) for row in rows)

    def __len__(self) -> int:
        """Pieces of content."""
        return self._store.read(
            lambda c: int(c.execute("SELECT count(*) FROM catalogue").fetchone()[0])
        )


def kept_probes(probes: Iterable[Probe]) -> list[Probe]:
    """What the catalogue keeps: all but windows, of which a picture has a thousand.

    A hosted picture that shows a listed one as a part is found by the listing's own windows
    if it was cropped, and not if it is a collage.
    """
    return [probe for probe in probes if probe.part is not Part.WINDOW]


def _pdqs(probes: Iterable[Probe]) -> list[bytes]:
    return [probe.value for probe in probes if probe.kind is Kind.PDQ]


def _entries_of(connection: sqlite3.Connection, references: Iterable[str]) -> list[int]:
    found = []
    for reference in references:
        row = connection.execute(
            "SELECT entry FROM catalogue WHERE reference = ?", (reference,)
        ).fetchone()
        if row is not None:
            found.append(int(row["entry"]))
    return found
