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
from unspread.match.reverse import MANY_LISTINGS
from unspread.model import Kind
from unspread.platform_kit.catalogue import Entry

ROWS_PER_GROUP: Final = 1 << 18
_HALF: Final = 16
_ONE_PAGE: Final = b"unspread.one_page_per_group"
"""In a file's metadata: each column of a row group is one page, so that its values stand in the
file as they are in memory and need no decoding. Files without it are read in the ordinary way."""
_LONGEST_PAGE_HEADER: Final = 256


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
    fields = [
        pa.field("reference", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("front", half, nullable=False),
        pa.field("back", half, nullable=False),
    ]
    schema = pa.schema(fields, {_ONE_PAGE: b"yes"})
    partial = path.with_suffix(".part")
    count = 0
    with pq.ParquetWriter(
        partial,
        schema,
        compression="none",
        use_dictionary=["reference"],
        write_statistics=False,
        data_page_size=rows_per_group * _HALF + 1,
        max_rows_per_page=rows_per_group,
    ) as out:
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
    file = _parquet(part.file)

    def column(name: str) -> NDArray[np.uint64]:
        as_it_is = _words_in_place(file, part, name)
        if as_it_is is not None:
            return as_it_is
        return _words(file.read_row_group(part.row_group, columns=[name])[name])

    front = column("front")
    if len(listings) < MANY_LISTINGS:
        rows, numbers = _near_fronts(front, listings, radius_bits)
        if not len(rows):
            return []
        differing = np.concatenate((front[rows], column("back")[rows]), axis=1) ^ listings[numbers]
        distances = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        near = distances <= radius_bits
        rows, numbers, distances = rows[near], numbers[near], distances[near]
    else:
        found = list(found_in(Catalogue(front, column("back")), listings, radius_bits))
        rows = np.concatenate([each.rows for each in found])
        numbers = np.concatenate([each.listings for each in found])
        distances = np.concatenate([each.distances_bits for each in found])
    if not len(rows):
        return []
    references = file.read_row_group(part.row_group, columns=["reference"])["reference"]
    names = references.take(rows).to_pylist()
    return [Hit(*hit) for hit in zip(names, numbers.tolist(), distances.tolist(), strict=True)]


def _near_fronts(
    front: NDArray[np.uint64], listings: NDArray[np.uint64], radius_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and listings whose first halves alone are within the radius: one row in 500 million.

    The first half stands for both, at twice the distance, so that the other is not read.
    """
    twice = np.ascontiguousarray(np.concatenate((listings[:, :2], listings[:, :2]), axis=1))
    found = list(found_in(Catalogue(front, front), twice, 2 * radius_bits))
    return (
        np.concatenate([each.rows for each in found]),
        np.concatenate([each.listings for each in found]),
    )


def _parquet(file: str) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(_opened(file), memory_map="://" not in file, pre_buffer=False)


def _words_in_place(file: Any, part: Part, name: str) -> NDArray[np.uint64] | None:
    """(n, 2) words of a column as the file holds them; None if it holds them otherwise."""
    about = file.metadata
    if (about.metadata or {}).get(_ONE_PAGE) != b"yes":
        return None
    chunk = about.row_group(part.row_group).column(about.schema.names.index(name))
    length = part.rows * _HALF
    header = chunk.total_compressed_size - length
    plain = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page
    if not plain or not 0 < header <= _LONGEST_PAGE_HEADER:
        return None
    start = chunk.data_page_offset + header
    # Read, not mapped: cold pages come in one request, and the words lie aligned.
    values = np.empty(length, np.uint8)
    with _Object(part.file) if "://" in part.file else Path(part.file).open("rb", 0) as raw:
        raw.seek(start)
        if raw.readinto(values.data) != length:
            raise CatalogueFileError(f"{part.file} is shorter than it says")
    return values.view("<u8").reshape(-1, 2)


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
