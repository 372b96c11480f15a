"""A letter to a site that does not take part: made on the device, never sent through us."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.page_stand import Stand

pytestmark = pytest.mark.journey

Open = Callable[..., Page]
ANSWERS = {
    "site": "Example Board",
    "links": "https://board.example/1",
    "shows": "me, in a blue room",
    "writer": "A. Person",
    "contact": "a@example.org",
}
UNITED_STATES = """To Example Board

Request for removal under the TAKE IT DOWN Act (47 U.S.C. 223a)

1. What and where
An intimate picture or video of me is on your service, here:
https://board.example/1
It shows: me, in a blue room
Please also remove known identical copies.

2. Without consent
I believe in good faith that it was published without my consent.

3. How to reach me
a@example.org

4. Signature
A. Person

The Act asks you to remove it as soon as possible, and within 48 hours of this request.
"""
EUROPEAN_UNION = """To Example Board

Notice under article 16 of Regulation (EU) 2022/2065 (Digital Services Act)

a) Why this is illegal content
It is an intimate picture or video of me, published without my consent.
I was, or may have been, under 18 years old in it.
It shows: me, in a blue room

b) Where it is
https://board.example/1

c) Name and e-mail address
A. Person
a@example.org
(Article 16(2)(c) lets me leave out name and e-mail address.)

d) Statement
I believe in good faith that the information and allegations in this notice are accurate and complete.

Please confirm that you received this notice, and tell me your decision and how I can contest it.
"""  # noqa: E501 - as a letter has it


def filled(open_page: Open, language: str) -> Page:
    page = open_page(f"/{language}/letter")
    for field, answer in ANSWERS.items():
        page.locator(f"#{field}").fill(answer)
    return page


def test_a_letter_for_the_united_states_has_the_four_parts(open_page: Open) -> None:
    page = filled(open_page, "en")
    expect(page.locator("#letter")).to_have_value(UNITED_STATES)


def test_a_letter_for_the_european_union_has_what_article_16_asks_for(open_page: Open) -> None:
    page = filled(open_page, "en")
    page.get_by_label("European Union").check()
    page.get_by_label("I was under 18 in it").check()
    expect(page.locator("#letter")).to_have_value(EUROPEAN_UNION)


def test_the_letter_can_be_read_in_ones_own_language_and_is_sent_in_english(
    open_page: Open,
) -> None:
    page = filled(open_page, "ar")
    letter = page.locator("#letter")
    expect(letter).to_have_value(UNITED_STATES)
    page.get_by_label("العربية").check()
    expect(letter).to_have_attribute("dir", "rtl")
    expect(letter).to_have_attribute("lang", "ar")
    own = letter.input_value()
    assert own.count("\n") == UNITED_STATES.count("\n")
    assert all(answer in own for answer in ANSWERS.values())
    assert "intimate" not in own
    page.get_by_label("English").check()
    expect(letter).to_have_value(UNITED_STATES)


def test_the_law_is_at_first_that_of_where_the_language_is_spoken(open_page: Open) -> None:
    for language, law in (("en", "us"), ("es", "us"), ("de", "eu"), ("sv", "eu")):
        page = open_page(f"/{language}/letter")
        assert page.locator("input[name=law]:checked").input_value() == law


def test_what_is_missing_stands_in_brackets(open_page: Open) -> None:
    page = open_page("/en/letter")
    text = page.locator("#letter").input_value()
    for missing in ("[name of the site]", "[addresses]", "[name]", "[e-mail address]"):
        assert missing in text


def test_the_letter_is_printed_in_full_and_nothing_else(open_page: Open) -> None:
    page = filled(open_page, "en")
    page.locator("#links").fill("\n".join(f"https://board.example/{each}" for each in range(40)))
    letter = page.locator("#letter")
    hidden = letter.evaluate("(field) => field.scrollHeight - field.clientHeight")
    assert hidden <= 0
    page.emulate_media(media="print")
    expect(letter).to_be_visible()
    assert letter.evaluate("(field) => field.scrollHeight - field.clientHeight") <= 0
    for name in ("Leave now", "Start"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_hidden()
    expect(page.get_by_role("button", name="Copy")).to_be_hidden()


def test_helplines_can_be_printed(open_page: Open) -> None:
    page = open_page("/en/help")
    page.emulate_media(media="print")
    expect(page.get_by_text("1-800-843-5678")).to_be_visible()


def test_the_letter_is_saved_and_copied_and_never_sent(open_page: Open, stand: Stand) -> None:
    page = filled(open_page, "en")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a text file").click()
    assert saved.value.path().read_text() == UNITED_STATES
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stand.url)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert not stand.posts()
    assert not any("blue" in path for _, path, _ in stand.requests)
