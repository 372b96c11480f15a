"""The process that decodes files of strangers. Started by `unspread.fingerprint.confined` only."""

import os
import socket
import sys
from io import BytesIO
from time import monotonic
from typing import Final

import av
import msgspec
import numpy as np
from PIL import Image

from unspread.errors import UnspreadError
from unspread.fingerprint import doors
from unspread.fingerprint.confined import (
    _LENGTH,
    Answer,
    Budget,
    Call,
    Confinement,
    FingerprintCall,
    _framed,
)
from unspread.fingerprint.files import size_bytes
from unspread.fingerprint.media import fingerprint_file
from unspread.fingerprint.scan import scan_media

_CALL_BYTES: Final = 1 << 16
_SIGN_OF_LIFE_SECONDS: Final = 0.2


def main() -> None:
    """Answer calls until the other side hangs up."""
    channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    budget = msgspec.msgpack.decode(_message(channel), type=Budget)
    _warm_up()
    channel.sendall(_framed(msgspec.msgpack.encode(_confine(budget))))
    while True:
        received, descriptors, _, _ = socket.recv_fds(channel, _CALL_BYTES, 1)
        if not received or not descriptors:
            return
        call = msgspec.msgpack.decode(received[_LENGTH.size :], type=Call)
        answer = _answer(call, descriptors[0], budget, channel)
        channel.sendall(_framed(msgspec.msgpack.encode(answer)))


def _answer(call: Call, descriptor: int, budget: Budget, channel: socket.socket) -> Answer:
    last = monotonic()

    def progress(done: float) -> None:
        nonlocal last
        if budget.renewed and monotonic() - last > _SIGN_OF_LIFE_SECONDS:
            last = monotonic()
            _allow_cpu(budget)
            channel.sendall(_framed(msgspec.msgpack.encode(Answer(progress=done))))

    _allow_cpu(budget)
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not size_bytes(file):
                return Answer(refusal="the file is empty")
            if isinstance(call, FingerprintCall):
                return Answer(fingerprint=fingerprint_file(file, call.limits, progress=progress))
            scan = scan_media(
                file,
                windows=call.windows,
                sampling=call.sampling,
                max_frames=call.max_frames,
                frames_with_windows=call.frames_with_windows,
                limits=call.limits,
                progress=progress,
            )
            return Answer(scan=scan)
    except UnspreadError as error:
        return Answer(refusal=str(error))


def _message(channel: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(channel.recv(_LENGTH.size, socket.MSG_WAITALL))
    return channel.recv(length, socket.MSG_WAITALL)


def _warm_up() -> None:
    """Decode something small of each kind, so that nothing is loaded once doors are closed."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
        file = BytesIO()
        Image.fromarray(noise).save(file, name)
        scan_media(file.getvalue())
    film = BytesIO()
    with av.open(film, "w", format="mp4") as written:
        stream = written.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 80
        stream.pix_fmt = "yuv420p"
        written.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        written.mux(stream.encode(None))
    scan_media(film.getvalue())


def _confine(budget: Budget) -> Confinement:
    # libseccomp is looked for where Landlock would not let us look.
    seccomp = doors.close_calls()
    return Confinement(_bind(budget), seccomp, doors.close_files())


def _bind(budget: Budget) -> bool:
    """Bind memory, core dumps and file sizes; False where there are no rlimits."""
    try:
        import resource
    except ImportError:
        return False
    resource.setrlimit(resource.RLIMIT_AS, (budget.memory_bytes, budget.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return True


def _allow_cpu(budget: Budget) -> None:
    """Processor time for one more call; the kernel ends the process beyond it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + budget.cpu_seconds + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


if __name__ == "__main__":
    main()
