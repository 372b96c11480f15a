"""A witness signs what continues the log it knows, over real HTTP, whatever happens to it."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from unspread.crypto import PostQuantumSigningKey, SigningKey
from unspread.errors import InputError
from unspread.feed.writer import FeedWriter
from unspread.testing.feed import START, TrialLog
from unspread.transparency.note import Note, NoteSigner, SignatureKind, VerifierKey
from unspread.transparency.policy import Group, LogPolicy, PolicyFile
from unspread.transparency.proof import consistency_proof
from unspread.transparency.tiles import TileReader
from unspread.transparency.witness import CosignRequest, Witness, Witnesses
from unspread.transparency.witness_command import make_server, signing_seed

NAMES = ["one.example/w", "two.example/w"]


def signers(name: str) -> list[NoteSigner]:
    seed = hashlib.sha256(name.encode()).digest()
    return [
        NoteSigner(name, SigningKey(seed), cosigns=True),
        NoteSigner(name, PostQuantumSigningKey(seed)),
    ]


@dataclass
class Serving:
    url: str
    keys: list[VerifierKey]


@pytest.fixture
def log() -> TrialLog:
    log = TrialLog(0)
    log.enrol()
    return log


@pytest.fixture
def serving(log: TrialLog, tmp_path: Path) -> Iterator[list[Serving]]:
    servers = []
    found = []
    for number, name in enumerate(NAMES):
        witness = Witness(signers(name), [log.policy.log_key], tmp_path / f"{number}.sqlite")
        server = make_server(witness, "127.0.0.1", 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        found.append(Serving(url, [each.key for each in signers(name)]))
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


def witnessed(log: TrialLog, serving: list[Serving], threshold: int) -> None:
    """Let the log ask these witnesses, and its readers need a number of them."""
    pairs = [(key, each.url) for each in serving for key in each.keys]
    quorum = Group(threshold, tuple(Group(1, tuple(each.keys)) for each in serving))
    log.policy = LogPolicy(log.policy.log_key, quorum)
    log.writer = FeedWriter(
        origin=log.origin,
        log_key=log.log_key,
        public=log.public,
        private=log.private,
        source=log.source,
        cosign=Witnesses(httpx.Client(timeout=20), pairs),
        quorum=quorum,
    )


def request_for(log: TrialLog, old_size: int) -> CosignRequest:
    """What the log would ask a witness for its present checkpoint."""
    note = Note.from_bytes(log.public.get("log/checkpoint"))
    tree = TileReader(lambda path: log.public.get(f"log/{path}"), log.writer.size)
    proof = tuple(consistency_proof(tree.node, old_size, log.writer.size))
    return CosignRequest(old_size, proof, Note(note.text, note.signatures[:1]))


def test_a_witnessed_log_is_followed(log: TrialLog, serving: list[Serving]) -> None:
    witnessed(log, serving, 2)
    reader = log.reader()
    for _ in range(5):
        log.add()
        log.publish()
        log.follow(reader)
        assert reader.size == len(log.rows)
    note = Note.from_bytes(log.public.get("log/checkpoint"))
    assert set(log.policy.witnessed_at(note)) == set(NAMES)
    kinds = {key.kind for key in note.signed_by(log.policy.quorum.witnesses())}
    assert kinds == {SignatureKind.COSIGNATURE_ED25519, SignatureKind.COSIGNATURE_ML_DSA_44}


def test_without_a_quorum_the_list_before_stands(log: TrialLog, serving: list[Serving]) -> None:
    witnessed(log, serving, 2)
    log.add()
    log.publish()
    reader = log.reader()
    log.follow(reader)
    gone = Serving("http://127.0.0.1:9", serving[1].keys)
    witnessed(log, [serving[0], gone], 2)
    log.add()
    assert log.publish() == 1
    assert log.follow(reader) == []
    witnessed(log, serving, 2)
    assert log.publish() == 2
    assert len(log.follow(reader)) == 1


def test_a_witness_refuses_what_the_protocol_says(log: TrialLog, serving: list[Serving]) -> None:
    url = serving[0].url + "/add-checkpoint"
    for _ in range(5):
        log.add()
    log.publish()
    first = request_for(log, 0)
    assert httpx.post(url, content=first.to_bytes()).status_code == 200
    # Again is no harm, but from where it stands.
    again = httpx.post(url, content=first.to_bytes())
    assert (again.status_code, again.text) == (409, "5\n")
    assert again.headers["Content-Type"] == "text/x.tlog.size"
    assert httpx.post(url, content=request_for(log, 5).to_bytes()).status_code == 200

    fork = TrialLog(0)
    fork.rows.extend([*log.rows[:2], log.rows[4], *log.rows[3:]])
    fork.publish()
    same_size = CosignRequest(5, (), request_for(fork, 5).note)
    assert httpx.post(url, content=same_size.to_bytes()).status_code == 409
    fork.rows.extend(log.rows)
    fork.publish()
    longer = request_for(fork, 5)
    assert httpx.post(url, content=longer.to_bytes()).status_code == 422

    log.add()
    log.publish()
    good = request_for(log, 5)
    too_far = CosignRequest(7, (), good.note)
    assert httpx.post(url, content=too_far.to_bytes()).status_code == 400
    unsigned = CosignRequest(5, good.proof, Note(good.note.text, first.note.signatures))
    assert httpx.post(url, content=unsigned.to_bytes()).status_code == 403
    stranger = TrialLog(3, origin="log.example/other")
    stranger.add()
    stranger.publish()
    assert httpx.post(url, content=request_for(stranger, 0).to_bytes()).status_code == 404
    assert httpx.post(url, content=b"old 1\n").status_code == 400
    assert httpx.post(url, content=b"x" * 400_000).status_code == 413
    assert httpx.post(serving[0].url + "/other", content=b"").status_code == 404
    # After all that it still signs what is right.
    assert httpx.post(url, content=good.to_bytes()).status_code == 200


def test_a_witness_remembers_after_a_restart(log: TrialLog, tmp_path: Path) -> None:
    log.add()
    log.publish()
    database = tmp_path / "witness.sqlite"
    keys = [log.policy.log_key]
    body = request_for(log, 0).to_bytes()
    assert Witness(signers("w"), keys, database).add_checkpoint(body, START).status == 200
    again = Witness(signers("w"), keys, database)
    assert again.add_checkpoint(body, START).status == 409
    shown = again.latest(hashlib.sha256(log.origin.encode()).hexdigest())
    assert Note.from_bytes(shown.body).signed_by([signers("w")[0].key])


def test_two_forks_at_once_get_one_signature_between_them(log: TrialLog, tmp_path: Path) -> None:
    log.add()
    log.publish()
    fork = TrialLog(0)
    fork.random.seed(9)
    fork.add()
    fork.publish()
    witness = Witness(signers("w"), [log.policy.log_key], tmp_path / "w.sqlite")
    statuses: list[int] = []
    bodies = [request_for(each, 0).to_bytes() for each in (log, fork)] * 4
    threads = [
        threading.Thread(
            target=lambda body=body: statuses.append(witness.add_checkpoint(body, START).status)
        )
        for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "key"
    seed = signing_seed(file)
    assert signing_seed(file) == seed
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"short")
    with pytest.raises(InputError):
        signing_seed(file)


def policy_text(*lines: str) -> str:
    keys = {name: signers(name)[0].key.to_text() for name in ("x1", "x2", "x3", "y1", "y2")}
    log_key = TrialLog(0).policy.log_key.to_text()
    return "\n".join(lines).format(log=log_key, **keys) + "\n"


def test_a_policy_file_with_nested_groups_means_what_the_specification_says() -> None:
    policy = PolicyFile.from_text(
        policy_text(
            "# a comment",
            "log {log} https://list.example/log",
            "witness X1 {x1} https://one.example",
            "\twitness X2 {x2}",
            "witness X3 {x3}",
            "group X-witnesses 2 X1 X2 X3",
            "witness Y1 {y1}",
            "group X-and-Y all X-witnesses Y1",
            "quorum X-and-Y",
        )
    )
    x1, x2, x3, y1 = (signers(name)[0].key for name in ("x1", "x2", "x3", "y1"))
    assert policy.for_log().origin == TrialLog(0).origin
    assert policy.witnesses[0] == (x1, "https://one.example")
    for signed, is_met in [
        ({x1, x2, y1}, True),
        ({x2, x3, y1}, True),
        ({x1, x2, x3}, False),
        ({x1, y1}, False),
        (set(), False),
    ]:
        assert policy.quorum.is_met_by(signed) is is_met
    assert PolicyFile.from_text("quorum none\n").quorum.is_met_by(set())


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="no quorum"),
        pytest.param(["quorum X1"], id="unknown name"),
        pytest.param(["quorum none", "quorum none"], id="two quorums"),
        pytest.param(["witness a {x1}", "witness b {x1}", "quorum a"], id="key twice"),
        pytest.param(["witness a {x1}", "witness a {x2}", "quorum a"], id="name twice"),
        pytest.param(["witness none {x1}", "quorum none"], id="reserved name"),
        pytest.param(["witness a {x1}", "group g 2 a", "quorum g"], id="threshold too high"),
        pytest.param(["witness a {x1}", "group g 0 a", "quorum g"], id="threshold of none"),
        pytest.param(["group g any a", "witness a {x1}", "quorum g"], id="used before defined"),
        pytest.param(
            ["witness a {x1}", "group g any a", "group h any a g", "quorum h"], id="member twice"
        ),
        pytest.param(["log nonsense", "quorum none"], id="not a key"),
        pytest.param(["something else", "quorum none"], id="unknown word"),
        pytest.param(["quorum none\x07"], id="control character"),
    ],
)
def test_a_policy_file_that_is_wrong_is_refused(lines: list[str]) -> None:
    with pytest.raises(InputError):
        PolicyFile.from_text(policy_text(*lines))
