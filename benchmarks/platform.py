"""The platform kit over HTTP: lookups, changes and memory at 100 000 and a million entries."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import lists, platform_catalogue
from benchmarks.report import Report
from unspread.model import (
    Age,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    State,
)
from unspread.platform_kit import snapshots
from unspread.platform_kit.banks import LocalBank
from unspread.platform_kit.settings import Settings
from unspread.platform_kit.store import Store

_SETTINGS = """requests_per_minute = 10000000
scan_workers = 1

[lists.bench]
source = "local"
"""
_AT = datetime(2026, 11, 1, tzinfo=UTC)
_CHURN = 40_000
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def run(report: Report) -> None:
    """One server for each size; the client shares the machine with it."""
    for size in [100_000] if report.quick else [100_000, 1_000_000]:
        rows = lists.uniform(size, 1)
        _one_size(report, size, rows)
        _peer(report, size, rows)
    _with_digests(report, 100_000 if report.quick else 1_000_000)
    platform_catalogue.parquet(report)
    _large_catalogue(report, 200_000 if report.quick else 5_000_000)
    report.text(
        "Processor time is the server process's own, from /proc, for requests with one query each "
        "over one kept connection; it includes HTTP, JSON, the key check and metrics. HMA 1.1.7, "
        "measured apart from this run on such a machine: 13 to 16 ms of processor time for each "
        "lookup, one hash added → matchable 18 to 49 s at 100 000 and 78 to 225 s at a million, a "
        "StopNCII withdrawal never, 1.9 GB at its peak, 99th percentile 0.38 to 0.48 s while it "
        "rebuilds. `threatexchange` in process has no HTTP to pay for; its row is the search "
        "alone. Memory is what is resident of the server process, with what it maps of shared "
        "files; its peak is over a first start from the database, lookups and changes by another "
        f"process: {_CHURN:,} listings that come, for which a large list is written anew beside "
        "itself, and go again. Decoders are processes of their own, 85 MB each and up to 256 MB "
        "that they keep of the last pictures, and not in it. Lookups during that share two cores "
        "with the process that makes the changes. Parquet: hot "
        "rows are processor time of one core against numpy's plain reading, cold ones the clock "
        "against `preadv` of the same bytes, after the system has dropped them."
    )


def _one_size(report: Report, size: int, rows: np.ndarray) -> None:
    lookups = 500 if report.quick else 3000
    with tempfile.TemporaryDirectory() as name, _filled(Path(name), rows) as (pid, port, key):
        data = Path(name)
        call = _Caller(port, key)
        strangers = lists.uniform(lookups, 2)
        for row in strangers[:200]:
            call.lookup(row)
        started, cpu = time.perf_counter(), _cpu_seconds(pid)
        times = [call.timed(row) for row in strangers]
        seconds, cpu = time.perf_counter() - started, _cpu_seconds(pid) - cpu
        what = f"{size:,} entries"
        report.row(f"/lookup, processor time each, {what}", cpu / lookups * 1e6, "µs", at_most=260)
        report.row(f"/lookup, one client, {what}", lookups / seconds, "/s", better="more")
        report.row(f"/lookup, 99th percentile, {what}", float(np.percentile(times, 99)), "ms")
        hit_cpu = _cpu_seconds(pid)
        for at in range(lookups // 2):
            assert call.lookup(rows[at])
        report.row(
            f"/lookup of a listed one, processor time each, {what}",
            (_cpu_seconds(pid) - hit_cpu) / (lookups // 2) * 1e6,
            "µs",
        )
        added, gone, changing = _changes(call, data, strangers)
        report.row(f"added → matchable, median of {len(added)}, {what}", _median(added), "s",
                   at_most=1.0)  # fmt: skip
        report.row(f"withdrawn → silent, median of {len(gone)}, {what}", _median(gone), "s",
                   at_most=1.0)  # fmt: skip
        report.row(
            f"/lookup, 99th percentile while the list changes, {what}",
            float(np.percentile(changing, 99)),
            "ms",
        )
        report.row(f"memory, {what}", _megabytes(pid, "VmRSS"), "MB", at_most=250)
        report.row(
            f"/lookup, 99th percentile while {_CHURN:,} listings come and go, {what}",
            float(np.percentile(_come_and_go(call, data, strangers), 99)),
            "ms",
        )
        report.row(f"memory at its peak, {what}", _megabytes(pid, "VmHWM"), "MB", at_most=250)


def _actions(store: Store) -> int:
    return store.read(lambda c: int(c.execute("SELECT count(*) FROM actions").fetchone()[0]))


def _with_digests(report: Report, size: int) -> None:
    """The memory of a list with a SHA-256 and an MD5 for each listing."""
    rows = lists.uniform(size, 1)
    with (
        tempfile.TemporaryDirectory() as name,
        _filled(Path(name), rows, with_digests=True) as (pid, port, key),
    ):
        call = _Caller(port, key)
        strangers = lists.uniform(2000, 2)
        for row in (*strangers, *rows[:2000]):
            call.lookup(row)
        what = f"{size:,} entries with two digests each"
        report.row(f"memory, {what}", _megabytes(pid, "VmRSS"), "MB", at_most=250)
        _come_and_go(call, Path(name), strangers, with_digests=True)
        report.row(f"memory at its peak, {what}", _megabytes(pid, "VmHWM"), "MB", at_most=250)


def _come_and_go(
    call: "_Caller", data: Path, strangers: np.ndarray, *, with_digests: bool = False
) -> list[float]:
    """Milliseconds of lookups while another process adds many listings and takes them back."""
    new = lists.uniform(_CHURN, 7)
    first = 10_000_000
    store = Store(data)
    number = store.list_number("bench", "local")
    times: list[float] = []

    def until(claim) -> None:  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        while not claim():
            assert time.perf_counter() - started < 300
            times.append(call.timed(strangers[len(times) % len(strangers)]))

    for state in (State.LISTED, State.WITHDRAWN):
        written = snapshots.current(data)
        apply = threading.Thread(
            target=_apply, args=(store, number, new, first, state, with_digests)
        )
        apply.start()
        until(lambda thread=apply: not thread.is_alive())
        until(lambda state=state: bool(call.lookup(new[-1])) == (state is State.LISTED))
        if written:
            until(lambda written=written: snapshots.current(data) != written)
            ends = time.perf_counter() + 2
            until(lambda ends=ends: time.perf_counter() > ends)
    store.close()
    return times


def _apply(  # noqa: PLR0917 - a thread's
    store: Store, number: int, rows: np.ndarray, first: int, state: State, with_digests: bool
) -> None:
    for start in range(0, len(rows), 1000):
        listings = [
            _listing(first + at, rows[at], state, os.urandom(48) if with_digests else b"")
            for at in range(start, min(start + 1000, len(rows)))
        ]
        at = datetime.now(UTC)
        store.apply(number, listings, cursor=b"", size=0, root="", at=at)


def _listing(listing_id: int, row: np.ndarray, state: State, digests: bytes) -> Listing:
    prints = [Fingerprint(Kind.PDQ, row.tobytes(), quality=100)]
    if digests:
        prints += [Fingerprint(Kind.SHA256, digests[:32]), Fingerprint(Kind.MD5, digests[32:])]
    return Listing(
        ListingId(listing_id),
        Media.IMAGE,
        Age.UNKNOWN,
        tuple(prints) if state is State.LISTED else (),
        Level.CONFIRMED,
        state,
        _AT,
        bytes(16),
    )


def _large_catalogue(report: Report, size: int) -> None:
    """A start beside millions of hosted pictures, and a listing that finds one of them."""
    what = f"a catalogue of {size:,} pictures"
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        _fill(data, lists.uniform(1000, 1))
        wanted = platform_catalogue.fill(data, size)
        started = time.perf_counter()
        with _server(data) as (pid, _, _):
            ready = time.perf_counter() - started
            report.row(f"start to ready, {what}", ready, "s")
            report.row(f"start to ready, processor time, {what}", _cpu_seconds(pid), "s")
            store = Store(data)
            bank = LocalBank(Settings.load(data), store, "bench")
            times = []
            for at, value in enumerate(wanted):
                prints = [Fingerprint(Kind.PDQ, value, quality=100)]
                bank.add(f"hosted-{at}", Media.IMAGE, prints, by="bench", at=datetime.now(UTC))
                times.append(_until(lambda at=at: _actions(store) > at, 120))
            store.close()
            report.row(f"new listing → action on what is hosted, median of {len(times)}, {what}",
                       _median(times), "s")  # fmt: skip
            report.row(f"memory of the process alone, {what}", _megabytes(pid, "RssAnon"), "MB")


def _changes(call: "_Caller", data: Path, strangers: np.ndarray) -> tuple[list[float], ...]:
    """Seconds from durable to seen, for additions and removals, and lookups' times meanwhile."""
    store = Store(data)
    bank = LocalBank(Settings.load(data), store, "bench")
    added, gone = [], []
    for number in range(5):
        value = os.urandom(32)
        row = np.frombuffer(value, "<u8")
        prints = [Fingerprint(Kind.PDQ, value, quality=100)]
        bank.add(f"new-{number}", Media.IMAGE, prints, by="bench", at=datetime.now(UTC))
        added.append(_until(lambda row=row: bool(call.lookup(row))))
        bank.remove(f"new-{number}", by="bench", at=datetime.now(UTC))
        gone.append(_until(lambda row=row: not call.lookup(row)))
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            prints = [Fingerprint(Kind.PDQ, os.urandom(32), quality=100)]
            at = datetime.now(UTC)
            bank.add(f"churn-{number}", Media.IMAGE, prints, by="bench", at=at)
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    ends = time.perf_counter() + 3
    changing = []
    while time.perf_counter() < ends:
        changing.append(call.timed(strangers[len(changing) % len(strangers)]))
    stop.set()
    thread.join()
    store.close()
    return added, gone, changing


