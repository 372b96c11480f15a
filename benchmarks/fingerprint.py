"""Decoding and fingerprinting, one core, beside the way of the peers, in the same run.

Pictures: the peers decode with Pillow to RGB and call `pdqhash`, as `threatexchange` does. Videos:
`vpdq` decodes every frame and hashes one a second; where it cannot be installed (it comes as
source and needs FFmpeg's headers) its way is taken step by step with PyAV and `pdqhash`.
"""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pdqhash
import pillow_heif
from PIL import Image, ImageOps

from benchmarks.recall.pictures import fetch
from benchmarks.report import Report
from unspread.fingerprint import Sampling, fingerprint_image, pdq, scan_media
from unspread.fingerprint.decode import decode, decode_fast
from unspread.fingerprint.files import STANDARD
from unspread.model import Fingerprint
from unspread.testing.samples import encoded, landscape

AT_LEAST = {
    "JPEG": 12.0,
    "progressive JPEG": 4.0,
    "PNG": 2.0,
    "WebP": 5.0,
    "HEIC": 1.4,
}
"""Times the peers' speed, by the goals."""


def run(report: Report) -> None:
    """Pictures, then videos."""
    _pictures(report)
    _videos(report)


def _pictures(report: Report) -> None:
    pillow_heif.register_heif_opener()
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
            theirs = _cpu(lambda data=data: _peer(data))
            value, quality = _peer(data)
            for way, ours in (("exact", _exact), ("fast", _fast)):
                found, decoder = ours(data)
                bits = pdq.distance_bits(found.value, value)
                goal = AT_LEAST[name] if way == "fast" else 3.0 if name == "JPEG" else None
                report.row(
                    f"{name}, {size}, {way} ({decoder}): {bits} bits away",
                    1e3 * _cpu(lambda data=data, ours=ours: ours(data)),
                    "ms",
                    peer="Pillow RGB, pdqhash",
                    theirs=1e3 * theirs,
                    at_least=goal,
                )
                if way == "exact" and (bits or found.quality != quality):
                    raise SystemExit("the exact path is not exact")
        data = files["JPEG"]
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


def photograph(number: int, width: int, height: int) -> Image.Image:
    """One of those that the recall benchmark fetches; a drawn one where there is no Debian."""
    folders = [each for name, each in fetch().items() if name.startswith(("lomiri", "plasma"))]
    paths = [path for each in folders for path in sorted(each.rglob("*.jpg"))]
    large = [path for path in paths if path.stat().st_size > 1_000_000]
    if not large:
        return landscape(number, width, height)
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
    shown = decode_fast(data, STANDARD)
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
    seconds = 10 if report.quick else 20
    size = (640, 360) if report.quick else (1920, 1080)
    with tempfile.TemporaryDirectory() as folder:
        for name, codec, spacing, goals in (
            ("H.264, keyframes 1 s apart", "libx264", 30, (9.0, 2.5)),
            ("H.264, keyframes 8 s apart", "libx264", 240, (25.0, 1.6)),
        ):
            path = Path(folder) / f"{spacing}.mp4"
            film(path, codec, size, seconds, {"g": str(spacing), "preset": "veryfast", "crf": "26"})
            bare = _cpu(lambda path=path: _decode_all(path), 1)
            theirs = _cpu(lambda path=path: vpdq_way(path), 1)
            for way, sampling, goal in (
                ("keyframes", Sampling.KEYFRAMES, goals[0]),
                ("every second", Sampling.EVERY_SECOND, goals[1]),
            ):
                report.row(
                    f"{name}, {seconds} s of {size[1]}p, {way}",
                    _cpu(lambda path=path, way=sampling: scan_media(path, sampling=way), 2),
                    "s",
                    peer="vPDQ's way: every frame decoded, one a second by pdqhash",
                    theirs=theirs,
                    at_least=goal,
                )
            report.row(f"{name}, the bare decoder", bare, "s")


def film(
    path: Path, codec: str, size: tuple[int, int], seconds: int, options: dict[str, str]
) -> None:
    """Pans and zooms over photographs, with a cut every 5 seconds, 30 frames a second."""
    width, height = size
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * 30):
            scene, step = divmod(index, 150)
            if step == 0:
                wide = photograph(scene, width * 5 // 4, height * 5 // 4)
            shown = 1.2 - step / 1000
            box = (step / 2, step / 4, step / 2 + width * shown, step / 4 + height * shown)
            part = np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR, box))
            for packet in stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _decode_all(path: Path) -> int:
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def vpdq_way(path: Path) -> list[bytes]:
    """Every frame decoded, one a second turned into RGB and hashed (vPDQ, `vpdq/cpp`)."""
    values = []
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(video=0)):
            if index % 30 == 0:
                value, _ = pdqhash.compute(frame.to_ndarray(format="rgb24"))
                values.append(np.packbits(value).tobytes())
    return values
