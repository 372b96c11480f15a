"""The whole way in a real browser on a phone-sized screen, with the real programs behind it."""

import time

import pytest
from playwright.sync_api import expect

from tests.journeys.conftest import until
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

NAME = "anna-at-the-beach"


def protect(page, demo, *files: bytes) -> str:
    """Go through the person's page with these files; the receipt."""
    page.goto(demo.url)
    page.get_by_role("link", name="Begin").click()
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    page.locator("#files").set_input_files(
        [{"name": f"{NAME}.jpg", "mimeType": "image/jpeg", "buffer": each} for each in files]
    )
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    return page.locator("#receipt").inner_text()


def post_on_the_board(page, demo, content: bytes) -> None:
    page.goto(demo.platform_url)
    page.get_by_label("Picture or video").set_input_files(
        {"name": "x.webp", "mimeType": "image/webp", "buffer": content}
    )
    page.get_by_role("button", name="Post").click()


def test_a_person_protects_a_photo_sees_what_happens_and_withdraws(demo, phone, chromium):
    picture = landscape(71)
    original = encoded(picture, quality=92)
    altered = encoded(picture.resize((480, 360)), "WEBP", quality=60)

    requests = []

    def remember(request):
        requests.append(request)

    phone.context.on("request", remember)
    receipt = protect(phone, demo, original)
    sent = time.monotonic()
    assert until(lambda: demo.post(altered).status_code >= 400)
    assert time.monotonic() - sent < 30  # the real figure is in the benchmarks

    # Nothing of the file in any request: no bytes, no name, no other place, no cookie.
    assert requests
    for request in requests:
        assert request.url.startswith(demo.url)
        body = request.post_data_buffer or b""
        assert NAME.encode() not in body + request.url.encode()
        assert len(body) < 5000 < len(original)
        assert not any(original[at : at + 24] in body for at in range(0, len(original) - 24, 997))
    assert phone.context.cookies() == []

    with chromium.new_context() as strangers:
        stranger = strangers.new_page()
        post_on_the_board(stranger, demo, altered)
        expect(stranger.get_by_role("alert")).to_contain_text("This was not posted")

        phone.goto(f"{demo.url}/en/status")
        phone.get_by_label("Your receipt").fill(receipt)
        phone.get_by_role("button", name="Show").click()
        expect(phone.get_by_text("Your device checked it: it is true.")).to_be_visible()
        expect(phone.get_by_text("Sample board: received it")).to_be_visible()
        phone.get_by_role("button", name="Take everything back").click()
        phone.get_by_role("button", name="Take everything back").click()
        expect(phone.get_by_text("taken back by you")).to_be_visible()
        expect(phone.get_by_role("button", name="Keep it protected for longer")).to_be_hidden()

        until(lambda: demo.post(altered).status_code == 201)
        post_on_the_board(stranger, demo, altered)
        expect(stranger.get_by_role("alert")).to_have_count(0)


def test_an_answer_lost_on_the_way_costs_neither_the_case_nor_its_receipt(demo, phone):
    lost = []

    def lose(route):
        lost.append(route.fetch().status)
        route.abort()

    phone.goto(f"{demo.url}/en/begin")
    phone.get_by_label("I am not sure").check()
    phone.get_by_role("button", name="Next").click()
    phone.locator("#files").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": encoded(landscape(73))}
    )
    expect(phone.get_by_text("Everything is ready.")).to_be_visible()
    phone.get_by_role("button", name="Next").click()
    phone.route("**/v1/cases", lose, times=1)
    phone.get_by_role("button", name="Send", exact=True).click()
    expect(phone.get_by_role("alert")).to_contain_text("Nothing is lost")
    assert lost == [201]
    phone.get_by_role("button", name="Send", exact=True).click()
    expect(phone.get_by_role("heading", name="It is sent")).to_be_visible()
    receipt = phone.locator("#receipt").inner_text()
    (item,) = demo.status(receipt)["items"]
    assert item["state"] == "listed"


def test_a_picture_posted_before_goes_when_its_person_comes_forward(demo, phone, chromium):
    picture = landscape(72)
    with chromium.new_context() as strangers:
        stranger = strangers.new_page()
        post_on_the_board(stranger, demo, encoded(picture, "WEBP", quality=70))
        expect(stranger.get_by_role("img").first).to_be_visible()
        protect(phone, demo, encoded(picture, quality=92))

        def taken_down():
            stranger.goto(demo.platform_url)
            return stranger.locator(".posts li").first.get_by_text("Taken down").count()

        until(taken_down)


def test_the_first_page_says_when_each_platform_was_last_heard_from(demo, phone):
    def heard():
        phone.goto(f"{demo.url}/en/")
        return phone.locator(".platforms li", has_text="Sample board").get_by_text(
            "last heard from"
        )

    until(lambda: heard().count() == 1)
    # Before anything is asked, and before the way in.
    platforms = phone.locator(".platforms").bounding_box()
    begin = phone.get_by_role("link", name="Begin").bounding_box()
    assert platforms["y"] < begin["y"]
