"""What a file is, by its first bytes, and what it may cost: all that is known before decoding.

No decoder is loaded here, so that a server which decodes in confined workers loads none.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from unspread.errors import UnreadableMediaError

Source = bytes | memoryview | Path | BinaryIO
"""A file's bytes, where they are, or the file, open."""


class Format(StrEnum):
    """What a file is, by its first bytes; names and media types given by others do not count."""

    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"
    WEBP = "webp"
    BMP = "bmp"
    TIFF = "tiff"
    AVIF = "avif"
    HEIC = "heic"
    MP4 = "mp4"
    """MP4, MOV, 3GP: one family."""
    MATROSKA = "matroska"
    """Matroska and WebM."""

    @property
    def is_video(self) -> bool:
        """Whether it is read frame by frame."""
        return self in {Format.MP4, Format.MATROSKA}

    @property
    def media_type(self) -> str:
        """For a `Content-Type` header."""
        if self is Format.MATROSKA:
            return "video/webm"
        return f"{'video' if self.is_video else 'image'}/{self}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost; beyond it, the file is refused."""

    max_picture_bytes: int = 256 * 2**20
    max_pixels: int = 210_000_000
    """Of a picture: the largest phones take 200 megapixels."""
    max_video_bytes: int = 64 * 2**30
    max_frame_pixels: int = 8192 * 8192
    """Of a video."""
    max_duration_seconds: int = 12 * 3600
    max_frames: int = 12 * 3600 * 120


STANDARD: Final = Limits()


HEAD_BYTES: Final = 64
"""As much of a file as `sniff` looks at."""

_MAGIC: Final = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"BM", Format.BMP),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),
    (b"MM\0+", Format.TIFF),
    (b"\x1a\x45\xdf\xa3", Format.MATROSKA),
)
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_MOVIE_BOXES: Final = {b"moov", b"mdat", b"wide", b"free", b"skip"}
"""What a QuickTime film from before `ftyp` starts with."""

_ELSE: Final = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"ID3", "a sound recording"),
    (b"8BPS", "a Photoshop document"),
)


def sniff(head: bytes) -> Format:
    """What a file is, from its first `HEAD_BYTES`.

    Raises:
        UnreadableMediaError: if it is nothing that is fingerprinted.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in (8, *range(16, len(head) - 3, 4))}
        # Both families list mif1; the main brand decides, then the more specific one.
        for mine in ({head[8:12]}, brands):
            if mine & _AVIF_BRANDS:
                return Format.AVIF
            if mine & (_HEIC_BRANDS - {b"mif1", b"msf1"}):
                return Format.HEIC
        return Format.HEIC if head[8:12] in _HEIC_BRANDS else Format.MP4
    if head[4:8] in _MOVIE_BOXES:
        return Format.MP4
    if not head:
        raise UnreadableMediaError("the file is empty")
    what = next((text for magic, text in _ELSE if head.startswith(magic)), None)
    if what is None and head.lstrip()[:1] == b"<":
        what = "a web page or a drawing in XML"
    if what is None:
        raise UnreadableMediaError(
            "this is not a picture or a video of a kind that can be fingerprinted"
        )
    raise UnreadableMediaError(f"this is {what}, not a picture or a video")


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The file, to be read and moved about in; at its start.

    Raises:
        UnreadableMediaError: if it cannot be opened or read, or is no ordinary file: a pipe or a
            device may never end, or never begin.
    """
    try:
        if isinstance(source, Path):
            # Opening a pipe waits for its other end, but for this flag.
            descriptor = os.open(source, os.O_RDONLY | _AT_ONCE)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise UnreadableMediaError("this is not an ordinary file")
                yield file
        elif isinstance(source, bytes | memoryview):
            yield BytesIO(source)
        else:
            source.seek(0)
            yield source
    except OSError as error:
        raise UnreadableMediaError(f"the file cannot be read: {error.strerror}") from error


_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def size_bytes(file: BinaryIO) -> int:
    """How long an open file is; leaves it at its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def read_picture(file: BinaryIO, limits: Limits) -> bytes:
    """All of a file that may be a picture.

    Raises:
        UnreadableMediaError: if it is too large for one.
    """
    size = size_bytes(file)
    if size > limits.max_picture_bytes:
        raise UnreadableMediaError("the file is too large for a picture")
    return file.read(size)
