"""The browser's fingerprints of every vector, bit for bit those of the package."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.journeys.page_stand import page_stand
from unspread.fingerprint.decode import decode
from unspread.fingerprint.files import STANDARD
from unspread.fingerprint.pdq import distance_bits, fingerprint
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

VECTORS = Path(__file__).parents[2] / "vectors"

UNREAD_BY_CHROMIUM = {"lzw.tiff", "turned.tiff", "big.tiff", "alpha.avif"}
"""A format that no browser but Safari decodes, and one of which Chromium stretches the alpha plane
as if it were of limited range, so that its fingerprint would differ: the page says so."""
NO_DECODER_IN_CHROMIUM = {"hevc.mp4", "mpeg4.mp4"}
"""Debian's Chromium has none: the page falls back to digests of the file, and says so."""

PIXELS_ROUNDED_OTHERWISE = {
    "alpha.png",
    "alpha.webp",
    "grey-alpha.png",
    "photo.heic",
    "turned.heic",
}
"""Blended over white, or converted to colours, with another rounding: the whole is the same, an
anchor of a window may move by a part of a pixel."""
NOT_CONVERTED_BY_MOZJPEG = {"cmyk.jpg", "ycck.jpg"}

RUN = """async ({ url, kind, data, part }) => {
    const { startWorker } = await import('/page/ui/workers.js');
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    const worker = startWorker(kind);
    return new Promise((resolve) => {
        worker.onmessage = (event) => {
            if (event.data.type === 'progress') return;
            worker.terminate();
            resolve(event.data);
        };
        worker.onerror = (event) => resolve({ type: 'error', reason: event.message });
        worker.postMessage({ file: new Blob([bytes]), part: part ?? undefined });
    });
}"""


@pytest.fixture(scope="module")
def page(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_stand(tmp_path_factory.mktemp("pages")) as stand:
        page = chromium.new_page()
        page.goto(f"{stand.url}/en/begin")
        yield page
        page.close()


@pytest.fixture
def run(page: Page) -> Callable[..., dict[str, Any]]:
    def run_in_worker(
        path: Path, kind: str = "fingerprint", part: dict[str, float] | None = None
    ) -> dict[str, Any]:
        data = base64.b64encode(path.read_bytes()).decode()
        given = {"url": page.url, "kind": kind, "data": data, "part": part}
        answer: dict[str, Any] = page.evaluate(RUN, given)
        return answer

    return run_in_worker


@pytest.mark.parametrize("name", ["turned.webp", "turned.png", "exif-7.jpg", "turned.avif"])
def test_a_part_is_one_of_the_upright_picture(
    run: Callable[..., dict[str, Any]], name: str
) -> None:
    path = VECTORS / "pictures" / name
    shown = decode(path.read_bytes(), STANDARD)
    left, top = shown.width // 5, shown.height // 4
    part = {"left": left / shown.width, "top": top / shown.height, "right": 1, "bottom": 1}
    whole = fingerprint(shown.orientation.upright(shown.pixels)[top:, left:])
    pdq = run(path, part=part)["result"]["fingerprints"][0]
    assert (pdq["value"], pdq["quality"]) == (whole.value.hex(), whole.quality)


def files(name: str) -> list[Any]:
    entries = json.loads((VECTORS / f"{name}.json").read_text())["files"]
    return [pytest.param(entry, id=entry["file"]) for entry in entries]


@pytest.mark.parametrize("brand", [b"avif", b"avis"])
@pytest.mark.parametrize("alpha", [236, 254])
def test_avif_that_hardly_shines_through_is_refused_rather_than_taken_for_opaque(
    run: Callable[..., dict[str, Any]], tmp_path: Path, alpha: int, brand: bytes
) -> None:
    picture = landscape(3, 96, 64)
    opaque, through = tmp_path / "opaque.avif", tmp_path / "through.avif"
    opaque.write_bytes(encoded(picture, "AVIF"))
    picture.putalpha(alpha)
    frames = {"save_all": True, "append_images": [picture]} if brand == b"avis" else {}
    through.write_bytes(encoded(picture, "AVIF", **frames))
    assert through.read_bytes()[8:12] == brand
    assert run(opaque)["type"] != "refused"
    assert run(through) == {"type": "refused", "reason": "no_decoder"}


@pytest.mark.parametrize("entry", files("pictures"))
def test_a_picture_has_the_same_fingerprint_in_the_browser(
    run: Callable[..., dict[str, Any]], entry: dict[str, Any]
) -> None:
    path = VECTORS / "pictures" / entry["file"]
    answer = run(path)
    if path.name in UNREAD_BY_CHROMIUM:
        assert answer == {"type": "refused", "reason": "no_decoder"}
        return
    if min(entry["width"], entry["height"]) < 5:
        assert answer == {"type": "refused", "reason": "too_small"}
        return
    if path.suffix == ".heic":
        assert answer == {"type": "refused", "reason": "no_decoder"}
        answer = run(path, "decoders")
    assert answer["type"] == "done", answer
    pdq, *windows, sha256, md5 = answer["result"]["fingerprints"]
    assert (pdq["value"], pdq["quality"]) == (entry["pdq"], entry["quality"])
    found = [(bytes.fromhex(each["value"]), each["quality"]) for each in windows]
    wanted = [(bytes.fromhex(each["pdq"]), each["quality"]) for each in entry["windows"]]
    wanted = [each for each in wanted if each[1] >= MIN_PDQ_QUALITY]
    if path.name not in PIXELS_ROUNDED_OTHERWISE:
        assert found == wanted
    for value, _ in wanted if path.suffix == ".heic" else []:
        assert min(distance_bits(value, other) for other, _ in found) <= MATCH_RADIUS_BITS
    assert (sha256["value"], md5["value"]) == (entry["sha256"], entry["md5"])


@pytest.mark.parametrize(
    "entry", [each for each in files("pictures") if each.values[0]["file"].endswith(".jpg")]
)
def test_jpeg_has_the_same_fingerprint_without_the_browsers_decoder(
    run: Callable[..., dict[str, Any]], entry: dict[str, Any]
) -> None:
    answer = run(VECTORS / "pictures" / entry["file"], "decoders")
    if entry["file"] in NOT_CONVERTED_BY_MOZJPEG:
        assert answer == {"type": "refused", "reason": "no_decoder"}
        return
    pdq = answer["result"]["fingerprints"][0]
    assert (pdq["value"], pdq["quality"]) == (entry["pdq"], entry["quality"])


@pytest.mark.parametrize("entry", files("videos"))
def test_a_video_has_the_same_frames_in_the_browser(
    run: Callable[..., dict[str, Any]], entry: dict[str, Any]
) -> None:
    path = VECTORS / "videos" / entry["file"]
    answer = run(path)
    assert answer["type"] == "done", answer
    result = answer["result"]
    digests = {each["kind"]: each["value"] for each in result["fingerprints"][-2:]}
    assert digests == {"sha256": entry["sha256"], "md5": entry["md5"]}
    frames = [each["value"] for each in result["fingerprints"][:-2]]
    if path.name in NO_DECODER_IN_CHROMIUM:
        assert (frames, result["notes"]) == ([], ["no_decoder"])
    else:
        assert frames == entry["submitted"]
