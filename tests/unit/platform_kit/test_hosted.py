"""What is hosted already is taken into the catalogue, once, from safe places only."""

import asyncio

import httpx
import pytest

from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import TransportError, UnreadableMediaError
from unspread.platform_kit.hosted import (
    Bucket,
    Directory,
    ForbiddenAddressError,
    Piece,
    Progress,
    Urls,
    is_public,
    scan_hosted,
)


def scan(platform, hosted, **values) -> Progress:
    return asyncio.run(scan_hosted(platform.kit, hosted, workers=2, **values))


@pytest.fixture
def uploads(tmp_path):
    directory = tmp_path / "uploads"
    (directory / "2026").mkdir(parents=True)
    (directory / "a.jpg").write_bytes(altered(1))
    (directory / "2026" / "b.jpg").write_bytes(picture(2))
    (directory / "notes.txt").write_text("hello")
    return directory


@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_a_place_is_scanned_once_and_what_matches_is_acted_on(
    platform, clearinghouse, uploads, kind
):
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    url = f"file://{uploads}"
    hosted = Directory(uploads) if kind == "directory" else Bucket(url, 10**7)

    first, again = scan(platform, hosted), scan(platform, hosted)

    assert (first.seen, first.remembered, first.matching, first.unreadable) == (3, 2, 1, 1)
    assert (again.seen, again.known, again.remembered) == (3, 3, 0)
    assert platform.actions() == [("remove", "a.jpg", listing_id)]
    later = clearinghouse.protect(picture(2))
    platform.sync()
    assert ("remove", "2026/b.jpg", later) in platform.actions()


def test_a_changed_file_is_looked_at_again(platform, clearinghouse, uploads):
    platform.sync()
    scan(platform, Directory(uploads))
    (uploads / "a.jpg").write_bytes(picture(3) + b" ")

    again = scan(platform, Directory(uploads))

    assert (again.known, again.remembered) == (2, 1)
    assert len(platform.kit.catalogue) == 2


def test_a_dry_run_says_what_matches_and_leaves_everything_as_it_is(
    platform, clearinghouse, uploads
):
    clearinghouse.protect(picture(1))
    platform.sync()

    progress = scan(platform, Directory(uploads), dry_run=True)

    assert progress.matching == 1
    assert platform.actions() == []
    assert len(platform.kit.catalogue) == 0
    assert scan(platform, Directory(uploads)).known == 0


def fetching(tmp_path, answer, url, *, hosts=("pictures.example",), addresses=("93.184.215.14",)):
    async def work() -> object:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            file = tmp_path / "urls.txt"
            file.write_text(f"# ours\n{url}\n\n")
            urls = Urls(file, hosts, 1000, http, resolve=lambda *_: list(addresses))
            pieces = [piece async for piece in urls.pieces()]
            assert pieces == [Piece(url, "")]
            return await urls.read(pieces[0])

    return asyncio.run(work())


def test_a_url_is_fetched_from_the_address_that_was_checked(tmp_path):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers["host"], request.extensions))
        return httpx.Response(200, content=b"picture")

    body = fetching(tmp_path, answer, "https://pictures.example/a.jpg")

    assert body == b"picture"
    host, name, extensions = seen[0]
    assert (host, name) == ("93.184.215.14", "pictures.example")
    assert extensions["sni_hostname"] == "pictures.example"


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        pytest.param("https://other.example/a", ["93.184.215.14"], id="host not listed"),
        pytest.param("ftp://pictures.example/a", ["93.184.215.14"], id="another scheme"),
        pytest.param("file:///etc/passwd", [], id="a file"),
        pytest.param("https://u:p@pictures.example/a", ["93.184.215.14"], id="with a password"),
        pytest.param("https://pictures.example/a", ["127.0.0.1"], id="loopback"),
        pytest.param("https://pictures.example/a", ["10.1.2.3"], id="private"),
        pytest.param("https://pictures.example/a", ["169.254.169.254"], id="cloud metadata"),
        pytest.param("https://pictures.example/a", ["::1"], id="loopback in IPv6"),
        pytest.param("https://pictures.example/a", ["::ffff:10.0.0.1"], id="mapped private"),
        pytest.param("https://pictures.example/a", ["93.184.215.14", "10.0.0.1"], id="one of two"),
        pytest.param("https://pictures.example/a", [], id="no address"),
    ],
)
def test_nothing_is_fetched_from_inside_or_from_hosts_not_listed(tmp_path, url, addresses):
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("a request was sent")

    with pytest.raises(ForbiddenAddressError):
        fetching(tmp_path, answer, url, addresses=addresses)


def test_a_redirect_to_another_host_is_not_followed(tmp_path):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://metadata.internal/"})

    with pytest.raises(ForbiddenAddressError):
        fetching(tmp_path, answer, "https://pictures.example/a")


def test_a_circle_of_redirects_ends(tmp_path):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "/again"})

    with pytest.raises(TransportError, match="redirects"):
        fetching(tmp_path, answer, "https://pictures.example/a")


def test_what_is_too_large_is_cut_off(tmp_path):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bytes(1001))

    with pytest.raises(UnreadableMediaError):
        fetching(tmp_path, answer, "https://pictures.example/a")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("93.184.215.14", True), ("2606:2800::1", True), ("fe80::1%eth0", False), ("x", False)],
)
def test_only_addresses_of_the_open_internet_count(address, allowed):
    assert is_public(address) is allowed
