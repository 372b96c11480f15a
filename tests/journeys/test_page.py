"""The person's page in a real browser, with a stand-in clearinghouse that records everything."""

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.journeys.page_stand import LOG_KEY, Stand
from tests.journeys.page_steps import choose, encoded, open_case, picture, send
from unspread.case_protocol import CaseSubmission
from unspread.crypto import SigningKey
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind
from unspread.transparency.note import NoteSigner, sign_note
from unspread.transparency.proof import EntryProof

pytestmark = pytest.mark.journey

SECONDS = 1000
VECTORS = Path(__file__).parents[2] / "vectors"


def test_fingerprints_made_in_the_browser_are_sent_and_nothing_else_leaves(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    files = [encoded(picture(1), quality=90), encoded(picture(2), "PNG")]
    page = open_page("/en/")
    page.get_by_role("link", name="Begin").click()
    choose(page, *files)
    send(page)
    (case,) = stand.cases
    for item, file in zip(case.items, files, strict=True):
        made_here = fingerprint_image(file).fingerprints
        assert {each.fingerprint() for each in item.fingerprints} == set(made_here)
    ((path, body),) = stand.posts()
    assert path == "/v1/cases"
    assert b"anna" not in body
    assert all(file[200:260] not in sent for file in files for _, _, sent in stand.requests)


def test_what_is_sent_is_exactly_what_was_shown(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(3)))
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    shown = page.get_by_label("Exactly this text:").input_value()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    (case,) = stand.cases
    assert CaseSubmission.to_json(case).decode().count("value") == shown.count("value")
    assert case.items[0].salt in shown
    assert case.case_key in shown


def test_with_the_receipt_a_person_sees_what_happened_and_takes_it_back(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    stand.platforms.append(
        {
            "name": "Board",
            "received_at": "2026-11-23T06:00:00Z",
            "removed_at": "2026-11-24T06:00:00Z",
        }
    )
    page = open_page("/en/begin")
    choose(page, encoded(picture(4)), encoded(picture(5)))
    receipt = send(page)

    status = open_page("/en/status")
    status.get_by_label("Your receipt").fill(receipt.lower().replace("-", " "))
    status.get_by_role("button", name="Show").click()
    expect(status.get_by_text("Board: removed it on November 24, 2026")).to_be_visible()
    status.get_by_role("button", name="Keep it protected for longer").click()
    expect(status.get_by_text("Protected until November 23, 2029")).to_be_visible()
    status.get_by_role("button", name="Take this back: Photo 2").click()
    assert not stand.withdrawn
    status.get_by_role("button", name="Take this back: Photo 2").click()
    expect(status.get_by_text("taken back by you")).to_have_count(1)
    status.get_by_role("button", name="Take everything back").click()
    status.get_by_role("button", name="Take everything back").click()
    expect(status.get_by_text("taken back by you")).to_have_count(2)
    assert stand.withdrawn == {item.item_key for item in stand.cases[0].items}
    assert receipt not in str(stand.requests)


def test_the_device_checks_the_proof_that_an_item_is_in_the_public_log(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(11)), encoded(picture(12)))
    status = open_case(open_page, send(page))
    first = len(stand.log.rows) - 2
    for number in (first, first + 1):
        expect(
            status.get_by_text(f"Number {number} in the public log. Your device")
        ).to_be_visible()
    expect(status.get_by_text(f"The signed list has {first + 2} entries.")).to_have_count(2)
    with status.expect_download() as saved:
        status.get_by_role("button", name="Save the proof: Photo 2").click()
    assert saved.value.suggested_filename == f"{first + 1}.tlog-proof"
    proof = EntryProof.from_bytes(saved.value.path().read_bytes())
    checkpoint = proof.verify(stand.log.rows[first + 1].public())
    proof.checkpoint.require(NoteSigner(checkpoint.origin, LOG_KEY).key)
    assert checkpoint.size == first + 2


ROOT = re.compile(rb"(/log\n[0-9]+\n)([^\n]+)")


