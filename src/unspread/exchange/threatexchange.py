"""Meta's ThreatExchange: what its clients pull of PDQ and MD5, and their reactions, both ends.

Sources: https://developers.facebook.com/docs/threat-exchange/reference/apis/threat-updates/ and
what the published client of `threatexchange` 1.2.17 (`exchanges/clients/fb_threatexchange/`,
`exchanges/impl/fb_threatexchange_api.py`) sends and accepts.

The list is keyed by type and value. A client goes on from the highest `last_updated` it has seen,
so updates are told from that second on, inclusive: the last second may be told twice, and is never
cut. The published client takes an empty page for a fault, so a page always names at least one
update; when there is none, a deletion of nothing.

The key of this programme stands in the query of every call, and so in its `next` links: keep
queries out of the logs of whatever stands in front.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from unspread.crypto import sha256
from unspread.errors import InputError, MalformedFingerprintError
from unspread.exchange import transfer
from unspread.exchange.listings import (
    AGREEMENT,
    CLEARINGHOUSE_MEMBER,
    Caller,
    ClockAheadError,
    ListingSource,
    NotSettledError,
    Row,
    UnknownListingError,
    ValueRecord,
    highest_level,
    value_records,
)
from unspread.model import (
    Feedback,
    FeedbackKind,
    Fingerprint,
    Kind,
    Level,
    ListingId,
    Media,
    Reason,
)

PRIVACY_GROUP: Final = 1
"""The one list there is, as the programme's clients name it."""

FIRST_APP_ID: Final = 10_000_000
"""Members' numbers start here: clients refuse tokens whose app id has fewer than eight digits."""

PAGE_UPDATES: Final = 100
MAX_PAGE_UPDATES: Final = 1000
CLOCK_TOLERANCE_SECONDS: Final = 2

_DESCRIPTOR_BASE: Final = 1 << 50
"""Ids of descriptors are listing ids above this, so that none looks like a group or an app."""

STATUSES: Final = {
    Level.UNVERIFIED: "UNKNOWN",
    Level.DISPUTED: "SUSPICIOUS",
    Level.CONFIRMED: "MALICIOUS",
    Level.CORROBORATED: "MALICIOUS",
}
"""Clients take UNKNOWN and SUSPICIOUS as worth a look, MALICIOUS as a yes."""

REACTIONS: Final = {
    "SAW_THIS_TOO": (FeedbackKind.FOUND, None),
    "HELPFUL": (AGREEMENT, None),
    "NOT_HELPFUL": (FeedbackKind.DISPUTED, Reason.OTHER),
    "DISAGREE_WITH_TAGS": (FeedbackKind.DISPUTED, Reason.DIFFERENT_CONTENT),
}


_REACTED: Final = {
    AGREEMENT: "HELPFUL",
    FeedbackKind.DISPUTED: "DISAGREE_WITH_TAGS",
    FeedbackKind.FOUND: "SAW_THIS_TOO",
    FeedbackKind.BLOCKED: "SAW_THIS_TOO",
}


# --- server -------------------------------------------------------------------------------------


def app_id(member_number: int) -> int:
    """A member's number as the programme's clients know it."""
    return FIRST_APP_ID + member_number


@dataclass(frozen=True, slots=True)
class UpdatesQuery:
    """Which updates: stamped at or after `start_at` and before `stop_at`, from one place on."""

    start_at: int
    stop_at: int | None = None
    limit: int = PAGE_UPDATES
    types: frozenset[str] = frozenset()
    until: int | None = None
    """Where this reading ends, fixed by its first page."""
    first_revision: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, str], *, now: int) -> "UpdatesQuery":
        """Read the query of `GET /{group}/threat_updates/`.

        Raises:
            ClockAheadError: if it ends in the future.
            InputError: if it is malformed.
        """
        start_at = _number(params.get("start_time") or "0")
        stop_at = _number(params["stop_time"]) if params.get("stop_time") else None
        if stop_at is not None and stop_at > now + CLOCK_TOLERANCE_SECONDS:
            raise ClockAheadError("stop_time lies in the future: set the client's clock")
        limit = min(max(_number(params.get("limit") or str(PAGE_UPDATES)), 1), MAX_PAGE_UPDATES)
        types = frozenset(each for each in params.get("types", "").split(",") if each)
        if not params.get("after"):
            return cls(start_at, stop_at, limit, types)
        try:
            place = base64.urlsafe_b64decode(params["after"]).decode()
        except (binascii.Error, ValueError):
            raise InputError("the cursor is not one of ours") from None
        until, _, revision = place.partition(".")
        return cls(start_at, stop_at, limit, types, _number(until), _number(revision))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InputError("times, limits and cursors are numbers that we gave out")
    return int(text)


