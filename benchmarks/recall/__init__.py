"""`make bench ARGS=recall`: how many changed copies each way of matching still finds.

For each transformation of at least 100 benign pictures: SHA-256 of the file, which is what Take It
Down promises; PDQ of the whole as StopNCII and HMA use it; and Unspread as it is shipped
(`fingerprint_image` at submission, `scan_media` at scanning, the index between them), by two
rules: one fingerprint in common, or two. Copies are saved as JPEG of quality 85 unless they were
already compressed, and go through the same functions as a platform's uploads.
"""

import io
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing import get_context

import numpy as np
from PIL import Image

from benchmarks.recall import transformations
from benchmarks.recall.pictures import pictures
from benchmarks.report import Report
from unspread.fingerprint import fingerprint_image, pdq, scan_media
from unspread.fingerprint.decode import decode
from unspread.fingerprint.files import STANDARD
from unspread.fingerprint.video import distances
from unspread.match import Index
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Fingerprint, Kind, Part
from unspread.testing.samples import encoded, landscape

STRANGERS = 150
"""Further listings that no copy comes from, for the rate of false matches."""

GROUPS = (
    ("re-encoded, resized, turned, bordered", transformations.SAME, 99.0),
    ("screenshots, crops up to 10 %", transformations.SHOWN, 95.0),
    ("crops up to 25 %, stickers up to 10 %", transformations.CHANGED, 80.0),
    ("others", transformations.OTHERS, None),
)
WAYS = ("SHA-256", "PDQ", "Unspread", "whole only", "two in common")


@dataclass
class Found:
    """How many copies of one transformation each way finds, and pairs mistaken."""

    copies: int = 0
    by_way: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    mistaken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    pairs: int = 0
    probes: int = 0


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
    def of(cls, listed: list[list[Fingerprint]]) -> "Listings":
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


def run(report: Report) -> None:
    """The table, and the rate of false matches."""
    count = 8 if report.quick else 110
    originals = [encoded(each, "PNG") for each in pictures(count)]
    strangers = [encoded(landscape(50_000 + seed, 640, 480)) for seed in range(STRANGERS)]
    # A forked child would inherit locks of libraries' threads, held for ever.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 4), mp_context=context) as pool:
        listed = list(pool.map(_listed, originals + strangers, chunksize=8))
        names = [name for _, group, _ in GROUPS for name in group]
        found = {name: Found() for name in names}
        work = [(number, data) for number, data in enumerate(originals)]
        for answers in pool.map(_matched, work, [listed] * len(work), [names] * len(work)):
            for name, one in answers.items():
                _add(found[name], one)
    _rows(report, found, len(originals))


def _rows(report: Report, found: dict[str, Found], count: int) -> None:
    for what, group, aim in GROUPS:
        shares = {
            way: [100 * found[name].by_way[way] / found[name].copies for name in group]
            for way in WAYS
        }
        ours = float(np.mean(shares["Unspread"]))
        report.row(f"{what}: mean of {len(group)}", ours, "% found", at_least=aim)
        if aim is not None:
            report.row(f"{what}: worst", min(shares["Unspread"]), "% found", at_least=aim)
        report.row(f"{what}: PDQ of the whole, mean", float(np.mean(shares["PDQ"])), "% found")
    lines = [f"| Copy | {' | '.join(WAYS)} |", "| --- |" + " ---: |" * len(WAYS)]
    for name, one in found.items():
        shares = (f"{100 * one.by_way[way] / one.copies:.0f}" for way in WAYS)
        lines.append(f"| {name} | {' | '.join(shares)} |")
    means = (
        np.mean([100 * one.by_way[way] / one.copies for one in found.values()]) for way in WAYS
    )
    lines.append(f"| **mean** | {' | '.join(f'**{mean:.1f}**' for mean in means)} |")
    report.text(
        f"Recall in percent on {count} pictures. SHA-256: the file itself; PDQ: one fingerprint of "
        "the whole on each side; Unspread: any fingerprint in common; whole only: the same without "
        "windows (turns and borders); two in common: two fingerprints of the listing, or its whole."
        f" Radius {MATCH_RADIUS_BITS} bits.\n\n" + "\n".join(lines)
    )
    pairs = sum(one.pairs for one in found.values())
    for way in ("PDQ", "Unspread", "whole only", "two in common"):
        mistaken = sum(one.mistaken[way] for one in found.values())
        report.row(
            f"false matches, {way}, of {pairs:,} pairs of distinct pictures",
            1e6 * mistaken / pairs,
            "per million",
            at_most=1.0,
        )
    probes = sum(one.probes for one in found.values()) / sum(one.copies for one in found.values())
    report.row("probes looked up for one picture", probes, "probes")


def _add(total: Found, one: Found) -> None:
    total.copies += one.copies
    total.pairs += one.pairs
    total.probes += one.probes
    for way in WAYS:
        total.by_way[way] += one.by_way[way]
        total.mistaken[way] += one.mistaken[way]


def _listed(data: bytes) -> list[Fingerprint]:
    return list(fingerprint_image(data).fingerprints)


def _matched(
    work: tuple[int, bytes], listed: list[list[Fingerprint]], names: list[str]
) -> dict[str, Found]:
    """Every copy of one picture, looked up among all listings."""
    number, data = work
    with Image.open(io.BytesIO(data)) as image:
        original = image.convert("RGB")
    listings = Listings.of(listed)
    groups = {name: each for _, group, _ in GROUPS for name, each in group.items()}
    answers = {}
    for name in names:
        copy = groups[name](original, np.random.default_rng([number, len(name)]))
        file = encoded(copy, "JPEG", quality=85)
        answers[name] = _one(file, data, number, listings)
    return answers


def _one(file: bytes, original: bytes, number: int, listings: Listings) -> Found:
    scan = scan_media(file)
    worth = np.array(scan.qualities) >= MIN_PDQ_QUALITY
    parts = np.array([part is Part.WHOLE for part in scan.part_of_probe])[worth]
    hits = listings.index.within_many(scan.rows[worth], MATCH_RADIUS_BITS)
    entries = np.asarray(hits.ids, np.int64)
    by_whole = listings.is_whole[entries] & parts[np.asarray(hits.query_positions)]
    owners = listings.owners[entries]
    found = Found(copies=1, pairs=len(listings.first) - 1, probes=int(worth.sum()))
    plain = pdq.fingerprint(decode(file, STANDARD).pixels)
    near = {
        owner
        for owner, bits in enumerate(distances([plain], listings.first)[0])
        if bits <= MATCH_RADIUS_BITS
    }
    several = {
        owner
        for owner in set(owners.tolist())
        if len(set(entries[owners == owner].tolist())) > 1 or by_whole[owners == owner].any()
    }
    answers = {
        "SHA-256": {number} if sha256(file).digest() == sha256(original).digest() else set(),
        "PDQ": near,
        "Unspread": set(owners.tolist()),
        "whole only": set(owners[by_whole].tolist()),
        "two in common": several,
    }
    for way, matched in answers.items():
        found.by_way[way] = int(number in matched)
        found.mistaken[way] = len(set(matched) - {number})
    return found
