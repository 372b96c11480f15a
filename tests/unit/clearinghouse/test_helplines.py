"""Helplines that an editor writes in a form, and the file that the pages read."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspread.clearinghouse import pages_bridge
from unspread.clearinghouse.pages.help_data import read_help
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.staff import helplines, texts
from unspread.errors import InputError

LINE = {
    "name": 'A "quoted" line',
    "url": "https://example.org/\\",
    "source": "a letter",
    "languages": "en, es",
    "verified_on": "2026-11-23",
}


def test_the_packages_own_helplines_pass_through_the_form(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped.toml"
    shipped.write_text(pages_bridge.shipped_helplines())
    again = tmp_path / "again.toml"
    again.write_text(helplines.to_toml(helplines.rows(shipped.read_text())))
    today = date(2026, 11, 26)
    assert read_help(again, today) == read_help(shipped, today)


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_any_text_comes_back(text: str) -> None:
    said = " ".join(text.split())
    if any("\ud800" <= letter <= "\udfff" for letter in said):
        return  # no form can send half a character
    (row,) = helplines.rows(helplines.to_toml([{"name": text, "about": text}]))
    assert (row["name"], row["about"]) == (said, said)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"source": ""}, "source", id="without a source"),
        pytest.param({"url": ""}, "number or an address", id="without a way to reach it"),
        pytest.param({"url": "http://example.org"}, "https://", id="in clear"),
        pytest.param({"verified_on": "yesterday"}, "2026-11-23", id="a day that is none"),
    ],
)
def test_a_helpline_that_could_not_be_shown_changes_nothing(
    settings: Settings, change: dict[str, str], says: str
) -> None:
    def save(entries: list[dict[str, str]]) -> None:
        new = texts.Texts(helplines=helplines.to_toml(entries))
        texts.save(settings, new, pages_bridge.check_helplines)

    save([LINE])
    before = texts.helplines_file(settings).read_text()
    with pytest.raises(InputError, match=says):
        save([LINE | change])
    assert texts.helplines_file(settings).read_text() == before
    assert texts.load(settings).helplines == before
    assert sorted(each.name for each in settings.data.glob(".*")) == []
    save([])
    assert not texts.helplines_file(settings).exists()
