"""Decoding and fingerprinting, one core, beside the way of the peers, in the same run.

Pictures: the peers decode with Pillow to RGB and call `pdqhash`, as `threatexchange` does. Videos:
`vpdq` decodes every frame and hashes one a second. It comes as source and needs FFmpeg's headers
(`make vpdq`); where it is not installed its way is taken step by step with PyAV and `pdqhash`.
"""

import io
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import MappingProxyType
from unittest import mock

import av
import imagecodecs
import numpy as np
import pdqhash
import pillow_heif
import simplejpeg
from PIL import Image, ImageOps

from benchmarks.recall.pictures import WALLPAPERS, unpacked
from benchmarks.report import Report
from unspread.fingerprint import Sampling, fingerprint_image, pdq, scan_media
from unspread.fingerprint.confined import ENVIRONMENT
from unspread.fingerprint.decode import decode
from unspread.fingerprint.files import STANDARD
from unspread.fingerprint.png import decode_png
from unspread.model import Fingerprint
from unspread.testing.samples import encoded

try:
    import vpdq
except ImportError:
    vpdq = None

AT_LEAST = {
    "JPEG": 12.0,
    "progressive JPEG": 4.0,
    "PNG": 2.0,
    "WebP": 5.0,
    "HEIC": 1.4,
}
"""Times the peers' speed, by the goals."""

EXACT_AT_LEAST = {"JPEG": 3.0}

FILMS = (
    ("as a phone records, keyframes 1 s apart", 2.0, "fast", "23", 30, (9.0, 2.5)),
    ("as a phone records, keyframes 8 s apart", 2.0, "fast", "23", 240, (25.0, 1.6)),
    ("smooth and hardly moving, keyframes 1 s apart", 0.0, "veryfast", "26", 30, (9.0, 2.5)),
    ("smooth and hardly moving, keyframes 8 s apart", 0.0, "veryfast", "26", 240, (25.0, 1.6)),
)
"""Name, noise of the sensor (sigma of 255), preset and CRF of x264, frames between keyframes, goals
of a scan of keyframes and of every second."""


def run(report: Report) -> None:
    """Pictures, then videos."""
    _pictures(report)
    _videos(report)


def _pictures(report: Report) -> None:
    pillow_heif.register_heif_opener()
    cores = os.cpu_count() or 1
    report.text(
        "Pictures: milliseconds of processor time for one, the median of seven in a row by a "
        f"process that does nothing else. {cores} cores at work: as many such processes at once, "
        "as on a platform's machine, which share its caches and memory; alone: one. The peers' way "
        "and ours of the person's side run as Python starts them, that of a scan in the "
        "environment of the confined workers, which keep memory for the next picture. Of the "
        "peers' time the system's share is said, which goes into handing out memory. The bare "
        "decoder is the scan's with nothing after it: whoever decodes with it cannot beat the "
        f"peers by more. When it began, the load of the machine was {os.getloadavg()[0]:.1f}."
    )
    sizes = (
        [("2 MP", 1632, 1224)] if report.quick else [("12 MP", 4032, 3024), ("2 MP", 1632, 1224)]
    )
    for size, width, height in sizes:
        shown = photograph(0, width, height)
        files = {
            "JPEG": encoded(shown, "JPEG", quality=85),
            "progressive JPEG": encoded(shown, "JPEG", quality=85, progressive=True),
            "PNG": encoded(shown, "PNG", compress_level=6),
            "WebP": encoded(shown, "WEBP", quality=80),
            "HEIC": encoded(shown, "HEIF", quality=60),
        }
        for name, data in files.items():
            value, quality = _peer(data)
            exact, exact_decoder = _exact(data)
            if (exact.value, exact.quality) != (value, quality):
                raise SystemExit("the exact path is not exact")
            fast, decoder = _fast(data)
            bits = pdq.distance_bits(fast.value, value)
            for condition, processes in ((f"{cores} cores at work", cores), ("alone", 1)):
                theirs, in_system = _seconds(_peer, data, processes)
                exact_path, _ = _seconds(_exact, data, processes)
                fast_path, _ = _seconds(_fast, data, processes, ENVIRONMENT)
                bare, _ = _seconds(_bare, data, processes, ENVIRONMENT)
                limit = f"the bare decoder {theirs / bare:.3g}x"
                for way, ours, at_least in (
                    (f"exact ({exact_decoder}, 0 bits away)", exact_path, EXACT_AT_LEAST.get(name)),
                    (f"fast ({decoder}, {bits} bits away; {limit})", fast_path, AT_LEAST[name]),
                ):
                    report.row(
                        f"{name}, {size}, {condition}, {way}",
                        1e3 * ours,
                        "ms",
                        peer=f"Pillow RGB, pdqhash ({in_system:.0%} in the system)",
                        theirs=1e3 * theirs,
                        at_least=at_least,
                    )
        data = files["JPEG"]
        kept, _ = _seconds(_peer, data, 1, ENVIRONMENT)
        report.text(
            f"The peers' way with a JPEG of {size}, alone, in the environment of our workers: "
            f"{1e3 * kept:.3g} ms."
        )
        report.row(
            f"scan of a JPEG, {size}: 8 turns, digests, no windows",
            1e3 * _cpu(lambda data=data: scan_media(data, windows=False)),
            "ms",
        )
        report.row(
            f"scan of a JPEG, {size}: with windows",
            1e3 * _cpu(lambda data=data: scan_media(data)),
            "ms",
        )
        report.row(
            f"submission of a JPEG, {size}: exact, windows, digests",
            1e3 * _cpu(lambda data=data: fingerprint_image(data)),
            "ms",
        )


