import base64
import json

import httpx
import pytest

from unspread.clearinghouse.exchange_api import AuditFiles, Call
from unspread.clearinghouse.exchange_keys import new_secret, secret_digest
from unspread.errors import InputError, TransportError
from unspread.exchange import transfer
from unspread.exchange.listings import Scope
from unspread.model import Age, Level, Media
from unspread.testing.listings import sample_picture


def basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {text}"}


def test_a_wrong_key_opens_nothing_and_tells_nothing(world):
    acme = world.acme
    client = world.client("/ncmec")
    for headers in (
        {},
        {"authorization": "Basic %%%"},
        {"authorization": "Bearer " + acme.password},
        basic("acme", "wrong"),
        basic("other", acme.password),
        basic("acme", acme.fetch_key),
        basic("acme", ""),
    ):
        answer = client.get("/v2/status", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    te = world.client("/threatexchange")
    for token in ("", acme.token.replace("1", "2", 1), "10000002|", acme.token[:-1]):
        answer = te.get("/1", params={"access_token": token})
        assert answer.status_code == 401


def test_a_replaced_key_works_until_its_end_and_a_revoked_one_not_at_all(world):
    acme = world.acme
    client = world.client("/ncmec")
    world.keys.revoke(acme.password, int(world.clock()) + 60)
    assert client.get("/v2/status", headers=basic("acme", acme.password)).status_code == 200
    world.clock.tick(60)
    assert client.get("/v2/status", headers=basic("acme", acme.password)).status_code == 401


def test_a_key_that_may_only_read_cannot_vote(world):
    reader = world.partner("reader", Scope(may_give_feedback=False))
    listing = world.listings.list_item(sample_picture(world.random))
    answer = world.ncmec(reader).put(f"/v2/entries/1/{listing}/PDQ/feedback", content=b"<a/>")
    assert answer.status_code == 403
    assert world.audit.calls[-1].status == 403


def test_every_call_is_noted_without_fingerprints_queries_or_keys(world, tmp_path):
    prints = sample_picture(world.random)
    listing = world.listings.list_item(prints)
    world.clock.tick(10)
    client = world.ncmec()
    client.get("/v2/entries")
    client.put(f"/v2/entries/1/{listing}/PDQ/feedback", content=b"<x/>")
    client.get("/v2/status", auth=("acme", "wrong"))
    assert [(call.operation, call.status, call.records) for call in world.audit.calls] == [
        ("entries", 200, 1),
        ("feedback", 400, 0),
        ("status", 401, 0),
    ]
    assert [bool(call.key_id) for call in world.audit.calls] == [True, True, False]
    files = AuditFiles(tmp_path / "audit")
    for call in world.audit.calls:
        files.note(call)
    [file] = (tmp_path / "audit").iterdir()
    text = file.read_text()
    assert [Call(**json.loads(line)) for line in text.splitlines()] == world.audit.calls
    assert prints[0].value.hex() not in text
    assert world.acme.password not in text


def test_notes_of_calls_are_deleted_after_a_year(tmp_path):
    files = AuditFiles(tmp_path)
    now = 1_795_000_000
    for days in (400, 366, 365, 1, 0):
        files.note(Call(now - days * 86_400, "k", "ncmec", "entries", 200, 1))
    other = tmp_path / "exchange-notes.jsonl"
    other.touch()
    kept = [
        tmp_path / f"exchange-{day}.jsonl" for day in ("2025-11-18", "2026-11-17", "2026-11-18")
    ]
    assert not files.forget_old(now)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, other])
    assert not AuditFiles(tmp_path / "none").forget_old(now)


def test_answers_are_kept_by_no_cache_and_large_documents_are_refused(world):
    client = world.ncmec()
    assert client.get("/v2/status").headers["cache-control"] == "no-store"
    answer = client.put("/v2/entries/1/0/PDQ/feedback", content=b"<a>" + b" " * 70_000)
    assert answer.status_code == 400


def test_a_database_that_is_busy_is_a_reason_to_come_back(world, monkeypatch):
    def busy(*_args, **_kwargs):
        raise TransportError("too many are writing at once")

    monkeypatch.setattr(world.listings, "members", busy)
    answer = world.ncmec().get("/v2/members")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert world.audit.calls[-1].status == 503


def test_a_key_is_long_random_and_kept_as_a_digest():
    one, other = new_secret(bytes(24)), new_secret(bytes(23) + b"\1")
    assert len(one) == 37
    assert one.startswith("unsp_")
    assert secret_digest(one) != secret_digest(other)
    assert len(secret_digest(one)) == 32


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (Scope(), "read feedback"),
        (Scope(may_submit=True, may_read=False), "feedback submit"),
        (
            Scope(
                ages=frozenset({Age.MINOR, Age.UNKNOWN}),
                media=frozenset({Media.IMAGE}),
                levels=frozenset({Level.CONFIRMED, Level.CORROBORATED}),
                windows=True,
                may_give_feedback=False,
            ),
            "read ages=minor,unknown media=image levels=confirmed,corroborated windows=yes",
        ),
    ],
)
def test_a_scope_has_one_text(scope, text):
    assert scope.to_text() == text
    assert Scope.from_text(text) == scope


@pytest.mark.parametrize(
    "text", ["write", "read ages=old", "read colour=red", "read levels=quarantined", "ages="]
)
def test_a_scope_of_something_else_is_refused(text):
    with pytest.raises(InputError):
        Scope.from_text(text)


def sending(handler) -> transfer.Response:
    with httpx.Client(transport=httpx.MockTransport(handler), base_url="http://p/b") as client:
        return transfer.send(client, transfer.Request("GET", "/x?access_token=secret"))


def test_a_request_goes_below_the_programmes_address():
    assert sending(lambda request: httpx.Response(200, text=str(request.url))).body == (
        b"http://p/b/x?access_token=secret"
    )


def test_silence_is_a_transport_error_that_shows_no_address():
    def silent(request):
        raise httpx.ConnectTimeout("http://p/b/x?access_token=secret")

    with pytest.raises(TransportError) as caught:
        sending(silent)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(transfer, "MAX_ANSWER_BYTES", 1000)
    with pytest.raises(TransportError):
        sending(lambda _: httpx.Response(200, content=bytes(1001)))
