"""What is hosted already is taken into the catalogue, once, from safe places only."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys

import httpx
import pytest

from tests.journeys.conftest import until
from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import TransportError, UnreadableMediaError
from unspread.platform_kit.hosted import (
    Bucket,
    Directory,
    Fetcher,
    ForbiddenAddressError,
    Piece,
    Progress,
    Urls,
    is_public,
    scan_hosted,
)
from unspread.testing.samples import encoded, landscape


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


def fetching(
    tmp_path,
    answer,
    url,
    *,
    hosts=("pictures.example",),
    addresses=("93.184.215.14",),
    seconds=30.0,
):
    async def work() -> object:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            file = tmp_path / "urls.txt"
            file.write_text(f"# ours\n{url}\n\n")
            places = {"resolve": lambda *_: list(addresses)}
            urls = Urls(file, Fetcher(hosts, 1000, http, seconds=seconds, **places))
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


def test_a_host_that_drips_is_given_up(tmp_path):
    async def dripping():
        yield b"a"
        await asyncio.Event().wait()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=dripping())

    with pytest.raises(TransportError, match="too long"):
        fetching(tmp_path, answer, "https://pictures.example/a", seconds=0.05)


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


@pytest.fixture
def s3():
    """Amazon's S3 as moto speaks it, and the environment that leads there."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
        region_name="eu-west-1",
    )
    client.create_bucket(
        Bucket="uploads", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield client, environment
    server.stop()


@pytest.mark.long
def test_a_bucket_is_scanned_by_the_command_that_is_killed_and_started_again(tmp_path, s3):
    client, environment = s3
    data = tmp_path / "kit"
    data.mkdir()
    (data / "platform.toml").write_text('[lists.ours]\nsource = "local"\n')
    many = 40
    for seed in range(many):
        body = encoded(landscape(seed, 200, 150))
        client.put_object(Bucket="uploads", Key=f"media/{seed % 4}/{seed}.jpg", Body=body)
    client.put_object(Bucket="uploads", Key="elsewhere.jpg", Body=picture(99))
    (tmp_path / "listed.png").write_bytes(encoded(landscape(7, 200, 150), "PNG"))

    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "unspread", "platform", *words, "--data", str(data)]

    listed = str(tmp_path / "listed.png")
    subprocess.run(command("bank", "add", "--list", "ours", listed), check=True)
    scanning = command("scan", "s3://uploads/media", "--json", "--workers", "1")
    environment = {**os.environ, **environment}
    first = subprocess.Popen(scanning, env=environment, start_new_session=True)
    until(lambda: noted(data) >= 5, 120)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(30)
    before = noted(data)

    again = subprocess.run(scanning, env=environment, capture_output=True, text=True, check=True)
    progress = json.loads(again.stdout)
    assert 5 <= before < many
    assert (progress["seen"], progress["known"]) == (many, before)
    assert progress["remembered"] == many - before
    with sqlite3.connect(data / "platform.sqlite3") as database:
        hosted = database.execute("SELECT reference FROM hosted ORDER BY 1").fetchall()
        actions = database.execute("SELECT reference, action FROM actions").fetchall()
    assert len(hosted) == len(set(hosted)) == many
    assert actions == [("3/7.jpg", "remove")]


def noted(data) -> int:
    """Pieces in the ledger."""
    try:
        with sqlite3.connect(data / "platform.sqlite3") as database:
            return database.execute("SELECT count(*) FROM scan_ledger").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
