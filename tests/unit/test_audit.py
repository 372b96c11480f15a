"""Anybody with the address of a log finds out what is wrong with it."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from unspread.crypto import PostQuantumSigningKey, SigningKey
from unspread.errors import TransportError
from unspread.feed.audit_command import audit
from unspread.feed.blobs import MissingBlobError
from unspread.feed.canaries import CanaryEpoch
from unspread.feed.reader import ForkError, RollbackError
from unspread.feed.records import AckRecord, Entry, EntryKind, PolicyRecord
from unspread.testing.feed import START, TrialLog
from unspread.transparency.note import MissingSignatureError, NoteSigner

HOUR = START.replace(minute=0)
HOUR_NUMBER = int(HOUR.timestamp()) // 3600


@dataclass
class Site:
    log: TrialLog
    url: str
    state: Path

    def audit(self, *options: str) -> Result:
        arguments = [self.url, "--state", str(self.state), *options]
        return CliRunner().invoke(audit, arguments, obj=lambda: self.log.now)

    def acknowledge(self, name: str, size: int, after_seconds: float = 1) -> None:
        at = self.log.now + timedelta(seconds=after_seconds)
        self.log.rows.append(AckRecord(name, size, at.replace(microsecond=0)).to_entry())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    log = TrialLog(0)
    log.now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                if self.path == "/v1/about":
                    key = base64.urlsafe_b64encode(log.log_key.public).rstrip(b"=").decode()
                    about = {"log_origin": log.origin, "log_key": key, "protocol": 1}
                    body = json.dumps(about).encode()
                else:
                    body = log.public.get(self.path[1:])
            except MissingBlobError:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Site(log, f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "audit.json")
    server.shutdown()
    server.server_close()


def test_an_audit_says_in_words_how_a_log_is(site: Site) -> None:
    for _ in range(300):
        site.log.add()
    site.log.publish()
    site.acknowledge("Quick Board", 300)
    site.acknowledge("Slow Board", 100)
    document = b'{"partners": [{"name": "Silent Board", "feed": "all"}, {"name": "Quick Board"}]}'
    digest = sha256(document).digest()
    site.log.public.put(f"policy/{digest.hex()}", document)
    site.log.rows.append(PolicyRecord("partners", digest).to_entry())
    site.log.publish()
    first = site.audit()
    assert first.exit_code == 0, first.output
    assert "Confirm it with somebody you trust" in first.output
    assert "Size             303 entries" in first.output
    assert "Slow Board: 203 entries behind" in first.output
    order = [first.output.index(name) for name in ("Silent Board", "Slow Board", "Quick Board")]
    assert order == sorted(order), "the slowest first"
    assert "Silent Board: HAS A FEED AND NEVER SAID" in first.output
    assert "Goes by          2 partners" in first.output
    assert "Wrong            nothing" in first.output
    site.log.add()
    site.log.publish()
    second = site.audit()
    assert "1 more than at the last audit" in second.output
    assert "they continue what the last audit saw" in second.output


def test_an_audit_checks_what_the_clearinghouse_says_that_it_goes_by(site: Site) -> None:
    def said(keys: list[str], witnesses: list[str]) -> Result:
        document = json.dumps({"log": keys, "witnesses": witnesses}).encode()
        digest = sha256(document).digest()
        site.log.public.put(f"policy/{digest.hex()}", document)
        site.log.rows.append(PolicyRecord("keys", digest).to_entry())
        site.log.publish()
        return site.audit()

    own = site.log.policy.log_key.to_text()
    assert said([own], []).exit_code == 0
    witness = NoteSigner("w.example/w", SigningKey(b"w" * 32), cosigns=True).key.to_text()
    lacking = said([own], [f"witness w {witness}", "quorum w"])
    assert "0 of 1 that the clearinghouse names have signed: TOO FEW" in lacking.output
    assert lacking.exit_code == 4
    second = NoteSigner(site.log.origin, PostQuantumSigningKey(bytes(32))).key.to_text()
    assert "ML_DSA_44 signature is missing" in said([own, second], []).output
    other = NoteSigner(site.log.origin, SigningKey(bytes(32))).key.to_text()
    assert "another key than it names" in said([other], []).output
    site.log.rows.append(PolicyRecord("rules", bytes(32)).to_entry())
    site.log.publish()
    unserved = site.audit()
    assert "'rules' that the log names is not served" in unserved.output
    assert unserved.exit_code == 4


def test_a_platform_that_has_applied_everything_is_not_behind(site: Site) -> None:
    site.log.add()
    site.log.publish()
    for size in (1, 2):
        site.acknowledge("Quick Board", size)
        site.log.publish()
        (platform,) = json.loads(site.audit("--json").stdout)["platforms"]
        assert platform["behind"] == 0


def test_an_audit_for_programs_is_one_object(site: Site) -> None:
    site.log.add()
    site.log.publish()
    result = site.audit("--json", "--key", site.log.policy.log_key.to_text())
    report = json.loads(result.output)
    assert report["size"] == 1
    assert report["problems"] == []
    assert report["root"] == site.log.writer.checkpoint.root.hex()


def test_an_audit_tells_how_long_platforms_take(site: Site) -> None:
    site.log.add()
    site.log.publish()
    site.audit()
    for _ in range(4):
        site.log.add()
        site.log.publish()
        size = len(site.log.rows)
        site.acknowledge("Quick Board", size, after_seconds=2)
        site.acknowledge("Slow Board", size, after_seconds=40)
    site.log.publish()
    report = json.loads(site.audit("--json").stdout)
    delays = {each["name"]: each["median_seconds"] for each in report["platforms"]}
    # What is known of an entry begins with the publication before, a second earlier.
    assert 2 <= delays["Quick Board"] <= 3
    assert 36 <= delays["Slow Board"] <= 41


def rollback(log: TrialLog) -> None:
    other = TrialLog(0)
    other.rows.extend(log.rows[:-1])
    other.publish()
    log.public = other.public


def fork(log: TrialLog) -> None:
    other = TrialLog(0)
    other.rows.extend([*log.rows[1:], *log.rows])
    other.publish()
    log.public = other.public


def fork_of_equal_size(log: TrialLog) -> None:
    other = TrialLog(0)
    other.rows.extend([*log.rows[1:], log.rows[0]])
    other.publish()
    log.public = other.public


def entry_exchanged(log: TrialLog) -> None:
    log.add()
    log.publish()
    path = f"log/tile/entries/000.p/{len(log.rows)}"
    body = bytearray(log.public.get(path))
    body[-1] ^= 1
    log.public.put(path, bytes(body))


def other_key(log: TrialLog) -> None:
    other = TrialLog(5, origin=log.origin)
    other.rows.extend(log.rows)
    other.publish()
    log.public = other.public


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (rollback, RollbackError),
        (fork, ForkError),
        (fork_of_equal_size, ForkError),
        (entry_exchanged, ForkError),
        (other_key, MissingSignatureError),
    ],
    ids=lambda value: value.__name__,
)
def test_an_audit_ends_in_an_error_when_the_log_lies(
    site: Site, wrong: Callable[[TrialLog], None], error: type[Exception]
) -> None:
    for _ in range(3):
        site.log.add()
    site.log.publish()
    assert site.audit().exit_code == 0
    before = site.state.read_bytes()
    wrong(site.log)
    result = site.audit()
    assert type(result.exception) is error
    assert site.state.read_bytes() == before


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        pytest.param(Entry(EntryKind.ACK, b"short"), "malformed", id="acknowledgement"),
        pytest.param(
            AckRecord("Board", 99, START.replace(microsecond=0)).to_entry(),
            "what was not there yet",
            id="acknowledges the future",
        ),
        pytest.param(
            CanaryEpoch(1, bytes(32)).reveal([]).to_entry(),
            "not the one committed to",
            id="seed out of nowhere",
        ),
    ],
)
def test_an_audit_says_what_is_wrong_in_an_entry(site: Site, entry: Entry, problem: str) -> None:
    site.log.rows.append(entry)
    site.log.publish()
    result = site.audit()
    assert result.exit_code == 4
    assert problem in result.output
    assert problem in site.audit().output, "a log that was wrong once stays so"


@pytest.mark.parametrize("is_honest", [True, False], ids=["synthetic", "a person's listing"])
def test_an_audit_checks_that_revealed_canaries_were_synthetic(
    site: Site, *, is_honest: bool
) -> None:
    epoch = CanaryEpoch(1, bytes(range(32)), count=3)
    site.log.rows.append(epoch.commitment().to_entry())
    rows = []
    for number in range(epoch.count):
        rows.append((len(site.log.rows), HOUR_NUMBER, 0))
        site.log.rows.append(epoch.entry(number, HOUR))
    if not is_honest:
        site.log.add()
        site.log.rows[2] = site.log.rows.pop()
    site.log.rows.append(epoch.reveal(rows).to_entry())
    site.log.publish()
    result = site.audit()
    assert result.exit_code == (0 if is_honest else 4)
    assert ("withheld as a canary was none" in result.output) is not is_honest
    if is_honest:
        assert "at most 0 may be kept from a platform" in result.output
        assert "1 earlier set was revealed and checked" in result.output


@pytest.mark.parametrize("lie", ["too many", "too many epochs", "elsewhere"])
def test_an_audit_holds_the_clearinghouse_to_the_bound_on_canaries(site: Site, lie: str) -> None:
    site.log.add()
    epoch = CanaryEpoch(1, bytes(32), count=1)
    site.log.rows.append(epoch.commitment().to_entry())
    wanted = "had more canaries than was said, or elsewhere"
    if lie == "too many epochs":
        wanted = "began before the last but one was revealed"
        for number in (2, 3):
            site.log.rows.append(CanaryEpoch(number, bytes(32)).commitment().to_entry())
    else:
        rows = [(2, 0, 0), (3, 0, 0)] if lie == "too many" else [(0, 0, 0)]
        site.log.pad(3)
        site.log.rows.append(epoch.reveal(rows).to_entry())
    site.log.publish()
    result = site.audit()
    assert wanted in result.output
    assert result.exit_code == 4


def test_an_address_without_a_log_is_an_error_to_retry(site: Site) -> None:
    result = site.audit("--key", site.log.policy.log_key.to_text())
    assert isinstance(result.exception, TransportError)
