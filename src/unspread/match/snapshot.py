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
from collections.abc import Iterator, Sequence
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
    Clumps,
    Part,
    Tables,
    key_bits_for,
)

if sys.platform != "win32":
    import fcntl

MAGIC: Final = b"unspread match\r\n"
VERSION: Final = 3
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


def saved(path: Path, order: U8, parts: Sequence[Part]) -> None:
    """Write the parts, of rows in this order of bits, to `path`.

    At any moment it is the old file or the new one, whole.

    Raises:
        StateError: if another process is writing the same file.
        OSError: if the directory cannot be written.
    """
    headers = [
        _PartHeader(
            rows=len(part),
            kept=part.tables.signatures.shape[1] if part.tables else None,
            clumps=len(part.clumps.radii) if part.clumps else 0,
            clumped=len(part.clumps.positions) if part.clumps else 0,
        )
        for part in parts
    ]
    header = _Header(order.tobytes(), headers)
    # Room for the longest starts, so that the header's end is known before where arrays start.
    for each in headers:
        each.arrays = [_Array(10**15, _EMPTY_DIGEST.hex()) for _ in _shapes(each)]
    start = _aligned(_FIXED.size + len(msgspec.json.encode(header)))
    for each in headers:
        for array, (dtype, shape) in zip(each.arrays, _shapes(each), strict=True):
            array.start = start
            start = _aligned(start + dtype.itemsize * int(np.prod(shape)))

    partial = path.with_name(f".{path.name}.partial")
    with _written_alone(partial) as file:
        for each, part in zip(headers, parts, strict=True):
            for array, content in zip(each.arrays, _contents(part), strict=True):
                flat = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
                file.seek(array.start)
                file.write(flat.data)
                array.sha256 = hashlib.sha256(flat.data).hexdigest()
        file.truncate(start)
        body = msgspec.json.encode(header)
        fixed = (MAGIC, BYTE_ORDER, VERSION, _FIXED.size + len(body), start)
        digest = hashlib.sha256(_FIXED.pack(*fixed, _EMPTY_DIGEST) + body).digest()
        file.seek(0)
        file.write(_FIXED.pack(*fixed, digest) + body)
        file.flush()
        os.fsync(file.fileno())
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
        raise SnapshotError(f"the index file is of version {version}; this reads {VERSION}")
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
            (u64, (CLUMP_COLUMNS, -(-part.clumped // CLUMP_BLOCK) * (CLUMP_BLOCK // 64))),
        ]
    return shapes


def _contents(part: Part) -> list[NDArray[Any]]:
    contents: list[NDArray[Any]] = [part.ids, part.front, part.back, part.dead]
    if part.tables:
        contents += [part.tables.offsets, part.tables.signatures, part.tables.positions]
    if part.clumps:
        held = part.clumps
        contents += [held.starts, held.centres, held.radii, held.positions]
        contents += [held.common, held.columns]
    return contents


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
