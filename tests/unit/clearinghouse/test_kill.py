"""kill -9 at random moments loses nothing that was acknowledged, and never forks the log."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import altcha
import httpx
import pytest

from unspread.clearinghouse import checking, composition, key_files
from unspread.clearinghouse.database import connect
from unspread.clearinghouse.publisher import DatabaseEntries
from unspread.clearinghouse.settings import Settings
from unspread.crypto import Receipt
from unspread.model import Age, State
from unspread.person import case
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import Frontier, leaf_digest
from unspread.transparency.note import Note

from .conftest import picture, until
from .postgres import cluster

CLIENTS = 3


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(settings: Settings, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The real program, in a process of its own, until killed."""
    data = settings.data
    with (data.parent / "server.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training",
             "--data", str(data), "--database", settings.database_url, "--port", str(port),
             "--tick", "0.05"],
            stdout=log, stderr=log,
        )  # fmt: skip

    def is_ready() -> bool:
        assert child.poll() is None, (data.parent / "server.log").read_text()[-2000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        until(is_ready, 90)
        yield child
    finally:
        child.kill()
        child.wait()


class Client(threading.Thread):
    """Submits and withdraws until the server is gone; remembers what was acknowledged."""

    def __init__(self, url: str, origin: str, number: int, seeds: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self._origin = origin
        self._draw = random.Random(number)
        self._seeds = seeds
        self.submitted: dict[int, str] = {}
        self.withdrawn: set[int] = set()
        self.checkpoints: set[bytes] = set()

    def run(self) -> None:
        try:
            while True:
                self._submit(next(self._seeds))
                self.checkpoints.add(self._http.get("/log/checkpoint").content)
                if self._draw.random() < 0.4:
                    self._withdraw(self._draw.choice(sorted(self.submitted)))
        except httpx.TransportError:
            self._http.close()

    def _submit(self, seed: int) -> None:
        challenge = altcha.Challenge.from_dict(self._http.get("/v1/proof-of-work").json())
        solution = altcha.solve_challenge(challenge)
        proof = altcha.Payload(challenge, solution).to_base64()
        message = case.submission(receipt(seed), [picture(seed)], Age.UNKNOWN, proof)
        answer = self._http.post("/v1/cases", content=message.to_json())
        assert answer.status_code == 201, answer.text
        self.submitted[seed] = answer.json()["items"][0]["commitment"]

    def _withdraw(self, seed: int) -> None:
        message = case.withdrawal_request(receipt(seed), [0], self._origin)
        answer = self._http.post("/v1/cases/withdraw", content=message.to_json())
        assert answer.status_code == 200, answer.text
        self.withdrawn.add(seed)


def receipt(seed: int) -> Receipt:
    return Receipt(seed.to_bytes(13, "big"))


@pytest.mark.parametrize(
    ("database", "rounds"),
    [
        pytest.param("sqlite", 3, id="SQLite, three rounds"),
        pytest.param("postgresql", 2, id="PostgreSQL, two rounds"),
        # Hours, where others use the machine too.
        pytest.param(
            "sqlite",
            200,
            id="SQLite, two hundred rounds",
            marks=[pytest.mark.long, pytest.mark.timeout(3 * 3600)],
        ),
        pytest.param(
            "postgresql",
            40,
            id="PostgreSQL, forty rounds",
            marks=[pytest.mark.long, pytest.mark.timeout(3 * 3600)],
        ),
    ],
)
def test_kill_minus_nine_loses_nothing(tmp_path: Path, database: str, rounds: int) -> None:
    with cluster() if database == "postgresql" else nullcontext("") as database_url:
        settings = Settings(data=tmp_path / "data", training=True, database_url=database_url)
        _kill(settings, rounds)


def _kill(settings: Settings, rounds: int) -> None:
    draw = random.Random(f"{rounds} rounds")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    seeds = iter(range(1, 10_000_000))
    submitted: dict[int, str] = {}
    withdrawn: set[int] = set()
    seen: set[bytes] = set()
    origin = f"127.0.0.1:{port}/log"
    for number in range(rounds):
        with serving(settings, port) as child:
            clients = [Client(url, origin, number * CLIENTS + at, seeds) for at in range(CLIENTS)]
            for client in clients:
                client.start()
            if not withdrawn:  # on a busy machine nothing might be done before the first kills
                until(lambda clients=clients: any(each.withdrawn for each in clients), 90)
            time.sleep(draw.uniform(0.02, 0.7))  # the moment of the kill is what is tried here
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        for client in clients:
            client.join(30)
            submitted |= client.submitted
            withdrawn |= client.withdrawn
            seen |= client.checkpoints
        _nothing_is_lost(settings, submitted, withdrawn)
    assert submitted
    assert withdrawn
    with serving(settings, port):
        _no_fork(settings, seen, httpx.get(f"{url}/log/checkpoint", trust_env=False).content)
    assert [each.to_line() for each in checking.check(settings) if not each.is_good] == []


def _nothing_is_lost(settings: Settings, submitted: dict[int, str], withdrawn: set[int]) -> None:
    connection = connect(settings, read_only=True)
    entries = DatabaseEntries(connection)
    items = {
        bytes(key): (state, bytes(commitment).hex(), position)
        for key, state, commitment, position in connection.rows(
            "SELECT item_key, state, commitment, listing_id FROM item"
        )
    }
    commitments = [entry.commitment().hex() for entry in entries.entries(0, entries.size())]
    connection.close()
    for seed, commitment in submitted.items():
        state, stored, position = items[receipt(seed).item_key(0).public]
        assert stored == commitment
        assert commitments[position] == commitment
        assert (state == State.WITHDRAWN) >= (seed in withdrawn)


def _no_fork(settings: Settings, seen: set[bytes], last: bytes) -> None:
    """Every checkpoint that anybody saw is of the same tree as the last."""
    composition.compose(settings, key_files.django_key(settings))
    connection = connect(settings, read_only=True)
    entries = DatabaseEntries(connection)
    frontier, roots = Frontier(), {0: Frontier().root()}
    for entry in entries.entries(0, entries.size()):
        frontier.append([leaf_digest(entry.public())])
        roots[frontier.size] = frontier.root()
    connection.close()
    for raw in seen | {last}:
        checkpoint = Checkpoint.from_text(Note.from_bytes(raw).text)
        assert roots[checkpoint.size] == checkpoint.root