def forged(proof: bytes) -> bytes:
    """The same tree, under the signature of somebody else."""
    found = EntryProof.from_bytes(proof)
    text = found.checkpoint.text
    somebody = NoteSigner(text.split("\n")[0], SigningKey(b"\1" * 32))
    note = sign_note(text, [somebody], datetime(2026, 11, 26, tzinfo=UTC))
    return EntryProof(found.index, found.digests, note).to_bytes()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda good: ROOT.sub(rb"\1" + b64encode(bytes(32)), good), id="another root"),
        pytest.param(lambda good: good.replace(b"index ", b"index 1"), id="another place"),
        pytest.param(forged, id="another signature"),
        pytest.param(lambda good: good.partition(b"\n\n")[2], id="no proof at all"),
        pytest.param(lambda _: b"<p>Maintenance</p>", id="another page"),
    ],
)
def test_a_proof_that_does_not_hold_is_a_loud_warning(
    open_page: Callable[..., Page], stand: Stand, lie: Callable[[bytes], bytes]
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(13)))
    stand.proof = lie
    status = open_case(open_page, send(page))
    warning = status.get_by_role("alert").filter(has_text="Warning")
    expect(warning).to_contain_text("is wrong. This site may not be telling the truth.")
    expect(status.get_by_role("button", name="Save the proof")).to_have_count(0)


def test_an_item_that_is_not_what_the_log_holds_is_a_loud_warning(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(14)))
    receipt = send(page)
    status = open_page("/en/status")

    def lie(route: Route) -> None:
        answer = route.fetch()
        case = answer.json()
        case["items"][0]["commitment"] = "00" * 32
        route.fulfill(response=answer, json=case)

    status.route("**/v1/cases/status", lie)
    status.get_by_label("Your receipt").fill(receipt)
    status.get_by_role("button", name="Show").click()
    expect(status.get_by_role("alert").filter(has_text="Warning")).to_be_visible()


def test_a_proof_that_cannot_be_had_is_no_warning(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(15)))
    stand.proof = lambda _: None
    status = open_case(open_page, send(page))
    expect(status.get_by_text("could not be checked now")).to_be_visible()
    expect(status.get_by_role("alert").filter(has_text="Warning")).to_have_count(0)


def test_a_mistyped_receipt_is_noticed_on_the_device(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/status")
    page.get_by_label("Your receipt").fill("F7C8-WNKH-RHQS-8ABM-XTWF-AHYQ")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    assert not stand.posts()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        pytest.param(b"", "This file is empty", id="empty"),
        pytest.param(b"only words", "This is not a photo or video", id="text named .jpg"),
        pytest.param(encoded(picture())[:-900], "damaged or cut off", id="truncated JPEG"),
        pytest.param(encoded(picture(), "PNG")[:-40], "damaged or cut off", id="truncated PNG"),
        pytest.param(encoded(picture().resize((3, 3))), "too small", id="3 pixels wide"),
        pytest.param(
            encoded(Image.new("1", (18_000, 17_000)), "PNG"), "too large", id="306-megapixel bomb"
        ),
        pytest.param(
            encoded(Image.new("RGB", (64, 64), "white")), "little to see", id="one colour"
        ),
    ],
)
def test_a_file_that_cannot_be_protected_says_why(
    open_page: Callable[..., Page], file: bytes, words: str
) -> None:
    page = open_page("/en/begin")
    choose(page, file)
    expect(page.locator("#chosen")).to_contain_text(words)


SHIFT_THREE_TIMES = """() => {
    for (let press = 0; press < 3; press++) {
        document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Shift' }));
    }
    return [document.documentElement.classList.contains('covered'), document.title];
}"""


