"""Published clients, unmodified, against the running clearinghouse, by the real clock."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import altcha
import httpx
import pytest
from threatexchange.exchanges.clients.fb_threatexchange import api as fb_client
from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.clients.stopncii import api as stopncii_client
from threatexchange.exchanges.impl import fb_threatexchange_api, ncmec_api
from threatexchange.signal_type.pdq.signal import PdqSignal

from tests.journeys.conftest import free_port, unspread, until
from tests.journeys.programmes import Copy
from unspread.clearinghouse import partners, store
from unspread.clearinghouse.commands import _open, _write
from unspread.clearinghouse.rules import assess
from unspread.crypto import Receipt
from unspread.fingerprint import fingerprint_file
from unspread.model import Age, Fingerprint, Kind, Media, MediaFingerprint
from unspread.person import case
from unspread.platform_kit.enrolment import enrol
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

EXTENSION = "unspread.exchange.tx_extension"


@dataclass
class House:
    url: str
    data: Path

    def partner(self, name: str) -> str:
        """Invite somebody; the invitation."""
        scopes = frozenset({"feed", "feedback"})
        return self.write(
            lambda tx: partners.invite(tx, name, role="platform", scopes=scopes, by="Ada")
        )

    def write(self, job):
        """What staff do beside the server."""
        with _open(self.data, "") as settings:
            return _write(settings, job)

    def keys(self, partner_id: str, programme: str) -> dict[str, str]:
        """What `partner key issue` prints: name → key."""
        asked = ("clearinghouse", "partner", "key", "issue", partner_id, programme)
        told = unspread(*asked, "--by", "Ada", "--by", "Bo", "--data", str(self.data)).stdout
        return dict(line.split("\t")[:2] for line in told.splitlines())


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """Starts `unspread clearinghouse serve` on a data directory; stops it at the end."""
    started: list[subprocess.Popen] = []

    def start(data: Path = tmp_path / "house") -> House:
        port = free_port()
        command = [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training"]
        command += ["--data", str(data), "--port", str(port)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        house = House(f"http://127.0.0.1:{port}", data)

        def is_ready() -> bool:
            assert started[-1].poll() is None
            try:
                return httpx.get(f"{house.url}/health/ready", timeout=10).is_success
            except httpx.TransportError:
                return False

        until(is_ready, 120)
        return house

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Tx:
    """The published command line, with a state of its own."""

    def __init__(self, state: Path, **environment: str) -> None:
        self.environment = os.environ | {"TX_STATEDIR": str(state), "HOME": str(state)}
        self.environment |= environment

    def __call__(self, *arguments: str) -> str:
        start = "from threatexchange.cli.main import main; main()"
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", start, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def matches(self, picture: Path) -> bool:
        self("fetch")
        return "pdq" in self("match", "photo", str(picture))


def test_a_photo_is_found_and_forgotten_by_hosts_of_three_protocols(serve, tmp_path):
    house = serve()
    mine, copy, other = (tmp_path / f"{name}.jpg" for name in ("mine", "copy", "other"))
    mine.write_bytes(encoded(landscape(1), "JPEG", quality=90))
    copy.write_bytes(encoded(landscape(1).resize((600, 450)), "JPEG", quality=40))
    other.write_bytes(encoded(landscape(2), "JPEG", quality=90))
    submitted = fingerprint_file(mine).first(Kind.PDQ).value.hex()

    old = house.partner("Old platform").partition(".")[0]
    ncmec, stop = house.keys(old, "ncmec"), house.keys(old, "stopncii")
    assert ncmec["user name"] == old
    invitation, kit = house.partner("New platform"), tmp_path / "kit"
    with httpx.Client() as http:
        new, _ = enrol(kit, "list", house.url, invitation, "New platform", http=http)
    for by in ("Ada", "Bo"):
        house.write(partial(partners.approve, partner_id=new.partner_id, by=by))
    membership = (kit / "lists" / "list.json").read_text()

    # The command line follows our own feed; HMA's classes follow the two older protocols.
    tx = Tx(tmp_path / "tx", TX_UNSPREAD_MEMBERSHIP=membership)
    tx("config", "extensions", "add", EXTENSION)
    tx("config", "collab", "edit", "unspread", "--create", "list")
    by_ncmec = copied(house.url, old, ncmec["password"])
    stopncii = stopncii_client.StopNCIIAPI(
        stop["subscription_key"],
        stop["fetch_function_key"],
        base_url_override=f"{house.url}/exchange/stopncii/v1",
    )

    # Two, of which one stays: the published command line keeps the last index of an empty list.
    told = unspread("submit", str(mine), str(other), "--to", house.url, "--json").stdout
    receipt = Receipt.from_text(json.loads(told)["receipt"])
    person = Person(house.url)
    assert tx.matches(copy)

    def told_by_stopncii(since: int) -> tuple[dict[str, str], int]:
        """Statuses by value, and where to go on."""
        pages = list(stopncii.fetch_hashes_iter(since))
        said = {
            each.hashValue: each.hashStatus.value for page in pages for each in page.hashRecords
        }
        return said, pages[-1].nextSetTimestamp

    until(lambda: submitted in told_by_stopncii(10)[0])
    since = told_by_stopncii(10)[1]

    def is_told_by_ncmec() -> bool:
        by_ncmec.fetch()
        return submitted in by_ncmec.signals()[PdqSignal]

    # NCMEC's client asks for what is five seconds old.
    until(is_told_by_ncmec)

    listing = next(
        each for each in by_ncmec.state.values() if each.fingerprints.get("pdq") == submitted
    )
    api = by_ncmec.api.get_client(by_ncmec.collab.environment)
    api.submit_upvote(listing.member_id, listing.id, hash_api.FingerprintType.pdq)
    item = person.status(receipt)["items"][0]
    assert item["level"] == "confirmed"
    [seen] = [each for each in item["platforms"] if each["name"] == "Old platform"]
    assert seen["removed_at"]

    person.withdraw(receipt)
    assert not tx.matches(copy)
    until(lambda: not is_told_by_ncmec())
    assert by_ncmec.signals()[PdqSignal]
    until(lambda: told_by_stopncii(since)[0].get(submitted) == "Withdrawn")


def test_a_client_of_threatexchange_fetches_votes_and_forgets(serve):
    house = serve()
    who = house.partner("Old platform").partition(".")[0]
    token = house.keys(who, "threatexchange")["access_token"]
    api = fb_client.ThreatExchangeAPI(
        token, endpoint_override=f"{house.url}/exchange/threatexchange"
    )
    collab = fb_threatexchange_api.FBThreatExchangeCollabConfig(name="list", privacy_group=1)
    copy = Copy(fb_threatexchange_api.FBThreatExchangeSignalExchangeAPI(api, collab), collab)
    person = Person(house.url)
    gone, kept = (person_value(number) for number in range(2))
    for number in range(2):
        person.submit(number)

    def told() -> set[str]:
        copy.fetch()
        return set(copy.signals()[PdqSignal])

    until(lambda: told() == {gone, kept})
    [opinion] = copy.state["HASH_PDQ", gone].opinions
    api.react_upvote_threat_descriptor(opinion.descriptor_id)
    item = person.status(person.receipt(0))["items"][0]
    assert item["level"] == "confirmed"
    [seen] = item["platforms"]
    assert (seen["name"], bool(seen["removed_at"])) == ("Old platform", True)

    def is_told_as_mine() -> bool:
        copy.fetch()
        return any(each.is_mine for each in copy.state["HASH_PDQ", gone].opinions)

    until(is_told_as_mine)
    person.withdraw(person.receipt(0))
    until(lambda: told() == {kept})


@pytest.mark.long
def test_the_command_line_follows_by_ncmecs_protocol(serve, tmp_path):
    house = serve()
    who = house.partner("Old platform").partition(".")[0]
    password = house.keys(who, "ncmec")["password"]
    tx = Tx(tmp_path / "tx", TX_NCMEC_AT_CREDENTIALS=f"{who}:{password}")
    tx("config", "extensions", "add", EXTENSION)
    address = ("--base-url", f"{house.url}/exchange/ncmec")
    tx("config", "collab", "edit", "ncmec_at", "--create", *address, "list")
    person = Person(house.url)
    gone, kept = (person_value(number) for number in range(2))
    for number in range(2):
        person.submit(number)

    def told() -> set[str]:
        tx("fetch")
        printed = tx("dataset", "--print-signals")
        return {each for each in (gone, kept) if each in printed}

    until(lambda: told() == {gone, kept}, 120)
    person.withdraw(person.receipt(0))
    until(lambda: told() == {kept}, 120)


# --- many entries, and a list that changes ------------------------------------------------------


def picture(seed: int) -> MediaFingerprint:
    """What a device computes of a picture, out of nothing but chance."""
    bits = random.Random(seed).sample(range(256), 128)
    value = sum(1 << bit for bit in bits).to_bytes(32, "big")
    return MediaFingerprint(
        Media.IMAGE,
        (
            Fingerprint(Kind.PDQ, value, quality=100),
            Fingerprint(Kind.MD5, seed.to_bytes(16, "big")),
        ),
    )


def person_value(number: int) -> str:
    """The PDQ of what a `Person` submits under this number."""
    return picture(1_000_000 + number).fingerprints[0].value.hex()


def filled(data: Path, cases: int, items: int) -> set[str]:
    """List many items in one transaction; their PDQ."""
    values: set[str] = set()

    def job(tx: store.Transaction) -> None:
        for number in range(cases):
            receipt = Receipt((1 << 90 | number).to_bytes(13, "big"))
            media = [picture(number * items + each) for each in range(items)]
            values.update(each.fingerprints[0].value.hex() for each in media)
            assessed = assess([each.fingerprints for each in media], lambda _: None)
            new = [
                store.NewItem(
                    receipt.item_key(each).public, receipt.item_salt(each), Media.IMAGE, judged
                )
                for each, judged in enumerate(assessed)
            ]
            key = receipt.case_key().public
            store.submit(tx, store.NewCase(key, key, Age.MINOR, tuple(new)))

    with _open(data, "") as settings:
        _write(settings, job)
    return values


def copied(url: str, user: str, password: str) -> Copy:
    place = SimpleNamespace(value=f"{url}/exchange/ncmec")
    collab = ncmec_api.NCMECCollabConfig(name="list", environment=place)
    return Copy(ncmec_api.NCMECSignalExchangeAPI(collab, user, password), collab)


class Person:
    """Submits and withdraws over HTTP, as a device does."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60)
        self.origin = self.http.get("/v1/about").json()["log_origin"]

    def submit(self, number: int) -> None:
        challenge = altcha.Challenge.from_dict(self.http.get("/v1/proof-of-work").json())
        proof = altcha.Payload(challenge, altcha.solve_challenge(challenge)).to_base64()
        media = [picture(1_000_000 + number)]
        message = case.submission(self.receipt(number), media, Age.ADULT, proof)
        self.post("/v1/cases", message.to_json())

    def status(self, receipt: Receipt) -> dict:
        challenge = self.http.get("/v1/challenge").json()["challenge"]
        message = case.case_request(receipt, "status", self.origin, challenge)
        return self.http.post("/v1/cases/status", content=message.to_json()).json()

    def withdraw(self, receipt: Receipt) -> None:
        message = case.withdrawal_request(receipt, [0], self.origin)
        self.post("/v1/cases/withdraw", message.to_json())

    def receipt(self, number: int) -> Receipt:
        return Receipt((1 << 80 | number).to_bytes(13, "big"))

    def post(self, path: str, body: bytes) -> None:
        while True:
            answer = self.http.post(path, content=body)
            if answer.status_code != 429:
                break
            time.sleep(0.2)  # as it was asked to
        assert answer.is_success, answer.text


