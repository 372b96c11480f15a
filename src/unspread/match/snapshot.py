"""The index as a file: memory-mapped, shared by many processes, never half written.

    magic 16 | byte order 4 | version 4 | header bytes 8 | file bytes 8 | digest 32 | JSON | arrays

Integers and arrays are in the writer's byte order. The JSON names the secret order of bits, each
part's sizes, and for each of its arrays, in the order of `_shapes`, where it starts (a multiple of
64) and its SHA-256. The digest is the SHA-256 of all that stands before the arrays, with the
digest's place empty.
"""

import hashlib
import mmap
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from unspread.errors import InputError, StateError
from unspread.match.layout import (
    CHUNKS,
    CLUMP_BLOCK,
    CLUMP_COLUMNS,
    MAX_CLUMPS,
    PART_ROWS,
    ROW_BITS,
    U8,
    U16,
    U32,
    U64,
    Clumps,
    Part,
    Tables,
    key_bits_for,
)

if sys.platform != "win32":
    import fcntl

MAGIC: Final = b"unspread match\r\n"
VERSION: Final = 4
BYTE_ORDER: Final = 0x01020304
VERIFIED_BYTES: Final = 32 * 2**20
"""Files up to this size are verified whenever they are opened, in about 20 ms."""

_FIXED: Final = struct.Struct("=16sIIQQ32s")
_ALIGNMENT: Final = 64
_MAX_HEADER_BYTES: Final = 2**20
_EMPTY_DIGEST: Final = bytes(32)


class SnapshotError(InputError):
    """Not a whole and sound index file of this version and byte order; build or fetch it again."""


class _Array(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    start: int
    sha256: str


class _PartHeader(msgspec.Struct, forbid_unknown_fields=True):
    rows: int
    kept: int | None
    """Rows in the tables; None without tables."""
    clumps: int
    clumped: int
    arrays: list[_Array] = msgspec.field(default_factory=list)


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    order: bytes
    parts: list[_PartHeader]


class _Room:
    """Where one array goes in the file; filled from its beginning to its end."""

    def __init__(self, file: BinaryIO, start: int, dtype: np.dtype[Any], count: int) -> None:
        self.start = start
        self.end = start + dtype.itemsize * count
        self._at = start
        self._file = file
        self._dtype = dtype
        self._digest = hashlib.sha256()

    def fill(self, values: NDArray[Any]) -> None:
        flat = np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data
        self._file.seek(self._at)
        self._file.write(flat)
        self._digest.update(flat)
        self._at += len(flat)

    def to_header(self) -> _Array:
        if self._at != self.end:
            raise RuntimeError("an array of the index file was left unfinished")
        return _Array(self.start, self._digest.hexdigest())


class PartWriter:
    """One part on its way into a file: entries first, then tables, then clumps."""

    def __init__(self, file: "_FileWriter", rows: int) -> None:
        self._file = file
        self._about = _PartHeader(rows=rows, kept=None, clumps=0, clumped=0)
        self._rooms: list[_Room] = []
        self._make_rooms()

    def __len__(self) -> int:
        return self._about.rows

    def entries(self, ids: NDArray[np.int64], front: U64, back: U64) -> None:
        """The next entries, permuted, with ids that ascend."""
        columns: tuple[NDArray[Any], ...] = (ids, front, back, np.zeros(len(ids), np.uint8))
        for room, values in zip(self._rooms, columns, strict=False):
            room.fill(values)

    def read_half(self, rows: slice, *, back: bool) -> U64:
        """(k, 2) fronts or backs of a stretch of entries, read back."""
        room, count = self._rooms[1 + back], rows.stop - rows.start
        self._file.raw.seek(room.start + 16 * rows.start)
        return np.frombuffer(self._file.raw.read(16 * count), np.uint64).reshape(-1, 2)

    def halves(self) -> tuple[U64, U64]:
        """All fronts and backs, mapped."""
        self._file.raw.flush()
        size = self._rooms[2].end
        mapped = mmap.mmap(self._file.raw.fileno(), size, access=mmap.ACCESS_READ)
        front, back = (
            np.frombuffer(mapped, np.uint64, 2 * len(self), room.start).reshape(-1, 2)
            for room in self._rooms[1:3]
        )
        return front, back

    def tables(self, kept: int) -> None:
        """Make room for tables over so many entries."""
        self._about.kept = kept
        self._make_rooms()

    def table(self, offsets: U32, rows: Iterable[tuple[U16, U32]]) -> None:
        """The next table: its offsets, then signatures and positions in its order."""
        offsets_room, signatures, positions = self._rooms[4:7]
        offsets_room.fill(offsets)
        for signature, position in rows:
            signatures.fill(signature)
            positions.fill(position.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3])

    def clumps(self, clumps: Clumps | None) -> None:
        """What stands in no table; after the tables."""
        # The padding that ends the positions.
        self._rooms[6].fill(np.zeros(3, np.uint8))
        if clumps is not None:
            self._about.clumps = len(clumps.radii)
            self._about.clumped = len(clumps.positions)
            self._make_rooms()
            for room, values in zip(self._rooms[7:], _clump_arrays(clumps), strict=True):
                room.fill(values)

    def _make_rooms(self) -> None:
        for dtype, shape in _shapes(self._about)[len(self._rooms) :]:
            self._rooms.append(self._file.room(dtype, int(np.prod(shape))))

    def to_header(self) -> _PartHeader:
        """What the file's header says of it."""
        self._about.arrays = [room.to_header() for room in self._rooms]
        return self._about


