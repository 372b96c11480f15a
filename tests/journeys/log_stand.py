"""Programs of the log on this machine: a clearinghouse, witnesses, a platform that follows."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.journeys.conftest import free_port, unspread, until
from unspread.platform_kit.app import create_app
from unspread.platform_kit.enrolment import enrol
from unspread.platform_kit.kit import Kit
from unspread.platform_kit.settings import Settings
from unspread.transparency.note import VerifierKey

__all__ = ["clearinghouse_program", "following", "invited", "witness_program", "witnessed"]


@contextmanager
def witness_program(
    log_key: VerifierKey, data: Path, name: str = "other.example/witness"
) -> Iterator[tuple[str, VerifierKey, VerifierKey]]:
    """`unspread witness`: its address, Ed25519 and ML-DSA-44 key. It is killed at the end."""
    command = [sys.executable, "-m", "unspread", "witness", "--data", str(data)]
    command += ["--name", name, "--port", "0", "--log", log_key.to_text()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            first, second = (VerifierKey.from_text(line.split()[1]) for line in lines[:2])
            yield lines[2].split()[-1], first, second
        finally:
            process.send_signal(signal.SIGKILL)


@contextmanager
def clearinghouse_program(
    data: Path, port: int, *options: str, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """`unspread clearinghouse serve`, in training mode: its address."""
    command = [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training"]
    # Without canaries: what a bank holds is what a test has listed.
    command += ["--data", str(data), "--port", str(port), "--canaries", "0", *options]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
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


def invited(data: Path, url: str, platform: Path, *options: str, name: str = "Board") -> str:
    """Admit a platform, as two members of staff do; its partner id."""
    invitation = unspread(
        "clearinghouse", "partner", "invite", name, *options, "--data", str(data)
    ).stdout.split()[-1]
    with httpx.Client(trust_env=False) as http:
        membership, _ = enrol(platform, "unspread", url, invitation, name, http=http)
    yes = ("--by", "Ada", "--by", "Bob")
    unspread(
        "clearinghouse", "partner", "approve", membership.partner_id, *yes, "--data", str(data)
    )
    return membership.partner_id


@contextmanager
def following(platform: Path, **values: object) -> Iterator[Kit]:
    """The platform kit at work on a directory: its tasks, without its server."""
    app = create_app(Settings(data=platform, scan_workers=1, **values))
    stop, started = asyncio.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with app.router.lifespan_context(app):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        assert started.wait(60)
        yield app.state.kit
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(60)


@contextmanager
def witnessed(data: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """A clearinghouse that publishes what all the witnesses have signed, with both of their keys;
    its address, and the policy file."""
    port = free_port()
    clearinghouse = data / "clearinghouse"
    with clearinghouse_program(clearinghouse, port) as url:
        told = unspread("audit", url, "--state", str(data / "first.json")).stderr
    log_key = VerifierKey.from_text(told.split()[-1])
    with ExitStack() as running:
        lines = [f"log {log_key.to_text()}"]
        for number, name in enumerate(names):
            address, *keys = running.enter_context(
                witness_program(log_key, data / f"witness-{number}", name)
            )
            lines += [
                f"witness {letter}{number} {key.to_text()} {address}"
                for letter, key in zip("ab", keys, strict=True)
            ]
        members = [f"{letter}{number}" for number in range(len(names)) for letter in "ab"]
        lines += [f"group everybody all {' '.join(members)}", "quorum everybody", ""]
        policy = data / "policy"
        policy.write_text("\n".join(lines))
        yield (
            running.enter_context(
                clearinghouse_program(clearinghouse, port, "--witnesses", str(policy))
            ),
            policy,
        )
