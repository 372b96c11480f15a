"""The published, unmodified client of StopNCII, and the `tx` command line, against our server."""

import os
import subprocess
import sys
import time as real_time

import httpx
import pytest
from threatexchange.exchanges.clients.stopncii import api as client
from threatexchange.exchanges.collab_config import CollaborationConfigBase
from threatexchange.exchanges.fetch_state import AggregateSignalOpinionCategory as Opinion
from threatexchange.exchanges.impl import stop_ncii_api
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

from tests.journeys.programmes import (
    Clock,
    Copy,
    House,
    active,
    fetch_while_the_list_changes,
    house,
    pdq,
)
from unspread.exchange import stopncii, transfer
from unspread.model import FeedbackKind, Kind, Level, Media
from unspread.testing.exchange import Credentials

pytestmark = pytest.mark.journey


@pytest.fixture
def home(monkeypatch):
    with house(monkeypatch) as opened:
        yield opened


def library(home: House, who: Credentials) -> client.StopNCIIAPI:
    return client.StopNCIIAPI(
        who.subscription_key,
        who.fetch_key,
        {
            client.StopNCIIEndpoint.SubmitFeedback: who.feedback_key,
            client.StopNCIIEndpoint.SubmitHashes: who.submit_key,
        },
        base_url_override=f"{home.url}/exchange/stopncii/v1",
    )


def copied(home: House, who: Credentials) -> Copy:
    collab = CollaborationConfigBase("list", "stop_ncii", True)
    return Copy(stop_ncii_api.StopNCIISignalExchangeAPI(collab, library(home, who)), collab)


def our_copy(home: House, who: Credentials, held: dict, cursor: str) -> str:
    """The same list as our own client keeps it; it honours withdrawals."""
    with httpx.Client(base_url=f"{home.url}/exchange/stopncii/v1", timeout=60) as http:
        fetch = stopncii.HashesFetch(
            stopncii.Cursor.from_text(cursor),
            now=int(home.clock()),
            function_key=who.fetch_key,
            subscription_key=who.subscription_key,
        )
        for page in transfer.follow(http, fetch):
            for record in page.records:
                if record.is_deleted:
                    held.pop(record.key, None)
                else:
                    held[record.key] = record
            cursor = page.cursor
    return cursor


def test_the_client_pages_through_20000_records_from_zero(home):
    home.pictures(12_000)
    home.clock.tick(3600)
    for _ in range(24):
        home.pictures(330)
        home.clock.tick(3600)
    for _ in range(80):
        home.video()
    home.clock.tick(60)
    copy = copied(home, home.partner("Acme"))
    copy.fetch()
    assert copy.told == 20_000
    signals = copy.signals()
    assert set(signals[PdqSignal]) == {pdq(each) for each in active(home.listings, Media.IMAGE)}
    assert len(signals[VideoMD5Signal]) == 80
    assert len(home.audit.calls) == 25
    assert all(call.status == 200 for call in home.audit.calls)


def test_two_clients_follow_a_list_that_changes_while_they_read(home):
    acme = home.partner("Acme")
    copy, ours, cursor = copied(home, acme), {}, ""

    def fetch() -> None:
        nonlocal cursor
        copy.fetch()
        cursor = our_copy(home, acme, ours, cursor)

    ever = fetch_while_the_list_changes(home, fetch, 800)
    truth = {pdq(each) for each in active(home.listings, Media.IMAGE)}
    assert {record.fingerprints[0].value.hex() for record in ours.values()} == truth
    # The released client misses nothing either, but forgets nothing (W1).
    assert truth <= set(copy.signals()[PdqSignal]) <= ever
    told = copy.told
    home.clock.tick(60)
    copy.fetch()
    assert copy.told == told


def test_no_record_ever_names_a_case(home):
    home.pictures(5)
    home.clock.tick(10)
    for page in library(home, home.partner("Acme")).fetch_hashes_iter():
        assert [record.caseNumbers for record in page.hashRecords] == [{}] * 5


