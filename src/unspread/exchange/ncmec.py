"""NCMEC's hash sharing, version 2: XML over HTTP with basic authentication, both ends.

Sources: NCMEC, "Hash Sharing API", https://hashsharing.ncmec.org/npo/v2/documentation/ (usage
recommendations, large fingerprints, categorization), and what the published client of
`threatexchange` 1.2.17 (`exchanges/clients/ncmec/hash_api.py`) sends and accepts. The schema of
our answers is tests/unit/exchange/ncmec.xsd.

A client remembers the end of the last range it has read and asks for `from < changed_at <= to`.
A range is answered only when it is settled, so nothing can still fall into it; what changes
meanwhile leaves it and is found in a later range. Everything a page needs stands in its address,
so `next` works for as long as the list exists.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import defusedxml.ElementTree

from unspread.errors import InputError
from unspread.exchange import transfer
from unspread.exchange.listings import (
    AGREEMENT,
    Caller,
    ClockAheadError,
    ListingSource,
    Member,
    NotSettledError,
    Opinion,
    Row,
    UnknownListingError,
    digest,
    frames,
    picture_fingerprints,
    vote,
)
from unspread.model import (
    Feedback,
    Fingerprint,
    Kind,
    ListingId,
    Media,
    Reason,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
CONTENT_TYPE: Final = "application/xml; charset=utf-8"

PAGE_RECORDS: Final = 1000
MAX_PAGE_RECORDS: Final = 5000
MAX_BODY_BYTES: Final = 64 << 10

CLOCK_TOLERANCE_SECONDS: Final = 2
"""A range that ends later than this from now is refused: its client skips what is listed before."""

FINGERPRINT_TYPES: Final = frozenset(
    {
        "MD5",
        "SHA1",
        "PDNA",
        "PDQ",
        "NETCLEAN",
        "VIDENTIFIER",
        "TMK_PDQF",
        "SSVH_PDNA",
        "SSVH_SAFER_HASH",
    }
)
FRAMES_TYPE: Final = "PDQ_FRAMES"
"""Ours: the PDQ of a video's frames, 32 bytes each, in order of time; a large fingerprint."""

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_REASON_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE + "#unspread-reasons")

REASON_IDS: Final = {reason: str(uuid.uuid5(_REASON_SPACE, reason)) for reason in Reason}
"""The reasons of a "no", by the identifiers that stand on the wire."""

_REASON_BY_ID: Final = {text: reason for reason, text in REASON_IDS.items()}


# --- server -------------------------------------------------------------------------------------


def time_text(stamp: int) -> str:
    """A second as the programme writes it; the client refuses fractions."""
    return datetime.fromtimestamp(stamp, UTC).strftime(_TIME)


def time_stamp(text: str) -> int:
    """The second that `time_text` writes so.

    Raises:
        InputError: for anything else.
    """
    try:
        return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        raise InputError("a time is like 2026-11-23T05:00:00Z") from None


@dataclass(frozen=True, slots=True)
class EntriesQuery:
    """Which entries: changed after `start_at` and up to `end_at`, from one place on."""

    start_at: int
    end_at: int
    first_revision: int = 0
    size: int = PAGE_RECORDS
    newest_revision: int | None = None
    """Of the whole list when the range was first asked for; only for the client's estimate."""

    @classmethod
    def from_params(cls, params: Mapping[str, str], *, now: int) -> "EntriesQuery":
        """Read the query of `GET /v2/entries`.

        Raises:
            ClockAheadError: if the range ends in the future.
            InputError: if it is malformed.
        """
        start_at = time_stamp(params.get("from", "1970-01-01T00:00:00Z"))
        end_at = time_stamp(params["to"]) if "to" in params else now - 1
        if end_at > now + CLOCK_TOLERANCE_SECONDS:
            raise ClockAheadError(
                "the range ends in the future, and what is listed until then would be missed: "
                "set the client's clock, and TZ=UTC for clients of threatexchange"
            )
        newest = _number(params, "max", -1)
        return cls(
            start_at,
            end_at,
            _number(params, "start", 0),
            min(max(_number(params, "size", PAGE_RECORDS), 1), MAX_PAGE_RECORDS),
            None if newest < 0 else newest,
        )

    def to_path(self) -> str:
        """The address of this page, relative to the programme's base."""
        query = {
            "from": time_text(self.start_at),
            "to": time_text(self.end_at),
            "start": self.first_revision,
            "size": self.size,
            "max": self.newest_revision or 0,
        }
        return "/v2/entries?" + urlencode(query)


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InputError(f"{name} is a number")
    return int(text)


