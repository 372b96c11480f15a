"""Anybody audits the running log, and another organisation's witness survives its machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import Demo, free_port, unspread, until
from tests.journeys.log_stand import (
    clearinghouse_program,
    following,
    invited,
    witness_program,
    witnessed,
)
from unspread.crypto import Receipt
from unspread.fingerprint import fingerprint_image
from unspread.model import Age
from unspread.person.client import Clearinghouse
from unspread.testing.feed import TrialLog
from unspread.testing.samples import encoded, landscape
from unspread.transparency.note import Note, SignatureKind, VerifierKey
from unspread.transparency.policy import trial_policy
from unspread.transparency.tiles import TileReader
from unspread.transparency.witness import Witnesses

pytestmark = pytest.mark.journey


def audited(demo: Demo, state: Path) -> dict:
    done = unspread("audit", demo.url, "--state", str(state), "--json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_anybody_audits_the_log_while_a_listing_comes_and_goes(demo, tmp_path):
    state, picture = tmp_path / "audit.json", tmp_path / "picture.jpg"
    picture.write_bytes(encoded(landscape(40_001), "JPEG"))
    before = audited(demo, state)
    receipt = demo.submit(picture)["receipt"]
    listed = audited(demo, state)
    assert listed["size"] > before["size"]
    demo.withdraw(receipt)
    gone = until(lambda: next((r for r in [audited(demo, state)] if r["grown"]), None))
    assert gone["size"] > listed["size"]
    words = unspread("audit", demo.url, "--state", str(state)).stdout
    assert "they continue what the last audit saw" in words
    assert "Wrong            nothing" in words


def test_status_checks_on_this_machine_that_an_item_stands_in_the_log(demo, tmp_path):
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(encoded(landscape(40_004), "JPEG"))
    receipt = demo.submit(picture)["receipt"]
    item = until(lambda: next((i for i in demo.status(receipt)["items"] if i["log"]), None))
    assert item["log"]["proof"] == "holds"
    assert item["log"]["entries"] > item["log"]["index"] == item["listing_id"]
    options = ["--at", demo.url]
    assert "its proof holds" in unspread("status", *options, stdin=receipt).stdout
    # Somebody who knows the log's key from elsewhere need not believe the site.
    about = httpx.get(f"{demo.url}/v1/about").json()
    other = VerifierKey(about["log_origin"], SignatureKind.ED25519, bytes(32)).to_text()
    refused = unspread("status", *options, "--log-key", other, stdin=receipt, check=False)
    assert refused.returncode == 4
    assert "WARNING" in refused.stdout
    assert "Submitted on" in refused.stdout


def test_a_witness_that_was_killed_signs_no_fork(tmp_path):
    log = TrialLog(0)
    log.enrol()
    log.add()
    log.publish()
    with witness_program(log.policy.log_key, tmp_path) as (url, key, _):
        signatures = cosigned(log, url, key)
        assert len(signatures) == 1
    fork = TrialLog(0)
    fork.random.seed(7)
    fork.add()
    fork.publish()
    log.add()
    log.publish()
    with witness_program(log.policy.log_key, tmp_path) as (url, again, _):
        assert again == key
        assert cosigned(fork, url, key) == []
        signatures = cosigned(log, url, key)
        note = Note.from_bytes(log.public.get("log/checkpoint"))
        policy = trial_policy(log.origin, log.log_key.public, [key], quorum=1)
        assert policy.verify(Note(note.text, (*note.signatures, *signatures))).size == 2


def test_what_two_witnesses_have_signed_is_published_and_followed(tmp_path):
    picture = fingerprint_image(encoded(landscape(40_002), "JPEG"))
    with witnessed(tmp_path, ("one.example/witness", "two.example/witness")) as (url, policy):
        data, platform = tmp_path / "clearinghouse", tmp_path / "platform"
        invited(data, url, platform)
        # The platform trusts nothing that both have not signed, with both of their keys.
        with following(platform, witness_policy=policy) as kit:
            receipt = Receipt(os.urandom(13))
            with Clearinghouse(url) as clearinghouse:
                clearinghouse.submit(receipt, [picture], Age.UNKNOWN)
                until(lambda: len(kit.bank))
                clearinghouse.withdraw(receipt, [0])
                until(lambda: not len(kit.bank))
            options = ["--state", str(tmp_path / "audit.json"), "--policy", str(policy)]

            def has_applied_everything():
                report = json.loads(unspread("audit", url, *options, "--json").stdout)
                (board,) = report["platforms"]
                return report if board["acknowledged_at"] and not board["behind"] else None

            # What it has applied stands in the log within seconds.
            report = until(has_applied_everything)
            words = unspread("audit", url, *options).stdout
    assert list(report["witnesses"]) == ["one.example/witness", "two.example/witness"]
    assert report["problems"] == []
    assert report["is_signed_twice"]
    assert "2 of 2 that you trust have signed: enough" in words
    assert "Board: has applied everything" in words


@pytest.mark.long
def test_log_and_feed_live_in_a_bucket_that_platforms_read(tmp_path):
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        public = {"x-amz-acl": "public-read"}
        httpx.put(f"{endpoint}/bucket", headers=public).raise_for_status()
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "training",
            "AWS_SECRET_ACCESS_KEY": "training",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        data, platform = tmp_path / "data", tmp_path / "platform"
        options = ["--store", "s3://bucket/unspread", "--feed-url", f"{endpoint}/bucket/unspread"]
        with clearinghouse_program(data, free_port(), *options, environment=environment) as url:
            invited(data, url, platform)
            # Segments come from the bucket, pushes from the clearinghouse.
            membership = json.loads((platform / "lists" / "unspread.json").read_text())
            assert membership["feed"] == f"{endpoint}/bucket/unspread"
            with following(platform) as kit, Clearinghouse(url) as clearinghouse:
                receipt = Receipt(os.urandom(13))
                picture = fingerprint_image(encoded(landscape(40_003), "JPEG"))
                clearinghouse.submit(receipt, [picture], Age.UNKNOWN)
                until(lambda: len(kit.bank))
                clearinghouse.withdraw(receipt, [0])
                until(lambda: not len(kit.bank))
            # The clearinghouse serves the same files itself, and says that all is well.
            until(
                lambda: (
                    httpx.get(f"{url}/log/checkpoint").content
                    == httpx.get(f"{endpoint}/bucket/unspread/log/checkpoint").content
                )
            )
            assert unspread("audit", url, "--state", str(tmp_path / "a.json")).returncode == 0
            check = [sys.executable, "-m", "unspread", "clearinghouse", "check"]
            checked = subprocess.run(
                [*check, "--data", str(data), "--store", "s3://bucket/unspread"],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
            assert checked.returncode == 0, checked.stdout
        assert not any(path.is_file() for path in (data / "public").rglob("*"))
    finally:
        server.stop()


def cosigned(log: TrialLog, url: str, key: VerifierKey) -> list:
    note = Note.from_bytes(log.public.get("log/checkpoint"))
    tree = TileReader(lambda path: log.public.get(f"log/{path}"), log.writer.size)
    with httpx.Client(timeout=30) as client:
        return Witnesses(client, [(key, url)])(note, tree.node)
