"""How much of two videos is the same, and how much of it makes a match. No decoder is loaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.fingerprint.result import TURNS, MediaScan
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Fingerprint, Kind, Part

MATCH_SHARE: Final = 0.2
"""Share of frames, of either video, from which on two videos match by more than a title."""

MATCH_FRAMES: Final = 3
"""A title that moves has two views soon, but strangers who share it share few frames."""

MATCH_SHARE_OF_A_TITLE: Final = 0.5
"""Beyond this share two videos match even if all that they share looks the same, or is few frames;
so that short films, and such as hardly move, still match their copies."""


def are_two_parts(
    near: Iterable[tuple[int, int | None, bytes]], radius_bits: int = MATCH_RADIUS_BITS
) -> bool:
    """Whether two parts of what was scanned are two parts of one listing: of a copy they are.

    Strangers share an edge, a leaf, a gradient, and where one window of it is near, so are those
    around it and those that are turned. Therefore the second has to stand in the same turn as the
    nearest, and further from it than any one listed fingerprint could be near both: more than twice
    the radius, and than twice the usual one where a list has a smaller.

    Args:
        near: (distance_bits, turn, value) of each fingerprint of the scan that is within the radius
            of the listing, at least one, in the scan's order. A turn of None is not known and
            agrees with none.
        radius_bits: 0..64.
    """
    apart_bits = 2 * max(radius_bits, MATCH_RADIUS_BITS)
    every = list(near)
    _, turn, value = min(every, key=lambda each: each[0])
    nearest = int.from_bytes(value)
    return turn is not None and any(
        (nearest ^ int.from_bytes(other)).bit_count() > apart_bits
        for _, its_turn, other in every
        if its_turn == turn
    )


def is_enough(matched: int, frames: int, *, is_varied: bool) -> bool:
    """Whether so many matched frames out of those that were looked at make two videos a match.

    Args:
        is_varied: what `are_varied` says of the frames that matched.
    """
    if is_varied and matched >= MATCH_FRAMES:
        return matched >= MATCH_SHARE * frames
    return matched > MATCH_SHARE_OF_A_TITLE * frames


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


def shows_picture(scan: MediaScan, listing: Sequence[Fingerprint]) -> bool:
    """Whether a scan shows a listed picture: as a whole, or two parts of it."""
    listed = [each for each in listing if _is_worth(each)]
    probes = [(at % TURNS, each) for at, each in enumerate(scan.probes) if _is_worth(each)]
    if not (listed and probes):
        return False
    bits = distances([each for _, each in probes], listed)
    near = []
    for at, which in np.argwhere(bits <= MATCH_RADIUS_BITS).tolist():
        turn, probe = probes[at]
        if Part.WINDOW not in {probe.part, listed[which].part}:
            return True
        near.append((int(bits[at, which]), turn, probe.value))
    return bool(near) and are_two_parts(near)


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
        # One frame of a title that moves is near many of the listing's, which are dense.
        is_varied = self.is_varied and self.matched_of_query >= MATCH_FRAMES
        return self.matched_of_query > 0 and (
            is_enough(self.matched_of_query, self.frames_of_query, is_varied=is_varied)
            or is_enough(self.matched_of_listing, self.frames_of_listing, is_varied=is_varied)
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
    probes = [
        (probe, frame)
        for probe, frame in zip(scan.probes, scan.frame_of_probe, strict=True)
        if probe.part is Part.FRAME
    ]
    turned = (probes[turn::TURNS] for turn in range(TURNS))
    return best_of(
        score([probe for probe, _ in some], listing, radius_bits, [frame for _, frame in some])
        for some in turned
    )


def best_of(scores: Iterable[Score]) -> Score:
    """A match before none, then by the larger share."""
    return max(
        scores, key=lambda each: (each.is_match, max(each.share_of_query, each.share_of_listing))
    )


def score(
    queries: Sequence[Fingerprint],
    listing: Sequence[Fingerprint],
    radius_bits: int,
    frame_of_query: Sequence[int] | None = None,
) -> Score:
    """Of frames that show enough to be compared; inclusive radius.

    Args:
        frame_of_query: which frame each query is a view of; by default each is its own.
    """
    asked = [
        (each, frame)
        for each, frame in zip(queries, frame_of_query or range(len(queries)), strict=True)
        if _is_worth(each)
    ]
    listed = [each for each in listing if _is_worth(each)]
    frames = len({frame for _, frame in asked})
    if not (asked and listed):
        return Score(0, frames, 0, len(listed))
    near = distances([each for each, _ in asked], listed) <= radius_bits
    matched: dict[int, list[bytes]] = {}
    for at in np.flatnonzero(near.any(axis=1)):
        probe, frame = asked[at]
        matched.setdefault(frame, []).append(probe.value)
    return Score(
        len(matched),
        frames,
        int(near.any(axis=0).sum()),
        len(listed),
        are_varied(matched.values()),
    )


def _is_worth(fingerprint: Fingerprint) -> bool:
    return fingerprint.kind is Kind.PDQ and (fingerprint.quality or 0) >= MIN_PDQ_QUALITY
