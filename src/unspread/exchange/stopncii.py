"""StopNCII's hash exchange, version 1: JSON over HTTP with two keys, both ends.

Source: what the published client of `threatexchange` 1.2.17 (`exchanges/clients/stopncii/api.py`)
sends and accepts; https://stopncii.org is its programme. The list is keyed by value: a record
tells one fingerprint over all listings that have it.

`caseNumbers` is always empty. The programme names there every case that a picture belongs to, so
that each platform can link a person's pictures; nobody needs that to match them.

A client asks for `lastModtimestamp >= startTimestamp` and goes on from `nextSetTimestamp`. That is
the second of the first record not told yet, or the first second that is not over: nothing is
missed, and after a complete fetch nothing is told twice.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from unspread.errors import InputError, MalformedFingerprintError
from unspread.exchange import transfer
from unspread.exchange.listings import (
    AGREEMENT,
    Caller,
    ListingSource,
    Row,
    ValueRecord,
    highest_level,
    value_records,
    vote,
)
from unspread.model import Feedback, FeedbackKind, Fingerprint, Kind, Media, Reason, State

PAGE_RECORDS: Final = 800
MAX_PAGE_RECORDS: Final = 5000
MAX_POSTED: Final = 1000
MAX_BODY_BYTES: Final = 1 << 20

FIRST_TIMESTAMP: Final = 10
"""What the published client starts from."""

SIGNAL_TYPES: Final = {"ImagePDQ": (Kind.PDQ, Media.IMAGE), "VideoMD5": (Kind.MD5, Media.VIDEO)}
_ENUM_PREFIX: Final = "StopNCIISignalType."
"""Released clients send the name of the enumeration along (`api.py`, `submit_hashes`)."""

_SIGNAL_TYPE: Final = {kind: name for name, (kind, _) in SIGNAL_TYPES.items()}
_WORDS: Final = {
    AGREEMENT: "Blocked",
    FeedbackKind.FOUND: "PendingReview",
    FeedbackKind.BLOCKED: "PendingReview",
}
"""What a machine did says as little in this programme as a match that waits for a look."""

_GONE: Final = frozenset({"Withdrawn", "Deleted"})


# --- server -------------------------------------------------------------------------------------


class CspFeedback(msgspec.Struct, frozen=True):
    """What one member says of a value."""

    feedbackValue: str  # noqa: N815 - names on the wire
    tags: list[str] = []
    source: str = ""


class HashRecord(msgspec.Struct, frozen=True):
    """One value in its newest state."""

    lastModtimestamp: int  # noqa: N815
    signalType: str  # noqa: N815
    hashValue: str  # noqa: N815
    hashStatus: str  # noqa: N815
    caseNumbers: dict[str, str] = {}  # noqa: N815
    CSPFeedbacks: list[CspFeedback] = []


class HashPage(msgspec.Struct, frozen=True):
    """An answer to FetchHashes."""

    count: int
    nextPageToken: str | None  # noqa: N815
    nextSetTimestamp: int  # noqa: N815
    hasMoreRecords: bool  # noqa: N815
    hashRecords: list[HashRecord]  # noqa: N815


class _Posted(msgspec.Struct, frozen=True):
    hashFeedbacks: list[msgspec.Raw] = []  # noqa: N815
    hashRecords: list[msgspec.Raw] = []  # noqa: N815


class _PostedFeedback(msgspec.Struct, frozen=True):
    hashValue: str  # noqa: N815
    feedbackValue: str  # noqa: N815
    tags: list[str] = []


class _PostedHash(msgspec.Struct, frozen=True):
    hashValue: str  # noqa: N815
    signalType: str  # noqa: N815
    CSPFeedbacks: list[CspFeedback] = []


@dataclass(frozen=True, slots=True)
class HashQuery:
    """Which records: changed at or after `start_at`, from one place of one reading on."""

    start_at: int
    size: int = PAGE_RECORDS
    until: int | None = None
    """Where this reading ends, fixed by its first page."""
    first_revision: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> "HashQuery":
        """Read the query of `GET /FetchHashes`.

        Raises:
            InputError: if it is malformed.
        """
        start_at = _number(params.get("startTimestamp", str(FIRST_TIMESTAMP)))
        size = min(max(_number(params.get("pageSize", str(PAGE_RECORDS))), 1), MAX_PAGE_RECORDS)
        token = params.get("nextPageToken", "")
        if not token:
            return cls(start_at, size)
        try:
            until, _, revision = base64.urlsafe_b64decode(token).decode().partition(".")
        except (binascii.Error, ValueError):
            raise InputError("the page token is not one of ours") from None
        return cls(start_at, size, _number(until), _number(revision))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InputError("timestamps, sizes and page tokens are numbers that we gave out")
    return int(text)


def fetch_hashes(source: ListingSource, caller: Caller, query: HashQuery) -> HashPage:
    """One page of a reading."""
    until = source.settled().at
    if query.until is not None:
        until = min(until, query.until)
    rows = source.rows(
        stamped_after=query.start_at - 1,
        stamped_until=until,
        after_revision=query.first_revision - 1,
        limit=query.size + 1,
    )
    told, rest = rows[: query.size], rows[query.size :]
    records = [
        _record(each, source.members()[0].name)
        for each in value_records(source, caller, told, told_since=query.start_at)
    ]
    following = rest[0] if rest else None
    token = (
        None
        if following is None
        else base64.urlsafe_b64encode(f"{until}.{following.revision}".encode()).decode()
    )
    after = until + 1 if following is None else following.changed_at
    return HashPage(len(records), token, max(after, query.start_at), following is not None, records)


def _record(record: ValueRecord, clearinghouse: str) -> HashRecord:
    said = []
    if record.shown:
        status = "Active"
        level = highest_level(record.shown)
        said = [CspFeedback("None", [level], clearinghouse), *_opinions(record.shown)]
    else:
        status = "Withdrawn" if record.was is State.WITHDRAWN else "Deleted"
    return HashRecord(
        record.changed_at,
        _SIGNAL_TYPE[record.kind],
        record.value.hex(),
        status,
        CSPFeedbacks=said,
    )


def _opinions(rows: Sequence[Row]) -> list[CspFeedback]:
    latest = {said.member.number: said for row in rows for said in row.opinions}
    return [
        CspFeedback(
            _WORDS.get(said.kind, "NotBlocked"),
            [] if said.reason is None else [said.reason],
            said.member.name,
        )
        for _, said in sorted(latest.items())
    ]


def submit_feedback(source: ListingSource, caller: Caller, body: bytes, at: datetime) -> int:
    """Take what a platform says of values; how many of them are on its list.

    One that is malformed or not on the list is left out; the rest count.

    Raises:
        InputError: if the document as a whole is malformed.
    """
    said: list[tuple[tuple[Kind, bytes], FeedbackKind, Reason | None]] = []
    for raw in _posted(body).hashFeedbacks:
        try:
            each = msgspec.json.decode(raw, type=_PostedFeedback)
            meaning = _meaning(each.feedbackValue, each.tags)
            if meaning is not None:
                said.append((_value(each.hashValue), *meaning))
        except (*transfer.UNREADABLE, MalformedFingerprintError):
            continue
    return _take(source, caller, said, at)


def _take(
    source: ListingSource,
    caller: Caller,
    said: Sequence[tuple[tuple[Kind, bytes], FeedbackKind, Reason | None]],
    at: datetime,
) -> int:
    holders = source.holders([value for value, _, _ in said])
    taken = 0
    for value, kind, reason in said:
        shown = [row for row in holders[value] if caller.scope.shows(row.listing)]
        feedback = [Feedback(row.listing.listing_id, kind, at, reason=reason) for row in shown]
        if feedback:
            source.take_feedback(caller.member, feedback, "stopncii")
            taken += 1
    return taken


def submit_hashes(source: ListingSource, caller: Caller, body: bytes, at: datetime) -> int:
    """Take a platform's own hashes; how many were taken.

    One that is on the list already counts as what the platform says of it.

    Raises:
        InputError: if the document as a whole is malformed.
        StateError: if this clearinghouse takes no submissions from partners.
    """
    taken = 0
    for raw in _posted(body).hashRecords:
        try:
            each = msgspec.json.decode(raw, type=_PostedHash)
            kind, media = SIGNAL_TYPES[each.signalType.removeprefix(_ENUM_PREFIX)]
            value = _value(each.hashValue)
        except (*transfer.UNREADABLE, MalformedFingerprintError, KeyError):
            continue
        if value[0] is not kind:
            continue
        if any(caller.scope.shows(row.listing) for row in source.holders([value])[value]):
            meanings = [_meaning(said.feedbackValue, said.tags) for said in each.CSPFeedbacks]
            said = [(value, *meaning) for meaning in meanings if meaning is not None]
            taken += bool(_take(source, caller, said, at)) or not said
            continue
        quality = transfer.ASSUMED_QUALITY if kind is Kind.PDQ else None
        print_ = Fingerprint(kind, value[1], quality=quality)
        source.take_submission(caller.member, media, (print_,))
        taken += 1
    return taken


def _posted(body: bytes) -> _Posted:
    try:
        posted = msgspec.json.decode(body, type=_Posted)
    except transfer.UNREADABLE:
        raise InputError("not a document of this programme") from None
    if len(posted.hashFeedbacks) + len(posted.hashRecords) > MAX_POSTED:
        raise InputError(f"at most {MAX_POSTED} at once")
    return posted


def _value(text: str) -> tuple[Kind, bytes]:
    kind = Kind.PDQ if len(text) == 64 else Kind.MD5
    quality = transfer.ASSUMED_QUALITY if kind is Kind.PDQ else None
    return kind, Fingerprint.from_text(f"{kind}:{text.lower()}", quality=quality).value


def _meaning(value: str, tags: Sequence[str]) -> tuple[FeedbackKind, Reason | None] | None:
    """What a feedback value says; None for those that say nothing about the content."""
    if value == "Blocked":
        # "Match reviewed, match was determined to be NCII."
        return AGREEMENT, None
    if value == "PendingReview":
        return FeedbackKind.FOUND, None
    if value == "NotBlocked":
        named = [Reason(tag) for tag in tags if tag in set(Reason)]
        # "Match reviewed, inconclusive": without a reason it speaks of the match, not the listing.
        return (vote(named[0]), named[0]) if named else (FeedbackKind.KEPT, Reason.OTHER)
    return None


def result(count: int) -> bytes:
    """The answer to a submission: the published client only wants it to be JSON."""
    return msgspec.json.encode({"count": count})


def error(status: int, message: str) -> bytes:
    """As the programme's gateway words it."""
    return msgspec.json.encode({"statusCode": status, "message": message})


