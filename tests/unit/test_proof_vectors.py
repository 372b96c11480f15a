"""The `.tlog-proof` files of vectors/proofs.json, which judge the page's verifier too."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import proof_vectors
from unspread.errors import TrustError
from unspread.person.log import PlaceInLog, Proof, place_in_log
from unspread.transparency.note import SignatureKind, VerifierKey
from unspread.transparency.proof import entries_of_log_with

FILE = Path(__file__).parents[2] / "vectors/proofs.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
LOG_KEY = VerifierKey(VECTORS["origin"], SignatureKind.ED25519, bytes.fromhex(VECTORS["log_key"]))


def size_of_log_with(case: dict[str, Any]) -> int:
    file, entry = base64.b64decode(case["file"]), b"\x01" + bytes.fromhex(case["commitment"])
    return entries_of_log_with(file, entry, case["index"], LOG_KEY)


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


def test_a_place_in_the_log_is_only_what_was_proven() -> None:
    (case, *_), (refused, *_) = VECTORS["accepted"], VECTORS["refused"]

    def placed(case: dict[str, Any], file: bytes | None, commitment: str) -> PlaceInLog:
        return place_in_log(case["index"], commitment, file, LOG_KEY)

    file = base64.b64decode(case["file"])
    proven = PlaceInLog(case["index"], Proof.HOLDS, case["size"])
    assert placed(case, file, case["commitment"]) == proven
    assert placed(case, None, case["commitment"]).proof is Proof.UNCHECKED
    for commitment in ("", "no hex", case["commitment"][:-2], refused["commitment"][::-1]):
        assert placed(case, file, commitment).proof is Proof.WRONG
    assert placed(refused, base64.b64decode(refused["file"]), refused["commitment"]) == (
        PlaceInLog(refused["index"], Proof.WRONG)
    )
