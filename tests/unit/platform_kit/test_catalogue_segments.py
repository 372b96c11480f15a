"""A directory of Parquet files that grows with the catalogue, and forgets with it."""

import os

import numpy as np
import pytest

from unspread.errors import StateError
from unspread.model import Kind, Media
from unspread.platform_kit import catalogue_segments
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.catalogue import SqliteCatalogue
from unspread.platform_kit.catalogue_files import ScanLedger, on_this_machine, scan_files
from unspread.platform_kit.catalogue_segments import Segments
from unspread.platform_kit.store import Store
from unspread.testing.feed import START


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_segments, "SEGMENT_ENTRIES", 4)
    store = Store(tmp_path)
    yield SqliteCatalogue(store, tmp_path / "columns")
    store.close()


def remember(catalogue, *names: str) -> list[bytes]:
    values = [os.urandom(32) for _ in names]
    for name, value in zip(names, values, strict=True):
        catalogue.remember(name, Media.IMAGE, [Probe(Kind.PDQ, value)], START)
    return values


def references(segments) -> list[str]:
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["reference"]) for path in segments.files()]
    return [name for table in tables for name in table["reference"].to_pylist()]


def test_files_hold_what_the_catalogue_holds_each_piece_once(catalogue, tmp_path):
    directory = tmp_path / "parquet"
    segments = Segments(directory, catalogue)
    assert segments.update() == (0, 0)
    remember(catalogue, *"abc")
    assert segments.update() == (1, 0)
    remember(catalogue, *"defg")
    assert segments.update() == (2, 0)
    assert Segments(directory, catalogue).update() == (0, 0)
    catalogue.remember("b", Media.IMAGE, [Probe(Kind.PDQ, os.urandom(32))], START)  # it changed
    segments.update()

    assert sorted(references(segments)) == sorted("abcdefg")
    assert [path.stem[:12] for path in segments.files()] == [
        "000000000001",
        "000000000005",
        "000000000008",
    ]


def test_files_stay_few_however_often_little_is_new(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_segments, "SEGMENT_ENTRIES", 64)
    segments, most = Segments(tmp_path / "parquet", catalogue), 0
    for number in range(150):
        remember(catalogue, f"{number}")
        segments.update()
        most = max(most, len(segments.files()))
    assert most <= 9  # two full ones, and of the rest one for each power of two
    assert references(segments) == [f"{number}" for number in range(150)]


def test_what_is_forgotten_leaves_the_files(catalogue, tmp_path):
    segments = Segments(tmp_path / "parquet", catalogue)
    values = remember(catalogue, *"abcdef")
    segments.update()
    catalogue.forget(["b", "e", "f"])

    assert segments.update()[1] == 2
    assert references(segments) == ["a", "c", "d"]
    left = b"".join(path.read_bytes() for path in segments.files())
    assert values[0][:16] in left
    assert values[1][:16] not in left


def test_a_file_that_was_replaced_when_the_writer_died_is_not_read_twice(catalogue, tmp_path):
    segments = Segments(tmp_path / "parquet", catalogue)
    remember(catalogue, *"ab")
    segments.update()
    (partial,) = segments.files()
    before = partial.read_bytes()
    remember(catalogue, "c")
    segments.update()
    partial.write_bytes(before)  # killed before it was deleted

    segments.update()
    assert references(segments) == ["a", "b", "c"]


def test_another_catalogue_is_not_mixed_in(catalogue, tmp_path):
    Segments(tmp_path / "parquet", catalogue).update()
    catalogue.source = "sqlite of somebody else"
    with pytest.raises(StateError, match="another catalogue"):
        Segments(tmp_path / "parquet", catalogue)


def test_a_scan_over_the_files_finds_what_is_in_the_catalogue(catalogue, tmp_path):
    segments = Segments(tmp_path / "parquet", catalogue)
    values = remember(catalogue, *"abcdef")
    segments.update()
    words = np.frombuffer(values[4], "<u8").reshape(1, 4)
    files = [str(path) for path in segments.files()]
    ledger = ScanLedger(tmp_path / "ledger", "test")
    hits = scan_files(files, words, 31, run=on_this_machine(1), ledger=ledger)
    assert [(hit.reference, hit.distance_bits) for hit in hits] == [("e", 0)]
