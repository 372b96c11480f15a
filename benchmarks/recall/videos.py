"""`make bench ARGS=recall_videos`: copies of videos, and what the score says of them.

Clips pan and zoom over photographs with cuts. Listings are dense, as a person submits them; a
platform scans keyframes, and once a second. Distinct clips share no photograph; one pair of clips
per listing shares a title card of one second, which must not make them a match.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from benchmarks.recall.pictures import pictures
from benchmarks.report import Report
from unspread.fingerprint import Sampling, fingerprint_file, scan_media
from unspread.fingerprint.result import MediaScan
from unspread.fingerprint.video import best_score
from unspread.model import (
    MATCH_RADIUS_BITS,
    MATCH_SHARE,
    MediaFingerprint,
)

RATE = 24
SECONDS = 12
SIZE = (480, 270)
SCENES = 3
CRF = {"crf": "24", "preset": "veryfast", "g": "48"}


def run(report: Report) -> None:
    """Recall of each kind of copy, and the best score of clips that are distinct."""
    count = 3 if report.quick else 12
    photographs = pictures(count * SCENES + 1)
    card = photographs.pop()
    with tempfile.TemporaryDirectory() as folder:
        listed, scans = [], []
        for number in range(count):
            frames = list(clip(photographs[number * SCENES : (number + 1) * SCENES], card))
            original = Path(folder) / f"{number}.mp4"
            write(original, frames)
            listed.append(fingerprint_file(original))
            for name, (copy, options) in copies(frames).items():
                path = Path(folder) / f"{number}-{name}.mp4"
                write(path, copy, **options)
                scans += [
                    (number, name, sampling, scan_media(path, sampling=sampling))
                    for sampling in Sampling
                ]
    _rows(report, listed, scans)


def _rows(
    report: Report,
    listed: list[MediaFingerprint],
    scans: list[tuple[int, str, Sampling, MediaScan]],
) -> None:
    shares: dict[tuple[str, Sampling], list[float]] = {}
    distinct = [0.0]
    for number, name, sampling, scan in scans:
        for other, listing in enumerate(listed):
            found = best_score(scan, list(listing.fingerprints), MATCH_RADIUS_BITS)
            best = max(found.share_of_query, found.share_of_listing)
            if other == number:
                shares.setdefault((name, sampling), []).append(best)
            else:
                distinct.append(best)
    for (name, sampling), found_shares in shares.items():
        recall = 100 * float(np.mean([share >= MATCH_SHARE for share in found_shares]))
        words = f"{name}, {sampling}: mean share of frames {np.mean(found_shares):.2f}"
        report.row(words, recall, "% found", at_least=99.0)
    pairs = len(distinct) - 1
    wrong = sum(share >= MATCH_SHARE for share in distinct)
    report.row(
        f"false matches in {pairs} pairs of distinct clips", float(wrong), "pairs", at_most=0.0
    )
    report.row("highest share of frames among them (a title card in common)", max(distinct), "")


def clip(photographs: list[Image.Image], card: Image.Image) -> Iterator[Image.Image]:
    """A title card of one second, then a pan and zoom over each photograph."""
    title = ImageOps.fit(card, SIZE)
    yield from [title] * RATE
    per_scene = (SECONDS - 1) * RATE // len(photographs)
    for photograph in photographs:
        large = ImageOps.fit(photograph, (SIZE[0] * 3 // 2, SIZE[1] * 3 // 2))
        for step in range(per_scene):
            share = step / per_scene
            width = int(SIZE[0] * (1.5 - 0.4 * share))
            height = width * SIZE[1] // SIZE[0]
            left = int((large.width - width) * share)
            top = int((large.height - height) * (1 - share) / 2)
            yield large.resize(SIZE, box=(left, top, left + width, top + height))


def copies(
    frames: list[Image.Image],
) -> dict[str, tuple[list[Image.Image], dict[str, object]]]:
    """Name → frames and how they are written."""
    wide = (SIZE[0], SIZE[0] * 4 // 3)
    return {
        "re-encoded": (frames, {"options": {"crf": "34", "preset": "veryfast", "g": "60"}}),
        "two thirds of the size": ([each.resize((320, 180)) for each in frames], {}),
        "trimmed at both ends": (frames[31:-40], {}),
        "5 seconds of it": (frames[100:220], {}),
        "letterboxed to 3:4": ([ImageOps.pad(each, wide) for each in frames], {}),
        "mirrored": ([ImageOps.mirror(each) for each in frames], {}),
        "15 % faster": ([frames[int(at * 1.15)] for at in range(int(len(frames) / 1.15))], {}),
        "cropped by 4 %": (
            [each.crop((10, 5, 471, 264)).resize(SIZE) for each in frames],
            {},
        ),
    }


def write(path: Path, frames: list[Image.Image], options: dict[str, str] | None = None) -> None:
    """H.264 in MP4."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options or CRF)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_image(frame)):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