@dataclass(frozen=True, slots=True)
class XmlAnswer:
    """A document, and how many entries it tells of, for the audit."""

    body: bytes
    entries: int = 0


def entries(source: ListingSource, caller: Caller, query: EntriesQuery) -> XmlAnswer:
    """One page of a range.

    Raises:
        NotSettledError: if the range reaches into the second that is still being written.
    """
    settled = source.settled()
    if query.end_at > settled.at:
        raise NotSettledError("this second is not over yet: ask again in one")
    rows = source.rows(
        stamped_after=query.start_at,
        stamped_until=query.end_at,
        after_revision=query.first_revision - 1,
        limit=query.size + 1,
    )
    blocks: dict[Media, list[str]] = {media: [] for media in Media}
    newest: dict[Media, int] = {}
    rest = iter(rows)
    told = 0
    following: int | None = None
    for row in rest:
        if told >= query.size:
            following = row.revision
            break
        if not caller.scope.covers(row.listing):
            continue
        media = row.listing.media
        written = list(_entries_of(row, caller, source.members()[0]))
        blocks[media] += written
        newest[media] = row.changed_at
        told += len(written)
    else:
        # The rows were cut by the limit, not by their records: hidden rows count too.
        if len(rows) > query.size:
            following = rows[-1].revision + 1
    parts = [_HEAD, f'<queryResult xmlns="{NAMESPACE}">']
    for media, name in ((Media.IMAGE, "images"), (Media.VIDEO, "videos")):
        if blocks[media]:
            parts.append(
                f'<{name} count="{len(blocks[media])}" maxTimestamp="{time_text(newest[media])}">'
            )
            parts += blocks[media]
            parts.append(f"</{name}>")
    if following is not None:
        place = EntriesQuery(
            query.start_at,
            query.end_at,
            following,
            query.size,
            settled.revision if query.newest_revision is None else query.newest_revision,
        )
        parts.append(f"<paging><next>{escape(place.to_path())}</next></paging>")
    parts.append("</queryResult>")
    return XmlAnswer("".join(parts).encode(), told)


def _entries_of(row: Row, caller: Caller, owner: Member) -> Iterator[str]:
    """A listing's entries: the whole, and one for each window of a picture."""
    listing = row.listing
    tag = listing.media.value
    head = (
        f"<member id={quoteattr(str(owner.number))}>{escape(owner.name)}</member>"
        f"<timestamp>{time_text(row.changed_at)}</timestamp>"
    )
    windows = row.windows if caller.scope.windows and listing.media is Media.IMAGE else 0
    if not caller.scope.shows(listing):
        deleted = "deleted" + tag.capitalize()
        for number in range(windows + 1):
            yield f"<{deleted}>{head}<id>{entry_id(listing.listing_id, number)}</id></{deleted}>"
        return
    opinions = _feedback(row.opinions, "PDQ" if listing.media is Media.IMAGE else "MD5")
    md5 = digest(listing, Kind.MD5)
    inline = "" if md5 is None else f"<md5>{md5.value.hex()}</md5>"
    if listing.media is Media.VIDEO:
        values = [inline]
        if frames(listing):
            href = f"/v2/entries/{owner.number}/{listing.listing_id}/{FRAMES_TYPE}"
            values[0] += f'<pdq-frames rel="self" href="{href}"/>'
    else:
        pdq = picture_fingerprints(listing, windows=bool(windows))
        values = [f"<pdq>{each.value.hex()}</pdq>" for each in pdq] or [""]
        values[0] = inline + values[0]
    for number, value in enumerate(values):
        name = entry_id(listing.listing_id, number)
        label = f"{listing.level} part" if number else listing.level
        yield (
            f"<{tag}>{head}<id>{name}</id><classification>{label}</classification>"
            f"<fingerprints>{value}</fingerprints>{opinions}</{tag}>"
        )


