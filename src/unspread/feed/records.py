"""What stands in the log: the binary form of each kind of entry, and what of it is public.

An entry has a payload, which platforms get sealed, and a public form, which is a leaf of the log.
The public form of a listing, a change and padding is a salted commitment to the payload; nobody
can tell them apart, nor guess at what is inside. docs/protocol/log.md has every byte.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspread.crypto import ITEM_KEY_DIGEST_BYTES, SALT_BYTES, verify, withdrawal_message
from unspread.errors import InputError, TrustError
from unspread.model import (
    VALUE_BYTES,
    Age,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Part,
    State,
)

MAX_FINGERPRINTS: Final = 4096
MAX_PAYLOAD_BYTES: Final = 160 * 1024
"""A listing of 4096 fingerprints has 139 000."""
COMMITMENT_BYTES: Final = 32
MAX_CANARIES: Final = 4096
"""Of an epoch: what a revealed seed lists has to fit into one entry of the log."""
BLINDED: Final = 0x01
"""First byte of the public form of listings, changes and padding."""

_ADD_DOMAIN: Final = b"unspread/v1/add\x00"
_CHANGE_DOMAIN: Final = b"unspread/v1/change\x00"
_PADDING_DOMAIN: Final = b"unspread/v1/padding\x00"
_RECORD_VERSION: Final = 1
_MOST_HOURS: Final = 1 << 24
"""Until the year 3883; so the first byte of an hour is 0."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ADD_HEAD: Final = struct.Struct(">16sBBBBI16sBB")
"""salt, version, media, age, level, hour, item key digest, surfaces, number of countries"""
_CHANGE_HEAD: Final = struct.Struct(">16sBQBBBB")
"""salt, version, listing id, state, level, authority, reason"""

_MEDIA: Final = (Media.IMAGE, Media.VIDEO)
_AGES: Final = (Age.MINOR, Age.ADULT, Age.UNKNOWN)
_LEVELS: Final = (
    Level.QUARANTINED, Level.UNVERIFIED, Level.CONFIRMED, Level.CORROBORATED, Level.DISPUTED,
)  # fmt: skip
_STATES: Final = (
    State.HELD, State.LISTED, State.SUSPENDED, State.WITHDRAWN, State.EXPIRED, State.REMOVED,
)  # fmt: skip
_TAGS: Final = {
    (Kind.PDQ, Part.WHOLE): 0x01,
    (Kind.PDQ, Part.FRAME): 0x02,
    (Kind.PDQ, Part.WINDOW): 0x03,
    (Kind.SHA256, Part.WHOLE): 0x10,
    (Kind.MD5, Part.WHOLE): 0x11,
}
_KINDS: Final = {tag: kind_and_part for kind_and_part, tag in _TAGS.items()}


class MalformedRecordError(TrustError):
    """What stands in the log is not in the form that docs/protocol/log.md gives."""


class AuthorityError(TrustError):
    """A listing was changed by somebody who may not change it so."""


class EntryKind(IntEnum):
    """What an entry is. The number is also its tag in a segment."""

    ADD = 1
    CHANGE = 2
    ACK = 3
    SEED = 4
    POLICY = 5
    PADDING = 6
    ERASED = 7
    """A listing or change whose salt and content are gone; its payload is the commitment."""
    CANARY = 8
    """A listing of a synthetic picture, given to some platforms and not to others."""


PUBLIC_KINDS: Final = frozenset({EntryKind.ACK, EntryKind.SEED, EntryKind.POLICY})


class Surface(IntEnum):
    """Where a platform looks. What may be matched there differs by law."""

    PUBLIC = 0
    """What anyone or a group can see: posts, profiles, files that are shared."""
    MESSAGES = 1
    """Messages between persons."""
    STORAGE = 2
    """What a person keeps for himself."""
    GENERATION = 3
    """What a machine is asked to draw or to change."""


class Authority(IntEnum):
    """By whose right a listing was changed."""

    PERSON = 1
    """By the key derived from the receipt."""
    RULE = 2
    """By a rule that is published: expiry, disputes, feedback."""
    STAFF = 3
    """By two members of staff."""


