"""Local banks: what a platform's own people list, and what they allow."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.films import filmed
from tests.unit.platform_kit.conftest import REFUSING, Platform
from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import InputError
from unspread.fingerprint import fingerprint_image, scan_media
from unspread.model import Fingerprint, Kind, Media, Part
from unspread.platform_kit import hosted
from unspread.platform_kit.banks import LocalBank, UnknownEntryError, fingerprints_of
from unspread.platform_kit.commands import platform as command
from unspread.platform_kit.settings import ListSettings, Source
from unspread.platform_kit.store import Store
from unspread.testing.samples import encoded, landscape

LISTS = {
    "unspread": REFUSING,
    "ours": ListSettings(source=Source.LOCAL),
    "harmless": ListSettings(source=Source.LOCAL, allow=True),
}


@pytest.fixture
def banked(tmp_path, clearinghouse):
    """A platform with two banks, whose settings the command line finds too."""
    (tmp_path / "platform.toml").write_text(
        '[lists.ours]\nsource = "local"\n[lists.harmless]\nsource = "local"\nallow = true\n'
    )
    platform = Platform(tmp_path, clearinghouse, LISTS)

    async def follow() -> None:
        for name in ("ours", "harmless"):
            await platform.kit.follow(name, Source.LOCAL, LISTS[name])
            await platform.kit.checked(name)

    asyncio.run(follow())
    platform.sync()
    yield platform
    platform.close()


def run(platform, *words: str) -> str:
    """A command of another process, and then what the server's watch does."""
    done = CliRunner().invoke(command, ["bank", words[0], "--data", str(platform.data), *words[1:]])
    if done.exception is not None:
        raise done.exception
    asyncio.run(platform.kit.catch_up())
    asyncio.run(platform.kit.search_new_listings())
    return done.output


def test_a_file_that_is_added_is_refused_and_found_until_it_is_taken_out(banked, tmp_path):
    banked.scan(altered(1), "post-1")
    file = tmp_path / "a.jpg"
    file.write_bytes(picture(1))

    run(banked, "add", "--list", "ours", "--name", "ours-1", str(file))
    assert banked.scan(altered(1)).decision == "refuse"
    assert [action[:2] for action in banked.actions()] == [("remove", "post-1")]

    run(banked, "remove", "--list", "ours", "ours-1")
    assert banked.scan(altered(1)).decision == "accept"
    assert banked.actions() == []


def test_what_a_negative_bank_allows_passes_whatever_a_feed_lists(banked, clearinghouse, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(picture(1))
    run(banked, "add", "--list", "harmless", str(file))
    banked.scan(altered(1), "post-1")
    clearinghouse.protect(picture(1))
    banked.sync()

    answer = banked.scan(altered(1))
    assert (answer.decision, answer.match.list_name) == ("accept", "harmless")
    assert banked.actions() == []


def test_a_page_that_shows_something_harmless_too_does_not_pass_for_it(
    banked, clearinghouse, tmp_path
):
    harmless, listed = landscape(1, 320, 240), landscape(2, 320, 240)
    file = tmp_path / "a.png"
    file.write_bytes(encoded(harmless, "PNG"))
    run(banked, "add", "--list", "harmless", str(file))
    clearinghouse.protect(encoded(listed, "PNG"))
    banked.sync()
    page = Image.new("RGB", (400, 700), "white")
    page.paste(harmless, (40, 60))
    page.paste(listed, (40, 380))

    answer = banked.scan(encoded(page, "PNG"))
    assert answer.decision == "refuse"
    assert banked.scan(file.read_bytes()).match.list_name == "harmless"


def test_a_film_that_shows_something_harmless_too_does_not_pass_for_it(
    banked, clearinghouse, tmp_path
):
    file = tmp_path / "a.png"
    file.write_bytes(encoded(landscape(1, 160, 120), "PNG"))
    run(banked, "add", "--list", "harmless", str(file))
    film = filmed([1, 2, 2, 2, 2, 2], g="24", sc_threshold="0")
    banked.scan(film, "post-1")
    clearinghouse.protect(encoded(landscape(2, 160, 120), "PNG"))
    banked.sync()

    answer = banked.scan(film)
    assert {each.list_name for each in answer.matches} == {"unspread", "harmless"}
    assert answer.decision == "refuse"
    assert [action[:2] for action in banked.actions()] == [("remove", "post-1")]


def test_a_fingerprint_in_hex_is_listed_as_it_stands(banked):
    value = "0f" * 16
    run(banked, "add", "--list", "ours", "--md5", value)
    store = banked.kit.store
    (listing,) = [each for _, each in store.active_listings()]
    assert listing.fingerprints == (Fingerprint(Kind.MD5, bytes.fromhex(value)),)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["add", "--list", "ours"], id="nothing given"),
        pytest.param(["add", "--list", "ours", "--md5", "xx"], id="not hex"),
        pytest.param(["add", "--list", "unspread", "--md5", "0f" * 16], id="not a bank"),
        pytest.param(["add", "--list", "none", "--md5", "0f" * 16], id="no such bank"),
        pytest.param(["remove", "--list", "ours", "never"], id="no such entry"),
    ],
)
def test_what_cannot_be_done_is_refused(banked, words):
    with pytest.raises(InputError):
        run(banked, *words)
    assert list(banked.kit.store.active_listings()) == []


