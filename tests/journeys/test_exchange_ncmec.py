"""The published, unmodified client of NCMEC's hash sharing against our server."""

import os
import subprocess
import sys
import time as real_time
from types import SimpleNamespace

import pytest
import requests
from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.impl import ncmec_api
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

from tests.journeys.programmes import (
    SIGNALS,
    Clock,
    Copy,
    House,
    active,
    fetch_while_the_list_changes,
    house,
    pdq,
)
from unspread.exchange.listings import Scope
from unspread.model import Age, FeedbackKind, Kind, Level, Media, Reason
from unspread.testing.exchange import Credentials
from unspread.testing.listings import sample_picture

pytestmark = pytest.mark.journey


@pytest.fixture
def home(monkeypatch):
    with house(monkeypatch) as opened:
        yield opened


def base(home: House) -> SimpleNamespace:
    return SimpleNamespace(value=f"{home.url}/exchange/ncmec")


def library(home: House, who: Credentials) -> hash_api.NCMECHashAPI:
    return hash_api.NCMECHashAPI(who.user, who.password, base(home))


def copied(home: House, who: Credentials) -> Copy:
    collab = ncmec_api.NCMECCollabConfig(name="list", environment=base(home))
    return Copy(ncmec_api.NCMECSignalExchangeAPI(collab, who.user, who.password), collab)


def test_the_client_learns_who_it_is_and_who_takes_part(home):
    acme = home.partner("Acme")
    api = library(home, acme)
    assert api.status() == hash_api.StatusResult(acme.member.number, "Acme")
    assert [each.esp_name for each in api.members()] == ["Clearinghouse", "Acme"]


def test_the_client_pages_through_20000_entries_from_zero(home):
    # Most of them within one second, the rest over a day: both of the client's ways to page.
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
    assert len(copy.state) == 20_000
    assert copy.told == 20_000
    signals = copy.signals()
    assert set(signals[PdqSignal]) == {pdq(each) for each in active(home.listings, Media.IMAGE)}
    assert len(signals[VideoMD5Signal]) == 80
    calls = [call for call in home.audit.calls if call.operation == "entries"]
    assert all(call.status == 200 for call in calls)
    # 20 are ideal; the client throws pages away while it looks for a good length of range.
    assert len(calls) == 105


def test_the_client_follows_a_list_that_changes_while_it_reads_and_misses_and_repeats_nothing(
    home,
):
    copy = copied(home, home.partner("Acme"))
    fetch_while_the_list_changes(home, copy.fetch, 800)
    assert set(copy.signals()[PdqSignal]) == {
        pdq(each) for each in active(home.listings, Media.IMAGE)
    }
    assert copy.repeated == []
    told = copy.told
    home.clock.tick(60)
    copy.fetch()
    assert copy.told == told


def test_a_withdrawal_takes_the_hash_out_of_the_clients_list(home):
    [kept, gone] = home.pictures(2)
    copy = copied(home, home.partner("Acme"))
    home.clock.tick(10)
    copy.fetch()
    assert len(copy.signals()[PdqSignal]) == 2
    home.listings.withdraw(gone)
    home.listings.erase(gone)
    home.clock.tick(10)
    copy.fetch()
    assert set(copy.signals()[PdqSignal]) == {pdq(home.listing(kept))}


def test_votes_change_the_level_and_are_seen_by_other_members(home):
    acme, beta = home.partner("Acme"), home.partner("Beta")
    [good, bad] = home.pictures(2)
    library(home, acme).submit_upvote(1, str(good), hash_api.FingerprintType.pdq)
    library(home, beta).submit_feedback(
        1, str(good), hash_api.FingerprintType.pdq, hash_api.FeedbackType.upvote
    )
    reasons = library(home, beta).feedback_reasons(hash_api.FingerprintType.pdq)
    guid = next(guid for guid, name in reasons.items() if name == "not intimate")
    library(home, beta).submit_feedback(
        1, str(bad), hash_api.FingerprintType.pdq, hash_api.FeedbackType.downvote, guid
    )
    assert home.listing(good).level is Level.CORROBORATED
    assert home.listing(bad).level is Level.DISPUTED
    assert [(said.kind, said.reason) for _, said, _ in home.listings.feedback] == [
        (FeedbackKind.REMOVED, None),
        (FeedbackKind.REMOVED, None),
        (FeedbackKind.DISPUTED, Reason.NOT_INTIMATE),
    ]
    home.clock.tick(10)
    page = library(home, acme).get_entries(end_timestamp=int(home.clock()) - 5)
    by_id = {each.id: each for each in page.updates}
    assert [
        (each.feedback_type.value, each.member.esp_name)
        for each in by_id[str(good)].feedback["PDQ"]
    ] == [("upvote", "Acme"), ("upvote", "Beta")]
    [no] = by_id[str(bad)].feedback["PDQ"]
    assert (no.feedback_type.value, no.member.esp_name, no.reason) == (
        "downvote",
        "Beta",
        "not intimate",
    )
    # The level is what HMA shows as a tag.
    assert by_id[str(good)].classification == "corroborated"


