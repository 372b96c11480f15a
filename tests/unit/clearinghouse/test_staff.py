"""Four eyes, roles, the audit trail, what the public sees."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from unspread.clearinghouse import audit, store
from unspread.clearinghouse.database import connect
from unspread.clearinghouse.staff import figures, members, proposals
from unspread.clearinghouse.staff.members import Member, NotAllowedError, Role
from unspread.clearinghouse.staff.proposals import Kind
from unspread.clearinghouse.writer import DATABASE_ERRORS
from unspread.errors import InputError
from unspread.feed.reader import ListingAdded, ListingChanged
from unspread.feed.records import Authority
from unspread.model import State

from .conftest import Running, admitted, picture, receipt, until
from .test_case import follow

T = TypeVar("T")
ANNA = Member(1, "Anna", Role.INTEGRITY, is_active=True)
BEN = Member(2, "Ben", Role.INTEGRITY, is_active=True)


def write(at: Running, job: Callable[[store.Transaction], T]) -> T:
    return at.service.writer.submit(job).result()


def item_id(at: Running, number: int = 0) -> str:
    rows = at.service.readers.ask_now(lambda c: c.rows("SELECT id FROM item ORDER BY id"))
    return str(rows[number][0])


def done(at: Running, kind: Kind, subject: str) -> None:
    """Proposed by one, done by another."""
    number = write(at, lambda tx: proposals.propose(tx, ANNA, kind, subject, "because"))
    write(at, lambda tx: proposals.decide(tx, BEN, number, is_yes=True))


def states(at: Running) -> list[str]:
    rows = at.service.readers.ask_now(lambda c: c.rows("SELECT state FROM item ORDER BY id"))
    return [row[0] for row in rows]


def test_nobody_decides_on_their_own_proposal(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    subject = item_id(clearinghouse)
    number = write(
        clearinghouse, lambda tx: proposals.propose(tx, ANNA, Kind.REMOVE, subject, "court order")
    )
    with pytest.raises(NotAllowedError):
        write(clearinghouse, lambda tx: proposals.decide(tx, ANNA, number, is_yes=True))
    assert states(clearinghouse) == ["listed"]
    write(clearinghouse, lambda tx: proposals.decide(tx, BEN, number, is_yes=True))
    assert states(clearinghouse) == ["removed"]
    with pytest.raises(proposals.ProposalError):
        write(clearinghouse, lambda tx: proposals.decide(tx, BEN, number, is_yes=True))


@pytest.mark.parametrize("role", [Role.ONBOARDING, Role.EDITOR, Role.AUDITOR])
def test_other_roles_neither_propose_nor_decide(clearinghouse: Running, role: Role) -> None:
    other = Member(3, "Cleo", role, is_active=True)
    with pytest.raises(NotAllowedError):
        write(clearinghouse, lambda tx: proposals.propose(tx, other, Kind.PAUSE_INTAKE, "", "x"))
    number = write(
        clearinghouse, lambda tx: proposals.propose(tx, ANNA, Kind.PAUSE_INTAKE, "", "x")
    )
    with pytest.raises(NotAllowedError):
        write(clearinghouse, lambda tx: proposals.decide(tx, other, number, is_yes=True))


def test_a_released_item_is_listed_by_the_entry_that_was_promised(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    promised = clearinghouse.submit(receipt(), [picture(1, quality=10)]).json()["items"][0]
    assert promised["state"] == "held"
    done(clearinghouse, Kind.RELEASE, item_id(clearinghouse))
    (item,) = clearinghouse.status(receipt()).json()["items"]
    assert (item["state"], item["commitment"]) == ("listed", promised["commitment"])
    clearinghouse.until_published()
    until(lambda: clearinghouse.get(f"/feed/{platform.partner_id}/latest").is_success)
    (event,) = follow(clearinghouse, platform)
    assert isinstance(event, ListingAdded)


def test_a_removal_says_that_staff_did_it(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    done(clearinghouse, Kind.REMOVE, item_id(clearinghouse))
    read = clearinghouse.service.readers.ask_now
    until(lambda: not read(lambda c: c.rows("SELECT 1 FROM pending_erasure")))
    changes = [e for e in follow(clearinghouse, platform) if isinstance(e, ListingChanged)]
    assert [(each.state, each.authority) for each in changes] == [(State.REMOVED, Authority.STAFF)]


def test_a_reinstated_listing_needs_new_disputes_to_be_suspended(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    platforms = [admitted(clearinghouse, name) for name in ("One", "Two", "Three", "Four")]

    def dispute(number: int) -> None:
        told = (
            b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "disputed",'
            b' "reason": "other", "at": "2026-11-23T06:00:00Z"}]}'
            % clearinghouse.listing_id(receipt())
        )
        assert platforms[number].signed_post("/v1/feedback", told).is_success

    dispute(0)
    dispute(1)
    assert states(clearinghouse) == ["suspended"]
    done(clearinghouse, Kind.REINSTATE, item_id(clearinghouse))
    assert states(clearinghouse) == ["listed"]
    dispute(2)
    assert states(clearinghouse) == ["listed"]
    dispute(3)
    assert states(clearinghouse) == ["suspended"]


def test_an_old_copy_suspends_until_somebody_who_can_look_removes_one(
    clearinghouse: Running,
) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    platforms = [admitted(clearinghouse, name) for name in ("One", "Two", "Three")]
    said = itertools.count()

    def says(number: int, kind: str, **more: str) -> None:
        told = {
            "id": str(next(said)), "listing_id": clearinghouse.listing_id(receipt()), "kind": kind,
            "at": "2026-11-23T06:00:00Z", **more,
        }  # fmt: skip
        body = json.dumps({"feedback": [told]}).encode()
        assert platforms[number].signed_post("/v1/feedback", body).is_success

    def shown() -> tuple[str, str, list[str]]:
        (item,) = clearinghouse.status(receipt()).json()["items"]
        return item["state"], item["level"], item["reasons"]

    def asked() -> list[tuple[str, str]]:
        return clearinghouse.service.readers.ask_now(
            lambda c: [tuple(row) for row in c.rows("SELECT state, asked_because FROM item")]
        )

    says(0, "found", oldest_on="2015-01-01")
    assert shown() == ("suspended", "unverified", ["older_than_the_case"])
    says(1, "removed", oldest_on="2015-01-01")
    assert shown() == ("listed", "confirmed", [])
    assert asked() == [("listed", "older_than_the_case")]
    done(clearinghouse, Kind.UPHOLD, item_id(clearinghouse))
    assert asked() == [("listed", "")]
    # What they upheld keeps its level, is asked about again by new words, and not suspended.
    assert shown() == ("listed", "confirmed", [])
    says(0, "found", oldest_on="2014-01-01")
    assert asked() == [("listed", "older_than_the_case")]
    says(0, "disputed", reason="other")
    says(2, "disputed", reason="other")
    assert shown() == ("suspended", "disputed", ["two_disputes"])
    assert asked() == [("suspended", "")]
    says(1, "removed")
    assert shown()[0] == "suspended"
    with pytest.raises(proposals.ProposalError, match="nobody asks"):
        done(clearinghouse, Kind.UPHOLD, item_id(clearinghouse))


def test_what_staff_reinstated_no_age_suspends_again(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    platform = admitted(clearinghouse)

    def found(identifier: str) -> None:
        told = (
            b'{"feedback": [{"id": "%b", "listing_id": %d, "kind": "found",'
            b' "oldest_on": "2015-01-01", "at": "2026-11-23T06:00:00Z"}]}'
            % (identifier.encode(), clearinghouse.listing_id(receipt()))
        )
        assert platform.signed_post("/v1/feedback", told).is_success

    found("a")
    assert states(clearinghouse) == ["suspended"]
    done(clearinghouse, Kind.REINSTATE, item_id(clearinghouse))
    found("b")
    assert states(clearinghouse) == ["listed"]
    (row,) = clearinghouse.service.readers.ask_now(
        lambda c: c.rows("SELECT level, asked_because FROM item")
    )
    assert tuple(row) == ("unverified", "older_than_the_case")


def test_a_flood_is_suspended_and_taken_back(clearinghouse: Running) -> None:
    for number in range(3):
        clearinghouse.submit(receipt(number + 1), [picture(number)])
    now = int(time.time())
    done(clearinghouse, Kind.SUSPEND_SINCE, f"{now - 60}-{now + 60}")
    assert states(clearinghouse) == ["suspended"] * 3
    clearinghouse.withdraw(receipt(2), 0)
    done(clearinghouse, Kind.REINSTATE_SINCE, f"{now - 60}-{now + 60}")
    assert states(clearinghouse) == ["listed", "withdrawn", "listed"]


def test_the_whole_list_is_paused_and_goes_on_with_its_levels(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    for number in range(2):
        clearinghouse.submit(receipt(number + 1), [picture(number)])
    told = (
        b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "removed",'
        b' "at": "2026-11-23T06:00:00Z"}]}' % clearinghouse.listing_id(receipt(1))
    )
    assert platform.signed_post("/v1/feedback", told).is_success
    ever = f"0-{int(time.time()) + 60}"
    done(clearinghouse, Kind.SUSPEND_SINCE, ever)
    assert states(clearinghouse) == ["listed", "suspended"]
    done(clearinghouse, Kind.SUSPEND_ALL_SINCE, ever)
    assert states(clearinghouse) == ["suspended"] * 2
    done(clearinghouse, Kind.REINSTATE_SINCE, ever)
    assert states(clearinghouse) == ["listed"] * 2
    (item,) = clearinghouse.status(receipt(1)).json()["items"]
    assert item["level"] == "confirmed"


def test_too_much_at_once_is_refused(
    clearinghouse: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "AT_ONCE", 1)
    for number in range(2):
        clearinghouse.submit(receipt(number + 1), [picture(number)])
    with pytest.raises(proposals.ProposalError, match="shorter"):
        done(clearinghouse, Kind.SUSPEND_SINCE, f"0-{int(time.time()) + 60}")
    assert states(clearinghouse) == ["listed"] * 2


def test_paused_intake_says_so_and_withdrawal_goes_on(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(1), [picture(1)])
    done(clearinghouse, Kind.PAUSE_INTAKE, "")
    refused = clearinghouse.submit(receipt(2), [picture(2)])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "paused")
    assert clearinghouse.withdraw(receipt(1), 0).status_code == 200
    done(clearinghouse, Kind.RESUME_INTAKE, "")
    assert clearinghouse.submit(receipt(2), [picture(2)]).status_code == 201


@pytest.mark.parametrize(
    ("kind", "subject", "why"),
    [
        pytest.param(Kind.RELEASE, "99", "x", id="no such item"),
        pytest.param(Kind.RELEASE, "a", "x", id="not a number"),
        pytest.param(Kind.SUSPEND_SINCE, "5-1", "x", id="backwards"),
        pytest.param(Kind.PAUSE_INTAKE, "1", "x", id="a subject where there is none"),
        pytest.param(Kind.PAUSE_INTAKE, "", " ", id="without a reason"),
        pytest.param(Kind.PAUSE_INTAKE, "", "x" * 401, id="too long a reason"),
    ],
)
def test_proposals_that_are_refused(
    clearinghouse: Running, kind: Kind, subject: str, why: str
) -> None:
    with pytest.raises(InputError):
        write(clearinghouse, lambda tx: proposals.propose(tx, ANNA, kind, subject, why))


@pytest.mark.parametrize(
    "change", ["UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event"]
)
def test_the_audit_trail_is_only_appended_to(clearinghouse: Running, change: str) -> None:
    write(clearinghouse, lambda tx: members.invite(tx, "Anna", Role.AUDITOR, by="A"))
    database = connect(clearinghouse.service.settings)
    with pytest.raises(DATABASE_ERRORS, match="only appended"):
        database.run(change)
    database.close()


def test_a_trail_that_was_altered_behind_the_database_is_seen(clearinghouse: Running) -> None:
    for name in ("Anna", "Ben", "Cleo"):
        write(clearinghouse, lambda tx, n=name: members.invite(tx, n, Role.AUDITOR, by="A"))
    database = connect(clearinghouse.service.settings)
    database.run(
        "DROP TRIGGER audit_event_append_only ON audit_event"
        if clearinghouse.service.settings.database_url
        else "DROP TRIGGER audit_event_no_update"
    )
    database.run("UPDATE audit_event SET subject = 'x' WHERE id = 2")
    database.close()
    with pytest.raises(audit.BrokenTrailError):
        clearinghouse.service.readers.ask_now(lambda c: list(audit.trail(c)))


def test_an_invitation_of_staff_serves_once_and_for_a_day(clearinghouse: Running) -> None:
    secret = write(clearinghouse, lambda tx: members.invite(tx, "Anna", Role.AUDITOR, by="A"))
    ask = clearinghouse.service.readers.ask_now
    now = int(time.time())
    assert ask(lambda c: members.invited(c, secret, now)).name == "Anna"
    with pytest.raises(members.UnknownMemberError):
        ask(lambda c: members.invited(c, secret, now + members.INVITATION_SECONDS + 1))
    write(clearinghouse, lambda tx: members.register(tx, secret, b"id", b"key", 0))
    with pytest.raises(members.UnknownMemberError):
        ask(lambda c: members.invited(c, secret, now))
    write(clearinghouse, lambda tx: members.dismiss(tx, "Anna", by="A"))
    with pytest.raises(members.UnknownMemberError):
        ask(lambda c: members.credential(c, b"id"))


@pytest.mark.parametrize(
    "path", ["today", "partners", "review", "incident", "texts", "report", "trail"]
)
def test_every_screen_needs_a_passkey(clearinghouse: Running, path: str) -> None:
    answer = clearinghouse.get(f"/staff/{path}")
    assert (answer.status_code, answer.headers["location"]) == (302, "/staff/")
    assert clearinghouse.request("POST", f"/staff/{path}", data={"x": "y"}).status_code == 403


def test_a_person_gets_no_cookie(clearinghouse: Running) -> None:
    for path in (
        "/",
        "/en/",
        "/transparency",
        "/v1/about",
        "/log/checkpoint",
        "/staff/asset/console.css",
    ):
        assert "set-cookie" not in clearinghouse.get(path).headers


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (1, "fewer than 10"), (9, "fewer than 10"), (10, "10")]
)
def test_small_numbers_are_not_told_in_public(count: int, shown: str) -> None:
    assert figures.suppressed(count) == shown


def test_a_public_plot_does_not_tell_small_numbers_either() -> None:
    plot: Any = figures.bars([3, 0, 12], 20_000, "Cases", public=True)
    assert "fewer than 10" in plot
    assert ": 3<" not in plot
    heights = [part.split('"')[0] for part in plot.split('height="')[1:]]
    assert heights[:2] == ["0.0", "0.0"]


def test_how_fast_platforms_forget_is_public(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    clearinghouse.withdraw(receipt(), 0)
    size = clearinghouse.until_published()
    body = f'{{"size": {size}, "root": "{"00" * 32}"}}'.encode()
    assert platform.signed_post("/v1/acknowledge", body).is_success
    page = clearinghouse.get("/transparency")
    assert page.status_code == 200
    (row,) = clearinghouse.service.readers.ask_now(
        lambda c: figures.propagation(c, int(time.time()), 0)
    )
    assert (row.name, row.listings, row.open_after_a_day) == ("Sample board", 1, 0)
    assert "Sample board" in page.text


def test_a_withdrawal_that_a_platform_sits_on_is_counted(clearinghouse: Running) -> None:
    admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    clearinghouse.withdraw(receipt(), 0)
    (row,) = clearinghouse.service.readers.ask_now(
        lambda c: figures.propagation(c, int(time.time()) + 86_401, 0)
    )
    assert (row.listings, row.open_after_a_day) == (0, 1)


def test_a_helpline_vouches(clearinghouse: Running) -> None:
    helpline = admitted(clearinghouse, "A helpline", role="helpline", scopes=frozenset({"vouch"}))
    clearinghouse.submit(receipt(), [picture(1)])
    listed = clearinghouse.listing_id(receipt())
    wrong, right = (b'{"listing_ids": [%d%s]}' % (listed, more) for more in (b", 99", b""))
    assert helpline.signed_post("/v1/vouch", wrong).status_code == 404
    assert helpline.signed_post("/v1/vouch", right).is_success
    (item,) = clearinghouse.status(receipt()).json()["items"]
    assert item["level"] == "corroborated"
    assert [each["name"] for each in item["platforms"]] == []
