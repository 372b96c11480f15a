"""What is already hosted, by fingerprint, so that a new listing finds it at once.

What a scan asks the bank is kept (all turns of a picture, the frames of a video; not windows), so
a listing that comes after the upload finds what it would have refused before it.
The rows stand in the database; the pdq words also in columns, which a search reads from end to end.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from unspread.errors import InputError
from unspread.model import VALUE_BYTES, Fingerprint, Kind, Media, Part
from unspread.platform_kit.bank import WIDENED, Probe
from unspread.platform_kit.catalogue_columns import Columns
from unspread.platform_kit.store import Finding, Store, time_of, time_text

MAX_REFERENCE_CHARACTERS: Final = 512

_SCHEMA: Final = (
    # Of before the first release: scan what is hosted once more.
    "DROP TABLE IF EXISTS catalogue_rows",
    "DROP TABLE IF EXISTS catalogue",
    "DROP TABLE IF EXISTS ledger",
    """CREATE TABLE hosted (
        entry INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL UNIQUE,
        media TEXT NOT NULL, seen_at TEXT NOT NULL, probes BLOB NOT NULL)""",
    """CREATE TABLE hosted_digests (
        value BLOB NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (value, entry)) WITHOUT ROWID""",
    """CREATE TABLE hosted_gone (
        number INTEGER PRIMARY KEY AUTOINCREMENT, entry INTEGER NOT NULL)""",
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
        """Keep the fingerprints of content, in the place of older ones; the entry's number.

        `at`: when it was posted, as far as is known.
        """

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""

    def search(self, wanted: Sequence["Wanted"]) -> list[list[Finding]]:
        """Content within the radius of each listing, each once, nearest first.

        As many listings at once as there are: one pass over all content answers them.
        """

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""

    def posted_at(self, reference: str) -> datetime | None:
        """When one piece of content was posted, as far as is known; None if it is unknown."""

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""

    def __len__(self) -> int:
        """Pieces of content."""

    @property
    def source(self) -> str:
        """Names the database, so that what is derived from it is not taken for another's."""

    def gone_after(self, number: int) -> list[tuple[int, int]]:
        """(number, entry) of what was forgotten after the erasure `number`, in order."""

    def catch_up(self) -> None:
        """Make ready for a search what was kept and forgotten since the last one.

        A search does so itself; done now and then, it has little left to do.
        """

    def close(self) -> None:
        """Let go of it; the next start is quick."""


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


Wanted = tuple[Sequence[Fingerprint], int]
"""The fingerprints of one listing, and how far from any of them content is found."""


def found_for(
    wanted: Sequence[Wanted],
    columns: Columns,
    entries_with: Callable[[list[bytes]], Iterable[tuple[bytes, int]]],
    references_of: Callable[[list[int]], Mapping[int, str]],
) -> list[list[Finding]]:
    """What is within the radius of each listing, nearest first; all are looked for in one pass.

    Args:
        entries_with: digests to (digest, entry).
        references_of: entries to their references; those that are gone are left out.
    """
    best: list[dict[int, tuple[int, Kind]]] = [{} for _ in wanted]
    values: list[bytes] = []
    owners: list[int] = []
    by_digest: dict[bytes, list[tuple[int, Kind]]] = {}
    for at, (fingerprints, _) in enumerate(wanted):
        for each in fingerprints:
            if each.kind is Kind.PDQ:
                values.append(each.value)
                owners.append(at)
            else:
                by_digest.setdefault(each.value, []).append((at, each.kind))
    if values:
        queries = np.frombuffer(b"".join(values), "<u8").reshape(-1, 4)
        for found in columns.search(queries, max(radius for _, radius in wanted)):
            for entry, position, distance in zip(*(each.tolist() for each in found), strict=True):
                at = owners[position]
                if distance <= wanted[at][1]:
                    here = (distance, Kind.PDQ)
                    best[at][entry] = min(here, best[at].get(entry, here))
    for value, entry in entries_with(list(by_digest)) if by_digest else ():
        for at, kind in by_digest[value]:
            best[at][entry] = (0, kind)
    names = references_of(sorted({entry for each in best for entry in each}))
    return [
        [
            Finding(names[entry], kind, distance)
            for entry, (distance, kind) in sorted(each.items(), key=lambda one: (*one[1], one[0]))
            if entry in names
        ]
        for each in best
    ]