class ChangeReason(StrEnum):
    """Why a rule or staff changed a listing; counted in public."""

    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    FEEDBACK = "feedback"
    DISPUTES = "disputes"
    SPREAD_TOO_WIDE = "spread_too_wide"
    """Found with so many accounts, or so old, that it is rather well-known content."""
    REINSTATED = "reinstated"
    VOUCHED = "vouched"
    """A helpline knows the case."""
    WELL_KNOWN_CONTENT = "well_known_content"
    ABUSE = "abuse"
    LEGAL_ORDER = "legal_order"
    CORRECTION = "correction"


_REASONS: Final = tuple(ChangeReason)


class Entry(NamedTuple):
    """One entry as the clearinghouse stores it, at its index, once and for all.

    Only erasure changes it: `erased` then stands in its place, with the same public form.
    """

    kind: EntryKind
    payload: bytes

    def public(self) -> bytes:
        """The entry in the log: what its leaf is the digest of."""
        kind = self.kind
        if kind is EntryKind.ADD or kind is EntryKind.CANARY:
            return b"\x01" + sha256(_ADD_DOMAIN + self.payload).digest()
        if kind is EntryKind.CHANGE:
            return b"\x01" + sha256(_CHANGE_DOMAIN + self.payload).digest()
        if kind is EntryKind.PADDING:
            return b"\x01" + sha256(_PADDING_DOMAIN + self.payload).digest()
        if kind is EntryKind.ERASED:
            return b"\x01" + self.payload
        return bytes([kind]) + self.payload

    def commitment(self) -> bytes:
        """The 32 bytes that the public form of a listing, change or padding consists of."""
        return self.public()[1:]

    def erased(self) -> "Entry":
        """The entry without its salt and content: nobody can open the commitment any more."""
        if self.kind in PUBLIC_KINDS:
            raise InputError("a public entry cannot be erased")
        return Entry(EntryKind.ERASED, self.commitment())

    def __repr__(self) -> str:
        return f"Entry({self.kind.name}, …)"


@dataclass(frozen=True, slots=True)
class Terms:
    """Where a listing may be used: surfaces, and countries (ISO 3166-1 alpha-2, none: all)."""

    surfaces: frozenset[Surface] = frozenset(Surface)
    countries: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.surfaces or len(self.countries) > 255:
            raise InputError("a listing is for 1.. surfaces and at most 255 countries")
        if any(len(c) != 2 or not c.isascii() or not c.isupper() for c in self.countries):
            raise InputError("countries are two capital letters")


EVERYWHERE: Final = Terms()


