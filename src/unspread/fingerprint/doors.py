"""What a process gives up for good before it reads what strangers sent, as far as Linux offers it.

No library for Landlock is well kept, and it is three system calls of the same number on every
processor (Linux, include/uapi/linux/landlock.h); seccomp is libseccomp's, through pyseccomp.
"""

import ctypes
import errno
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_REFUSED_CALLS: Final = (
    # No network, and nothing that outlives the process.
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    *("shmget", "shmat", "msgget", "semget", "mq_open", "mq_unlink", "memfd_create"),
    # No other program, and no look into one.
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"),
    *("pidfd_getfd", "pidfd_send_signal", "kcmp", "process_madvise", "process_mrelease"),
    *("setpriority", "ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam"),
    *("sched_setscheduler", "migrate_pages", "move_pages"),
    # Nothing changed on disk or of the machine.
    *("creat", "truncate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "rmdir"),
    *("mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr"),
    *("fremovexattr", "removexattrat", "file_setattr"),
    *("utime", "utimes", "utimensat", "futimesat", "open_by_handle_at", "quotactl", "acct"),
    *("sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime"),
    *("adjtimex", "swapon", "swapoff", "syslog", "iopl", "ioperm"),
    # No way around.
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "userfaultfd", "unshare"),
    *("setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen"),
    *("fsconfig", "fsmount", "fspick", "mount_setattr", "open_tree_attr"),
    *("perf_event_open", "add_key", "request_key", "keyctl", "personality", "init_module"),
    *("finit_module", "delete_module", "kexec_load", "kexec_file_load", "openat2", "reboot"),
)

_CLONE_THREAD: Final = 0x00010000
"""linux/sched.h: a thread of this process rather than another process."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_READ: Final = 1 << 2 | 1 << 3
"""Files and directories."""
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI → how many rights it knows for files."""
_TCP: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
_SET_NO_NEW_PRIVS: Final = 38


def close_calls() -> bool:
    """Refuse system calls that no decoder needs; False where libseccomp is missing."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        return False
    refuse = pyseccomp.ERRNO(errno.EPERM)
    closed = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _REFUSED_CALLS:
        # Some are no system calls of this kernel or architecture.
        with suppress(ValueError, OSError):
            closed.add_rule(refuse, name)
    masked = pyseccomp.MASKED_EQ
    for bit in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        closed.add_rule(refuse, "openat", pyseccomp.Arg(2, masked, bit, bit))
        with suppress(ValueError, OSError):
            closed.add_rule(refuse, "open", pyseccomp.Arg(1, masked, bit, bit))
    # Threads, but no processes. What clone3 wants stands in memory, which a filter cannot read;
    # libraries that are told that it does not exist fall back to clone.
    closed.add_rule(refuse, "clone", pyseccomp.Arg(0, masked, _CLONE_THREAD, 0))
    closed.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    # Its own limits only.
    closed.add_rule(refuse, "prlimit64", pyseccomp.Arg(0, pyseccomp.NE, 0))
    try:
        closed.load()
    except OSError:
        return False
    return True


def close_files() -> bool:
    """Leave nothing to be opened but, for reading, the program's code; False without Landlock.

    Files that are open stay open. TCP, signals and the memory of other processes are closed too,
    as far as the kernel's Landlock goes.
    """
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    rights = _FILE_RIGHTS[max(abi for abi in _FILE_RIGHTS if abi <= version)]
    wanted = [(1 << rights) - 1]
    wanted += [_TCP] if version >= 4 else []
    wanted += [_ABSTRACT_SOCKETS_AND_SIGNALS] if version >= 6 else []
    rules = struct.pack(f"={len(wanted)}Q", *wanted)
    ruleset = call(_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    try:
        for path in _code():
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            beneath = struct.pack("=Qi", _READ, at)
            call(_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
            os.close(at)
        ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(call(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _code() -> list[Path]:
    """Directories out of which Python and its libraries may still load something."""
    known = (sys.prefix, sys.base_prefix, *sys.path, "/lib", "/lib64", "/usr/lib", "/usr/local/lib")
    return [path for path in map(Path, filter(None, known)) if path.is_dir()]
