"""The common kinds of PNG, unpacked by libdeflate in half of libpng's time."""

import struct
from collections.abc import Iterator
from typing import Final

import imagecodecs
import numpy as np

from unspread.fingerprint import kernel
from unspread.fingerprint.pdq import Pixels

_FIRST_CHUNK: Final = b"\0\0\0\x0dIHDR"
_HEADER_BYTES: Final = 33
"""Signature and first chunk."""
_CHANNELS: Final = {0: 1, 2: 3, 6: 4}
"""By colour type: grey, RGB, RGB with alpha (PNG, third edition, 11.2.1)."""

_CHANGE_THE_MEANING: Final = {b"IHDR", b"tRNS"}
"""Of pixels; left to other decoders."""


def decode_png(data: bytes) -> Pixels:
    """(height, width) or (height, width, 3 or 4) of 8 bits a channel, as they are stored.

    Limits on the size are to be checked before.

    Raises:
        ValueError: if it is damaged, or of a less common kind: interlaced, with a palette or one
            transparent colour, of another depth; or if there is no compiled kernel.
    """
    if kernel.compiled is None:
        raise ValueError("no compiled kernel")
    if len(data) < _HEADER_BYTES or data[8:16] != _FIRST_CHUNK:
        raise ValueError("not a PNG")
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or interlaced or colour not in _CHANNELS or not (width and height):
        raise ValueError("an uncommon kind of PNG")
    channels = _CHANNELS[colour]
    room = bytearray(height * (1 + width * channels))
    unpacked = imagecodecs.deflate_decode(b"".join(_packed(data)), out=room)
    if len(unpacked) != len(room):
        raise ValueError("less than the header claims")
    rows = np.frombuffer(room, np.uint8).reshape(height, -1)
    kernel.compiled.unfilter(rows, channels)
    pixels = rows[:, 1:]
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _packed(data: bytes) -> Iterator[memoryview]:
    """The bodies of the IDAT chunks. Their sums are not checked, as that of the pixels is."""
    view, at = memoryview(data), _HEADER_BYTES
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind in _CHANGE_THE_MEANING:
            break
        if kind == b"IDAT":
            yield view[at + 8 : at + 8 + length]
        at += 12 + length
    raise ValueError("not whole, or an uncommon kind of PNG")
