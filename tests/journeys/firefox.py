"""Debian's Firefox over Marionette, its own remote protocol: no driver program is needed.

https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.journeys.conftest import free_port, until

PROGRAM: Final = "firefox-esr"
ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's reference (WebDriver, 12.2)."""


class FirefoxError(Exception):
    """Firefox answered with an error."""


class Driven:
    """One window of a browser that follows WebDriver's commands, by Marionette's names for them."""

    def call(self, name: str, values: dict[str, Any] | None = None) -> Any:
        """Send one command and wait for its answer."""
        raise NotImplementedError

    def goto(self, url: str) -> None:
        """Open an address."""
        self.call("WebDriver:Navigate", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """The value of a function body, run in the page."""
        return self.call("WebDriver:ExecuteScript", {"script": script, "args": arguments})

    def find(self, selector: str) -> str:
        """Reference of the first element."""
        found = self.call("WebDriver:FindElement", {"using": "css selector", "value": selector})
        reference: str = found[ELEMENT]
        return reference

    def click(self, selector: str) -> None:
        """As a person does."""
        self.call("WebDriver:ElementClick", {"id": self.find(selector)})

    def type(self, selector: str, text: str) -> None:
        """Keys into a field, or paths into a chooser of files."""
        self.call("WebDriver:ElementSendKeys", {"id": self.find(selector), "text": text})

    def wait_for(self, claim: str) -> None:
        """Until a JavaScript expression is true in the page."""
        until(lambda: self.run(f"return Boolean({claim})"))


class Firefox(Driven):
    """By Marionette."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""
        self.number = 0
        self._receive()
        self.call("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {}}})

    def call(self, name: str, values: dict[str, Any] | None = None) -> Any:
        """Send one command and wait for its answer."""
        self.number += 1
        message = json.dumps([0, self.number, name, values or {}]).encode()
        self.connection.sendall(f"{len(message)}:".encode() + message)
        _, _, error, result = self._receive()
        if error is not None:
            raise FirefoxError(error["message"])
        return result.get("value", result) if isinstance(result, dict) else result

    def _receive(self) -> Any:
        while b":" not in self.buffer:
            self.buffer += self.connection.recv(65536)
        length, _, self.buffer = self.buffer.partition(b":")
        while len(self.buffer) < int(length):
            self.buffer += self.connection.recv(65536)
        message, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        return json.loads(message)


@contextmanager
def firefox(profile: Path, **preferences: bool | int | str) -> Iterator[Firefox]:
    """A Firefox without a window of its own, with a fresh profile."""
    port = free_port()
    settings = {"marionette.port": port, "intl.accept_languages": "en", **preferences}
    lines = [f'user_pref("{name}", {json.dumps(value)});' for name, value in settings.items()]
    (profile / "user.js").write_text("\n".join(lines))
    program = shutil.which(PROGRAM)
    assert program is not None
    command = [program, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    connection = socket.create_connection(("127.0.0.1", port), 120)
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline, "Firefox did not start"
                    time.sleep(0.2)
            with connection:
                yield Firefox(connection)
        finally:
            process.terminate()
            process.wait(30)
