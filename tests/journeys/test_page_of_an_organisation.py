"""The pages as an organisation makes them its own, by its settings alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.page_stand import Stand, page_stand
from unspread.clearinghouse.pages.services import Branding

pytestmark = pytest.mark.journey

TODAY = datetime.now(UTC).date()
HELP = f"""
[[entry]]
country = "Ruritania"
name = "Fresh Line"
about = "Looked at last month."
phone = "+00 1 234"
hours = "Mo-Fr 9-17"
ages = "under 25"
languages = ["en", "es", "rm"]
source = "https://fresh.example/"
verified_on = {TODAY - timedelta(days=30)}

[[entry]]
country = "Ruritania"
name = "Old Line"
about = "Looked at last year."
url = "https://old.example/"
source = "a letter of [May"
verified_on = {TODAY - timedelta(days=365)}
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "helplines.toml").write_text(HELP)
    (folder / "branding.toml").write_text(
        'title = "Notes"\ncolour = "#552288"\ncontact = "Call us: 555"\n'
        'message = "We are a small charity."\nneutral_url = "https://weather.example/"\n'
        'languages = ["ar", "en"]\nhelp_file = "helplines.toml"\n'
    )
    with page_stand(folder, Branding.read(folder, name="A Charity")) as stand:
        yield stand


def test_name_colour_texts_contact_and_languages_are_theirs(
    chromium: Browser, stand: Stand
) -> None:
    page = chromium.new_page(locale="en-US")
    page.goto(stand.url)
    assert page.url == f"{stand.url}/en/"
    assert page.title() == "Notes"
    expect(page.get_by_role("link", name="A Charity")).to_be_visible()
    expect(page.get_by_text("We are a small charity.")).to_be_visible()
    expect(page.get_by_text("Call us: 555")).to_be_visible()
    begin = page.get_by_role("link", name="Begin")
    assert begin.evaluate("(link) => getComputedStyle(link).backgroundColor") == "rgb(85, 34, 136)"
    expect(page.locator(".languages li")).to_have_count(2)
    assert httpx.get(f"{stand.url}/de/").status_code == 404
    assert "https://weather.example/" in httpx.get(f"{stand.url}/leave").text
    page.close()


def test_their_helplines_are_shown_with_the_day_of_their_check_and_old_ones_flagged(
    chromium: Browser, stand: Stand
) -> None:
    page = chromium.new_page(locale="en-US")
    page.goto(f"{stand.url}/en/help")
    fresh = page.locator("li", has=page.get_by_role("heading", name="Fresh Line"))
    old = page.locator("li", has=page.get_by_role("heading", name="Old Line"))
    expect(fresh).to_contain_text("Checked on")
    expect(fresh).to_contain_text("Source: fresh.example")
    expect(fresh).to_contain_text("Mo-Fr 9-17")
    expect(fresh).to_contain_text("under 25")
    expect(fresh).to_contain_text("English, Español, rm")
    expect(fresh.get_by_role("link", name="+00 1 234")).to_have_attribute("href", "tel:+001234")
    expect(old).to_contain_text("Not checked lately: it may have changed.")
    expect(old).to_contain_text("Source: a letter of [May")
    expect(page.get_by_text("CyberTipline")).to_have_count(0)
    page.close()


def test_a_place_no_organisation_named_is_not_invented(stand: Stand) -> None:
    shown = httpx.get(f"{stand.url}/ar/help").text
    assert shown.count("<h3>") == HELP.count("[[entry]]")
