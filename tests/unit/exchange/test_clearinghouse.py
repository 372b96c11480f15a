"""The same addresses over the clearinghouse's own database, routes, writer and keys."""

import threading
import time
from random import Random

import pytest
from click.testing import CliRunner

from tests.unit.clearinghouse.conftest import (
    URL,
    Running,
    admitted,
    empty_database,
    pdq,
    picture,
    postgres,
    receipt,
    running,
    settings,
    until,
)
from tests.unit.clearinghouse.postgres import cluster
from tests.unit.exchange.test_ncmec import valid
from unspread.clearinghouse import exchange_keys, housekeeping, partners, store
from unspread.clearinghouse.commands import clearinghouse as clearinghouse_command
from unspread.clearinghouse.exchange_keys import Programme, member_number
from unspread.clearinghouse.exchange_source import DatabaseListings
from unspread.clearinghouse.rules import assess
from unspread.clearinghouse.settings import Settings
from unspread.exchange import ncmec, stopncii
from unspread.exchange.listings import Member, Scope
from unspread.exchange.threatexchange import app_id
from unspread.model import Age, Fingerprint, Kind, Media, MediaFingerprint, Part, Reason
from unspread.testing.exchange import Credentials

__all__ = ["empty_database", "postgres", "settings"]


class Clock:
    def __init__(self) -> None:
        # Proofs of work are dated by the real clock; from here on it is the test's.
        self.at = float(int(time.time()))

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(settings, clock):
    with running(settings, clock) as started:
        yield started


def pass_time(house: Running, clock: Clock, seconds: float) -> None:
    """Let time pass. A transaction from before, as the publisher's, may hold the list back."""
    clock.at += seconds
    until(lambda: house.service.settled_second() >= int(clock.at) - 1)


def legacy(house: Running, name: str, scope: Scope | None = None, rights: str = "") -> Credentials:
    """A partner without keys of its own, and one key of each sort."""

    def job(tx):
        scopes = frozenset({"feed", "feedback", *rights.split()})
        invitation = partners.invite(tx, name, role="platform", scopes=scopes, by="A")
        partner_id = invitation.partition(".")[0]
        given = scope or Scope(may_submit=True, windows=True)
        issued = {
            each.label: each.secret
            for programme in (Programme.NCMEC, Programme.STOPNCII, Programme.THREATEXCHANGE)
            for each in exchange_keys.issue(tx, partner_id, programme, given, by=("A", "B"))
        }
        return partner_id, issued

    partner_id, issued = house.service.writer.submit(job).result()
    number = member_number(partner_id)
    return Credentials(
        user=partner_id,
        member=Member(number, name),
        password=issued["password"],
        fetch_key=issued["fetch_function_key"],
        feedback_key=issued.get("feedback function key", ""),
        submit_key=issued.get("submit function key", ""),
        subscription_key=issued["subscription_key"],
        token=f"{app_id(number)}|{issued['access_token']}",
    )


def windowed(seed: int, windows: int) -> MediaFingerprint:
    whole = picture(seed)
    parts = tuple(
        Fingerprint(Kind.PDQ, pdq(10_000 + seed * 100 + number), Part.WINDOW, 100)
        for number in range(windows)
    )
    return MediaFingerprint(whole.media, (*whole.fingerprints, *parts))


def entries(house: Running, who: Credentials, clock: Clock, **params: str) -> str:
    query = {"to": ncmec.time_text(int(clock.at) - 5), **params}
    answer = house.request(
        "GET", "/exchange/ncmec/v2/entries", params=query, auth=(who.user, who.password)
    )
    assert answer.status_code == 200, answer.text
    valid(answer.content)
    return answer.text


