"""The nouns that every other module shares: frozen values, no I/O, no clock.

The words are those of the glossary in ARCHITECTURE.md. Texts written here are wire values:
they stand in JSON, in the feed and in databases, and never change meaning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final, NewType

from unspread.errors import InputError, MalformedFingerprintError

ListingId = NewType("ListingId", int)
"""Index in the log of the entry that added the listing, 0..2**40-1; the same for every platform."""

PDQ_BITS: Final = 256
MATCH_RADIUS_BITS: Final = 31
"""Largest distance that is a match, inclusive; Meta's recommendation (PDQ README, "Matching")."""

MIN_PDQ_QUALITY: Final = 50
"""Meta recommends to discard 49 and below (PDQ README, "Quality"): such pictures match anything."""


class Kind(StrEnum):
    """How a fingerprint was made."""

    PDQ = "pdq"
    SHA256 = "sha256"
    MD5 = "md5"


VALUE_BYTES: Final = {Kind.PDQ: 32, Kind.SHA256: 32, Kind.MD5: 16}


class Media(StrEnum):
    """What the fingerprinted file was."""

    IMAGE = "image"
    VIDEO = "video"


class Part(StrEnum):
    """What of the file a fingerprint covers."""

    WHOLE = "whole"
    FRAME = "frame"
    """One frame of a video."""
    WINDOW = "window"
    """A rectangle of a picture, so that a cropped copy is still found."""


class Age(StrEnum):
    """The person's answer to "were you under 18 in it?"."""

    MINOR = "minor"
    ADULT = "adult"
    UNKNOWN = "unknown"


class Level(StrEnum):
    """How far a listing is corroborated."""

    QUARANTINED = "quarantined"
    """Looks like something well known or empty: kept back, with a reason that the person sees."""
    UNVERIFIED = "unverified"
    CONFIRMED = "confirmed"
    """One platform has seen the content and agrees."""
    CORROBORATED = "corroborated"
    """Two platforms agree, or a helpline vouches."""
    DISPUTED = "disputed"


class State(StrEnum):
    """Where an item stands in its life."""

    HELD = "held"
    """Stored, not published: quarantined."""
    LISTED = "listed"
    SUSPENDED = "suspended"
    """Published, but platforms are asked not to act on it."""
    WITHDRAWN = "withdrawn"
    """By the person; final."""
    EXPIRED = "expired"
    REMOVED = "removed"
    """By two members of staff, with a counted reason; final."""


ACTIVE_STATES: Final = frozenset({State.LISTED})
"""States in which a listing is matched by platforms."""


class FeedbackKind(StrEnum):
    """What a platform says it did with a listing. That it received it, its cursor says."""

    FOUND = "found"
    """Content that matches is there; nothing is decided yet."""
    REMOVED = "removed"
    """Content that was there has been taken down."""
    BLOCKED = "blocked"
    """An upload was refused."""
    KEPT = "kept"
    """Reviewed and left in place, with a reason."""
    DISPUTED = "disputed"
    """Reviewed, and the listing itself seems wrong, with a reason."""


