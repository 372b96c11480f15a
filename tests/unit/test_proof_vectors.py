"""The `.tlog-proof` files of vectors/proofs.json, which judge the page's verifier too."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import proof_vectors
from unspread.errors import TrustError
from unspread.transparency.note import SignatureKind, VerifierKey
from unspread.transparency.proof import EntryProof

FILE = Path(__file__).parents[2] / "vectors/proofs.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
LOG_KEY = VerifierKey(VECTORS["origin"], SignatureKind.ED25519, bytes.fromhex(VECTORS["log_key"]))


def size_of_log_with(case: dict[str, Any]) -> int:
    """What a device is to do, in the package's words."""
    proof = EntryProof.from_bytes(base64.b64decode(case["file"]))
    checkpoint = proof.verify(b"\x01" + bytes.fromhex(case["commitment"]))
    if (proof.index, checkpoint.origin) != (case["index"], LOG_KEY.name):
        raise TrustError("another entry or another log")
    proof.checkpoint.require(LOG_KEY)
    return checkpoint.size


def cases(kind: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in VECTORS[kind]]


def test_the_vectors_are_made_again_bit_for_bit() -> None:
    assert proof_vectors.make() == VECTORS


@pytest.mark.parametrize("case", cases("accepted"))
def test_a_proof_that_holds_says_how_large_the_log_is(case: dict[str, Any]) -> None:
    assert size_of_log_with(case) == case["size"]


@pytest.mark.parametrize("case", cases("refused"))
def test_a_proof_that_does_not_hold_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(TrustError):
        size_of_log_with(case)