class SqliteCatalogue:
    """The catalogue in the kit's own database: millions of pieces on one machine."""

    def __init__(self, store: Store, directory: Path) -> None:
        """Open it; the columns lie in `directory`."""
        self._store = store
        store.migrate("hosted", _SCHEMA)
        self.source = f"sqlite {store.counter('instance')}"
        self._columns = Columns(directory, self.source)
        self._loading = threading.Lock()

    def close(self) -> None:
        """Leave the columns whole for the next start."""
        self._columns.close()

    def catch_up(self) -> None:
        """Take into the columns what this or another process has written and erased since."""
        with self._loading:
            while rows := self._store.read(
                lambda c: c.execute(
                    "SELECT entry, probes FROM hosted WHERE entry > ? ORDER BY entry LIMIT 2000",
                    (self._columns.last_entry,),
                ).fetchall()
            ):
                self._columns.add([(row["entry"], pdq_values(row["probes"])) for row in rows])
            gone = self.gone_after(self._columns.gone)
            if gone:
                numbers, entries = zip(*gone, strict=True)
                self._columns.remove(entries, max(numbers))

    def gone_after(self, number: int) -> list[tuple[int, int]]:
        """(number, entry) of what was forgotten after the erasure `number`, in order."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT number, entry FROM hosted_gone WHERE number > ? ORDER BY number", (number,)
            ).fetchall()
        )
        return [(row["number"], row["entry"]) for row in rows]

    def remember(self, reference: str, media: Media, probes: Sequence[Probe], at: datetime) -> int:
        """Keep the fingerprints of content, in the place of older ones; the entry's number."""
        kept = kept_probes(probes)

        def work(connection: sqlite3.Connection) -> int:
            _erase(connection, [reference])
            entry = connection.execute(
                "INSERT INTO hosted (reference, media, seen_at, probes) VALUES (?, ?, ?, ?)",
                (reference, media, time_text(at), pack_probes(kept)),
            ).lastrowid
            connection.executemany(
                "INSERT OR IGNORE INTO hosted_digests (value, entry) VALUES (?, ?)",
                [(each.value, entry) for each in kept if each.kind is not Kind.PDQ],
            )
            return int(entry or 0)

        return self._store.write(work)

    def forget(self, references: Iterable[str]) -> None:
        """Erase what is kept of these; unknown ones are no error."""
        names = list(references)

        def work(connection: sqlite3.Connection) -> None:
            _erase(connection, names)
            self._store.erase_after_commit()

        self._store.write(work)

    def search(self, wanted: Sequence[Wanted]) -> list[list[Finding]]:
        """Content within the radius of each listing, each once, nearest first."""
        self.catch_up()

        def entries_with(values: list[bytes]) -> Iterator[tuple[bytes, int]]:
            for value in values:
                for entry in self._entries_with(value):
                    yield value, entry

        def references_of(entries: list[int]) -> dict[int, str]:
            def work(connection: sqlite3.Connection) -> dict[int, str]:
                rows = (
                    connection.execute(
                        "SELECT entry, reference FROM hosted WHERE entry = ?", (entry,)
                    ).fetchone()
                    for entry in entries
                )
                return {row["entry"]: row["reference"] for row in rows if row is not None}

            return self._store.read(work)

        return found_for(wanted, self._columns, entries_with, references_of)

    def _entries_with(self, digest: bytes) -> list[int]:
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT entry FROM hosted_digests WHERE value = ?", (digest,)
            ).fetchall()
        )
        return [row["entry"] for row in rows]

    def probes_of(self, reference: str) -> tuple[Probe, ...]:
        """What is kept of one piece of content; nothing if it is unknown."""
        row = self._store.read(
            lambda c: c.execute(
                "SELECT probes FROM hosted WHERE reference = ?", (reference,)
            ).fetchone()
        )
        return () if row is None else unpack_probes(row["probes"])

    def posted_at(self, reference: str) -> datetime | None:
        """When one piece of content was posted, as far as is known; None if it is unknown."""
        row = self._store.read(
            lambda c: c.execute(
                "SELECT seen_at FROM hosted WHERE reference = ?", (reference,)
            ).fetchone()
        )
        return None if row is None else time_of(row["seen_at"])

    def last_entry(self) -> int:
        """The number of the newest entry, 0 if there was none."""
        return self._store.read(
            lambda c: int(c.execute("SELECT coalesce(max(entry), 0) FROM hosted").fetchone()[0])
        )

    def entries_after(self, entry: int) -> Iterator[Entry]:
        """Entries newer than `entry`, oldest first."""
        page: Callable[[int], list[sqlite3.Row]] = lambda last: self._store.read(  # noqa: E731
            lambda c: c.execute(
                "SELECT entry, reference, media, probes FROM hosted WHERE entry > ?"
                " ORDER BY entry LIMIT 1000",
                (last,),
            ).fetchall()
        )
        while rows := page(entry):
            for row in rows:
                entry = row["entry"]
                media, probes = Media(row["media"]), unpack_probes(row["probes"])
                yield Entry(entry, row["reference"], media, probes)

    def __len__(self) -> int:
        """Pieces of content."""
        return self._store.read(
            lambda c: int(c.execute("SELECT count(*) FROM hosted").fetchone()[0])
        )


