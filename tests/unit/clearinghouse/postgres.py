"""A PostgreSQL of our own: Debian's packages, one cluster in a temporary directory, loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "postgres").exists()), None)


def _installed() -> Path:
    found = _binaries()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ("apt-get", "-qq", "update"),
            # Our cluster alone: Debian would make and start another.
            ("apt-get", "-qq", "install", "-y", "--no-install-recommends", "postgresql"),
        ):
            subprocess.run(command, check=False, env=environment, capture_output=True, timeout=300)
        found = _binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed, and only root can install it")
    return found


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of a fresh server's database; it stops and forgets at the end."""
    # Not in pytest's directories: those only their owner may enter, and that is not `postgres`.
    with tempfile.TemporaryDirectory(prefix="unspread-postgres-") as directory:
        Path(directory).chmod(0o711)
        yield from _cluster(Path(directory) / "cluster")


def _cluster(data: Path) -> Iterator[str]:
    binaries = _installed()
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = lambda *words: subprocess.run(  # noqa: E731
        (*as_user, *words), check=True, capture_output=True, text=True, cwd="/", timeout=120
    )
    run(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "tester", "-E", "UTF8",
        "--no-sync")  # fmt: skip
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    start = subprocess.run(
        (*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-t", "60", "-o", options,
         "-l", str(data / "log"), "start"),
        check=False, cwd="/", timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert start.returncode == 0, (data / "log").read_text()
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