class _FileWriter:
    """A file on its way, with parts one after the other."""

    def __init__(self, raw: BinaryIO, order: U8, most_parts: int) -> None:
        self.raw = raw
        self._order = order.tobytes()
        self._parts: list[PartWriter] = []
        # Room for the longest header, as what is in a part is seen only as it is made.
        longest = _PartHeader(PART_ROWS, PART_ROWS, MAX_CLUMPS, PART_ROWS)
        longest.arrays = [_Array(10**15, _EMPTY_DIGEST.hex()) for _ in _shapes(longest)]
        header = msgspec.json.encode(_Header(self._order, [longest] * most_parts))
        self._end = _aligned(_FIXED.size + len(header))

    def part(self, rows: int) -> PartWriter:
        """The next part, of so many entries."""
        self._parts.append(PartWriter(self, rows))
        return self._parts[-1]

    def room(self, dtype: np.dtype[Any], count: int) -> _Room:
        room = _Room(self.raw, self._end, dtype, count)
        self._end = _aligned(room.end)
        return room

    def finish(self) -> None:
        """Write the header, and make all of it durable."""
        self.raw.truncate(self._end)
        headers = [part.to_header() for part in self._parts]
        body = msgspec.json.encode(_Header(self._order, headers))
        fixed = (MAGIC, BYTE_ORDER, VERSION, _FIXED.size + len(body), self._end)
        digest = hashlib.sha256(_FIXED.pack(*fixed, _EMPTY_DIGEST) + body).digest()
        self.raw.seek(0)
        self.raw.write(_FIXED.pack(*fixed, digest) + body)
        self.raw.flush()
        os.fsync(self.raw.fileno())


@contextmanager
def written(path: Path, order: U8, most_parts: int) -> Iterator[_FileWriter]:
    """A file to write parts into, of rows in this order of bits.

    At any moment `path` is the old file or the new one, whole.

    Raises:
        StateError: if another process is writing the same file.
        OSError: if the directory cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with _written_alone(partial) as file:
        out = _FileWriter(file, order, most_parts)
        yield out
        out.finish()
        partial.replace(path)
    if sys.platform != "win32":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def opened(path: Path, *, verify: bool | None = None) -> tuple[U8, tuple[Part, ...]]:
    """The order of bits and the parts in the file, mapped. `verify` as in `Index.open`.

    Raises:
        SnapshotError: if it is not a whole and sound index of this version and byte order.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        header, size = _read_header(file)
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    parts = []
    for each in header.parts:
        arrays = list(_arrays(each, mapped, size))
        if verify or (verify is None and size <= VERIFIED_BYTES):
            _verify(each, arrays)
        ids, front, back, dead, *rest = arrays
        tables = clumps = None
        if each.kept is not None:
            tables, rest = Tables(*rest[:3]), rest[3:]
        if each.clumps:
            clumps = Clumps(*rest)
        parts.append(Part(ids, front, back, dead.copy(), tables, clumps))
    return np.frombuffer(header.order, np.uint8), tuple(parts)


