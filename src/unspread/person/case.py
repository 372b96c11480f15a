"""What a person's device says in a case: pure, given a receipt and fingerprints.

The page's twin is web/case; `vectors/receipts.json` judges both.
"""

from collections.abc import Sequence

from unspread.case_protocol import (
    VERSION,
    CaseRequest,
    CaseSubmission,
    FingerprintText,
    ItemSubmission,
    Withdrawal,
    WithdrawalRequest,
    to_b64,
)
from unspread.crypto import Receipt, case_request_message, withdrawal_message
from unspread.model import Age, MediaFingerprint


def submission(
    receipt: Receipt, media: Sequence[MediaFingerprint], age: Age, proof: str
) -> CaseSubmission:
    """The case to send: item *i* has the receipt's key and salt *i*."""
    items = [
        ItemSubmission(
            item_key=to_b64(receipt.item_key(number).public),
            salt=to_b64(receipt.item_salt(number)),
            media=each.media,
            fingerprints=[FingerprintText.of(fingerprint) for fingerprint in each.fingerprints],
        )
        for number, each in enumerate(media)
    ]
    return CaseSubmission(VERSION, to_b64(receipt.case_key().public), age, items, proof)


def case_request(receipt: Receipt, purpose: str, log_origin: str, challenge: str) -> CaseRequest:
    """A signed request to read (`status`) or extend (`renew`) the receipt's case."""
    key = receipt.case_key()
    signature = key.sign(case_request_message(purpose, log_origin, challenge))
    return CaseRequest(to_b64(key.public), challenge, to_b64(signature))


def withdrawal_request(
    receipt: Receipt, item_numbers: Sequence[int], log_origin: str
) -> WithdrawalRequest:
    """The signed wish that these items (0-based, as submitted) be unlisted."""
    withdrawals = []
    for number in item_numbers:
        key = receipt.item_key(number)
        signature = key.sign(withdrawal_message(log_origin, key.public))
        withdrawals.append(Withdrawal(to_b64(key.public), to_b64(signature)))
    return WithdrawalRequest(withdrawals)
