"""The page's worker in Chromium, beside what that browser takes to decode the same file bare."""

import base64
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import av
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report import Report
from tests.journeys.conftest import CHROMIUM_ARGUMENTS
from tests.journeys.page_stand import page_stand
from unspread.testing.samples import encoded, landscape

PICTURE_REPETITIONS: Final = 5
TURNS: Final = 3
EXIF_ORIENTATION: Final = 0x0112
WIDTH, HEIGHT, FRAMES_PER_SECOND = 1920, 1080, 30

LEAST: Final = """
    const least = async (act) => {
        let best = Infinity;
        for (let time = 0; time < repetitions; time++) {
            const before = performance.now();
            await act();
            best = Math.min(best, performance.now() - before);
        }
        return best;
    };
"""

DECODE_PICTURE: Final = f"""async ({{ repetitions }}) => {{ {LEAST}
    return least(async () => {{
        const bitmap = await createImageBitmap(globalThis.file);
        // Reading one pixel: some decoders are lazy until then.
        const context = new OffscreenCanvas(8, 8).getContext('2d');
        context.drawImage(bitmap, 0, 0, 8, 8);
        context.getImageData(0, 0, 1, 1);
        bitmap.close();
    }});
}}"""

READ_PICTURE: Final = f"""async ({{ repetitions }}) => {{ {LEAST}
    return least(async () => {{
        const bitmap = await createImageBitmap(globalThis.file);
        const {{ width, height }} = bitmap;
        const rows = 64;
        const canvas = new OffscreenCanvas(width, rows);
        const context = canvas.getContext('2d', {{ willReadFrequently: true }});
        for (let top = 0; top < height; top += rows) {{
            context.drawImage(bitmap, 0, -top);
            context.getImageData(0, 0, width, rows);
        }}
        bitmap.close();
    }});
}}"""

DECODE_VIDEO: Final = f"""async ({{ repetitions }}) => {{ {LEAST}
    const mediabunny = await import('/page/vendor/mediabunny.js');
    const {{ BlobSource, Input, MP4, VideoSampleSink }} = mediabunny;
    return least(async () => {{
        const input = new Input({{ source: new BlobSource(globalThis.file), formats: [MP4] }});
        const sink = new VideoSampleSink(await input.getPrimaryVideoTrack());
        for await (const sample of sink.samples()) sample.close();
    }});
}}"""

FINGERPRINT: Final = f"""async ({{ repetitions }}) => {{ {LEAST}
    const {{ startWorker }} = await import('/page/ui/workers.js');
    const worker = globalThis.worker ??= startWorker('fingerprint');
    return least(() => new Promise((resolve, reject) => {{
        worker.onmessage = (event) => {{
            if (event.data.type === 'done') resolve();
            else if (event.data.type === 'refused') reject(new Error(event.data.reason));
        }};
        worker.onerror = reject;
        worker.postMessage({{ file: globalThis.file }});
    }}));
}}"""

TAKE: Final = """(data) => {
    globalThis.file = new Blob([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))]);
}"""


class Chromium:
    """A page of ours in Debian's Chromium, and the processor time of all its processes."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self.page = page
        self.session = browser.new_browser_cdp_session()

    def take(self, content: bytes) -> None:
        """The file that the scripts work on."""
        self.page.evaluate(TAKE, base64.b64encode(content).decode())

    def seconds(self, script: str, repetitions: int) -> "Seconds":
        """Of one turn: the least on the clock, and the mean of the processors."""
        before = self.processor_seconds()
        least: float = self.page.evaluate(script, {"repetitions": repetitions})
        return Seconds(least / 1000, (self.processor_seconds() - before) / repetitions)

    def processor_seconds(self) -> float:
        """Of all processes since they began."""
        found = self.session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(each["cpuTime"] for each in found))


@dataclass(frozen=True)
class Seconds:
    """What some work took."""

    clock: float
    processor: float

    @classmethod
    def least(cls, times: Iterable["Seconds"]) -> "Seconds":
        """The least of each, of several turns: other programs only ever add."""
        listed = list(times)
        return cls(min(each.clock for each in listed), min(each.processor for each in listed))


def turns(chromium: Chromium, scripts: Mapping[str, str], repetitions: int) -> dict[str, Seconds]:
    """Every script in turn, several times over, so that all meet the same neighbours."""
    for script in scripts.values():
        chromium.seconds(script, 1)
    found = [
        {name: chromium.seconds(script, repetitions) for name, script in scripts.items()}
        for _ in range(TURNS)
    ]
    return {name: Seconds.least(each[name] for each in found) for name in scripts}


def video(seconds: int) -> bytes:
    """1080p H.264 with a keyframe a second, as phones record: a slow pan over a landscape."""
    file = BytesIO()
    wide = landscape(3, WIDTH + 400, HEIGHT)
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(FRAMES_PER_SECOND), "crf": "23"}
        for number in range(seconds * FRAMES_PER_SECOND):
            left = (number * 3) % 400
            picture = wide.crop((left, 0, left + WIDTH, HEIGHT))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return file.getvalue()


def run(report: Report) -> None:
    """A photo of 12 megapixels and a video of 1080p, in Debian's Chromium."""
    with (
        tempfile.TemporaryDirectory() as folder,
        page_stand(Path(folder)) as stand,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS
        )
        page = browser.new_page()
        page.goto(f"{stand.url}/en/begin")
        chromium = Chromium(browser, page)
        _picture(report, chromium)
        _video(report, chromium, 5 if report.quick else 10)
        browser.close()