def give_back(array: NDArray[Any]) -> None:
    """Let the system have the pages of the file that an array is mapped from, if it is.

    They come again as they are read.
    """
    mapped: object = array
    while isinstance(mapped, np.ndarray | memoryview):
        mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _read_header(file: BinaryIO) -> tuple[_Header, int]:
    """The header and the size of a file that is as long as it says."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_FIXED.size)
    if len(head) < _FIXED.size or not head.startswith(MAGIC):
        raise SnapshotError("not an index file")
    _, order, version, header_bytes, file_bytes, digest = _FIXED.unpack(head)
    if order != BYTE_ORDER:
        swapped = order == int.from_bytes(BYTE_ORDER.to_bytes(4, "little"), "big")
        raise SnapshotError(
            "the index file was written on a machine of the other byte order"
            if swapped
            else "the index file is damaged: no byte order"
        )
    if version != VERSION:
        raise SnapshotError(
            f"the index file is of version {version}, and this reads {VERSION}: "
            "delete it, and build the index anew from what it was built from"
        )
    if not _FIXED.size < header_bytes <= min(_MAX_HEADER_BYTES, size):
        raise SnapshotError("the index file is damaged or cut short: its header is not whole")
    body = file.read(header_bytes - _FIXED.size)
    without_digest = head[: -len(_EMPTY_DIGEST)] + _EMPTY_DIGEST
    if hashlib.sha256(without_digest + body).digest() != digest:
        raise SnapshotError("the index file is damaged: its header does not have its digest")
    if size != file_bytes:
        raise SnapshotError(f"the index file has {size} bytes and should have {file_bytes}")
    try:
        header = msgspec.json.decode(body, type=_Header)
    except msgspec.MsgspecError:
        raise SnapshotError("the index file's header cannot be read") from None
    if sorted(header.order) != list(range(ROW_BITS)):
        raise SnapshotError("the index file's header names no order of bits")
    return header, size


def _shapes(part: _PartHeader) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of each array of a part, in the order in which they are written."""
    u8, u16, u32, u64, i64 = map(np.dtype, ("u1", "u2", "u4", "u8", "i8"))
    shapes: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
        (i64, (part.rows,)),
        (u64, (part.rows, 2)),
        (u64, (part.rows, 2)),
        (u8, (part.rows,)),
    ]
    if part.kept is not None:
        shapes += [
            (u32, (CHUNKS, (1 << key_bits_for(part.kept)) + 1)),
            (u16, (CHUNKS, part.kept)),
            (u8, (CHUNKS * part.kept + 1, 3)),
        ]
    if part.clumps:
        shapes += [
            (u32, (part.clumps + 1,)),
            (u64, (part.clumps, 4)),
            (u32, (part.clumps,)),
            (u32, (part.clumped,)),
            (u64, (part.clumps, 4)),
            *(
                (u64, (CLUMP_COLUMNS, -(-part.clumped // at_once) * (CLUMP_BLOCK // 64)))
                for at_once in (CLUMP_BLOCK, 2 * CLUMP_BLOCK)
            ),
            (u16, (-(-part.clumped // (2 * CLUMP_BLOCK)) * 2 * CLUMP_BLOCK,)),
        ]
    return shapes


def _clump_arrays(held: Clumps) -> tuple[NDArray[Any], ...]:
    few = (held.starts, held.centres, held.radii, held.positions, held.common)
    return *few, held.columns, held.pairs, held.paired


def _arrays(part: _PartHeader, mapped: mmap.mmap, size: int) -> Iterator[NDArray[Any]]:
    sound = 0 <= part.rows <= PART_ROWS and 0 <= part.clumps <= MAX_CLUMPS
    sound &= part.kept is None or 0 <= part.kept <= part.rows
    sound &= 0 <= part.clumped <= part.rows
    shapes = _shapes(part) if sound else []
    if not sound or len(shapes) != len(part.arrays):
        raise SnapshotError("the index file's header contradicts itself")
    for array, (dtype, shape) in zip(part.arrays, shapes, strict=True):
        count = int(np.prod(shape))
        if array.start % _ALIGNMENT or not 0 < array.start <= size - count * dtype.itemsize:
            raise SnapshotError("the index file's header points outside the file")
        yield np.frombuffer(mapped, dtype, count, array.start).reshape(shape)


def _verify(part: _PartHeader, arrays: list[NDArray[Any]]) -> None:
    for array, content in zip(part.arrays, arrays, strict=True):
        if hashlib.sha256(content.reshape(-1).view(np.uint8).data).hexdigest() != array.sha256:
            raise SnapshotError("the index file is damaged: an array does not have its digest")


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT


@contextmanager
def _written_alone(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, empty and ours: what a killed writer left is written over.

    Raises:
        StateError: if another process has it.
    """
    file = os.fdopen(os.open(partial, os.O_CREAT | os.O_RDWR, 0o666), "r+b")
    with file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had the lock may have renamed this very file since we opened it.
                ours = os.path.samestat(os.fstat(file.fileno()), partial.stat())
            except (BlockingIOError, FileNotFoundError):
                ours = False
            if not ours:
                raise StateError("another process is writing this index file")
        file.truncate(0)
        yield file
