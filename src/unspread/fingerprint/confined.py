"""Files from strangers, decoded where they can do no harm: in worker processes with limits.

A worker gets a file descriptor and answers in MessagePack, never in pickle: what a decoder that
was taken over may send back is data and nothing else. It has no network, opens nothing for
writing and starts nothing (seccomp, where the machine has libseccomp), opens no file but the
program's own (Landlock, where the kernel has it), and is bound in memory and processor time
(rlimits) and in time (it is killed). A worker that dies is replaced at once.
"""

import asyncio
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from unspread.errors import StateError, UnreadableMediaError
from unspread.fingerprint.digest import Progress
from unspread.fingerprint.files import STANDARD, Limits, Source, opened
from unspread.fingerprint.result import MediaScan, Sampling
from unspread.model import MediaFingerprint

MAX_ANSWER_BYTES: Final = 64 * 2**20
_CALLS_PER_WORKER: Final = 2000
"""Then it is replaced: whatever a decoder leaks, it leaks for a while only."""

_START_SECONDS: Final = 60.0
_LENGTH: Final = struct.Struct("<I")

_KEPT_BYTES: Final = 256 * 2**20
"""Of memory that a worker has done with and uses again for the next picture. Given back at once, as
is the default, every page of it would be taken from the system, cleared and charged anew."""

ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
}
"""Of a worker: one thread, and what glibc keeps (mallopt(3)); other systems ignore it."""

TOO_COSTLY: Final = "the file needs more time or memory than one file may take"


class Budget(msgspec.Struct, frozen=True):
    """What one call may cost, whatever the file says."""

    memory_bytes: int = 3 * 2**30
    """Of address space, beyond which decoders fail."""
    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    renewed: bool = False
    """Whether a sign of progress begins both times anew: where somebody watches it, a long film
    may take as long as it takes."""


MODEST: Final = Budget()
PATIENT: Final = Budget(renewed=True)


class ScanCall(msgspec.Struct, frozen=True, tag="scan"):
    """A worker is asked to scan the file whose descriptor comes along."""

    windows: bool
    sampling: Sampling
    max_frames: int
    frames_with_windows: int
    limits: Limits


class FingerprintCall(msgspec.Struct, frozen=True, tag="fingerprint"):
    """A worker is asked to fingerprint it, as it is submitted."""

    limits: Limits


Call = ScanCall | FingerprintCall


class Answer(msgspec.Struct, frozen=True):
    """What it answers: a result, or a text for people; before that, how far it is."""

    scan: MediaScan | None = None
    fingerprint: MediaFingerprint | None = None
    refusal: str | None = None
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class Confinement:
    """What binds the workers on this machine; for health checks and people who ask."""

    rlimits: bool
    """Bound in memory and processor time."""
    seccomp: bool
    """No network, no other process, no way to change anything."""
    landlock: bool
    """No file can be opened but the program's own code."""


class _Worker:
    """One process and the socket to it."""

    def __init__(self, budget: Budget) -> None:
        mine, theirs = socket.socketpair()
        environment = {
            name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ
        }
        environment |= ENVIRONMENT
        with theirs:
            # While we hold the other end: a worker that ends at once cannot break it.
            mine.sendall(_framed(msgspec.msgpack.encode(budget)))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "unspread.fingerprint.confined_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        self._socket = mine
        self._budget = budget
        self.confinement: Confinement | None = None
        self.calls = 0

    def ready(self) -> Confinement:
        """Wait until it has imported and tried every decoder, and confined itself."""
        if self.confinement is None:
            self._socket.settimeout(_START_SECONDS)
            self.confinement = msgspec.msgpack.decode(self._receive(), type=Confinement)
        return self.confinement

    def call(self, call: Call, descriptor: int, progress: Progress) -> Answer:
        """Its answer; OSError, EOFError, ValueError or MsgspecError if it is not a proper one."""
        self.calls += 1
        self._socket.settimeout(self._budget.wall_seconds)
        until = monotonic() + self._budget.wall_seconds
        socket.send_fds(self._socket, [_framed(msgspec.msgpack.encode(call))], [descriptor])
        done = -1.0
        while True:
            answer = msgspec.msgpack.decode(self._receive(until), type=Answer)
            if answer.progress is None:
                return answer
            if not (self._budget.renewed and done <= answer.progress <= 1):
                raise EOFError
            done = answer.progress
            progress(done)
            until = monotonic() + self._budget.wall_seconds

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, until: float | None = None) -> bytes:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, until))
        if length > MAX_ANSWER_BYTES:
            raise EOFError
        return self._exactly(length, until)

    def _exactly(self, length: int, until: float | None) -> bytes:
        received = bytearray()
        while len(received) < length:
            if until is not None:
                # A worker that was taken over could else hold us by sending a byte at a time.
                self._socket.settimeout(max(until - monotonic(), 0.001))
            block = self._socket.recv(min(length - len(received), 1 << 20))
            if not block:
                raise EOFError
            received += block
        return bytes(received)


