"""How often two different pictures are taken for one: every picture against every other."""

import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks.recall.kept import kept
from benchmarks.recall.rules import ANY, UNSPREAD, WHOLE, Listings, Probes
from benchmarks.report import Report
from unspread.fingerprint import fingerprint_image, scan_media
from unspread.model import MATCH_RADIUS_BITS, Fingerprint, Kind, Part
from unspread.testing.samples import encoded, landscape

DRAWN: Final = 450
"""Landscapes beside the quarters of photographs, so that there are a million pairs."""
FURTHER_BITS: Final = 47
"""A radius at which strangers match often enough for rules to be compared."""


def mistaken_pairs(report: Report, pool: ProcessPoolExecutor, originals: list[Image.Image]) -> None:
    """Quarters of photographs, which share nothing, and drawn landscapes: each listed and scanned.

    Quarters of one photograph are not compared: a wall or a meadow looks like itself.
    """
    files = [encoded(each, quality=90) for file in originals for each in _quarters(file)]
    sources = np.array([*np.repeat(np.arange(len(originals)), 4), *range(-DRAWN, 0)])
    files += [encoded(landscape(80_000 + seed, 480, 360)) for seed in range(DRAWN)]
    both = list(pool.map(_both, files, chunksize=16))
    listings = Listings.of([listed for listed, _ in both])
    photographs = sources >= 0
    for what, chosen, radius_bits, aim in (
        ("distinct pictures", np.ones_like(photographs), MATCH_RADIUS_BITS, 1.0),
        ("photographs, none drawn", photographs, MATCH_RADIUS_BITS, None),
        (f"photographs, within {FURTHER_BITS} bits", photographs, FURTHER_BITS, None),
    ):
        sizes = np.unique(sources[chosen], return_counts=True)[1]
        pairs = int(chosen.sum()) ** 2 - int((sizes**2).sum())
        counts = Counter(
            way
            for number in np.flatnonzero(chosen).tolist()
            for way, found in listings.found_by(both[number][1], radius_bits).items()
            for other in found
            if chosen[other] and sources[other] != sources[number]
        )
        for way in (UNSPREAD, ANY, WHOLE):
            report.row(
                f"false matches, {way}, of {pairs:,} pairs of {what}",
                1e6 * counts[way] / pairs,
                "per million",
                at_most=aim if way != ANY else None,
            )


def _quarters(file: bytes) -> Iterator[Image.Image]:
    with Image.open(io.BytesIO(file)) as image:
        picture = image.convert("RGB")
    width, height = picture.width // 2, picture.height // 2
    for left in (0, width):
        for top in (0, height):
            yield picture.crop((left, top, left + width, top + height))


def _both(file: bytes) -> tuple[list[Fingerprint], Probes]:
    """What is listed of a file, and what is looked up for it."""

    def make() -> dict[str, Any]:
        probes = Probes.of(scan_media(file))
        listed = [
            (each.value.hex(), each.part, each.quality)
            for each in fingerprint_image(file).fingerprints
            if each.kind is Kind.PDQ
        ]
        looked_up = (probes.rows.tobytes().hex(), probes.is_whole.tolist(), probes.turns.tolist())
        return {"listed": listed, "looked_up": looked_up}

    answer = kept("both", file, make)
    rows, is_whole, turns = answer["looked_up"]
    return [
        Fingerprint(Kind.PDQ, bytes.fromhex(value), Part(part), quality)
        for value, part, quality in answer["listed"]
    ], Probes(
        np.frombuffer(bytes.fromhex(rows), "<u8").reshape(-1, 4),
        np.array(is_whole, bool),
        np.array(turns),
    )
