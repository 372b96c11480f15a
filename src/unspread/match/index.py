"""The index: what a platform asks, and changes while it asks."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from unspread.errors import InputError
from unspread.match import snapshot, writing
from unspread.match.building import gathered, parts_of
from unspread.match.kernel import LIMIT, Kernel, KernelChoice, choose
from unspread.match.layout import (
    I64,
    PART_ROWS,
    TABLE_RADIUS_BITS,
    U8,
    U64,
    Int64s,
    Part,
    checked_ids,
    checked_radius,
    checked_rows,
    secret_order,
)

TAIL_ROWS: Final = 16_384
"""So many additions may wait, scanned by every query in about 2 µs, before tables are rebuilt."""

BLOCK_ROWS: Final = 1 << 16
"""Rows that are turned over at once while tables are built."""

_MAX_LIMIT: Final = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Entries near one query, nearest first, then by id. Unpacks to `ids, distances_bits`."""

    ids: I64
    distances_bits: I64
    is_capped: bool = False
    """There were more than the limit: these are the entries with the lowest ids, not all."""

    def __iter__(self) -> Iterator[I64]:
        return iter((self.ids, self.distances_bits))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class ManyMatches:
    """Entries near many queries, by query, then nearest first, then by id.

    Unpacks to `query_positions, ids, distances_bits`.
    """

    query_positions: I64
    ids: I64
    distances_bits: I64
    capped_queries: I64
    """Positions of the queries for which there were more than the limit."""

    def __iter__(self) -> Iterator[I64]:
        return iter((self.query_positions, self.ids, self.distances_bits))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What operators want to see."""

    kernel: str
    entries: int
    """That can be found."""
    waiting: int
    """Of them and of the removed, those added since tables were last built."""
    removed: int
    """Marked and skipped, until tables are built again."""
    clumped: int
    """Too alike for the tables, scanned by the queries that come near."""
    memory_bytes: int
    """Of all arrays; those of an opened file are shared between processes."""
    is_rebuilding: bool


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What readers see: replaced as a whole, never changed, but for the bytes in `dead`."""

    parts: tuple[Part, ...]
    tail: Part
    """Additions in order of arrival; its arrays have room for more."""
    views: tuple[Any, ...]
    """Of the parts, then of the tail."""
    tail_rows: int


def _empty_part(rows: int) -> Part:
    halves = np.empty((2, rows, 2), dtype=np.uint64)
    return Part(np.empty(rows, np.int64), halves[0], halves[1], np.zeros(rows, np.uint8))


_NONE: Final = np.zeros(0, dtype=np.int64)
_NONE.setflags(write=False)
_NO_MATCHES: Final = Matches(_NONE, _NONE)


