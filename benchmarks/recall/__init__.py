"""`make bench ARGS=recall`: how many changed copies each way of matching still finds.

For each transformation of about 100 held-out photographs: SHA-256 of the file, which is what Take
It Down promises; PDQ of the whole as StopNCII and HMA use it; and Unspread as it is shipped
(`fingerprint_image` at submission, `scan_media` at scanning, the index between them), beside which
stand two other rules: the whole alone, and any fingerprint in common. Copies are saved as JPEG of
quality 85 unless they were already compressed, and go through the same functions as a platform's
uploads.

The pictures by which rules were tuned are reported apart. What was found for one picture is kept
under a digest of the code, so that a run that was stopped goes on where it was.
"""

import io
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks.recall import inversion, pictures, transformations
from benchmarks.recall.kept import kept
from benchmarks.recall.rules import ANY, UNSPREAD, WHOLE, Listings, Probes
from benchmarks.recall.strangers import mistaken_pairs
from benchmarks.report import Report, best_of
from unspread.fingerprint import fingerprint_image, pdq, scan_media
from unspread.fingerprint.decode import decode
from unspread.fingerprint.files import STANDARD
from unspread.fingerprint.score import distances
from unspread.model import MATCH_RADIUS_BITS, Fingerprint, Kind, Part
from unspread.testing.samples import encoded, landscape

DRAWN: Final = 150
"""Further listings that no copy comes from, for the rate of false matches."""

GROUPS = (
    ("re-encoded, resized, turned, bordered", transformations.SAME, 99.0),
    ("screenshots, crops up to 10 %", transformations.SHOWN, 95.0),
    ("crops up to 25 %, stickers up to 10 %", transformations.CHANGED, 80.0),
    ("others", transformations.OTHERS, None),
)
EVERY: Final = {name: each for _, group, _ in GROUPS for name, each in group.items()}
WAYS = ("SHA-256", "PDQ", UNSPREAD, WHOLE, ANY)


@dataclass
class Found:
    """How many copies of one transformation each way finds, and pairs mistaken."""

    copies: int = 0
    by_way: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    mistaken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    pairs: int = 0
    probes: int = 0

    def add(self, other: "Found") -> None:
        """Both together."""
        self.copies += other.copies
        self.pairs += other.pairs
        self.probes += other.probes
        for way in WAYS:
            self.by_way[way] += other.by_way[way]
            self.mistaken[way] += other.mistaken[way]

    def share(self, way: str) -> float:
        """Found by it, in percent."""
        return 100 * self.by_way[way] / self.copies


def run(report: Report) -> None:
    """The tables, the rate of false matches, and what fingerprints give away."""
    held_out, tuning = pictures.held_out(), pictures.tuning()
    if report.quick:
        held_out, tuning = held_out[:4], tuning[:4]
    # Workers are given the cores, so that BLAS has no use for more threads: it loses by them.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # A forked child would inherit locks of libraries' threads, held for ever.
    context = get_context("spawn")
    processes = min(os.cpu_count() or 1, 4)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        drawn = [encoded(landscape(50_000 + seed, 640, 480)) for seed in range(DRAWN)]
        files = [*held_out, *tuning, *drawn]
        listed = list(pool.map(_listed, files, chunksize=8))
    work = [(number, data, list(EVERY)) for number, data in enumerate(held_out)]
    aimed = [name for _, group, aim in GROUPS if aim for name in group]
    work += [(len(held_out) + number, data, aimed) for number, data in enumerate(tuning)]
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start, initargs=(listed,)
    ) as pool:
        answers = list(pool.map(_matched, work))
        of_held_out = _summed(answers[: len(held_out)])
        of_tuning = _summed(answers[len(held_out) :])
        _rows(report, of_held_out)
        for what, group, aim in GROUPS:
            if aim:
                mean = np.mean([of_tuning[name].share("Unspread") for name in group])
                report.row(f"tuning pictures, {what}: mean of {len(group)}", float(mean), "% found")
        _false_matches(report, [*of_held_out.values(), *of_tuning.values()])
        mistaken_pairs(report, pool, [*held_out, *tuning])
    _price(report, held_out[:12])
    inversion.measure(report, held_out)
    _table(report, of_held_out)


def _rows(report: Report, found: dict[str, Found]) -> None:
    for what, group, aim in GROUPS:
        ours = {name: found[name].share("Unspread") for name in group}
        mean = float(np.mean(list(ours.values())))
        report.row(f"{what}: mean of {len(group)}", mean, "% found", at_least=aim)
        if aim is not None:
            worst = min(ours, key=ours.__getitem__)
            report.row(f"{what}: worst ({worst})", ours[worst], "% found", at_least=aim)
        theirs = float(np.mean([found[name].share("PDQ") for name in group]))
        report.row(f"{what}: PDQ of the whole, mean", theirs, "% found")
    probes = sum(one.probes for one in found.values()) / sum(one.copies for one in found.values())
    report.row("probes looked up for one picture", probes, "probes")


