"""How often two different pictures are taken for one: every picture against every other."""

import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.recall.kept import kept
from benchmarks.report import Report
from unspread.fingerprint import fingerprint_image, scan_media
from unspread.match import Index
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Kind, Part
from unspread.testing.samples import encoded, landscape

DRAWN: Final = 450
"""Landscapes beside the quarters of photographs, so that there are a million pairs."""


def mistaken_pairs(report: Report, pool: ProcessPoolExecutor, originals: list[Image.Image]) -> None:
    """Quarters of photographs, which share nothing, and drawn landscapes: each listed and scanned.

    Quarters of one photograph are not compared: a wall or a meadow looks like itself.
    """
    files = [encoded(each, quality=90) for file in originals for each in _quarters(file)]
    sources = np.array([*np.repeat(np.arange(len(originals)), 4), *range(-DRAWN, 0)])
    files += [encoded(landscape(80_000 + seed, 480, 360)) for seed in range(DRAWN)]
    both = list(pool.map(_both, files, chunksize=16))
    rows, whole = (np.concatenate([each[part] for each, _ in both]) for part in range(2))
    owners = np.repeat(np.arange(len(files)), [len(each) for (each, _), _ in both])
    index = Index.build(np.arange(len(rows)), rows.view("<u8").reshape(-1, 4))
    counts = {"any fingerprint": 0, "whole only": 0}
    for number, (_, (probes, parts)) in enumerate(both):
        hits = index.within_many(probes.view("<u8").reshape(-1, 4), MATCH_RADIUS_BITS)
        entries = np.asarray(hits.ids, np.int64)
        others = sources[owners[entries]] != sources[number]
        by_whole = whole[entries] & parts[np.asarray(hits.query_positions)]
        counts["any fingerprint"] += len(set(owners[entries[others]].tolist()))
        counts["whole only"] += len(set(owners[entries[others & by_whole]].tolist()))
    sizes = np.unique(sources, return_counts=True)[1]
    pairs = len(files) ** 2 - int((sizes**2).sum())
    for way, count in counts.items():
        report.row(
            f"false matches, {way}, of {pairs:,} pairs of distinct pictures",
            1e6 * count / pairs,
            "per million",
            at_most=1.0,
        )


def _quarters(file: bytes) -> Iterator[Image.Image]:
    with Image.open(io.BytesIO(file)) as image:
        picture = image.convert("RGB")
    width, height = picture.width // 2, picture.height // 2
    for left in (0, width):
        for top in (0, height):
            yield picture.crop((left, top, left + width, top + height))


Side = tuple[np.ndarray, np.ndarray]
"""(n, 32) values, and which of them are of the whole."""


def _both(file: bytes) -> tuple[Side, Side]:
    """What is listed of a file, and what is looked up for it."""

    def make() -> list[tuple[str, list[bool]]]:
        listed = [
            each
            for each in fingerprint_image(file).fingerprints
            if each.kind is Kind.PDQ and (each.quality or 0) >= MIN_PDQ_QUALITY
        ]
        scan = scan_media(file)
        worth = np.array(scan.qualities) >= MIN_PDQ_QUALITY
        probes = np.frombuffer(scan.probe_bytes, np.uint8).reshape(-1, 32)[worth]
        parts = np.array([part is Part.WHOLE for part in scan.part_of_probe])[worth]
        values = b"".join(each.value for each in listed)
        return [
            (values.hex(), [each.part is Part.WHOLE for each in listed]),
            (probes.tobytes().hex(), parts.tolist()),
        ]

    listed, probes = (
        (np.frombuffer(bytes.fromhex(values), np.uint8).reshape(-1, 32), np.array(whole, bool))
        for values, whole in kept("both", file, make)
    )
    return listed, probes
