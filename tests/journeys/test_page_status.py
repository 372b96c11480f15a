"""Coming back with a receipt: on a small screen, from a note, from another part of the world."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.journeys.page_stand import Stand
from tests.journeys.page_steps import choose, encoded, open_case, picture, send

pytestmark = pytest.mark.journey

Open = Callable[..., Page]
ITEMS = 6


@pytest.fixture
def opened(open_page: Open, stand: Stand) -> Page:
    """The status of a case of several photos."""
    page = open_page("/en/begin")
    choose(page, *(encoded(picture(seed, side=8)) for seed in range(60, 60 + ITEMS)))
    status = open_case(open_page, send(page))
    expect(status.locator("#items > li")).to_have_count(ITEMS)
    expect(status.get_by_text("it is true")).to_have_count(ITEMS)
    return status


def is_in_sight(thing: Locator) -> bool:
    return bool(
        thing.evaluate(
            """(thing) => {
                const { top, bottom } = thing.getBoundingClientRect();
                return top >= 0 && bottom <= window.innerHeight;
            }"""
        )
    )


SURE = "From then on nobody looks for it. This cannot be undone."


def test_a_finger_that_taps_twice_takes_nothing_back(opened: Page, stand: Stand) -> None:
    for name in ("Take this back: Photo 6", "Take everything back"):
        opened.get_by_role("button", name=name).dblclick()
        question = opened.get_by_text(SURE)
        expect(question).to_be_focused()
        assert is_in_sight(question)
        assert not stand.withdrawn
        opened.get_by_role("button", name="Cancel").click()
        expect(question).to_have_count(0)
        expect(opened.get_by_role("button", name=name)).to_be_focused()


def test_what_was_done_is_said_in_sight(opened: Page, stand: Stand) -> None:
    for _ in range(2):
        opened.get_by_role("button", name="Take this back: Photo 6").click()
    note = opened.get_by_text("It is taken back.")
    expect(note).to_be_focused()
    assert is_in_sight(note)
    assert stand.withdrawn == {stand.cases[0].items[-1].item_key}


def test_a_day_is_the_same_day_in_every_part_of_the_world(
    open_page: Open, chromium: Browser, stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(67)))
    receipt = send(page)
    west = chromium.new_page(locale="en-US", timezone_id="America/Los_Angeles")
    status = open_case(lambda path: (west.goto(stand.url + path), west)[1], receipt)
    expect(status.locator("#dates")).to_have_text(
        "Sent on November 23, 2026. Protected until November 23, 2028."
    )
    west.close()


@pytest.mark.parametrize("title", ["Receipt", "إيصال", "Voucher: "])
def test_a_note_is_pasted_as_it_was_copied(open_page: Open, stand: Stand, title: str) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(68)))
    receipt = send(page)
    # A field of one line drops the end of the first.
    expect(open_case(open_page, f"{title}{receipt}").get_by_text("on the list")).to_be_visible()


def test_a_receipt_that_is_not_known_says_so(open_page: Open, stand: Stand) -> None:
    page = open_case(open_page, "0000-0000-0000-0000-0000-0RXE")
    expect(page.get_by_role("alert")).to_contain_text("We know no such receipt")


def test_without_a_network_the_status_can_be_asked_for_again(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(69)))
    receipt = send(page)
    status = open_page("/en/status")
    status.context.set_offline(True)
    status.get_by_label("Your receipt").fill(receipt)
    status.get_by_role("button", name="Show").click()
    expect(status.get_by_role("alert")).to_contain_text("There is no internet")
    status.context.set_offline(False)
    status.get_by_role("button", name="Show").click()
    expect(status.get_by_text("on the list")).to_be_visible()