# --- client -------------------------------------------------------------------------------------

STALE_AFTER_SECONDS: Final = 30 * 24 * 3600
"""After so long without a fetch, deletions may have been forgotten: read everything again."""


class Cursor(transfer.Cursor, frozen=True, forbid_unknown_fields=True):
    """A place in a list of this programme."""

    start_at: int = FIRST_TIMESTAMP
    fetched_at: int = 0
    """When the last page was received, seconds since 1970."""
    reads_all: bool = False
    """Whether the reading under way began at the beginning."""


class HashesFetch:
    """Reads a list from a cursor up to now: a `transfer.Fetch`.

    Withdrawn and deleted records are deletions here; released clients overlook them.
    """

    def __init__(
        self, cursor: Cursor, *, now: int, function_key: str, subscription_key: str
    ) -> None:
        if cursor.fetched_at + STALE_AFTER_SECONDS < now:
            cursor = Cursor(reads_all=True)
        self._now = now
        self._start_at = cursor.start_at
        self._cursor = cursor
        self._token = ""
        self._is_read = False
        self._headers = keys(function_key, subscription_key)

    def request(self) -> transfer.Request | None:
        """The next page: the token goes with the timestamp that the reading began with."""
        if self._is_read:
            return None
        params = [("startTimestamp", str(self._start_at)), ("pageSize", str(PAGE_RECORDS))]
        if self._token:
            params.append(("nextPageToken", self._token))
        return transfer.Request("GET", "/FetchHashes", tuple(params), self._headers)

    def receive(self, response: transfer.Response) -> transfer.Page:
        """The page's records; those that cannot be read are counted and left out."""
        body = transfer.check(response)
        try:
            page = msgspec.json.decode(body, type=_RawPage)
        except transfer.UNREADABLE:
            raise transfer.AnswerError("not a page of this programme") from None
        if page.hasMoreRecords and not page.nextPageToken:
            raise transfer.AnswerError("a page that promises more without saying where")
        records = []
        skipped = 0
        for raw in page.hashRecords or ():
            try:
                record = _read(msgspec.json.decode(raw, type=_RawRecord))
            except (*transfer.UNREADABLE, MalformedFingerprintError):
                skipped += 1
                continue
            records += [] if record is None else [record]
        reads_all = self._cursor.reads_all
        self._token = page.nextPageToken or ""
        self._is_read = not page.hasMoreRecords
        start_at = max(self._cursor.start_at, page.nextSetTimestamp)
        self._cursor = Cursor(start_at, self._now, reads_all and not self._is_read)
        return transfer.Page(
            tuple(records), self._cursor.to_text(), skipped, self._is_read, reads_all
        )


