"""A clearinghouse behind the proxy that we ship a configuration for."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.browser import main as install
from tests.journeys.conftest import free_port, unspread, until
from unspread.testing.samples import encoded, landscape

pytestmark = [pytest.mark.journey, pytest.mark.long]

CADDYFILE = Path(__file__).parents[2] / "deploy/clearinghouse/Caddyfile"


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/live").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where Caddy answers for a clearinghouse."""
    if not shutil.which("caddy"):
        if os.geteuid():
            pytest.skip("Caddy is not installed, and only root could")
        install("caddy")
    data = tmp_path_factory.mktemp("clearinghouse")
    inner, outer = free_port(), free_port()
    home = tmp_path_factory.mktemp("caddy")
    public = f"http://127.0.0.1:{outer}"
    serve = [sys.executable, "-m", "unspread", "clearinghouse", "serve"]
    serve += ["--data", str(data), "--port", str(inner), "--url", public, "--name", "Example"]
    serve += ["--client-address-header", "x-forwarded-for"]
    # No certificate for a port of this machine; Caddy's own door for orders stays shut.
    (home / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{CADDYFILE.read_text()}")
    caddy = ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
    settings = {"ADDRESS": public, "CLEARINGHOUSE": f"127.0.0.1:{inner}"}
    settings |= {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(serve, stdout=log, stderr=log) as clearinghouse,
        subprocess.Popen(caddy, stdout=log, stderr=log, env=os.environ | settings) as proxy,
    ):
        try:
            until(lambda: answers(public))
            yield public
        finally:
            proxy.send_signal(signal.SIGTERM)
            clearinghouse.send_signal(signal.SIGINT)
    # The two programs wrote no address of anybody, and no request.
    assert "10.1.2.3" not in (home / "log").read_text()


def test_a_person_gets_through(address, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(landscape(1)))
    case = json.loads(unspread("submit", str(path), "--to", address, "--json").stdout)
    status = unspread("status", "--at", address, "--json", stdin=case["receipt"])
    (item,) = json.loads(status.stdout)["items"]
    assert item["state"] in {"listed", "received"}


def test_what_is_for_the_operator_is_not_for_the_public(address):
    assert httpx.get(f"{address}/metrics").status_code == 404


@pytest.mark.parametrize(
    ("path", "bytes_sent"), [("/v1/cases", 5_000_000), ("/v1/cases/status", 300_000)]
)
def test_bodies_beyond_what_the_program_reads_are_refused(address, path, bytes_sent):
    answer = httpx.post(f"{address}{path}", content=bytes(bytes_sent))
    assert answer.status_code == 413


def test_the_push_is_not_held_back(address):
    with httpx.stream("GET", f"{address}/feed/push", timeout=20) as pushed:
        assert pushed.status_code == 200
        assert next(pushed.iter_raw())


def test_what_a_stranger_says_of_its_address_does_not_count(address):
    # A client that could choose its address would have a fresh allowance with each request.
    refused = False
    for number in range(300):
        answer = httpx.post(
            f"{address}/v1/cases",
            content=b"x",
            headers={"x-forwarded-for": f"10.1.2.3, 10.{number % 250}.{number // 250}.1"},
        )
        if answer.status_code == 429:
            refused = True
            break
    assert refused
