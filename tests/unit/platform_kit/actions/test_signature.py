"""Webhooks are signed as Standard Webhooks says, and nothing else is believed."""

import json
from datetime import UTC, datetime

import pytest
import standardwebhooks

from unspread.crypto import SigningKey
from unspread.errors import InputError
from unspread.platform_kit.actions.receive import received
from unspread.platform_kit.actions.signature import (
    TOLERANCE_SECONDS,
    PrivateKey,
    PublicKey,
    SharedSecret,
    WebhookSignatureError,
    key_from_text,
    signed_headers,
    verify,
)

NOW = 1_614_265_330
SECRET = SharedSecret.from_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = SharedSecret(b"another secret of 32 bytes......")
KEY = PrivateKey(SigningKey(bytes(range(32))))
BODY = b'{"test": 2432232314}'


def test_signature_is_the_published_example() -> None:
    # standard-webhooks/libraries/python/tests/test_webhooks.py, test_sign_function
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, BODY, [SECRET])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_accepts_what_we_sign() -> None:
    now = int(datetime.now(UTC).timestamp())
    headers = signed_headers("a1", now, BODY, [OTHER, SECRET])
    received = standardwebhooks.Webhook(SECRET.to_text()).verify(BODY.decode(), headers)
    assert received == json.loads(BODY)


def test_we_accept_what_the_reference_library_signs() -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    signature = standardwebhooks.Webhook(SECRET.to_text()).sign("a1", at, BODY.decode())
    headers = {"webhook-id": "a1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    assert verify(headers, BODY, [SECRET], NOW) == "a1"


@pytest.mark.parametrize("key", [SECRET, KEY], ids=["shared", "ed25519"])
def test_keys_survive_their_text_and_hide_in_their_repr(key: SharedSecret | PrivateKey) -> None:
    again = key_from_text(key.to_text() + "\n")
    assert again.signature(b"content") == key.signature(b"content")
    assert key.to_text().partition("_")[2] not in repr(key)


@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_a_receiver_can_check_either_kind_of_key_within_the_tolerance(late: int) -> None:
    headers = signed_headers("a1", NOW, BODY, [SECRET, KEY])
    assert verify(headers, BODY, [SECRET], NOW + late) == "a1"
    public = PublicKey.from_text(KEY.public().to_text())
    assert verify(headers, BODY, [public], NOW + late) == "a1"


SIGNED = signed_headers("a1", NOW, BODY, [SECRET, KEY])


@pytest.mark.parametrize(
    ("change", "body", "now"),
    [
        pytest.param({}, BODY + b" ", NOW, id="body changed"),
        pytest.param({"webhook-id": "a2"}, BODY, NOW, id="another id"),
        pytest.param({"webhook-id": "a1.1"}, BODY, NOW, id="dot in the id"),
        pytest.param({"webhook-timestamp": str(NOW + 1)}, BODY, NOW, id="another time"),
        pytest.param({"webhook-timestamp": "soon"}, BODY, NOW, id="time is a word"),
        pytest.param({"webhook-timestamp": "9" * 400}, BODY, NOW, id="time is absurd"),
        pytest.param({"webhook-timestamp": None}, BODY, NOW, id="no time"),
        pytest.param({"webhook-signature": None}, BODY, NOW, id="no signature"),
        pytest.param({"webhook-signature": "v1,"}, BODY, NOW, id="empty signature"),
        pytest.param({"webhook-signature": "v1a,é"}, BODY, NOW, id="not base64"),
        pytest.param({"webhook-signature": SIGNED["webhook-signature"].replace("v1", "v2")}, BODY,
                     NOW, id="unknown versions"),
        pytest.param({}, BODY, NOW + TOLERANCE_SECONDS + 1, id="a second too old"),
        pytest.param({}, BODY, NOW - TOLERANCE_SECONDS - 1, id="a second too early"),
    ],
)  # fmt: skip
def test_a_webhook_that_is_not_exactly_what_was_signed_is_refused(
    change: dict[str, str | None], body: bytes, now: int
) -> None:
    headers = {name: text for name, text in {**SIGNED, **change}.items() if text is not None}
    with pytest.raises(WebhookSignatureError):
        verify(headers, body, [SECRET, KEY.public()], now)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"action": "\xff"}'])
def test_what_is_signed_and_no_action_is_refused(body: bytes) -> None:
    headers = signed_headers("a1", NOW, body, [SECRET])
    with pytest.raises(WebhookSignatureError, match="not an action"):
        received(body, headers, SECRET.to_text(), NOW)


def test_another_key_does_not_vouch() -> None:
    stranger = PrivateKey(SigningKey(bytes(32))).public()
    with pytest.raises(WebhookSignatureError):
        verify(SIGNED, BODY, [OTHER, stranger], NOW)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("whsec_", id="no secret"),
        pytest.param("whsec_c2hvcnQ=", id="too short"),
        pytest.param("whsec_" + "A" * 200, id="too long"),
        pytest.param("whsec_%%%%", id="not base64"),
        pytest.param("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", id="no prefix"),
        pytest.param("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", id="short signing key"),
    ],
)
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        key_from_text(text)


def test_an_id_with_a_dot_is_never_signed() -> None:
    with pytest.raises(InputError):
        signed_headers("a.1", NOW, BODY, [SECRET])
