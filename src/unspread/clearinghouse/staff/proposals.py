"""Four eyes: what affects matching is proposed by one member and carried out by another's yes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from unspread.clearinghouse import exchange_keys, partners, store
from unspread.clearinghouse.audit import record
from unspread.clearinghouse.database import Connection, Row
from unspread.clearinghouse.rules import FINAL_STATES
from unspread.clearinghouse.staff.members import Member, NotAllowedError, Role
from unspread.clearinghouse.store import StoredItem, Transaction
from unspread.errors import InputError, StateError
from unspread.feed.records import Authority, ChangeReason, ChangeRecord
from unspread.feed.sealing import Scope
from unspread.model import Level, ListingId, State

AT_ONCE: Final = 100_000


class Kind(StrEnum):
    """What can be proposed."""

    RELEASE = "release"
    """List an item that is held."""
    REINSTATE = "reinstate"
    """List a suspended listing again; the disputes so far count no more."""
    UPHOLD = "uphold"
    """Stand by a listing that looks famous and goes on matching: the question is answered."""
    REMOVE = "remove"
    """Take a listing off for good, with a counted reason."""
    PAUSE_INTAKE = "pause_intake"
    RESUME_INTAKE = "resume_intake"
    SUSPEND_SINCE = "suspend_since"
    """Suspend every unverified listing that arrived in a stretch of time: a flood of rubbish."""
    SUSPEND_ALL_SINCE = "suspend_all_since"
    """The same whatever its level: from the beginning until now it pauses the whole list."""
    REINSTATE_SINCE = "reinstate_since"
    """Take such a suspension back."""
    PARTNER_SCOPE = "partner_scope"
    """Change what of the list a partner gets."""
    ISSUE_KEY = "issue_key"
    """Let a partner collect a static key of an older programme."""
    REPLACE_KEY = "replace_key"
    """Let it collect another in the place of one."""


class ProposalError(StateError):
    """Not possible for this proposal or listing."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal."""

    number: int
    kind: Kind
    subject: str
    """An item's, partner's or key's id, or `from-to` in seconds since 1970, or nothing."""
    detail: str
    terms: str
    """What a partner would get: `feed.sealing.Scope.to_text()`, or `exchange_keys.scope_text`."""
    proposed_by: str
    proposed_at: int
    decided_by: str
    outcome: str

    @property
    def words(self) -> str:
        """What would be done, for whoever decides."""
        if self.kind in ON_ITEMS or self.kind in ON_PARTNERS:
            return f"{_WORDS[self.kind]} {self.subject}{f': {self.terms}' if self.terms else ''}"
        if self.kind in ON_STRETCHES:
            start, stop = (
                datetime.fromtimestamp(each, UTC).strftime("%Y-%m-%d %H:%M")
                for each in _stretch(self.subject)
            )
            return f"{_WORDS[self.kind]} from {start} to {stop} UTC"
        return _WORDS[self.kind]

    @property
    def role(self) -> Role:
        """Who proposes and decides."""
        return _role(self.kind)


def _role(kind: Kind) -> Role:
    return Role.ONBOARDING if kind in ON_PARTNERS else Role.INTEGRITY


_PROPOSAL: Final = (
    "SELECT id, kind, subject, detail, terms, proposed_by, proposed_at, decided_by, outcome"
    " FROM proposal "
)


def _proposal(row: Row) -> Proposal:
    return Proposal(row[0], Kind(row[1]), *row[2:9])


def waiting(connection: Connection) -> list[Proposal]:
    """What waits for a second member, oldest first."""
    return [_proposal(row) for row in connection.rows(_PROPOSAL + "WHERE outcome = '' ORDER BY id")]


def propose(  # noqa: PLR0917 - as the columns are
    tx: Transaction, by: Member, kind: Kind, subject: str, detail: str, terms: str = ""
) -> int:
    """Propose something; its number.

    Raises:
        InputError: without a reason, or for what does not exist.
        ProposalError: if the same already waits.
    """
    by.require(_role(kind))
    if not detail.strip() or len(detail) > 400:
        raise InputError("say why, in 1 to 400 characters")
    _check_subject(tx, kind, subject, terms)
    if tx.connection.rows(
        "SELECT 1 FROM proposal WHERE kind = ? AND subject = ? AND terms = ? AND outcome = ''",
        kind,
        subject,
        terms,
    ):
        raise ProposalError("this waits for a second member already")
    ((number,),) = tx.connection.rows(
        "INSERT INTO proposal (kind, subject, detail, terms, proposed_by, proposed_at, decided_by,"
        " decided_at, outcome) VALUES (?, ?, ?, ?, ?, ?, '', 0, '') RETURNING id",
        kind,
        subject,
        detail.strip(),
        terms,
        by.name,
        tx.now,
    )
    record(tx, by.name, f"propose.{kind}", subject, _told(detail.strip(), terms))
    return int(number)


