import msgspec
import pytest

from unspread.case_protocol import (
    AcknowledgeRequest,
    CaseSubmission,
    FingerprintText,
    ItemSubmission,
    decode,
    from_b64,
    promise_message,
    to_b64,
)
from unspread.errors import InputError, MalformedFingerprintError
from unspread.model import Age, Fingerprint, Kind, Media, Part


def test_a_submission_survives_the_wire():
    pdq = Fingerprint(Kind.PDQ, bytes(range(32)), Part.FRAME, 87)
    sha = Fingerprint(Kind.SHA256, bytes(32))
    item = ItemSubmission("k", "s", Media.VIDEO, [FingerprintText.of(pdq), FingerprintText.of(sha)])
    case = CaseSubmission(1, "c", Age.UNKNOWN, [item], "p")
    again = decode(case.to_json(), CaseSubmission)
    assert again == case
    assert [each.fingerprint() for each in again.items[0].fingerprints] == [pdq, sha]
    assert "part" not in msgspec.json.decode(case.to_json())["items"][0]["fingerprints"][1]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"size": 1}', id="a field missing"),
        pytest.param(b'{"size": 1, "root": "", "file_name": "x"}', id="a field too many"),
        pytest.param(b'{"size": "1", "root": ""}', id="another type"),
    ],
)
def test_what_is_not_a_message_is_refused(body):
    with pytest.raises(InputError):
        decode(body, AcknowledgeRequest)


def test_an_error_does_not_repeat_what_was_sent():
    secret = "0123-4567"
    body = b'{"version":1,"case_key":"c","age":"%s","items":[]}' % secret.encode()
    with pytest.raises(InputError) as caught:
        decode(body, CaseSubmission)
    assert secret not in str(caught.value)
    assert "age" in str(caught.value)


def test_hex_in_capitals_is_refused_as_a_fingerprint():
    with pytest.raises(MalformedFingerprintError):
        FingerprintText(Kind.SHA256, "AB" * 32).fingerprint()


@pytest.mark.parametrize("text", ["", "AA==", "A", "AB", "AAA", "A A", "AA\n", "ä"])
def test_a_key_has_one_spelling(text):
    with pytest.raises(InputError):
        from_b64(text, 1, "item_key")
    assert from_b64(to_b64(b"\xfb\xff"), 2, "item_key") == b"\xfb\xff"


def test_a_promise_names_every_commitment_in_order():
    assert promise_message("o", "t", 60, ["aa", "bb"]) == b"unspread/v1/promise\no\nt\n60\naa\nbb\n"
