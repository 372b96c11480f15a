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
from contextlib import contextmanager
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

CLIENTS = 3


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(data: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The real program, in a process of its own, until killed."""
    with (data.parent / "server.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training",
             "--data", str(data), "--port", str(port), "--tick", "0.05"],
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


def test_kill_minus_nine_loses_nothing(tmp_path: Path, kill_rounds: int) -> None:
    draw = random.Random(f"{kill_rounds} rounds")
    port = free_port()
    data = tmp_path / "data"
    url = f"http://127.0.0.1:{port}"
    seeds = iter(range(1, 10_000_000))
    submitted: dict[int, str] = {}
    withdrawn: set[int] = set()
    seen: set[bytes] = set()
    origin = f"127.0.0.1:{port}/log"
    for number in range(kill_rounds):
        with serving(data, port) as child:
            clients = [Client(url, origin, number * CLIENTS + at, seeds) for at in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(draw.uniform(0.02, 0.7))  # the moment of the kill is what is tried here
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        for client in clients:
            client.join(30)
            submitted |= client.submitted
            withdrawn |= client.withdrawn
            seen |= client.checkpoints
        _nothing_is_lost(data, submitted, withdrawn)
    assert submitted
    assert withdrawn
    with serving(data, port):
        _no_fork(data, seen, httpx.get(f"{url}/log/checkpoint", trust_env=False).content)
    settings = Settings(data=data)
    assert [each.to_line() for each in checking.check(settings) if not each.is_good] == []


def _nothing_is_lost(data: Path, submitted: dict[int, str], withdrawn: set[int]) -> None:
    settings = Settings(data=data)
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


def _no_fork(data: Path, seen: set[bytes], last: bytes) -> None:
    """Every checkpoint that anybody saw is of the same tree as the last."""
    settings = Settings(data=data)
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


@pytest.fixture(
    params=[
        pytest.param(3, id="three rounds"),
        pytest.param(
            200, id="two hundred rounds", marks=[pytest.mark.long, pytest.mark.timeout(3600)]
        ),
    ]
)
def kill_rounds(request: pytest.FixtureRequest) -> int:
    rounds: int = request.param
    return rounds
