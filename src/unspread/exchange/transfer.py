"""Following another programme's list: requests out, answers in, records out. No I/O but `follow`.

A fetch is a value that knows what to ask next. Whoever drives it does the sending, applies a
page's records and then stores the page's cursor, in one transaction: a page is then never lost and
applying one twice changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

import httpx
import msgspec

from unspread.errors import InputError, TransportError
from unspread.model import Fingerprint, Media

MAX_ANSWER_BYTES: Final = 64 << 20
TIMEOUT_SECONDS: Final = 60.0

ASSUMED_QUALITY: Final = 100
"""The programmes tell no quality of a PDQ; what was submitted to them was chosen to match."""


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
"""What msgspec raises for JSON that is malformed, of another shape, or not UTF-8."""


class AnswerError(TransportError):
    """The programme's answer cannot be used as a whole; nothing of it was applied."""


class RefusedError(TransportError):
    """The programme refuses our key: a person has to look."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call, relative to the programme's base address."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path.partition('?')[0]})"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """What came back, read whole."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of somebody else's list in its newest state."""

    key: str
    """Unique in the programme; a later record of the same key replaces this one."""
    media: Media
    fingerprints: tuple[Fingerprint, ...]
    """Only of kinds that we match; empty when deleted or when none is known to us."""
    is_deleted: bool = False
    labels: tuple[str, ...] = ()
    agreeing: int = 0
    """Members who say that it is right."""
    disagreeing: int = 0
    descriptors: tuple[str, ...] = ()
    """What opinions are addressed to, in a programme where that is not the key."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records to apply, and where to go on once they are."""

    records: tuple[Record, ...]
    cursor: str
    """Text to store with the records, and to start the next fetch from."""
    skipped: int = 0
    """Entries that could not be read and were left out; the rest of the page is good."""
    is_last: bool = False
    """Whether the list was read up to now."""
    reads_all: bool = False
    """The reading began at the beginning, because the old place was too old to be told deletions:
    after its last page, forget what no page of it named."""


class Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place in a programme's list; each programme adds what it needs. It never holds a key."""

    def to_text(self) -> str:
        """For storage."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` wrote; empty text is the beginning.

        Raises:
            InputError: for anything else.
        """
        try:
            return msgspec.json.decode(text, type=cls) if text else cls()
        except UNREADABLE:
            raise InputError("not a cursor of this programme") from None


class Fetch(Protocol):
    """One reading of a list, from a cursor up to now."""

    def request(self) -> Request | None:
        """What to send next; None when the list is read."""
        ...

    def receive(self, response: Response) -> Page:
        """The page in the answer to the last `request`.

        Raises:
            TransportError: if there is none; the fetch is over, its last cursor still holds.
        """
        ...


def check(response: Response) -> bytes:
    """The body of an answer that succeeded.

    Raises:
        RefusedError: for 401 and 403.
        AnswerError: for everything else that is no success.
    """
    if response.status in {401, 403}:
        raise RefusedError(f"the programme refuses our key (status {response.status})")
    if not 200 <= response.status < 300:
        raise AnswerError(f"the programme answered with status {response.status}")
    return response.body


def send(client: httpx.Client, request: Request) -> Response:
    """One request over a client whose `base_url` is the programme's.

    Raises:
        TransportError: if no answer arrives, or one that is too large.
    """
    url = f"{str(client.base_url).rstrip('/')}/{request.path.lstrip('/')}"
    try:
        with client.stream(
            request.method,
            url,
            params=list(request.params) or None,
            headers=list(request.headers),
            content=request.body or None,
        ) as answer:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise AnswerError("the programme's answer is too large")
            return Response(answer.status_code, bytes(body))
    except httpx.HTTPError as error:
        # The text of httpx's errors holds the address, and the address may hold a key.
        raise TransportError(f"the programme did not answer: {type(error).__name__}") from None


def follow(client: httpx.Client, fetch: Fetch) -> Iterator[Page]:
    """Every page of a fetch. Apply each page and store its cursor before taking the next.

    Raises:
        TransportError: when the programme does not answer; go on later from the last cursor.
    """
    while (request := fetch.request()) is not None:
        yield fetch.receive(send(client, request))
