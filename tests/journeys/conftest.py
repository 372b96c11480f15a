"""What every journey needs: the demo's real programs, a real browser, benign pictures."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.journeys.page_stand import Stand, page_stand

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def until(claim, seconds=60.0):
    """Poll until `claim()` is truthy; its value. Fails the test when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = claim()
        if value:
            return value
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def unspread(*arguments: str, stdin: str = "", check: bool = True):
    """Run the command line as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "unspread", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


@dataclass
class Demo:
    url: str
    platform_url: str
    data: Path
    process: subprocess.Popen

    def post(self, content: bytes, name: str = "picture") -> httpx.Response:
        """Post on the board, as a person with a browser does."""
        return httpx.post(
            f"{self.platform_url}/board/posts",
            files={"file": (name, content)},
            headers={"accept": "application/json"},
            timeout=60,
        )

    def post_is_up(self, post: str) -> bool:
        return httpx.get(f"{self.platform_url}/board/media/{post}").status_code == 200

    def submit(self, *paths: Path) -> dict:
        import json

        files = [str(each) for each in paths]
        return json.loads(unspread("submit", *files, "--to", self.url, "--json").stdout)

    def status(self, receipt: str) -> dict:
        import json

        return json.loads(unspread("status", "--at", self.url, "--json", stdin=receipt).stdout)

    def withdraw(self, receipt: str) -> None:
        unspread("withdraw", "--at", self.url, stdin=receipt)


@contextlib.contextmanager
def running_demo(data: Path, port: int | None = None, platform_port: int | None = None):
    port, platform_port = port or free_port(), platform_port or free_port()
    command = [sys.executable, "-u", "-m", "unspread", "demo", "--data", str(data)]
    command += ["--port", str(port), "--platform-port", str(platform_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if "Ctrl-C" in line:
                    break
            assert process.poll() is None, _logs(data)
            yield Demo(
                f"http://127.0.0.1:{port}", f"http://127.0.0.1:{platform_port}", data, process
            )
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.stdout.read()
                process.wait(60)


def _logs(data: Path) -> str:
    return "\n".join(each.read_text()[-4000:] for each in sorted(data.glob("*.log")))


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


# For a module, not a session: while Playwright runs, no other test could run an event loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=CHROMIUM_ARGUMENTS if os.geteuid() == 0 else CHROMIUM_ARGUMENTS[1:],
        )
        yield browser
        browser.close()


@pytest.fixture
def phone(chromium) -> Iterator[Page]:
    """A page on a phone-sized screen, with nothing kept from before."""
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with page_stand(tmp_path_factory.mktemp("pages")) as stand:
        yield stand


@pytest.fixture
def stand(server: Stand) -> Stand:
    server.requests.clear()
    server.cases.clear()
    server.answers.clear()
    server.spent.clear()
    server.platforms.clear()
    server.withdrawn.clear()
    server.renewed = 0
    server.proof = lambda good: good
    return server


@pytest.fixture(
    params=[
        pytest.param((390, 844), id="phone"),
        pytest.param((320, 640), id="narrow", marks=pytest.mark.long),
    ]
)
def open_page(
    chromium: Browser, stand: Stand, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Every path of the page, on a phone and on the narrowest screen there is."""
    pages = []

    def open_one(path: str, width: int = request.param[0], height: int = request.param[1]) -> Page:
        page = chromium.new_page(viewport={"width": width, "height": height}, locale="en-US")
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        pages.append(page)
        page.goto(stand.url + path)
        return page

    yield open_one
    for page in pages:
        page.close()