def threat_updates(
    source: ListingSource,
    caller: Caller,
    query: UpdatesQuery,
    *,
    now: int,
    page_url: str,
    params: Mapping[str, str],
) -> tuple[bytes, int]:
    """One page of updates, and how many it tells.

    `page_url` and `params` are this call's address and query: the link to the next page is made
    of them, as the client sends it back without adding anything.

    Raises:
        NotSettledError: if the query reaches into the second that is still being written.
    """
    settled = source.settled().at
    # A client that names no end takes the moment it asked for it.
    wanted = (now if query.stop_at is None else query.stop_at) - 1
    if query.until is None and settled < wanted:
        raise NotSettledError("this second is not over yet: ask again in one")
    until = wanted if query.until is None else min(query.until, settled)
    rows = source.rows(
        stamped_after=query.start_at - 1,
        stamped_until=until,
        after_revision=query.first_revision - 1,
        limit=query.limit + 1,
    )
    told, rest = rows[: query.limit], rows[query.limit :]
    records = value_records(source, caller, told, told_since=query.start_at, picture_md5=True)
    owner = app_id(CLEARINGHOUSE_MEMBER)
    data = [
        update
        for record in records
        if (update := _update(record, owner, app_id(caller.member.number)))
        and (not query.types or update["type"] in query.types)
    ]
    count = len(data)
    answer: dict[str, Any] = {"data": data or [_nothing(query.start_at)]}
    if rest:
        after = base64.urlsafe_b64encode(f"{until}.{rest[0].revision}".encode()).decode()
        link = f"{page_url}?{urlencode({**params, 'after': after})}"
        answer["paging"] = {"cursors": {"after": after}, "next": link}
    return msgspec.json.encode(answer), count


def _nothing(at: int) -> dict[str, Any]:
    return {
        "id": "0",
        "indicator": "",
        "type": "HASH_PDQ",
        "last_updated": at,
        "should_delete": True,
    }


def _update(record: ValueRecord, owner: int, reader: int) -> dict[str, Any]:
    """One update. Its id is that of the value: the same whoever listed it."""
    kind = _TYPES[record.kind, record.media]
    identity = int.from_bytes(sha256(kind.encode(), record.value)[:7], "big")
    update: dict[str, Any] = {
        "id": str(identity),
        "indicator": record.value.hex(),
        "type": kind,
        "last_updated": record.changed_at,
        "should_delete": not record.shown,
    }
    if record.shown:
        level = highest_level(record.shown)
        update["status"] = STATUSES[level]
        update["descriptors"] = {
            "data": [_descriptor(row, record.media, owner, reader) for row in record.shown]
        }
    return update


_TYPES: Final = {
    (Kind.PDQ, Media.IMAGE): "HASH_PDQ",
    (Kind.PDQ, Media.VIDEO): "HASH_PDQ",
    (Kind.MD5, Media.IMAGE): "HASH_MD5",
    (Kind.MD5, Media.VIDEO): "HASH_VIDEO_MD5",
}
_MEDIA_TAGS: Final = {Media.IMAGE: "media_type_photo", Media.VIDEO: "media_type_video"}


