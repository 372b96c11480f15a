"""Segments: a range of the log's entries, opened and sealed to one partner.

A segment is a header, the content key wrapped to the partner's key by HPKE, and the records of the
range in AES-256-GCM chunks. It is immutable and named after its content.
docs/protocol/feed.md has every byte.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from unspread.crypto import OpeningKey, SealedStream, seal_to, sha256
from unspread.errors import InputError, TrustError
from unspread.feed.records import COMMITMENT_BYTES, MAX_PAYLOAD_BYTES, Entry, EntryKind

MAX_LEVEL: Final = 13
"""A segment covers at most 2**13 entries: what a reader holds before it can verify, and what is
sealed again when one of them is erased."""
MAX_SEGMENT_BYTES: Final = 24 * 1024 * 1024
"""What a reader fetches at most at once."""
CHUNK_BYTES: Final = 64 * 1024
_MAGIC: Final = b"USPRSEG1"
MAX_HEAD_BYTES: Final = 2048
"""Header and wrapped key; 1 198 with the longest key there is."""

_HEADER: Final = struct.Struct(">8sQQIH")
_TAG_BYTES: Final = 16
_SEALED_BYTES: Final = CHUNK_BYTES + _TAG_BYTES


class MalformedSegmentError(TrustError):
    """A segment is not what the signed list says, or is not a segment."""


class Withheld(IntEnum):
    """Why a platform does not get an entry's content."""

    ERASED = 0
    SCOPE = 1
    """Not for this platform's surfaces, countries or levels."""
    SYNTHETIC = 2
    """Another platform's canary."""


class Tag(IntEnum):
    """Tags of a segment's records that are not kinds of entries."""

    WITHHELD = 16
    PADDING_RUN = 17
    SUBTREE = 18
    LATE = 19


def _record(tag: int, *content: bytes) -> bytes:
    length = sum(map(len, content))
    return b"".join(((tag << 24 | length).to_bytes(4, "big"), *content))


def opened(entry: Entry) -> bytes:
    """The record of an entry that the platform gets."""
    kind = EntryKind.ADD if entry.kind is EntryKind.CANARY else entry.kind
    return _record(kind, entry.payload)


def withheld(entry: Entry, why: Withheld) -> bytes:
    """The record of an entry that the platform does not get."""
    return _record(Tag.WITHHELD, bytes([why]), entry.commitment())


def late(listing_id: int, entry: Entry, proof: Iterable[bytes]) -> bytes:
    """The record of an earlier entry that was withheld and is in scope now.

    `proof` shows its inclusion in the log that ends where the segment ends. It follows the change.
    """
    digests = b"".join(proof)
    count = len(digests) // 32
    head = listing_id.to_bytes(8, "big") + bytes([count])
    return _record(Tag.LATE, head, digests, entry.payload)


def subtree(level: int, digest: bytes) -> bytes:
    """The record of 2**level entries without content, none of which the platform gets."""
    return _record(Tag.SUBTREE, bytes([level]), digest)


def padding_run(entries: list[Entry]) -> bytes:
    """The record of padding entries of one seed at successive positions."""
    first = entries[0].payload
    return _record(Tag.PADDING_RUN, first, len(entries).to_bytes(2, "big"))


def continues_run(entry: Entry, before: Entry) -> bool:
    """Whether a padding entry stands right after another in its seed's run."""
    here, there = entry.payload, before.payload
    return here[:16] == there[:16] and int.from_bytes(here[16:], "big") == 1 + int.from_bytes(
        there[16:], "big"
    )


def records(plaintext: bytes) -> Iterator[tuple[int, bytes]]:
    """Each record of an opened segment: its tag and content.

    Raises:
        MalformedSegmentError: if it ends in the midst of one.
    """
    at, end = 0, len(plaintext)
    while at < end:
        head = int.from_bytes(plaintext[at : at + 4], "big")
        stop = at + 4 + (head & 0xFFFFFF)
        if stop > end or at + 4 > end:
            raise MalformedSegmentError("a segment ends in the midst of a record")
        yield head >> 24, plaintext[at + 4 : stop]
        at = stop


