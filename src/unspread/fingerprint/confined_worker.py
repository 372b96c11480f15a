"""The process that decodes files of strangers. Started by `unspread.fingerprint.confined` only."""

import errno
import io
import mmap
import os
import socket
import sys
from typing import Final

import msgspec
import numpy as np
from PIL import Image

from unspread.errors import UnspreadError
from unspread.fingerprint.confined import (
    _LENGTH,
    Answer,
    Budget,
    Call,
    Confinement,
    _framed,
)
from unspread.fingerprint.files import STANDARD
from unspread.fingerprint.scan import scan_media

_CALL_BYTES: Final = 1 << 16

_REFUSED_CALLS: Final = (
    # No network.
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    # No other program, and no look into one.
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kill", "tkill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp"),
    # Nothing changed on disk.
    *("creat", "truncate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "rmdir"),
    *("mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr"),
    *("utime", "utimes", "utimensat", "futimesat", "open_by_handle_at"),
    # No way around.
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "userfaultfd", "unshare"),
    *("setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen"),
    *("perf_event_open", "add_key", "request_key", "keyctl", "personality", "init_module"),
    *("finit_module", "delete_module", "kexec_load", "kexec_file_load", "openat2", "reboot"),
)


def main() -> None:
    """Answer calls until the other side hangs up."""
    channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    budget = msgspec.msgpack.decode(_message(channel), type=Budget)
    _warm_up()
    confinement = Confinement(rlimits=_bind(budget), seccomp=_close_doors())
    channel.sendall(_framed(msgspec.msgpack.encode(confinement)))
    while True:
        received, descriptors, _, _ = socket.recv_fds(channel, _CALL_BYTES, 1)
        if not received or not descriptors:
            return
        call = msgspec.msgpack.decode(received[_LENGTH.size :], type=Call)
        answer = _answer(call, descriptors[0], budget)
        channel.sendall(_framed(msgspec.msgpack.encode(answer)))


def _answer(call: Call, descriptor: int, budget: Budget) -> Answer:
    _allow_cpu(budget)
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return Answer(refusal="the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
                scan = scan_media(
                    source,
                    windows=call.windows,
                    sampling=call.sampling,
                    max_frames=call.max_frames,
                    frames_with_windows=call.frames_with_windows,
                    limits=call.limits,
                )
                return Answer(scan=scan)
    except UnspreadError as error:
        return Answer(refusal=str(error))


def _message(channel: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(channel.recv(_LENGTH.size, socket.MSG_WAITALL))
    return channel.recv(length, socket.MSG_WAITALL)


def _warm_up() -> None:
    """Decode one small picture of each kind, so that nothing is loaded once doors are closed."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, name)
        scan_media(file.getvalue(), limits=STANDARD)


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


def _close_doors() -> bool:
    """Refuse system calls that no decoder needs; False where libseccomp is missing."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        return False
    refuse = pyseccomp.ERRNO(errno.EPERM)
    doors = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _REFUSED_CALLS:
        try:
            doors.add_rule(refuse, name)
        except (ValueError, OSError):
            # Not a system call of this kernel or architecture.
            continue
    for bit in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        masked = pyseccomp.MASKED_EQ
        doors.add_rule(refuse, "openat", pyseccomp.Arg(2, masked, bit, bit))
        doors.add_rule(refuse, "open", pyseccomp.Arg(1, masked, bit, bit))
    try:
        doors.load()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