def _picture(report: Report, chromium: Chromium) -> None:
    chromium.take(encoded(landscape(1, 4032, 3024), "JPEG", quality=88))
    found = turns(
        chromium,
        {"bare": DECODE_PICTURE, "read": READ_PICTURE, "ours": FINGERPRINT},
        PICTURE_REPETITIONS,
    )
    bare, read, ours = found["bare"], found["read"], found["ours"]
    for name, times in [
        ("on the clock", [each.clock for each in (ours, bare, read)]),
        ("processor time", [each.processor for each in (ours, bare, read)]),
    ]:
        report.row(
            f"12-megapixel JPEG, PDQ, windows and digests, times the bare decoding, {name}",
            times[0] / times[1],
            "x",
            at_most=2,
        )
        report.row(
            f"12-megapixel JPEG, {name}",
            times[0] * 1000,
            "ms",
            peer="decode and read back",
            theirs=times[2] * 1000,
        )
    # As phones store portraits.
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    chromium.take(encoded(landscape(1, 4032, 3024), "JPEG", quality=88, exif=exif.tobytes()))
    turned = turns(chromium, {"bare": DECODE_PICTURE, "ours": FINGERPRINT}, PICTURE_REPETITIONS)
    report.row(
        "the same stored turned (EXIF), times the bare decoding, on the clock",
        turned["ours"].clock / turned["bare"].clock,
        "x",
        at_most=2,
    )
    report.text(
        "`decode and read back` draws the picture to a canvas and reads that, as pages commonly do."
        f" {(ours.processor - bare.processor) * 1000:.0f} ms of a processor are ours: pixels copied"
        " from a frame, luma of every pixel, the search for windows, and MD5, in plain JavaScript."
        " Decoding and digests run side by side."
    )


def _video(report: Report, chromium: Chromium, seconds: int) -> None:
    chromium.take(video(seconds))
    found = turns(chromium, {"bare": DECODE_VIDEO, "ours": FINGERPRINT}, 1)
    bare, ours = found["bare"], found["ours"]
    for name, one, other in [
        ("on the clock", ours.clock, bare.clock),
        ("a processor", ours.processor, bare.processor),
    ]:
        report.row(
            f"1080p H.264, every frame, times real time, {name}",
            seconds / one,
            "x",
            better="more",
            at_least=10,
        )
        report.row(
            f"1080p H.264, every frame, {name}",
            seconds * FRAMES_PER_SECOND / one,
            "frames/s",
            peer="bare WebCodecs decode",
            theirs=seconds * FRAMES_PER_SECOND / other,
            better="more",
        )
        report.row(
            f"1080p H.264, share of the bare decoder's rate, {name}",
            100 * other / one,
            "%",
            better="more",
        )
    report.text(
        f"The goal is 10 times real time. The browser's decoder alone, which uses both processors,"
        f" reaches {seconds / bare.clock:.1f}, which is the limit here; with every frame's"
        f" fingerprint and the digests of the file it is {seconds / ours.clock:.1f},"
        f" {bare.clock / ours.clock:.0%} of that limit."
    )
