"""What a notice needs, when its clock runs, and what stops it: values in, values out.

The facts are those of 47 USC 223a(a) (TAKE IT DOWN Act, Pub. L. 119-12): a request in writing with
(i) a signature, (ii) identification of the depiction and information reasonably sufficient to
locate it, (iii) a brief good-faith statement that it is not consensual, (iv) contact information;
removal within 48 hours of a valid request, and reasonable efforts to remove known identical
copies. This module counts; it does not advise. A platform decides with its own counsel.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from unspread.errors import InputError, StateError

CLOCK: Final = timedelta(hours=48)
"""47 USC 223a(a)(3)."""

MAX_LOCATIONS: Final = 50
MAX_TEXT: Final = 4000
"""Characters in one field."""

_E_MAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+\.[^@\s]+")
_DIGITS: Final = re.compile(r"\d")


class ImpossibleStepError(StateError):
    """The notice is not in a state in which this can happen."""


class Need(StrEnum):
    """The four things that a valid request has, in the order of the law."""

    SIGNATURE = "signature"
    LOCATION = "location"
    GOOD_FAITH = "good_faith"
    CONTACT = "contact"


class Lack(StrEnum):
    """Why a need is not met; a text for people stands in the page."""

    MISSING = "missing"
    NO_ADDRESS = "no_address"
    """Not a web address, so nothing can be found by it."""
    ELSEWHERE = "elsewhere"
    """The address is not on this platform."""
    NOT_STATED = "not_stated"
    UNREACHABLE = "unreachable"
    """Neither an e-mail address nor a telephone number nor a postal address."""
    NO_RELATION = "no_relation"
    """Signed for somebody else without saying by what right."""
    NOT_FOUND = "not_found"
    """A person looked and could not locate it with what was given."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a requester writes. The repr shows nothing of it."""

    signature: str = field(repr=False)
    """The name typed as an electronic signature."""
    locations: tuple[str, ...] = field(repr=False)
    """Addresses of the content, one or more."""
    good_faith: bool = field(repr=False)
    """Whether the good-faith statement was affirmed."""
    contact: str = field(repr=False)
    description: str = field(default="", repr=False)
    """What it shows, in the requester's words; helps to identify it."""
    on_behalf: bool = field(default=False, repr=False)
    """Whether an authorised person signs for the one depicted."""
    relation: str = field(default="", repr=False)
    """By what right, if so."""

    def __post_init__(self) -> None:
        texts = (self.signature, self.contact, self.description, self.relation, *self.locations)
        if len(self.locations) > MAX_LOCATIONS:
            raise InputError(f"at most {MAX_LOCATIONS} addresses fit in one notice")
        if any(len(text) > MAX_TEXT for text in texts):
            raise InputError(f"at most {MAX_TEXT} characters fit in one field")
        if any("\0" in text for text in texts):
            raise InputError("a field holds a character that is not text")


def lacks(request: Request, hosts: frozenset[str]) -> dict[Need, Lack]:
    """What a request lacks to be complete; empty if it is.

    Args:
        request: as written.
        hosts: names of this platform's hosts, in lower case; empty means any.
    """
    found: dict[Need, Lack] = {}
    if len(request.signature.strip()) < 2:
        found[Need.SIGNATURE] = Lack.MISSING
    elif request.on_behalf and not request.relation.strip():
        found[Need.SIGNATURE] = Lack.NO_RELATION
    written = [text.strip() for text in request.locations if text.strip()]
    places = [_host(text) for text in written]
    if not written:
        found[Need.LOCATION] = Lack.MISSING
    elif any(place is None for place in places):
        found[Need.LOCATION] = Lack.NO_ADDRESS
    elif hosts and not all(place in hosts for place in places):
        found[Need.LOCATION] = Lack.ELSEWHERE
    if not request.good_faith:
        found[Need.GOOD_FAITH] = Lack.NOT_STATED
    contact = request.contact.strip()
    if not contact:
        found[Need.CONTACT] = Lack.MISSING
    elif not _is_reachable(contact):
        found[Need.CONTACT] = Lack.UNREACHABLE
    return found


