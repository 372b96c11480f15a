"""A person's case, over the real routes."""

import html
import json

import altcha
import pytest

from unspread.case_protocol import from_b64, promise_message, to_b64
from unspread.clearinghouse.gate import Budget
from unspread.crypto import Receipt, verify
from unspread.feed.reader import FeedReader, ListingAdded, ListingChanged
from unspread.model import Age, Fingerprint, Kind, Media, MediaFingerprint, Part, State
from unspread.person import case
from unspread.transparency.policy import trial_policy
from unspread.transparency.proof import EntryProof

from .conftest import Running, admitted, pdq, picture, receipt, until


def test_a_submitted_picture_is_listed_and_the_promise_holds(clearinghouse: Running) -> None:
    answer = clearinghouse.submit(receipt(), [picture(1), picture(2)])
    assert answer.status_code == 201
    body = answer.json()
    assert [item["state"] for item in body["items"]] == ["listed", "listed"]
    about = clearinghouse.get("/v1/about").json()
    promise = body["promise"]
    message = promise_message(
        about["log_origin"],
        promise["signed_at"],
        promise["max_merge_seconds"],
        [item["commitment"] for item in body["items"]],
    )
    verify(
        from_b64(about["log_key"], 32, "log_key"),
        message,
        from_b64(promise["signature"], 64, "signature"),
    )


def test_sending_the_same_case_again_gives_the_same_answer(clearinghouse: Running) -> None:
    first = clearinghouse.submit(receipt(), [picture(1)])
    again = clearinghouse.submit(receipt(), [picture(1)])
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_the_same_receipt_with_other_content_is_a_conflict(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(), [picture(1)])
    assert clearinghouse.submit(receipt(), [picture(2)]).status_code == 409


def test_a_withdrawn_item_is_erased_in_the_database_and_in_the_feed(
    clearinghouse: Running,
) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    clearinghouse.until_published()
    assert clearinghouse.withdraw(receipt(), 0).json() == {
        "items": [{"item_key": to_b64(receipt().item_key(0).public), "state": "withdrawn"}]
    }
    assert clearinghouse.status(receipt()).json()["items"][0]["state"] == "withdrawn"
    read = clearinghouse.service.readers.ask_now
    assert read(lambda c: c.rows("SELECT fingerprints, salt FROM item")) == [(b"", b"")]
    value = picture(1).fingerprints[0].value
    assert all(
        value not in bytes(payload)
        for (payload,) in read(lambda c: c.rows("SELECT payload FROM log_entry"))
    )
    until(lambda: not read(lambda c: c.rows("SELECT 1 FROM pending_erasure")))
    events = follow(clearinghouse, platform)
    assert not [each for each in events if isinstance(each, ListingAdded)]
    assert [each.state for each in events if isinstance(each, ListingChanged)] == [State.WITHDRAWN]


def follow(clearinghouse: Running, platform: object) -> list[object]:
    """Every event that a platform reads from an empty start."""
    from datetime import UTC, datetime

    service = clearinghouse.service
    reader = FeedReader(
        policy=trial_policy(service.log_origin, service.log_key.public),
        partner_id=platform.partner_id,  # type: ignore[attr-defined]
        key=platform.opening_key,  # type: ignore[attr-defined]
        state=None,
        item_key_digest_of=lambda _listing_id: None,
    )
    reader.begin()
    events: list[object] = []
    while (request := reader.next_request()) is not None:
        answer = clearinghouse.get(f"/{request.path}")
        assert answer.status_code == 200
        events += reader.receive(request, answer.content, datetime.now(UTC))
    return events


