"""A table from digests to listings, 24 bytes for each: exact matches without a dictionary.

Sorted columns hold the bulk; a small dictionary holds what is new. Digests are cut to 128 bits:
MD5 whole, SHA-256's first half, for which nobody can make a second file (2**128 steps).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEY_BYTES: Final = 16
_MERGE_AT: Final = 16_384
_COLUMNS: Final = ("high", "low", "ids")


@dataclass(frozen=True, slots=True)
class _State:
    """Replaced as a whole, so that a reader sees the table before or after a merge."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    """High and low words of the keys, sorted by the high word."""
    ids: NDArray[np.int64]
    """Row id of each key."""
    tail: dict[bytes, tuple[int, ...]]
    """What was added since."""
    removed: set[int]
    """Row ids in the columns that count no more."""

    def sorted_ids(self, key: bytes) -> list[int]:
        """Row ids in the columns under a key, removed ones too."""
        if not len(self.ids):
            return []
        first, second = struct.unpack(">QQ", key)
        at = int(np.searchsorted(self.high, np.uint64(first), "left"))
        found = []
        while at < len(self.ids) and self.high[at] == first:
            if self.low[at] == second:
                found.append(int(self.ids[at]))
            at += 1
        return found


class DigestTable:
    """Digest → row ids. One thread at a time changes it; others may look up meanwhile.

    An id may stand under several digests, and a digest have several ids.
    """

    def __init__(self) -> None:
        empty = np.empty(0, np.uint64)
        self._state = _State(empty, empty, np.empty(0, np.int64), {}, set())
        self._tail_keys: dict[int, list[bytes]] = {}

    @classmethod
    def build(cls, blocks: Sequence[tuple[NDArray[np.uint64], NDArray[np.int64]]]) -> "DigestTable":
        """A table of blocks of keys (n, 2), as big-endian words, and row ids (n,)."""
        table = cls()
        if not blocks:
            return table
        high = np.concatenate([keys[:, 0] for keys, _ in blocks])
        low = np.concatenate([keys[:, 1] for keys, _ in blocks])
        ids = np.concatenate([block_ids for _, block_ids in blocks])
        order = np.lexsort((ids, low, high))
        high, low = high[order], low[order]
        table._state = _State(high, low, ids[order], {}, set())
        return table

    def save(self, stem: Path) -> None:
        """Write three columns to files that begin with `stem`, for `open`."""
        self._merge()
        state = self._state
        for name, column in zip(_COLUMNS, (state.high, state.low, state.ids), strict=True):
            np.save(stem.with_name(f"{stem.name}-{name}.npy"), column)

    @classmethod
    def open(cls, stem: Path) -> "DigestTable":
        """The table that `save` wrote, mapped from its files.

        Raises:
            OSError, ValueError: if they are not whole.
        """
        table = cls()
        high, low, ids = (
            np.load(stem.with_name(f"{stem.name}-{name}.npy"), mmap_mode="r", allow_pickle=False)
            for name in _COLUMNS
        )
        table._state = _State(high, low, ids, {}, set())
        return table

    def add(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        """Add digests with their row ids."""
        pairs = list(pairs)
        if any(row_id in self._state.removed for _, row_id in pairs):
            # The columns still hold what was removed under this id; let it go first.
            self._merge()
        tail = self._state.tail
        for digest, row_id in pairs:
            key = digest[:KEY_BYTES]
            tail[key] = (*tail.get(key, ()), row_id)
            self._tail_keys.setdefault(row_id, []).append(key)
        if len(tail) > max(_MERGE_AT, len(self._state.ids) // 8):
            self._merge()

    def remove(self, row_ids: Iterable[int]) -> None:
        """Remove every digest with one of the row ids; what is not there is left alone."""
        state = self._state
        for row_id in row_ids:
            for key in self._tail_keys.pop(row_id, ()):
                rest = tuple(each for each in state.tail.get(key, ()) if each != row_id)
                if rest:
                    state.tail[key] = rest
                else:
                    state.tail.pop(key, None)
            if len(state.ids):
                state.removed.add(row_id)

    def find(self, digest: bytes) -> tuple[int, ...]:
        """Row ids listed under a digest, ascending."""
        state = self._state
        key = digest[:KEY_BYTES]
        found = {each for each in state.sorted_ids(key) if each not in state.removed}
        found.update(state.tail.get(key, ()))
        return tuple(sorted(found))

    def _merge(self) -> None:
        state = self._state
        if not state.tail and not state.removed:
            return
        high, low, ids = state.high, state.low, state.ids
        if state.removed:
            keep = ~np.isin(ids, np.fromiter(state.removed, np.int64))
            high, low, ids = high[keep], low[keep], ids[keep]
        rows = sorted((key, each) for key, found in state.tail.items() for each in found)
        keys = np.frombuffer(b"".join(key for key, _ in rows), ">u8").reshape(-1, 2)
        new = keys.astype(np.uint64)
        at = np.searchsorted(high, new[:, 0], "left")
        self._tail_keys = {}
        self._state = _State(
            np.insert(high, at, new[:, 0]),
            np.insert(low, at, new[:, 1]),
            np.insert(ids, at, np.array([each for _, each in rows], np.int64)),
            {},
            set(),
        )
