"""A video of gigabytes in a real browser: read in slices, within the memory of a phone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.page_stand import Stand
from tests.journeys.page_steps import send
from unspread.model import Kind

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(1800)]

VECTORS = Path(__file__).parents[2] / "vectors"
FILLING_BYTES = 2_300_000_000
"""More than 2**31: offsets that do not fit into 32 bits with a sign."""
MORE_MEMORY_BYTES = 400_000_000
SLICE_BYTES = 1 << 24


def boxes(file: bytes) -> dict[str, bytes]:
    """Name → the box with its head, of an MP4 file's outermost boxes."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(file):
        length = int.from_bytes(file[at : at + 4], "big")
        found[file[at + 4 : at + 8].decode()] = file[at : at + length]
        at += length
    return found


def written_large(path: Path) -> None:
    """A playable video with its table of contents behind gigabytes that take no room on disk."""
    parts = boxes((VECTORS / "videos/h264.mp4").read_bytes())
    order = list(parts)
    assert order.index("mdat") < order.index("moov"), "offsets of samples would move"
    with path.open("wb") as file:
        for name in order[: order.index("moov")]:
            file.write(parts[name])
        file.write(b"\0\0\0\1free" + (16 + FILLING_BYTES).to_bytes(8, "big"))
        file.seek(FILLING_BYTES, 1)
        for name in order[order.index("moov") :]:
            file.write(parts[name])


def renderer_peaks(browser: Browser) -> dict[int, int]:
    """Process → the most memory, in bytes, that it ever had resident."""
    session = browser.new_browser_cdp_session()
    listed: list[dict[str, Any]] = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    peaks = {}
    for each in listed:
        if each["type"] == "renderer":
            status = Path(f"/proc/{each['id']}/status").read_text()
            peaks[int(each["id"])] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return peaks


def test_a_video_of_gigabytes_is_fingerprinted_in_bounded_memory(
    chromium: Browser, open_page: Callable[..., Page], stand: Stand, tmp_path: Path
) -> None:
    path = tmp_path / "large.mp4"
    written_large(path)
    page = open_page("/en/begin")
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    before = max(renderer_peaks(chromium).values())
    page.locator("#files").set_input_files(path)
    expect(page.locator("#chosen")).to_contain_text("left", timeout=120_000)
    expect(page.get_by_text("Everything is ready.")).to_be_visible(timeout=1_500_000)
    assert max(renderer_peaks(chromium).values()) < before + MORE_MEMORY_BYTES
    send(page)
    (item,) = stand.cases[0].items
    values = {each.kind: each.value for each in item.fingerprints if each.kind is not Kind.PDQ}
    digests = [hashlib.sha256(), hashlib.md5(usedforsecurity=False)]
    with path.open("rb") as file:
        while slice_ := file.read(SLICE_BYTES):
            for digest in digests:
                digest.update(slice_)
    assert values == {
        Kind.SHA256: digests[0].hexdigest(),
        Kind.MD5: digests[1].hexdigest(),
    }
    # The frames are those of the small file that is in it.
    listed = json.loads((VECTORS / "videos.json").read_text())["files"]
    small = next(each for each in listed if each["file"] == "h264.mp4")
    frames = [each.value for each in item.fingerprints if each.kind is Kind.PDQ]
    assert frames == small["submitted"]