class Decoder(Protocol):
    """What makes fingerprints of files, wherever it does."""

    def scan(self, source: Source, *, sampling: Sampling, progress: Progress = ...) -> MediaScan:
        """As `scan_media`."""

    def fingerprint(self, source: Source, progress: Progress = ...) -> MediaFingerprint:
        """As `fingerprint_file`."""


def patient_decoder() -> AbstractContextManager[Decoder]:
    """A worker for somebody who waits; this process, where none can be given a file (Windows)."""
    if hasattr(socket, "send_fds"):
        return Confined(budget=PATIENT)
    from unspread.fingerprint import here

    return nullcontext(here)


class Confined:
    """A pool of workers; thread-safe, and awaitable from asyncio.

    ```python
    with Confined(workers=4) as confined:
        scan = confined.scan(data)
        scan = await confined.scan_async(data)
    ```
    """

    def __init__(
        self, workers: int = 1, *, budget: Budget = MODEST, limits: Limits = STANDARD
    ) -> None:
        self._budget = budget
        self._limits = limits
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._closed = False
        self._executor = ThreadPoolExecutor(workers, "confined")
        for _ in range(workers):
            self._start()

    def scan(
        self,
        source: Source,
        *,
        windows: bool = True,
        sampling: Sampling = Sampling.KEYFRAMES,
        max_frames: int = 4096,
        frames_with_windows: int = 0,
        progress: Progress = lambda _: None,
    ) -> MediaScan:
        """As `scan_media`, in a worker.

        Raises:
            UnreadableMediaError: as `scan_media`, and if the file costs more than the budget.
        """
        call = ScanCall(windows, sampling, max_frames, frames_with_windows, self._limits)
        answer = self._call(call, source, progress)
        if answer.scan is None:
            raise UnreadableMediaError(answer.refusal or TOO_COSTLY)
        return answer.scan

    def fingerprint(self, source: Source, progress: Progress = lambda _: None) -> MediaFingerprint:
        """As `fingerprint_file`, in a worker.

        Raises:
            UnreadableMediaError: as `fingerprint_file`, and if the file costs more than the budget.
        """
        answer = self._call(FingerprintCall(self._limits), source, progress)
        if answer.fingerprint is None:
            raise UnreadableMediaError(answer.refusal or TOO_COSTLY)
        return answer.fingerprint

    async def scan_async(
        self,
        source: Source,
        *,
        windows: bool = True,
        sampling: Sampling = Sampling.KEYFRAMES,
        max_frames: int = 4096,
        frames_with_windows: int = 0,
    ) -> MediaScan:
        """As `scan`, without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor,
            lambda: self.scan(
                source,
                windows=windows,
                sampling=sampling,
                max_frames=max_frames,
                frames_with_windows=frames_with_windows,
            ),
        )

    def confinement(self) -> Confinement:
        """What binds the workers on this machine."""
        worker = self._idle.get()
        try:
            return worker.ready()
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill the workers. Calls under way are refused."""
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            workers, self._all = self._all, set()
        for worker in workers:
            worker.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        worker = _Worker(self._budget)
        with self._lock:
            self._all.add(worker)
        self._idle.put(worker)

    def _call(self, call: Call, source: Source, progress: Progress) -> Answer:
        if self._closed:
            raise StateError("the workers are closed")
        with _descriptor(source) as descriptor:
            return self._ask(call, descriptor, progress)

    def _ask(self, call: Call, descriptor: int, progress: Progress) -> Answer:
        worker = self._idle.get()
        healthy = False
        try:
            _started(worker)
            answer = worker.call(call, descriptor, progress)
            healthy = worker.calls < _CALLS_PER_WORKER
        except (OSError, EOFError, ValueError, msgspec.MsgspecError):
            if self._closed:
                raise StateError("the workers are closed") from None
            return Answer(refusal=TOO_COSTLY)
        else:
            return answer
        finally:
            if healthy:
                self._idle.put(worker)
            else:
                self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            self._all.discard(worker)
        if not self._closed:
            self._start()


def _started(worker: _Worker) -> None:
    try:
        worker.ready()
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        # Not the file's fault, and no reason to take it for harmless or to tell its owner off.
        raise StateError("the process that decodes files does not start") from error


def _framed(message: bytes) -> bytes:
    return _LENGTH.pack(len(message)) + message


@contextmanager
def _descriptor(source: Source) -> Iterator[int]:
    """A file that a worker may read and nothing else."""
    if not isinstance(source, bytes | memoryview):
        with opened(source) as file:
            yield file.fileno()
        return
    if hasattr(os, "memfd_create"):
        import fcntl

        sealed = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        descriptor = os.memfd_create("media", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(source)
            memory.flush()
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, sealed)
            yield memory.fileno()
        return
    with tempfile.TemporaryFile() as unnamed:
        unnamed.write(source)
        unnamed.flush()
        yield unnamed.fileno()
