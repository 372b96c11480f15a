"""The main path in WebKitGTK: the nearest thing to an iPhone that a Linux machine has."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.page_stand import Stand, page_stand
from tests.journeys.test_page_in_firefox import protect
from tests.journeys.webkit import PROGRAM, browser, webkit
from unspread.fingerprint import fingerprint_image
from unspread.model import Part

pytestmark = [
    pytest.mark.journey,
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which(PROGRAM) and shutil.which("xvfb-run") and browser()),
        reason="no WebKitGTK on this machine",
    ),
]

VECTORS = Path(__file__).parents[2] / "vectors"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with page_stand(tmp_path) as stand:
        yield stand


def test_a_person_with_webkit_protects_a_picture_and_a_video_and_takes_them_back(
    stand: Stand,
) -> None:
    picture = VECTORS / "pictures/exif-6.jpg"
    video = VECTORS / "videos/h264.mp4"
    with webkit() as window:
        receipt = protect(window, stand, picture, video)
        window.goto(f"{stand.url}/en/status")
        window.wait_for("!document.getElementById('open').hidden")
        window.type("#receipt", receipt)
        window.click("#open [type=submit]")
        window.wait_for("document.querySelector('#items li')")
        window.wait_for("document.getElementById('items').textContent.includes('it is true')")
        window.click("#withdraw-all")
        window.click(".problem + .row button")
        window.wait_for("document.getElementById('note').textContent.includes('taken back')")
    (case,) = stand.cases
    photo, film = case.items
    assert {each.fingerprint() for each in photo.fingerprints} == set(
        fingerprint_image(picture).fingerprints
    )
    listed = json.loads((VECTORS / "videos.json").read_text())["files"]
    expected = next(each for each in listed if each["file"] == video.name)["submitted"]
    assert [each.value for each in film.fingerprints if each.part is Part.FRAME] == expected
    assert stand.withdrawn == {photo.item_key, film.item_key}
