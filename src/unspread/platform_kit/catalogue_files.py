"""The catalogue as Parquet: for billions of fingerprints, on a disk or an object store.

One row for each perceptual fingerprint: `reference`, `frame`, and the fingerprint as two halves of
16 bytes, `front` and `back`. A scan reads the fronts alone and goes back for what is near; it is a
map over row groups without state, so that it runs on a local pool or as Ray tasks alike.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError, StateError
from unspread.match import Catalogue, found_in
from unspread.model import Kind
from unspread.platform_kit.catalogue import Entry

ROWS_PER_GROUP: Final = 1 << 18
_HALF: Final = 16


class CatalogueFileError(InputError):
    """Not a Parquet file of a catalogue."""


@dataclass(frozen=True, slots=True)
class Part:
    """One row group of one file: the unit of work, of progress, and of trying again."""

    file: str
    row_group: int
    rows: int

    @property
    def key(self) -> str:
        """Names the part in a ledger."""
        return f"{self.file}#{self.row_group}"


@dataclass(frozen=True, slots=True)
class Hit:
    """Content within the radius of a listing; each pair once for each row that is near."""

    reference: str
    listing: int
    """Position in the listings that were asked for."""
    distance_bits: int


def write_catalogue(
    path: Path, entries: Iterable[Entry], rows_per_group: int = ROWS_PER_GROUP
) -> int:
    """Write entries to a new Parquet file; how many rows it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    half = pa.binary(_HALF)
    schema = pa.schema(
        [("reference", pa.string()), ("frame", pa.int32()), ("front", half), ("back", half)]
    )
    partial = path.with_suffix(".part")
    count = 0
    with pq.ParquetWriter(partial, schema, compression="none", use_dictionary=["reference"]) as out:
        columns: tuple[list[Any], ...] = ([], [], [], [])

        def flush() -> None:
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            out.write_table(pa.Table.from_arrays(arrays, schema=schema), rows_per_group)
            for column in columns:
                column.clear()

        for entry in entries:
            for probe in entry.probes:
                if probe.kind is not Kind.PDQ:
                    continue
                row = (entry.reference, probe.frame, probe.value[:_HALF], probe.value[_HALF:])
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
                count += 1
                if len(columns[0]) == rows_per_group:
                    flush()
        if columns[0]:
            flush()
    partial.replace(path)
    return count


