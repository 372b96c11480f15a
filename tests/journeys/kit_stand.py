"""A kit as a real process, and the outside world that it talks to: a programme and a webhook."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.journeys.conftest import free_port, until


class World:
    """StopNCII's protocol with a growing list, and a platform's own receiver of actions."""

    def __init__(self, page_records: int = 4) -> None:
        self.records: list[tuple[str, str]] = []
        """(pdq in hex, state), newest last."""
        self.page_records = page_records
        self.delivered: list[dict[str, object]] = []
        """Actions that were confirmed, in order, as often as they were."""
        self.on_page: Callable[[int], None] = lambda _: None
        """Called with the number of a page before it is answered."""
        self.on_action: Callable[[dict[str, object]], None] = lambda _: None
        """Called with an action before it is confirmed."""
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                start = int(query.get("nextPageToken", ["0"])[0])
                world.on_page(start // world.page_records)
                self._answer(world.page(start))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.startswith("/hook"):
                    world.on_action(body)
                    world.delivered.append(body)
                self._answer({})

            def _answer(self, value: object) -> None:
                body = json.dumps(value).encode()
                try:
                    self.send_response(200)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the kit was killed meanwhile

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self, start: int) -> dict[str, object]:
        """The records from one place on."""
        end = start + self.page_records
        records = [
            {
                "lastModtimestamp": 20,
                "signalType": "ImagePDQ",
                "hashValue": value,
                "hashStatus": state,
                "CSPFeedbacks": [],
            }
            for value, state in self.records[start:end]
        ]
        more = len(self.records) > end
        return {
            "count": len(records),
            "hasMoreRecords": more,
            "nextPageToken": str(end) if more else "",
            "nextSetTimestamp": 20,
            "hashRecords": records,
        }

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class KitProcess:
    """`unspread platform serve` on a directory, killed and started again at will."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data / "server.log"
        command = [sys.executable, "-m", "unspread", "platform", "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(data), "--port", str(self.port)],
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def headers(self) -> dict[str, str]:
        """With the key for everything that the first start made."""
        key = (self.data / "keys" / "first.key").read_text().strip()
        return {"authorization": f"Bearer {key}"}

    def answers(self, path: str = "/health/ready") -> httpx.Response | None:
        """What it answers, None if it does not."""
        try:
            return httpx.get(self.url + path, timeout=10, headers=self.headers)
        except (httpx.HTTPError, OSError):
            return None

    def ready(self, seconds: float = 90.0) -> "KitProcess":
        """Wait until it may be given uploads."""

        def claim() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            answer = self.answers()
            return answer is not None and answer.status_code == 200

        until(claim, seconds)
        return self

    def scan(self, media: bytes, reference: str | None = None) -> httpx.Response:
        """Upload something."""
        params = {"reference": reference} if reference else {}
        return httpx.post(
            f"{self.url}/scan", params=params, content=media, headers=self.headers, timeout=60
        )

    def kill(self) -> None:
        """As `kill -9` does, the decoding workers with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        """As an orchestrator does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


def settings(world: World, more: str = "") -> str:
    """A kit that follows the world's programme, refuses what it lists, and tells it of actions."""
    return f"""
{more}
[lists.programme]
source = "stopncii"
url = "{world.url}"
credentials = "programme.toml"
poll_seconds = 0.2
[lists.programme.actions]
unverified = "refuse"
[webhook]
url = "{world.url}/hook"
"""


def prepare(data: Path, world: World, more: str = "") -> None:
    """Write a kit's directory as an administrator would."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "platform.toml").write_text(settings(world, more), encoding="utf-8")
    (data / "programme.toml").write_text(
        'function_key = "f"\nsubscription_key = "s"\n', encoding="utf-8"
    )
