"""Volumes: the bodies of many segments in one file, so that few files hold a long list.

A segment's head, with its wrapped key, stays in the signed index. Whoever takes a head out of it
has erased that segment: what is left of it in a volume is cipher text to a key that is in no file
any more. So volumes grow as long as they like, and an erasure issues one segment again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from unspread.crypto import sha256
from unspread.errors import StateError
from unspread.feed.blobs import BlobStore
from unspread.feed.latest import Place, SegmentLine
from unspread.feed.segments import head_of

FILES_OF_A_CLASS: Final = 4
"""So many files of one class become one: a file of 4**c to 4**(c + 1) - 1 live segments is of class
c. So a segment is copied at most once for each class, and *n* segments are in at most three files
for each power of four up to *n*. More than half of no volume is junk for long."""


class ChangedSegmentError(StateError):
    """A file of the feed is not what was written."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What to write into one volume, as the segments were when that was decided."""

    partner_id: str
    lines: tuple[SegmentLine, ...]
    """In the order of the log."""

    @property
    def name(self) -> str:
        """Its name, which follows from what is in it."""
        return sha256(*(bytes.fromhex(line.digest) for line in self.lines)).hex()[:32]

    @property
    def path(self) -> str:
        """Where its file is."""
        return f"feed/{self.partner_id}/vol/{self.name}"

    def write(self, blobs: BlobStore) -> list[SegmentLine]:
        """Write the file; the same lines, with their places in it.

        Raises:
            MissingBlobError: if a segment is no longer there: it was issued again.
            ChangedSegmentError: if a file has been damaged.
        """
        placed: list[SegmentLine] = []
        blobs.put_parts(self.path, self._bodies(blobs, placed))
        return placed

    def _bodies(self, blobs: BlobStore, placed: list[SegmentLine]) -> Iterator[bytes]:
        name, at = self.name, 0
        for line in self.lines:
            path, place = line.path(self.partner_id), line.place
            if place is None:
                data = blobs.get(path)
                head = head_of(data)
            else:
                head = place.head
                stop = place.offset_bytes + line.body_bytes
                data = head + blobs.part(path, place.offset_bytes, stop)
            if sha256(data).hex() != line.digest:
                raise ChangedSegmentError("a file of the feed is not what was written")
            placed.append(replace(line, place=Place(name, at, head)))
            body = data[len(head) :]
            at += len(body)
            yield body


def due(
    lines: Sequence[SegmentLine], length_bytes_of: Callable[[str], int]
) -> tuple[SegmentLine, ...]:
    """Those of a feed's lines that one new volume should bring together, none if all is well.

    `length_bytes_of` gives how long a volume of a name is, with what is erased or outlived in it.
    """
    files: dict[str, list[SegmentLine]] = {}
    for line in lines:
        files.setdefault(line.place.volume if line.place else line.digest, []).append(line)
    classes: dict[int, list[list[SegmentLine]]] = {}
    for held in files.values():
        classes.setdefault((len(held).bit_length() - 1) // 2, []).append(held)
    for of_class in sorted(classes):
        if len(classes[of_class]) >= FILES_OF_A_CLASS:
            together = [line for held in classes[of_class] for line in held]
            return tuple(sorted(together, key=lambda line: line.start))
    for name, held in files.items():
        live_bytes = sum(line.body_bytes for line in held)
        if held[0].place is not None and length_bytes_of(name) > 2 * live_bytes:
            return tuple(held)
    return ()
