"""`vectors/receipts.json` was made independently; the page's tests read the same file."""

import json
from pathlib import Path

import pytest

from unspread.case_protocol import from_b64
from unspread.crypto import Receipt
from unspread.errors import MalformedReceiptError
from unspread.person import case

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "receipts.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda each: each["text"])
def test_everything_derives_as_the_vectors_say(vector):
    receipt = Receipt.from_text(vector["text"])
    assert receipt.secret.hex() == vector["secret"]
    assert receipt.to_text() == vector["text"]
    request = case.case_request(receipt, "status", VECTORS["log_origin"], VECTORS["challenge"])
    assert from_b64(request.case_key, 32, "key").hex() == vector["case_public_key"]
    assert from_b64(request.signature, 64, "signature").hex() == vector["status_signature"]
    numbers = [item["number"] for item in vector["items"]]
    request = case.withdrawal_request(receipt, numbers, VECTORS["log_origin"])
    for item, withdrawal in zip(vector["items"], request.withdrawals, strict=True):
        assert receipt.item_salt(item["number"]).hex() == item["salt"]
        assert from_b64(withdrawal.item_key, 32, "key").hex() == item["public_key"]
        signature = from_b64(withdrawal.signature, 64, "signature").hex()
        assert signature == item["withdrawal_signature"]


@pytest.mark.parametrize("spelling", VECTORS["spellings"], ids=range(len(VECTORS["spellings"])))
def test_a_receipt_is_read_as_keyboards_of_other_scripts_and_chats_write_it(spelling):
    assert Receipt.from_text(spelling["written"]).to_text() == spelling["text"]


@pytest.mark.parametrize("text", VECTORS["refused"])
def test_what_the_vectors_refuse_is_refused(text):
    with pytest.raises(MalformedReceiptError):
        Receipt.from_text(text)
