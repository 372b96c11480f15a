"""The catalogue as Parquet: for billions of fingerprints, on a disk or an object store.

One row for each perceptual fingerprint: `reference`, `frame`, and the fingerprint as two halves of
16 bytes, `front` and `back`. A scan reads the fronts alone and goes back for what is near; it is a
map over row groups without state, so that it runs on a local pool or as Ray tasks alike.

In files that we write, a column of a row group is one page whose values stand as they are in
memory. Such files are mapped and compared where they lie, without a copy.
"""

import io
import json
import mmap
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError, StateError
from unspread.match import Catalogue, found_in, near_fronts
from unspread.match.reverse import MANY_LISTINGS
from unspread.model import Kind
from unspread.platform_kit.catalogue import Entry

ROWS_PER_GROUP: Final = 1 << 20
"""16 MB of fronts: a millisecond or two of work."""
_ROWS_PER_PART: Final = 1 << 24
"""About so many rows are read between two signs of life, by one worker."""
_SYNC_SECONDS: Final = 0.5
_HALF: Final = 16
_ONE_PAGE: Final = b"unspread.one_page_per_group"
"""In the metadata of files that are mapped; others are read in the ordinary way."""
_LONGEST_PAGE_HEADER: Final = 256


class CatalogueFileError(InputError):
    """Not a Parquet file of a catalogue."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some row groups of one file: the unit of work, of progress, and of trying again."""

    file: str
    row_groups: tuple[int, int]
    """The first, and the one after the last."""
    rows: int

    @property
    def key(self) -> str:
        """Names the part in a ledger."""
        return f"{self.file}#{self.row_groups[0]}-{self.row_groups[1]}"


@dataclass(frozen=True, slots=True)
class Hit:
    """Content within the radius of a listing; each pair once for each row that is near."""

    reference: str
    listing: int
    """Position in the listings that were asked for."""
    distance_bits: int


Rows = tuple[Sequence[str], Sequence[int], bytes, bytes]
"""References and frames of some rows, and their fronts and backs, 16 bytes each."""


def write_rows(path: Path, groups: Iterable[Rows], most_rows: int = ROWS_PER_GROUP) -> None:
    """Write a new Parquet file of row groups, of at most so many rows each."""
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
    with pq.ParquetWriter(
        partial,
        schema,
        compression="none",
        use_dictionary=["reference"],
        write_statistics=False,
        data_page_size=most_rows * _HALF + 1,
        max_rows_per_page=most_rows,
    ) as out:
        for references, frames, *halves in groups:
            columns = [
                pa.FixedSizeBinaryArray.from_buffers(
                    half, len(references), [None, pa.py_buffer(column)]
                )
                for column in halves
            ]
            named = [pa.array(references, pa.string()), pa.array(frames, pa.int32())]
            table = pa.Table.from_arrays([*named, *columns], schema=schema)
            out.write_table(table, most_rows)
    partial.replace(path)


def write_catalogue(
    path: Path, entries: Iterable[Entry], rows_per_group: int = ROWS_PER_GROUP
) -> None:
    """Write entries to a new Parquet file."""
    write_rows(path, _groups(entries, rows_per_group), rows_per_group)


def _groups(entries: Iterable[Entry], rows_per_group: int) -> Iterator[Rows]:
    references: list[str] = []
    frames, front, back = array("i"), bytearray(), bytearray()
    for entry in entries:
        for probe in entry.probes:
            if probe.kind is not Kind.PDQ:
                continue
            references.append(entry.reference)
            frames.append(probe.frame)
            front += probe.value[:_HALF]
            back += probe.value[_HALF:]
            if len(references) == rows_per_group:
                yield references, frames, bytes(front), bytes(back)
                references, frames, front, back = [], array("i"), bytearray(), bytearray()
    if references:
        yield references, frames, bytes(front), bytes(back)