def _until(claim, seconds: float = 30) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    while not claim():
        assert time.perf_counter() - started < seconds
        time.sleep(0.005)
    return time.perf_counter() - started


class _Caller:
    """One kept connection."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"authorization": f"Bearer {key}"}

    def lookup(self, row: np.ndarray) -> list[object]:
        body = json.dumps({"queries": [{"pdq": row.tobytes().hex()}]})
        self._connection.request("POST", "/lookup", body, self._headers)
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        return list(found["results"][0])

    def timed(self, row: np.ndarray) -> float:
        started = time.perf_counter()
        self.lookup(row)
        return (time.perf_counter() - started) * 1000


def _settled(data: Path) -> None:
    """Wait until what a start leaves to do is done: the catalogue's search, a first snapshot."""
    store = Store(data)
    sequence = store.sequence()
    _until(lambda: store.counter("searched") == sequence, 300)
    if sequence >= 100_000:
        _until(lambda: snapshots.exists(data), 300)
    store.close()
    time.sleep(3)


@contextmanager
def _filled(
    data: Path, rows: np.ndarray, *, with_digests: bool = False
) -> Iterator[tuple[int, int, str]]:
    _fill(data, rows, with_digests=with_digests)
    with _server(data) as server:
        _settled(data)
        yield server


