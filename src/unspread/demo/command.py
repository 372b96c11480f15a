"""`unspread demo`: a clearinghouse and a sample platform on this machine, in training mode.

Starts the two programs as a non-profit and a platform would, joins them by the ordinary
enrolment, and stops them together. Both keep their data under one directory.
"""

import ctypes
import fcntl
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

import click
import httpx

from unspread.demo.platform import LIST_NAME
from unspread.errors import InputError, StateError, TransportError
from unspread.platform_kit.enrolment import enrol, memberships

START_WITHIN_SECONDS: Final = 60.0
STOP_WITHIN_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1
PLATFORM_NAME: Final = "Sample board"


@click.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--platform-port", default=8001, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--data",
    default=Path("unspread-data"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where both programs keep their data.",
)
def demo(port: int, platform_port: int, data: Path) -> None:
    """Try everything on this machine: a clearinghouse and a sample platform, in training mode.

    Nothing leaves this machine, and the list protects nobody. Stop it with Ctrl-C; start it again
    and all data is still there.
    """
    if port == platform_port:
        raise InputError("give the platform another port than the clearinghouse")
    with ExitStack() as running:
        running.enter_context(_sole_use_of(data))
        running.enter_context(_stop_signals())
        for wanted in (port, platform_port):
            _refuse_port_in_use(wanted)
        try:
            children = _start(running, data, port, platform_port)
            _print_welcome(port, platform_port, data)
            _wait_for_one_to_end(children)
        except KeyboardInterrupt:
            click.echo("\nStopping. All data is kept.")


def _start(
    running: ExitStack, data: Path, port: int, platform_port: int
) -> dict[str, "subprocess.Popen[bytes]"]:
    clearinghouse_url = f"http://127.0.0.1:{port}"
    platform_url = f"http://127.0.0.1:{platform_port}"
    clearinghouse = running.enter_context(
        _program(
            # Without canaries: one board has nobody to be told from, and nobody listed them.
            "-m", "unspread", "clearinghouse", "serve", "--training", "--canaries", "0",
            "--data", str(data / "clearinghouse"), "--port", str(port),
            log=data / "clearinghouse.log",
        )
    )  # fmt: skip
    _wait_until_ready("the clearinghouse", clearinghouse, clearinghouse_url, data)
    _enrol_once(data, clearinghouse_url)
    platform = running.enter_context(
        _program(
            "-m", "unspread.demo.platform", "--data", str(data / "platform"),
            "--port", str(platform_port), "--clearinghouse", clearinghouse_url,
            log=data / "platform.log",
        )
    )  # fmt: skip
    _wait_until_ready("the sample platform", platform, platform_url, data)
    return {"the clearinghouse": clearinghouse, "the sample platform": platform}


def _enrol_once(data: Path, clearinghouse_url: str) -> None:
    """Invite, enrol and approve the sample platform, unless an earlier start did."""
    done = data / "enrolled"
    if done.exists():
        return
    clearinghouse = ("--data", str(data / "clearinghouse"))
    platform = data / "platform"
    membership = dict(memberships(platform)).get(LIST_NAME)
    if membership is None:
        invitation = _run("clearinghouse", "partner", "invite", PLATFORM_NAME, *clearinghouse)
        with httpx.Client(trust_env=False) as http:
            membership, _ = enrol(
                platform, LIST_NAME, clearinghouse_url, invitation, PLATFORM_NAME, http=http
            )
    approval = ("--by", "first member of staff", "--by", "second member of staff")
    _run("clearinghouse", "partner", "approve", membership.partner_id, *approval, *clearinghouse)
    done.touch()


def _run(*arguments: str) -> str:
    """Run one `unspread` command; the last word of its output.

    Raises:
        StateError: with what it said, if it failed.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "unspread", *arguments], capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise StateError(f"`unspread {' '.join(arguments[:3])}` failed: {finished.stderr.strip()}")
    words = finished.stdout.split()
    return words[-1] if words else ""


@contextmanager
def _program(*arguments: str, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A child that writes to `log`, is asked to stop at the end, and never outlives us."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the terminal is ours to pass on, in order.
            start_new_session=True,
            # Safe: this process has no other thread when it forks.
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, even by kill -9 (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait_until_ready(name: str, child: "subprocess.Popen[bytes]", url: str, data: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StateError(f"{name} stopped while starting; {data}/*.log says why")
        try:
            if httpx.get(f"{url}/health/ready", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(POLL_SECONDS)
    raise TransportError(f"{name} did not become ready; {data}/*.log says more")


def _wait_for_one_to_end(children: "dict[str, subprocess.Popen[bytes]]") -> None:
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                raise StateError(f"{name} stopped unexpectedly; its log says why")
        time.sleep(POLL_SECONDS)


@contextmanager
def _sole_use_of(data: Path) -> Iterator[None]:
    """Hold the directory for this process.

    Raises:
        StateError: if it cannot be written to, or another demo uses it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (data / "demo.lock").open("w")
    except OSError as error:
        raise StateError(
            f"cannot write to {data}: {error.strerror}. Choose another with --data"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"a demo is already running on {data}. Stop it, or choose another with --data"
            ) from None
        yield


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM stop us as Ctrl-C does, and Ctrl-C also where a shell started us to ignore it."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _refuse_port_in_use(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise StateError(
                f"port {port} cannot be used ({error.strerror}). "
                "Choose others with --port and --platform-port"
            ) from None


def _print_welcome(port: int, platform_port: int, data: Path) -> None:
    click.echo(
        f"""
Unspread, in training mode: nothing leaves this machine, and the list protects nobody.

  The person's page:  http://127.0.0.1:{port}
  A sample platform:  http://127.0.0.1:{platform_port}

Try this, with a benign picture:
  1. Protect it on the person's page, and keep the receipt.
  2. Post a copy on the sample platform, resized or saved anew: it is refused.
  3. Look at the status with the receipt; withdraw; post it again: it is accepted.

Data and logs: {data}    Stop: Ctrl-C
"""
    )
