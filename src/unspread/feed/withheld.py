"""What a platform is told about entries that it is not given, and whether it was true.

Another platform's canaries are withheld. How many at most is said in the log before; which they
were, after. Then a platform can work out, for every single one, that it was withheld by the code
and was synthetic: a person's listing cannot hide among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

import msgspec

from unspread.errors import TrustError
from unspread.feed.canaries import CanaryEpoch, canary_payload, seed_digest
from unspread.feed.records import Entry, EntryKind, SeedRecord
from unspread.model import ListingId

MAX_OPEN_EPOCHS: Final = 2
"""Epochs whose seed is committed to and not revealed; a third begins once the first is revealed."""


class WithheldError(TrustError):
    """More is withheld than was said, or something that was no canary."""


class OpenEpoch(msgspec.Struct, frozen=True):
    """An epoch under way, as one platform sees it."""

    epoch: int
    commitment: bytes
    """To its seed."""
    most: int
    """How many canaries it has at most."""
    start: int
    """Index of the entry that commits to its seed."""
    withheld: int = 0
    """Entries withheld as its canaries."""
    digest: bytes = bytes(32)
    """Of their indexes and commitments, one after the other."""

    def with_withheld(self, index: int, commitment: bytes) -> "OpenEpoch":
        """The epoch after one more entry was withheld as a canary."""
        digest = sha256(self.digest + index.to_bytes(8, "big") + commitment).digest()
        return msgspec.structs.replace(self, withheld=self.withheld + 1, digest=digest)


@dataclass(frozen=True, slots=True)
class WithheldLedger:
    """A platform's account of what was withheld from it as synthetic. A value: acts give a new one.

    Canaries of an epoch stand between the word on its seed and the word on the next one.
    """

    partner_id: str
    epochs: tuple[OpenEpoch, ...] = field(default=())
    """Under way, oldest first."""
    last_epoch: int = -1
    snapshot_stop: int = 0
    """Entries below were read from a snapshot, which leaves out epochs that are over. What is left
    out cannot be accounted for; an epoch that began there may be over without our having heard."""

    @property
    def most(self) -> int:
        """How many entries may be withheld as canaries of epochs that are not revealed yet."""
        return sum(each.most for each in self.epochs)

    def withhold(self, index: int, commitment: bytes) -> "WithheldLedger":
        """The account after the entry at `index` was withheld as another's canary.

        Raises:
            WithheldError: if no epoch is under way, or it would have more canaries than it said.
        """
        if not self.epochs:
            if index < self.snapshot_stop:
                return self
            raise WithheldError("an entry is withheld as a canary, and no epoch of canaries began")
        newest = self.epochs[-1]
        if newest.withheld >= newest.most:
            raise WithheldError(f"more than {newest.most} entries are withheld as canaries")
        return replace(self, epochs=(*self.epochs[:-1], newest.with_withheld(index, commitment)))

    def begin(self, index: int, seed: SeedRecord) -> "WithheldLedger":
        """The account after the word was given, at `index`, on the seed of a new epoch.

        Raises:
            WithheldError: if too many epochs are under way, or it is not a new one.
        """
        if seed.epoch <= self.last_epoch:
            raise WithheldError("an epoch of canaries begins twice")
        open_epochs = self.epochs
        if len(open_epochs) >= MAX_OPEN_EPOCHS:
            if open_epochs[0].start >= self.snapshot_stop:
                raise WithheldError("an epoch of canaries begins, and the last but one is not over")
            open_epochs = open_epochs[1:]
        begun = OpenEpoch(seed.epoch, seed.value, seed.most, index)
        return replace(self, epochs=(*open_epochs, begun), last_epoch=seed.epoch)

    def reveal(self, index: int, seed: SeedRecord) -> tuple["WithheldLedger", list[ListingId]]:
        """The account after an epoch was revealed at `index`, and the canaries given to us.

        Raises:
            WithheldError: if what was withheld is not exactly what the seed says.
        """
        given = [
            ListingId(position)
            for number, (position, _, _) in enumerate(seed.canaries)
            if CanaryEpoch(seed.epoch, seed.value).is_given(self.partner_id, number)
        ]
        place = next((n for n, each in enumerate(self.epochs) if each.epoch == seed.epoch), None)
        if index < self.snapshot_stop:
            epochs = tuple(each for each in self.epochs if each.epoch != seed.epoch)
            return replace(self, epochs=epochs), given
        if place is None:
            raise WithheldError("an epoch of canaries is revealed that is not under way")
        known = self.epochs[place]
        if seed_digest(seed.epoch, seed.value) != known.commitment:
            raise WithheldError("the seed that is revealed is not the one committed to")
        stop = self.epochs[place + 1].start if place + 1 < len(self.epochs) else index
        if len(seed.canaries) > known.most or any(
            not known.start < each < stop for each, _, _ in seed.canaries
        ):
            raise WithheldError("a revealed epoch has canaries where it cannot have any")
        ours = frozenset(given)
        account = OpenEpoch(known.epoch, known.commitment, known.most, known.start)
        for position, commitment in _canaries(seed):
            if position not in ours:
                account = account.with_withheld(position, commitment)
        if account != known:
            raise WithheldError("entries were withheld as canaries that were none")
        rest = (*self.epochs[:place], *self.epochs[place + 1 :])
        return replace(self, epochs=rest), given


def _canaries(seed: SeedRecord) -> Iterator[tuple[int, bytes]]:
    for number, (index, hour, windows) in enumerate(seed.canaries):
        payload = canary_payload(seed.value, number, hour, windows)
        yield index, Entry(EntryKind.CANARY, payload).commitment()