def test_feedback_changes_the_level_and_what_other_members_see(home):
    acme, beta = home.partner("Acme"), home.partner("Beta")
    [good, bad] = home.pictures(2)
    for who in (acme, beta):
        library(home, who).submit_feedback(
            client.StopNCIISignalType.ImagePDQ,
            pdq(home.listing(good)),
            client.StopNCIICSPFeedbackValue.Blocked,
        )
    library(home, beta).submit_feedback(
        client.StopNCIISignalType.ImagePDQ,
        pdq(home.listing(bad)),
        client.StopNCIICSPFeedbackValue.NotBlocked,
        {"not_intimate"},
    )
    assert home.listing(good).level is Level.CORROBORATED
    assert home.listing(bad).level is Level.DISPUTED
    home.clock.tick(10)
    copy = copied(home, acme)
    copy.fetch()
    signals = copy.signals()[PdqSignal]
    seen = signals[pdq(home.listing(good))]
    assert seen.get_as_aggregate_opinion().category == Opinion.POSITIVE_CLASS
    assert "corroborated" in seen.get_as_aggregate_opinion().tags
    disputed = signals[pdq(home.listing(bad))].get_as_aggregate_opinion()
    assert disputed.category == Opinion.DISPUTED
    assert "not_intimate" in disputed.tags


def test_w1_the_released_client_keeps_what_was_withdrawn_and_our_client_does_not(home):
    [kept, gone] = home.pictures(2)
    acme = home.partner("Acme")
    copy, ours, cursor = copied(home, acme), {}, ""
    home.clock.tick(10)
    copy.fetch()
    cursor = our_copy(home, acme, ours, cursor)
    home.listings.withdraw(gone)
    home.clock.tick(10)
    [page] = library(home, acme).fetch_hashes_iter(start_timestamp=copy.checkpoint.update_time)
    assert [each.hashStatus for each in page.hashRecords] == [client.StopNCIICaseStatus.Withdrawn]
    copy.fetch()
    our_copy(home, acme, ours, cursor)
    # The fault: it looks for the status in the value. No server can help it; NCMEC's protocol and
    # our own feed do.
    assert pdq(home.listing(gone)) in copy.signals()[PdqSignal]
    assert list(ours) == [f"pdq:{pdq(home.listing(kept))}"]
    # Whoever starts afresh is not even told what was withdrawn.
    fresh = copied(home, home.partner("Beta"))
    fresh.fetch()
    assert set(fresh.signals()[PdqSignal]) == {pdq(home.listing(kept))}


def test_w5_hashes_submitted_with_the_name_of_the_enumeration_are_listed(home):
    acme = home.partner("Acme")
    library(home, acme).submit_hashes(
        {
            (client.StopNCIISignalType.ImagePDQ, "5a" * 32): client.StopNCIICSPFeedback(
                client.StopNCIICSPFeedbackValue.Blocked
            ),
            (client.StopNCIISignalType.VideoMD5, "5a" * 16): client.StopNCIICSPFeedback(
                client.StopNCIICSPFeedbackValue.Blocked
            ),
        }
    )
    assert [(each.media, each.level) for each in home.listings.listings()] == [
        (Media.IMAGE, Level.UNVERIFIED),
        (Media.VIDEO, Level.UNVERIFIED),
    ]
    assert [each.fingerprints[0].kind for each in home.listings.listings()] == [Kind.PDQ, Kind.MD5]
    # Submitted again, it counts as what the platform says.
    library(home, acme).submit_hash(client.StopNCIISignalType.ImagePDQ, "5a" * 32)
    assert [said.kind for _, said, _ in home.listings.feedback] == [FeedbackKind.REMOVED]


def tx(state, keys: str, *arguments: str) -> subprocess.CompletedProcess:
    """The published command line, as a platform runs it."""
    start = "from threatexchange.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start, *arguments],
        env=os.environ | {"TX_STATEDIR": str(state), "TX_STOPNCII_KEYS": keys, "TX_VERBOSE": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_the_command_line_fetches_and_matches_with_one_line_of_configuration(monkeypatch, tmp_path):
    with house(monkeypatch, Clock(real_time.time() - 3600)) as home:
        listed = home.pictures(3)
        home.clock.at = real_time.time()
        acme = home.partner("Acme")
        keys = f"{acme.fetch_key},{acme.subscription_key},{home.url}/exchange/stopncii/v1"
        tx(tmp_path, keys, "config", "collab", "edit", "stop_ncii", "--create", "Unspread")
        tx(tmp_path, keys, "fetch")
        # Four bits from a listed one.
        near = f"{int(pdq(home.listing(listed[1])), 16) ^ 0b1111:064x}"
        found = tx(tmp_path, keys, "match", "-H", "-S", "pdq", "photo", "--", near)
        assert found.stdout.split() == ["pdq", "4", "(Unspread)", "INVESTIGATION_SEED", "0"]
        far = f"{int(near, 16) ^ ((1 << 120) - 1):064x}"
        assert tx(tmp_path, keys, "match", "-H", "-S", "pdq", "photo", "--", far).stdout == ""
