"""Where the log and the feed are kept: files by path, in a directory or an object store."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from unspread.errors import InputError, StateError, TransportError

_SYNC_ALL_FROM: Final = 16
"""From this many files on, one sync of the whole disk costs less than one for each file."""

_AT_ONCE: Final = 16
"""Files that are written to an object store at the same time."""


class MissingBlobError(StateError):
    """There is no file at this path."""


class BlobStore(Protocol):
    """Files by path. What `put` has returned from is there after a power cut."""

    def get(self, path: str) -> bytes:
        """The file's bytes.

        Raises:
            MissingBlobError: if there is none.
        """

    def length_bytes(self, path: str) -> int:
        """How long the file is.

        Raises:
            MissingBlobError: if there is none.
        """

    def part(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop-1 of a file that has them.

        Raises:
            MissingBlobError: if there is no such file.
        """

    def put(self, path: str, data: bytes) -> None:
        """Write or replace a file; readers see all of the old or all of the new."""

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        """`put` for each, in any order; none may be relied on before this returns."""

    def put_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """`put` of a file that may be too long for memory, part by part.

        Whatever `parts` raises is raised, and nothing is written.
        """

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""

    def paths(self, prefix: str) -> Iterator[str]:
        """The paths that begin with `prefix`, which ends in a slash, in any order."""


def _checked(path: str) -> str:
    parts = path.split("/")
    if not all(parts) or any(part in {".", ".."} or "\\" in part for part in parts):
        raise InputError("not the path of a file in the log or the feed")
    return path


class DirectoryBlobs:
    """Files below a directory. A web server may serve it as it is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def file(self, path: str) -> Path:
        """Where a path's file is, for serving it."""
        return self._root / _checked(path)

    def get(self, path: str) -> bytes:
        try:
            return self.file(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise MissingBlobError("there is no such file in the log or the feed") from None

    def length_bytes(self, path: str) -> int:
        file = self.file(path)
        if not file.is_file():
            raise MissingBlobError("there is no such file in the log or the feed")
        return file.stat().st_size

    def part(self, path: str, start: int, stop: int) -> bytes:
        try:
            with self.file(path).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise MissingBlobError("there is no such file in the log or the feed") from None

    def put(self, path: str, data: bytes) -> None:
        self.put_many([(path, data)])

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        batch: list[Path] = []
        for path, data in files:
            file = self.file(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            _temporary(file).write_bytes(data)
            batch.append(file)
            if len(batch) == 4096:
                self._settle(batch)
                batch = []
        self._settle(batch)

    def put_parts(self, path: str, parts: Iterable[bytes]) -> None:
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(file)
        try:
            with temporary.open("wb") as output:
                output.writelines(parts)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._settle([file])

    def _settle(self, files: list[Path]) -> None:
        # Write, sync, rename, sync: after a power cut a file is whole or not there.
        temporaries = [_temporary(file) for file in files]
        directories = {file.parent for file in files}
        if len(files) >= _SYNC_ALL_FROM:
            os.sync()
        else:
            for temporary in temporaries:
                _sync(temporary)
        for temporary, file in zip(temporaries, files, strict=True):
            temporary.replace(file)
        if len(files) >= _SYNC_ALL_FROM:
            os.sync()
        else:
            for directory in directories | {each.parent for each in directories}:
                _sync(directory)

    def delete(self, path: str) -> None:
        self.file(path).unlink(missing_ok=True)

    def paths(self, prefix: str) -> Iterator[str]:
        for directory, _, names in os.walk(self._root / _checked(prefix.rstrip("/"))):
            for name in names:
                if not name.startswith("."):
                    yield (Path(directory) / name).relative_to(self._root).as_posix()


def _temporary(file: Path) -> Path:
    """Where a file is while it is written."""
    return file.with_name(f".{file.name}.{os.getpid()}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryBlobs:
    """Files in memory: for tests, and for a training clearinghouse that forgets."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def get(self, path: str) -> bytes:
        try:
            return self.files[_checked(path)]
        except KeyError:
            raise MissingBlobError("there is no such file in the log or the feed") from None

    def length_bytes(self, path: str) -> int:
        return len(self.get(path))

    def part(self, path: str, start: int, stop: int) -> bytes:
        return self.get(path)[start:stop]

    def put(self, path: str, data: bytes) -> None:
        self.files[_checked(path)] = data

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for path, data in files:
            self.put(path, data)

    def put_parts(self, path: str, parts: Iterable[bytes]) -> None:
        self.put(path, b"".join(parts))

    def delete(self, path: str) -> None:
        self.files.pop(_checked(path), None)

    def paths(self, prefix: str) -> Iterator[str]:
        yield from [path for path in self.files if path.startswith(prefix)]


class ObjectBlobs:
    """Files in an object store that `obstore` speaks to: S3, GCS, Azure."""

    def __init__(self, store: Any) -> None:
        """From an `obstore.store` object, which brings its own credentials."""
        self._store = store

    @classmethod
    def from_url(cls, url: str, *, allow_http: bool = False, **options: Any) -> "ObjectBlobs":
        """The store at `s3://bucket/prefix` or another URL that obstore knows, with its options.

        What is not among the options comes from the environment, as every S3 client has it
        (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`).
        `allow_http` is for a store on this machine.

        Raises:
            InputError: if nothing can be reached with these.
        """
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        if allow_http:
            options["client_options"] = {"allow_http": True}
        try:
            return cls(from_url(url, **options))
        except (BaseError, ValueError) as error:
            raise InputError(f"not an object store: {_first_line(error)}") from None

    def get(self, path: str) -> bytes:
        with _as_ours():
            return bytes(self._store.get(_checked(path)).bytes())

    def length_bytes(self, path: str) -> int:
        with _as_ours():
            return int(self._store.head(_checked(path))["size"])

    def part(self, path: str, start: int, stop: int) -> bytes:
        with _as_ours():
            return bytes(self._store.get_range(_checked(path), start=start, end=stop))

    def put(self, path: str, data: bytes) -> None:
        with _as_ours():
            self._store.put(_checked(path), data)

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            waiting: deque[Future[None]] = deque()
            for path, data in files:
                waiting.append(threads.submit(self.put, path, data))
                # No more than this are held in memory.
                if len(waiting) > 2 * _AT_ONCE:
                    waiting.popleft().result()
            for each in waiting:
                each.result()

    def put_parts(self, path: str, parts: Iterable[bytes]) -> None:
        from obstore import open_writer

        with _as_ours():
            # Parts of 10 MiB, of which none is seen before the last one is there.
            writer = open_writer(self._store, _checked(path), buffer_size=10 << 20)
            for part in parts:
                writer.write(part)
            writer.close()

    def delete(self, path: str) -> None:
        with suppress(MissingBlobError), _as_ours():
            self._store.delete(_checked(path))

    def paths(self, prefix: str) -> Iterator[str]:
        with _as_ours():
            for batch in self._store.list(prefix.rstrip("/")):
                for each in batch:
                    yield str(each["path"])


@contextmanager
def _as_ours() -> Iterator[None]:
    """Say an object store's errors as ours."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise MissingBlobError("there is no such file in the log or the feed") from None
    except BaseError as error:
        raise TransportError(f"the object store does not answer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
