import base64
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from threatexchange.exchanges.fetch_state import AggregateSignalOpinionCategory as Opinion
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

from unspread.crypto import OpeningKey, withdrawal_message
from unspread.errors import TransportError, TrustError
from unspread.exchange import tx_extension
from unspread.exchange.tx_extension import (
    UnspreadCheckpoint,
    UnspreadCollabConfig,
    UnspreadCredentials,
    UnspreadRecord,
    UnspreadSignalExchangeAPI,
)
from unspread.feed.blobs import MissingBlobError
from unspread.feed.records import AddRecord, Authority, ChangeReason, ChangeRecord
from unspread.feed.writer import FeedPartner, Scope
from unspread.model import Kind, Level, ListingId, State
from unspread.testing.feed import TrialLog

SIGNALS = [PdqSignal, VideoMD5Signal]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Host:
    """What HMA keeps between fetches."""

    def __init__(self, log: TrialLog, tmp_path) -> None:
        self.log = log
        self.asked: list[str] = []
        self.broken: dict[str, bytes] = {}
        key, secret = OpeningKey.generate(hybrid=True)
        log.partners["board"] = FeedPartner("board", key.public)
        self.credentials = UnspreadCredentials(
            "board", "http://feed", log.origin, b64(log.log_key.public), b64(secret)
        )
        self.collab = UnspreadCollabConfig(name="list", state_dir=str(tmp_path / "tx"))
        self.state: dict[str, UnspreadRecord] = {}
        self.checkpoint: UnspreadCheckpoint | None = None

    def api(self) -> UnspreadSignalExchangeAPI:
        http = httpx.Client(transport=httpx.MockTransport(self._answer))
        return UnspreadSignalExchangeAPI(self.collab, self.credentials, http)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.lstrip("/")
        self.asked.append(path)
        try:
            return httpx.Response(200, content=self.broken.get(path) or self.log.public.get(path))
        except MissingBlobError:
            return httpx.Response(404)

    def fetch(self) -> int:
        """As HMA does: a record replaces the one before, nothing is merged."""
        api, count = self.api(), 0
        for delta in api.fetch_iter(SIGNALS, self.checkpoint):
            count += len(delta.updates)
            for key, record in delta.updates.items():
                if record is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = record
            self.checkpoint = delta.checkpoint
        return count

    def signals(self) -> dict:
        return UnspreadSignalExchangeAPI.naive_convert_to_signal_type(
            SIGNALS, self.collab, self.state
        )


@pytest.fixture
def log() -> TrialLog:
    made = TrialLog()
    made.now = datetime.now(UTC).replace(microsecond=0)
    return made


@pytest.fixture
def host(log, tmp_path) -> Host:
    return Host(log, tmp_path)


def pdq_of(log: TrialLog, listing_id: ListingId) -> str:
    record = AddRecord.from_bytes(log.rows[listing_id].payload)
    return next(each.value.hex() for each in record.fingerprints if each.kind is Kind.PDQ)


def test_a_host_follows_the_list_from_zero_and_on_from_its_checkpoint(host, log):
    listed = [log.add(), log.add(level=Level.CONFIRMED)]
    log.publish()
    assert host.fetch() == 2
    found = host.signals()[PdqSignal]
    assert set(found) == {pdq_of(log, each) for each in listed}
    assert [found[pdq_of(log, each)].get_as_aggregate_opinion().category for each in listed] == [
        Opinion.INVESTIGATION_SEED,
        Opinion.POSITIVE_CLASS,
    ]
    log.add()
    log.publish()
    assert host.fetch() == 1
    assert len(host.signals()[PdqSignal]) == 3
    assert host.fetch() == 0
    assert host.checkpoint.get_progress_timestamp()


def test_a_withdrawal_is_honoured_even_by_a_host_that_was_away(host, log):
    gone, kept = log.add(), log.add()
    log.publish()
    host.fetch()
    for _ in range(40):
        log.add()
        log.publish()
    log.withdraw(gone)
    log.publish(erased=[gone])
    host.fetch()
    assert pdq_of(log, kept) in host.signals()[PdqSignal]
    assert str(gone) not in host.state
    assert len(host.signals()[PdqSignal]) == 41


def test_a_withdrawal_that_its_person_did_not_sign_is_refused_and_changes_nothing(host, log):
    victim, other = log.add(), log.add()
    log.publish()
    host.fetch()
    key = log.receipts[other].item_key(0)
    signature = key.sign(withdrawal_message(log.origin, key.public))
    log.change(ChangeRecord.withdrawal(victim, Level.UNVERIFIED, key.public, signature))
    log.publish()
    before = dict(host.state)
    with pytest.raises(TrustError):
        host.fetch()
    assert host.state == before


