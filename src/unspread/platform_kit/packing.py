"""Fingerprints as bytes in the database: kind, part, quality, value, one after the other."""

from collections.abc import Iterable
from typing import Final

from unspread.errors import StateError
from unspread.model import VALUE_BYTES, Fingerprint, Kind, Part

_KINDS: Final = (Kind.PDQ, Kind.SHA256, Kind.MD5)
_PARTS: Final = (Part.WHOLE, Part.FRAME, Part.WINDOW)
_NO_QUALITY: Final = 255


def pack(fingerprints: Iterable[Fingerprint]) -> bytes:
    """Three bytes and the value for each fingerprint, in order."""
    packed = bytearray()
    for each in fingerprints:
        quality = _NO_QUALITY if each.quality is None else each.quality
        packed += bytes((_KINDS.index(each.kind), _PARTS.index(each.part), quality)) + each.value
    return bytes(packed)


def unpack(packed: bytes) -> tuple[Fingerprint, ...]:
    """What `pack` was given.

    Raises:
        StateError: if the bytes were not written by it.
    """
    found = []
    at = 0
    try:
        while at < len(packed):
            kind, part, quality = packed[at : at + 3]
            end = at + 3 + VALUE_BYTES[_KINDS[kind]]
            found.append(
                Fingerprint(
                    _KINDS[kind],
                    packed[at + 3 : end],
                    _PARTS[part],
                    None if quality == _NO_QUALITY else quality,
                )
            )
            at = end
    except (ValueError, IndexError):
        raise StateError(
            "stored fingerprints are damaged: restore or follow the list anew"
        ) from None
    return tuple(found)
