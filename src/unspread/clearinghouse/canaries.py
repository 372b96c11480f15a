"""Canaries of the running clearinghouse: begun, listed one by one, revealed, and traced.

An epoch's number is the second at which it began; its seed follows from `keys/canaries.key` and
that number, and from the seed when each canary is due. So a restored backup can tell which of the
entries that were published since were canaries.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.store import SECONDS_PER_DAY, Transaction
from unspread.feed.canaries import CanaryBook, CanaryEpoch, Suspicion
from unspread.feed.records import Entry, EntryKind, SeedRecord
from unspread.fingerprint.windows import SUBMITTED_WINDOWS

SPREAD: Final = 0.5
"""Share of an epoch within which its canaries are listed; in the rest platforms have all."""

_SINCE: Final = (
    "SELECT position, payload FROM log_entry WHERE position >= ? AND kind = ? ORDER BY position"
)


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """One epoch, as the database keeps it."""

    code: CanaryEpoch
    spread_seconds: int
    is_revealed: bool

    @property
    def epoch(self) -> int:
        """Its number: the second at which it began."""
        return self.code.epoch

    def due_at(self) -> tuple[int, ...]:
        """The second at which each canary is to be listed, ascending."""
        return _due_at(self.code, self.spread_seconds)

    def entry(self, number: int) -> Entry:
        """The entry of canary `number`."""
        return self.code.entry(number, self._listed_at(number), SUBMITTED_WINDOWS)

    def row(self, position: int, number: int) -> tuple[int, int, int]:
        """What the revealed seed says of a canary."""
        hour = int(self._listed_at(number).timestamp()) // 3600
        return position, hour, SUBMITTED_WINDOWS

    def _listed_at(self, number: int) -> datetime:
        second = self.due_at()[number]
        return datetime.fromtimestamp(second - second % 3600, UTC)


@lru_cache(maxsize=8)
def _due_at(code: CanaryEpoch, spread_seconds: int) -> tuple[int, ...]:
    return tuple(code.due_at(code.epoch, spread_seconds))


def seed_of(key: bytes, epoch: int) -> bytes:
    """The seed of an epoch; revealing it tells nothing of the key or of another."""
    return hmac.digest(key, f"unspread/v1/canary-epoch {epoch}".encode(), "sha256")


def epochs(connection: Connection, key: bytes) -> list[StoredEpoch]:
    """Every epoch so far, oldest first."""
    rows = connection.rows(
        "SELECT epoch, count, spread_seconds, revealed_at FROM canary_epoch ORDER BY epoch"
    )
    return [
        StoredEpoch(CanaryEpoch(epoch, seed_of(key, epoch), count), spread, bool(revealed_at))
        for epoch, count, spread, revealed_at in rows
    ]


def listed(connection: Connection, epoch: int) -> list[tuple[int, int]]:
    """Position and number of the canaries of an epoch that are in the log, in order."""
    rows = connection.rows(
        "SELECT position, number FROM canary WHERE epoch = ? ORDER BY number", epoch
    )
    return [(position, number) for position, number in rows]


def advance(tx: Transaction, key: bytes, *, count: int, epoch_days: float) -> None:
    """Do what is due: begin an epoch, list its canaries, reveal the one before.

    An epoch is revealed once the next one is complete: at any time platforms have a full set whose
    seed nobody else knows.
    """
    known = epochs(tx.connection, key)
    newest = known[-1] if known else None
    length = int(epoch_days * SECONDS_PER_DAY)
    if newest is not None:
        _list_due(tx, newest)
        is_complete = _complete(tx, newest)
        for each in known[:-1]:
            if is_complete and not each.is_revealed:
                _reveal(tx, each)
        if tx.now < newest.epoch + length or not is_complete:
            return
    if count:
        code = CanaryEpoch(tx.now, seed_of(key, tx.now), count)
        position = tx.append(code.commitment().to_entry(), listing_id=-1)
        _note_begun(tx, position, code, int(length * SPREAD))


def next_due_at(connection: Connection, key: bytes, *, count: int, epoch_days: float) -> float:
    """The second from which `advance` has something to do; infinity if never."""
    known = epochs(connection, key)
    if not known:
        return 0.0 if count else float("inf")
    newest = known[-1]
    number = len(listed(connection, newest.epoch))
    if number < newest.code.count:
        return newest.due_at()[number]
    if any(not each.is_revealed for each in known[:-1]):
        return 0.0
    return newest.epoch + epoch_days * SECONDS_PER_DAY if count else float("inf")


def _note_begun(tx: Transaction, position: int, code: CanaryEpoch, spread_seconds: int) -> None:
    tx.connection.run(
        "INSERT INTO canary_epoch (epoch, count, position, spread_seconds, revealed_at)"
        " VALUES (?, ?, ?, ?, 0)",
        code.epoch,
        code.count,
        position,
        spread_seconds,
    )


def _list_due(tx: Transaction, epoch: StoredEpoch) -> None:
    first = len(listed(tx.connection, epoch.epoch))
    for number, due_at in enumerate(epoch.due_at()[first:], first):
        if due_at > tx.now:
            return
        position = tx.append(epoch.entry(number), listing_id=-1)
        note_listed(tx, position, epoch.epoch, number)


def note_listed(tx: Transaction, position: int, epoch: int, number: int) -> None:
    """Remember that the entry at a position is a canary."""
    tx.connection.run(
        "INSERT INTO canary (position, epoch, number) VALUES (?, ?, ?)", position, epoch, number
    )


def _complete(tx: Transaction, epoch: StoredEpoch) -> bool:
    return len(listed(tx.connection, epoch.epoch)) == epoch.code.count


def _reveal(tx: Transaction, epoch: StoredEpoch) -> None:
    rows = [epoch.row(*each) for each in listed(tx.connection, epoch.epoch)]
    tx.append(epoch.code.reveal(rows).to_entry(), listing_id=-1)
    tx.connection.run(
        "UPDATE canary_epoch SET revealed_at = ? WHERE epoch = ?", tx.now, epoch.epoch
    )


def recognise(tx: Transaction, key: bytes, start: int, *, epoch_days: float) -> int:
    """Find the canaries among entries that a restored backup does not hold; how many.

    Entries from `start` on were taken over from the published log by their commitments alone.
    """
    for position, payload in tx.connection.rows(
        _SINCE,
        start,
        int(EntryKind.SEED),
    ):
        seed = SeedRecord.from_bytes(bytes(payload))
        if seed.is_revealed:
            tx.connection.run(
                "UPDATE canary_epoch SET revealed_at = ? WHERE epoch = ?", tx.now, seed.epoch
            )
        else:
            code = CanaryEpoch(seed.epoch, seed_of(key, seed.epoch), seed.most)
            _note_begun(tx, position, code, int(epoch_days * SECONDS_PER_DAY * SPREAD))
    return sum(_recognise(tx, each, start) for each in epochs(tx.connection, key))


def _recognise(tx: Transaction, epoch: StoredEpoch, start: int) -> int:
    first = number = len(listed(tx.connection, epoch.epoch))
    for position, payload in tx.connection.rows(
        _SINCE,
        start,
        int(EntryKind.ERASED),
    ):
        if number == epoch.code.count:
            break
        entry = epoch.entry(number)
        if entry.commitment() == bytes(payload):
            tx.connection.run(
                "UPDATE log_entry SET kind = ?, payload = ? WHERE position = ?",
                int(entry.kind),
                entry.payload,
                position,
            )
            note_listed(tx, position, epoch.epoch, number)
            number += 1
    return number - first


class Book:
    """Who is given which canary, as the database says; asked by the feed's writer."""

    def __init__(self, connection: Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key
        self._book = CanaryBook({}, {})

    def is_given(self, partner_id: str, index: int) -> bool:
        """Whether a platform gets the canary at an index of the log."""
        if index not in self._book.numbers:
            numbers = {
                position: (epoch, number)
                for position, epoch, number in self._connection.rows(
                    "SELECT position, epoch, number FROM canary"
                )
            }
            codes = {each.epoch: each.code for each in epochs(self._connection, self._key)}
            self._book = CanaryBook(codes, numbers)
        return self._book.is_given(partner_id, index)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a leaked list says of one epoch."""

    epoch: int
    listed: int
    """Canaries that were in the log when the list was made, as far as it shows."""
    found: int
    """Of these, in the list."""
    is_revealed: bool
    """Whether platforms can know by now which these were, and could have taken them out."""
    suspicions: list[Suspicion]
    """Of every platform, worst first."""


_VALUE: Final = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{32})(?![0-9a-fA-F])")


def values_in(lines: Iterable[str]) -> Iterator[bytes]:
    """Every PDQ, SHA-256 and MD5 in a text, in whatever format it lists them."""
    for line in lines:
        for match in _VALUE.findall(line):
            yield bytes.fromhex(match)


def trace(connection: Connection, key: bytes, values: Callable[[], Iterable[bytes]]) -> list[Trace]:
    """Whose list was leaked, by each epoch that has canaries in it, newest first.

    `values` gives the list's values, once for each epoch: a list may be too long to hold.

    A list that was made while an epoch's canaries were still coming is judged by those up to the
    last that it shows.
    """
    partner_ids = [
        row[0] for row in connection.rows("SELECT partner_id FROM partner ORDER BY partner_id")
    ]
    found: list[Trace] = []
    for each in reversed(epochs(connection, key)):
        leaked = each.code.found_in(values(), SUBMITTED_WINDOWS)
        if not leaked:
            continue
        count = max(leaked) + 1
        suspicions = each.code.trace(leaked, partner_ids, count)
        found.append(Trace(each.epoch, count, len(leaked), each.is_revealed, suspicions))
    return found


def words(traces: Iterable[Trace], names: Mapping[str, str]) -> Iterator[str]:
    """What a trace says, for people; `names` of partners by id."""
    is_empty = True
    for each in traces:
        is_empty = False
        yield (
            f"Canaries since {datetime.fromtimestamp(each.epoch, UTC):%d %B %Y}: {each.found} are"
            f" in the list, of {each.listed} that there were by then."
        )
        if each.is_revealed:
            yield "  These canaries are public by now: a newer list may have been cleared of them."
        traced = [suspicion for suspicion in each.suspicions if suspicion.is_traced]
        for suspicion in traced:
            yield (
                f"  LEAKED BY {names.get(suspicion.partner_id, suspicion.partner_id)}"
                f" ({suspicion.partner_id}), alone or with the others named here:"
                f" score {suspicion.score:.0f}, innocent below {suspicion.threshold:.0f}"
            )
        if not traced and each.suspicions:
            worst = each.suspicions[0]
            yield (
                "  Nobody can be named: the highest score is"
                f" {worst.score:.0f}, and only above {worst.threshold:.0f} is a partner accused."
            )
    if is_empty:
        yield "There are no canaries in this list: it is not from our feed, or was cleared of them."