class _RawPage(msgspec.Struct, frozen=True):
    nextSetTimestamp: int  # noqa: N815
    hasMoreRecords: bool  # noqa: N815
    nextPageToken: str | None = None  # noqa: N815
    hashRecords: list[msgspec.Raw] | None = None  # noqa: N815


class _RawRecord(msgspec.Struct, frozen=True):
    """What we need of a record; `caseNumbers` is not read, in whatever form it comes."""

    signalType: str  # noqa: N815
    hashValue: str  # noqa: N815
    hashStatus: str  # noqa: N815
    CSPFeedbacks: list[CspFeedback] | None = None


def _read(record: _RawRecord) -> transfer.Record | None:
    """A record of a kind that we match; None for another kind."""
    if record.signalType not in SIGNAL_TYPES:
        return None
    kind, media = SIGNAL_TYPES[record.signalType]
    quality = transfer.ASSUMED_QUALITY if kind is Kind.PDQ else None
    print_ = Fingerprint.from_text(f"{kind}:{record.hashValue.lower()}", quality=quality)
    gone = record.hashStatus in _GONE
    feedbacks = record.CSPFeedbacks or []
    said = [each.feedbackValue for each in feedbacks]
    return transfer.Record(
        print_.to_text(),
        media,
        () if gone else (print_,),
        gone,
        tuple(sorted({tag for each in feedbacks for tag in each.tags})),
        said.count("Blocked"),
        said.count("NotBlocked"),
    )


def keys(function_key: str, subscription_key: str) -> tuple[tuple[str, str], ...]:
    """The headers that every call carries."""
    return (
        ("x-functions-key", function_key),
        ("Ocp-Apim-Subscription-Key", subscription_key),
    )


def feedback_request(
    said: Mapping[str, tuple[str, Sequence[str]]], function_key: str, subscription_key: str
) -> transfer.Request:
    """Tell the programme of hash values: for each a feedback value and tags."""
    feedbacks = [
        {"hashValue": value, "feedbackValue": word, "tags": list(tags)}
        for value, (word, tags) in said.items()
    ]
    body = msgspec.json.encode({"count": len(feedbacks), "hashFeedbacks": feedbacks})
    headers = (*keys(function_key, subscription_key), ("Content-Type", "application/json"))
    return transfer.Request("POST", "/SubmitFeedback", headers=headers, body=body)
