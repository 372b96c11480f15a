"""Hosted lookup: for platforms that should not hold the list.

The answer is "match, level, opaque handle". No distance is told, nothing of a question is kept,
and quotas meter what could be harvested. Blind lookup asks for an exact digest without saying
which (`unspread.exchange.blind_lookup`).
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.store import StoredItem, items_where
from unspread.crypto import HandleKey
from unspread.errors import InputError, TrustError
from unspread.exchange.blind_lookup import (
    Evaluator,
    bucket_of,
    encoded,
    make_record,
)
from unspread.match import Index
from unspread.model import (
    ACTIVE_STATES,
    MATCH_RADIUS_BITS,
    Fingerprint,
    Kind,
    Level,
    Part,
)

MIN_SHARING: Final = 256
"""Digests that share a bucket, on average and at least: what a blind question does not reveal."""
MAX_BITS: Final = 16
_ORDER: Final = (Level.DISPUTED, Level.UNVERIFIED, Level.CONFIRMED, Level.CORROBORATED)
_PAGE: Final = 1000


class UnknownHandleError(InputError):
    """Not a handle that this clearinghouse gave."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best corroborated listing that matches."""

    listing_id: int
    level: Level
    is_part: bool = False
    """Only a window of the listed picture matches: what was asked for shows a part of it."""


@dataclass(frozen=True, slots=True)
class _Kept:
    level: Level
    digests: tuple[tuple[Kind, bytes], ...]


class Bank:
    """Every active listing in memory, brought up to date before each answer. For worker threads."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._updating = threading.Lock()
        self._revision = 0
        self._index = Index.build(np.zeros(0, np.int64), np.zeros((0, 4), np.uint64))
        self._kept: dict[int, _Kept] = {}
        self._by_digest: dict[tuple[Kind, bytes], set[int]] = {}
        self._outputs: dict[tuple[Kind, bytes], bytes] = {}
        self._buckets: dict[int, set[tuple[Kind, bytes]]] = {}
        self._is_blind_ready = False

    def refresh(self, connection: Connection) -> None:
        """Take in what was committed since the last time."""
        with self._updating:
            while True:
                items = items_where(
                    connection,
                    "WHERE i.revision > ? ORDER BY i.revision LIMIT ?",
                    self._revision,
                    _PAGE,
                )
                if items:
                    self._apply(items)
                    self._revision = items[-1].revision
                if len(items) < _PAGE:
                    return

    def _apply(self, items: Sequence[StoredItem]) -> None:
        ids: list[int] = []
        rows: list[bytes] = []
        for item in items:
            if item.listing_id is None:
                continue
            before = self._kept.get(item.listing_id)
            if item.state not in ACTIVE_STATES:
                if before is not None:
                    self._forget(item.listing_id, before)
                continue
            digests = tuple(
                (each.kind, each.value) for each in item.fingerprints if each.kind is not Kind.PDQ
            )
            self._kept[item.listing_id] = _Kept(item.level, digests)
            if before is not None:
                continue
            for each in item.fingerprints:
                if each.kind is Kind.PDQ:
                    ids.append(_index_id(item.listing_id, each.part))
                    rows.append(each.value)
            for digest in digests:
                self._by_digest.setdefault(digest, set()).add(item.listing_id)
                if self._is_blind_ready:
                    self._evaluate(digest)
        if ids:
            matrix = np.frombuffer(b"".join(rows), "<u8").reshape(-1, 4).astype(np.uint64)
            self._index.add(np.array(ids, np.int64), matrix)

    def _forget(self, listing_id: int, kept: _Kept) -> None:
        both = [_index_id(listing_id, part) for part in (Part.WHOLE, Part.WINDOW)]
        self._index.remove(np.array(both, np.int64))
        del self._kept[listing_id]
        for digest in kept.digests:
            holders = self._by_digest[digest]
            holders.discard(listing_id)
            if not holders:
                del self._by_digest[digest]
                self._outputs.pop(digest, None)
                self._buckets.get(_bucket(digest), set()).discard(digest)

    def find(self, fingerprint: Fingerprint) -> Found | None:
        """The best corroborated active listing that a fingerprint matches."""
        if fingerprint.kind is not Kind.PDQ:
            return self._best(list(self._by_digest.get((fingerprint.kind, fingerprint.value), ())))
        row = np.frombuffer(fingerprint.value, "<u8").astype(np.uint64)
        ids = [int(each) for each in self._index.within(row, MATCH_RADIUS_BITS).ids]
        whole = self._best([each >> 1 for each in ids if not each & 1])
        part = self._best([each >> 1 for each in ids if each & 1])
        if whole is None and part is not None:
            return replace(part, is_part=True)
        return whole

    def _best(self, ids: Sequence[int]) -> Found | None:
        known = [(each, self._kept[each].level) for each in ids if each in self._kept]
        if not known:
            return None
        listing_id, level = max(known, key=lambda pair: (_ORDER.index(pair[1]), -pair[0]))
        return Found(listing_id, level)

    # --- blind

    def bits(self) -> int:
        """How many bits of its bucket a question reveals now: as few as the list is short."""
        bits = 0
        while bits < MAX_BITS and len(self._by_digest) >> (bits + 1) >= MIN_SHARING:
            bits += 1
        return bits

    def prepare_blind(self) -> None:
        """Evaluate every digest, once: 0.1 ms each."""
        with self._updating:
            if not self._is_blind_ready:
                for digest in self._by_digest:
                    self._evaluate(digest)
                self._is_blind_ready = True

    def _evaluate(self, digest: tuple[Kind, bytes]) -> None:
        if digest not in self._outputs:
            message = encoded(Fingerprint(*digest))
            self._outputs[digest] = self._evaluator.evaluate(message)
            self._buckets.setdefault(bucket_of(message), set()).add(digest)

    def bucket(self, prefix: int, bits: int, handles: HandleKey) -> bytes:
        """The records of a bucket: those whose bucket begins with `prefix`, of `bits` bits.

        Raises:
            InputError: if the prefix would single out too few listings.
        """
        if not 0 <= bits <= self.bits() or not 0 <= prefix < 1 << bits:
            raise InputError(f"ask for a bucket of at most {self.bits()} bits")
        return b"".join(self._records(prefix, bits, handles))

    def _records(self, prefix: int, bits: int, handles: HandleKey) -> Iterator[bytes]:
        with self._updating:
            for bucket in sorted(self._buckets):
                if bucket >> (MAX_BITS - bits) != prefix:
                    continue
                for digest in sorted(self._buckets[bucket]):
                    found = self._best(sorted(self._by_digest[digest]))
                    if found is not None:
                        handle = handles.seal(found.listing_id)
                        yield make_record(self._outputs[digest], found.level, handle)


def _index_id(listing_id: int, part: Part) -> int:
    """A listing's id in the index: windows have one of their own."""
    return listing_id << 1 | (part is Part.WINDOW)


def _bucket(digest: tuple[Kind, bytes]) -> int:
    return bucket_of(encoded(Fingerprint(*digest)))


def listing_of_handle(handles: HandleKey, handle: bytes) -> int:
    """The listing that a handle stands for.

    Raises:
        UnknownHandleError: if it is not ours.
    """
    try:
        return handles.open(handle)
    except TrustError:
        raise UnknownHandleError("this handle is not from here") from None