def test_a_platform_reads_what_was_listed(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    clearinghouse.until_published()
    until(lambda: clearinghouse.get(f"/feed/{platform.partner_id}/latest").status_code == 200)
    (event,) = follow(clearinghouse, platform)
    assert isinstance(event, ListingAdded)
    assert event.listing.fingerprints == picture(1).fingerprints


def test_what_a_platform_says_is_the_persons_status(clearinghouse: Running) -> None:
    platform = admitted(clearinghouse)
    clearinghouse.submit(receipt(), [picture(1)])
    size = clearinghouse.until_published()
    root = "00" * 32
    assert platform.signed_post(
        "/v1/acknowledge", f'{{"size": {size}, "root": "{root}"}}'.encode()
    ).is_success
    told = (
        b'{"feedback": [{"id": "a", "listing_id": %d, "kind": "removed",'
        b' "at": "2026-11-23T06:00:00Z"}]}' % clearinghouse.listing_id(receipt())
    )
    assert platform.signed_post("/v1/feedback", told).json() == {"new": 1}
    assert platform.signed_post("/v1/feedback", told).json() == {"new": 0}
    (item,) = clearinghouse.status(receipt()).json()["items"]
    assert item["level"] == "confirmed"
    (said,) = item["platforms"]
    assert said["name"] == "Sample board"
    assert said["removed_at"] == "2026-11-23T06:00:00Z"
    assert said["received_at"]


def test_a_strangers_receipt_opens_nothing(clearinghouse: Running) -> None:
    clearinghouse.submit(receipt(1), [picture(1)])
    assert clearinghouse.status(receipt(2)).status_code == 404
    assert clearinghouse.withdraw(Receipt(b"\x07" * 13), 0).status_code == 404


def test_the_log_proves_that_a_listing_is_in_it(clearinghouse: Running) -> None:
    (item,) = clearinghouse.submit(receipt(), [picture(1)]).json()["items"]
    clearinghouse.until_published()
    proof = EntryProof.from_bytes(
        clearinghouse.get(f"/v1/proof/{clearinghouse.listing_id(receipt())}").content
    )
    checkpoint = proof.verify(b"\x01" + bytes.fromhex(item["commitment"]))
    assert checkpoint.origin == clearinghouse.service.log_origin
    assert clearinghouse.get("/v1/proof/99").status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"version": 1}', id="fields missing"),
        pytest.param(b'{"version": 1, "file_name": "x"}', id="a field that nobody asked for"),
        pytest.param(b'{"case_key": "\xff"}', id="not UTF-8"),
        pytest.param(b"{" * 100_000, id="deeply nested"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/cases", "/v1/cases/status", "/v1/cases/renew", "/v1/cases/withdraw",
             "/v1/partners/enroll"]
)  # fmt: skip
def test_what_is_malformed_is_refused_with_a_text(
    clearinghouse: Running, path: str, body: bytes
) -> None:
    answer = clearinghouse.post(path, body)
    assert answer.status_code in {400, 413}
    assert answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(clearinghouse: Running) -> None:
    assert clearinghouse.post("/v1/cases", b" " * (2 * 1024 * 1024 + 1)).status_code == 413


def test_a_form_gets_the_same_answer_in_a_page(clearinghouse: Running) -> None:
    message = case.submission(receipt(), [picture(1)], Age.MINOR, "")
    form = {"case": message.to_json().decode(), "proof": clearinghouse.proof()}
    answer = clearinghouse.request("POST", "/v1/cases", data=form)
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("text/html")
    assert "commitment" in answer.text


def test_a_form_whose_answer_was_lost_is_sent_again_with_the_proof_asked_for_then(
    clearinghouse: Running,
) -> None:
    message = case.submission(receipt(), [picture(1)], Age.MINOR, "")
    form = {"case": message.to_json().decode(), "proof": clearinghouse.proof()}
    lost = clearinghouse.request("POST", "/v1/cases", data=form)
    assert challenge_in(lost.text) == ""
    refused = clearinghouse.request("POST", "/v1/cases", data=form)
    assert (refused.status_code, "proof_of_work" in refused.text) == (422, True)
    challenge = altcha.Challenge.from_dict(json.loads(challenge_in(refused.text)))
    solution = altcha.solve_challenge(challenge)
    form["proof"] = altcha.Payload(challenge, solution).to_base64()
    again = clearinghouse.request("POST", "/v1/cases", data=form)
    assert (again.status_code, again.text) == (200, lost.text)


def challenge_in(page: str) -> str:
    return html.unescape(page.partition('data-challenge="')[2].partition('"')[0])


@pytest.mark.parametrize(
    ("items", "fingerprints", "status"),
    [
        pytest.param(20, 1, 201, id="as many items as are taken"),
        pytest.param(21, 1, 400, id="one item too many"),
        pytest.param(1, 4096, 201, id="as many fingerprints as are taken"),
        pytest.param(1, 4097, 400, id="one fingerprint too many"),
    ],
)
def test_a_case_has_caps(
    clearinghouse: Running, items: int, fingerprints: int, status: int
) -> None:
    def film(number: int) -> MediaFingerprint:
        values = range(number * fingerprints, (number + 1) * fingerprints)
        frames = (Fingerprint(Kind.PDQ, pdq(each), Part.FRAME, 100) for each in values)
        return MediaFingerprint(Media.VIDEO, tuple(frames))

    media = [film(number) for number in range(items)]
    assert clearinghouse.submit(receipt(), media).status_code == status


def test_junk_makes_nobodys_proof_dearer(clearinghouse: Running) -> None:
    proofs = clearinghouse.service.proofs
    message = case.submission(receipt(), [picture(1)], Age.MINOR, "not a proof").to_json()
    for _ in range(50):
        assert clearinghouse.post("/v1/cases", message).status_code == 422
    assert proofs.rate.per_minute() == 0
    assert clearinghouse.submit(receipt(), [picture(1)]).status_code == 201
    assert round(proofs.rate.per_minute()) == 1


def test_beyond_everybodys_budget_a_proof_is_kept_for_later(clearinghouse: Running) -> None:
    service = clearinghouse.service
    message = case.submission(receipt(), [picture(1)], Age.MINOR, clearinghouse.proof()).to_json()
    budget, service.budget = service.budget, Budget(per_minute=0.5, clock=service.clock)
    refused = clearinghouse.post("/v1/cases", message)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many")
    assert int(refused.headers["retry-after"]) > 1
    assert clearinghouse.withdraw(receipt(2), 0).status_code == 404  # not: too many
    service.budget = budget
    assert clearinghouse.post("/v1/cases", message).status_code == 201