def parts_of(files: Sequence[str]) -> list[Part]:
    """All row groups of the files, in order.

    Raises:
        CatalogueFileError: if a file is not one of a catalogue.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for file in files:
        try:
            about = pq.read_metadata(_opened(file))
            names = set(about.schema.names)
        except (OSError, pa.ArrowException) as error:
            raise CatalogueFileError(f"cannot read {file}: {type(error).__name__}") from None
        if not {"reference", "front", "back"} <= names:
            raise CatalogueFileError(f"{file} is not a catalogue: it lacks columns")
        found += [
            Part(file, number, about.row_group(number).num_rows)
            for number in range(about.num_row_groups)
        ]
    return found


def scan(part: Part, listings: NDArray[np.uint64], radius_bits: int) -> list[Hit]:
    """Everything in a row group within the radius of any of the (k, 4) listings.

    Pure but for reading: the same part and listings give the same hits, wherever it runs.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(_opened(part.file))
    table = file.read_row_group(part.row_group, columns=["front", "back"])
    hosted = Catalogue(_words(table["front"]), _words(table["back"]))
    rows: list[int] = []
    pairs: list[tuple[int, int]] = []
    for stretch in found_in(hosted, listings, radius_bits):
        rows += stretch.rows.tolist()
        pairs += zip(stretch.listings.tolist(), stretch.distances_bits.tolist(), strict=True)
    if not rows:
        return []
    references = file.read_row_group(part.row_group, columns=["reference"])["reference"]
    names = references.take(rows).to_pylist()
    return [Hit(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def _words(column: Any) -> NDArray[np.uint64]:
    """(n, 2) words of a column of 16 bytes, without a copy where the column is in one piece."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if array.type.byte_width != _HALF:
        raise CatalogueFileError("front and back have 16 bytes")
    start = array.offset * _HALF
    data = memoryview(array.buffers()[1])[start : start + len(array) * _HALF]
    return np.frombuffer(data, "<u8").reshape(-1, 2)


class _Object(io.RawIOBase):
    """An object of a bucket as a file that can be read anywhere."""

    def __init__(self, url: str) -> None:
        from obstore.store import from_url

        scheme, _, rest = url.partition("://")
        bucket, _, self._path = rest.partition("/")
        self._store = from_url(f"{scheme}://{bucket}")
        self._size = int(self._store.head(self._path)["size"])
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = memoryview(self._store.get_range(self._path, start=self._at, end=stop))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _opened(file: str) -> Any:
    return _Object(file) if "://" in file else file


Runner = Callable[[Sequence[Part], NDArray[np.uint64], int], Iterator[tuple[Part, list[Hit]]]]
"""Runs `scan` over parts, somewhere, and gives each part's hits once, in any order."""


def on_this_machine(workers: int) -> Runner:
    """A pool of processes here."""

    def run(
        parts: Sequence[Part], listings: NDArray[np.uint64], radius_bits: int
    ) -> Iterator[tuple[Part, list[Hit]]]:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            futures: dict[Future[list[Hit]], Part] = {
                pool.submit(scan, part, listings, radius_bits): part for part in parts
            }
            for future in as_completed(futures):
                yield futures[future], future.result()

    return run


def on_ray(address: str) -> Runner:
    """Ray Core tasks on a cluster; a task whose node dies is run again elsewhere."""

    def run(
        parts: Sequence[Part], listings: NDArray[np.uint64], radius_bits: int
    ) -> Iterator[tuple[Part, list[Hit]]]:
        import ray

        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        task = ray.remote(max_retries=10)(scan)
        # Once on each node, and read there without a copy.
        shared = ray.put(listings)
        waiting = {task.remote(part, shared, radius_bits): part for part in parts}
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1)
                for each in done:
                    yield waiting.pop(each), ray.get(each)
        finally:
            ray.shutdown()

    return run


class ScanLedger:
    """Which parts are done and what was found, one JSON line for each; a line cut short is not."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Go on with the ledger at `path`, or begin it.

        Args:
            purpose: what is looked for; another purpose needs another ledger.

        Raises:
            StateError: if the ledger is of another purpose.
        """
        self._path = path
        self._done: dict[str, list[Hit]] = {}
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        if lines and json.loads(lines[0]) != {"purpose": purpose}:
            raise StateError(f"{path} is the ledger of another scan: give another --ledger")
        for line in lines[1:]:
            record = json.loads(line)
            self._done[record["part"]] = [Hit(*hit) for hit in record["hits"]]
        with path.open("ab") as file:
            file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._append({"purpose": purpose})

    def is_done(self, part: Part) -> bool:
        """Whether the part was scanned."""
        return part.key in self._done

    def done(self, part: Part, hits: list[Hit]) -> None:
        """Note a part; durable when this returns."""
        values = [[hit.reference, hit.listing, hit.distance_bits] for hit in hits]
        self._append({"part": part.key, "hits": values})
        self._done[part.key] = hits

    def hits(self) -> list[Hit]:
        """Everything found so far."""
        return [hit for hits in self._done.values() for hit in hits]

    def _append(self, record: object) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def scan_files(
    files: Sequence[str],
    listings: NDArray[np.uint64],
    radius_bits: int,
    *,
    run: Runner,
    ledger: ScanLedger,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Hit]:
    """Scan what the ledger does not have; everything found, also before.

    Args:
        report: called with rows done and rows in all.
    """
    parts = parts_of(files)
    rows = sum(part.rows for part in parts)
    open_parts = [part for part in parts if not ledger.is_done(part)]
    done = rows - sum(part.rows for part in open_parts)
    report(done, rows)
    if open_parts:
        for part, hits in run(open_parts, listings, radius_bits):
            ledger.done(part, hits)
            done += part.rows
            report(done, rows)
    return ledger.hits()