def test_a_level_changes_and_a_suspension_rests_without_being_forgotten(host, log):
    listing = log.add()
    log.publish()
    host.fetch()
    for state, level, matched in (
        (State.LISTED, Level.DISPUTED, 1),
        (State.SUSPENDED, Level.DISPUTED, 0),
        (State.LISTED, Level.CORROBORATED, 1),
    ):
        log.change(ChangeRecord(listing, state, level, Authority.STAFF, ChangeReason.REINSTATED))
        log.publish()
        host.fetch()
        found = host.signals().get(PdqSignal, {})
        assert len(found) == matched
        if level is Level.DISPUTED and matched:
            [metadata] = found.values()
            assert metadata.get_as_aggregate_opinion().category == Opinion.DISPUTED


def test_under_another_scope_a_host_drops_what_it_does_not_cover(host, log):
    unverified, confirmed = log.add(), log.add(level=Level.CONFIRMED)
    log.publish()
    host.fetch()
    for levels, kept in (
        ({Level.CONFIRMED}, {confirmed}),
        ({Level.CONFIRMED, Level.UNVERIFIED}, {confirmed, unverified}),
    ):
        scope = Scope(levels=frozenset(levels))
        log.partners["board"] = replace(log.partners["board"], scope=scope)
        log.publish()
        host.fetch()
        assert set(host.state) == {str(each) for each in kept}
        assert set(host.signals()[PdqSignal]) == {pdq_of(log, each) for each in kept}


def test_what_was_tampered_with_is_never_handed_out(host, log):
    log.add()
    log.publish()
    probe = Host.api(host)
    for _ in probe.fetch_iter(SIGNALS, None):
        pass
    segment = next(path for path in host.asked if "/seg/" in path)
    body = bytearray(log.public.get(segment))
    body[-1] ^= 1
    host.broken[segment] = bytes(body)
    with pytest.raises(TrustError):
        host.fetch()
    assert host.state == {}


def test_another_log_key_is_refused(host, log):
    log.add()
    log.publish()
    host.credentials = replace(host.credentials, log_key=b64(bytes(32)))
    with pytest.raises(TrustError):
        host.fetch()


def test_a_feed_that_is_not_there_yet_is_a_transport_error(host):
    with pytest.raises(TransportError):
        host.fetch()


def test_a_host_that_lost_what_withdrawals_are_checked_against_reads_from_the_start(
    host, log, tmp_path
):
    gone, kept = log.add(), log.add()
    log.publish()
    host.fetch()
    [remembered] = (tmp_path / "tx").iterdir()
    remembered.unlink()
    log.withdraw(gone)
    log.confirm(kept)
    log.publish()
    host.fetch()
    assert str(gone) not in host.state
    assert host.state[str(kept)].level == Level.CONFIRMED
    assert len(host.signals()[PdqSignal]) == 1


def test_what_a_host_stores_survives_its_storage(host, log):
    log.add()
    log.publish()
    host.fetch()
    stored = msgspec.json.encode(host.checkpoint)
    host.checkpoint = msgspec.json.decode(stored, type=UnspreadCheckpoint)
    assert host.fetch() == 0


def test_a_host_that_crashed_before_it_stored_is_told_the_same_again(host, log):
    gone, kept = log.add(), log.add()
    log.publish()
    host.fetch()
    before = host.checkpoint
    log.confirm(kept)
    log.withdraw(gone)
    log.publish()
    told = []
    for _ in range(2):
        deltas = host.api().fetch_iter(SIGNALS, before)
        told.append([(key, each) for delta in deltas for key, each in delta.updates.items()])
    assert told[0] == told[1]
    assert dict(told[0])[str(gone)] is None
    assert dict(told[0])[str(kept)].level == Level.CONFIRMED


def test_what_has_ended_leaves_no_fingerprint_behind(host, log, tmp_path):
    gone = log.add()
    value = pdq_of(log, gone)
    log.publish()
    host.fetch()
    [file] = (tmp_path / "tx").iterdir()
    assert value.encode() in file.read_bytes()
    log.withdraw(gone)
    log.publish(erased=[gone])
    host.fetch()
    assert value.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_credentials_are_the_membership_that_enrolment_wrote(monkeypatch):
    text = (
        '{"clearinghouse": "http://c", "signing_seed": "x", "opening_secret": "AAAA",'
        ' "invitation_digest": "", "partner_id": "board", "log_origin": "c/log", "log_key": "BBBB",'
        ' "feed": "http://c", "push": "http://c/feed/push"}'
    )
    monkeypatch.setenv("TX_UNSPREAD_MEMBERSHIP", text)
    read = UnspreadCredentials.get(UnspreadSignalExchangeAPI)
    assert (read.partner_id, read.feed, read.log_key) == ("board", "http://c", "BBBB")
    assert "AAAA" not in repr(read)


def test_the_manifest_is_one_that_hosts_load():
    loaded = ThreatExchangeExtensionManifest.load_from_module_name(tx_extension.__name__)
    assert [each.get_name() for each in loaded.apis] == ["unspread", "ncmec_at"]
