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
from unspread.testing.samples import encoded

CROPS: Final = 12
"""Of each picture."""
FURTHER_BITS: Final = 39
"""A radius at which strangers match often enough for rules to be compared."""


def mistaken_pairs(report: Report, pool: ProcessPoolExecutor, originals: list[bytes]) -> None:
    """Crops of distinct pictures, each listed and scanned; those of one picture are not compared.

    Drawn pictures, as other benchmarks use, would flatter: no two of them match.
    """
    files = [crop for number, file in enumerate(originals) for crop in _crops(number, file)]
    sources = np.repeat(np.arange(len(originals)), CROPS)
    both = list(pool.map(_both, files, chunksize=16))
    listings = Listings.of([listed for listed, _ in both])
    pairs = len(files) * (len(files) - CROPS)
    for radius_bits in (MATCH_RADIUS_BITS, FURTHER_BITS):
        counts = Counter(
            way
            for number, (_, probes) in enumerate(both)
            for way, found in listings.found_by(probes, radius_bits).items()
            for other in found
            if sources[other] != sources[number]
        )
        for way in (UNSPREAD, ANY, WHOLE):
            report.row(
                f"within {radius_bits} bits, {way}: false matches of {pairs:,} pairs of crops",
                1e6 * counts[way] / pairs,
                "per million",
                at_most=1.0 if (way, radius_bits) == (UNSPREAD, MATCH_RADIUS_BITS) else None,
            )


def _crops(number: int, file: bytes) -> Iterator[bytes]:
    """Of 0.3 to 0.6 of each side, anywhere."""
    random = np.random.default_rng([99, number])
    with Image.open(io.BytesIO(file)) as image:
        picture = image.convert("RGB")
    for _ in range(CROPS):
        width, height = (int(side * random.uniform(0.3, 0.6)) for side in picture.size)
        left = int(random.uniform(0, picture.width - width))
        top = int(random.uniform(0, picture.height - height))
        yield encoded(picture.crop((left, top, left + width, top + height)), quality=90)


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
