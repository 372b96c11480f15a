"""Has freed memory given back to the system."""

import ctypes
import sys
from typing import Final

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 256 * 1024


def keep_small() -> None:
    """Set the allocator up for a server whose work comes in bursts, where it is glibc's.

    Left alone it keeps what large arrays left behind, for each thread apart: some 30 MB after a few
    times of putting a list in order.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 2)
