"""`latest`: the signed list of the segments that make up one partner's feed."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from unspread.crypto import sha256
from unspread.errors import InputError, TrustError
from unspread.feed.segments import MAX_HEAD_BYTES, MAX_LEVEL, MAX_SEGMENT_BYTES
from unspread.transparency.note import MalformedNoteError, Note, decode_base64, decode_decimal

MAX_LATEST_BYTES: Final = 512 * 1024
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
"""Room for 280 million entries and more: at most 1.9 kB for each 8 192."""
EXPIRES_AFTER_SECONDS: Final = 15 * 60

_HEADER: Final = "unspread-feed/1"
_PARTNER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VOLUME: Final = re.compile(r"[0-9a-f]{32}")
_MOST_OFFSET: Final = 1 << 48


class WrongContentError(TrustError):
    """A file is not the one that the signed list names."""


class MalformedLatestError(TrustError):
    """The signed list of segments is not in its form, or leaves a gap."""


def check_partner_id(partner: str) -> str:
    """The partner's identifier, which stands in URLs.

    Raises:
        InputError: if it is not 1 to 64 small letters, digits and inner hyphens.
    """
    if not _PARTNER.fullmatch(partner):
        raise InputError("a partner's identifier is small letters, digits and hyphens")
    return partner


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment's body is in a volume, and its head, which no volume has."""

    volume: str
    """Name of the volume: 32 hex digits."""
    offset_bytes: int
    head: bytes
    """The segment up to its wrapped key: without it nobody can open the body."""

    def to_text(self) -> str:
        """Its fields."""
        return f"{self.volume} {self.offset_bytes} {base64.b64encode(self.head).decode()}"

    @classmethod
    def from_fields(cls, volume: str, offset: str, head: str) -> "Place":
        """The place that `to_text` writes so.

        Raises:
            MalformedLatestError: if it is none.
            MalformedNoteError: the same, of its numbers.
        """
        if not _VOLUME.fullmatch(volume):
            raise MalformedLatestError("not the name of a volume")
        place = cls(volume, decode_decimal(offset, _MOST_OFFSET), decode_base64(head))
        if not 0 < len(place.head) <= MAX_HEAD_BYTES:
            raise MalformedLatestError("a segment's head is out of its range")
        return place


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """One segment: which entries it covers and what it is."""

    start: int
    stop: int
    generation: int
    length_bytes: int
    digest: str
    """SHA-256 of the segment, in hex."""
    root: str = ""
    """Root of the complete subtree that the segment covers, in hex; none in a delta."""
    place: Place | None = None
    """In a volume; none if the segment is a file of its own."""

    def path(self, partner: str) -> str:
        """Where the file is that holds it, below the clearinghouse's address."""
        if self.place is not None:
            return f"feed/{partner}/vol/{self.place.volume}"
        return f"feed/{partner}/seg/{self.start}-{self.stop}.{self.digest[:16]}"

    @property
    def body_bytes(self) -> int:
        """How much of the segment is in the file that `path` names."""
        return self.length_bytes - (len(self.place.head) if self.place else 0)

    def to_line(self) -> str:
        """The line, with its newline."""
        head = f"{self.start} {self.stop} {self.generation} {self.length_bytes} {self.digest}"
        if not self.root:
            return f"delta {head}\n"
        place = f" {self.place.to_text()}" if self.place else ""
        return f"segment {head} {self.root}{place}\n"

    @classmethod
    def from_line(cls, line: str) -> "SegmentLine":
        """The segment in a line.

        Raises:
            MalformedLatestError: if it is not one.
        """
        word, *fields = line.split(" ")
        if (word, len(fields)) not in {("segment", 6), ("segment", 9), ("delta", 5)}:
            raise MalformedLatestError("not the line of a segment")
        try:
            start, stop, generation, length = (decode_decimal(each) for each in fields[:4])
            place = Place.from_fields(*fields[6:]) if len(fields) > 6 else None
        except MalformedNoteError:
            raise MalformedLatestError("not the line of a segment") from None
        root = fields[5] if word == "segment" else ""
        width = stop - start
        if (
            not 0 < width <= 1 << MAX_LEVEL
            or not 0 < length <= MAX_SEGMENT_BYTES
            or not all(_DIGEST.fullmatch(each) for each in fields[4:6])
            or generation >= 1 << 32
            or (place is not None and len(place.head) >= length)
        ):
            raise MalformedLatestError("a segment is out of its range")
        if root and (width & (width - 1) or start % width):
            raise MalformedLatestError("a segment does not cover a complete subtree")
        return cls(start, stop, generation, length, fields[4], root, place)


def lines_to_text(lines: Sequence[SegmentLine]) -> str:
    """The lines, one after the other."""
    return "".join(line.to_line() for line in lines)


def lines_from_text(text: str) -> list[SegmentLine]:
    """The segments in a text of lines.

    Raises:
        MalformedLatestError: if one is malformed.
    """
    return [SegmentLine.from_line(line) for line in text.split("\n")[:-1]]


