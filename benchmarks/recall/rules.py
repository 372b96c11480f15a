"""What a platform lists and looks up, and which listings each rule of matching finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from unspread.fingerprint import MediaScan
from unspread.fingerprint.result import TURNS
from unspread.fingerprint.score import are_two_parts
from unspread.match import Index
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Fingerprint, Kind, Part

UNSPREAD: Final = "Unspread"
"""The whole, or two parts: as it is shipped."""
ANY: Final = "one in common"
WHOLE: Final = "whole only"


@dataclass(frozen=True)
class Probes:
    """What is worth looking up of one file."""

    rows: np.ndarray
    """(n, 4) words."""
    is_whole: np.ndarray
    turns: np.ndarray

    @classmethod
    def of(cls, scan: MediaScan) -> "Probes":
        """Of a scan."""
        worth = np.flatnonzero(np.array(scan.qualities) >= MIN_PDQ_QUALITY)
        is_whole = np.array([part is Part.WHOLE for part in scan.part_of_probe])
        return cls(scan.rows[worth], is_whole[worth], worth % TURNS)


@dataclass(frozen=True)
class Listings:
    """What a platform has in its index."""

    index: Index
    owners: np.ndarray
    """Which listing each entry of the index belongs to."""
    is_whole: np.ndarray
    first: list[Fingerprint]
    """Of each listing, the whole."""

    @classmethod
    def of(cls, listed: Sequence[Sequence[Fingerprint]]) -> "Listings":
        """Of the fingerprints of each listing."""
        entries = [
            (owner, each)
            for owner, fingerprints in enumerate(listed)
            for each in fingerprints
            if each.kind is Kind.PDQ and (each.quality or 0) >= MIN_PDQ_QUALITY
        ]
        rows = np.frombuffer(b"".join(each.value for _, each in entries), "<u8").reshape(-1, 4)
        return cls(
            Index.build(np.arange(len(rows)), rows),
            np.array([owner for owner, _ in entries]),
            np.array([each.part is Part.WHOLE for _, each in entries]),
            [fingerprints[0] for fingerprints in listed],
        )

    def found_by(self, probes: Probes, radius_bits: int = MATCH_RADIUS_BITS) -> dict[str, set[int]]:
        """The listings that each rule finds."""
        hits = self.index.within_many(probes.rows, radius_bits)
        near: dict[int, list[tuple[int, int, bytes]]] = {}
        wholes: set[int] = set()
        for at, entry, bits in zip(
            *(each.tolist() for each in (hits.query_positions, hits.ids, hits.distances_bits)),
            strict=True,
        ):
            owner = int(self.owners[entry])
            near.setdefault(owner, []).append(
                (bits, int(probes.turns[at]), probes.rows[at].tobytes())
            )
            if self.is_whole[entry] and probes.is_whole[at]:
                wholes.add(owner)
        by_parts = {owner for owner, some in near.items() if are_two_parts(some)}
        return {UNSPREAD: wholes | by_parts, ANY: set(near), WHOLE: wholes}