def test_a_client_is_told_only_what_its_key_is_for(home):
    prints = sample_picture(home.random, windows=2)
    minor = home.listings.list_item(prints, age=Age.MINOR)
    home.listings.list_item(sample_picture(home.random), age=Age.ADULT)
    home.clock.tick(10)
    scope = Scope(ages=frozenset({Age.MINOR}), may_give_feedback=False)
    narrow = home.partner("Narrow", scope)
    copy = copied(home, narrow)
    copy.fetch()
    assert set(copy.signals()[PdqSignal]) == {pdq(home.listing(minor))}
    with pytest.raises(requests.HTTPError):
        library(home, narrow).submit_upvote(1, str(minor), hash_api.FingerprintType.pdq)
    wide = copied(home, home.partner("Wide", Scope(windows=True)))
    wide.fetch()
    assert len(wide.signals()[PdqSignal]) == 4


def test_a_stored_page_address_is_good_for_twelve_hours(home):
    home.pictures(2500)
    home.clock.tick(10)
    acme = home.partner("Acme")
    copy = copied(home, acme)
    pages = copy.api.fetch_iter(SIGNALS, None)
    # Stopped in the middle of the one second that has three pages.
    for delta in pages:
        copy.api.naive_fetch_merge(copy.state, delta.updates)
        copy.checkpoint = delta.checkpoint
        if delta.checkpoint.paging_info:
            break
    pages.close()
    assert len(copy.state) == 1000
    assert copy.checkpoint.paging_info
    for gone in (0, 2400):
        home.listings.withdraw(gone)
    home.clock.tick(12 * 3600 - 10)
    copy.fetch()
    assert set(copy.signals()[PdqSignal]) == {
        pdq(each) for each in active(home.listings, Media.IMAGE)
    }


# --- the faults of released clients, and what becomes of them here ------------------------------


def run_in_zone(home: House, who: Credentials, zone: str) -> subprocess.CompletedProcess:
    """The exchange class in a process of its own, in another time zone, by the real clock."""
    program = f"""
import types
from threatexchange.exchanges.impl.ncmec_api import *
collab = NCMECCollabConfig(
    name="list", environment=types.SimpleNamespace(value={base(home).value!r}))
api = NCMECSignalExchangeAPI(collab, {who.user!r}, {who.password!r})
state = {{}}
for delta in api.fetch_iter([PdqSignal], None):
    api.naive_fetch_merge(state, delta.updates)
print(len(state))
"""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"TZ": zone},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_w3_east_of_utc_the_fetch_fails_aloud_instead_of_losing_what_comes_next(monkeypatch):
    with house(monkeypatch, Clock(real_time.time() - 3600)) as home:
        home.pictures(3)
        home.clock.at = real_time.time()
        acme = home.partner("Acme")
        assert run_in_zone(home, acme, "UTC").stdout.strip() == "3"
        east = run_in_zone(home, acme, "Asia/Kolkata")
        assert east.returncode != 0
        assert "400 Client Error" in east.stderr
        # West of UTC it is late by the offset, and catches up.
        west = run_in_zone(home, acme, "America/New_York")
        assert west.stdout.strip() == "0"


def test_w4_the_client_can_vote_no_because_the_reasons_are_told_twice(home):
    acme = home.partner("Acme")
    [listing] = home.pictures(1)
    api = library(home, acme)
    assert len(api.feedback_reasons(hash_api.FingerprintType.md5)) == len(Reason)
    # Without a reason of its own the client asks for them, and then wants a choice.
    with pytest.raises(Exception, match="Need to pick a feedback reason"):
        api.submit_feedback(
            1, str(listing), hash_api.FingerprintType.pdq, hash_api.FeedbackType.downvote
        )
    documented = requests.get(
        f"{home.url}/exchange/ncmec/v2/feedback/PDQ/reasons",
        auth=(acme.user, acme.password),
        timeout=30,
    )
    assert documented.text.index("<reason ") < documented.text.index("<availableFeedbackReasons>")


def test_w2_the_clients_index_loses_a_lone_hash_and_finds_it_beside_another():
    """The index of the published client, saved and loaded as HMA does for every build."""
    index = PdqSignal.get_index_cls()
    lone, other = ("a5" * 32, "3c" * 32)

    def found(hashes):
        built = index.build([(each, None) for each in hashes])
        again = index.deserialize(_rewound(built))
        return bool(again.query(lone))

    assert not found([lone])
    assert found([lone, other])


def _rewound(built):
    from io import BytesIO

    stream = BytesIO()
    built.serialize(stream)
    stream.seek(0)
    return stream


def test_videos_are_told_by_their_digest(home):
    video = home.video()
    home.clock.tick(10)
    copy = copied(home, home.partner("Acme"))
    copy.fetch()
    [md5] = copy.signals()[VideoMD5Signal]
    prints = home.listing(video).fingerprints
    assert md5 == next(each.value.hex() for each in prints if each.kind is Kind.MD5)
