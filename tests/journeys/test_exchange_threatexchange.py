"""The published, unmodified client of Meta's ThreatExchange against our server."""

import pytest
from threatexchange.exchanges.clients.fb_threatexchange import api as client
from threatexchange.exchanges.clients.fb_threatexchange.threat_updates import (
    ThreatUpdateCheckpoint,
    ThreatUpdateJSON,
    ThreatUpdatesDelta,
)
from threatexchange.exchanges.fetch_state import AggregateSignalOpinionCategory as Opinion
from threatexchange.exchanges.impl import fb_threatexchange_api as impl
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

from tests.journeys.programmes import (
    Copy,
    House,
    active,
    fetch_while_the_list_changes,
    house,
    pdq,
)
from unspread.model import FeedbackKind, Level, Media, Reason
from unspread.testing.exchange import Credentials

pytestmark = pytest.mark.journey


@pytest.fixture
def home(monkeypatch):
    with house(monkeypatch) as opened:
        yield opened


def library(home: House, who: Credentials) -> client.ThreatExchangeAPI:
    assert client.is_valid_app_token(who.token)
    return client.ThreatExchangeAPI(
        who.token, endpoint_override=f"{home.url}/exchange/threatexchange"
    )


def copied(home: House, who: Credentials) -> Copy:
    collab = impl.FBThreatExchangeCollabConfig(name="list", privacy_group=1)
    return Copy(impl.FBThreatExchangeSignalExchangeAPI(library(home, who), collab), collab)


def test_the_client_finds_the_one_privacy_group(home):
    [group] = library(home, home.partner("Acme")).get_threat_privacy_groups_member()
    assert (int(group.id), group.threat_updates_enabled) == (1, True)
    assert library(home, home.partner("Beta")).get_privacy_group(1) == group


def test_the_client_pages_through_20000_records_from_zero(home):
    home.pictures(19_900)
    home.clock.tick(3600)
    for _ in range(100):
        home.video()
    home.clock.tick(60)
    copy = copied(home, home.partner("Acme"))
    copy.fetch()
    signals = copy.signals()
    assert set(signals[PdqSignal]) == {pdq(each) for each in active(home.listings, Media.IMAGE)}
    assert len(signals[VideoMD5Signal]) == 100
    assert len(home.audit.calls) == 200
    assert all(call.status == 200 for call in home.audit.calls)


def test_an_empty_list_is_no_fault(home):
    copy = copied(home, home.partner("Acme"))
    copy.fetch()
    assert copy.state == {}


def test_the_client_follows_a_list_that_changes_while_it_reads(home):
    copy = copied(home, home.partner("Acme"))
    fetch_while_the_list_changes(home, copy.fetch, 500)
    assert set(copy.signals()[PdqSignal]) == {
        pdq(each) for each in active(home.listings, Media.IMAGE)
    }


def test_a_withdrawal_takes_the_hash_out_of_the_clients_list(home):
    [kept, gone] = home.pictures(2)
    copy = copied(home, home.partner("Acme"))
    home.clock.tick(10)
    copy.fetch()
    assert len(copy.signals()[PdqSignal]) == 2
    home.listings.withdraw(gone)
    home.clock.tick(10)
    copy.fetch()
    assert set(copy.signals()[PdqSignal]) == {pdq(home.listing(kept))}


def test_the_librarys_own_reader_of_updates_gets_the_same(home):
    [kept, gone] = home.pictures(2)
    home.clock.tick(10)
    api = library(home, home.partner("Acme"))
    first = ThreatUpdatesDelta(1, 0, end=int(home.clock()), types=["HASH_PDQ"])
    first.incremental_sync_from_threatexchange(api)
    assert {each.indicator for each in first} == {
        pdq(home.listing(kept)),
        pdq(home.listing(gone)),
    }
    checkpoint = ThreatUpdateCheckpoint().get_updated(first)
    home.listings.withdraw(gone)
    home.clock.tick(10)
    second = ThreatUpdatesDelta(1, checkpoint.fetch_checkpoint, end=int(home.clock()))
    second.incremental_sync_from_threatexchange(api)
    assert all(isinstance(each, ThreatUpdateJSON) for each in second)
    deleted = {each.indicator for each in second if each.should_delete}
    assert pdq(home.listing(gone)) in deleted
    assert pdq(home.listing(kept)) not in deleted


def test_reactions_change_the_level_and_are_seen_as_opinions(home):
    acme, beta = home.partner("Acme"), home.partner("Beta")
    [good, bad] = home.pictures(2)
    home.clock.tick(10)
    copy = copied(home, acme)
    copy.fetch()
    descriptors = {
        indicator: record.opinions[0].descriptor_id for (_, indicator), record in copy.state.items()
    }
    good_id = descriptors[pdq(home.listing(good))]
    library(home, acme).react_matched_threat_descriptor(good_id)
    for who in (acme, beta):
        library(home, who).react_upvote_threat_descriptor(good_id)
    library(home, beta).react_downvote_threat_descriptor(descriptors[pdq(home.listing(bad))])
    assert [(said.kind, said.reason) for _, said, _ in home.listings.feedback] == [
        (FeedbackKind.FOUND, None),
        (FeedbackKind.REMOVED, None),
        (FeedbackKind.REMOVED, None),
        (FeedbackKind.DISPUTED, Reason.OTHER),
    ]
    assert home.listing(good).level is Level.CORROBORATED
    assert home.listing(bad).level is Level.DISPUTED
    home.clock.tick(10)
    copy.fetch()
    signals = copy.signals()[PdqSignal]
    seen = signals[pdq(home.listing(good))]
    assert seen.get_as_aggregate_opinion().category == Opinion.POSITIVE_CLASS
    assert [each.is_mine for each in seen.opinions] == [False, True, False]
    assert signals[pdq(home.listing(bad))].get_as_aggregate_opinion().category == Opinion.DISPUTED
