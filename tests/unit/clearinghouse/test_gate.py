"""What stands before intake: buckets, proofs of work, challenges."""

import base64
import json

import altcha
import pytest

from unspread.clearinghouse.gate import (
    LADDER,
    Budget,
    ChallengeError,
    Challenges,
    NonceBook,
    ProofError,
    ProofOfWork,
    Rate,
    RateBuckets,
    TooManyError,
    network_of,
)

NOW = 1_795_420_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def buckets(clock: Clock, keys: list[bytes] | None = None) -> RateBuckets:
    def random(length: int) -> bytes:
        key = bytes([len(keys or [])]) * length
        if keys is not None:
            keys.append(key)
        return key

    return RateBuckets(per_minute=60, burst=5, clock=clock, random=random)


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [
        pytest.param("192.0.2.1", "192.0.2.254", True, id="one /24"),
        pytest.param("192.0.2.1", "192.0.3.1", False, id="two /24"),
        pytest.param("2001:db8:1:2::1", "2001:db8:1:ffff::9", True, id="one /48"),
        pytest.param("2001:db8:1::1", "2001:db8:2::1", False, id="two /48"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.9", True, id="mapped"),
        pytest.param("fe80::1%eth0", "fe80::2", True, id="with a zone"),
        pytest.param("", "nonsense", True, id="all that cannot be read"),
    ],
)
def test_networks(left: str, right: str, *, is_same: bool) -> None:
    assert (network_of(left) == network_of(right)) is is_same


def test_a_network_is_slowed_down_and_others_are_not() -> None:
    clock = Clock()
    gate = buckets(clock)
    for _ in range(5):
        gate.take("192.0.2.1")
    with pytest.raises(TooManyError) as refused:
        gate.take("192.0.2.200")
    assert refused.value.retry_after_seconds >= 1
    gate.take("198.51.100.1")
    clock.now += 1
    gate.take("192.0.2.1")


def test_the_key_of_the_buckets_is_new_every_day() -> None:
    clock = Clock()
    keys: list[bytes] = []
    gate = buckets(clock, keys)
    gate.take("192.0.2.1")
    clock.now += 60
    gate.take("192.0.2.1")
    assert len(keys) == 1
    clock.now += 86_400
    gate.take("192.0.2.1")
    assert len(keys) == 2
    assert len(gate._buckets) == 1


def test_all_together_have_a_budget_that_fills_again() -> None:
    clock = Clock()
    budget = Budget(per_minute=60, clock=clock)
    for _ in range(60):
        budget.require()
        budget.take()
    for _ in range(3):
        with pytest.raises(TooManyError) as refused:
            budget.require()
        assert 1 <= refused.value.retry_after_seconds <= 2
    clock.now += 1
    budget.require()
    clock.now += 3600
    for _ in range(60):
        budget.require()
        budget.take()
    with pytest.raises(TooManyError):
        budget.require()


def test_memory_is_bounded_under_a_flood_of_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateBuckets, "MAX_BUCKETS", 100)
    gate = buckets(Clock())
    for number in range(1000):
        gate.take(f"10.{number >> 8}.{number & 255}.1")
    assert len(gate._buckets) == 100


def test_the_rate_fades() -> None:
    clock = Clock()
    rate = Rate(clock)
    rate.add(100)
    clock.now += 41.6
    assert rate.per_minute() == pytest.approx(50)


def solved(challenge: dict[str, object]) -> str:
    made = altcha.Challenge.from_dict(challenge)
    solution = altcha.solve_challenge(made)
    assert solution is not None
    return altcha.Payload(made, solution).to_base64()


def proof_of_work(clock: Clock) -> ProofOfWork:
    return ProofOfWork(usual_per_minute=60, clock=clock)


def test_a_proof_serves_once() -> None:
    import time

    clock = Clock()
    clock.now = time.time()  # altcha looks at the clock itself
    gate = proof_of_work(clock)
    proof = solved(gate.challenge())
    gate.check(proof)
    with pytest.raises(ProofError, match="used already"):
        gate.check(proof)


def _altered(proof: str, **parameters: object) -> str:
    payload = json.loads(base64.b64decode(proof))
    payload["challenge"]["parameters"].update(parameters)
    return base64.b64encode(json.dumps(payload).encode()).decode()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: "", id="missing"),
        pytest.param(lambda _: "bm9uc2Vuc2U=", id="not JSON"),
        pytest.param(lambda _: "{}", id="not base64"),
        pytest.param(lambda proof: _altered(proof, cost=1), id="made cheaper"),
        pytest.param(lambda proof: _altered(proof, keyPrefix=""), id="made trivial"),
        pytest.param(lambda proof: _altered(proof, expiresAt=4_000_000_000), id="made to last"),
        pytest.param(lambda proof: _altered(proof, expiresAt="x"), id="without an end"),
    ],
)
def test_proofs_that_are_refused(spoil: object) -> None:
    import time

    clock = Clock()
    clock.now = time.time()
    gate = proof_of_work(clock)
    with pytest.raises(ProofError):
        gate.check(spoil(solved(gate.challenge())))  # type: ignore[operator]


def test_a_wrong_answer_spends_the_challenge() -> None:
    import time

    clock = Clock()
    clock.now = time.time()
    gate = proof_of_work(clock)
    challenge = gate.challenge()
    good = solved(challenge)
    payload = json.loads(base64.b64decode(good))
    payload["solution"]["derivedKey"] = "00" * 32
    payload["solution"]["counter"] = 0
    with pytest.raises(ProofError):
        gate.check(base64.b64encode(json.dumps(payload).encode()).decode())
    with pytest.raises(ProofError, match="used already"):
        gate.check(good)


def test_a_challenge_of_before_a_restart_is_refused() -> None:
    import time

    clock = Clock()
    clock.now = time.time()
    proof = solved(proof_of_work(clock).challenge())
    with pytest.raises(ProofError):
        proof_of_work(clock).check(proof)


def test_work_grows_under_attack_and_falls_again() -> None:
    clock = Clock()
    gate = proof_of_work(clock)
    assert gate.difficulty() == LADDER[0]
    seen = []
    for rate in (61, 121, 241, 10_000):
        gate.rate = Rate(clock)
        gate.rate.add(rate)
        seen.append(gate.difficulty())
    assert seen == [LADDER[1], LADDER[2], LADDER[3], LADDER[3]]
    clock.now += 3600
    assert gate.difficulty() == LADDER[0]


def test_a_challenge_to_sign_serves_once_and_for_five_minutes() -> None:
    clock = Clock()
    gate = Challenges(clock)
    first, _ = gate.issue()
    gate.spend(first)
    late, _ = gate.issue()
    clock.now += 301
    stranger, _ = Challenges(clock).issue()
    for text in (first, late, stranger, "", "A" * 54, first[:-1]):
        with pytest.raises(ChallengeError):
            gate.spend(text)


def test_nonces_are_forgotten_when_no_signature_with_them_would_be_taken() -> None:
    clock = Clock()
    book = NonceBook(clock)
    assert book.spend("a")
    assert not book.spend("a")
    clock.now += NonceBook.VALID_SECONDS + 1
    assert book.spend("b")
    assert book.spend("a")
