import hashlib
import hmac

import pytest

from unspread.crypto import (
    Receipt,
    SignatureError,
    SigningKey,
    item_key_digest,
    verify,
    withdrawal_message,
)
from unspread.errors import InputError, MalformedReceiptError

SECRET = bytes(range(13))


def test_a_receipt_survives_every_way_in_which_a_person_may_write_it():
    text = Receipt(SECRET).to_text()
    assert len(text) == 29
    for spelling in (
        text,
        text.lower(),
        text.replace("-", " "),
        text.replace("-", ""),
        f" {text}\n",
    ):
        assert Receipt.from_text(spelling).secret == SECRET
    swapped = text.replace("0", "O").replace("1", "l")
    assert Receipt.from_text(swapped).secret == SECRET


@pytest.mark.parametrize("place", range(24))
def test_one_mistyped_letter_is_noticed_wherever_it_stands(place):
    letters = list(Receipt(SECRET).to_text().replace("-", ""))
    letters[place] = "Z" if letters[place] != "Z" else "Y"
    with pytest.raises(MalformedReceiptError):
        Receipt.from_text("".join(letters))


@pytest.mark.parametrize("text", ["", "hello", "U" * 24, "0" * 23, "0" * 25])
def test_what_is_not_a_receipt_is_refused(text):
    with pytest.raises(MalformedReceiptError):
        Receipt.from_text(text)


def test_keys_derive_by_plain_hkdf_and_differ_from_each_other():
    receipt = Receipt(SECRET)
    # RFC 5869 written out: extract with an empty salt, then one block of expand.
    extracted = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
    seed = hmac.new(extracted, b"unspread/v1/item-key/3\x01", hashlib.sha256).digest()
    assert receipt.item_key(3).public == SigningKey(seed).public
    keys = {receipt.case_key().public, *(receipt.item_key(each).public for each in range(5))}
    assert len(keys) == 6
    assert len({receipt.item_salt(each) for each in range(5)}) == 5


def test_a_signature_holds_for_its_message_and_key_alone():
    key = Receipt(SECRET).item_key(0)
    message = withdrawal_message("example.org/log", key.public)
    signature = key.sign(message)
    verify(key.public, message, signature)
    other = Receipt(SECRET).item_key(1)
    for wrong in (
        (other.public, message, signature),
        (key.public, withdrawal_message("example.com/log", key.public), signature),
        (key.public, message, signature[:-1]),
        (key.public[:-1], message, signature),
    ):
        with pytest.raises(SignatureError):
            verify(*wrong)


def test_no_secret_shows_in_a_repr_or_an_error():
    receipt = Receipt(SECRET)
    assert receipt.to_text() not in repr(receipt)
    assert SECRET.hex() not in repr(receipt) + repr(receipt.case_key())
    with pytest.raises(InputError) as caught:
        SigningKey(SECRET)
    assert SECRET.hex() not in str(caught.value)
    assert len(item_key_digest(receipt.case_key().public)) == 16
