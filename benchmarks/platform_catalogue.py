"""What is already there: Parquet scans beside the bare disk and memory, and a large catalogue."""

import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import lists
from benchmarks.report import Report
from unspread.platform_kit import catalogue_files
from unspread.platform_kit.catalogue import SqliteCatalogue
from unspread.platform_kit.catalogue_files import (
    ROWS_PER_GROUP,
    Rows,
    ScanLedger,
    on_this_machine,
    parts_of,
    scan_files,
    write_rows,
)
from unspread.platform_kit.store import Store, time_text

_HALF = 16
_RADIUS_BITS = 31


def parquet(report: Report) -> None:
    """One process over one file, with its ledger and progress, as `catalogue scan` does it."""
    groups = 2 if report.quick else 32
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        file = Path(name) / "catalogue.parquet"
        write_rows(file, _rows(groups))
        rows = groups * ROWS_PER_GROUP
        shown = f"a Parquet catalogue of {rows:,} rows"
        _hot(report, file, rows, shown)
        _cold(report, file, rows, shown)


def fill(data: Path, size: int) -> list[bytes]:
    """Pictures with eight turns each in a kit's catalogue; the fingerprints of five of them."""
    store = Store(data)
    hosted = SqliteCatalogue(store, data / "catalogue")
    rng, wanted, block = np.random.default_rng(8), [], 50_000
    seen_at = time_text(datetime.now(UTC))
    for start in range(0, size, block):
        # As `pack_probes` writes: kind, frame, value.
        packed = np.zeros((block, 8, 37), np.uint8)
        packed[:, :, 5:] = rng.integers(0, 256, (block, 8, 32), dtype=np.uint8)
        blobs = [each.tobytes() for each in packed.reshape(block, -1)]
        rows = [(f"post-{start + at}", "image", seen_at, blob) for at, blob in enumerate(blobs)]
        store.write(
            lambda c, rows=rows: c.executemany(
                "INSERT INTO hosted (reference, media, seen_at, probes) VALUES (?, ?, ?, ?)", rows
            )
        )
        hosted.catch_up()
        wanted.append(blobs[start // block * 7][5:37])
    # Matched when it came, as far as the kit knows.
    store.set_counters(covered=hosted.last_entry())
    hosted.close()
    store.close()
    return wanted[:: max(len(wanted) // 5, 1)][:5]


def _rows(groups: int) -> Iterator[Rows]:
    rng = np.random.default_rng(4)
    frames = np.zeros(ROWS_PER_GROUP, np.int32)
    for group in range(groups):
        names = [f"post-{group}-{at}" for at in range(ROWS_PER_GROUP)]
        size = _HALF * ROWS_PER_GROUP
        yield names, frames, rng.bytes(size), rng.bytes(size)  # type: ignore[misc]


def _hot(report: Report, file: Path, rows: int, shown: str) -> None:
    """Processor time of one core, the best of five, taking turns."""
    places = _places(file)
    memory = np.random.default_rng(5).integers(0, 2**64, 2 * rows, dtype=np.uint64)
    works: dict[str, Callable[[], object]] = {
        "memory": lambda: np.bitwise_xor.reduce(memory),
        "mapped": lambda: _read_mapped(file, places),
    }
    for count in (1, 8):
        works[f"{count}"] = lambda count=count: _scan(file, count)
    best = dict.fromkeys(works, float("inf"))
    for _ in range(2 if report.quick else 5):
        for name, work in works.items():
            started = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - started)
    gigabytes = _HALF * rows / 1e9
    for count in (1, 8):
        what = f"{count} new {'listing' if count == 1 else 'listings'} against {shown}"
        taken = best[f"{count}"]
        report.row(f"{what}, in memory", gigabytes / taken, "GB/s", better="more")
        report.row(
            f"{what}, in memory: share of what reading the file alone gives",
            100 * best["mapped"] / taken,
            "%",
            at_least=90,
        )
        report.row(
            f"{what}, in memory: share of what plain memory gives",
            100 * best["memory"] / taken,
            "%",
            at_least=90,
        )


def _cold(report: Report, file: Path, rows: int, shown: str) -> None:
    """By the clock, after the system has dropped the file from memory; the best of three each."""
    places = _places(file)
    alone, scanned = float("inf"), float("inf")
    for _ in range(1 if report.quick else 3):
        _drop(file)
        started = time.perf_counter()
        _read(file, places)
        alone = min(alone, time.perf_counter() - started)
        _drop(file)
        started = time.perf_counter()
        _scan(file, 8)
        scanned = min(scanned, time.perf_counter() - started)
    what = f"8 new listings against {shown}, on the disk"
    report.row(what, _HALF * rows / scanned / 1e9, "GB/s", better="more")
    share = 100 * alone / scanned
    report.row(f"{what}: share of what reading the fronts alone gives", share, "%", at_least=90)


def _read_mapped(file: Path, places: list[tuple[int, int]]) -> None:
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    for start, size in places:
        np.bitwise_xor.reduce(np.frombuffer(mapped, np.uint64, size // 8, start))


def _scan(file: Path, count: int) -> None:
    """As a command does that has just begun."""
    catalogue_files._kept_open.cache_clear()
    ledger = file.with_name("ledger")
    try:
        scan_files(
            [str(file)],
            lists.uniform(count, 6),
            _RADIUS_BITS,
            run=on_this_machine(1),
            ledger=ScanLedger(ledger, "bench"),
        )
    finally:
        ledger.unlink()


def _places(file: Path) -> list[tuple[int, int]]:
    """Start and length of each row group's fronts."""
    opened = catalogue_files._File(str(file))
    groups = range(parts_of([str(file)])[-1].row_groups[1])
    places = [opened._place("front", group) for group in groups]
    return [each for each in places if each is not None]


def _read(file: Path, places: list[tuple[int, int]]) -> None:
    buffer = bytearray(max(size for _, size in places))
    with file.open("rb", 0) as opened:
        for start, size in places:
            assert os.preadv(opened.fileno(), [memoryview(buffer)[:size]], start) == size


def _drop(file: Path) -> None:
    catalogue_files._kept_open.cache_clear()  # what is mapped is not dropped
    with file.open("rb", 0) as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