def _host(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return None
    return host if parts.scheme in {"http", "https"} and host else None


def _is_reachable(contact: str) -> bool:
    # A postal address has digits and lines; anything that a person could use is enough.
    return bool(_E_MAIL.search(contact)) or len(_DIGITS.findall(contact)) >= 6 or "\n" in contact


class Step(StrEnum):
    """What can happen to a notice. Each is one line of its record, and none is ever changed."""

    RECEIVED = "received"
    COMPLETED = "completed"
    """The requester added what was lacking."""
    FOUND_INCOMPLETE = "found_incomplete"
    """A person at the platform says what is lacking."""
    REMOVED = "removed"
    DECLINED = "declined"
    """Looked at, and left in place, with a reason."""
    WITHDRAWN = "withdrawn"
    """By the requester."""
    APPEALED = "appealed"
    """By the requester, against a refusal."""
    POSTER_APPEALED = "poster_appealed"
    """By who posted it, against the removal."""
    APPEAL_ANSWERED = "appeal_answered"
    """The decision stands."""
    RESTORED = "restored"
    """On appeal of who posted it."""


class Status(StrEnum):
    """Where a notice stands."""

    INCOMPLETE = "incomplete"
    OPEN = "open"
    REMOVED = "removed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a notice's record."""

    step: Step
    at: datetime
    lacks: tuple[tuple[Need, Lack], ...] = ()
    """What was lacking, for `received`, `completed` and `found_incomplete`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a notice stands, and its clock."""

    status: Status
    used: timedelta
    """How much of the 48 hours has run, up to `running_since`."""
    running_since: datetime | None
    """Since when the clock runs; None while it does not."""
    lacks: tuple[tuple[Need, Lack], ...] = ()
    appealed_at: datetime | None = None
    """An appeal that waits for an answer."""

    @property
    def waits(self) -> bool:
        """Whether somebody has something to do: decide, complete it, or answer an appeal."""
        return self.status in {Status.OPEN, Status.INCOMPLETE} or self.appealed_at is not None

    @property
    def deadline(self) -> datetime | None:
        """When the 48 hours end; None while the clock does not run."""
        return None if self.running_since is None else self.running_since + CLOCK - self.used

    def remaining(self, now: datetime) -> timedelta:
        """What is left of the 48 hours; negative when they are over."""
        running = timedelta() if self.running_since is None else now - self.running_since
        return CLOCK - self.used - running

    def remaining_while_up(self, removed_at: datetime, now: datetime) -> timedelta:
        """What is left until what was decided to be removed is in fact gone."""
        return CLOCK - self.used - (now - removed_at)

    def is_overdue(self, now: datetime) -> bool:
        """Whether the clock runs and has run out."""
        return self.running_since is not None and self.remaining(now) < timedelta()


_FROM: Final = {
    Step.COMPLETED: {Status.INCOMPLETE},
    Step.FOUND_INCOMPLETE: {Status.OPEN},
    Step.REMOVED: {Status.OPEN, Status.INCOMPLETE, Status.DECLINED},
    Step.DECLINED: {Status.OPEN},
    Step.WITHDRAWN: {Status.OPEN, Status.INCOMPLETE},
    Step.APPEALED: {Status.DECLINED},
    Step.POSTER_APPEALED: {Status.REMOVED},
    Step.APPEAL_ANSWERED: {Status.DECLINED, Status.REMOVED},
    Step.RESTORED: {Status.REMOVED},
}
"""In which states a step is possible. A platform may remove at any time before it has."""


def standing(events: Sequence[Event]) -> Standing:
    """Where a notice stands after its events, oldest first.

    The clock starts when the request is complete, stops for good on a decision or a withdrawal,
    and rests while a person has said that something is lacking. The time that ran before a rest
    counts: whoever asks late for what was lacking wins no time by it.

    Raises:
        ImpossibleStepError: if the events cannot have happened in this order.
    """
    if not events or events[0].step is not Step.RECEIVED:
        raise ImpossibleStepError("a notice begins with its receipt")
    first, *rest = events
    now = _opened(first, timedelta())
    for event in rest:
        now = _after(now, event)
    return now


def _opened(event: Event, used: timedelta) -> Standing:
    if event.lacks:
        return Standing(Status.INCOMPLETE, used, None, event.lacks)
    return Standing(Status.OPEN, used, event.at)


def _after(now: Standing, event: Event) -> Standing:
    if now.status not in _FROM.get(event.step, set()):
        raise ImpossibleStepError(f"a notice that is {now.status} cannot be {event.step}")
    answers_appeal = event.step in {Step.APPEAL_ANSWERED, Step.RESTORED}
    if answers_appeal and now.appealed_at is None:
        raise ImpossibleStepError("there is no appeal to answer")
    if event.step in {Step.APPEALED, Step.POSTER_APPEALED} and now.appealed_at is not None:
        raise ImpossibleStepError("an appeal waits for its answer")
    if now.running_since is not None and event.at < now.running_since:
        raise ImpossibleStepError("a notice's events go forward in time")
    used = now.used
    if now.running_since is not None:
        used += event.at - now.running_since
    match event.step:
        case Step.COMPLETED:
            return _opened(event, used)
        case Step.FOUND_INCOMPLETE:
            if not event.lacks:
                raise ImpossibleStepError("say what is lacking")
            return Standing(Status.INCOMPLETE, used, None, event.lacks)
        case Step.APPEALED | Step.POSTER_APPEALED:
            return Standing(now.status, used, None, appealed_at=event.at)
        case Step.APPEAL_ANSWERED:
            return Standing(now.status, used, None)
        case _:
            return Standing(Status(event.step.value), used, None)


def by_deadline(standings: Iterable[tuple[str, Standing]]) -> list[str]:
    """Names of notices in the order in which to work: the clock first, then appeals, then the rest.

    Decided notices without an appeal are left out.
    """
    urgent: list[tuple[datetime, str]] = []
    appeals: list[tuple[datetime, str]] = []
    waiting: list[str] = []
    for name, each in standings:
        deadline = each.deadline
        if deadline is not None:
            urgent.append((deadline, name))
        elif each.appealed_at is not None:
            appeals.append((each.appealed_at, name))
        elif each.status is Status.INCOMPLETE:
            waiting.append(name)
    return [name for _, name in sorted(urgent)] + [name for _, name in sorted(appeals)] + waiting
