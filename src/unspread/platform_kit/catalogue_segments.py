"""The catalogue as a directory of Parquet files that grows with it, for scans on many machines.

One file for each stretch of entries, `FIRST-LAST.parquet`; what is new since the last file becomes
the next, together with files before it that are no larger, so that they stay few. A file with
content that has been forgotten since is written anew without it, from the database, so that what is
erased there is erased here by the next call.
"""

from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path
from typing import Final

import msgspec

from unspread.errors import InputError, StateError
from unspread.platform_kit.catalogue import Catalogue, Entry
from unspread.platform_kit.catalogue_files import write_catalogue

SEGMENT_ENTRIES: Final = 100_000
"""Content in one file: 8 rows for a picture, and more for a video."""
_ABOUT: Final = "about.json"


class _About(msgspec.Struct, frozen=True):
    source: str
    gone: int


class Segments:
    """A directory of segments. One process at a time writes."""

    def __init__(self, directory: Path, catalogue: Catalogue) -> None:
        """Go on with the directory, or begin it.

        Raises:
            StateError: if it holds another catalogue.
            InputError: if it cannot be read.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._catalogue = catalogue
        about = directory / _ABOUT
        self._at = _About(catalogue.source, 0)
        if about.exists():
            try:
                self._at = msgspec.json.decode(about.read_bytes(), type=_About)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise InputError(f"{about} cannot be read: give an empty directory") from None
        if self._at.source != catalogue.source:
            raise StateError(f"{directory} holds another catalogue: give an empty directory")

    def files(self) -> list[Path]:
        """The segments, oldest first."""
        return sorted(self._directory.glob("*-*.parquet"))

    def update(self) -> tuple[int, int]:
        """Write what is new, and anew what holds forgotten content; how many files of each.

        Killed at any place, the next call goes on: a file appears whole or not at all.
        """
        gone = self._catalogue.gone_after(self._at.gone)
        self._drop_replaced()
        rewritten = self._rewrite({entry for _, entry in gone})
        newest, written = self._catalogue.last_entry(), 0
        start = last = max((_span(path)[1] for path in self.files()), default=0)
        for path in reversed(self.files()):
            first, end = _span(path)
            size = end - first + 1
            if size >= SEGMENT_ENTRIES or size > newest - start:
                break
            start = first - 1
        if newest > last:
            fresh = self._catalogue.entries_after(start)
            for _, block in groupby(enumerate(fresh), lambda one: one[0] // SEGMENT_ENTRIES):
                entries = [entry for _, entry in block]
                write_catalogue(self._path(entries[0].entry, entries[-1].entry), entries)
                written += 1
            self._drop_replaced()
        # What was forgotten while we wrote comes again, and finds its file.
        self._note(max((number for number, _ in gone), default=self._at.gone))
        return written, rewritten

    def _drop_replaced(self) -> None:
        """Delete files whose stretch lies inside another's: a newer one took its place."""
        spans = {path: _span(path) for path in self.files()}
        for path, (first, last) in spans.items():
            for other, (begin, end) in spans.items():
                if path != other and begin <= first and last <= end:
                    path.unlink(missing_ok=True)

    def _rewrite(self, gone: set[int]) -> int:
        count = 0
        for path in self.files():
            first, last = _span(path)
            if any(first <= entry <= last for entry in gone):
                left = list(self._between(first, last))
                if left:
                    write_catalogue(path, left)
                else:
                    path.unlink()
                count += 1
        return count

    def _between(self, first: int, last: int) -> Iterator[Entry]:
        entries = self._catalogue.entries_after(first - 1)
        return takewhile(lambda each: each.entry <= last, entries)

    def _path(self, first: int, last: int) -> Path:
        return self._directory / f"{first:012d}-{last:012d}.parquet"

    def _note(self, gone: int) -> None:
        self._at = _About(self._catalogue.source, gone)
        partial = self._directory / f"{_ABOUT}.part"
        partial.write_bytes(msgspec.json.encode(self._at))
        partial.replace(self._directory / _ABOUT)


def _span(path: Path) -> tuple[int, int]:
    """The first and the last entry that a file was written of."""
    first, last = path.stem.split("-")
    return int(first), int(last)
