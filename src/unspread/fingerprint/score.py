"""How much of two videos is the same, and how much of it makes a match. No decoder is loaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.result import MediaScan
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Fingerprint, Kind

MATCH_SHARE: Final = 0.2
"""Share of frames, of either video, from which on two videos match by more than one view."""

MATCH_SHARE_OF_ONE_VIEW: Final = 0.5
"""Beyond this share two videos match even if all that they share looks the same, as a title card
does; so that a film of one view still matches its copies."""

_TURNS: Final = 8


def is_enough(matched: int, frames: int, *, is_varied: bool) -> bool:
    """Whether so many matched frames out of those that were looked at make two videos a match.

    Args:
        is_varied: what `are_varied` says of the frames that matched.
    """
    if is_varied:
        return matched >= MATCH_SHARE * frames
    return matched > MATCH_SHARE_OF_ONE_VIEW * frames


def are_varied(frames: Iterable[Sequence[bytes]]) -> bool:
    """Whether some of the frames that matched are no copies of each other.

    Strangers share title cards, logos and black leaders: one view, however many frames show it.

    Args:
        frames: of each frame the fingerprints that matched, one for each turn in which it did.
    """
    every = [[int.from_bytes(value) for value in frame] for frame in frames]
    return any(
        all((a ^ b).bit_count() > MATCH_RADIUS_BITS for a in every[0] for b in other)
        for other in every[1:]
    )


@dataclass(frozen=True, slots=True)
class Score:
    """How much of two videos is the same, as vPDQ counts it: frames with an equal in the other."""

    matched_of_query: int
    frames_of_query: int
    matched_of_listing: int
    frames_of_listing: int
    is_varied: bool = False
    """Whether it is more than one view that they share."""

    @property
    def share_of_query(self) -> float:
        """0..1: how much of the scanned video is known."""
        return self.matched_of_query / max(self.frames_of_query, 1)

    @property
    def share_of_listing(self) -> float:
        """0..1: how much of the listed video is in the scanned one."""
        return self.matched_of_listing / max(self.frames_of_listing, 1)

    @property
    def is_match(self) -> bool:
        """By `is_enough`, of either; see docs/decisions for what it finds and what it mistakes."""
        return self.matched_of_query > 0 and (
            is_enough(self.matched_of_query, self.frames_of_query, is_varied=self.is_varied)
            or is_enough(self.matched_of_listing, self.frames_of_listing, is_varied=self.is_varied)
        )


def distances(queries: Sequence[Fingerprint], listing: Sequence[Fingerprint]) -> NDArray[np.uint16]:
    """(len(queries), len(listing)) bits between fingerprints worth comparing."""
    rows = [
        np.frombuffer(b"".join(each.value for each in some), np.uint64).reshape(-1, 4)
        for some in (queries, listing)
    ]
    total = np.empty((len(queries), len(listing)), np.uint16)
    for at, row in enumerate(rows[0]):
        np.sum(np.bitwise_count(rows[1] ^ row), axis=1, dtype=np.uint16, out=total[at])
    return total


def best_score(scan: MediaScan, listing: Sequence[Fingerprint], radius_bits: int) -> Score:
    """Of a scanned video, by the one of its eight turns that matches best."""
    probes = scan.probes
    return best_of(score(probes[turn::_TURNS], listing, radius_bits) for turn in range(_TURNS))


def best_of(scores: Iterable[Score]) -> Score:
    """A match before none, then by the larger share."""
    return max(
        scores, key=lambda each: (each.is_match, max(each.share_of_query, each.share_of_listing))
    )


def score(
    queries: Sequence[Fingerprint], listing: Sequence[Fingerprint], radius_bits: int
) -> Score:
    """Of frames that show enough to be compared; inclusive radius."""
    worth = [
        [each for each in some if each.kind is Kind.PDQ and (each.quality or 0) >= MIN_PDQ_QUALITY]
        for some in (queries, listing)
    ]
    if not all(worth):
        return Score(0, len(worth[0]), 0, len(worth[1]))
    near = distances(*worth) <= radius_bits
    matched = near.any(axis=1)
    return Score(
        int(matched.sum()),
        near.shape[0],
        int(near.any(axis=0).sum()),
        near.shape[1],
        are_varied([worth[0][at].value] for at in np.flatnonzero(matched)),
    )
