"""The `.tlog-proof` files of vectors/proofs.json, which judge the page's verifier too."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import proof_vectors
from unspread.errors import TrustError
from unspread.person.log import PlaceInLog, Proof, place_in_log
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import leaf_digest
from unspread.transparency.note import NoteSigner, SignatureKind, VerifierKey, sign_note
from unspread.transparency.proof import EntryProof, entries_of_log_with

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


def test_another_kind_of_entry_is_no_commitment() -> None:
    # One entry alone in its log, signed and all: but what stands there is longer than a commitment.
    longer = b"longer than a commitment".ljust(40, b".")
    root = leaf_digest(b"\x01" + longer)
    signer = NoteSigner(proof_vectors.ORIGIN, proof_vectors.KEY)
    text = Checkpoint(proof_vectors.ORIGIN, 1, root).to_text()
    file = EntryProof(0, (), sign_note(text, [signer], proof_vectors.NOW)).to_bytes()
    assert entries_of_log_with(file, b"\x01" + longer, 0, LOG_KEY) == 1
    assert place_in_log(0, longer.hex(), file, LOG_KEY).proof is Proof.WRONG