class Reason(StrEnum):
    """Why a platform kept or disputes; what the person reads."""

    DIFFERENT_CONTENT = "different_content"
    NOT_INTIMATE = "not_intimate"
    PUBLIC_INTEREST = "public_interest"
    LAWFUL_ORDER = "lawful_order"
    WELL_KNOWN_CONTENT = "well_known_content"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A kind and a value, made on the device that holds the picture.

    `quality` is PDQ's, 0..100, and None for digests. The repr shows no value: a PDQ can be
    partly turned back into a picture, so it is kept out of logs and tracebacks.

    Raises:
        MalformedFingerprintError: if the value's length is not that of its kind, a PDQ has no
            quality in 0..100, or a digest has one or covers less than the whole file.
    """

    kind: Kind
    value: bytes
    part: Part = Part.WHOLE
    quality: int | None = None

    def __post_init__(self) -> None:
        if len(self.value) != VALUE_BYTES[self.kind]:
            raise MalformedFingerprintError(f"a {self.kind} has {VALUE_BYTES[self.kind]} bytes")
        if self.kind is Kind.PDQ:
            if self.quality is None or not 0 <= self.quality <= 100:
                raise MalformedFingerprintError("a pdq comes with its quality, 0 to 100")
        elif self.quality is not None or self.part is not Part.WHOLE:
            raise MalformedFingerprintError(f"a {self.kind} covers the whole file, without quality")

    def to_text(self) -> str:
        """`kind:hex`, the canonical text of kind and value."""
        return f"{self.kind}:{self.value.hex()}"

    @classmethod
    def from_text(
        cls, text: str, *, part: Part = Part.WHOLE, quality: int | None = None
    ) -> "Fingerprint":
        """The fingerprint that `to_text` writes so, and no other spelling of it.

        Raises:
            MalformedFingerprintError: for anything else.
        """
        name, _, digits = text.partition(":")
        try:
            fingerprint = cls(Kind(name), bytes.fromhex(digits), part, quality)
        except ValueError:
            raise MalformedFingerprintError("not a fingerprint") from None
        # bytes.fromhex also takes capitals and spaces; two spellings would be two listings.
        if fingerprint.to_text() != text:
            raise MalformedFingerprintError("not in canonical form")
        return fingerprint

    def __repr__(self) -> str:
        return f"Fingerprint({self.kind}, {self.part}, quality={self.quality})"


@dataclass(frozen=True, slots=True)
class MediaFingerprint:
    """Everything computed from one file. Pixels, name and metadata are not part of it."""

    media: Media
    fingerprints: tuple[Fingerprint, ...]
    width: int = 0
    height: int = 0
    duration_seconds: float | None = None
    """Of a video."""
    frames_seen: int = 1
    """Frames decoded; neighbours that look alike were collapsed into one fingerprint."""
    notes: tuple[str, ...] = ()
    """What the caller should know, as stable words: `no_decoder`, `frames_capped`."""

    def first(self, kind: Kind) -> Fingerprint | None:
        """The first fingerprint of a kind that covers the whole, else the first of that kind."""
        of_kind = [each for each in self.fingerprints if each.kind is kind]
        whole = [each for each in of_kind if each.part is Part.WHOLE]
        return next(iter(whole or of_kind), None)


@dataclass(frozen=True, slots=True)
class Listing:
    """One item as platforms see it. Nothing in it links it to its case or to a person."""

    listing_id: ListingId
    media: Media
    age: Age
    fingerprints: tuple[Fingerprint, ...]
    level: Level
    state: State
    listed_at: datetime
    """When its log entry was sequenced, UTC, to the hour: exact times would group a case."""
    item_key_digest: bytes
    """SHA-256 of the item's public key, first 16 bytes: only its holder can withdraw."""

    @property
    def is_active(self) -> bool:
        """Whether platforms should match it."""
        return self.state in ACTIVE_STATES


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one platform says about one listing."""

    listing_id: ListingId
    kind: FeedbackKind
    at: datetime
    count: int = 1
    """Pieces of content concerned, 1..; sent bucketed, so that it singles nobody out."""
    reason: Reason | None = None
    accounts: int = 0
    """How many accounts posted it, or tried to, in all so far; 0: not said."""
    oldest_on: date | None = None
    """The day on which the oldest copy was posted; None: not said."""

    def __post_init__(self) -> None:
        needs_reason = self.kind in {FeedbackKind.KEPT, FeedbackKind.DISPUTED}
        if needs_reason != (self.reason is not None):
            raise InputError("kept and disputed need a reason; no other feedback has one")
        if self.count < 1:
            raise InputError("count starts at 1")


def one_bits(values: Iterable[bytes]) -> list[int]:
    """How many bits are set in each value. A PDQ has 128, a few less or more where values tie."""
    return [int.from_bytes(value, "big").bit_count() for value in values]