def _fill(data: Path, rows: np.ndarray, *, with_digests: bool = False) -> None:
    """A kit's database with one listing for each row."""
    (data / "platform.toml").write_text(_SETTINGS, encoding="utf-8")
    store = Store(data)
    number = store.list_number("bench", "local")
    digests = np.random.default_rng(9).bytes(48 * len(rows)) if with_digests else b""
    for start in range(0, len(rows), 20_000):
        listings = []
        for at, row in enumerate(rows[start : start + 20_000], start):
            own = digests[48 * at : 48 * at + 48]
            listings.append(_listing(at, row, State.LISTED, own))
        keys = [f"entry {each.listing_id}" for each in listings]
        store.apply(number, listings, cursor=b"", size=0, root="", at=_AT, keys=keys)
    # Names that are added from now on get numbers of their own.
    store.set_counters(**{f"list-{number}": len(rows)})
    store.close()


@contextmanager
def _server(data: Path) -> Iterator[tuple[int, int, str]]:
    """`unspread platform serve` on a directory, once it is ready: process, port, key."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("unspread")), "platform", "serve"]
    process = subprocess.Popen(
        [*command, "--data", str(data), "--port", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        started = time.perf_counter()
        while True:
            assert process.poll() is None
            assert time.perf_counter() - started < 300
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.05)
        yield process.pid, port, (data / "keys" / "first.key").read_text().strip()
    finally:
        process.terminate()
        process.wait(30)


def _peer(report: Report, size: int, rows: np.ndarray) -> None:
    import faiss
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex

    faiss.omp_set_num_threads(1)
    few = rows[: min(size, 100_000)]
    index = PDQIndex.build([(row.tobytes().hex(), at) for at, row in enumerate(few)])
    queries = [row.tobytes().hex() for row in lists.uniform(100, 3)]
    started = time.process_time()
    for query in queries:
        index.query(query)
    each = (time.process_time() - started) / len(queries) * 1e6
    if len(few) == size:
        report.row(f"threatexchange in process, processor time each, {size:,}", each, "µs")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _megabytes(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith(name))
    return int(line.split()[1]) / 1024


def _median(values: list[float]) -> float:
    return float(np.median(values))
