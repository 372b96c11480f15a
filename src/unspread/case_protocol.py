"""The case protocol's messages: docs/protocol/case.md as types, for both of its ends.

Decoding checks shape alone; what may be listed is decided in `unspread.clearinghouse.rules`.
Unknown fields are refused, so that nothing is sent by mistake.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from unspread.errors import InputError
from unspread.model import Age, Fingerprint, Kind, Level, Media, Part, Reason, State

VERSION: Final = 1
MAX_ITEMS_PER_CASE: Final = 20
MAX_FINGERPRINTS_PER_ITEM: Final = 4096
"""A minute of video is about 500; longer films are thinned out on the device."""
MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""Room for the fingerprints of several videos; too little for most photos of a phone."""


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    def to_json(self) -> bytes:
        """UTF-8 JSON, fields in the order of the document."""
        return msgspec.json.encode(self)


_M = TypeVar("_M", bound=msgspec.Struct)


class FingerprintText(_Message, frozen=True, omit_defaults=True):
    """One fingerprint, in hex."""

    kind: Kind
    value: str
    part: Part = Part.WHOLE
    quality: int | None = None

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "FingerprintText":
        """The text of a fingerprint."""
        return cls(fingerprint.kind, fingerprint.value.hex(), fingerprint.part, fingerprint.quality)

    def fingerprint(self) -> Fingerprint:
        """The fingerprint.

        Raises:
            MalformedFingerprintError: if it is not in canonical form.
        """
        return Fingerprint.from_text(
            f"{self.kind}:{self.value}", part=self.part, quality=self.quality
        )


class ItemSubmission(_Message, frozen=True):
    """One picture or video: its public key, its salt, its fingerprints."""

    item_key: str
    salt: str
    media: Media
    fingerprints: list[FingerprintText]


class CaseSubmission(_Message, frozen=True, omit_defaults=True):
    """`POST /v1/cases`."""

    version: int
    case_key: str
    age: Age
    items: list[ItemSubmission]
    proof: str = ""


class ItemAccepted(_Message, frozen=True):
    """What became of one item of a submission."""

    item_key: str
    state: State
    reasons: list[str]
    commitment: str


class Promise(_Message, frozen=True):
    """The log key's signature that the commitments will stand in the log in time."""

    signed_at: str
    max_merge_seconds: int
    signature: str


class CaseAccepted(_Message, frozen=True):
    """The answer to a submission: it is durable."""

    items: list[ItemAccepted]
    promise: Promise


class CaseRequest(_Message, frozen=True):
    """`POST /v1/cases/status` and `/renew`."""

    case_key: str
    challenge: str
    signature: str


class PlatformStatus(_Message, frozen=True, omit_defaults=True):
    """What one platform says about one item."""

    name: str
    received_at: datetime | None = None
    found_at: datetime | None = None
    removed_at: datetime | None = None
    blocked_at: datetime | None = None
    blocked_count: int = 0
    kept_at: datetime | None = None
    kept_reason: Reason | None = None
    disputed_at: datetime | None = None
    disputed_reason: Reason | None = None
    forgotten_at: datetime | None = None


class ItemStatus(_Message, frozen=True):
    """Where one item of a case stands."""

    item_key: str
    media: Media
    state: State
    level: Level
    reasons: list[str]
    listing_id: int | None
    commitment: str
    platforms: list[PlatformStatus]


class CaseStatus(_Message, frozen=True):
    """The answer to a status or renewal request."""

    submitted_on: date
    expires_on: date
    age: Age
    items: list[ItemStatus]


class Withdrawal(_Message, frozen=True):
    """One item and its key's signature over `crypto.withdrawal_message`."""

    item_key: str
    signature: str


class WithdrawalRequest(_Message, frozen=True):
    """`POST /v1/cases/withdraw`."""

    withdrawals: list[Withdrawal]


class ItemWithdrawn(_Message, frozen=True):
    """An item that is withdrawn, now or before."""

    item_key: str
    state: State


class WithdrawalAccepted(_Message, frozen=True):
    """The answer to a withdrawal: it is durable."""

    items: list[ItemWithdrawn]


class Challenge(_Message, frozen=True):
    """`GET /v1/challenge`: a text to sign once."""

    challenge: str
    expires_at: datetime


class Limits(_Message, frozen=True):
    """What a clearinghouse takes at most."""

    items_per_case: int = MAX_ITEMS_PER_CASE
    fingerprints_per_item: int = MAX_FINGERPRINTS_PER_ITEM
    body_bytes: int = MAX_BODY_BYTES
    min_pdq_quality: int = 50


class PlatformHeard(_Message, frozen=True):
    """A platform that takes part, and when it last fetched the list."""

    name: str
    last_heard_at: datetime | None


class About(_Message, frozen=True):
    """`GET /v1/about`."""

    protocol: int
    name: str
    log_origin: str
    training: bool
    log_key: str
    limits: Limits
    languages: list[str]
    platforms: list[PlatformHeard]


class ErrorBody(_Message, frozen=True, omit_defaults=True):
    """What is wrong, for programs and for people."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(_Message, frozen=True):
    """The body of every answer that is not 2xx."""

    error: ErrorBody


ListingNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a listing is known by: its entry's position in the log."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class FeedbackText(_Message, frozen=True, omit_defaults=True):
    """One piece of feedback from a platform; `id` makes sending it again harmless."""

    id: str
    listing_id: ListingNumber | str
    """The listing, or the opaque handle that a hosted lookup gave."""
    kind: str
    at: datetime
    count: Count = 1
    reason: Reason | None = None
    accounts: Count = 0
    """With `found` and `blocked`: how many accounts posted it, or tried to, in all so far; 0 if the
    platform cannot tell."""
    oldest_on: date | None = None
    """The day on which the oldest copy was posted."""


class FeedbackRequest(_Message, frozen=True):
    """`POST /v1/feedback`."""

    feedback: list[FeedbackText]


class AcknowledgeRequest(_Message, frozen=True):
    """`POST /v1/acknowledge`: everything in the log up to `size` has been applied."""

    size: int
    root: str


def decode(body: bytes | str, message: type[_M]) -> _M:
    """The message in a JSON text.

    Raises:
        InputError: saying what is wrong and where, without repeating the value.
    """
    try:
        return msgspec.json.decode(body, type=message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = str(error)
        # msgspec quotes an unexpected enum value; what was sent may be a secret.
        if "Invalid enum value" in text:
            text = "Invalid value" + text[text.rfind(" - at") :]
        raise InputError(text) from None


def to_b64(value: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_b64(text: str, length: int, field: str) -> bytes:
    """`length` bytes from canonical base64url.

    Raises:
        InputError: naming the field, if it is anything else.
    """
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{field} is not base64url") from None
    # Unused last bits could be set: two spellings of one key.
    if len(value) != length or to_b64(value) != text:
        raise InputError(f"{field} should be {length} bytes in base64url without padding")
    return value


def promise_message(
    log_origin: str, signed_at: str, max_merge_seconds: int, commitments: Sequence[str]
) -> bytes:
    """What the log key signs when it promises to merge `commitments` (hex) in time."""
    lines = [log_origin, signed_at, str(max_merge_seconds), *commitments]
    return ("unspread/v1/promise\n" + "".join(f"{line}\n" for line in lines)).encode()