def hashes(house: Running, who: Credentials, start: int = 10) -> dict:
    answer = house.request(
        "GET",
        "/exchange/stopncii/v1/FetchHashes",
        params={"startTimestamp": start},
        headers=dict(stopncii.keys(who.fetch_key, who.subscription_key)),
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_submission_appears_in_each_programme_and_a_withdrawal_ends_it_in_each(house, clock):
    acme = legacy(house, "Acme")
    mine = receipt(1)
    assert house.submit(mine, [windowed(1, 2)]).status_code == 201
    pass_time(house, clock, 10)
    page = hashes(house, acme)
    assert [each["hashStatus"] for each in page["hashRecords"]] == ["Active"] * 3
    assert entries(house, acme, clock).count("<image>") == 3
    updates = "/exchange/threatexchange/1/threat_updates/"
    told = house.request("GET", updates, params={"access_token": acme.token}).json()["data"]
    assert [each["type"] for each in told] == ["HASH_PDQ"] * 3 + ["HASH_MD5"]

    since = told[0]["last_updated"]
    assert house.withdraw(mine, 0).status_code == 200
    pass_time(house, clock, 10)
    gone = hashes(house, acme, page["nextSetTimestamp"])["hashRecords"]
    assert {each["hashValue"] for each in gone} == {
        each["hashValue"] for each in page["hashRecords"]
    }
    assert {each["hashStatus"] for each in gone} == {"Withdrawn"}
    text = entries(house, acme, clock)
    assert text.count("<deletedImage>") == 3
    assert "<pdq>" not in text
    params = {"access_token": acme.token, "start_time": since}
    told = house.request("GET", updates, params=params).json()["data"]
    assert [each["should_delete"] for each in told] == [True] * 4


def test_a_withdrawn_value_is_kept_for_thirty_days_at_most(house, clock):
    acme = legacy(house, "Acme")
    mine = receipt(2)
    house.submit(mine, [picture(2)])
    pass_time(house, clock, 10)
    start = hashes(house, acme)["nextSetTimestamp"]
    house.withdraw(mine, 0)
    pass_time(house, clock, 29 * 86_400)
    assert len(hashes(house, acme, start)["hashRecords"]) == 1
    pass_time(house, clock, 2 * 86_400)
    housekeeping.run_due(house.service.writer)
    assert hashes(house, acme, start)["hashRecords"] == []
    left = house.service.readers.ask_now(
        lambda connection: connection.rows(
            "SELECT (SELECT COUNT(*) FROM pending_tombstone),"
            " (SELECT COUNT(*) FROM exchange_value WHERE tag IS NOT NULL)"
        )
    )
    assert left == [(0, 0)]
    # The tombstone without a value stays.
    assert entries(house, acme, clock).count("<deletedImage>") == 1


def test_no_withdrawn_value_is_kept_where_nobody_speaks_such_a_programme(house, clock):
    mine = receipt(3)
    house.submit(mine, [picture(3)])
    house.withdraw(mine, 0)
    assert house.service.readers.ask_now(
        lambda connection: connection.rows("SELECT COUNT(*) FROM pending_tombstone")
    ) == [(0,)]


def test_votes_reach_the_level_and_the_persons_status(house, clock):
    acme, beta = legacy(house, "Acme"), legacy(house, "Beta")
    mine = receipt(4)
    house.submit(mine, [picture(4)])
    listing = house.status(mine).json()["items"][0]["listing_id"]
    vote = ncmec.vote_request(f"1-{listing}", Kind.PDQ, None)
    for _ in range(2):  # the same word twice counts once
        answer = house.request(
            "PUT",
            "/exchange/ncmec" + vote.path,
            content=vote.body,
            auth=(acme.user, acme.password),
        )
        assert answer.status_code == 200
    assert house.status(mine).json()["items"][0]["level"] == "confirmed"
    value = picture(4).fingerprints[0].value.hex()
    said = stopncii.feedback_request({value: ("Blocked", [])}, beta.feedback_key, "")
    answer = house.request(
        "POST",
        "/exchange/stopncii/v1/SubmitFeedback",
        content=said.body,
        headers=dict(stopncii.keys(beta.feedback_key, beta.subscription_key)),
    )
    assert answer.json() == {"count": 1}
    item = house.status(mine).json()["items"][0]
    assert item["level"] == "corroborated"
    assert {each["name"] for each in item["platforms"] if each.get("removed_at")} == {
        "Acme",
        "Beta",
    }
    pass_time(house, clock, 10)
    text = entries(house, acme, clock)
    assert "<classification>corroborated</classification>" in text
    assert text.count("<affirmativeFeedback ") == 1
    # A partner may think again, and again.
    no = ncmec.vote_request(f"1-{listing}", Kind.PDQ, ncmec.REASON_IDS[Reason.NOT_INTIMATE])
    house.request(
        "PUT", "/exchange/ncmec" + no.path, content=no.body, auth=(acme.user, acme.password)
    )
    assert house.status(mine).json()["items"][0]["level"] == "disputed"
    house.request(
        "PUT", "/exchange/ncmec" + vote.path, content=vote.body, auth=(acme.user, acme.password)
    )
    assert house.status(mine).json()["items"][0]["level"] == "corroborated"


def test_a_partners_submission_is_listed_unverified_if_it_may_submit(house, clock):
    allowed, other = legacy(house, "Acme", rights="submit"), legacy(house, "Beta")
    value = pdq(77).hex()
    body = {"hashRecords": [{"signalType": "ImagePDQ", "hashValue": value, "CSPFeedbacks": []}]}

    def submit(who: Credentials):
        headers = dict(stopncii.keys(who.submit_key, who.subscription_key))
        path = "/exchange/stopncii/v1/SubmitHashes"
        return house.request("POST", path, json=body, headers=headers)

    assert submit(other).status_code == 403
    assert submit(allowed).json() == {"count": 1}
    pass_time(house, clock, 10)
    [record] = hashes(house, allowed)["hashRecords"]
    assert (record["hashValue"], record["CSPFeedbacks"][0]["tags"]) == (value, ["unverified"])


def test_pages_come_in_the_order_of_changes_and_miss_nothing(house, clock):
    acme = legacy(house, "Acme")
    random = Random(5)
    for number in range(30):
        house.submit(receipt(100 + number), [picture(100 + number)])
        clock.at += random.choice([0, 0, 1])
    for number in random.sample(range(30), 10):
        house.withdraw(receipt(100 + number), 0)
    pass_time(house, clock, 10)
    source = DatabaseListings(house.service)
    settled = source.settled()
    everything = source.rows(
        stamped_after=0, stamped_until=settled.at, after_revision=-1, limit=1000
    )
    assert [row.revision for row in everything] == sorted(row.revision for row in everything)
    assert len(everything) == 30
    place, paged = -1, []
    while page := source.rows(
        stamped_after=0, stamped_until=settled.at, after_revision=place, limit=4
    ):
        paged += page
        place = page[-1].revision
    assert paged == everything
    for row in everything:
        later = source.rows(
            stamped_after=row.changed_at - 1,
            stamped_until=row.changed_at,
            after_revision=row.revision - 1,
            limit=1,
        )
        assert later == [row]
    assert entries(house, acme, clock, size="7").count("<image>") <= 7
    # The later of the two places counts.
    last = everything[-1]
    assert last in source.rows(
        stamped_after=last.changed_at - 1,
        stamped_until=last.changed_at,
        after_revision=everything[0].revision,
        limit=1000,
    )
    assert everything[1] not in source.rows(
        stamped_after=last.changed_at - 1,
        stamped_until=last.changed_at,
        after_revision=everything[0].revision,
        limit=1000,
    )


def test_values_whose_tags_are_equal_are_told_apart(house, clock, monkeypatch):
    monkeypatch.setattr(DatabaseListings, "_tag", lambda _self, _value: 7)
    acme = legacy(house, "Acme")
    for number in (401, 402):
        house.submit(receipt(number), [picture(number)])
    pass_time(house, clock, 10)
    since = hashes(house, acme)["nextSetTimestamp"]
    house.withdraw(receipt(401), 0)
    pass_time(house, clock, 10)
    [gone] = hashes(house, acme, since)["hashRecords"]
    assert gone["hashValue"] == picture(401).fingerprints[0].value.hex()
    assert gone["hashStatus"] == "Withdrawn"
    assert hashes(house, acme)["count"] == 1


def test_a_first_question_to_a_large_list_is_answered_later_and_then_in_full(
    house, clock, monkeypatch
):
    acme = legacy(house, "Acme")
    for number in range(12):
        house.submit(receipt(200 + number), [picture(200 + number)])
    pass_time(house, clock, 10)
    monkeypatch.setattr("unspread.clearinghouse.exchange_source.CATCH_UP_AT_ONCE", 5)
    monkeypatch.setattr("unspread.clearinghouse.exchange_source.CATCH_UP_SECONDS", -1)
    # Each try goes on a bit; the route tries for three seconds.
    assert hashes(house, acme)["count"] == 12


def test_a_large_list_is_prepared_at_the_start_and_the_first_question_need_not_wait(
    settings, clock, monkeypatch
):
    def prepared(house: Running) -> int:
        return house.service.readers.ask_now(
            lambda connection: connection.rows(
                "SELECT COUNT(DISTINCT listing_id) FROM exchange_value"
            )
        )[0][0]

    monkeypatch.setattr("unspread.clearinghouse.exchange_source.CATCH_UP_AT_ONCE", 5)
    monkeypatch.setattr("unspread.clearinghouse.exchange_source.CATCH_UP_SECONDS", -1)
    monkeypatch.setattr("unspread.clearinghouse.exchange_api.SETTLE_WAIT_SECONDS", 0)
    with running(settings, clock) as house:
        for number in range(12):
            house.submit(receipt(200 + number), [picture(200 + number)])
        # Nobody has a key.
        assert not any(chore() for chore in house.service.chores)
        assert prepared(house) == 0
        acme = legacy(house, "Acme")
    clock.at += 10
    with running(settings, clock) as house:
        until(lambda: prepared(house) == 12)
        assert hashes(house, acme)["count"] == 12


def test_what_is_settled_stays_settled(house, clock, monkeypatch):
    """The writer is busy a moment before it notes since when; answers must not go back."""
    clock.at += 10
    until(lambda: house.service.settled_second() == int(clock.at) - 1)
    house.service._writing_since = 0
    monkeypatch.setattr(house.service.writer, "is_busy", True)
    assert house.service.settled_second() == int(clock.at) - 1


def test_a_slow_commit_is_not_stepped_over(house, clock, monkeypatch):
    """Stamped in one second, visible ten seconds later: a client must not have gone past it."""
    monkeypatch.setattr("unspread.clearinghouse.exchange_api.SETTLE_WAIT_SECONDS", 0)
    acme = legacy(house, "Acme")
    house.submit(receipt(300), [picture(300)])
    pass_time(house, clock, 10)
    hashes(house, acme)  # the table of values is filled, so that reading needs no writer
    begun, go_on = threading.Event(), threading.Event()

    def slow(tx):
        begun.set()
        assert go_on.wait(60)
        judged = assess([picture(301).fingerprints], lambda _: None)
        mine = receipt(301)
        item = store.NewItem(mine.item_key(0).public, mine.item_salt(0), Media.IMAGE, judged[0])
        key = mine.case_key().public
        store.submit(tx, store.NewCase(key, key, Age.ADULT, (item,)))

    commit = house.service.writer.submit(slow)
    assert begun.wait(60)
    try:
        stamped_at = int(clock.at)
        clock.at += 10
        path, auth = "/exchange/ncmec/v2/entries", (acme.user, acme.password)
        query = {"to": ncmec.time_text(int(clock.at) - 5)}
        refused = house.request("GET", path, params=query, auth=auth)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        updates = "/exchange/threatexchange/1/threat_updates/"
        token = {"access_token": acme.token}
        assert house.request("GET", updates, params=token).status_code == 503
        # What is before it can be told meanwhile, and a client of StopNCII's is held before it.
        assert hashes(house, acme)["nextSetTimestamp"] == stamped_at
    finally:
        go_on.set()
    commit.result()
    told = house.request("GET", path, params=query, auth=auth)
    assert told.text.count("<image>") == 2
    assert ncmec.time_text(stamped_at) in told.text


def test_keys_are_rotated_with_an_overlap_and_revoked_at_once(house, clock):
    acme = legacy(house, "Acme")
    write = house.service.writer.submit

    def status(password: str) -> int:
        path = "/exchange/ncmec/v2/status"
        return house.request("GET", path, auth=(acme.user, password)).status_code

    old = house.service.readers.ask_now(exchange_keys.keys_of)
    [record] = [
        each for each in old if each.scope.startswith("ncmec:") and each.partner_id == acme.user
    ]
    new = write(
        lambda tx: exchange_keys.rotate(tx, record.key_id, overlap_seconds=60, by="A")
    ).result()
    assert (status(acme.password), status(new.secret)) == (200, 200)
    clock.at += 60
    assert (status(acme.password), status(new.secret)) == (401, 200)
    write(lambda tx: exchange_keys.revoke(tx, new.key_id, by="A")).result()
    assert status(new.secret) == 401
    with pytest.raises(exchange_keys.UnknownKeyError):
        write(lambda tx: exchange_keys.revoke(tx, new.key_id, by="A")).result()
    # Suspending a partner ends all of its keys.
    write(lambda tx: partners.suspend(tx, acme.user, by="A", reason="left")).result()
    headers = dict(stopncii.keys(acme.fetch_key, acme.subscription_key))
    answer = house.request("GET", "/exchange/stopncii/v1/FetchHashes", headers=headers)
    assert answer.status_code == 401


def test_a_partner_without_keys_of_its_own_needs_two_who_say_yes(house):
    write = house.service.writer.submit
    invitation = write(
        lambda tx: partners.invite(tx, "Old", role="platform", scopes=frozenset({"feed"}), by="A")
    ).result()
    partner_id = invitation.partition(".")[0]
    for by in ((), ("A",), ("A", "A"), ("A", " ")):
        with pytest.raises(partners.PartnerStateError):
            write(
                lambda tx, by=by: exchange_keys.issue(
                    tx, partner_id, Programme.NCMEC, Scope(), by=by
                )
            ).result()
    # It may not vote: its scope says so, whatever the key says.
    [key] = write(
        lambda tx: exchange_keys.issue(tx, partner_id, Programme.NCMEC, Scope(), by=("A", "B"))
    ).result()
    vote = ncmec.vote_request("1-0", Kind.PDQ, None)
    answer = house.request(
        "PUT", "/exchange/ncmec" + vote.path, content=vote.body, auth=(partner_id, key.secret)
    )
    assert answer.status_code == 403


def test_calls_are_noted_in_a_file_that_names_no_value(house, clock):
    acme = legacy(house, "Acme")
    house.submit(receipt(6), [picture(6)])
    pass_time(house, clock, 10)
    entries(house, acme, clock)
    [file] = (house.service.settings.data / "audit").iterdir()
    assert '"operation": "entries", "status": 200, "records": 1' in file.read_text()
    assert picture(6).fingerprints[0].value.hex() not in file.read_text()
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_platform_with_keys_of_its_own_may_have_old_ones_too(house):
    platform = admitted(house)
    [key] = house.service.writer.submit(
        lambda tx: exchange_keys.issue(tx, platform.partner_id, Programme.NCMEC, Scope(), by=("A",))
    ).result()
    answer = house.request(
        "GET", "/exchange/ncmec/v2/members", auth=(platform.partner_id, key.secret)
    )
    assert "Sample board" in answer.text


def test_staff_issue_list_rotate_and_revoke_keys_by_command(settings):
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(clearinghouse_command, [*arguments, *place])
        assert result.exit_code == 0, result.output
        return result.output

    place = ("--data", str(settings.data), "--database", settings.database_url)
    invitation = run("partner", "invite", "Old platform").strip()
    partner_id = invitation.partition(".")[0]
    staff = ("--by", "Ada", "--by", "Bo")
    told = run("partner", "key", "issue", partner_id, "threatexchange", *staff)
    label, token, key_id = told.strip().split("\t")
    assert label == "access_token"
    assert token.startswith(f"{app_id(member_number(partner_id))}|unsp_")
    scope = ("--scope", "read ages=minor")
    told = run("partner", "key", "issue", partner_id, "stopncii", *staff, *scope)
    labels = [line.split("\t")[0] for line in told.splitlines()]
    assert labels == ["fetch_function_key", "subscription_key"]
    replaced = run("partner", "key", "rotate", key_id).split("\t")[2].strip()
    assert run("partner", "key", "revoke", replaced).strip() == "revoked"
    listed = [line.split("\t") for line in run("partner", "key", "list").splitlines()]
    scopes = [each[2] for each in listed]
    assert "stopncii:read ages=minor" in scopes
    assert scopes.count("threatexchange:read feedback") == 2
    assert {each[0] for each in listed if each[4]} == {key_id, replaced}
    assert all("unsp_" not in " ".join(each) for each in listed)


def test_the_same_holds_over_postgresql(tmp_path, clock):
    with cluster() as url:
        made = Settings(data=tmp_path / "data", url=URL, training=True, database_url=url)
        with running(made, clock) as house:
            test_a_submission_appears_in_each_programme_and_a_withdrawal_ends_it_in_each(
                house, clock
            )
            test_votes_reach_the_level_and_the_persons_status(house, clock)
            test_keys_are_rotated_with_an_overlap_and_revoked_at_once(house, clock)
            clock.at += 31 * 86_400
            housekeeping.run_due(house.service.writer)
            source = DatabaseListings(house.service)
            everything = source.rows(
                stamped_after=0, stamped_until=int(clock.at), after_revision=-1, limit=9
            )
            for place, row in enumerate(everything):
                rest = source.rows(
                    stamped_after=0,
                    stamped_until=int(clock.at),
                    after_revision=row.revision,
                    limit=9,
                )
                assert rest == everything[place + 1 :]
            keys = house.service.readers.ask_now(exchange_keys.keys_of)
            assert {each.partner_id for each in keys} >= {"acme", "beta"}