class Index:
    """Every listed fingerprint within a radius of a query, exactly.

    An entry is an id and a row: (4,) uint64, the canonical bytes of a PDQ viewed as little-endian
    64-bit words. An id may have many rows (the frames of a video), and a row many ids; each entry
    near a query is one match. Any number of threads may query while others add and remove: readers
    take no lock, writers take turns, and each change is visible to the next query.
    """

    def __init__(
        self,
        kernel: Kernel,
        order: U8,
        parts: tuple[Part, ...],
        *,
        part_rows: int = PART_ROWS,
        rebuilds: bool = True,
    ):
        self._kernel = kernel
        self._order = order
        self._rebuilds = rebuilds
        self._search = kernel.search
        self._part_rows = part_rows
        self._writing = threading.Lock()
        self._rebuilding = threading.Lock()
        self._is_rebuilding = False
        self._removed_while_rebuilding: list[I64] = []
        self._tail_places: dict[int, list[int]] = {}
        self._removed = sum(int(np.count_nonzero(part.dead)) for part in parts)
        self._state = self._state_of(parts, _empty_part(256), 0)

    @classmethod
    def build(
        cls,
        ids: I64,
        rows: U64,
        *,
        kernel: KernelChoice | None = None,
        part_rows: int = PART_ROWS,
    ) -> "Index":
        """An index of (n,) ids and (n, 4) rows, in any order.

        Raises:
            InputError: for another shape or dtype, or for a kernel that is not there.
        """
        rows = checked_rows(rows)
        ids = checked_ids(ids, len(rows))
        blocks = (
            (ids[start : start + BLOCK_ROWS], rows[start : start + BLOCK_ROWS])
            for start in range(0, len(ids), BLOCK_ROWS)
        )
        return cls.build_from(blocks, kernel=kernel, part_rows=part_rows)

    @classmethod
    def build_from(
        cls,
        blocks: Iterable[tuple[I64, U64]],
        *,
        kernel: KernelChoice | None = None,
        part_rows: int = PART_ROWS,
    ) -> "Index":
        """As `build`, from blocks of ids and rows, of which one at a time is in memory.

        Raises:
            InputError: for another shape or dtype, or for a kernel that is not there.
        """
        if not 1 <= part_rows <= PART_ROWS:
            raise InputError(f"part_rows is 1 to {PART_ROWS}")
        chosen, order = choose(kernel), secret_order()

        parts = parts_of(chosen, _permuted(chosen, order, blocks), part_rows=part_rows)
        return cls(chosen, order, parts, part_rows=part_rows)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        kernel: KernelChoice | None = None,
        verify: bool | None = None,
        rebuilds: bool = True,
    ) -> "Index":
        """The index saved at `path`, memory-mapped: processes that open one file share its pages.

        A file that was cut short, or whose header is damaged, is always refused. The digests of the
        contents are checked if `verify` is true, and by default for files up to 32 MiB; a gigabyte
        takes some seconds. Whatever a damaged file holds, no query reads outside it.

        Raises:
            SnapshotError: if it is not a whole and sound index of this version and byte order.
        """
        order, parts = snapshot.opened(Path(path), verify=verify)
        return cls(choose(kernel), order, parts, rebuilds=rebuilds)

    @classmethod
    def write(
        cls,
        path: Path | str,
        blocks: Iterable[tuple[I64, U64]],
        *,
        kernel: KernelChoice | None = None,
        part_rows: int = PART_ROWS,
    ) -> None:
        """The file that `build_from(blocks).save(path)` writes, with a third of the memory.

        Raises:
            InputError: for another shape or dtype, or for a kernel that is not there.
            StateError, OSError: as `save`.
        """
        chosen, order = choose(kernel), secret_order()
        ids, *halves = gathered(_permuted(chosen, order, blocks))
        front, back = (np.frombuffer(half, np.uint64).reshape(-1, 2) for half in halves)
        dead = np.zeros(len(front), np.uint8)
        given = Part(np.frombuffer(ids, np.int64), front, back, dead)
        writing.write(Path(path), chosen, order, [given], part_rows=part_rows)

    def __len__(self) -> int:
        state = self._state
        return sum(map(len, state.parts)) + state.tail_rows - self._removed

    def within(
        self, row: U64, radius_bits: int = TABLE_RADIUS_BITS, *, limit: int = LIMIT
    ) -> Matches:
        """Every entry at most `radius_bits` away (inclusive) from a (4,) row, nearest first.

        More than `limit` are capped to those with the lowest ids, and the answer says so.

        Raises:
            InputError: if the row is not a contiguous (4,) uint64, or the radius outside 0..256.
        """
        if not (0 <= radius_bits <= 256 and 1 <= limit <= _MAX_LIMIT):
            checked_radius(radius_bits)
            raise InputError(f"limit is 1 to {_MAX_LIMIT}")
        state = self._state
        found = self._search(state.views, state.tail_rows, row, radius_bits, limit)
        if found is None:
            return _NO_MATCHES
        ids, distances_bits, is_capped = found
        return Matches(_array(ids), _array(distances_bits), is_capped)

    def within_many(
        self, rows: U64, radius_bits: int = TABLE_RADIUS_BITS, *, limit: int = LIMIT
    ) -> ManyMatches:
        """The same for (n, 4) rows at once, much faster each.

        Raises:
            InputError: if the rows are not (n, 4) uint64, or the radius outside 0..256.
        """
        rows = checked_rows(rows)
        if not 1 <= limit <= _MAX_LIMIT:
            raise InputError(f"limit is 1 to {_MAX_LIMIT}")
        state = self._state
        found = self._kernel.search_many(
            state.views, state.tail_rows, rows, checked_radius(radius_bits), limit
        )
        return ManyMatches(*map(_array, found))

    def add(self, ids: I64, rows: U64) -> None:
        """Add (n,) ids with (n, 4) rows; the next query sees them.

        Raises:
            InputError: for another shape or dtype.
        """
        rows = checked_rows(rows)
        ids = checked_ids(ids, len(rows))
        permuted = self._kernel.permuted(rows, self._order)
        self._append(ids, permuted[:, :2], permuted[:, 2:])

    def _append(self, ids: I64, front: U64, back: U64) -> None:
        with self._writing:
            state = self._state
            start, end = state.tail_rows, state.tail_rows + len(ids)
            tail, views = state.tail, state.views
            if end > len(tail):
                tail = _grown(tail, start, end)
                views = (*views[:-1], self._kernel.view(tail, self._order))
            tail.ids[start:end] = ids
            tail.front[start:end] = front
            tail.back[start:end] = back
            for place, each in enumerate(ids.tolist(), start):
                self._tail_places.setdefault(each, []).append(place)
            self._state = _State(state.parts, tail, views, end)
            if end >= TAIL_ROWS:
                self._rebuild_soon()

    def _rebuild_soon(self) -> None:
        if self._rebuilds and not self._is_rebuilding:
            self._is_rebuilding = True
            threading.Thread(
                target=self.rebuild, name="unspread-match-rebuild", daemon=True
            ).start()

    def remove(self, ids: I64) -> int:
        """Remove every entry with one of (n,) ids; the next query misses them. How many went.

        Raises:
            InputError: if the ids are not integers.
        """
        ids = checked_ids(ids)
        with self._writing:
            state = self._state
            removed = 0
            for each in ids.tolist():
                for part in state.parts:
                    removed += _mark_dead(part, each)
                for place in self._tail_places.pop(each, ()):
                    state.tail.dead[place] = 1
                    removed += 1
            self._removed += removed
            if self._is_rebuilding:
                self._removed_while_rebuilding.append(ids)
            elif self._removed > TAIL_ROWS and self._removed > len(self) // 4:
                self._rebuild_soon()
            return removed

    def rebuild(self) -> None:
        """Put all that was added into tables and forget what was removed; returns when it is done.

        Queries go on meanwhile. `add` and `remove` start the same in the background in time.
        """
        with self._rebuilding:
            with self._writing:
                old = self._state
                self._is_rebuilding = True
                self._removed_while_rebuilding = []
            try:
                parts = parts_of(self._kernel, _living(old), part_rows=self._part_rows)
                with self._writing:
                    self._swap(old, parts)
            finally:
                self._is_rebuilding = False

    def save(self, path: Path | str) -> None:
        """Write the index to a file for `open`. At any moment `path` holds the old or the new.

        Whatever waited stands in the file's tables, and nothing that was removed is in it.

        Raises:
            StateError: if another process is writing the same file.
            OSError: if it cannot be written; on Windows also while a process has `path` mapped.
        """
        self.frozen().save(path)

    def frozen(self) -> "FrozenIndex":
        """The entries of this moment, to be saved while the index changes on."""
        with self._writing:
            state = self._state
            parts = [
                Part(part.ids[:rows], part.front[:rows], part.back[:rows], part.dead[:rows].copy())
                for part, rows in (
                    *((part, len(part)) for part in state.parts),
                    (state.tail, state.tail_rows),
                )
            ]
        return FrozenIndex(self._kernel, self._order, parts, self._part_rows)

    def give_back(self) -> None:
        """Let the system have the memory of an opened file: queries have it read again as needed.

        For an index that another is about to take the place of.
        """
        for part in self._state.parts:
            snapshot.give_back(part.front)

    def info(self) -> IndexInfo:
        """The state of the index, for operators."""
        with self._writing:
            state, removed, rebuilding = self._state, self._removed, self._is_rebuilding
        return IndexInfo(
            kernel=self._kernel.name,
            entries=sum(map(len, state.parts)) + state.tail_rows - removed,
            waiting=state.tail_rows,
            removed=removed,
            clumped=sum(len(part.clumps.positions) for part in state.parts if part.clumps),
            memory_bytes=sum(part.memory_bytes for part in (*state.parts, state.tail)),
            is_rebuilding=rebuilding,
        )

    def _state_of(self, parts: tuple[Part, ...], tail: Part, tail_rows: int) -> _State:
        views = tuple(self._kernel.view(part, self._order) for part in (*parts, tail))
        return _State(parts, tail, views, tail_rows)

    def _swap(self, old: _State, parts: tuple[Part, ...]) -> None:
        """Replace what `old` held by `parts`, keeping what changed since."""
        # What was removed since then was in `old`; what was added again since is in the tail.
        for ids in self._removed_while_rebuilding:
            for each in ids.tolist():
                for part in parts:
                    _mark_dead(part, each)
        state = self._state
        start, rows = old.tail_rows, state.tail_rows - old.tail_rows
        tail = _empty_part(max(256, 2 * rows))
        for ours, theirs in zip(_arrays(tail), _arrays(state.tail), strict=True):
            ours[:rows] = theirs[start : start + rows]
        places: dict[int, list[int]] = {}
        for place, each in enumerate(tail.ids[:rows].tolist()):
            if not tail.dead[place]:
                places.setdefault(each, []).append(place)
        self._tail_places = places
        self._removed = sum(int(np.count_nonzero(part.dead)) for part in (*parts, tail))
        self._state = self._state_of(parts, tail, rows)