def parts_of(files: Sequence[str]) -> list[Part]:
    """All row groups of the files, in order, some at a time.

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
        first, rows = 0, 0
        for number in range(about.num_row_groups):
            rows += about.row_group(number).num_rows
            if rows >= _ROWS_PER_PART or number == about.num_row_groups - 1:
                found.append(Part(file, (first, number + 1), rows))
                first, rows = number + 1, 0
    return found


def scan(part: Part, listings: NDArray[np.uint64], radius_bits: int) -> list[Hit]:
    """Everything in some row groups within the radius of any of the (k, 4) listings.

    Pure but for reading: the same part and listings give the same hits, wherever it runs.
    """
    file = _file(part.file)
    hits = []
    for group in range(*part.row_groups):
        if group + 1 < part.row_groups[1]:
            file.will_need("front", group + 1)
        front = file.column("front", group)
        if len(listings) < MANY_LISTINGS:
            rows, numbers = near_fronts(front, listings, radius_bits)
            if not len(rows):
                continue
            back = file.column("back", group)[rows]
            differing = np.concatenate((front[rows], back), axis=1) ^ listings[numbers]
            distances = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
            near = distances <= radius_bits
            rows, numbers, distances = rows[near], numbers[near], distances[near]
        else:
            hosted = Catalogue(front, file.column("back", group))
            found = list(found_in(hosted, listings, radius_bits))
            rows = np.concatenate([each.rows for each in found])
            numbers = np.concatenate([each.listings for each in found])
            distances = np.concatenate([each.distances_bits for each in found])
        if len(rows):
            names = file.references(group, rows)
            found_here = zip(names, numbers.tolist(), distances.tolist(), strict=True)
            hits += [Hit(*hit) for hit in found_here]
    return hits


def _file(path: str) -> "_File":
    """The file, as long as it is the same still open from the last time."""
    if "://" in path:
        return _File(path)
    about = Path(path).stat()
    return _kept_open(path, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=2)
def _kept_open(path: str, _version: tuple[int, ...]) -> "_File":
    return _File(path)


class _File:
    """A file of a catalogue, to be read by column and row group."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._is_local = "://" not in path
        self._parquet = pq.ParquetFile(_opened(path), memory_map=self._is_local, pre_buffer=False)
        self._columns = list(self._parquet.metadata.schema.names)
        self._is_ours = (self._parquet.metadata.metadata or {}).get(_ONE_PAGE) == b"yes"
        self._mapped: mmap.mmap | None = None
        # Open for as long as this is: it says what of the file is in memory.
        self._raw = Path(path).open("rb", 0) if self._is_local else None  # noqa: SIM115
        if self._raw is not None and self._is_ours:
            self._mapped = mmap.mmap(self._raw.fileno(), 0, access=mmap.ACCESS_READ)

    def column(self, name: str, group: int) -> NDArray[np.uint64]:
        """(n, 2) words of a half; not always aligned."""
        place = self._place(name, group)
        if place is None:
            return _words(self._parquet.read_row_group(group, columns=[name])[name])
        start, length = place
        if self._mapped is not None:
            if start + length > len(self._mapped):
                raise CatalogueFileError(f"{self._path} is shorter than it says")
            return np.frombuffer(self._mapped, "<u8", length // 8, start).reshape(-1, 2)
        values = np.empty(length, np.uint8)
        with _Object(self._path) as raw:
            raw.seek(start)
            if raw.readinto(values.data) != length:
                raise CatalogueFileError(f"{self._path} is shorter than it says")
        return values.view("<u8").reshape(-1, 2)

    def will_need(self, name: str, group: int) -> None:
        """Have the disk read a column while another is compared, if it is not in memory."""
        place = self._place(name, group)
        if place is None or self._mapped is None or self._raw is None:
            return
        if not hasattr(os, "RWF_NOWAIT"):
            return
        try:
            os.preadv(self._raw.fileno(), [bytearray(1)], place[0] + place[1] // 2, os.RWF_NOWAIT)
        except BlockingIOError:
            os.posix_fadvise(self._raw.fileno(), *place, os.POSIX_FADV_WILLNEED)
        except OSError:
            pass  # a file system that cannot say: it reads when asked

    def references(self, group: int, rows: NDArray[np.int64]) -> list[str]:
        """The references of rows of a row group."""
        column = self._parquet.read_row_group(group, columns=["reference"])["reference"]
        names: list[str] = column.take(rows).to_pylist()
        return names

    def _place(self, name: str, group: int) -> tuple[int, int] | None:
        """Start and length of the values, if they stand in the file as they are in memory."""
        if not self._is_ours:
            return None
        about = self._parquet.metadata.row_group(group)
        chunk = about.column(self._columns.index(name))
        length = about.num_rows * _HALF
        header = chunk.total_compressed_size - length
        plain = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page
        if not plain or not 0 < header <= _LONGEST_PAGE_HEADER:
            return None
        return chunk.data_page_offset + header, length


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
    """A pool of processes here; one alone is this process."""

    def run(
        parts: Sequence[Part], listings: NDArray[np.uint64], radius_bits: int
    ) -> Iterator[tuple[Part, list[Hit]]]:
        if workers == 1:
            for part in parts:
                yield part, scan(part, listings, radius_bits)
            return
        with ProcessPoolExecutor(
            workers, get_context("spawn"), _take_listings, (listings, radius_bits)
        ) as pool:
            futures: dict[Future[list[Hit]], Part] = {
                pool.submit(_scan_for_them, part): part for part in parts
            }
            for future in as_completed(futures):
                yield futures[future], future.result()

    return run


_wanted: list[tuple[NDArray[np.uint64], int]] = []
"""In a process of the pool: what it looks for."""


def _take_listings(listings: NDArray[np.uint64], radius_bits: int) -> None:
    _wanted[:] = [(listings, radius_bits)]


def _scan_for_them(part: Part) -> list[Hit]:
    return scan(part, *_wanted[0])


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
        self._synced_at = 0.0
        whole = 0
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not whole and record != {"purpose": purpose}:
                raise StateError(f"{path} is the ledger of another scan: give another --ledger")
            if whole:
                self._done[record["part"]] = [Hit(*hit) for hit in record["hits"]]
            whole += len(line) + 1
        with path.open("ab") as file:
            file.truncate(whole)
        if not whole:
            self._append({"purpose": purpose})

    def is_done(self, part: Part) -> bool:
        """Whether the part was scanned."""
        return part.key in self._done

    def done(self, part: Part, hits: list[Hit]) -> None:
        """Note a part. After a power failure those of the last half second are scanned again."""
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
            if time.monotonic() - self._synced_at >= _SYNC_SECONDS:
                os.fsync(file.fileno())
                self._synced_at = time.monotonic()


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