@dataclass(frozen=True, slots=True)
class SegmentContext:
    """What a segment is sealed to belong to; it opens nowhere else."""

    origin: str
    partner: str
    start: int
    stop: int
    generation: int
    """Counts how often the range has been issued again, with less in it."""

    def _associated(self) -> bytes:
        text = f"{self.origin}\n{self.partner}\n{self.start}\n{self.stop}\n{self.generation}\n"
        return sha256(b"unspread/v1/segment\n", text.encode())

    def seal(self, plaintext: bytes, public_key: bytes) -> bytes:
        """The segment's file, under a fresh content key."""
        content_key = os.urandom(32)
        associated = self._associated()
        wrapped = seal_to(public_key, content_key, associated)
        stream = SealedStream(content_key, associated)
        head = _HEADER.pack(_MAGIC, self.start, self.stop, self.generation, len(wrapped)) + wrapped
        chunks = max(1, -(-len(plaintext) // CHUNK_BYTES))
        data = bytearray(len(head) + len(plaintext) + chunks * _TAG_BYTES)
        data[: len(head)] = head
        given, made = memoryview(plaintext), memoryview(data)[len(head) :]
        for number in range(chunks):
            stream.seal(
                number, given[:CHUNK_BYTES], made[:_SEALED_BYTES], is_last=number == chunks - 1
            )
            given, made = given[CHUNK_BYTES:], made[_SEALED_BYTES:]
        return bytes(data)

    def open(self, data: bytes, key: OpeningKey) -> bytes:
        """The records in a segment's file.

        Raises:
            MalformedSegmentError: if it is not a segment, or another one.
            SealError: if it is sealed to another key or partner, or has been changed.
        """
        try:
            magic, start, stop, generation, wrapped = _HEADER.unpack_from(data)
        except struct.error:
            raise MalformedSegmentError("not a segment") from None
        if (magic, start, stop, generation) != (_MAGIC, self.start, self.stop, self.generation):
            raise MalformedSegmentError("this is another segment than the one asked for")
        associated = self._associated()
        at = _HEADER.size + wrapped
        content_key = key.open(data[_HEADER.size : at], associated)
        if len(content_key) != 32:
            raise MalformedSegmentError("a segment's key has 32 bytes")
        stream = SealedStream(content_key, associated)
        given = memoryview(data)[at:]
        chunks = max(1, -(-len(given) // _SEALED_BYTES))
        plaintext = bytearray(max(0, len(given) - chunks * _TAG_BYTES))
        made = memoryview(plaintext)
        for number in range(chunks):
            stream.open(
                number, given[:_SEALED_BYTES], made[:CHUNK_BYTES], is_last=number == chunks - 1
            )
            given, made = given[_SEALED_BYTES:], made[CHUNK_BYTES:]
        return bytes(plaintext)


def head_of(data: bytes) -> bytes:
    """A segment's header and wrapped key: what the rest cannot be opened without.

    Raises:
        MalformedSegmentError: if it is not a segment.
    """
    try:
        magic, _, _, _, wrapped = _HEADER.unpack_from(data)
    except struct.error:
        raise MalformedSegmentError("not a segment") from None
    if magic != _MAGIC:
        raise MalformedSegmentError("not a segment")
    return data[: _HEADER.size + wrapped]


def check_payload(entry: Entry) -> None:
    """Refuse what no reader would take.

    Raises:
        InputError: if the payload is too long, or an erased entry is not a commitment.
    """
    if len(entry.payload) > MAX_PAYLOAD_BYTES:
        raise InputError("an entry's payload is too long")
    if entry.kind is EntryKind.ERASED and len(entry.payload) != COMMITMENT_BYTES:
        raise InputError("an erased entry consists of its commitment")
