"""A table from digests to listings, 24 bytes for each: exact matches without a dictionary.

Sorted runs hold the bulk, in memory or mapped from files; a small dictionary holds what is new.
Digests are cut to 128 bits: MD5 whole, SHA-256's first half, for which nobody can make a second
file (2**128 steps).
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.match import give_back

KEY_BYTES: Final = 16
_MERGE_AT: Final = 2_048
_BLOCK_ROWS: Final = 1 << 16
_COLUMNS: Final = (("high", "<u8"), ("low", "<u8"), ("ids", "<i8"))


@dataclass(frozen=True, slots=True)
class _Run:
    """Keys that are not changed any more, but for what counts no longer."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    """High and low words of the keys, sorted by the high word."""
    ids: NDArray[np.int64]
    """Row id of each key."""
    removed: set[int] = field(default_factory=set)
    """Owners whose keys here count no more."""

    def ids_under(self, key: bytes, owner_mask: int) -> Iterator[int]:
        """Row ids under a key."""
        if not len(self.ids):
            return
        first, second = struct.unpack(">QQ", key)
        at = int(np.searchsorted(self.high, np.uint64(first), "left"))
        while at < len(self.ids) and self.high[at] == first:
            row_id = int(self.ids[at])
            if self.low[at] == second and row_id & owner_mask not in self.removed:
                yield row_id
            at += 1

    def alive(self, owner_mask: int) -> Iterator["_Run"]:
        """What counts, a stretch after the other."""
        removed = np.fromiter(self.removed, np.int64)
        for start in range(0, len(self.ids), _BLOCK_ROWS):
            stretch = slice(start, start + _BLOCK_ROWS)
            ids = np.asarray(self.ids[stretch])
            keep = ~np.isin(ids & owner_mask, removed)
            yield _Run(self.high[stretch][keep], self.low[stretch][keep], ids[keep])
            for column in (self.high, self.low, self.ids):
                give_back(column)

    def with_more(self, other: "_Run") -> "_Run":
        """Both in one."""
        at = np.searchsorted(self.high, other.high, "left")
        return _Run(
            np.insert(self.high, at, other.high),
            np.insert(self.low, at, other.low),
            np.insert(self.ids, at, other.ids),
        )


_NO_RUN: Final = _Run(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class _State:
    """Replaced as a whole, so that a reader sees the table before or after a merge."""

    base: _Run
    recent: _Run
    """What came since, so that the base can stay in its files."""
    tail: dict[bytes, tuple[int, ...]]
    """What came last."""


@dataclass(frozen=True, slots=True)
class FrozenTable:
    """What `DigestTable.frozen` gives."""

    _base: _Run
    _more: _Run
    _owner_mask: int

    def save(self, stem: Path) -> None:
        """Write three columns to files that begin with `stem`, for `open`."""
        count = sum(len(run.ids) for run in self._base.alive(self._owner_mask))
        about = {"fortran_order": False, "shape": (count + len(self._more.ids),)}
        with ExitStack() as opened:
            files = []
            for name, dtype in _COLUMNS:
                path = stem.with_name(f"{stem.name}-{name}.npy")
                files.append(opened.enter_context(path.open("wb")))
                np.lib.format.write_array_header_1_0(files[-1], about | {"descr": dtype})
            for run in self._runs():
                columns = (run.high, run.low, run.ids)
                for file, column, (_, dtype) in zip(files, columns, _COLUMNS, strict=True):
                    file.write(column.astype(dtype, copy=False).tobytes())

    def _runs(self) -> Iterator[_Run]:
        """The base with what came since in its place, a stretch after the other."""
        more, done = self._more, 0
        for run in self._base.alive(self._owner_mask):
            end = int(np.searchsorted(more.high, run.high[-1], "right")) if len(run.ids) else done
            yield run.with_more(_Run(more.high[done:end], more.low[done:end], more.ids[done:end]))
            done = end
        yield _Run(more.high[done:], more.low[done:], more.ids[done:])


class DigestTable:
    """Digest → row ids. One thread at a time changes it; others may look up meanwhile.

    An id may stand under several digests, and a digest have several ids. The owner of an id is the
    id with the bits of `owner_mask` alone: all of an owner's ids are removed together.
    """

    def __init__(self, owner_mask: int = -1) -> None:
        self._owner_mask = owner_mask
        self._state = _State(_NO_RUN, _NO_RUN, {})
        self._tail_keys: dict[int, list[bytes]] = {}

    @classmethod
    def build(
        cls, keys: bytes | bytearray, ids: NDArray[np.int64], owner_mask: int = -1
    ) -> "DigestTable":
        """A table of keys, 16 bytes each, and the (n,) row ids that stand under them."""
        table = cls(owner_mask)
        if len(ids):
            words = np.frombuffer(keys, ">u8").reshape(-1, 2)
            high, low = words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
            order = np.lexsort((low, high))
            high = high[order]
            low = low[order]
            table._state = _State(_Run(high, low, ids[order]), _NO_RUN, {})
        return table

    @classmethod
    def open(cls, stem: Path, owner_mask: int = -1) -> "DigestTable":
        """The table that `save` wrote, mapped from its files.

        Raises:
            OSError, ValueError: if they are not whole.
        """
        table = cls(owner_mask)
        high, low, ids = (
            np.load(stem.with_name(f"{stem.name}-{name}.npy"), mmap_mode="r", allow_pickle=False)
            for name, _ in _COLUMNS
        )
        table._state = _State(_Run(high, low, ids), _NO_RUN, {})
        return table

    def save(self, stem: Path) -> None:
        """Write the table to files for `open`."""
        self.frozen().save(stem)

    def frozen(self) -> FrozenTable:
        """The table of this moment, to be saved while it changes on."""
        base = self._state.base
        copied = _Run(base.high, base.low, base.ids, set(base.removed))
        return FrozenTable(copied, self._recent_and_tail(), self._owner_mask)

    def add(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        """Add digests with their row ids."""
        tail = self._state.tail
        for digest, row_id in pairs:
            key = digest[:KEY_BYTES]
            tail[key] = (*tail.get(key, ()), row_id)
            self._tail_keys.setdefault(row_id & self._owner_mask, []).append(key)
        if len(tail) > _MERGE_AT:
            self._state = _State(self._state.base, self._recent_and_tail(), {})
            self._tail_keys = {}

    def remove(self, owners: Iterable[int]) -> None:
        """Remove every digest of the owners; what is not there is left alone."""
        state = self._state
        for owner in owners:
            for key in self._tail_keys.pop(owner, ()):
                held = state.tail.get(key, ())
                rest = tuple(each for each in held if each & self._owner_mask != owner)
                if rest:
                    state.tail[key] = rest
                else:
                    state.tail.pop(key, None)
            for run in (state.base, state.recent):
                if len(run.ids):
                    run.removed.add(owner)

    def find(self, digest: bytes) -> tuple[int, ...]:
        """Row ids listed under a digest, ascending."""
        state = self._state
        key = digest[:KEY_BYTES]
        found = set(state.tail.get(key, ()))
        for run in (state.base, state.recent):
            found.update(run.ids_under(key, self._owner_mask))
        return tuple(sorted(found))

    def _recent_and_tail(self) -> _Run:
        state = self._state
        run = _NO_RUN
        for alive in state.recent.alive(self._owner_mask):
            run = run.with_more(alive)
        rows = sorted((key, each) for key, found in state.tail.items() for each in found)
        keys = np.frombuffer(b"".join(key for key, _ in rows), ">u8").reshape(-1, 2)
        words = keys.astype(np.uint64)
        ids = np.array([each for _, each in rows], np.int64)
        return run.with_more(_Run(words[:, 0], words[:, 1], ids))