def _erase(connection: sqlite3.Connection, references: Iterable[str]) -> None:
    for reference in references:
        row = connection.execute(
            "DELETE FROM hosted WHERE reference = ? RETURNING entry, probes", (reference,)
        ).fetchone()
        if row is None:
            continue
        connection.executemany(
            "DELETE FROM hosted_digests WHERE value = ? AND entry = ?",
            [
                (each.value, row["entry"])
                for each in unpack_probes(row["probes"])
                if each.kind is not Kind.PDQ
            ],
        )
        connection.execute("INSERT INTO hosted_gone (entry) VALUES (?)", (row["entry"],))


_KINDS: Final = (Kind.PDQ, Kind.SHA256, Kind.MD5)


def pack_probes(probes: Iterable[Probe]) -> bytes:
    """Kind (a byte), frame (four, little-endian) and value of each, in order."""
    return b"".join(
        bytes((_KINDS.index(each.kind),)) + each.frame.to_bytes(4, "little") + each.value
        for each in probes
    )


def unpack_probes(packed: bytes) -> tuple[Probe, ...]:
    """What `pack_probes` was given."""
    probes = []
    at = 0
    while at < len(packed):
        kind, frame = _KINDS[packed[at]], int.from_bytes(packed[at + 1 : at + 5], "little")
        end = at + 5 + VALUE_BYTES[kind]
        probes.append(Probe(kind, packed[at + 5 : end], frame=frame))
        at = end
    return tuple(probes)


def kept_probes(probes: Iterable[Probe]) -> list[Probe]:
    """What the catalogue keeps: all but windows, of which a picture has a thousand, and guesses.

    A hosted picture that was cropped, or shows a listed one within another, is found when it is
    uploaded only; a hosted video if it was not cropped.
    """
    return [
        probe
        for probe in probes
        if probe.part is not Part.WINDOW and not probe.variant.startswith(WIDENED)
    ]


_PDQ_RECORD: Final = 5 + VALUE_BYTES[Kind.PDQ]


def pdq_values(packed: bytes) -> bytes:
    """The perceptual values in what `pack_probes` wrote, one after the other: what columns hold."""
    values = bytearray()
    at = 0
    while at < len(packed):
        if packed[at]:
            at += 5 + VALUE_BYTES[_KINDS[packed[at]]]
        else:
            values += packed[at + 5 : at + _PDQ_RECORD]
            at += _PDQ_RECORD
    return bytes(values)
