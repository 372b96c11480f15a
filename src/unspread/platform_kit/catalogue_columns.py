"""The perceptual fingerprints of a catalogue as columns: mapped from files, with a tail in memory.

The database holds the truth; the columns are what a search reads, 40 bytes for each fingerprint.
A start maps the files and reads from the database only what is newer, so that it costs the same for
a thousand pieces and for ten million, and the memory is the page cache's, shared by all processes.

    about     JSON, written last: of which database, how many rows, up to which entry and erasure
    front     16 bytes for each row: the first half of the fingerprint, as 64-bit words
    back      16 bytes: the second half
    entries   8 bytes: the catalogue's number of the content; 0 where it was erased

One process at a time writes the files, whoever holds `lock`; others map what is there and keep what
is newer in memory. An erased row is zero in the files as well.
"""

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from unspread.match import Catalogue as Hosted
from unspread.match import found_in

_FORM: Final = 1
_FIRST_ROWS: Final = 4096
_TAIL_ROWS: Final = 1 << 17
"""So many wait in memory before they go into the files."""
_COLUMNS: Final = (("front", "<u8", 2), ("back", "<u8", 2), ("entries", "<i8", 1))

Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Entries, positions of queries, distances in bits: of pairs within the radius."""


class _About(msgspec.Struct, frozen=True):
    form: int
    source: str
    rows: int
    last_entry: int
    gone: int


class Columns:
    """Fingerprints with the entry each belongs to. Any thread may call."""

    def __init__(self, directory: Path, source: str) -> None:
        """Map what the files hold of `source`; files of another database are begun anew.

        Raises:
            OSError: if the directory cannot be used.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._source = source
        self._changing = threading.Lock()
        self._lock = _locked(directory / "lock")
        self.last_entry = 0
        """Up to which entry of the catalogue everything is here."""
        self.gone = 0
        """Up to which erasure of the catalogue everything is erased here."""
        self._files: tuple[NDArray[Any], ...] = tuple(_empty(0))
        self._tail: tuple[NDArray[Any], ...] = tuple(_empty(_FIRST_ROWS))
        self._tail_rows = 0
        self._open()

    def _open(self) -> None:
        try:
            about = msgspec.json.decode((self._directory / "about").read_bytes(), type=_About)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            about = _About(_FORM, "", 0, 0, 0)
        if (about.form, about.source) != (_FORM, self._source):
            about = _About(_FORM, self._source, 0, 0, 0)
        if self._lock is not None:
            for name, dtype, width in _COLUMNS:
                path = self._directory / name
                path.touch(mode=0o600)
                size = about.rows * width * np.dtype(dtype).itemsize
                if path.stat().st_size < size:
                    about = _About(_FORM, self._source, 0, 0, 0)
            for name, dtype, width in _COLUMNS:
                # What a writer that was killed left behind the last whole state.
                os.truncate(self._directory / name, about.rows * width * np.dtype(dtype).itemsize)
        try:
            self._files = self._mapped(about.rows)
        except (OSError, ValueError):
            about = _About(_FORM, self._source, 0, 0, 0)
        self.last_entry, self.gone = about.last_entry, about.gone

    def _mapped(self, rows: int) -> tuple[NDArray[Any], ...]:
        if not rows:
            return tuple(_empty(0))
        # Others than the writer erase in copies of their own.
        mode: Any = "c" if self._lock is None else "r+"
        return tuple(
            np.memmap(
                self._directory / name, dtype, mode, shape=(rows, width) if width > 1 else rows
            )
            for name, dtype, width in _COLUMNS
        )

    def __len__(self) -> int:
        """Rows, erased ones too."""
        return len(self._files[2]) + self._tail_rows

    def add(self, entries: Sequence[tuple[int, bytes]]) -> None:
        """Append the fingerprints, 32 bytes each, of entries that are newer than all before."""
        new = np.frombuffer(b"".join(values for _, values in entries), "<u8").reshape(-1, 4)
        owners = np.repeat(
            np.array([entry for entry, _ in entries], np.int64),
            [len(values) // 32 for _, values in entries],
        )
        with self._changing:
            start, end = self._tail_rows, self._tail_rows + len(new)
            if end > len(self._tail[2]):
                self._tail = tuple(_grown(each, max(end, 2 * len(each))) for each in self._tail)
            for column, part in zip(self._tail, (new[:, :2], new[:, 2:], owners), strict=True):
                column[start:end] = part
            self._tail_rows = end
            self.last_entry = entries[-1][0]
            if end >= _TAIL_ROWS and self._lock is not None:
                self._flush()

    def remove(self, entries: Iterable[int], gone: int) -> None:
        """Erase the rows of entries, up to the erasure `gone`."""
        wanted = np.fromiter(entries, np.int64)
        with self._changing:
            rows = (len(self._files[2]), self._tail_rows)
            for columns, count in zip((self._files, self._tail), rows, strict=True):
                front, back, owners = columns
                places = np.flatnonzero(np.isin(owners[:count], wanted))
                for column in (owners, front, back):
                    column[places] = 0
                if columns is self._files and self._lock is not None and len(places):
                    self._write_through(columns)
            self.gone = max(self.gone, gone)
            if self._lock is not None and rows[0]:
                self._write_about(rows[0], self._entry_in_files())

    def _write_through(self, columns: tuple[NDArray[Any], ...]) -> None:
        """Erasures stand in the file before they are said to."""
        for column in columns:
            if isinstance(column, np.memmap):
                column.flush()

    def search(self, queries: NDArray[np.uint64], radius_bits: int) -> Iterator[Found]:
        """Everything within the radius of any of the (k, 4) queries, a stretch at a time."""
        with self._changing:
            tail = tuple(each[: self._tail_rows] for each in self._tail)
            parts = (self._files, tail)
        for front, back, owners in parts:
            for stretch in found_in(Hosted(front, back), queries, radius_bits):
                if len(stretch.rows):
                    entries = np.asarray(owners[stretch.rows], np.int64)
                    alive = entries != 0
                    yield (
                        entries[alive],
                        stretch.listings[alive],
                        stretch.distances_bits[alive],
                    )

    def close(self) -> None:
        """Write what waits, and let another process write from now on."""
        with self._changing:
            if self._lock is not None:
                self._flush()
                self._lock.close()
                self._lock = None

    def _entry_in_files(self) -> int:
        """The newest entry that the files are known to hold whole."""
        return self.last_entry if not self._tail_rows else int(self._tail[2][0]) - 1

    def _flush(self) -> None:
        rows = len(self._files[2])
        for (name, dtype, _), column in zip(_COLUMNS, self._tail, strict=True):
            with (self._directory / name).open("ab") as file:
                file.write(column[: self._tail_rows].astype(dtype, copy=False).tobytes())
                file.flush()
                os.fsync(file.fileno())
        rows += self._tail_rows
        self._tail, self._tail_rows = tuple(_empty(_FIRST_ROWS)), 0
        self._write_about(rows, self.last_entry)
        self._files = self._mapped(rows)

    def _write_about(self, rows: int, last_entry: int) -> None:
        about = _About(_FORM, self._source, rows, last_entry, self.gone)
        partial = self._directory / "about.part"
        partial.write_bytes(msgspec.json.encode(about))
        partial.replace(self._directory / "about")


def _locked(path: Path) -> IO[str] | None:
    """The lock, held; None if another process has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _empty(rows: int) -> Iterator[NDArray[Any]]:
    for _, dtype, width in _COLUMNS:
        yield np.empty((rows, width) if width > 1 else rows, np.dtype(dtype).newbyteorder("="))


def _grown(column: NDArray[Any], rows: int) -> NDArray[Any]:
    grown = np.empty((rows, *column.shape[1:]), column.dtype)
    grown[: len(column)] = column
    return grown
