"""Partners: how they get in, what they may do, how they are stopped."""

import base64
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from unspread.case_protocol import from_b64, to_b64
from unspread.clearinghouse import partners
from unspread.clearinghouse.audit import trail
from unspread.clearinghouse.staff import members
from unspread.crypto import SigningKey
from unspread.errors import StateError, TransportError
from unspread.exchange.blind_lookup import Blinded, bucket_of, encoded, finalize, find_record
from unspread.model import Fingerprint, Kind, Level, Part
from unspread.platform_kit import enrolment
from unspread.platform_kit.signing import sign

from .conftest import URL, Platform, Running, admitted, pdq, picture, receipt, until

BODY = b'{"feedback": []}'
FEEDBACK = "/v1/feedback"


def invited(at: Running, **options: Any) -> str:
    invitation: str = at.service.writer.submit(
        lambda tx: partners.invite(
            tx,
            "Sample board",
            role="platform",
            scopes=options.get("scopes", frozenset({"feed", "feedback"})),
            by="A",
        )
    ).result()
    return invitation


def approve(at: Running, partner_id: str, by: str) -> bool:
    active: bool = at.service.writer.submit(
        lambda tx: partners.approve(tx, partner_id, by=by)
    ).result()
    return active


def test_two_members_of_staff_let_a_partner_in(clearinghouse: Running) -> None:
    platform = Platform(clearinghouse)
    answer = platform.enroll(invited(clearinghouse))
    assert (answer.status_code, answer.json()["state"]) == (201, "enrolled")
    assert platform.signed_post(FEEDBACK, BODY).status_code == 401
    assert not approve(clearinghouse, platform.partner_id, "A")
    assert not approve(clearinghouse, platform.partner_id, "A")  # the same person counts once
    assert platform.signed_post(FEEDBACK, BODY).status_code == 401
    assert approve(clearinghouse, platform.partner_id, "B")
    assert platform.signed_post(FEEDBACK, BODY).status_code == 200


def test_the_command_line_approves_only_until_two_can_sign_in(clearinghouse: Running) -> None:
    write = clearinghouse.service.writer.submit

    def joins(name: str, role: members.Role) -> None:
        secret = write(lambda tx: members.invite(tx, name, role, by="command line")).result()
        write(lambda tx: members.register(tx, secret, name.encode(), b"key", 0)).result()

    def on_command_line(partner_id: str) -> bool:
        return write(
            lambda tx: partners.approve(tx, partner_id, by="A", signed=False)
        ).result()  # fmt: skip

    platforms = [Platform(clearinghouse, name) for name in ("One", "Two")]
    for each in platforms:
        assert each.enroll(invited(clearinghouse)).is_success
    joins("Anna", members.Role.ONBOARDING)
    joins("Cleo", members.Role.AUDITOR)
    assert not on_command_line(platforms[0].partner_id)
    joins("Ben", members.Role.ONBOARDING)
    with pytest.raises(partners.PartnerStateError, match="at /staff/partners"):
        on_command_line(platforms[0].partner_id)
    # One of them said yes on the command line; nobody said yes twice.
    assert approve(clearinghouse, platforms[0].partner_id, "Anna")
    assert not approve(clearinghouse, platforms[1].partner_id, "Anna")
    write(lambda tx: members.dismiss(tx, "Ben", by="command line")).result()
    assert on_command_line(platforms[1].partner_id)
    actors = [e.actor for e in clearinghouse.service.readers.ask_now(lambda c: list(trail(c)))]
    assert actors.count("A (command line)") == 3  # two approvals, of which one made it active


def test_a_partner_without_keys_is_admitted_by_two(clearinghouse: Running) -> None:
    write = clearinghouse.service.writer.submit
    partner_id = invited(clearinghouse).partition(".")[0]
    with pytest.raises(partners.PartnerStateError):
        approve(clearinghouse, partner_id, "Anna")

    def admit(by: str) -> bool:
        return write(
            lambda tx: partners.approve(tx, partner_id, by=by, without_keys=True)
        ).result()  # fmt: skip

    assert not admit("Anna")
    assert not admit("Anna")
    assert admit("Ben")


def test_an_invitation_serves_one_pair_of_keys(clearinghouse: Running) -> None:
    invitation = invited(clearinghouse)
    first, second = Platform(clearinghouse), Platform(clearinghouse)
    assert first.enroll(invitation).status_code == 201
    assert first.enroll(invitation).status_code == 201  # a lost answer costs nothing
    assert second.enroll(invitation).status_code == 404
    assert second.enroll("made-up.invitation").status_code == 404