def _seconds(
    way: Callable[[bytes], object],
    data: bytes,
    processes: int,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[float, float]:
    """Processor seconds of one way, and the system's share, by processes that do nothing else.

    In one that takes the other ways, too, each finds caches and memory as those left them: ours
    needed up to twice as much after the peers' as after a picture of its own.
    """
    with (
        mock.patch.dict(os.environ, environment),
        ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),
            initializer=pillow_heif.register_heif_opener,
        ) as workers,
    ):
        # The first round lets all of them load their decoders.
        list(workers.map(_median, [way] * processes, [data] * processes, [2] * processes))
        each = list(workers.map(_median, [way] * processes, [data] * processes))
    seconds, in_system = (statistics.mean(values) for values in zip(*each, strict=True))
    return seconds, in_system


def _median(way: Callable[[bytes], object], data: bytes, rounds: int = 7) -> tuple[float, float]:
    """Processor seconds of the median round, and the system's share of all rounds."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = []
    for _ in range(rounds):
        started = time.process_time()
        way(data)
        found.append(time.process_time() - started)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return statistics.median(found), (after.ru_stime - before.ru_stime) / sum(found)


def _bare(data: bytes) -> object:
    """The fastest decoder alone, to pixels that nobody looks at."""
    if data.startswith(b"\xff\xd8"):
        return simplejpeg.decode_jpeg(data, "GRAY")
    if data.startswith(b"\x89PNG"):
        return decode_png(data)
    if data.startswith(b"RIFF"):
        return imagecodecs.webp_decode(data)
    return np.asarray(pillow_heif.open_heif(io.BytesIO(data)))


def photograph(number: int, width: int, height: int) -> Image.Image:
    """One of those that the recall benchmark fetches."""
    names = [each for each in WALLPAPERS if each.startswith(("lomiri", "plasma"))]
    folders = [unpacked(each) for each in names]
    paths = [path for each in folders for path in sorted(each.rglob("*.jpg"))]
    large = [path for path in paths if path.stat().st_size > 1_000_000]
    with Image.open(large[number % len(large)]) as image:
        return ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)


def _peer(data: bytes) -> tuple[bytes, int]:
    with Image.open(io.BytesIO(data)) as image:
        value, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return np.packbits(value).tobytes(), quality


def _exact(data: bytes) -> tuple[Fingerprint, str]:
    shown = decode(data, STANDARD)
    return pdq.fingerprint(shown.pixels, shown.orientation), shown.decoder


def _fast(data: bytes) -> tuple[Fingerprint, str]:
    shown = decode(data, STANDARD, luma=True)
    return pdq.fingerprint(shown.pixels, shown.orientation), shown.decoder


def _cpu(work: Callable[[], object], runs: int = 4) -> float:
    """Processor seconds of one call on one core: the best of some, as others share the machine."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def _videos(report: Report) -> None:
    seconds = 5 if report.quick else 10
    size = (640, 360) if report.quick else (1920, 1080)
    peer = "vpdq 0.2.5" if vpdq else "vPDQ's way: every frame decoded, one a second by pdqhash"
    report.text(
        f"Videos: processor seconds for {seconds} s of H.264, {size[1]}p, on one core, decoder "
        "threads off, in turn with the peer, the best of three."
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, noise, preset, crf, spacing, goals in FILMS:
            path = Path(folder) / "film.mp4"
            film(path, size, seconds, noise, {"g": str(spacing), "preset": preset, "crf": crf})
            ways: dict[str, Callable[[], object]] = {
                "peer": lambda path=path: _vpdq(path),
                "every frame": lambda path=path: _decode_all(path),
                "keyframes": lambda path=path: _decode_keyframes(path),
                Sampling.KEYFRAMES: lambda path=path: scan_media(path),
                Sampling.EVERY_SECOND: lambda path=path: scan_media(
                    path, sampling=Sampling.EVERY_SECOND
                ),
            }
            times = dict.fromkeys(ways, float("inf"))
            for _ in range(3):
                for way, work in ways.items():
                    times[way] = min(times[way], _cpu(work, 1))
            bare = times["keyframes"]
            words = {
                Sampling.KEYFRAMES: f"keyframes (decoding all of them alone takes {bare:.3f} s, "
                f"{times['peer'] / bare:.1f}x)",
                Sampling.EVERY_SECOND: "every second "
                f"({times[Sampling.EVERY_SECOND] / times['every frame']:.2f} of the bare decoder)",
            }
            for sampling, goal in zip(words, goals, strict=True):
                report.row(
                    f"{name}: {words[sampling]}",
                    times[sampling],
                    "s",
                    peer=peer,
                    theirs=times["peer"],
                    at_least=goal,
                )


def film(
    path: Path, size: tuple[int, int], seconds: int, noise: float, options: dict[str, str]
) -> None:
    """Pans and zooms over photographs, with a cut every 5 seconds, 30 frames a second."""
    width, height = size
    random = np.random.default_rng(0)
    grain = random.normal(0, noise, (height + 64, width + 64, 1)).round().astype(np.int16)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * 30):
            scene, step = divmod(index, 150)
            if step == 0:
                wide = photograph(scene, width * 5 // 4, height * 5 // 4)
            shown = 1.2 - step / 1000
            box = (step / 2, step / 4, step / 2 + width * shown, step / 4 + height * shown)
            part = np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR, box))
            if noise:
                down, right = random.integers(0, 64, 2)
                part = part + grain[down : down + height, right : right + width]
                part = part.clip(0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _decode_all(path: Path) -> int:
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def _decode_keyframes(path: Path) -> int:
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        packets = (each for each in container.demux(video=0) if each.is_keyframe or not each.size)
        return sum(len(each.decode()) for each in packets)


def _vpdq(path: Path) -> object:
    if vpdq is None:
        return _vpdq_way(path)
    return vpdq.computeHash(str(path), seconds_per_hash=1, thread_count=1)


def _vpdq_way(path: Path) -> list[bytes]:
    """Every frame decoded, one a second turned into RGB and hashed (vPDQ, `vpdq/cpp`)."""
    values = []
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(video=0)):
            if index % 30 == 0:
                value, _ = pdqhash.compute(frame.to_ndarray(format="rgb24"))
                values.append(np.packbits(value).tobytes())
    return values
