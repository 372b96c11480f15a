"""Rules of the pages that need no browser: languages, helplines, branding, policies."""

import gettext
import re
from datetime import date
from pathlib import Path

import pytest
from babel import Locale
from babel.messages.pofile import read_po

from unspread.clearinghouse.pages.help_data import SHIPPED, read_help
from unspread.clearinghouse.pages.languages import NAMES, RIGHT_TO_LEFT, choose, translated
from unspread.clearinghouse.pages.services import Branding, contrast_with_white
from unspread.clearinghouse.pages.templatetags.page_texts import SAMPLES
from unspread.errors import InputError
from unspread.page_headers import headers_for
from web.messages import LOCALE, forms_of, texts, translations_of

PLACE = re.compile(r"{\w+}|%\(\w+\)s")
CATALOGUES = sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_catalogue_translates_every_text_with_the_same_places(path: Path) -> None:
    catalogue = translations_of(path)
    assert catalogue.keys() == {text for text, _ in texts()}
    for text, translation in catalogue.items():
        wanted = set(PLACE.findall(text[-1] if isinstance(text, tuple) else text))
        for form in translation if isinstance(translation, tuple) else (translation,):
            assert form, text
            assert set(PLACE.findall(form)) == wanted, text


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_each_number_is_counted_as_the_language_counts(path: Path) -> None:
    # The browser knows CLDR's categories, gettext an index: a sample of each leads to the index.
    with path.open("rb") as source:
        counted = gettext.c2py(re.findall(r"plural=(.*?);", read_po(source).plural_forms)[0])
    category = Locale.parse(path.parts[-3]).plural_form
    index_of = {category(sample): counted(sample) for sample in reversed(SAMPLES)}
    for number in range(1100):
        assert counted(number) == index_of[category(number)], number
    assert forms_of(path) == len(set(index_of.values()))


def test_every_catalogue_is_offered_and_right_to_left_is_first_class() -> None:
    assert len(translated()) == len(CATALOGUES) + 1
    assert set(translated()) <= set(NAMES)
    assert set(translated()) >= RIGHT_TO_LEFT


@pytest.mark.parametrize(
    ("header", "offered", "chosen"),
    [
        ("ar-EG,ar;q=0.9,en;q=0.8", ("en", "ar"), "ar"),
        ("fr;q=0.2, ar;q=0.7", ("en", "ar", "fr"), "ar"),
        ("pt-PT", ("en", "pt-br"), "pt-br"),
        ("xx", ("en", "ar"), "en"),
        ("", ("de", "fr"), "de"),
        ("ar;q=nonsense", ("en", "ar"), "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_prefers(
    header: str, offered: tuple[str, ...], chosen: str
) -> None:
    assert choose(header, offered) == chosen


def test_every_helpline_that_is_shipped_names_its_source_and_claims_no_check() -> None:
    for _, entries in read_help(SHIPPED, date(2026, 11, 23)):
        for entry in entries:
            assert entry.source.startswith("https://")
            assert entry.verified_on is None
            assert entry.is_stale


@pytest.mark.parametrize(
    ("verified_on", "is_stale"), [("2026-05-27", False), ("2026-05-26", True), (None, True)]
)
def test_a_helpline_is_stale_half_a_year_after_somebody_checked(
    tmp_path: Path, verified_on: str | None, is_stale: bool
) -> None:
    file = tmp_path / "help.toml"
    checked = f"verified_on = {verified_on}\n" if verified_on else ""
    file.write_text(f'[[entry]]\nname = "A"\nphone = "1"\nsource = "here"\n{checked}')
    ((_, (entry,)),) = read_help(file, date(2026, 11, 23))
    assert entry.is_stale == is_stale


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[[entry]]\nphone = "1"\nsource = "x"', id="without a name"),
        pytest.param('[[entry]]\nname = "A"\nphone = "1"', id="without a source"),
        pytest.param('[[entry]]\nname = "A"\nsource = "x"', id="without a way to reach it"),
        pytest.param('[[entry]]\nname = "A"\nurl = "http://a"\nsource = "x"', id="not https"),
        pytest.param('[[entry]]\nname = "A"\nfone = "1"\nsource = "x"', id="an unknown field"),
        pytest.param(
            '[[entry]]\nname = "A"\nphone = "1"\nsource = "x"\nverified_on = "May"', id="no day"
        ),
        pytest.param("entry = [", id="no TOML"),
        pytest.param("other = 1", id="an unknown part"),
    ],
)
def test_a_file_of_helplines_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "help.toml"
    file.write_text(text)
    with pytest.raises(InputError):
        read_help(file, date(2026, 11, 23))


def test_an_organisation_brands_the_pages_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "branding.toml").write_text(
        'title = "Info"\ncolour = "#552288"\nlanguages = ["ar", "en"]\nhelp_file = "help.toml"\n'
    )
    branding = Branding.read(tmp_path, name="A hotline", languages=())
    assert (branding.name, branding.title, branding.colour) == ("A hotline", "Info", "#552288")
    assert branding.languages == ("ar", "en")
    assert branding.help_file == tmp_path / "help.toml"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('colour = "#ffee00"', id="white on yellow"),
        pytest.param('languages = ["en", "th"]', id="a language without a translation"),
        pytest.param('colour = "blue"', id="not in digits"),
        pytest.param('colour = "#12345g"', id="a digit too far"),
        pytest.param("name = 5", id="not a text"),
        pytest.param('nmae = "A"', id="mistyped"),
        pytest.param('neutral_url = "http://a.example"', id="not https"),
        pytest.param("name = ", id="no TOML"),
    ],
)
def test_a_branding_that_would_not_work_is_refused_at_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "branding.toml").write_text(text)
    with pytest.raises(InputError):
        Branding.read(tmp_path)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast_with_white(0, 0, 0) == pytest.approx(21)
    assert contrast_with_white(255, 255, 255) == pytest.approx(1)
    assert contrast_with_white(118, 118, 118) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/en/begin", "connect-src 'none'"),
        ("/en/begin", "sandbox"),
        ("/ar/status", "connect-src 'self'"),
        ("/page/fingerprint/worker.js", "connect-src 'none'"),
        ("/page/fingerprint/worker_decoders.js", "'wasm-unsafe-eval'"),
        ("/v1/cases", "frame-ancestors 'self'"),
        ("/anything", "default-src 'none'"),
    ],
)
def test_each_page_may_do_what_it_must_and_no_more(path: str, needed: str) -> None:
    assert needed in headers_for(path)["Content-Security-Policy"]


def test_webassembly_runs_in_one_worker_alone() -> None:
    for path in ("/en/begin", "/page/fingerprint/worker.js", "/page/case/proof_worker.js"):
        assert "wasm" not in headers_for(path)["Content-Security-Policy"]


def test_pages_that_touch_pictures_are_limited_to_our_own_server() -> None:
    for path in ("/en/begin", "/page/fingerprint/worker.js", "/en/letter"):
        assert headers_for(path)["Connection-Allowlist"] == "(response-origin)"
    assert "Connection-Allowlist" not in headers_for("/en/help")