@dataclass(frozen=True, slots=True)
class AddRecord:
    """What a listing's commitment commits to, besides the salt. The device can rebuild it."""

    media: Media
    age: Age
    level: Level
    """At the time of listing; changes have their own entries."""
    listed_at: datetime
    """UTC, whole hours."""
    item_key_digest: bytes
    fingerprints: tuple[Fingerprint, ...]
    terms: Terms = field(default=EVERYWHERE)

    def to_bytes(self, salt: bytes) -> bytes:
        """The payload of its entry.

        Raises:
            InputError: if something is out of its range.
        """
        hours, rest = divmod(self.listed_at - _EPOCH, timedelta(hours=1))
        if rest or not 0 <= hours < _MOST_HOURS:
            raise InputError("the time of listing is given in whole hours of UTC")
        if not 1 <= len(self.fingerprints) <= MAX_FINGERPRINTS:
            raise InputError(f"a listing has 1 to {MAX_FINGERPRINTS} fingerprints")
        if len(salt) != SALT_BYTES or len(self.item_key_digest) != ITEM_KEY_DIGEST_BYTES:
            raise InputError("a salt and the digest of an item key have 16 bytes")
        surfaces = sum(1 << surface for surface in self.terms.surfaces)
        parts = [
            _ADD_HEAD.pack(
                salt,
                _RECORD_VERSION,
                _MEDIA.index(self.media),
                _AGES.index(self.age),
                _LEVELS.index(self.level),
                hours,
                self.item_key_digest,
                surfaces,
                len(self.terms.countries),
            ),
            "".join(sorted(self.terms.countries)).encode(),
            len(self.fingerprints).to_bytes(2, "big"),
        ]
        for each in self.fingerprints:
            parts.append(bytes([_TAGS[each.kind, each.part]]))
            if each.quality is not None:
                parts.append(bytes([each.quality]))
            parts.append(each.value)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, payload: bytes) -> "AddRecord":
        """The record in a payload, without its salt.

        Raises:
            MalformedRecordError: if it is not one in canonical form.
        """
        try:
            record = cls._read(payload)
            if record.to_bytes(payload[:SALT_BYTES]) != payload:
                raise MalformedRecordError("a listing is not in canonical form")
        except (struct.error, ValueError, IndexError, KeyError, InputError, OverflowError):
            raise MalformedRecordError("a listing is malformed") from None
        return record

    @classmethod
    def from_checked(cls, payload: bytes) -> "AddRecord":
        """The record in a payload that `AddPayloads.check_all` has let pass."""
        return cls._read(payload)

    @classmethod
    def _read(cls, payload: bytes) -> "AddRecord":
        _, version, media, age, level, hours, key_digest, surfaces, countries = (
            _ADD_HEAD.unpack_from(payload)
        )
        if version != _RECORD_VERSION or surfaces >> len(Surface):
            raise MalformedRecordError("a listing is of a version that is not known here")
        at = _ADD_HEAD.size
        codes = payload[at : at + 2 * countries].decode("ascii")
        at += 2 * countries
        count = int.from_bytes(payload[at : at + 2], "big")
        at += 2
        fingerprints: list[Fingerprint] = []
        for _ in range(count):
            kind, part = _KINDS[payload[at]]
            at += 1
            quality = None
            if kind is Kind.PDQ:
                quality = payload[at]
                at += 1
            stop = at + VALUE_BYTES[kind]
            fingerprints.append(Fingerprint(kind, payload[at:stop], part, quality))
            at = stop
        terms = EVERYWHERE
        if countries or surfaces != (1 << len(Surface)) - 1:
            terms = Terms(
                frozenset(each for each in Surface if surfaces >> each & 1),
                frozenset(codes[at : at + 2] for at in range(0, len(codes), 2)),
            )
        return cls(
            _MEDIA[media],
            _AGES[age],
            _LEVELS[level],
            _EPOCH + timedelta(hours=hours),
            key_digest,
            tuple(fingerprints),
            terms,
        )

    @classmethod
    def of(cls, listing: Listing, terms: Terms = EVERYWHERE) -> "AddRecord":
        """The record of a listing at its present level."""
        return cls(
            listing.media,
            listing.age,
            listing.level,
            listing.listed_at,
            listing.item_key_digest,
            listing.fingerprints,
            terms,
        )

    def listing(self, listing_id: ListingId) -> Listing:
        """The listing that this record adds when it stands at index `listing_id`."""
        return Listing(
            listing_id,
            self.media,
            self.age,
            self.fingerprints,
            self.level,
            State.LISTED,
            self.listed_at,
            self.item_key_digest,
        )


_PDQ_BYTES: Final = 2 + VALUE_BYTES[Kind.PDQ]
"""Tag, quality, value."""