def test_an_approval_is_of_keys(clearinghouse: Running) -> None:
    """Approved once, then suspended and resumed: two have to say yes again."""
    platform = admitted(clearinghouse)
    write = clearinghouse.service.writer.submit
    write(lambda tx: partners.suspend(tx, platform.partner_id, by="A", reason="leak")).result()
    assert platform.signed_post(FEEDBACK, BODY).status_code == 401
    write(lambda tx: partners.resume(tx, platform.partner_id, by="A")).result()
    assert not approve(clearinghouse, platform.partner_id, "A")
    assert approve(clearinghouse, platform.partner_id, "B")


def test_a_suspended_partners_feed_is_gone(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    latest = f"/feed/{platform.partner_id}/latest"
    clearinghouse.submit(receipt(), [picture(1)])
    until(lambda: clearinghouse.get(latest).status_code == 200)
    clearinghouse.service.writer.submit(
        lambda tx: partners.suspend(tx, platform.partner_id, by="A", reason="leak")
    ).result()
    until(lambda: clearinghouse.get(latest).status_code == 404)
    feeds = clearinghouse.service.settings.blobs / "feed"
    until(lambda: not list(feeds.glob("*/seg/*")))


def _other_path(platform: Platform, headers: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    return "/v1/acknowledge", BODY, headers


def _other_body(platform: Platform, headers: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    return FEEDBACK, BODY + b" ", headers


def _no_nonce(platform: Platform, headers: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    plain = {name: value.replace(";nonce=", ";tag=") for name, value in headers.items()}
    return FEEDBACK, BODY, plain


def _unsigned(platform: Platform, headers: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    return FEEDBACK, BODY, {}


def _two_signers(platform: Platform, headers: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    name = "signature-input"
    return FEEDBACK, BODY, headers | {name: headers[name] + f', x=("@method");keyid="{name}"'}


@pytest.mark.parametrize("forge", [_other_path, _other_body, _no_nonce, _unsigned, _two_signers])
def test_a_signature_is_for_one_request(
    clearinghouse: Running,
    forge: Callable[[Platform, dict[str, str]], tuple[str, bytes, dict[str, str]]],
) -> None:
    platform = admitted(clearinghouse)
    path, body, headers = forge(platform, platform.signature(FEEDBACK, BODY))
    answer = clearinghouse.request("POST", path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/cases", b'{"case_key": "\xff"}'),
        ("/v1/cases/status", b'{"case_key": "\xff"}'),
        ("/v1/cases/withdraw", b'{"withdrawals": [{"item_key": "\xff"}]}'),
        ("/v1/partners/enroll", b'{"invitation": "\xff"}'),
    ],
)
def test_a_message_that_is_not_utf8_is_refused(
    clearinghouse: Running, path: str, body: bytes
) -> None:
    assert clearinghouse.post(path, body).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (FEEDBACK, b'{"feedback": [{"id": "\xff"}]}'),
        ("/v1/acknowledge", b'{"root": "\xff"}'),
        ("/v1/partners/rotate", b'{"signing_key": "\xff"}'),
    ],
)
def test_a_signed_message_that_is_not_utf8_is_refused(
    clearinghouse: Running, path: str, body: bytes
) -> None:
    assert admitted(clearinghouse).signed_post(path, body).status_code == 400


def test_a_signature_serves_once(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    headers = platform.signature(FEEDBACK, BODY)
    post = lambda: clearinghouse.request("POST", FEEDBACK, content=BODY, headers=headers)  # noqa: E731
    assert [post().status_code, post().status_code] == [200, 401]


def test_a_partner_without_the_scope_is_refused(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse, scopes=frozenset({"feed"}))
    assert platform.signed_post(FEEDBACK, BODY).status_code == 401


def test_keys_are_rotated_without_a_gap(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    old, new = platform.signing_key, SigningKey(os.urandom(32))
    body = f'{{"signing_key": "{to_b64(new.public)}"}}'.encode()
    assert platform.signed_post("/v1/partners/rotate", body).status_code == 200
    assert platform.signed_post(FEEDBACK, BODY).status_code == 200  # the old one still serves
    platform.signing_key = new
    assert platform.signed_post(FEEDBACK, BODY).status_code == 200  # the new one takes over
    platform.signing_key = old
    assert platform.signed_post(FEEDBACK, BODY).status_code == 401


class _Wire(httpx.BaseTransport):
    """To the clearinghouse in this process; loses the answers that it is told to."""

    def __init__(self, at: Running) -> None:
        self._at = at
        self.lost = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._at.request(
            request.method, request.url.path, content=request.read(), headers=request.headers
        )
        if self.lost:
            self.lost -= 1
            raise httpx.ReadTimeout("lost")
        return httpx.Response(answer.status_code, content=answer.content)


def test_a_platform_replaces_its_key_even_if_an_answer_is_lost(
    clearinghouse: Running, tmp_path: Path
) -> None:
    wire = _Wire(clearinghouse)
    with httpx.Client(transport=wire) as http:
        with pytest.raises(StateError):
            enrolment.rotate(tmp_path, "unspread", http=http, now=datetime.now(UTC))
        joined, _ = enrolment.enrol(
            tmp_path, "unspread", URL, invited(clearinghouse), "Board", http=http
        )
        for by in ("A", "B"):
            approve(clearinghouse, joined.partner_id, by)

        def tells(key: SigningKey) -> int:
            request = http.build_request("POST", f"{URL}{FEEDBACK}", content=BODY)
            nonce = os.urandom(8).hex()
            sign(request, key, key_id=joined.partner_id, created=datetime.now(UTC), nonce=nonce)
            return http.send(request).status_code

        wire.lost = 1
        with pytest.raises(TransportError):
            enrolment.rotate(tmp_path, "unspread", http=http, now=datetime.now(UTC))
        assert tells(joined.signing_key()) == 200
        after = enrolment.rotate(tmp_path, "unspread", http=http, now=datetime.now(UTC))
        assert after.signing_key().public != joined.signing_key().public
        assert tells(joined.signing_key()) == 200  # serves until the new one is used
        assert tells(after.signing_key()) == 200
        assert tells(joined.signing_key()) == 401
        ((_, kept),) = enrolment.memberships(tmp_path)
        assert kept == after


def test_feedback_for_what_does_not_exist_stores_nothing(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    told = b'{"id": "%d", "listing_id": %d, "kind": "found", "at": "2026-11-23T06:00:00Z"}'
    both = (
        b'{"feedback": ['
        + told % (1, clearinghouse.listing_id(receipt()))
        + b","
        + told % (2, 99)
        + b"]}"
    )
    assert platform.signed_post(FEEDBACK, both).status_code == 404
    stored = clearinghouse.service.readers.ask_now(lambda c: c.rows("SELECT 1 FROM feedback"))
    assert stored == []


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"listing_id": 2**63}, id="a listing beyond all"),
        pytest.param({"listing_id": -1}, id="a listing before all"),
        pytest.param({"count": 2**31}, id="more pieces than there are"),
        pytest.param({"count": 0}, id="no pieces"),
        pytest.param({"accounts": 2**31}, id="more accounts than there are"),
        pytest.param({"accounts": -1}, id="less than no account"),
        pytest.param({"id": ""}, id="without an id"),
        pytest.param({"at": "2026-11-23T06:00:00"}, id="without a zone"),
    ],
)
def test_feedback_out_of_range_is_refused_and_writing_goes_on(
    clearinghouse: Running, told: dict[str, object]
) -> None:
    platform = admitted(clearinghouse)
    piece = {"id": "a", "listing_id": 0, "kind": "found", "at": "2026-11-23T06:00:00Z"} | told
    body = json.dumps({"feedback": [piece]}).encode()
    assert platform.signed_post(FEEDBACK, body).status_code == 400
    assert clearinghouse.submit(receipt(), [picture(1)]).status_code == 201


def test_two_disputes_suspend_and_the_person_sees_it(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    told = (
        b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "disputed",'
        b' "reason": "public_interest", "at": "2026-11-23T06:00:00Z"}]}'
        % clearinghouse.listing_id(receipt())
    )
    for name in ("First", "Second"):
        assert admitted(clearinghouse, name).signed_post(FEEDBACK, told).is_success
    (item,) = clearinghouse.status(receipt()).json()["items"]
    assert (item["state"], item["level"]) == ("suspended", "disputed")
    assert item["reasons"] == ["two_disputes"]


def test_content_older_than_the_case_suspends(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    told = (
        b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "found",'
        b' "accounts": 10, "oldest_on": "2015-01-01", "at": "2026-11-23T06:00:00Z"}]}'
        % clearinghouse.listing_id(receipt())
    )
    assert platform.signed_post(FEEDBACK, told).is_success
    (item,) = clearinghouse.status(receipt()).json()["items"]
    assert (item["state"], item["reasons"]) == ("suspended", ["older_than_the_case"])


class Asker:
    """A platform that asks with tokens: private_key_jwt and DPoP."""

    def __init__(self, platform: Platform, at: Running) -> None:
        self.platform = platform
        self._at = at
        self.key = ECKey.generate_key("P-256")
        self.token = ""

    def assertion(self, **changed: Any) -> str:
        seed = self.platform.signing_key
        raw = {"kty": "OKP", "crv": "Ed25519", "x": to_b64(seed.public), "d": to_b64(seed.seed())}
        claims = {
            "iss": self.platform.partner_id,
            "sub": self.platform.partner_id,
            "aud": f"{URL}/v1/token",
            "exp": int(time.time()) + 60,
            "jti": os.urandom(8).hex(),
        } | changed
        key = OKPKey.import_key(raw)
        return jwt.encode({"alg": "Ed25519"}, claims, key, algorithms=["Ed25519"])

    def proof(self, path: str, *, token: str = "", **changed: Any) -> str:
        claims = {
            "htm": "POST",
            "htu": f"{URL}{path}",
            "iat": int(time.time()),
            "jti": os.urandom(8).hex(),
        }
        if token:
            claims["ath"] = to_b64(hashlib.sha256(token.encode()).digest())
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self.key.as_dict(private=False)}
        return jwt.encode(header, claims | changed, self.key, algorithms=["ES256"])

    def ask_token(self, *, assertion: str = "", proof: str = "", scope: str = "") -> Any:
        return self._at.request(
            "POST",
            "/v1/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion or self.assertion(),
                **({"scope": scope} if scope else {}),
            },
            headers={"dpop": proof or self.proof("/v1/token")},
        )

    def post(self, path: str, body: dict[str, Any], *, proof: str = "") -> Any:
        if not self.token:
            self.token = self.ask_token().json()["access_token"]
        headers = {
            "authorization": f"DPoP {self.token}",
            "dpop": proof or self.proof(path, token=self.token),
        }
        return self._at.request("POST", path, json=body, headers=headers)


@pytest.fixture
def asker(clearinghouse: Running) -> Asker:
    platform = admitted(clearinghouse, scopes=frozenset({"lookup", "blind", "feedback"}))
    return Asker(platform, clearinghouse)


def test_a_hosted_lookup_tells_match_level_and_handle_alone(
    clearinghouse: Running, asker: Asker
) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    near = bytearray(picture(1).fingerprints[0].value)
    near[0] ^= 0xFF
    queries = [
        {"pdq": bytes(near).hex()},
        {"sha256": picture(1).fingerprints[1].value.hex()},
        {"pdq": picture(2).fingerprints[0].value.hex()},
    ]
    first, second, third = asker.post("/v1/lookup", {"queries": queries}).json()["results"]
    assert first.keys() == {"match", "level", "part", "handle"}
    assert (first["match"], first["level"]) == (True, "unverified")
    assert first == second
    assert third == {"match": False}
    # The handle serves for feedback; the listing's number is not known to this partner.
    told = {
        "feedback": [
            {"id": "a", "listing_id": first["handle"], "kind": "removed",
             "at": "2026-11-23T06:00:00Z"}
        ]
    }  # fmt: skip
    assert asker.platform.signed_post(FEEDBACK, json.dumps(told).encode()).json() == {"new": 1}
    (result,) = asker.post("/v1/lookup", {"queries": queries[:1]}).json()["results"]
    assert result["level"] == "confirmed"
    clearinghouse.withdraw(receipt(), 0)
    assert (
        asker.post("/v1/lookup", {"queries": queries}).json()["results"] == [{"match": False}] * 3
    )


def test_a_part_of_a_listed_picture_is_said_to_be_one(clearinghouse: Running, asker: Asker) -> None:
    window = Fingerprint(Kind.PDQ, pdq(99), Part.WINDOW, 100)
    listed = picture(1)
    parts = dataclasses.replace(listed, fingerprints=(*listed.fingerprints, window))
    clearinghouse.submit(receipt(), [parts])
    queries = [{"pdq": pdq(99).hex()}, {"pdq": pdq(1).hex()}]
    results = asker.post("/v1/lookup", {"queries": queries}).json()["results"]
    assert [each["part"] for each in results] == ["window", "whole"]
    clearinghouse.withdraw(receipt(), 0)
    results = asker.post("/v1/lookup", {"queries": queries}).json()["results"]
    assert results == [{"match": False}] * 2


def test_a_blind_lookup_finds_a_digest_without_saying_it(
    clearinghouse: Running, asker: Asker
) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    key = clearinghouse.get("/v1/lookup/key").json()
    questions = [
        Blinded.of(encoded(Fingerprint(Kind.SHA256, seed.to_bytes(32, "big")))) for seed in (1, 2)
    ]
    body = {
        "elements": [to_b64(each.element) for each in questions],
        "buckets": [bucket_of(each.message) >> (16 - key["bits"]) for each in questions],
        "bits": key["bits"],
    }
    answer = asker.post("/v1/lookup/blind", body).json()
    outputs = finalize(
        questions,
        [from_b64(each, 32, "evaluated") for each in answer["evaluated"]],
        from_b64(answer["proof"], 64, "proof"),
        from_b64(key["public_key"], 32, "public_key"),
    )
    buckets = [base64.urlsafe_b64decode(each + "==") for each in answer["buckets"]]
    found, missing = (find_record(*pair) for pair in zip(outputs, buckets, strict=True))
    assert missing is None
    assert found is not None
    assert found[0] is Level.UNVERIFIED
    too_narrow = body | {"bits": key["bits"] + 1}
    assert asker.post("/v1/lookup/blind", too_narrow).status_code == 400


def test_suspension_ends_tokens_at_once(clearinghouse: Running, asker: Asker) -> None:
    query = {"queries": [{"md5": "00" * 16}]}
    assert asker.post("/v1/lookup", query).status_code == 200
    clearinghouse.service.writer.submit(
        lambda tx: partners.suspend(tx, asker.platform.partner_id, by="A", reason="leak")
    ).result()
    assert asker.post("/v1/lookup", query).status_code == 401
    assert asker.ask_token().status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"aud": "https://elsewhere.example/v1/token"}, id="for somebody else"),
        pytest.param({"exp": 1}, id="too old"),
        pytest.param({"exp": 4_000_000_000}, id="for ever"),
        pytest.param({"iss": "other"}, id="from another"),
        pytest.param({"exp": None}, id="without an end"),
    ],
)
def test_an_assertion_is_refused(asker: Asker, changed: dict[str, Any]) -> None:
    assert asker.ask_token(assertion=asker.assertion(**changed)).status_code == 401


