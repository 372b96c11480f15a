"""What one partner's feed consists of at present: its lines, and the files that they name."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from unspread.feed.latest import FileList, Latest, SegmentLine
from unspread.feed.sealing import EVERYTHING, Scope
from unspread.feed.segments import MAX_LEVEL

BLOCK: Final = 1 << MAX_LEVEL
"""So many entries have one segment, as long as the log lives, or more if they are very long."""
_NO_FILES: Final = FileList()


@dataclass(slots=True)
class PartnerFeed:
    """A partner's feed as it was published last.

    Publications are many and blocks are many, so what follows from all blocks is kept: set
    `blocks` and `snapshot` by `set_blocks` and `set_snapshot` alone.
    """

    partner_id: str
    scope: Scope = EVERYTHING
    blocks: Sequence[SegmentLine] = ()
    """Of all full blocks, in the order of the log."""
    rest: list[SegmentLine] = field(default_factory=list)
    """Of what follows them."""
    deltas: list[SegmentLine] = field(default_factory=list)
    snapshot: Sequence[SegmentLine] = ()
    """Of full blocks, for newcomers; as far as it goes."""
    collapsed: dict[int, int] = field(default_factory=dict)
    """Blocks whose line in the snapshot leaves dead entries out, and how many it did."""
    size: int = 0
    expires_at: datetime | None = None
    index: FileList = _NO_FILES
    """The file of `blocks`."""
    index_of_snapshot: FileList = _NO_FILES
    unwritten: dict[str, bytes] = field(default_factory=dict)
    """Files of lines that are to be written, by path."""
    may_have_volume_due: bool = True
    """Whether blocks or snapshot have changed since it was looked last."""
    _lasting: frozenset[str] = frozenset()

    @classmethod
    def of(cls, latest: Latest, index: bytes, snapshot: bytes, scope: Scope) -> "PartnerFeed":
        """The feed that a list says, with the two files that it names.

        Raises:
            TrustError: if they are not these files.
        """
        feed = cls(latest.partner, scope)
        if latest.index.stop:
            feed.set_blocks(latest.index.read(index))
        if latest.snapshot.stop:
            feed.set_snapshot(latest.snapshot.read(snapshot))
        feed.unwritten.clear()
        feed.rest, feed.deltas = list(latest.segments), list(latest.deltas)
        feed.size = feed.rest[-1].stop if feed.rest else latest.index.stop
        feed.expires_at = latest.expires_at
        return feed

    def set_blocks(self, lines: Sequence[SegmentLine]) -> None:
        """Other segments of full blocks."""
        self.blocks, self.index = lines, self._listed(lines)
        self._note_lasting()

    def set_snapshot(self, lines: Sequence[SegmentLine]) -> None:
        """Other segments for newcomers."""
        self.snapshot, self.index_of_snapshot = lines, self._listed(lines)
        self._note_lasting()

    def _listed(self, lines: Sequence[SegmentLine]) -> FileList:
        files, data = FileList.of(lines)
        if lines:
            self.unwritten[files.path(self.partner_id)] = data
        return files

    def _note_lasting(self) -> None:
        paths = {line.path(self.partner_id) for line in (*self.blocks, *self.snapshot)}
        lists = (self.index, self.index_of_snapshot)
        paths.update(files.path(self.partner_id) for files in lists if files.stop)
        self._lasting = frozenset(paths)
        self.may_have_volume_due = True

    def paths(self) -> frozenset[str]:
        """The paths of every file of the feed but `latest`."""
        return self._lasting.union(line.path(self.partner_id) for line in self.rest + self.deltas)

    def own_snapshot(self) -> list[SegmentLine]:
        """The snapshot's lines that are no ordinary ones."""
        ordinary = {line.digest for line in self.blocks}
        return [line for line in self.snapshot if line.digest not in ordinary]

    def place(self, moved: Mapping[str, SegmentLine]) -> bool:
        """Say where segments are now, by their digest; whether any of them is still listed."""
        blocks = [moved.get(line.digest, line) for line in self.blocks]
        snapshot = [moved.get(line.digest, line) for line in self.snapshot]
        has_any = any(line.digest in moved for line in (*blocks, *snapshot))
        if has_any:
            self.set_blocks(blocks)
            self.set_snapshot(snapshot)
        return has_any


def holds(positions: Sequence[int], start: int, stop: int) -> bool:
    """Whether one of the ascending positions is in start..stop-1."""
    at = bisect_left(positions, start)
    return at < len(positions) and positions[at] < stop


def between(lines: Sequence[SegmentLine], start: int, stop: int) -> Sequence[SegmentLine]:
    """The lines, of some in order without gaps, that begin in start..stop-1."""
    first = bisect_left(lines, start, key=lambda line: line.start)
    return lines[first : bisect_left(lines, stop, first, key=lambda line: line.start)]


def cover(present: Mapping[int, SegmentLine], start: int, stop: int) -> list[SegmentLine]:
    """The segments, by where they begin, that together cover start..stop-1; none if they do not."""
    lines: list[SegmentLine] = []
    while start < stop:
        line = present.get(start)
        if line is None or line.stop > stop:
            return []
        lines.append(line)
        start = line.stop
    return lines
