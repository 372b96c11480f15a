"""Fingerprints as bytes in the database: kind, part, quality, value, one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from unspread.errors import StateError
from unspread.model import VALUE_BYTES, Fingerprint, Kind, Level, Media, Part

_KINDS: Final = (Kind.PDQ, Kind.SHA256, Kind.MD5)
_PARTS: Final = (Part.WHOLE, Part.FRAME, Part.WINDOW)
_NO_QUALITY: Final = 255


@dataclass(frozen=True, slots=True)
class Packed:
    """An active listing as the store holds it: what a row needs, and its packed fingerprints."""

    list_number: int
    listing_id: int
    level: Level
    media: Media
    fingerprints: bytes


def pack(fingerprints: Iterable[Fingerprint]) -> bytes:
    """Three bytes and the value for each fingerprint, in order."""
    packed = bytearray()
    for each in fingerprints:
        quality = _NO_QUALITY if each.quality is None else each.quality
        packed += bytes((_KINDS.index(each.kind), _PARTS.index(each.part), quality)) + each.value
    return bytes(packed)


def values_of(packed: bytes) -> Iterator[tuple[Kind, Part, int, bytes]]:
    """Kind, part, quality (255 where there is none) and value of each, without checking them.

    Raises:
        StateError: if the bytes were not written by `pack`.
    """
    at = 0
    try:
        while at < len(packed):
            kind = _KINDS[packed[at]]
            end = at + 3 + VALUE_BYTES[kind]
            if end > len(packed):
                raise _damaged()
            yield kind, _PARTS[packed[at + 1]], packed[at + 2], packed[at + 3 : end]
            at = end
    except IndexError:
        raise _damaged() from None


def unpack(packed: bytes) -> tuple[Fingerprint, ...]:
    """What `pack` was given.

    Raises:
        StateError: if the bytes were not written by it.
    """
    try:
        return tuple(
            Fingerprint(kind, value, part, None if quality == _NO_QUALITY else quality)
            for kind, part, quality, value in values_of(packed)
        )
    except ValueError:
        raise _damaged() from None


def _damaged() -> StateError:
    return StateError("stored fingerprints are damaged: restore or follow the list anew")
