"""The page for everyone: screen readers, keyboards, small screens, zoom, right-to-left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.page_stand import Stand, page_stand
from unspread.clearinghouse.pages.languages import RIGHT_TO_LEFT, translated
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
READING = ["", "now", "safe", "how", "help", "letter", "status"]

OVERFLOWING = """() => {
    const width = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll('body *')].filter((each) => {
        const box = each.getBoundingClientRect();
        return box.width > 0 && (box.right > width + 1 || box.left < -1)
            && !each.closest('.skip, .away');
    });
    return wide.map((each) => `${each.tagName} ${each.textContent.slice(0, 40)}`);
}"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with page_stand(tmp_path_factory.mktemp("pages")) as stand:
        yield stand


@pytest.fixture
def narrow(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 320, "height": 640}, locale="en-US")
    yield page
    page.close()


def violations(page: Page) -> list[str]:
    # Evaluated through the debugger: the page's policy lets no foreign script in.
    page.evaluate(AXE.read_text() + "; undefined")
    found: dict[str, Any] = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", RULES)
    return [
        f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def check(page: Page) -> None:
    assert page.evaluate(OVERFLOWING) == []
    assert violations(page) == []


def walk(page: Page, stand: Stand, language: str) -> Iterator[str]:
    """Every step of the way through, in any language: by structure, not by words."""
    page.goto(f"{stand.url}/{language}/begin")
    yield "age"
    page.locator("input[value=unknown]").check()
    page.locator("section:not([hidden]) [data-go=choose]").click()
    page.locator("#files").set_input_files(
        [
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": sample(1)},
            {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": b"words"},
        ]
    )
    expect(page.locator("#chosen button")).to_have_count(4)
    yield "choose"
    page.locator("#chosen li:first-child button").first.click()
    expect(page.locator("#crop")).to_be_visible()
    yield "crop"
    page.keyboard.press("Escape")
    page.locator("#chosen li:last-child button").last.click()
    page.locator("section:not([hidden]) [data-go=check]").click()
    expect(page.locator("#send")).to_be_visible()
    yield "check"
    page.locator("#send [type=submit]").click()
    expect(page.locator("#receipt")).to_be_visible()
    yield "receipt"
    receipt = page.locator("#receipt").inner_text()
    page.locator("section:not([hidden]) .next [data-go=done]").click()
    yield "done"
    page.goto(f"{stand.url}/{language}/status")
    page.locator("#receipt").fill(receipt)
    page.locator("#open [type=submit]").click()
    expect(page.locator("#items li").first).to_be_visible()
    yield "status"


def sample(seed: int) -> bytes:
    return encoded(landscape(seed, 320, 240), "JPEG")


@pytest.mark.parametrize("language", ["en", "ar"])
def test_no_step_has_an_accessibility_fault_at_320_pixels(
    narrow: Page, stand: Stand, language: str
) -> None:
    for step in walk(narrow, stand, language):
        assert (step, narrow.evaluate(OVERFLOWING)) == (step, [])
        assert (step, violations(narrow)) == (step, [])
    for name in READING:
        narrow.goto(f"{stand.url}/{language}/{name}")
        check(narrow)


@pytest.mark.parametrize("language", ["en", "ar"])
def test_no_step_has_an_accessibility_fault_at_twice_the_size(
    narrow: Page, stand: Stand, language: str
) -> None:
    # 200 % of a screen 640 pixels wide, with twice as large letters.
    narrow.add_init_script(
        "document.addEventListener('DOMContentLoaded', () =>"
        " { document.documentElement.style.fontSize = '200%'; })"
    )
    narrow.set_viewport_size({"width": 640, "height": 800})
    for step in walk(narrow, stand, language):
        assert (step, narrow.evaluate(OVERFLOWING)) == (step, [])
        assert (step, violations(narrow)) == (step, [])
    for name in READING:
        narrow.goto(f"{stand.url}/{language}/{name}")
        check(narrow)


SHOW_ALL = """() => {
    const hidden = document.querySelectorAll('[hidden]:not(iframe)');
    for (const each of hidden) each.hidden = false;
    for (const each of document.querySelectorAll('details')) each.open = true;
}"""


def test_no_language_overflows_a_narrow_screen(chromium: Browser, stand: Stand) -> None:
    # Without scripts and with every step shown at once: all languages in some seconds.
    context = chromium.new_context(
        viewport={"width": 320, "height": 640}, java_script_enabled=False
    )
    page = context.new_page()
    for language in translated():
        for name in ("", "now", "safe", "how", "help", "letter", "status", "begin"):
            page.goto(f"{stand.url}/{language}/{name}")
            page.evaluate(SHOW_ALL)
            assert (language, name, page.evaluate(OVERFLOWING)) == (language, name, [])
        direction = page.evaluate("getComputedStyle(document.body).direction")
        assert direction == ("rtl" if language in RIGHT_TO_LEFT else "ltr")
    context.close()


def press_until(page: Page, wanted: str, key: str = "Tab") -> None:
    """Move the focus by keyboard until it is on `wanted` (a CSS selector)."""
    for _ in range(60):
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
        page.keyboard.press(key)
    pytest.fail(f"the keyboard does not reach {wanted}")


@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_whole_way_can_be_gone_by_keyboard(
    chromium: Browser, stand: Stand, tmp_path: Path, language: str
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(sample(2))
    stand.withdrawn.clear()
    page = chromium.new_page(locale="en-US")
    page.goto(f"{stand.url}/{language}/")
    press_until(page, f"a[href='/{language}/begin']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/begin")
    expect(page.locator("#age-title")).to_be_visible()
    press_until(page, "input[name=age]")
    page.keyboard.press("ArrowDown")
    press_until(page, "[data-go=choose]")
    page.keyboard.press("Enter")
    expect(page.locator("#choose-title")).to_be_focused()
    press_until(page, "#files")
    # What opens here is the system's own chooser.
    page.locator("#files").set_input_files(file)
    expect(page.locator("#progress")).not_to_be_empty()
    press_until(page, "#chosen button")
    page.keyboard.press("Enter")
    press_until(page, "#crop-top")
    page.keyboard.press("ArrowRight")
    press_until(page, "#crop-use")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).not_to_be_empty()
    press_until(page, "[data-go=check]")
    page.keyboard.press("Enter")
    expect(page.locator("#check-title")).to_be_focused()
    press_until(page, "#send [type=submit]")
    page.keyboard.press("Enter")
    expect(page.locator("#receipt-title")).to_be_focused(timeout=30_000)
    receipt = page.locator("#receipt").inner_text()
    press_until(page, "[data-go=done]")
    page.keyboard.press("Enter")
    expect(page.locator("#done-title")).to_be_focused()
    press_until(page, "a[href$='/status']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/status")
    expect(page.locator("#open")).to_be_visible()
    press_until(page, "#receipt")
    page.keyboard.insert_text(receipt)
    page.keyboard.press("Enter")
    expect(page.locator("#dates")).to_be_focused()
    press_until(page, "#withdraw-all")
    page.keyboard.press("Enter")
    press_until(page, ".problem + .row button")
    page.keyboard.press("Enter")
    expect(page.locator("#withdraw-all")).to_be_hidden()
    expect(page.locator("#note")).to_be_focused()
    assert stand.withdrawn
    page.close()


def test_the_accessibility_tree_says_what_each_thing_is(chromium: Browser, stand: Stand) -> None:
    page = chromium.new_page(locale="en-US")
    trees = {step: page.locator("body").aria_snapshot() for step in walk(page, stand, "en")}
    for step, wanted in {
        "age": ['heading "Were you under 18 in it?" [level=1]', 'group "Were you under 18 in it?"',
                'radio "I am not sure"', 'link "Leave now"'],
        "choose": ['button "Choose photos or videos"', 'list "Chosen"',
                   'button "Cut out a part: Photo 1"', 'button "Try again: File 2"'],
        "crop": ['dialog "Cut out a part"', 'slider "Cut off on the left"', 'link "Leave now"'],
        "check": ['textbox "Exactly this text:"', 'button "Send"'],
        "receipt": ['status "Receipt"', 'checkbox "Make it look like a voucher"'],
        "status": ['heading "Photo 1" [level=2]', 'button "Save the proof: Photo 1"',
                   'button "Take this back: Photo 1"'],
    }.items():  # fmt: skip
        for each in wanted:
            assert each in trees[step], (step, each, trees[step])
    page.close()


def test_all_information_can_be_read_without_javascript(chromium: Browser, stand: Stand) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    for name, words in {
        "": "What it cannot do",
        "now": "Do not pay",
        "safe": "private window",
        "how": "connect-src 'none'",
        "help": "CyberTipline",
    }.items():
        page.goto(f"{stand.url}/en/{name}")
        expect(page.locator("main")).to_contain_text(words)
    for name in ("begin", "status", "letter"):
        page.goto(f"{stand.url}/en/{name}")
        expect(page.locator("noscript .problem")).to_have_count(1)
    expect(page.get_by_role("link", name="Leave now").first).to_have_attribute("href", "/leave")
    context.close()


def test_nothing_stays_behind_in_the_browser(chromium: Browser, stand: Stand) -> None:
    page = chromium.new_page(locale="en-US")
    for _ in walk(page, stand, "en"):
        pass
    assert page.context.cookies() == []
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert page.title() == "Help"
    page.close()


def test_the_first_page_is_light(chromium: Browser, stand: Stand) -> None:
    context = chromium.new_context(locale="en-US")
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda each: received.append(each["encodedDataLength"]))
    page.goto(f"{stand.url}/en/", wait_until="networkidle")
    first = sum(received)
    page.goto(f"{stand.url}/en/begin", wait_until="networkidle")
    assert first < 100_000
    assert sum(received) - first < 100_000
    context.close()