def test_an_assertion_and_a_proof_serve_once(asker: Asker) -> None:
    assertion, proof = asker.assertion(), asker.proof("/v1/token")
    assert asker.ask_token(assertion=assertion, proof=proof).status_code == 200
    assert asker.ask_token(assertion=assertion).status_code == 401
    assert asker.ask_token(proof=proof).status_code == 401


def test_a_stolen_token_is_of_no_use(clearinghouse: Running, asker: Asker) -> None:
    query = {"queries": [{"md5": "00" * 16}]}
    asker.post("/v1/lookup", query)
    thief = Asker(asker.platform, clearinghouse)
    thief.token = asker.token
    assert thief.post("/v1/lookup", query).status_code == 401
    for proof in (
        asker.proof("/v1/lookup"),  # made for no token
        asker.proof("/v1/token", token=asker.token),  # for another address
        asker.proof("/v1/lookup", token=asker.token, htm="GET"),
        asker.proof("/v1/lookup", token=asker.token, iat=int(time.time()) - 120),
        "nonsense",
    ):
        assert asker.post("/v1/lookup", query, proof=proof).status_code == 401


def test_quotas_end_a_harvest(clearinghouse: Running, asker: Asker) -> None:
    query = {"queries": [{"md5": f"{number:032x}"} for number in range(100)]}
    answers = [asker.post("/v1/lookup", query) for _ in range(3)]
    assert {each.status_code for each in answers} == {200}
    service = clearinghouse.service
    service._lookup_questions.take_for(asker.platform.partner_id.encode(), 29_000)
    refused = [asker.post("/v1/lookup", query) for _ in range(12)][-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
