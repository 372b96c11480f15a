"""Fingerprints as bytes in the database: MessagePack of (kind, part, quality, value)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from unspread.model import Fingerprint, Kind, Part

_KINDS: Final = (Kind.PDQ, Kind.SHA256, Kind.MD5)
_PARTS: Final = (Part.WHOLE, Part.FRAME, Part.WINDOW)
_Packed = tuple[int, int, int | None, bytes]


def pack(fingerprints: Sequence[Fingerprint]) -> bytes:
    """The bytes that `unpack` reads; empty for no fingerprints."""
    if not fingerprints:
        return b""
    return msgspec.msgpack.encode(
        [
            (_KINDS.index(each.kind), _PARTS.index(each.part), each.quality, each.value)
            for each in fingerprints
        ]
    )


def unpack(packed: bytes) -> tuple[Fingerprint, ...]:
    """What was packed."""
    if not packed:
        return ()
    return tuple(
        Fingerprint(_KINDS[kind], value, _PARTS[part], quality)
        for kind, part, quality, value in msgspec.msgpack.decode(packed, type=list[_Packed])
    )