class _Shape(NamedTuple):
    """What records of one length, with the same tags at the same places, have in common."""

    fixed: NDArray[np.intp]
    """Where bytes stand that have one value in all of them."""
    wanted: NDArray[np.uint8]
    """These values."""
    qualities: slice
    """Where bytes stand that are at most 100."""

    def fits(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the payloads, (n, length) bytes, are canonical records of this shape: (n,)."""
        fits: NDArray[np.bool_] = (rows[:, self.fixed] == self.wanted).all(1)
        fits &= (rows[:, self.qualities] <= _MOST_QUALITY).all(1)
        fits &= (rows[:, _CHOICES] < _MOST_CHOICES).all(1)
        return fits


_MOST_QUALITY: Final = 100
_CHOICES: Final = slice(17, 20)
"""Where media, age and level stand."""
_MOST_CHOICES: Final = np.array([len(_MEDIA), len(_AGES), len(_LEVELS)], np.uint8)


_SHAPES_OF_A_LENGTH: Final = 8
"""So many are learned at once; with more, somebody plays a trick, and the rest is read in full."""


class AddPayloads:
    """Checks payloads of listings many times faster than reading them.

    Lists are long and their records of few shapes: what has the length, tags and countries of a
    record that has been read in full differs from it in values alone.
    """

    _MOST_SHAPES: Final = 4096

    def __init__(self) -> None:
        self._shapes: dict[int, _Shape] = {}
        """By the length of the payload, the newest one of each."""

    def check_all(self, payloads: Sequence[bytes]) -> None:
        """Return if `AddRecord.from_bytes` would read each payload.

        Raises:
            MalformedRecordError: if it would not.
        """
        by_length: defaultdict[int, list[bytes]] = defaultdict(list)
        for payload in payloads:
            by_length[len(payload)].append(payload)
        for length, group in by_length.items():
            rest = self._unknown(length, group)
            for _ in range(_SHAPES_OF_A_LENGTH):
                if rest:
                    # What else is of the shape of the first one need not be read.
                    self._learn(rest[0])
                    rest = self._unknown(length, rest[1:])
            for payload in rest:
                AddRecord.from_bytes(payload)

    def _unknown(self, length: int, payloads: list[bytes]) -> list[bytes]:
        """Those that are not of the shape that is known for their length."""
        shape = self._shapes.get(length)
        if shape is None or not payloads:
            return payloads
        rows = np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, length)
        return [payloads[at] for at in np.flatnonzero(~shape.fits(rows))]

    def _learn(self, payload: bytes) -> None:
        record = AddRecord.from_bytes(payload)
        made = None if record.terms.countries else _shape_of(record, payload)
        if made is not None and len(self._shapes) < self._MOST_SHAPES:
            self._shapes[len(payload)] = made


def _shape_of(record: AddRecord, payload: bytes) -> _Shape | None:
    """The shape of a record with its PDQs first, as every device sends them; else none."""
    is_pdq = [each.kind is Kind.PDQ for each in record.fingerprints]
    count = sum(is_pdq)
    if not all(is_pdq[:count]):
        return None
    start = _ADD_HEAD.size + 2
    stop = start + count * _PDQ_BYTES
    # The version, the first byte of the hour, surfaces, countries and the number of fingerprints.
    fixed = [SALT_BYTES, 20, *range(_ADD_HEAD.size - 2, start), *range(start, stop, _PDQ_BYTES)]
    at = stop
    for each in record.fingerprints[count:]:
        fixed.append(at)
        at += 1 + len(each.value)
    values = np.frombuffer(payload, np.uint8)[fixed]
    return _Shape(np.array(fixed), values, slice(start + 1, stop, _PDQ_BYTES))


@dataclass(frozen=True, slots=True, repr=False)
class ChangeRecord:
    """A listing's new state and level, and by whose right."""

    listing_id: ListingId
    state: State
    level: Level
    authority: Authority
    reason: ChangeReason
    item_key: bytes = b""
    """The item's public key; of a withdrawal only."""
    signature: bytes = b""
    """By the item's key over `crypto.withdrawal_message`; of a withdrawal only."""

    def __post_init__(self) -> None:
        is_withdrawal = self.authority is Authority.PERSON
        if (
            (self.state is State.WITHDRAWN) != is_withdrawal
            or (self.reason is ChangeReason.WITHDRAWN) != is_withdrawal
            or len(self.item_key) != (32 if is_withdrawal else 0)
            or len(self.signature) != (64 if is_withdrawal else 0)
        ):
            raise InputError("only the person withdraws, by the item's key")
        if (self.state is State.REMOVED) and self.authority is not Authority.STAFF:
            raise InputError("only two members of staff remove a listing")
        if not 0 <= self.listing_id < 1 << 40:
            raise InputError("not the index of an entry")

    @classmethod
    def withdrawal(
        cls, listing_id: ListingId, level: Level, item_key: bytes, signature: bytes
    ) -> "ChangeRecord":
        """The person's withdrawal of a listing."""
        return cls(
            listing_id,
            State.WITHDRAWN,
            level,
            Authority.PERSON,
            ChangeReason.WITHDRAWN,
            item_key,
            signature,
        )

    def to_bytes(self, salt: bytes) -> bytes:
        """The payload of its entry, under a fresh random salt."""
        if len(salt) != SALT_BYTES:
            raise InputError("a salt has 16 bytes")
        head = _CHANGE_HEAD.pack(
            salt,
            _RECORD_VERSION,
            self.listing_id,
            _STATES.index(self.state),
            _LEVELS.index(self.level),
            self.authority,
            _REASONS.index(self.reason),
        )
        return head + self.item_key + self.signature

    @classmethod
    def from_bytes(cls, payload: bytes) -> "ChangeRecord":
        """The record in a payload, without its salt.

        Raises:
            MalformedRecordError: if it is not one in canonical form.
        """
        try:
            _, version, listing_id, state, level, authority, reason = _CHANGE_HEAD.unpack_from(
                payload
            )
            rest = payload[_CHANGE_HEAD.size :]
            if version != _RECORD_VERSION:
                raise MalformedRecordError("a change is of a version that is not known here")
            return cls(
                ListingId(listing_id),
                _STATES[state],
                _LEVELS[level],
                Authority(authority),
                _REASONS[reason],
                rest[:32],
                rest[32:],
            )
        except (struct.error, ValueError, IndexError, InputError):
            raise MalformedRecordError("a change is malformed") from None

    def check(self, log_origin: str, item_key_digest: bytes | None) -> None:
        """Return if the change is by somebody who may make it.

        `item_key_digest` is the listing's; None if the listing was never given to this platform.

        Raises:
            AuthorityError: if a withdrawal is not signed by the key that the listing shows.
        """
        if self.authority is not Authority.PERSON:
            return
        if item_key_digest is not None and (
            sha256(self.item_key).digest()[:ITEM_KEY_DIGEST_BYTES] != item_key_digest
        ):
            raise AuthorityError("a withdrawal is signed by a key that is not the listing's")
        try:
            verify(self.item_key, withdrawal_message(log_origin, self.item_key), self.signature)
        except TrustError:
            raise AuthorityError("a withdrawal's signature does not hold") from None


@dataclass(frozen=True, slots=True)
class AckRecord:
    """A platform's public word that it has applied everything up to a size of the log."""

    partner: str
    """The partner's public name, 1..64 bytes of UTF-8."""
    size: int
    at: datetime
    """UTC, whole seconds: when the clearinghouse received it."""

    def to_entry(self) -> Entry:
        """Its entry."""
        name = self.partner.encode()
        if not 1 <= len(name) <= 64:
            raise InputError("a partner's name has 1 to 64 bytes")
        return Entry(EntryKind.ACK, struct.pack(">QQ", self.size, int(self.at.timestamp())) + name)

    @classmethod
    def from_bytes(cls, payload: bytes) -> "AckRecord":
        """The acknowledgement in a payload.

        Raises:
            MalformedRecordError: if it is none.
        """
        try:
            size, seconds = struct.unpack_from(">QQ", payload)
            name = payload[16:].decode()
        except (struct.error, ValueError):
            raise MalformedRecordError("an acknowledgement is malformed") from None
        if not 1 <= len(payload) - 16 <= 64 or seconds >= 1 << 36:
            raise MalformedRecordError("an acknowledgement is out of its range")
        return cls(name, size, datetime.fromtimestamp(seconds, UTC))


@dataclass(frozen=True, slots=True, repr=False)
class SeedRecord:
    """The word given, before an epoch, on which seed its canaries will come from; then the seed.

    Revealed, it shows that what some platforms were given and others not was synthetic.
    """

    epoch: int
    is_revealed: bool
    value: bytes
    """32 bytes: the seed if revealed, else its digest."""
    most: int = 0
    """How many canaries there will be at most, 1..MAX_CANARIES; not when revealed."""
    canaries: tuple[tuple[int, int, int], ...] = ()
    """Of each canary, by ascending index, when revealed: index in the log, hour of listing,
    windows."""

    def __post_init__(self) -> None:
        indexes = [index for index, _, _ in self.canaries]
        if (
            len(self.value) != 32
            or not 0 <= self.epoch < 1 << 32
            or (0 < self.most <= MAX_CANARIES) is self.is_revealed
            or (self.canaries and not self.is_revealed)
            or len(indexes) > MAX_CANARIES
            or any(before >= after for before, after in pairwise(indexes))
        ):
            raise InputError("not a seed, nor the word given on one")

    def to_entry(self) -> Entry:
        """Its entry."""
        rows = [struct.pack(">QIB", *each) for each in self.canaries]
        if not self.is_revealed:
            rows = [self.most.to_bytes(2, "big")]
        head = struct.pack(">IB32s", self.epoch, self.is_revealed, self.value)
        return Entry(EntryKind.SEED, head + b"".join(rows))

    @classmethod
    def from_bytes(cls, payload: bytes) -> "SeedRecord":
        """The record in a payload.

        Raises:
            MalformedRecordError: if it is none.
        """
        try:
            epoch, revealed, value = struct.unpack_from(">IB32s", payload)
            if revealed == 0:
                (most,) = struct.unpack(">H", payload[37:])
                return cls(epoch, False, value, most)
            if revealed == 1:
                rows = tuple(struct.iter_unpack(">QIB", payload[37:]))
                return cls(epoch, True, value, canaries=rows)
        except (struct.error, InputError):
            raise MalformedRecordError("a seed is malformed") from None
        raise MalformedRecordError("a seed is malformed")

    def __repr__(self) -> str:
        return f"SeedRecord(epoch={self.epoch}, is_revealed={self.is_revealed})"


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """The digest of something that the clearinghouse goes by, so that it cannot change unseen."""

    label: str
    """Such as `page`, `release`, `rules`, `partners`: 1 to 64 bytes."""
    digest: bytes
    """SHA-256 of the published document."""

    def to_entry(self) -> Entry:
        """Its entry."""
        label = self.label.encode()
        if not 1 <= len(label) <= 64 or len(self.digest) != 32:
            raise InputError("a policy has a label of 1 to 64 bytes and a digest")
        return Entry(EntryKind.POLICY, self.digest + label)

    @classmethod
    def from_bytes(cls, payload: bytes) -> "PolicyRecord":
        """The record in a payload.

        Raises:
            MalformedRecordError: if it is none.
        """
        try:
            label = payload[32:].decode()
        except UnicodeDecodeError:
            raise MalformedRecordError("a policy is malformed") from None
        if not 33 <= len(payload) <= 96:
            raise MalformedRecordError("a policy is malformed")
        return cls(label, payload[:32])


def add_entry(record: AddRecord, salt: bytes) -> Entry:
    """The entry that lists `record`, committed to under the person's 16 byte `salt`."""
    return Entry(EntryKind.ADD, record.to_bytes(salt))


def add_leaves(payloads: Iterable[bytes]) -> list[bytes]:
    """The digests, as leaves of the log, of the entries of listings."""
    return [
        sha256(b"\x00\x01" + sha256(_ADD_DOMAIN + payload).digest()).digest()
        for payload in payloads
    ]


def change_entry(record: ChangeRecord, salt: bytes) -> Entry:
    """The entry that changes a listing, committed to under 16 random bytes."""
    return Entry(EntryKind.CHANGE, record.to_bytes(salt))


def padding_entries(count: int, seed: bytes) -> list[Entry]:
    """`count` (0..65535) entries that mean nothing, from 16 random bytes used for no other."""
    if len(seed) != SALT_BYTES:
        raise InputError("a padding seed has 16 bytes")
    return [Entry(EntryKind.PADDING, seed + at.to_bytes(2, "big")) for at in range(count)]


def padding_needed(real: int, batch: int) -> int:
    """How many entries of padding follow `real` ones, so that the log grows in whole batches.

    A tick without any real entry is padded to one whole batch.
    """
    return -real % batch if real else batch


def leaves_digest(entries: Iterable[Entry]) -> list[bytes]:
    """The digests of the entries as leaves."""
    return [sha256(b"\x00" + entry.public()).digest() for entry in entries]
