"""Media is fetched from listed hosts alone, and never from inside by way of a name."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from unspread.errors import TransportError
from unspread.platform_kit.hooks.fetch import FetchRefusedError, fetch, host_of


@pytest.fixture
def port() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("location", "/file")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 1000)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def got(url: str, *hosts: str, most: int = 1000) -> bytes:
    async def once() -> bytes:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await fetch(client, url, hosts, most)

    return asyncio.run(once())


def test_a_listed_host_is_fetched_from(port: int) -> None:
    assert len(got(f"http://127.0.0.1:{port}/file", "127.0.0.1")) == 1000


def test_a_name_that_leads_inside_is_refused_though_it_is_listed(port: int) -> None:
    with pytest.raises(FetchRefusedError, match="into this network"):
        got(f"http://localhost:{port}/file", "localhost")


def test_a_redirect_is_not_followed(port: int) -> None:
    with pytest.raises(TransportError, match="302"):
        got(f"http://127.0.0.1:{port}/away", "127.0.0.1")


def test_no_more_than_the_limit_is_read(port: int) -> None:
    with pytest.raises(FetchRefusedError, match="too large"):
        got(f"http://127.0.0.1:{port}/file", "127.0.0.1", most=999)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://[",
        "//127.0.0.1/x",
        "http://user:word@127.0.0.1/x",
        "http://other.example/x",
        "http://127.0.0.1.other.example/x",
    ],
)
def test_any_other_address_is_refused_without_a_connection(url: str) -> None:
    with pytest.raises(FetchRefusedError):
        got(url, "127.0.0.1")


def test_capitals_in_a_host_are_the_same_host() -> None:
    assert host_of("https://CDN.Example/x") == "cdn.example"
