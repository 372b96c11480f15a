"""Every page for a platform's people and for those who ask: axe-core finds nothing."""

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.conftest import until
from tests.journeys.test_page_for_everyone import check
from tests.journeys.test_people import PROTECTED, Forum, forum, ncmec, staff
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

__all__ = ["forum", "ncmec", "staff"]


def walk(forum: Forum, staff: Page, person: Page) -> Iterator[tuple[str, Page]]:
    """Every page, in every state that looks different, of a kit that has decided nothing yet."""
    staff.goto(f"{forum.url}/review")
    yield "queue-empty", staff
    for number, size in enumerate((400, 300)):
        content = encoded(PROTECTED.resize((size, size * 3 // 4)), "JPEG", quality=80)
        assert forum.upload(content, f"https://forum.example/media/{number}/{'long' * 12}") == 409
    staff.goto(f"{forum.url}/review")
    staff.get_by_text("1 near copy").click()
    yield "queue", staff
    staff.locator("body").press("b")
    expect(staff.locator("#stage img")).to_be_visible()
    yield "queue-blurred", staff
    staff.get_by_role("button", name="Report it to NCMEC").click()
    yield "report", staff
    staff.goto(f"{forum.url}/review")
    staff.locator("body").press("r")
    expect(staff.get_by_text("You last decided")).to_be_visible()
    yield "queue-decided", staff
    staff.goto(f"{forum.url}/review/decided")
    yield "decided", staff
    staff.goto(f"{forum.url}/review/people")
    staff.get_by_label("Name").fill("Bob")
    staff.get_by_role("button", name="Invite").click()
    yield "people", staff

    for number, size in enumerate((640, 320)):
        copy = encoded(landscape(816, 640, 480).resize((size, size * 3 // 4)), "JPEG", quality=90)
        assert forum.upload(copy, f"post-{number}") == 200
    person.goto(f"{forum.url}/notices")
    yield "notice", person
    person.get_by_label("Where is it?").fill("https://forum.example/post-0")
    person.get_by_label("How can the platform reach you?").fill("me")
    person.get_by_label("Sign with your name").fill("A. Person")
    person.get_by_role("button", name="Send the notice").click()
    yield "notice-lacking", person
    person.get_by_label("How can the platform reach you?").fill("person@example.org")
    person.get_by_label("I believe in good faith").check()
    person.get_by_role("button", name="Send the notice").click()
    number = person.locator("#tracking").inner_text()
    yield "notice-sent", person
    staff.goto(f"{forum.url}/review/notices")
    yield "notices", staff
    staff.get_by_role("link", name="Notice").last.click()
    yield "notices-one", staff
    staff.get_by_role("button", name="Find it and its copies").click()
    yield "notices-found", staff
    one = staff.url.removesuffix("/find")
    staff.goto(one)
    staff.get_by_label("Why does it stay?").select_option("consent")
    staff.get_by_label("In your words").fill("It is from a film.")
    staff.get_by_role("button", name="Decline").click()
    person.goto(f"{forum.url}/notices/status")
    yield "status-asked", person
    person.get_by_label("Its number").fill(number)
    person.get_by_role("button", name="Show it").click()
    yield "status-declined", person
    person.get_by_label("Why is the decision wrong?").fill("It is me.")
    person.get_by_role("button", name="Ask for a second look").click()
    yield "status-appealed", person
    staff.goto(one)
    yield "notices-appealed", staff
    staff.get_by_label("Or in one step").select_option("law")
    staff.get_by_role("button", name="Remove it and all its known copies").click()
    yield "notices-removed", staff
    until(lambda: forum.was_told("remove", "post-1"))
    person.goto(f"{forum.url}/notices/status")
    person.get_by_label("Its number").fill(number)
    person.get_by_role("button", name="Show it").click()
    yield "status-removed", person
    person.goto(f"{forum.url}/notices/appeal")
    yield "appeal", person
    person.goto(f"{forum.url}/review/sign-in")
    yield "sign-in", person


@pytest.mark.parametrize(
    ("width", "colours"),
    [
        pytest.param(320, "light", id="on a phone"),
        pytest.param(1280, "dark", id="on a desk at night", marks=pytest.mark.long),
    ],
)
def test_every_page_is_usable_by_everyone(
    forum: Forum, staff: Page, phone: Page, width: int, colours: Literal["light", "dark"]
):
    for page in (staff, phone):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=colours)
    for _, page in walk(forum, staff, phone):
        check(page)