def _feedback(opinions: Sequence[Opinion], kind: str) -> str:
    yes = [each for each in opinions if each.kind is AGREEMENT]
    no = [each for each in opinions if each.reason is not None]
    if not yes and not no:
        return ""
    newest = time_text(max(each.at for each in (*yes, *no)))
    parts = [f'<feedback lastUpdateTimestamp="{newest}">']
    if yes:
        at = time_text(max(each.at for each in yes))
        parts.append(
            f'<affirmativeFeedback type="{kind}" lastUpdateTimestamp="{at}">{_said_by(yes)}'
            "</affirmativeFeedback>"
        )
    if no:
        at = time_text(max(each.at for each in no))
        parts.append(f'<negativeFeedback type="{kind}" lastUpdateTimestamp="{at}"><reasons>')
        parts += [
            _reason(reason, kind) + _said_by(given)
            for reason in Reason
            if (given := [each for each in no if each.reason is reason])
        ]
        parts.append("</reasons></negativeFeedback>")
    parts.append("</feedback>")
    return "".join(parts)


def _said_by(opinions: Sequence[Opinion]) -> str:
    at = time_text(max(each.at for each in opinions))
    names = "".join(
        f'<member id="{each.member.number}">{escape(each.member.name)}</member>'
        for each in opinions
    )
    return f'<members timestamp="{at}">{names}</members>'


def _reason(reason: Reason, kind: str) -> str:
    name = reason.replace("_", " ")
    return f'<reason guid="{REASON_IDS[reason]}" name="{name}" type="{kind}"/>'


def entry_id(listing_id: ListingId, window: int) -> str:
    """What stands in `<id>`: the listing, and which window of its picture (0: the whole)."""
    return f"{listing_id}-{window}" if window else str(listing_id)


