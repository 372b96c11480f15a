"""What of the list a partner gets, and its static keys: proposed by one, decided by another."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import pytest

from unspread.clearinghouse import exchange_keys, housekeeping, partners, store
from unspread.clearinghouse.audit import trail
from unspread.clearinghouse.exchange_keys import COLLECT_SECONDS, OVERLAP_SECONDS, Programme
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.staff import members, proposals
from unspread.clearinghouse.staff.members import Member, NotAllowedError, Role
from unspread.clearinghouse.staff.proposals import Kind
from unspread.errors import InputError, StateError
from unspread.exchange.listings import Scope
from unspread.feed.sealing import Scope as FeedScope

from .conftest import Platform, Running, admitted, running
from .test_publishing import Clock

T = TypeVar("T")
OLGA = Member(1, "Olga", Role.ONBOARDING, is_active=True)
OSKAR = Member(2, "Oskar", Role.ONBOARDING, is_active=True)
PUBLIC = FeedScope.from_words(["public"], ["DE"], ["confirmed"]).to_text()
NCMEC = "ncmec:read feedback"


def write(at: Running, job: Callable[[store.Transaction], T]) -> T:
    return at.service.writer.submit(job).result()


def proposed(at: Running, kind: Kind, subject: str, terms: str = "") -> int:
    return write(at, lambda tx: proposals.propose(tx, OLGA, kind, subject, "because", terms))


def done(at: Running, kind: Kind, subject: str, terms: str = "") -> str:
    number = proposed(at, kind, subject, terms)
    return write(at, lambda tx: proposals.decide(tx, OSKAR, number, is_yes=True))


def opens(at: Running, secret: str) -> str:
    """What a key opens now; empty: nothing."""
    rows = at.service.readers.ask_now(
        lambda c: c.rows(
            "SELECT scope, revoked_at FROM partner_key WHERE key_digest = ?",
            exchange_keys.secret_digest(secret),
        )
    )
    return "" if not rows or 0 < rows[0][1] <= at.service.clock() else str(rows[0][0])


def collect(at: Running, code: str) -> list[exchange_keys.IssuedKey]:
    return write(at, lambda tx: exchange_keys.collect(tx, code))[2]


def acts(at: Running) -> list[tuple[str, str]]:
    return [(e.actor, e.action) for e in at.service.readers.ask_now(lambda c: list(trail(c)))]


def scope_of(at: Running, platform: Platform) -> str:
    return at.service.readers.ask_now(
        lambda c: partners.partner(c, platform.partner_id)
    ).feed_scope.to_text()


def test_a_scope_is_changed_by_two(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    number = proposed(clearinghouse, Kind.PARTNER_SCOPE, platform.partner_id, PUBLIC)
    before = scope_of(clearinghouse, platform)
    with pytest.raises(NotAllowedError):
        write(clearinghouse, lambda tx: proposals.decide(tx, OLGA, number, is_yes=True))
    assert scope_of(clearinghouse, platform) == before
    write(clearinghouse, lambda tx: proposals.decide(tx, OSKAR, number, is_yes=True))
    assert scope_of(clearinghouse, platform) == PUBLIC
    last = clearinghouse.service.readers.ask_now(lambda c: list(trail(c)))[-1]
    assert (last.actor, last.action, last.subject) == (
        "Oskar",
        "approve.partner_scope",
        platform.partner_id,
    )
    assert PUBLIC in last.detail


def test_a_declined_scope_changes_nothing(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    number = proposed(clearinghouse, Kind.PARTNER_SCOPE, platform.partner_id, PUBLIC)
    before = scope_of(clearinghouse, platform)
    write(clearinghouse, lambda tx: proposals.decide(tx, OSKAR, number, is_yes=False))
    assert scope_of(clearinghouse, platform) == before


def test_a_key_is_seen_by_its_partner_alone_and_stored_nowhere(
    settings: Settings, clearinghouse: Running
) -> None:
    platform = admitted(clearinghouse)
    code = done(clearinghouse, Kind.ISSUE_KEY, platform.partner_id, NCMEC)
    keys = clearinghouse.service.readers.ask_now(exchange_keys.keys_of)
    assert keys == [], "nothing opens anything before it is collected"
    page = clearinghouse.request("POST", "/keys", data={"code": f" {code}\n"})
    assert page.status_code == 200
    assert "set-cookie" not in page.headers
    assert page.headers["cache-control"] == "no-store"
    secret = page.text.partition("<code>unsp_")[2].partition("</code>")[0]
    assert opens(clearinghouse, f"unsp_{secret}") == NCMEC
    assert f"<code>{platform.partner_id}</code>" in page.text  # the user name
    again = clearinghouse.request("POST", "/keys", data={"code": code})
    assert (again.status_code, "unsp_" in again.text) == (400, False)
    assert acts(clearinghouse)[-3:] == [
        ("Olga", "propose.issue_key"),
        ("Oskar", "approve.issue_key"),
        (platform.partner_id, "key.issue"),
    ]
    for path in settings.data.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert secret.encode() not in held, path
            assert code.partition(".")[2].encode() not in held, path


@pytest.mark.parametrize(
    ("terms", "labels"),
    [
        ("ncmec:read", ["password"]),
        ("threatexchange:read feedback", ["access_token"]),
        ("stopncii:read", ["fetch_function_key", "subscription_key"]),
        (
            "stopncii:read feedback levels=confirmed",
            ["fetch_function_key", "feedback function key", "subscription_key"],
        ),
    ],
)
def test_each_programme_gets_the_keys_that_its_clients_want(
    clearinghouse: Running, terms: str, labels: list[str]
) -> None:
    platform = admitted(clearinghouse)
    code = done(clearinghouse, Kind.ISSUE_KEY, platform.partner_id, terms)
    assert [each.label for each in collect(clearinghouse, code)] == labels


def test_a_key_is_replaced_with_an_overlap(settings: Settings) -> None:
    clock = Clock()
    with running(settings, clock) as at:
        platform = admitted(at)
        code = done(at, Kind.ISSUE_KEY, platform.partner_id, "stopncii:read")
        old, subscription = collect(at, code)
        code = done(at, Kind.REPLACE_KEY, old.key_id)
        assert opens(at, old.secret)
        (new,) = collect(at, code)
        assert opens(at, new.secret) == opens(at, old.secret) == "stopncii:read"
        clock.ahead = OVERLAP_SECONDS + 1
        assert opens(at, new.secret)
        assert opens(at, subscription.secret)
        assert not opens(at, old.secret)
        with pytest.raises(exchange_keys.UnknownKeyError):
            proposed(at, Kind.REPLACE_KEY, old.key_id)


def test_a_code_serves_for_a_week(settings: Settings) -> None:
    clock = Clock()
    with running(settings, clock) as at:
        platform = admitted(at)
        codes = [
            done(at, Kind.ISSUE_KEY, platform.partner_id, terms) for terms in (NCMEC, "ncmec:read")
        ]
        clock.ahead = COLLECT_SECONDS - 60
        assert collect(at, codes[0])
        clock.ahead = COLLECT_SECONDS + 60
        with pytest.raises(exchange_keys.UnknownKeyError):
            collect(at, codes[1])
        housekeeping.run_due(at.service.writer)
        kept = at.service.readers.ask_now(lambda c: c.rows("SELECT partner_id FROM key_grant"))
        assert not kept


def test_a_code_that_can_be_used_is_kept(clearinghouse: Running) -> None:
    code = done(clearinghouse, Kind.ISSUE_KEY, admitted(clearinghouse).partner_id, NCMEC)
    housekeeping.run_due(clearinghouse.service.writer)
    assert collect(clearinghouse, code)


def test_a_suspended_partner_collects_nothing(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    code = done(clearinghouse, Kind.ISSUE_KEY, platform.partner_id, NCMEC)
    waiting = proposed(clearinghouse, Kind.ISSUE_KEY, platform.partner_id, "ncmec:read")
    write(
        clearinghouse,
        lambda tx: partners.suspend(tx, platform.partner_id, by="Olga", reason="a leak"),
    )
    with pytest.raises(exchange_keys.UnknownKeyError):
        collect(clearinghouse, code)
    with pytest.raises(proposals.ProposalError, match="suspended"):
        write(clearinghouse, lambda tx: proposals.decide(tx, OSKAR, waiting, is_yes=True))
    with pytest.raises(proposals.ProposalError, match="suspended"):
        proposed(clearinghouse, Kind.PARTNER_SCOPE, platform.partner_id, PUBLIC)


@pytest.mark.parametrize(
    ("kind", "subject", "terms"),
    [
        pytest.param(Kind.PARTNER_SCOPE, "nobody", PUBLIC, id="no such partner"),
        pytest.param(Kind.PARTNER_SCOPE, "sample-board", "surfaces=moon", id="no such surface"),
        pytest.param(Kind.PARTNER_SCOPE, "sample-board", "", id="no scope"),
        pytest.param(Kind.ISSUE_KEY, "sample-board", "fax:read", id="no such programme"),
        pytest.param(Kind.ISSUE_KEY, "sample-board", "ncmec:", id="a key that opens nothing"),
        pytest.param(Kind.ISSUE_KEY, "sample-board", "ncmec:feedback read", id="not canonical"),
        pytest.param(Kind.ISSUE_KEY, "sample-board", "ncmec:read ages=old", id="no such age"),
        pytest.param(
            Kind.ISSUE_KEY, "sample-board", "stopncii-subscription:read", id="comes with others"
        ),
        pytest.param(Kind.REPLACE_KEY, "key-000000000000", "", id="no such key"),
        pytest.param(Kind.PAUSE_INTAKE, "", PUBLIC, id="terms where there are none"),
    ],
)
def test_proposals_that_are_refused(
    clearinghouse: Running, kind: Kind, subject: str, terms: str
) -> None:
    admitted(clearinghouse)
    who = Member(1, "Anna", Role.INTEGRITY, is_active=True) if kind is Kind.PAUSE_INTAKE else OLGA
    with pytest.raises(InputError):
        write(clearinghouse, lambda tx: proposals.propose(tx, who, kind, subject, "x", terms))


@pytest.mark.parametrize("role", [Role.INTEGRITY, Role.EDITOR, Role.AUDITOR])
def test_other_roles_neither_propose_nor_decide(clearinghouse: Running, role: Role) -> None:
    platform = admitted(clearinghouse)
    other = dataclasses.replace(OSKAR, role=role)
    number = proposed(clearinghouse, Kind.ISSUE_KEY, platform.partner_id, NCMEC)
    with pytest.raises(NotAllowedError):
        write(clearinghouse, lambda tx: proposals.decide(tx, other, number, is_yes=True))
    with pytest.raises(NotAllowedError):
        write(
            clearinghouse,
            lambda tx: proposals.propose(
                tx, other, Kind.PARTNER_SCOPE, platform.partner_id, "x", PUBLIC
            ),
        )


def test_the_command_line_serves_until_two_can_sign_in(clearinghouse: Running) -> None:
    partner_id = admitted(clearinghouse).partner_id
    scope = FeedScope.from_text(PUBLIC)
    ways: list[Callable[[store.Transaction], object]] = [
        lambda tx: partners.set_feed_scope_for(tx, partner_id, scope, by=("A", "B")),
        lambda tx: exchange_keys.issue(tx, partner_id, Programme.NCMEC, Scope(), by=("A", "B")),
        lambda tx: exchange_keys.rotate(
            tx, exchange_keys.keys_of(tx.connection)[0].key_id, overlap_seconds=60, by="A"
        ),
    ]
    for way in ways:
        write(clearinghouse, way)
    for name in ("Olga", "Oskar"):
        secret = write(
            clearinghouse,
            lambda tx, n=name: members.invite(tx, n, Role.ONBOARDING, by="command line"),
        )
        write(
            clearinghouse,
            lambda tx, s=secret, n=name: members.register(tx, s, n.encode(), b"key", 0),
        )
    for way in ways:
        with pytest.raises(StateError, match="at /staff/partners"):
            write(clearinghouse, way)


@pytest.mark.parametrize("code", ["", "sample-board.made-up", "x" * 5000, "\x00", "ünicode"])
def test_codes_that_open_nothing(clearinghouse: Running, code: str) -> None:
    admitted(clearinghouse)
    answer = clearinghouse.request("POST", "/keys", data={"code": code})
    assert answer.status_code == 400
    assert "ask for a new one" in answer.text


def test_the_form_for_a_code_is_there(clearinghouse: Running) -> None:
    page = clearinghouse.get("/keys")
    assert page.status_code == 200
    assert "set-cookie" not in page.headers
    assert 'name="code"' in page.text
