"""Anybody audits the running log, and another organisation's witness survives its machine."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import Demo, free_port, unspread, until
from unspread.testing.feed import TrialLog
from unspread.testing.samples import encoded, landscape
from unspread.transparency.note import Note, VerifierKey
from unspread.transparency.policy import trial_policy
from unspread.transparency.tiles import TileReader
from unspread.transparency.witness import Witnesses

pytestmark = pytest.mark.journey


def audited(demo: Demo, state: Path) -> dict:
    done = unspread("audit", demo.url, "--state", str(state), "--json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_anybody_audits_the_log_while_a_listing_comes_and_goes(demo, tmp_path):
    state, picture = tmp_path / "audit.json", tmp_path / "picture.jpg"
    picture.write_bytes(encoded(landscape(40_001), "JPEG"))
    before = audited(demo, state)
    receipt = demo.submit(picture)["receipt"]
    listed = audited(demo, state)
    assert listed["size"] > before["size"]
    demo.withdraw(receipt)
    gone = until(lambda: next((r for r in [audited(demo, state)] if r["grown"]), None))
    assert gone["size"] > listed["size"]
    words = unspread("audit", demo.url, "--state", str(state)).stdout
    assert "continues the log" in words
    assert "Wrong             nothing" in words


@contextmanager
def witness_program(log_key: VerifierKey, data: Path) -> Iterator[tuple[str, VerifierKey]]:
    """`unspread witness`: its address and Ed25519 key. It is killed without warning at the end."""
    command = [sys.executable, "-m", "unspread", "witness", "--data", str(data)]
    command += ["--name", "other.example/witness", "--port", "0"]
    command += ["--log", log_key.to_text()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            key = VerifierKey.from_text(lines[0].split()[1])
            yield lines[2].split()[-1], key
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_witness_that_was_killed_signs_no_fork(tmp_path):
    log = TrialLog(0)
    log.enrol()
    log.add()
    log.publish()
    with witness_program(log.policy.log_key, tmp_path) as (url, key):
        signatures = cosigned(log, url, key)
        assert len(signatures) == 1
    fork = TrialLog(0)
    fork.random.seed(7)
    fork.add()
    fork.publish()
    log.add()
    log.publish()
    with witness_program(log.policy.log_key, tmp_path) as (url, again):
        assert again == key
        assert cosigned(fork, url, key) == []
        signatures = cosigned(log, url, key)
        note = Note.from_bytes(log.public.get("log/checkpoint"))
        policy = trial_policy(log.origin, log.log_key.public, [key], quorum=1)
        assert policy.verify(Note(note.text, (*note.signatures, *signatures))).size == 2


@contextmanager
def clearinghouse_program(data: Path, port: int, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training"]
    command += ["--data", str(data), "--port", str(port), *options]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: process.poll() is None and is_ready(url), seconds=120)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_clearinghouse_publishes_what_its_witness_has_signed(tmp_path):
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(encoded(landscape(40_002), "JPEG"))
    data, port = tmp_path / "clearinghouse", free_port()
    with clearinghouse_program(data, port) as url:
        told = unspread("audit", url, "--state", str(tmp_path / "first.json")).stderr
    log_key = VerifierKey.from_text(told.split()[-1])
    with witness_program(log_key, tmp_path / "witness") as (witness_url, key):
        policy = tmp_path / "policy"
        policy.write_text(
            f"log {log_key.to_text()}\nwitness other {key.to_text()} {witness_url}\nquorum other\n"
        )
        options = ["--state", str(tmp_path / "audit.json"), "--policy", str(policy), "--json"]
        with clearinghouse_program(data, port, "--witnesses", str(policy)) as url:
            unspread("submit", str(picture), "--to", url)
            report = until(
                lambda: next(
                    (r for r in [json.loads(unspread("audit", url, *options).stdout)] if r["size"]),
                    None,
                ),
                seconds=30,
            )
    assert list(report["witnesses"]) == ["other.example/witness"]
    assert report["problems"] == []


def cosigned(log: TrialLog, url: str, key: VerifierKey) -> list:
    note = Note.from_bytes(log.public.get("log/checkpoint"))
    tree = TileReader(lambda path: log.public.get(f"log/{path}"), log.writer.size)
    with httpx.Client(timeout=30) as client:
        return Witnesses(client, [(key, url)])(note, tree.node)