def test_shift_three_times_covers_the_page_at_once_and_takes_its_title_away(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    is_covered, title = page.evaluate(SHIFT_THREE_TIMES)
    assert is_covered
    assert title.strip("\u200b") == ""


def test_leaving_goes_on_to_a_neutral_page_and_back_does_not_return(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/")
    page.get_by_role("link", name="Is somebody threatening you?").first.click()
    page.wait_for_url("**/now")
    page.get_by_role("link", name="Skip to the content").press("Enter")
    page.get_by_role("link", name="Protect the picture").click()
    page.wait_for_url("**/begin")
    page.context.route("https://**", lambda route: route.fulfill(body="weather"))
    page.get_by_role("link", name="Leave now").first.click()
    page.wait_for_url("https://www.wikipedia.org/")
    # However many of our pages were looked at, and forwards too.
    page.go_back()
    assert stand.url not in page.url
    assert page.evaluate("history.length") <= 2
    leaving = httpx.get(f"{stand.url}/leave")
    assert leaving.headers["clear-site-data"] == '"cache", "storage"'


def test_everything_up_to_sending_works_without_a_network(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    page = open_page("/en/begin")
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("I want to be sure that nothing is sent").click()
    expect(page.get_by_text("All is loaded.")).to_be_visible(timeout=60 * SECONDS)
    page.context.set_offline(True)
    heic = (VECTORS / "pictures/photo.heic").read_bytes()
    video = (VECTORS / "videos/h264.mp4").read_bytes()
    page.locator("#files").set_input_files(
        [
            {"name": name, "mimeType": "", "buffer": file}
            for name, file in [("a", encoded(picture(7))), ("b", heic), ("c", video)]
        ]
    )
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("There is no internet")
    page.context.set_offline(False)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()


def test_a_stopped_video_can_be_tried_again(open_page: Callable[..., Page], stand: Stand) -> None:
    page = open_page("/en/begin")
    video = (VECTORS / "videos/h264.mp4").read_bytes()
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    page.evaluate(STOP_AS_SOON_AS_IT_IS_READ)
    page.locator("#files").set_input_files(
        {"name": "a.mp4", "mimeType": "video/mp4", "buffer": video}
    )
    expect(page.locator("#chosen")).to_contain_text("stopped")
    page.get_by_role("button", name="Try again: File 1").click()
    expect(page.get_by_text("Everything is ready.")).to_be_visible(timeout=30 * SECONDS)


STOP_AS_SOON_AS_IT_IS_READ = """() => {
    const list = document.getElementById('chosen');
    const observer = new MutationObserver(() => {
        const stop = list.querySelector('button[aria-label^="Stop"]');
        if (stop) { observer.disconnect(); stop.click(); }
    });
    observer.observe(list, { childList: true, subtree: true });
}"""


def test_a_part_of_a_screenshot_is_cut_out_on_the_device_by_keyboard(
    open_page: Callable[..., Page], stand: Stand
) -> None:
    screenshot = Image.new("RGB", (400, 1000), "white")
    inner = picture(8, side=20).resize((400, 500))
    screenshot.paste(inner, (0, 300))
    page = open_page("/en/begin")
    choose(page, encoded(screenshot, "PNG"))
    page.get_by_role("button", name="Cut out a part: Photo 1").click()
    canvas = page.locator("#crop-view")
    expect(canvas).to_have_css("filter", "blur(28px) grayscale(1)")
    look = page.get_by_role("button", name="Hold to look")
    for key in ("Space", "Enter"):
        look.focus()
        page.keyboard.down(key)
        expect(canvas).to_have_css("filter", "none")
        page.keyboard.up(key)
        expect(canvas).to_have_css("filter", "blur(28px) grayscale(1)")
    # What a slider does is seen while it is moved, also of a tall screenshot.
    for edge in ("left", "right", "top", "bottom"):
        page.locator(f"#crop-{edge}").focus()
        for seen in ("#crop-view", f"#crop-{edge}", "#crop .leave"):
            expect(page.locator(seen)).to_be_in_viewport(ratio=0.95)
    for edge, presses in [("Cut off at the top", 30), ("Cut off at the bottom", 20)]:
        page.get_by_label(edge).focus()
        for _ in range(presses):
            page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Use this part").press("Enter")
    send(page)
    (item,) = stand.cases[0].items
    made_here = fingerprint_image(encoded(inner, "PNG")).fingerprints
    assert [each.fingerprint() for each in item.fingerprints] == [
        each for each in made_here if each.kind is Kind.PDQ
    ]


def test_a_part_is_cut_out_with_a_finger(chromium: Browser, stand: Stand) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="en-US"
    )
    page = context.new_page()
    page.goto(f"{stand.url}/en/begin")
    choose(page, encoded(picture(9), "PNG"))
    page.get_by_role("button", name="Cut out a part: Photo 1").tap()
    canvas = page.locator("#crop-view")
    look = page.get_by_role("button", name="Hold to look").bounding_box()
    assert look is not None
    finger = context.new_cdp_session(page)
    at = {"x": look["x"] + look["width"] / 2, "y": look["y"] + look["height"] / 2}
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    expect(canvas).not_to_have_class("blurred")
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(canvas).to_have_class("blurred")
    slider = page.get_by_label("Cut off at the top")
    box = slider.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert 20 <= int(slider.input_value()) <= 40
    page.get_by_role("button", name="Use this part").tap()
    send(page)
    (item,) = stand.cases[0].items
    # Digests would be those of the file around the part.
    assert {each.fingerprint().kind for each in item.fingerprints} == {Kind.PDQ}
    context.close()