def test_adding_under_a_name_replaces_and_leaves_a_trail(banked):
    store = Store(banked.data)
    bank = LocalBank(banked.settings, store, "ours")
    for value in (b"a" * 16, b"b" * 16):
        prints = [Fingerprint(Kind.MD5, value)]
        bank.add("one", Media.IMAGE, prints, by="anna", at=banked.now())
    bank.remove("one", by="ben", at=banked.now())
    with pytest.raises(UnknownEntryError):
        bank.remove("one", by="ben", at=banked.now())
    trail = [(actor, what) for _, _, actor, what, _ in store.audit_trail()]
    assert trail[-3:] == [
        ("anna", "add to bank ours"),
        ("anna", "add to bank ours"),
        ("ben", "remove from bank ours"),
    ]
    assert "6161" not in json.dumps(store.audit_trail())
    store.close()


def test_the_content_of_a_url_is_listed_if_its_host_may_be_asked(banked, monkeypatch):
    settings = banked.data / "platform.toml"
    settings.write_text('fetch_hosts = ["pictures.example"]\n' + settings.read_text())
    asked = []

    async def fetch(self, url: str) -> bytes:
        asked.append(url)
        return picture(1)

    url = "https://pictures.example/a.jpg"
    with monkeypatch.context() as patched:
        patched.setattr(hosted.Fetcher, "_fetch", fetch)
        said = run(banked, "add", "--list", "ours", "--name", "fetched", url)
    assert (asked, said.split("\t")[1]) == ([url], "fetched")
    assert banked.scan(altered(1)).decision == "refuse"

    for elsewhere in ("https://other.example/a.jpg", "http://127.0.0.1/a.jpg"):
        with pytest.raises(hosted.ForbiddenAddressError):
            run(banked, "add", "--list", "ours", elsewhere)


def test_a_fetched_film_is_listed_by_its_frames():
    scan = scan_media(min(Path("vectors").rglob("*.mp4")), windows=False)
    listed = [each for each in fingerprints_of(scan) if each.kind is Kind.PDQ]

    frames = len(set(scan.frame_of_probe))
    assert 1 <= len(listed) <= frames
    assert {each.part for each in listed} == {Part.FRAME}


def test_a_listing_that_is_searched_for_before_the_bank_knows_it_is_found_all_the_same(banked):
    banked.scan(altered(1), "post-1")
    kit = banked.kit
    value = fingerprint_image(picture(1)).first(Kind.PDQ)
    other = Store(banked.data)  # another process, between two looks of the server
    LocalBank(banked.settings, other, "ours").add(
        "ours-1", Media.IMAGE, [value], by="test", at=banked.now()
    )
    other.close()
    assert asyncio.run(kit.search_new_listings()) == 0

    asyncio.run(kit.catch_up())
    assert asyncio.run(kit.search_new_listings()) == 1
    assert [reference for _, reference, _ in banked.actions()] == ["post-1"]
