"""SHA-256 and MD5 of a file's bytes, in one streaming pass."""

import hashlib
from collections.abc import Callable
from typing import BinaryIO, Final

from unspread.fingerprint.files import size_bytes
from unspread.model import Fingerprint, Kind

DIGEST_SHARE: Final = 0.1
"""Of the progress of a video: the rest is decoding."""

_BLOCK_BYTES: Final = 1 << 20

Progress = Callable[[float], None]
"""Told how much of the work is done, 0..1."""


def digests(data: bytes) -> tuple[Fingerprint, Fingerprint]:
    """SHA-256 and MD5 of bytes in memory."""
    return (
        Fingerprint(Kind.SHA256, hashlib.sha256(data).digest()),
        Fingerprint(Kind.MD5, hashlib.md5(data, usedforsecurity=False).digest()),
    )


def file_digests(
    file: BinaryIO, progress: Progress = lambda _: None
) -> tuple[Fingerprint, Fingerprint]:
    """SHA-256 and MD5 of a file of any size, from its start."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = size_bytes(file)
    done = 0
    while block := file.read(min(_BLOCK_BYTES, size - done)):
        sha256.update(block)
        md5.update(block)
        done += len(block)
        progress(done / size)
    return Fingerprint(Kind.SHA256, sha256.digest()), Fingerprint(Kind.MD5, md5.digest())
