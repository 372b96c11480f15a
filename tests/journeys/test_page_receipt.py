"""Keeping the receipt, each way that there is; and not keeping it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.page_stand import Stand
from tests.journeys.page_steps import choose, encoded, open_case, picture, send

pytestmark = pytest.mark.journey

Open = Callable[..., Page]


@pytest.fixture
def sent(open_page: Open) -> Page:
    """A page that shows a receipt."""
    page = open_page("/en/begin")
    choose(page, encoded(picture(21)))
    send(page)
    return page


def receipt_of(page: Page) -> str:
    return page.locator("#receipt").inner_text()


def test_the_receipt_is_copied(sent: Page, stand: Stand) -> None:
    sent.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stand.url)
    receipt = receipt_of(sent)
    sent.get_by_role("button", name="Copy").click()
    expect(sent.get_by_text("Copied.")).to_be_visible()
    # Where else somebody would paste it: the page itself may not read the clipboard.
    sent.route(
        "**/elsewhere",
        lambda route: route.fulfill(
            body="<textarea autofocus></textarea>", content_type="text/html"
        ),
    )
    sent.goto(f"{stand.url}/elsewhere")
    sent.locator("textarea").focus()
    sent.keyboard.press("Control+V")
    expect(sent.locator("textarea")).to_have_value(f"Receipt\n{receipt}\n")


def test_where_copying_fails_the_person_is_told_to_write_it_down(sent: Page) -> None:
    sent.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    sent.get_by_role("button", name="Copy").click()
    expect(sent.get_by_text("Please write it down.")).to_be_visible()


def test_the_receipt_is_saved_under_a_name_that_says_nothing(sent: Page) -> None:
    with sent.expect_download() as saved:
        sent.get_by_role("button", name="Save as a text file").click()
    assert saved.value.suggested_filename == "note.txt"
    assert saved.value.path().read_text() == f"Receipt\n{receipt_of(sent)}\n"


def test_the_receipt_looks_like_a_voucher_if_wished(sent: Page) -> None:
    sent.get_by_label("Make it look like a voucher").check()
    expect(sent.locator(".receipt")).to_contain_text("Voucher")
    expect(sent.locator(".receipt")).not_to_contain_text("Receipt")
    with sent.expect_download() as saved:
        sent.get_by_role("button", name="Save as a text file").click()
    assert saved.value.path().read_text() == f"Voucher\n{receipt_of(sent)}\n"


def test_the_receipt_is_printed_and_nothing_else(sent: Page) -> None:
    sent.evaluate("() => { window.print = () => { window.printed = true; }; }")
    sent.get_by_role("button", name="Print").click()
    assert sent.evaluate("window.printed")
    sent.emulate_media(media="print")
    shown = sent.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((each) => each.children.length === 0 && each.textContent.trim())
            .filter((each) => each.checkVisibility({ visibilityProperty: true }))
            .map((each) => each.textContent.trim())"""
    )
    practice = "Practice only. Nothing you do here reaches a real list."
    assert shown == [practice, "Receipt", receipt_of(sent)]
    assert sheets(sent) == 1


def sheets(page: Page) -> int:
    """Of paper, on which the page would be printed."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf()))


def test_the_receipt_stands_in_two_lines_of_three_groups_on_a_phone(sent: Page) -> None:
    # Not four and two: easier to copy by hand.
    sent.set_viewport_size({"width": 320, "height": 640})
    rects = sent.evaluate(
        """() => {
            const range = document.createRange();
            range.selectNodeContents(document.getElementById('receipt'));
            return [...range.getClientRects()].map((each) => Math.round(each.width));
        }"""
    )
    assert len(rects) == 2
    assert abs(rects[0] - rects[1]) < 20


@pytest.mark.parametrize("way", ["I have kept it", "Forget me"])
def test_afterwards_the_page_holds_no_receipt(sent: Page, way: str) -> None:
    receipt = receipt_of(sent)
    if way == "Forget me":
        sent.get_by_text("I do not want a receipt").click()
    sent.get_by_role("button", name=way).click()
    expect(sent.get_by_role("heading", name="You did something brave")).to_be_visible()
    assert receipt not in sent.content()
    assert sent.locator("#receipt").evaluate("(output) => output.value") == ""


def test_without_a_receipt_the_fingerprint_stays_listed(
    sent: Page, open_page: Open, stand: Stand
) -> None:
    receipt = receipt_of(sent)
    sent.get_by_text("I do not want a receipt").click()
    sent.get_by_role("button", name="Forget me").click()
    expect(sent.get_by_role("heading", name="You did something brave")).to_be_visible()
    assert not stand.withdrawn
    expect(open_case(open_page, receipt).get_by_text("on the list")).to_be_visible()
