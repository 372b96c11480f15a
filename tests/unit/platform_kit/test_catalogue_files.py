"""A scan of Parquet files finds exactly what comparing each with each finds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unspread.errors import InputError, StateError
from unspread.model import Kind, Media
from unspread.platform_kit import catalogue_files
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.catalogue import Entry
from unspread.platform_kit.catalogue_files import (
    ScanLedger,
    on_this_machine,
    parts_of,
    scan,
    scan_files,
    write_catalogue,
)

random = np.random.default_rng(7)


def flipped(row: np.ndarray, bits: int) -> np.ndarray:
    value = int.from_bytes(row.tobytes(), "big")
    for bit in random.choice(256, bits, replace=False):
        value ^= 1 << int(bit)
    return np.frombuffer(value.to_bytes(32, "big"), "<u8")


def planted(count: int, listings: np.ndarray) -> tuple[list[Entry], set[tuple[str, int, int]]]:
    """Random content, of which some lies around the radius of a listing."""
    rows = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    expected = set()
    for place, at in enumerate(range(0, count, 97)):
        listing, bits = place % len(listings), 28 + place % 7
        rows[at] = flipped(listings[listing], bits)
        if bits <= 31:
            expected.add((f"post-{at}", listing, bits))
    entries = [
        Entry(at + 1, f"post-{at}", Media.IMAGE, (Probe(Kind.PDQ, row.tobytes()),))
        for at, row in enumerate(rows)
    ]
    return entries, expected


@pytest.fixture
def catalogue(tmp_path):
    listings = random.integers(0, 2**64, (5, 4), dtype=np.uint64)
    entries, expected = planted(3000, listings)
    files = [str(tmp_path / f"part-{number}.parquet") for number in range(3)]
    for number, file in enumerate(files):
        write_catalogue(Path(file), entries[number::3], rows_per_group=256)
    return files, listings, expected


def found(hits) -> set[tuple[str, int, int]]:
    return {(hit.reference, hit.listing, hit.distance_bits) for hit in hits}


here = on_this_machine(1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Two row groups at a time, so that there is something to stop and to go on with."""
    monkeypatch.setattr(catalogue_files, "_ROWS_PER_PART", 512)


def test_every_near_row_is_found_and_no_other(catalogue, tmp_path):
    files, listings, expected = catalogue
    ledger = ScanLedger(tmp_path / "ledger", "p")
    assert found(scan_files(files, listings, 31, run=here, ledger=ledger)) == expected
    assert len(expected) > 10


def test_many_listings_are_found_as_few_are(catalogue, tmp_path):
    files, listings, expected = catalogue
    others = random.integers(0, 2**64, (5000, 4), dtype=np.uint64)
    ledger = ScanLedger(tmp_path / "ledger", "p")
    every = np.concatenate((listings, others))
    assert found(scan_files(files, every, 31, run=here, ledger=ledger)) == expected


def test_files_of_other_writers_give_the_same(catalogue, tmp_path):
    import pyarrow.parquet as pq

    files, listings, expected = catalogue
    for file in files:
        table = pq.read_table(file).replace_schema_metadata(None)
        pq.write_table(table, file, compression="zstd", row_group_size=500)
    ledger = ScanLedger(tmp_path / "ledger", "p")
    assert found(scan_files(files, listings, 31, run=here, ledger=ledger)) == expected


def test_a_bucket_gives_the_same(catalogue, tmp_path):
    files, listings, expected = catalogue
    urls = [f"file://{Path(file).parent}/{Path(file).name}" for file in files]
    ledger = ScanLedger(tmp_path / "ledger", "p")
    hits = scan_files(urls, listings, 31, run=here, ledger=ledger)
    assert found(hits) == expected


def test_processes_find_the_same(catalogue, tmp_path):
    files, listings, expected = catalogue
    ledger = ScanLedger(tmp_path / "ledger", "p")
    run = on_this_machine(2)
    assert found(scan_files(files, listings, 31, run=run, ledger=ledger)) == expected


@pytest.mark.parametrize("damage", [b"", b"\n", bytes(50) + b"\n{}\n"])
def test_a_scan_that_was_stopped_goes_on_where_it_was(catalogue, tmp_path, damage):
    files, listings, expected = catalogue
    path = tmp_path / "ledger"
    scanned = []

    def stops_halfway(parts, listings, radius_bits):
        for number, part in enumerate(parts):
            if number == 4:
                raise KeyboardInterrupt
            scanned.append(part.key)
            yield part, scan(part, listings, radius_bits)

    def goes_on(parts, listings, radius_bits):
        for part in parts:
            scanned.append(part.key)
            yield part, scan(part, listings, radius_bits)

    with pytest.raises(KeyboardInterrupt):
        scan_files(files, listings, 31, run=stops_halfway, ledger=ScanLedger(path, "p"))
    # As after a crash in the middle of a line.
    with path.open("ab") as file:
        file.write(b'{"part": "cut sho' + damage)
    hits = scan_files(files, listings, 31, run=goes_on, ledger=ScanLedger(path, "p"))

    assert found(hits) == expected
    assert sorted(scanned) == sorted(part.key for part in parts_of(files))


def test_a_ledger_serves_one_purpose(tmp_path):
    ScanLedger(tmp_path / "ledger", "one")
    with pytest.raises(StateError, match="another"):
        ScanLedger(tmp_path / "ledger", "two")


def test_progress_counts_rows(catalogue, tmp_path):
    files, listings, _ = catalogue
    said = []
    ledger = ScanLedger(tmp_path / "ledger", "p")
    scan_files(files, listings, 31, run=here, ledger=ledger, report=lambda *at: said.append(at))
    assert said[0] == (0, 3000)
    assert said[-1] == (3000, 3000)


@pytest.mark.parametrize("content", [b"", b"PAR1 not really"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(InputError, match="cannot read"):
        parts_of([str(tmp_path / "x.parquet")])


RAY = Path(__file__).parents[2] / "ray_cluster.py"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_nodes_of_which_one_is_killed_give_the_exact_result(catalogue, tmp_path):
    files, listings, expected = catalogue
    np.save(tmp_path / "listings.npy", listings)
    # Ray listens on every interface whatever it is told: it gets a network of its own.
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", sys.executable, str(RAY), str(tmp_path), *files],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["killed"]
    assert {tuple(hit) for hit in answer["hits"]} == expected