def _summed(answers: list[dict[str, Found]]) -> dict[str, Found]:
    total: dict[str, Found] = {}
    for answer in answers:
        for name, one in answer.items():
            total.setdefault(name, Found()).add(one)
    return total


def _table(report: Report, found: dict[str, Found]) -> None:
    lines = [f"| Copy | {' | '.join(WAYS)} |", "| --- |" + " ---: |" * len(WAYS)]
    for name, one in found.items():
        lines.append(f"| {name} | {' | '.join(f'{one.share(way):.0f}' for way in WAYS)} |")
    means = (np.mean([one.share(way) for one in found.values()]) for way in WAYS)
    lines.append(f"| **mean** | {' | '.join(f'**{mean:.1f}**' for mean in means)} |")
    count = max(one.copies for one in found.values())
    report.text(
        f"Recall in percent on {count} held-out pictures, which no rule was chosen by. SHA-256: "
        "the file itself; PDQ: one fingerprint of the whole on each side; Unspread: the whole, in "
        "any turn and without borders, or two parts; whole only: the same without parts; one in "
        f"common: any fingerprint of the listing. Radius {MATCH_RADIUS_BITS} bits. Sources and "
        "licences of the pictures: `benchmarks/recall/pictures.py`.\n\n" + "\n".join(lines)
    )


def _false_matches(report: Report, found: list[Found]) -> None:
    pairs = sum(one.pairs for one in found)
    for way in WAYS[1:]:
        report.row(
            f"false matches, {way}, of {pairs:,} pairs of a copy and another picture",
            1e6 * sum(one.mistaken[way] for one in found) / pairs,
            "per million",
            at_most=1.0,
        )


def _listed(data: bytes) -> list[Fingerprint]:
    """Of each fingerprint of the pixels."""

    def make() -> list[tuple[str, str, int | None]]:
        return [
            (each.value.hex(), each.part, each.quality)
            for each in fingerprint_image(data).fingerprints
            if each.kind is Kind.PDQ
        ]

    return [
        Fingerprint(Kind.PDQ, bytes.fromhex(value), Part(part), quality)
        for value, part, quality in kept("listed", data, make)
    ]


def _price(report: Report, files: list[bytes]) -> None:
    """What a scan of one upload costs, decoding included."""
    for name in ("JPEG, quality 90", "phone screenshot, dark", "desktop screenshot"):
        copies = []
        for file in files:
            with Image.open(io.BytesIO(file)) as image:
                copy = EVERY[name](image.convert("RGB"), np.random.default_rng(0))
            copies.append(encoded(copy, "JPEG", quality=85))
        for windows in (True, False):
            spent = [
                best_of(partial(scan_media, each, windows=windows), clock=time.process_time)
                for each in copies
            ]
            probes = [len(scan_media(each, windows=windows).qualities) for each in copies]
            what = f"scan of {name}, {'with' if windows else 'without'} windows"
            report.row(f"{what}: processor time", 1000 * float(np.median(spent)), "ms")
            report.row(f"{what}: probes", float(np.median(probes)), "probes")


_of_worker: list[Listings] = []


def _start(listed: list[list[Fingerprint]]) -> None:
    _of_worker.append(Listings.of(listed))


def _matched(work: tuple[int, bytes, list[str]]) -> dict[str, Found]:
    """Copies of one picture, looked up among all listings."""
    number, data, names = work

    def make() -> dict[str, dict[str, Any]]:
        with Image.open(io.BytesIO(data)) as image:
            original = image.convert("RGB")
        answers = {}
        for name in names:
            copy = EVERY[name](original, np.random.default_rng([number, len(name)]))
            one = _one(encoded(copy, "JPEG", quality=85), data, number, _of_worker[0])
            answers[name] = asdict(one)
        return answers

    # What is mistaken depends on all listings.
    kind = f"found-{len(_of_worker[0].first)}-{len(names)}"
    return {name: Found(**one) for name, one in kept(kind, data, make).items()}


def _one(file: bytes, original: bytes, number: int, listings: Listings) -> Found:
    probes = Probes.of(scan_media(file))
    found = Found(copies=1, pairs=len(listings.first) - 1, probes=len(probes.rows))
    plain = pdq.fingerprint(decode(file, STANDARD).pixels)
    near = {
        owner
        for owner, bits in enumerate(distances([plain], listings.first)[0])
        if bits <= MATCH_RADIUS_BITS
    }
    answers = {
        "SHA-256": {number} if sha256(file).digest() == sha256(original).digest() else set(),
        "PDQ": near,
        **listings.found_by(probes),
    }
    for way, matched in answers.items():
        found.by_way[way] = int(number in matched)
        found.mistaken[way] = len(set(matched) - {number})
    return found
