"""SHA-256 and MD5 of a file's bytes, in one streaming pass."""

import hashlib
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Final

from unspread.model import Fingerprint, Kind

_BLOCK_BYTES: Final = 1 << 20

Progress = Callable[[float], None]
"""Told how much of the work is done, 0..1."""


def digests(data: bytes | memoryview | mmap) -> tuple[Fingerprint, Fingerprint]:
    """SHA-256 and MD5 of bytes in memory."""
    return (
        Fingerprint(Kind.SHA256, hashlib.sha256(data).digest()),
        Fingerprint(Kind.MD5, hashlib.md5(data, usedforsecurity=False).digest()),
    )


def file_digests(
    path: Path, progress: Progress = lambda _: None
) -> tuple[Fingerprint, Fingerprint]:
    """SHA-256 and MD5 of a file of any size."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            sha256.update(block)
            md5.update(block)
            done += len(block)
            progress(min(done / max(size, 1), 1.0))
    return Fingerprint(Kind.SHA256, sha256.digest()), Fingerprint(Kind.MD5, md5.digest())