def _told(detail: str, terms: str) -> str:
    return f"{terms}; {detail}"[:400] if terms else detail


def _check_subject(tx: Transaction, kind: Kind, subject: str, terms: str) -> None:
    if kind in ON_PARTNERS:
        _check_partner(tx, kind, subject, terms)
    elif terms:
        raise InputError("this has no terms")
    elif kind in ON_ITEMS:
        _item(tx.connection, subject)
    elif kind in ON_STRETCHES:
        _stretch(subject)
    elif subject:
        raise InputError("this has no subject")


def _check_partner(tx: Transaction, kind: Kind, subject: str, terms: str) -> None:
    partner_id = subject
    if kind is Kind.REPLACE_KEY:
        partner_id, _ = exchange_keys.live(tx.connection, subject, tx.now)
    elif kind is Kind.ISSUE_KEY:
        programme, _, words = terms.partition(":")
        if exchange_keys.wanted_scope(programme, words) != terms:
            raise InputError("a key's scope is not in its canonical form")
    else:
        Scope.from_text(terms)
    known = partners.partner(tx.connection, partner_id)
    if known.state != "active":
        raise ProposalError(f"{partner_id} is {known.state}, not active")


def decide(tx: Transaction, by: Member, number: int, *, is_yes: bool) -> str:
    """Another member's yes or no. A yes carries it out in the same transaction.

    Returns:
        The code with which a partner collects keys, shown this once; empty for anything else.

    Raises:
        NotAllowedError: for whoever proposed it: four eyes are two people's.
        ProposalError: if it is decided already, or no longer possible.
    """
    rows = tx.connection.rows(_PROPOSAL + "WHERE id = ?", number)
    if not rows:
        raise InputError("there is no such proposal")
    proposal = _proposal(rows[0])
    by.require(proposal.role)
    if proposal.outcome:
        raise ProposalError("this is decided already")
    if proposal.proposed_by == by.name:
        raise NotAllowedError("somebody else has to decide on what you proposed")
    code = _CARRY_OUT[proposal.kind](tx, proposal) if is_yes else None
    tx.connection.run(
        "UPDATE proposal SET decided_by = ?, decided_at = ?, outcome = ? WHERE id = ?",
        by.name,
        tx.now,
        "done" if is_yes else "declined",
        number,
    )
    word = "approve" if is_yes else "decline"
    told = _told(f"proposal {number}", proposal.terms)
    record(tx, by.name, f"{word}.{proposal.kind}", proposal.subject, told)
    tx.count(f"staff.{proposal.kind}.{'done' if is_yes else 'declined'}")
    return code or ""


def _item(connection: Connection, subject: str) -> StoredItem:
    if subject.isdecimal():
        items = store.items_where(connection, "WHERE i.id = ?", int(subject))
        if items:
            return items[0]
    raise InputError("there is no such item")


def _stretch(subject: str) -> tuple[int, int]:
    start, _, stop = subject.partition("-")
    if not start.isdecimal() or not stop.isdecimal() or int(start) > int(stop):
        raise InputError("a stretch of time is from-to, in seconds")
    return int(start), int(stop)


def _release(tx: Transaction, proposal: Proposal) -> None:
    item = _item(tx.connection, proposal.subject)
    if item.state is not State.HELD:
        raise ProposalError(f"the item is {item.state}, not held")
    store.release(tx, item)


def _change(
    tx: Transaction,
    item: StoredItem,
    state: State,
    reason: ChangeReason,
    level: Level | None = None,
) -> None:
    """Change a listing's state, and its level if one is given."""
    if item.listing_id is None:
        raise ProposalError("the item was never listed")
    record = ChangeRecord(
        ListingId(item.listing_id), state, level or item.level, Authority.STAFF, reason
    )
    store.append_change(tx, item, record)


def _reinstate(tx: Transaction, proposal: Proposal) -> None:
    item = _item(tx.connection, proposal.subject)
    if item.state is not State.SUSPENDED or item.listing_id is None:
        raise ProposalError(f"the listing is {item.state}, not suspended")
    # What was said so far is answered; the next dispute starts the count again.
    tx.connection.run("UPDATE feedback SET settled = ? WHERE listing_id = ?", True, item.listing_id)
    store.uphold(tx, item)
    _change(tx, item, State.LISTED, ChangeReason.REINSTATED, Level.UNVERIFIED)


def _uphold(tx: Transaction, proposal: Proposal) -> None:
    item = _item(tx.connection, proposal.subject)
    if item.state is not State.LISTED or not item.asked_because:
        raise ProposalError("nobody asks for a review of this listing")
    store.uphold(tx, item)


def _remove(tx: Transaction, proposal: Proposal) -> None:
    item = _item(tx.connection, proposal.subject)
    if item.state in FINAL_STATES:
        raise ProposalError(f"the item is {item.state} already")
    if item.listing_id is None:
        store.set_state(tx, item, State.REMOVED)
    else:
        _change(tx, item, State.REMOVED, ChangeReason.CORRECTION)
    store.erase(tx, item)


