"""WebKitGTK, the nearest thing to Safari on Linux, over its own WebDriver program."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.journeys.conftest import free_port
from tests.journeys.firefox import Driven

PROGRAM: Final = "WebKitWebDriver"
_BROWSERS: Final = ("/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",)
_SECONDS: Final = 120.0


class WebKitError(Exception):
    """WebKit answered with an error."""


def browser() -> str | None:
    """Path of the small browser that comes with the engine."""
    return next((path for path in _BROWSERS if Path(path).exists()), None)


class WebKit(Driven):
    """By WebDriver over HTTP (https://www.w3.org/TR/webdriver2/)."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        options = {"binary": browser(), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self.session = self._post("/session", {"capabilities": wanted})["sessionId"]

    def call(self, name: str, values: dict[str, Any] | None = None) -> Any:
        """Send one command and wait for its answer."""
        given = dict(values or {})
        paths = {
            "WebDriver:Navigate": "/url",
            "WebDriver:ExecuteScript": "/execute/sync",
            "WebDriver:FindElement": "/element",
            "WebDriver:ElementClick": "/element/{id}/click",
            "WebDriver:ElementSendKeys": "/element/{id}/value",
        }
        path = paths[name].format(id=given.pop("id", ""))
        return self._post(f"/session/{self.session}{path}", given)

    def click(self, selector: str) -> None:
        """As a person does, who waits until it can be clicked."""
        # Below the fold this driver finds nothing to click on.
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self._once_ready(lambda: super(WebKit, self).click(selector))

    def type(self, selector: str, text: str) -> None:
        """As a person does, who waits until it can be typed into."""
        self._once_ready(lambda: super(WebKit, self).type(selector, text))

    def _once_ready(self, act: Callable[[], None]) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                return act()
            except WebKitError as error:
                # This driver, unlike Firefox's, does not wait until a page has been laid out.
                if "not interactable" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise WebKitError(f"{answer['error']}: {answer.get('message', '')}")
        return answer


@contextmanager
def webkit() -> Iterator[WebKit]:
    """A window on a screen that nobody sees, with nothing kept from before."""
    port = free_port()
    screen, driver = shutil.which("xvfb-run"), shutil.which(PROGRAM)
    assert screen is not None
    assert driver is not None
    command = [screen, "-a", driver, f"--port={port}"]
    environment = os.environ | {"LANGUAGE": "en", "LIBGL_ALWAYS_SOFTWARE": "1"}
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS) as http,
    ):
        try:
            deadline = time.monotonic() + _SECONDS
            while True:
                try:
                    http.get("/status")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline, "WebKit's driver did not start"
                    time.sleep(0.2)
            started = WebKit(http)
            yield started
            http.delete(f"/session/{started.session}")
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)
