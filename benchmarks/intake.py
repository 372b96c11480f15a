"""Durable submissions a second over HTTP, beside one transaction for each.

The real server in a process of its own, SQLite with synchronous=FULL, on a disk; keep-alive
connections that each send a case, wait for its 201, send the next. Proofs of work are solved
before the clock starts: they are the devices' work. The client shares the machine's cores.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import altcha
import httpx

from benchmarks.report import Report
from unspread.crypto import Receipt
from unspread.model import Age, Fingerprint, Kind, Media, MediaFingerprint
from unspread.person import case

CONNECTIONS = 64
_START = """
import unspread.clearinghouse.writer as writer
writer.MAX_BATCH = {batch}
from unspread.cli import main
main()
"""


@contextmanager
def _server(data: Path, batch: int) -> Iterator[tuple[int, int]]:
    """Port and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, "-c", _START.format(batch=batch), "clearinghouse", "serve",
         "--training", "--data", str(data), "--port", str(port)],
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port, child.pid
    finally:
        child.terminate()
        child.wait()


def _requests(port: int, count: int) -> list[bytes]:
    made = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(count):
            challenge = altcha.Challenge.from_dict(client.get("/v1/proof-of-work").json())
            solution = altcha.solve_challenge(challenge)
            proof = altcha.Payload(challenge, solution).to_base64()
            bits = int.from_bytes(os.urandom(32), "big")
            while bits.bit_count() > 128:
                bits &= bits - 1
            media = MediaFingerprint(
                Media.IMAGE,
                (
                    Fingerprint(Kind.PDQ, bits.to_bytes(32, "big"), quality=100),
                    Fingerprint(Kind.SHA256, os.urandom(32)),
                    Fingerprint(Kind.MD5, os.urandom(16)),
                ),
            )
            body = case.submission(Receipt(os.urandom(13)), [media], Age.UNKNOWN, proof).to_json()
            head = (
                "POST /v1/cases HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            made.append(head.encode() + body)
    return made


async def _send_all(port: int, requests: list[bytes]) -> tuple[float, list[float]]:
    waiting = iter(requests)
    latencies: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 201"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return time.perf_counter() - started, sorted(latencies)


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(batch: int, count: int) -> tuple[float, float, float, float]:
    """Cases a second, p50 and p99 in milliseconds: of the better half, as others share the machine;
    and the server's CPU time for a case in microseconds, over both halves."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as directory,
        _server(Path(directory) / "data", batch) as (port, pid),
    ):
        requests = _requests(port, count)
        halves = (requests[: count // 2], requests[count // 2 :])
        before = _cpu_seconds(pid)
        seconds, latencies = min(asyncio.run(_send_all(port, half)) for half in halves)
        cpu = (_cpu_seconds(pid) - before) / count * 1e6
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return len(latencies) / seconds, p50, p99, cpu


def run(report: Report) -> None:
    """Group commit, and one transaction for each submission."""
    count = 600 if report.quick else 2000
    rate, p50, p99, cpu = _measure(256, count)
    naive_rate, naive_p50, naive_p99, naive_cpu = _measure(1, count)
    naive = "one transaction each"
    report.row("durable submissions", rate, "cases/s", better="more", at_least=1000)
    report.row("durable submissions", rate, "cases/s", peer=naive, theirs=naive_rate, better="more")
    report.row("p50 of the answer", p50, "ms", peer=naive, theirs=naive_p50)
    report.row("p99 of the answer", p99, "ms", peer=naive, theirs=naive_p99)
    report.row("the server's CPU for a case", cpu, "µs", peer=naive, theirs=naive_cpu)
    report.text(
        f"{count} cases of one picture (PDQ, SHA-256, MD5) over {CONNECTIONS} connections on the "
        "same two cores as the server; proof of work checked, promise signed, log entry and case "
        "in one transaction, and the log published beside it (tick 0.25 s). Where others use the "
        "machine too, the CPU time says more than the rate."
    )