def _descriptor(row: Row, media: Media, owner: int, reader: int) -> dict[str, Any]:
    tags = [_MEDIA_TAGS[media], row.listing.level.value]
    by_reaction: dict[str, list[int]] = {}
    for said in row.opinions:
        number = app_id(said.member.number)
        if said.kind in _REACTED:
            by_reaction.setdefault(_REACTED[said.kind], []).append(number)
    descriptor: dict[str, Any] = {
        "id": str(_DESCRIPTOR_BASE + row.listing.listing_id),
        "owner": {"id": str(owner)},
        "status": STATUSES[row.listing.level],
        "added_on": datetime.fromtimestamp(row.listed_at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
        "tags": {"data": [{"id": str(number), "text": tag} for number, tag in enumerate(tags, 1)]},
    }
    if by_reaction:
        descriptor["reactions"] = [
            {"key": key, "value": ",".join(map(str, sorted(numbers)))}
            for key, numbers in by_reaction.items()
        ]
        mine = [key for key, numbers in by_reaction.items() if reader in numbers]
        descriptor["my_reactions"] = mine
    return descriptor


def react(
    source: ListingSource, caller: Caller, *, descriptor: str, reactions: str, at: datetime
) -> bytes:
    """Take a reaction to one descriptor.

    Raises:
        InputError: if it is none that we know.
        UnknownListingError: if the caller cannot see such a descriptor.
    """
    named = [each.strip() for each in reactions.split(",") if each.strip()]
    if not named or any(each not in REACTIONS for each in named):
        raise InputError("a reaction is one of " + ", ".join(REACTIONS))
    listing_id = ListingId(_number(descriptor) - _DESCRIPTOR_BASE)
    row = source.find(listing_id) if listing_id >= 0 else None
    if row is None or not caller.scope.covers(row.listing):
        raise UnknownListingError("there is no such descriptor")
    said = [
        Feedback(listing_id, kind, at, reason=reason)
        for kind, reason in (REACTIONS[each] for each in named)
    ]
    source.take_feedback(caller.member, said, "threatexchange")
    return msgspec.json.encode({"success": True})


def privacy_group(name: str, now: int) -> dict[str, Any]:
    """The one group, as clients that look for it want it."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return {
        "id": str(PRIVACY_GROUP),
        "name": name,
        "description": "What people asked to be kept from spreading.",
        "members_can_see": True,
        "members_can_use": True,
        "threat_updates_enabled": True,
        "added_on": moment,
        "last_updated": moment,
    }


def error(status: int, message: str) -> bytes:
    """As the Graph API words it."""
    return msgspec.json.encode(
        {"error": {"message": message, "type": "OAuthException", "code": status}}
    )


# --- client -------------------------------------------------------------------------------------

STALE_AFTER_SECONDS: Final = 85 * 24 * 3600
"""The programme forgets deletions after 90 days: read everything again before."""

FIELDS: Final = (
    "id,indicator,type,last_updated,should_delete,descriptors{id,reactions,owner{id},tags,status}"
)
_KINDS: Final = {
    "HASH_PDQ": (Kind.PDQ, Media.IMAGE),
    "HASH_MD5": (Kind.MD5, Media.IMAGE),
    "HASH_VIDEO_MD5": (Kind.MD5, Media.VIDEO),
}


class Cursor(transfer.Cursor, frozen=True, forbid_unknown_fields=True):
    """A place in a list of this programme. It holds no key."""

    updated_at: int = 0
    """The highest `last_updated` seen."""
    fetched_at: int = 0
    """When the last page was received, seconds since 1970."""
    reads_all: bool = False
    """Whether the reading under way began at the beginning."""


class UpdatesFetch:
    """Reads a list from a cursor up to now: a `transfer.Fetch`.

    `base_url` is where the programme lives: a `next` link that leads elsewhere is refused, since
    our key goes with it.
    """

    def __init__(
        self, cursor: Cursor, *, now: int, base_url: str, token: str, group: int = PRIVACY_GROUP
    ) -> None:
        if cursor.fetched_at + STALE_AFTER_SECONDS < now:
            cursor = Cursor(reads_all=True)
        self._now = now
        self._cursor = cursor
        self._base_url = base_url.rstrip("/")
        params = (
            ("access_token", token),
            ("start_time", str(cursor.updated_at)),
            ("limit", "500"),
            ("fields", FIELDS),
            ("types", ",".join(_KINDS)),
        )
        self._next: transfer.Request | None = transfer.Request(
            "GET", f"/{group}/threat_updates/", params
        )

    def request(self) -> transfer.Request | None:
        """The next page."""
        return self._next

    def receive(self, response: transfer.Response) -> transfer.Page:
        """The page's updates; those that cannot be read are counted and left out."""
        body = transfer.check(response)
        try:
            page = msgspec.json.decode(body, type=_Page)
        except transfer.UNREADABLE:
            raise transfer.AnswerError("not a page of this programme") from None
        following = "" if page.paging is None else page.paging.next
        if following and not following.startswith(self._base_url + "/"):
            raise transfer.AnswerError("the next page lies outside of the programme")
        records = []
        skipped = 0
        updated_at = self._cursor.updated_at
        for raw in page.data or ():
            try:
                update = msgspec.json.decode(raw, type=_Update, strict=False)
                record = _read(update)
            except (*transfer.UNREADABLE, MalformedFingerprintError):
                skipped += 1
                continue
            updated_at = max(updated_at, update.last_updated)
            records += [] if record is None else [record]
        self._next = None
        if following:
            parts = urlsplit(following.removeprefix(self._base_url))
            self._next = transfer.Request("GET", parts.path, tuple(parse_qsl(parts.query)))
        reads_all = self._cursor.reads_all
        is_last = self._next is None
        self._cursor = Cursor(updated_at, self._now, reads_all and not is_last)
        return transfer.Page(tuple(records), self._cursor.to_text(), skipped, is_last, reads_all)


def reaction_request(descriptor: str, reaction: str, token: str) -> transfer.Request:
    """React to one descriptor, as the published client does; `reaction` is one of `REACTIONS`."""
    return transfer.Request(
        "POST", f"/{descriptor}/", (("access_token", token), ("reactions", reaction))
    )


class _Paging(msgspec.Struct, frozen=True):
    next: str = ""


class _Page(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw] | None = None
    paging: _Paging | None = None


class _Reaction(msgspec.Struct, frozen=True):
    key: str
    value: str


class _Tag(msgspec.Struct, frozen=True):
    text: str


class _Tags(msgspec.Struct, frozen=True):
    data: list[_Tag] = []


class _Descriptor(msgspec.Struct, frozen=True):
    id: str = ""
    status: str = "UNKNOWN"
    tags: _Tags | list[str] | None = None
    reactions: list[_Reaction] = []


class _Descriptors(msgspec.Struct, frozen=True):
    data: list[_Descriptor] = []


class _Update(msgspec.Struct, frozen=True):
    indicator: str
    type: str
    last_updated: int
    should_delete: bool = False
    descriptors: _Descriptors | None = None


def _read(update: _Update) -> transfer.Record | None:
    """A record of a kind that we match; None for another kind, or for nothing."""
    if update.type not in _KINDS or not update.indicator:
        return None
    kind, media = _KINDS[update.type]
    descriptors = [] if update.descriptors is None else update.descriptors.data
    # A record without descriptors is a deletion too (facebook/ThreatExchange issue 834).
    gone = update.should_delete or not descriptors
    labels = {tag for each in descriptors for tag in _tags(each.tags)}
    if kind is Kind.MD5 and _MEDIA_TAGS[Media.VIDEO] in labels:
        media = Media.VIDEO
    quality = transfer.ASSUMED_QUALITY if kind is Kind.PDQ else None
    print_ = Fingerprint.from_text(f"{kind}:{update.indicator.lower()}", quality=quality)
    reacted = {
        (reaction.key, member)
        for each in descriptors
        for reaction in each.reactions
        for member in reaction.value.split(",")
    }
    malicious = sum(each.status == "MALICIOUS" for each in descriptors)
    return transfer.Record(
        f"{update.type}:{update.indicator}",
        media,
        () if gone else (print_,),
        gone,
        tuple(sorted(labels)),
        malicious + sum(key == "HELPFUL" for key, _ in reacted),
        sum(each.status == "NON_MALICIOUS" for each in descriptors)
        + sum(key == "DISAGREE_WITH_TAGS" for key, _ in reacted),
        ()
        if gone
        else tuple(each.id for each in descriptors if each.id.isascii() and each.id.isdigit()),
    )


def _tags(tags: _Tags | Sequence[str] | None) -> list[str]:
    if tags is None:
        return []
    return [tag.text for tag in tags.data] if isinstance(tags, _Tags) else list(tags)