@dataclass(frozen=True, slots=True)
class FileList:
    """A file of lines of segments, too many for `latest` itself: of entries 0..stop-1."""

    stop: int = 0
    length_bytes: int = 0
    digest: str = ""
    """SHA-256 of the file, in hex."""

    @classmethod
    def of(cls, lines: Sequence[SegmentLine]) -> tuple["FileList", bytes]:
        """What names the file of these lines, and the file."""
        if not lines:
            return cls(), b""
        data = lines_to_text(lines).encode()
        return cls(lines[-1].stop, len(data), sha256(data).hex()), data

    def path(self, partner: str) -> str:
        """Where the file is, below the clearinghouse's address."""
        return f"feed/{partner}/index/{self.digest[:32]}"

    def read(self, data: bytes) -> list[SegmentLine]:
        """The lines in the file.

        Raises:
            WrongContentError: if it is not the file.
            MalformedLatestError: if its lines leave a gap.
        """
        if sha256(data).hex() != self.digest:
            raise WrongContentError("a list of segments is not the one that was signed")
        try:
            lines = lines_from_text(data.decode("ascii"))
        except UnicodeDecodeError:
            raise MalformedLatestError("a list of segments is malformed") from None
        stop = 0
        for line in lines:
            if line.start != stop or not line.root:
                raise MalformedLatestError("the list of segments leaves a gap")
            stop = line.stop
        if stop != self.stop:
            raise MalformedLatestError("a list of segments ends where it should not")
        return lines

    def to_text(self) -> str:
        """Its fields."""
        return f"{self.stop} {self.length_bytes} {self.digest}" if self.stop else "0"

    @classmethod
    def from_text(cls, text: str) -> "FileList":
        """The fields that `to_text` writes so.

        Raises:
            MalformedLatestError: if they are not.
        """
        fields = text.split(" ")
        stop = decode_decimal(fields[0])
        if len(fields) != (3 if stop else 1) or stop % (1 << MAX_LEVEL):
            raise MalformedLatestError("not the list of a feed")
        if not stop:
            return cls()
        if not _DIGEST.fullmatch(fields[2]):
            raise MalformedLatestError("not the list of a feed")
        return cls(stop, decode_decimal(fields[1], MAX_INDEX_BYTES), fields[2])


@dataclass(frozen=True, slots=True)
class Latest:
    """What a partner's feed is at a time."""

    partner: str
    scope: str
    """What the partner gets, as `sealing.Scope.to_text` writes it. All of it begins anew with
    another."""
    expires_at: datetime
    checkpoint: Note
    """With the signatures of the log and of its witnesses."""
    index: FileList
    """The segments of all full blocks of 2**MAX_LEVEL entries."""
    snapshot: FileList
    """The same for newcomers, without what is no longer of use to them; may end earlier."""
    segments: tuple[SegmentLine, ...]
    """From the index's stop on to the checkpoint's size, without a gap."""
    deltas: tuple[SegmentLine, ...]
    """What the last publications added, for platforms that are nearly up to date."""

    def to_text(self) -> str:
        """The text of the note."""
        return (
            f"{_HEADER}\n"
            f"partner {self.partner}\n"
            f"scope {self.scope}\n"
            f"expires {int(self.expires_at.timestamp())}\n"
            f"checkpoint {base64.b64encode(self.checkpoint.to_bytes()).decode()}\n"
            f"index {self.index.to_text()}\n"
            f"snapshot {self.snapshot.to_text()}\n"
        ) + lines_to_text((*self.segments, *self.deltas))

    @classmethod
    def from_text(cls, text: str) -> "Latest":
        """What `to_text` writes so.

        Raises:
            MalformedLatestError: if it is not that, or leaves a gap.
            MalformedNoteError: if the checkpoint in it is not a note.
        """
        head, *rest = text.split("\n")[:-1]
        words = [line.partition(" ")[0] for line in rest[:6]]
        if head != _HEADER or words != [
            "partner",
            "scope",
            "expires",
            "checkpoint",
            "index",
            "snapshot",
        ]:
            raise MalformedLatestError("not the list of a feed")
        fields = [line.partition(" ")[2] for line in rest[:6]]
        lines = [SegmentLine.from_line(line) for line in rest[6:]]
        latest = cls(
            fields[0],
            fields[1],
            datetime.fromtimestamp(decode_decimal(fields[2], 1 << 36), UTC),
            Note.from_bytes(decode_base64(fields[3])),
            FileList.from_text(fields[4]),
            FileList.from_text(fields[5]),
            tuple(line for line in lines if line.root),
            tuple(line for line in lines if not line.root),
        )
        if any(line.place for line in lines):
            raise MalformedLatestError("what `latest` lists itself is in no volume")
        if latest.snapshot.stop > latest.index.stop:
            raise MalformedLatestError("a snapshot is of what is in the index too")
        return latest