def _pause_intake(tx: Transaction, _proposal: Proposal) -> None:
    store.set_switch(tx, store.INTAKE_PAUSED, is_on=True)


def _resume_intake(tx: Transaction, _proposal: Proposal) -> None:
    store.set_switch(tx, store.INTAKE_PAUSED, is_on=False)


def _incident(proposal: Proposal) -> str:
    return f"incident {proposal.subject.partition('-')[0]}"


def _suspend_since(tx: Transaction, proposal: Proposal) -> None:
    start, stop = _stretch(proposal.subject)
    levels = "" if proposal.kind is Kind.SUSPEND_ALL_SINCE else " AND i.level = 'unverified'"
    items = store.items_where(
        tx.connection,
        f"WHERE i.listing_id IS NOT NULL AND i.state = 'listed'{levels}"
        " AND i.listed_at >= ? AND i.listed_at <= ? ORDER BY i.listing_id LIMIT ?",
        start,
        stop,
        AT_ONCE + 1,
    )
    if len(items) > AT_ONCE:
        raise ProposalError(f"more than {AT_ONCE} arrived then: take shorter stretches")
    for item in items:
        _change_suspended(tx, item, _incident(proposal))


def _change_suspended(tx: Transaction, item: StoredItem, because: str) -> None:
    _change(tx, item, State.SUSPENDED, ChangeReason.ABUSE)
    store.note_suspension(tx, item, because)


def _reinstate_since(tx: Transaction, proposal: Proposal) -> None:
    for item in store.items_where(
        tx.connection,
        "WHERE i.state = 'suspended' AND i.suspended_because = ? ORDER BY i.listing_id LIMIT ?",
        _incident(proposal),
        AT_ONCE,
    ):
        store.clear_suspension(tx, item)
        _change(tx, item, State.LISTED, ChangeReason.REINSTATED)


def _partner_scope(tx: Transaction, proposal: Proposal) -> None:
    _check_partner(tx, proposal.kind, proposal.subject, proposal.terms)
    partners.set_feed_scope(tx, proposal.subject, Scope.from_text(proposal.terms))


def _issue_key(tx: Transaction, proposal: Proposal) -> str:
    _check_partner(tx, proposal.kind, proposal.subject, proposal.terms)
    return exchange_keys.allow(tx, proposal.subject, proposal.terms)


def _replace_key(tx: Transaction, proposal: Proposal) -> str:
    _check_partner(tx, proposal.kind, proposal.subject, proposal.terms)
    partner_id, scope = exchange_keys.live(tx.connection, proposal.subject, tx.now)
    return exchange_keys.allow(tx, partner_id, scope, replaces=proposal.subject)


ON_ITEMS: Final = frozenset({Kind.RELEASE, Kind.REINSTATE, Kind.UPHOLD, Kind.REMOVE})
ON_STRETCHES: Final = frozenset({Kind.SUSPEND_SINCE, Kind.SUSPEND_ALL_SINCE, Kind.REINSTATE_SINCE})
ON_PARTNERS: Final = frozenset({Kind.PARTNER_SCOPE, Kind.ISSUE_KEY, Kind.REPLACE_KEY})
_WORDS: Final[Mapping[Kind, str]] = {
    Kind.RELEASE: "List item",
    Kind.REINSTATE: "Reinstate item",
    Kind.UPHOLD: "Stand by, and go on matching, item",
    Kind.REMOVE: "Remove, for good, item",
    Kind.PAUSE_INTAKE: "Pause intake",
    Kind.RESUME_INTAKE: "Take cases again",
    Kind.SUSPEND_SINCE: "Suspend what arrived, and nobody confirmed,",
    Kind.SUSPEND_ALL_SINCE: "Suspend everything that arrived",
    Kind.REINSTATE_SINCE: "Reinstate what was suspended for its arrival",
    Kind.PARTNER_SCOPE: "Change what of the list goes to",
    Kind.ISSUE_KEY: "Give a key to",
    Kind.REPLACE_KEY: "Replace, within a week of its being collected, key",
}
_CARRY_OUT: Final[Mapping[Kind, Callable[[Transaction, Proposal], str | None]]] = {
    Kind.RELEASE: _release,
    Kind.REINSTATE: _reinstate,
    Kind.UPHOLD: _uphold,
    Kind.REMOVE: _remove,
    Kind.PAUSE_INTAKE: _pause_intake,
    Kind.RESUME_INTAKE: _resume_intake,
    Kind.SUSPEND_SINCE: _suspend_since,
    Kind.SUSPEND_ALL_SINCE: _suspend_since,
    Kind.REINSTATE_SINCE: _reinstate_since,
    Kind.PARTNER_SCOPE: _partner_scope,
    Kind.ISSUE_KEY: _issue_key,
    Kind.REPLACE_KEY: _replace_key,
}