def listing_of(text: str) -> ListingId:
    """The listing that an entry's `<id>` belongs to.

    Raises:
        UnknownListingError: if it cannot be one.
    """
    number, dash, window = text.partition("-")
    if not _is_number(number) or (dash and not _is_number(window)):
        raise UnknownListingError("there is no such entry")
    return ListingId(int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def status(caller: Caller, address: str) -> XmlAnswer:
    """Who the caller is."""
    member = _member(caller.member)
    return XmlAnswer(
        f'{_HEAD}<status xmlns="{NAMESPACE}"><ipAddress>{escape(address)}</ipAddress>'
        f"<username>{escape(caller.member.name)}</username>{member}</status>".encode()
    )


def members(source: ListingSource) -> XmlAnswer:
    """Everybody who takes part."""
    listed = "".join(_member(each) for each in source.members())
    return XmlAnswer(f'{_HEAD}<members xmlns="{NAMESPACE}">{listed}</members>'.encode())


def _member(member: Member) -> str:
    return f'<member id="{member.number}">{escape(member.name)}</member>'


def feedback_reasons(kind: str) -> XmlAnswer:
    """Why a platform may say no.

    The list stands twice, as documented and once more inside itself: the published client looks
    for an outer element that the documentation does not have (`hash_api.py`, `feedback_reasons`).

    Raises:
        InputError: if `kind` is no fingerprint type.
    """
    _check_type(kind)
    listed = "".join(_reason(reason, kind) for reason in Reason)
    return XmlAnswer(
        f'{_HEAD}<availableFeedbackReasons xmlns="{NAMESPACE}">{listed}'
        f"<availableFeedbackReasons>{listed}</availableFeedbackReasons>"
        "</availableFeedbackReasons>".encode()
    )


def _check_type(kind: str) -> None:
    if kind not in FINGERPRINT_TYPES:
        raise InputError("not a type of fingerprint")


def give_feedback(
    source: ListingSource, caller: Caller, *, name: str, kind: str, body: bytes, at: datetime
) -> XmlAnswer:
    """Take a vote on one entry: a yes is `AGREEMENT`, a no has its reasons.

    Raises:
        InputError: if the document is not a vote.
        UnknownListingError: if the caller cannot see such an entry.
    """
    _check_type(kind)
    reasons = parse_vote(body)
    listing_id = listing_of(name)
    row = source.find(listing_id)
    if row is None or not caller.scope.covers(row.listing):
        raise UnknownListingError("there is no such entry")
    said = [Feedback(listing_id, vote(reason), at, reason=reason) for reason in reasons] or [
        Feedback(listing_id, AGREEMENT, at)
    ]
    source.take_feedback(caller.member, said, "ncmec")
    return XmlAnswer(f'{_HEAD}<submissionResult xmlns="{NAMESPACE}"/>'.encode(), len(said))


def parse_vote(body: bytes) -> tuple[Reason, ...]:
    """The reasons of a no; empty for a yes.

    Raises:
        InputError: if the document is neither.
    """
    root = _parse(body)
    if root.tag != "feedbackSubmission" or len(root) != 1:
        raise InputError("a vote is a feedbackSubmission with affirmative or negative in it")
    answer = root[0]
    if answer.tag == "affirmative":
        return ()
    guids = [(each.text or "").strip().lower() for each in answer.iterfind("reasonIds/guid")]
    if answer.tag != "negative" or not guids or any(each not in _REASON_BY_ID for each in guids):
        raise InputError("a no names its reasons by the guid that …/reasons gives")
    return tuple(dict.fromkeys(_REASON_BY_ID[each] for each in guids))


def large_fingerprint(source: ListingSource, caller: Caller, name: str, kind: str) -> bytes:
    """The file behind an entry's `href`: the PDQ of a video's frames, 32 bytes each.

    Raises:
        UnknownListingError: if there is none that the caller may see.
    """
    row = source.find(listing_of(name))
    if row is None or kind != FRAMES_TYPE or not caller.scope.shows(row.listing):
        raise UnknownListingError("there is no such fingerprint")
    return b"".join(each.value for each in frames(row.listing))


def error(message: str) -> XmlAnswer:
    """What a person reads who looks into a refused call."""
    return XmlAnswer(f'{_HEAD}<error xmlns="{NAMESPACE}">{escape(message)}</error>'.encode())


def _parse(body: bytes) -> "Element":
    """A document without namespaces: the published client strips them too."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    # defusedxml's refusals are ValueErrors; the parser's own error is a SyntaxError.
    except (ValueError, SyntaxError, LookupError):
        raise InputError("not a well-formed document") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


# --- client -------------------------------------------------------------------------------------

SAFETY_SECONDS: Final = 5
"""How far behind the clock a range ends: stamps may be a little older than what they show."""

LINK_LIVES: Final = timedelta(hours=12)
"""NCMEC asks not to keep paging addresses longer."""


class Cursor(transfer.Cursor, frozen=True, forbid_unknown_fields=True):
    """A place in a list of this programme.

    `read_until` moves only when a whole range has been read: entries of a range come in no order.
    """

    read_until: int = 0
    """Everything changed at or before this second is applied."""
    range_end: int = 0
    """End of the range being read; 0 between ranges."""
    next_path: str = ""
    """Its next page."""
    link_at: int = 0
    """When that address was given out."""


class EntriesFetch:
    """Reads a list from a cursor up to now: a `transfer.Fetch`."""

    def __init__(self, cursor: Cursor, *, now: int) -> None:
        self._now = now
        expired = cursor.link_at + LINK_LIVES.total_seconds() < now
        if cursor.next_path and expired:
            cursor = Cursor(cursor.read_until)
        self._cursor = cursor

    def request(self) -> transfer.Request | None:
        """The next page, or the next range."""
        at = self._cursor
        if at.next_path:
            return transfer.Request("GET", at.next_path)
        end = self._now - SAFETY_SECONDS
        if at.read_until >= end:
            return None
        return transfer.Request(
            "GET",
            "/v2/entries",
            (("from", time_text(at.read_until)), ("to", time_text(end))),
        )

    def receive(self, response: transfer.Response) -> transfer.Page:
        """The page's entries; those that cannot be read are counted and left out."""
        at = self._cursor
        if at.next_path and response.status in {400, 404, 410}:
            # The address died early: read its range again from the start, nothing is lost.
            self._cursor = Cursor(at.read_until)
            return transfer.Page((), self._cursor.to_text())
        body = transfer.check(response)
        try:
            records, following, skipped = parse_entries(body)
        except InputError as bad:
            raise transfer.AnswerError(str(bad)) from None
        end = at.range_end or self._now - SAFETY_SECONDS
        if following:
            self._cursor = Cursor(at.read_until, end, following, self._now)
        else:
            self._cursor = Cursor(end)
        return transfer.Page(
            tuple(records), self._cursor.to_text(), skipped, is_last=self.request() is None
        )


def parse_entries(body: bytes) -> tuple[list[transfer.Record], str, int]:
    """Records, the address of the next page ("" on the last), and how many entries are unreadable.

    Raises:
        InputError: if the document as a whole cannot be used.
    """
    root = _parse(body)
    if root.tag != "queryResult":
        raise InputError("not an answer to a query for entries")
    records = []
    skipped = 0
    for block in ("images", "videos"):
        for element in root.iterfind(f"{block}/*"):
            try:
                records.append(_record(element))
            except InputError:
                skipped += 1
    following = root.findtext("paging/next") or ""
    if following and not following.startswith("/v2/entries?"):
        raise InputError("the next page lies outside of the programme")
    return records, following, skipped


def _record(element: "Element") -> transfer.Record:
    tag = element.tag.lower()
    is_deleted = tag.startswith("deleted")
    owner = element.find("member")
    name = (element.findtext("id") or "").strip()
    try:
        media = Media(tag.removeprefix("deleted"))
        number = int(owner.attrib["id"]) if owner is not None else -1
        prints = () if is_deleted else tuple(_fingerprints(element))
    except (ValueError, KeyError):
        raise InputError("an entry that cannot be read") from None
    if number < 0 or not name:
        raise InputError("an entry without a name")
    label = element.findtext("classification")
    return transfer.Record(
        f"{number}-{name}",
        media,
        prints,
        is_deleted,
        (label,) if label else (),
        len(_names(element, "affirmativeFeedback")),
        len(_names(element, "negativeFeedback")),
    )


def _fingerprints(element: "Element") -> Iterator[Fingerprint]:
    for each in element.iterfind("fingerprints/*"):
        text = (each.text or "").strip().lower()
        if not text:
            continue
        match each.tag.lower():
            case "pdq":
                yield Fingerprint.from_text(f"{Kind.PDQ}:{text}", quality=transfer.ASSUMED_QUALITY)
            case "md5":
                yield Fingerprint.from_text(f"{Kind.MD5}:{text}")
            case _:
                pass


def _names(element: "Element", answer: str) -> set[str]:
    return {
        each.attrib.get("id", "")
        for given in element.iterfind(f"feedback/{answer}")
        for each in given.iter("member")
    }


def vote_request(key: str, kind: Kind, reason_id: str | None) -> transfer.Request:
    """A vote on a record by its key: yes without a reason, no with the guid of one."""
    number, _, name = key.partition("-")
    if reason_id is None:
        answer = "<affirmative/>"
    else:
        answer = f"<negative><reasonIds><guid>{escape(reason_id)}</guid></reasonIds></negative>"
    body = f'<feedbackSubmission xmlns="{NAMESPACE}">{answer}</feedbackSubmission>'
    return transfer.Request(
        "PUT",
        f"/v2/entries/{number}/{name}/{kind.upper()}/feedback",
        headers=(("Content-Type", CONTENT_TYPE),),
        body=body.encode(),
    )
