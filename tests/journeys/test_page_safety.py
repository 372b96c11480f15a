"""What another person who picks up the device, or a script of somebody else, gets: nothing."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.journeys.page_stand import Stand
from tests.journeys.page_steps import choose, encoded, picture, send

pytestmark = pytest.mark.journey

Open = Callable[..., Page]

HIDE = """(state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_the_app_switcher_is_shown_an_empty_page(open_page: Open) -> None:
    page = open_page("/en/begin")
    page.evaluate(HIDE, "hidden")
    assert is_blank(page)
    page.evaluate(HIDE, "visible")
    assert not is_blank(page)


def is_blank(page: Page) -> bool:
    """Whether the screen shows one colour."""
    return len(Image.open(BytesIO(page.screenshot())).convert("RGB").getcolors(1 << 24)) == 1


def test_the_app_switcher_is_shown_no_picture_that_is_being_cut(open_page: Open) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(35)))
    page.get_by_role("button", name="Cut out a part: Photo 1").click()
    page.evaluate(HIDE, "hidden")
    assert is_blank(page)
    page.evaluate(HIDE, "visible")
    expect(page.get_by_role("button", name="Use this part")).to_be_visible()


def test_a_page_that_is_left_holds_nothing_that_was_typed_or_chosen(open_page: Open) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(31)))
    send(page)
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert page.locator("#receipt").evaluate("(output) => output.value") == ""
    assert page.locator("#case").input_value() == ""
    assert page.locator("#chosen li").count() == 0
    assert page.locator("input[name=age]:checked").count() == 0
    status = open_page("/en/status")
    status.get_by_label("Your receipt").fill("F7C8-WNKH")
    status.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
    expect(status.get_by_label("Your receipt")).to_have_value("")


def test_no_picture_and_no_file_name_is_shown(open_page: Open) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(32)), b"words")
    expect(page.locator("#chosen")).to_contain_text("Photo 1")
    expect(page.locator("#chosen")).to_contain_text("This is not a photo or video")
    assert "anna" not in page.content()
    assert page.locator("img, video, canvas:visible").count() == 0
    assert page.evaluate("document.getElementById('files').files.length") == 0


def test_what_cuts_off_on_the_left_stands_on_the_left(open_page: Open) -> None:
    for language in ("en", "ar"):
        page = open_page(f"/{language}/begin")
        page.evaluate("document.getElementById('crop').showModal()")
        left, right = (page.locator(f"#crop-{edge}").bounding_box() for edge in ("left", "right"))
        assert left
        assert right
        assert left["x"] < right["x"]


def test_leave_now_stays_in_reach_however_far_one_scrolls(open_page: Open) -> None:
    for path in ("/en/", "/en/help", "/ar/how"):
        page = open_page(path, width=320, height=500)
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        box = page.locator(".top .leave").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 60
        assert min(box["width"], box["height"]) >= 40


def test_every_page_of_a_practice_says_so(open_page: Open) -> None:
    for path in ("", "now", "safe", "how", "help", "letter", "status", "begin"):
        page = open_page(f"/en/{path}")
        expect(page.get_by_text("Practice only.")).to_be_visible()
        assert page.title() == "Help"


FORBIDDEN = {
    "a worker from anywhere": "new Worker('/page/ui/begin.js')",
    "a script's address": "document.createElement('script').src = '/page/ui/begin.js'",
    "markup from text": "document.body.innerHTML = '<p>x</p>'",
    "code from text": "document.createElement('script').text = 'x = 1'",
    "another policy": "trustedTypes.createPolicy('other', { createScript: (x) => x })",
    "our policy again": "trustedTypes.createPolicy('unspread', { createScript: (x) => x })",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_trusted_types_refuse_what_an_injected_script_would_need(
    open_page: Open, name: str
) -> None:
    page = open_page("/en/begin")
    refused = page.evaluate(
        f"() => {{ try {{ {FORBIDDEN[name]}; }} catch (error) {{ return error.name; }} }}"
    )
    assert refused == "TypeError"


def test_the_screen_stays_on_while_files_are_read_and_no_longer(open_page: Open) -> None:
    page = open_page("/en/")
    page.add_init_script(
        """(() => {
            window.locks = [];
            const request = navigator.wakeLock.request.bind(navigator.wakeLock);
            navigator.wakeLock.request = async (kind) => {
                const lock = await request(kind);
                window.locks.push(lock);
                return lock;
            };
        })()"""
    )
    page.get_by_role("link", name="Begin").click()
    page.wait_for_url("**/begin")
    # A worker that never answers stands for a long video.
    page.evaluate("() => { Worker.prototype.postMessage = () => {}; }")
    choose(page, encoded(picture(33)))
    held = "window.locks.filter((lock) => !lock.released).length"
    expect(page.locator("#chosen progress")).to_be_visible()
    _until(page, held, 1)
    # Another app was looked at, which takes the lock away: it is asked for again.
    page.evaluate("window.locks[0].release()")
    page.evaluate(HIDE, "hidden")
    page.evaluate(HIDE, "visible")
    _until(page, held, 1)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Remove").click()
    _until(page, held, 0)


def _until(page: Page, expression: str, wanted: int) -> None:
    for _ in range(200):
        if page.evaluate(expression) == wanted:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{expression} is not {wanted}")


def test_the_time_left_is_shown_once_it_takes_long(open_page: Open) -> None:
    page = open_page("/en/")
    # Every millisecond is ten seconds long here.
    page.add_init_script(
        "(() => { const now = performance.now.bind(performance);"
        " performance.now = () => now() * 10_000; })()"
    )
    page.get_by_role("link", name="Begin").click()
    page.wait_for_url("**/begin")
    page.evaluate(
        """() => {
            window.lines = [];
            new MutationObserver(() => {
                for (const each of document.querySelectorAll('#chosen p')) {
                    window.lines.push(each.textContent);
                }
            }).observe(document.getElementById('chosen'), { childList: true, subtree: true });
        }"""
    )
    choose(page, encoded(picture(34), "PNG") + bytes(3_000_000))
    expect(page.locator("#chosen")).to_contain_text("ready")
    lines = page.evaluate("window.lines")
    assert any("being read" in line and "left" in line for line in lines), set(lines)


def test_on_a_slow_line_the_first_page_can_be_read_and_used(
    chromium: Browser, stand: Stand
) -> None:
    context = chromium.new_context(locale="en-US")
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    # Regular 3G, as Chromium's developer tools had it.
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 100,
            "downloadThroughput": 750 * 1000 / 8,
            "uploadThroughput": 250 * 1000 / 8,
        },
    )
    page.goto(f"{stand.url}/en/", wait_until="commit")
    expect(page.get_by_text("It is not your fault.")).to_be_visible()
    page.get_by_role("link", name="Begin").click()
    expect(page.get_by_role("heading", name="Were you under 18 in it?")).to_be_visible()
    context.close()