@dataclass(frozen=True, slots=True, eq=False)
class FrozenIndex:
    """What `Index.frozen` gives."""

    _kernel: Kernel
    _order: U8
    _parts: Sequence[Part]
    _part_rows: int

    def save(self, path: Path | str) -> None:
        """As `Index.save`."""
        path = Path(path)
        writing.write(path, self._kernel, self._order, self._parts, part_rows=self._part_rows)


def _array(values: Int64s) -> I64:
    return np.frombuffer(values, dtype=np.int64)


def _arrays(part: Part) -> tuple[Any, ...]:
    return part.ids, part.front, part.back, part.dead


def _grown(tail: Part, rows: int, wanted: int) -> Part:
    grown = _empty_part(max(wanted, 2 * len(tail)))
    for ours, theirs in zip(_arrays(grown), _arrays(tail), strict=True):
        ours[:rows] = theirs[:rows]
    return grown


def _mark_dead(part: Part, wanted: int) -> int:
    """How many entries of the part with this id were alive until now."""
    place, removed = bisect_left(part.ids, wanted), 0
    while place < len(part) and part.ids[place] == wanted:
        removed += not part.dead[place]
        part.dead[place] = 1
        place += 1
    return removed


def _permuted(
    kernel: Kernel, order: U8, blocks: Iterable[tuple[I64, U64]]
) -> Iterator[tuple[I64, U64]]:
    for ids, rows in blocks:
        words = checked_rows(rows)
        yield checked_ids(ids, len(words)), kernel.permuted(words, order)


def _living(state: _State) -> Iterator[tuple[I64, U64]]:
    """Ids and permuted rows of every entry of a state that is not removed, in blocks."""
    for part, count in [
        *((part, len(part)) for part in state.parts),
        (state.tail, state.tail_rows),
    ]:
        for start in range(0, count, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, count))
            alive = np.flatnonzero(part.dead[block] == 0)
            halves = (part.front[block][alive], part.back[block][alive])
            yield part.ids[block][alive], np.concatenate(halves, axis=1)
