"""The oblivious PRF, judged by RFC 9497's own vectors (appendix A.1.2)."""

import pytest

from unspread.errors import InputError
from unspread.exchange.blind_lookup import (
    RECORD_BYTES,
    Blinded,
    EvaluationError,
    Evaluator,
    MalformedElementError,
    encoded,
    finalize,
    find_record,
    make_record,
)
from unspread.model import Fingerprint, Kind, Level

SEED = b"\xa3" * 32
PUBLIC_KEY = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"
BLIND_1 = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"
BLIND_2 = "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e"
OUTPUT_1 = (
    "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d"
    "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c"
)
OUTPUT_2 = (
    "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60"
    "356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6"
)
VECTORS = [
    pytest.param(
        ["00"],
        [BLIND_1],
        ["863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"],
        ["aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"],
        "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06"
        "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
        [OUTPUT_1],
        BLIND_2,
        id="A.1.2.1",
    ),
    pytest.param(
        ["5a" * 17],
        [BLIND_1],
        ["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
        ["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
        "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a"
        "67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
        [OUTPUT_2],
        BLIND_2,
        id="A.1.2.2",
    ),
    pytest.param(
        ["00", "5a" * 17],
        [BLIND_1, BLIND_2],
        [
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ],
        [
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ],
        "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a"
        "5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
        [OUTPUT_1, OUTPUT_2],
        "419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c",
        id="A.1.2.3, batch of two",
    ),
]


@pytest.mark.parametrize(
    ("inputs", "blinds", "blinded", "evaluated", "proof", "outputs", "random_scalar"), VECTORS
)
def test_vectors_of_the_rfc(  # noqa: PLR0917 - pytest passes them by name
    inputs: list[str],
    blinds: list[str],
    blinded: list[str],
    evaluated: list[str],
    proof: str,
    outputs: list[str],
    random_scalar: str,
) -> None:
    evaluator = Evaluator(SEED, b"test key")
    assert evaluator.public_key.hex() == PUBLIC_KEY
    questions = [
        Blinded.of(bytes.fromhex(text), bytes.fromhex(blind))
        for text, blind in zip(inputs, blinds, strict=True)
    ]
    assert [each.element.hex() for each in questions] == blinded
    answer, made = evaluator.blind_evaluate(
        [each.element for each in questions], random_scalar=bytes.fromhex(random_scalar)
    )
    assert [each.hex() for each in answer] == evaluated
    assert made.hex() == proof
    found = finalize(questions, answer, made, evaluator.public_key)
    assert [each.hex() for each in found] == outputs
    assert [evaluator.evaluate(bytes.fromhex(text)).hex() for text in inputs] == outputs


def test_an_answer_under_another_key_is_not_believed() -> None:
    question = Blinded.of(b"x")
    honest, other = Evaluator(bytes(32)), Evaluator(b"\x01" * 32)
    answer, proof = other.blind_evaluate([question.element])
    with pytest.raises(EvaluationError):
        finalize([question], answer, proof, honest.public_key)


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(bytes(32), id="the identity"),
        pytest.param(b"\xff" * 32, id="no point"),
        pytest.param(b"\x01" * 31, id="too short"),
    ],
)
def test_what_is_no_element_is_refused(element: bytes) -> None:
    with pytest.raises(MalformedElementError):
        Evaluator(bytes(32)).blind_evaluate([element])


def test_only_the_finder_reads_a_record() -> None:
    evaluator = Evaluator(bytes(32))
    listed, other = evaluator.evaluate(b"listed"), evaluator.evaluate(b"other")
    handle = bytes(range(24))
    bucket = make_record(other, Level.UNVERIFIED, bytes(24)) + make_record(
        listed, Level.CONFIRMED, handle
    )
    assert find_record(listed, bucket) == (Level.CONFIRMED, handle)
    assert find_record(evaluator.evaluate(b"third"), bucket) is None
    assert handle not in bucket
    with pytest.raises(MalformedElementError):
        find_record(listed, bytes(RECORD_BYTES - 1))


def test_a_pdq_cannot_be_asked_for_blindly() -> None:
    with pytest.raises(InputError):
        encoded(Fingerprint(Kind.PDQ, bytes(32), quality=100))
