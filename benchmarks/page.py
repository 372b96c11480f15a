"""The page's worker in Chromium, beside what that browser takes to decode the same file bare."""

import base64
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import av
from playwright.sync_api import Page, sync_playwright

from benchmarks.report import Report
from tests.journeys.conftest import CHROMIUM_ARGUMENTS
from tests.journeys.page_stand import page_stand
from unspread.testing.samples import encoded, landscape

PICTURE_REPETITIONS: Final = 5
WIDTH, HEIGHT, FRAMES_PER_SECOND = 1920, 1080, 30

PICTURE: Final = """async ({ data, repetitions }) => {
    const { startWorker } = await import('/page/ui/workers.js');
    const { pictureFingerprints } = await import('/page/fingerprint/picture.js');
    const file = new Blob([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))]);
    const least = async (act) => {
        let best = Infinity;
        for (let time = 0; time < repetitions; time++) {
            const before = performance.now();
            await act();
            best = Math.min(best, performance.now() - before);
        }
        return best;
    };
    const side = 8;
    const context = new OffscreenCanvas(side, side).getContext('2d');
    const bare = await least(async () => {
        const bitmap = await createImageBitmap(file);
        // Reading one pixel: some decoders are lazy until then.
        context.drawImage(bitmap, 0, 0, side, side);
        context.getImageData(0, 0, 1, 1);
        bitmap.close();
    });
    return { bare, ours: await least(() => pictureFingerprints(file, 'jpeg', {})) };
}"""

VIDEO: Final = """async ({ data }) => {
    const { startWorker } = await import('/page/ui/workers.js');
    const mediabunny = await import('/page/vendor/mediabunny.js');
    const { BlobSource, Input, MP4, VideoSampleSink } = mediabunny;
    const file = new Blob([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))]);
    let before = performance.now();
    const input = new Input({ source: new BlobSource(file), formats: [MP4] });
    const sink = new VideoSampleSink(await input.getPrimaryVideoTrack());
    for await (const sample of sink.samples()) sample.close();
    const bare = performance.now() - before;
    const worker = startWorker('fingerprint');
    before = performance.now();
    await new Promise((resolve, reject) => {
        worker.onmessage = (event) => { if (event.data.type === 'done') resolve(); };
        worker.onerror = reject;
        worker.postMessage({ file });
    });
    worker.terminate();
    return { bare, ours: performance.now() - before };
}"""


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


def measured(page: Page, script: str, content: bytes, **values: object) -> dict[str, float]:
    """Milliseconds of the browser alone and of the page."""
    data = base64.b64encode(content).decode()
    found: dict[str, float] = page.evaluate(script, {"data": data, **values})
    return found


def run(report: Report) -> None:
    """A photo of 12 megapixels and a video of 1080p, in Debian's Chromium."""
    seconds = 5 if report.quick else 30
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
        photo = encoded(landscape(1, 4032, 3024), "JPEG", quality=88)
        times = measured(page, PICTURE, photo, repetitions=PICTURE_REPETITIONS)
        report.row(
            "12-megapixel JPEG, PDQ and windows, times the bare decoding",
            times["ours"] / times["bare"],
            "x",
            at_most=2,
            better="less",
        )
        report.row(
            "12-megapixel JPEG", times["ours"], "ms", peer="bare decode", theirs=times["bare"]
        )
        times = measured(page, VIDEO, video(seconds))
        report.row(
            "1080p H.264, every frame, times real time",
            seconds * 1000 / times["ours"],
            "x",
            peer="bare WebCodecs decode",
            theirs=seconds * 1000 / times["bare"],
            better="more",
        )
        browser.close()
