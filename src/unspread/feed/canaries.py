"""Canaries: synthetic listings given to some platforms and not to others, to trace a leak.

Who gets which follows a symmetric Tardos code (Škorić, Katzenbeisser and Celik, "Symmetric
Tardos fingerprinting codes for arbitrary alphabet sizes", 2008): a few platforms that compare
their lists and strip or mix what differs are still found, and nobody is accused who had no part.
Everything comes from a seed that is committed to in the log before the epoch and revealed after
it: then anyone can check that what was withheld was synthetic, and no person's.
"""

import hmac
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.crypto import ITEM_KEY_DIGEST_BYTES, SALT_BYTES
from unspread.errors import InputError
from unspread.feed.records import MAX_CANARIES, AddRecord, Entry, EntryKind, SeedRecord
from unspread.match import Index
from unspread.model import PDQ_BITS, Age, Fingerprint, Kind, Level, Media, Part

CANARIES_PER_EPOCH: Final = 900
"""Traces three colluding platforms; 400 trace two. See docs/benchmarks.md."""
FALSE_ACCUSATION: Final = 1e-6
"""Chance that an epoch accuses any innocent platform at all."""
_CUT_OFF: Final = 1 / 300
"""How close to 0 or 1 the share of platforms that get a canary may be; for 10 colluders."""
_AGES: Final = (Age.MINOR, Age.ADULT, Age.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How much a leaked list points at one platform."""

    partner_id: str
    score: float
    threshold: float
    """An innocent platform's score is above this with a chance of FALSE_ACCUSATION, all told."""

    @property
    def is_traced(self) -> bool:
        """Whether the list is, or is made from, this platform's."""
        return self.score > self.threshold


@dataclass(frozen=True, slots=True, repr=False)
class CanaryEpoch:
    """A seed and all that follows from it."""

    epoch: int
    seed: bytes
    """32 random bytes, secret until the epoch's end."""
    count: int = CANARIES_PER_EPOCH

    def __post_init__(self) -> None:
        if len(self.seed) != 32 or not 0 < self.count <= MAX_CANARIES:
            raise InputError(f"a seed has 32 bytes, an epoch 1 to {MAX_CANARIES} canaries")

    def commitment(self) -> SeedRecord:
        """What is logged before the epoch's first canary."""
        digest = seed_digest(self.epoch, self.seed)
        return SeedRecord(self.epoch, is_revealed=False, value=digest, most=self.count)

    def reveal(self, canaries: Iterable[tuple[int, int, int]]) -> SeedRecord:
        """What is logged after the epoch: index, hour of listing and windows of each canary."""
        return SeedRecord(self.epoch, is_revealed=True, value=self.seed, canaries=tuple(canaries))

    def entry(self, number: int, listed_at: datetime, windows: int = 0) -> Entry:
        """Canary `number`, as a picture listed at a whole hour, with as many windows as usual."""
        hour = int(listed_at.timestamp()) // 3600
        return Entry(EntryKind.CANARY, canary_payload(self.seed, number, hour, windows))

    def due_at(self, began_at: int, spread_seconds: int) -> list[int]:
        """The second at which each canary is to be listed, by number, ascending.

        Drawn from the seed, without preference within the stretch: canaries that came at once or
        at a beat would show what they are.
        """
        draws = (self._uniform(f"due {number}") for number in range(self.count))
        return [began_at + int(draw * spread_seconds) for draw in sorted(draws)]

    def is_given(self, partner_id: str, number: int) -> bool:
        """Whether a platform gets canary `number`."""
        return self._uniform(f"given {number} {partner_id}") < self._bias(number)

    def trace(
        self, leaked: Collection[int], partner_ids: Collection[str], listed: int | None = None
    ) -> list[Suspicion]:
        """How far each platform may be a source of a list with these canaries, worst first.

        Args:
            leaked: numbers of the canaries that were found in the list; see `found_in`.
            partner_ids: every platform that had the feed.
            listed: how many canaries there were when the list was made; all if not given.
        """
        count = self.count if listed is None else listed
        chance = FALSE_ACCUSATION / max(1, len(partner_ids))
        threshold = math.sqrt(count) * NormalDist().inv_cdf(1 - chance)
        seen = frozenset(leaked)
        biases = [self._bias(number) for number in range(count)]
        found = [
            Suspicion(partner_id, self._score(partner_id, seen, biases), threshold)
            for partner_id in partner_ids
        ]
        return sorted(found, key=lambda each: each.score, reverse=True)

    def found_in(
        self, values: Iterable[bytes], windows: int = 0, radius_bits: int = 15
    ) -> set[int]:
        """The numbers of the canaries that stand in a list, changed by at most some bits.

        `values` are what the list holds: PDQs and SHA-256 (32 bytes), MD5 (16 bytes).
        """
        rows = [
            synthetic_pdq(self.seed, number, part)
            for number in range(self.count)
            for part in range(windows + 1)
        ]
        digests = {
            _stream(self.seed, number, name, length): number
            for number in range(self.count)
            for name, length in (("sha256", 32), ("md5", 16))
        }
        index = Index.build(np.arange(len(rows)) // (windows + 1), _rows_of(rows))
        found: set[int] = set()
        for some in _batches(values):
            found.update(digests[value] for value in some if value in digests)
            pdqs = [value for value in some if len(value) == PDQ_BITS // 8]
            if pdqs:
                _, numbers, _ = index.within_many(_rows_of(pdqs), radius_bits=radius_bits)
                found.update(numbers.tolist())
        return found

    def _score(self, partner_id: str, leaked: frozenset[int], biases: list[float]) -> float:
        total = 0.0
        for number, bias in enumerate(biases):
            has = self._uniform(f"given {number} {partner_id}") < bias
            shown = number in leaked
            # Rare agreement says much, agreement on what most have says little.
            share = bias if shown else 1 - bias
            total += (
                math.sqrt((1 - share) / share) if has == shown else -math.sqrt(share / (1 - share))
            )
        return total

    def _bias(self, number: int) -> float:
        edge = math.asin(math.sqrt(_CUT_OFF))
        angle = edge + self._uniform(f"bias {number}") * (math.pi / 2 - 2 * edge)
        return math.sin(angle) ** 2

    def _uniform(self, info: str) -> float:
        digest = hmac.digest(self.seed, b"unspread/v1/canary-code " + info.encode(), "sha256")
        return int.from_bytes(digest[:7]) / (1 << 56)


@dataclass(frozen=True, slots=True)
class CanaryBook:
    """Which entry of the log is which canary; what `FeedWriter` asks."""

    epochs: Mapping[int, CanaryEpoch]
    numbers: Mapping[int, tuple[int, int]]
    """Index of the entry → epoch and number of the canary."""

    def is_given(self, partner_id: str, index: int) -> bool:
        """Whether a platform gets the canary that stands at `index`."""
        epoch, number = self.numbers[index]
        return self.epochs[epoch].is_given(partner_id, number)


def _rows_of(pdqs: list[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(pdqs), np.uint64).reshape(-1, 4)


def _batches(values: Iterable[bytes]) -> Iterator[list[bytes]]:
    """What a list of millions is looked at by."""
    iterator = iter(values)
    while batch := list(islice(iterator, 1 << 16)):
        yield batch


def seed_digest(epoch: int, seed: bytes) -> bytes:
    """What is committed to before an epoch."""
    return sha256(b"unspread/v1/canary-seed\x00" + epoch.to_bytes(4, "big") + seed).digest()


def _stream(seed: bytes, number: int, info: str, length: int) -> bytes:
    blocks = [
        hmac.digest(seed, f"unspread/v1/canary {number} {info} {at}".encode(), "sha256")
        for at in range(-(-length // 32))
    ]
    return b"".join(blocks)[:length]


def synthetic_pdq(seed: bytes, number: int, part: int) -> bytes:
    """A PDQ with exactly half of its bits set, as pictures have; of no picture.

    The coefficients of noise are independent, and PDQ compares each with their median: so its
    bits are any half of the 256, each as likely.
    """
    draws = _stream(seed, number, f"pdq {part}", 4 * PDQ_BITS)
    order = sorted(range(PDQ_BITS), key=lambda bit: (draws[4 * bit : 4 * bit + 4], bit))
    value = sum(1 << bit for bit in order[: PDQ_BITS // 2])
    return value.to_bytes(PDQ_BITS // 8, "big")


def canary_payload(seed: bytes, number: int, hour: int, windows: int) -> bytes:
    """The payload of a canary: nothing in it tells it from that of a picture."""
    draw = _stream(seed, number, "age", 1)[0]
    record = AddRecord(
        Media.IMAGE,
        _AGES[draw % len(_AGES)],
        Level.UNVERIFIED,
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour),
        _stream(seed, number, "key", ITEM_KEY_DIGEST_BYTES),
        (
            Fingerprint(Kind.PDQ, synthetic_pdq(seed, number, 0), quality=100),
            *(
                Fingerprint(Kind.PDQ, synthetic_pdq(seed, number, part), Part.WINDOW, 100)
                for part in range(1, windows + 1)
            ),
            Fingerprint(Kind.SHA256, _stream(seed, number, "sha256", 32)),
            Fingerprint(Kind.MD5, _stream(seed, number, "md5", 16)),
        ),
    )
    return record.to_bytes(_stream(seed, number, "salt", SALT_BYTES))