def follows_a_changing_list(house: House, values: set[str], changes: int) -> None:
    who = house.partner("Old platform").partition(".")[0]
    copy = copied(house.url, who, house.keys(who, "ncmec")["password"])
    person, listed, failed = Person(house.url), [], []
    done = threading.Event()

    def change() -> None:
        chance = random.Random(3)
        try:
            for number in range(changes):
                person.submit(number)
                listed.append(number)
                if chance.random() < 0.4:
                    gone = listed.pop(chance.randrange(len(listed)))
                    person.withdraw(person.receipt(gone))
        except (AssertionError, httpx.HTTPError) as error:
            failed.append(error)
        finally:
            done.set()

    changing = threading.Thread(target=change)
    changing.start()
    while not done.is_set():
        copy.fetch()
    changing.join()
    assert failed == []
    truth = values | {person_value(number) for number in listed}

    def is_equal() -> bool:
        copy.fetch()
        return set(copy.signals()[PdqSignal]) == truth

    until(is_equal, 60)
    assert copy.repeated == []


def test_a_client_follows_the_clearinghouse_while_people_submit_and_withdraw(serve, tmp_path):
    data = tmp_path / "house"
    values = filled(data, 60, 20)
    follows_a_changing_list(serve(data), values, 30)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_client_pages_through_20000_entries_and_follows_for_a_while(serve, tmp_path):
    data = tmp_path / "house"
    values = filled(data, 1000, 20)
    assert len(values) == 20_000
    follows_a_changing_list(serve(data), values, 600)
