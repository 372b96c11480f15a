"""What goes wrong on the way: nothing is lost, sent twice or sent against the person's wish."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from tests.journeys.conftest import until
from tests.journeys.page_stand import Stand
from tests.journeys.page_steps import choose, encoded, open_case, picture, send

pytestmark = pytest.mark.journey

Open = Callable[..., Page]
VECTORS = Path(__file__).parents[2] / "vectors"
NO_PROOF = {"error": {"code": "proof_of_work", "message": "no"}}


def ready_to_send(page: Page, *files: bytes) -> None:
    choose(page, *files)
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Next").click()


def test_an_answer_that_is_lost_is_asked_for_again_and_the_receipt_opens_the_case(
    open_page: Open, stand: Stand
) -> None:
    page = open_page("/en/begin")
    ready_to_send(page, encoded(picture(41)))

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/v1/cases", lose, times=1)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    assert len(stand.cases) == 1
    # It is on the list already: another choice under the same receipt would be refused.
    expect(page.get_by_role("button", name="Back")).to_be_hidden()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    assert len(stand.cases) == 1
    receipt = page.locator("#receipt").inner_text()
    expect(open_case(open_page, receipt).get_by_text("on the list")).to_be_visible()


def test_send_pressed_twice_sends_once(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/begin")
    ready_to_send(page, encoded(picture(42)))
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    # The line is slow: there is time for a second tap.
    page.route("**/v1/cases", hold)
    for _ in range(2):
        page.get_by_role("button", name="Send", exact=True).click()
        page.wait_for_timeout(300)
    assert len(held) == 1
    held[0].continue_()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    until(lambda: len(stand.posts()) == 1)


def test_whoever_goes_back_after_send_has_sent_nothing(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    # The proof of work takes long: its script has not even come.
    page.route("**/proof_worker.js", hold)
    page.get_by_role("link", name="Begin").click()
    page.wait_for_url("**/begin")
    ready_to_send(page, encoded(picture(43)))
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("One moment")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    held[0].continue_()
    solved = page.locator("#proof")
    expect(solved).not_to_have_value("")
    page.get_by_role("button", name="Back").click()
    page.get_by_role("button", name="Next").click()
    assert not stand.posts()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    until(lambda: len(stand.posts()) == 1)


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_proof_of_work_that_is_too_old_is_made_again_by_itself(
    open_page: Open, stand: Stand, refusals: int
) -> None:
    stand.answers += [(422, NO_PROOF)] * refusals
    page = open_page("/en/begin")
    choose(page, encoded(picture(44)))
    send(page)
    until(lambda: len(stand.posts()) == refusals + 1)


def test_a_server_that_takes_no_proof_is_not_asked_for_ever(open_page: Open, stand: Stand) -> None:
    stand.answers += [(422, NO_PROOF)] * 9
    page = open_page("/en/begin")
    ready_to_send(page, encoded(picture(45)))
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("open for too long")
    until(lambda: len(stand.posts()) == 3)


@pytest.mark.parametrize("code", ["busy", "paused", "too_many", "unavailable"])
def test_when_the_service_is_busy_send_can_be_pressed_again(
    open_page: Open, stand: Stand, code: str
) -> None:
    stand.answers.append((503, {"error": {"code": code, "message": "in English"}}))
    page = open_page("/en/begin")
    ready_to_send(page, encoded(picture(46)))
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Please try again")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()


@pytest.mark.parametrize("is_sent", [False, True], ids=["chosen", "sent"])
def test_what_would_be_lost_is_asked_about(open_page: Open, stand: Stand, is_sent: bool) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(47)))
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    if is_sent:
        send(page)
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.evaluate("() => { setTimeout(() => window.location.reload()); }")
    for _ in range(100):
        if asked:
            break
        page.wait_for_timeout(50)
    assert asked == ["beforeunload"]
    assert page.locator("#chosen li").count() == 1


def test_leave_now_asks_nothing(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(48)))
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    asked: list[Any] = []
    page.on("dialog", lambda dialog: (asked.append(dialog), dialog.accept()))
    page.context.route("https://**", lambda route: route.fulfill(body="weather"))
    page.get_by_role("link", name="Leave now").first.click()
    page.wait_for_url("https://www.wikipedia.org/")
    assert not asked


def test_without_a_network_leave_now_shows_nothing_of_us(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/begin")
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    page.get_by_role("link", name="Leave now").first.click()
    page.wait_for_url("about:blank")
    assert "Help" not in page.title()


def test_a_part_that_is_the_whole_is_the_file_again(open_page: Open, stand: Stand) -> None:
    page = open_page("/en/begin")
    choose(page, encoded(picture(55)))
    cut = page.get_by_role("button", name="Cut out a part: Photo 1")
    for presses in (30, 0):
        cut.click()
        page.get_by_label("Cut off at the top").focus()
        for _ in range(presses):
            page.keyboard.press("ArrowRight")
        page.get_by_role("button", name="Use this part").click()
        expect(page.get_by_text("Everything is ready.")).to_be_visible()
    send(page)
    assert "sha256" in {each.kind for each in stand.cases[0].items[0].fingerprints}


def test_a_phone_that_lets_no_page_keep_it_awake_reads_all_the_same(
    open_page: Open, stand: Stand
) -> None:
    page = open_page("/en/begin")
    page.evaluate(
        "() => { navigator.wakeLock.request = () => Promise.reject(new Error('denied')); }"
    )
    choose(page, encoded(picture(56)), encoded(picture(57)))
    send(page)


def test_a_video_without_a_network_says_what_to_do(chromium: Browser, stand: Stand) -> None:
    # A page of its own: that the worker cannot load its part is an error there.
    page = chromium.new_page(locale="en-US")
    page.goto(f"{stand.url}/en/begin")
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    video = (VECTORS / "videos/h264.mp4").read_bytes()
    page.locator("#files").set_input_files(
        {"name": "a.mp4", "mimeType": "video/mp4", "buffer": video}
    )
    expect(page.locator("#chosen")).to_contain_text("must load something first")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again: File 1").click()
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.close()


def test_that_more_were_chosen_than_can_be_sent_is_said_until_something_is_changed(
    open_page: Open, stand: Stand
) -> None:
    page = open_page("/en/begin")
    small = encoded(picture(49, side=8))
    choose(page, *[small] * 100)
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    assert page.locator("#chosen li").count() == 20
    expect(page.get_by_role("alert")).to_contain_text("You can send 20 files at a time")
    page.get_by_role("button", name="Remove: Photo 20").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_number_means_the_same_file_from_the_choice_to_the_withdrawal(
    open_page: Open, stand: Stand
) -> None:
    page = open_page("/en/begin")
    choose(page, *(encoded(picture(seed)) for seed in (50, 51, 52)))
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Remove: Photo 1").click()
    rows = page.locator("#chosen li > p:first-child")
    assert rows.all_inner_texts() == ["Photo 1", "Photo 2"]
    page.locator("#files").set_input_files(
        {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": encoded(picture(53))}
    )
    expect(rows).to_have_text(["Photo 1", "Photo 2", "Photo 3"])
    receipt = send(page)
    expect(page.locator("#accepted li")).to_contain_text(["Photo 1", "Photo 2", "Photo 3"])
    status = open_case(open_page, receipt)
    expect(status.locator("#items h2")).to_have_text(["Photo 1", "Photo 2", "Photo 3"])


def test_a_file_that_is_gone_since_it_was_chosen_says_so(
    open_page: Open, stand: Stand, tmp_path: Path
) -> None:
    page = open_page("/en/begin")
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(54)))
    # The worker is asked only once the file has gone.
    page.evaluate("() => { window.ask = Worker.prototype.postMessage;"
                  " Worker.prototype.postMessage = function (...all) {"
                  " window.later = () => window.ask.apply(this, all); }; }")  # fmt: skip
    page.locator("#files").set_input_files(path)
    path.unlink()
    page.evaluate("window.later()")
    expect(page.locator("#chosen")).to_contain_text("This file could not be read")
