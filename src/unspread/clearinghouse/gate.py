"""What stands before intake: rate buckets, proof of work, challenges. All in memory.

Nothing here outlives the process or the day: a client's network is known by an HMAC under a random
key that is thrown away daily, and buckets are few and forgotten first.
"""

import base64
import hashlib
import hmac
import json
import os
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

import altcha

from unspread.case_protocol import from_b64, to_b64
from unspread.errors import InputError, StateError, TransportError

Clock = Callable[[], float]
"""Seconds since 1970."""


class TooManyError(TransportError):
    """One network, or all together, ask more than is taken."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("too many requests just now: please wait a little and try again")
        self.retry_after_seconds = retry_after_seconds


class ProofError(StateError):
    """The proof of work is missing, wrong, spent or too old: get a new challenge."""


class ChallengeError(InputError):
    """Not a challenge that still serves."""


def network_of(address: str) -> bytes:
    """The /24 (IPv4) or /48 (IPv6) an address is in; all that cannot be read are one network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return b"?"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return b"4" + parsed.ipv4_mapped.packed[:3]
        return b"6" + parsed.packed[:6]
    return b"4" + parsed.packed[:3]


class RateBuckets:
    """Token buckets per network, keyed by an HMAC under a key that lives a day in memory."""

    MAX_BUCKETS: Final = 100_000

    def __init__(
        self, *, per_minute: float, burst: float, clock: Clock, random: Callable[[int], bytes]
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._random = random
        self._day = -1
        self._key = b""
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, address: str, cost: float = 1) -> None:
        """Take from the bucket of the address's network.

        Raises:
            TooManyError: if it is empty.
        """
        self.take_for(network_of(address), cost)

    def take_for(self, who: bytes, cost: float = 1) -> None:
        """Take from the bucket of anything that is known by a name: a network, a partner.

        Raises:
            TooManyError: if it is empty.
        """
        now = self._clock()
        if int(now // 86_400) != self._day:
            self._day = int(now // 86_400)
            self._key = self._random(32)
            self._buckets.clear()
        name = hmac.digest(self._key, who, "sha256")
        level, at = self._buckets.pop(name, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        if level < cost:
            self._buckets[name] = (level, now)
            raise TooManyError(int((cost - level) / self._per_second) + 1)
        self._buckets[name] = (level - cost, now)
        if len(self._buckets) > self.MAX_BUCKETS:
            self._buckets.popitem(last=False)


class Budget:
    """What is taken of all networks together: one token bucket."""

    def __init__(self, *, per_minute: float, clock: Clock) -> None:
        """A minute's worth may come at once."""
        self._per_second = per_minute / 60
        self._most = per_minute
        self._clock = clock
        self._level = per_minute
        self._at = clock()

    def require(self) -> None:
        """Return if there is something left.

        Raises:
            TooManyError: otherwise.
        """
        now = self._clock()
        self._level = min(self._most, self._level + max(0.0, now - self._at) * self._per_second)
        self._at = now
        if self._level < 1:
            raise TooManyError(int((1 - self._level) / self._per_second) + 1)

    def take(self) -> None:
        """Take one."""
        self._level -= 1


class Rate:
    """How many a minute, smoothed over the last minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0.0
        self._at = clock()

    def _decay(self) -> None:
        now = self._clock()
        self._count *= 0.5 ** (max(0.0, now - self._at) / 41.6)  # half-life: mean age a minute
        self._at = now

    def add(self, count: float = 1) -> None:
        """Count something that happened now."""
        self._decay()
        self._count += count

    def per_minute(self) -> float:
        """The rate now."""
        self._decay()
        return self._count


class _Spent:
    """Single use: what was used, until it would have expired anyway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def spend(self, name: bytes, until: float) -> bool:
        """Whether `name` was not yet spent; from now on it is."""
        now = self._clock()
        while self._until and next(iter(self._until.values())) < now:
            self._until.popitem(last=False)
        if name in self._until:
            return False
        self._until[name] = until
        return True


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Of a proof of work: about 16 ** len(prefix) derivations of `cost` iterations each."""

    prefix: str
    cost: int


CALM: Final = Difficulty("00", 50)
"""256 tries of 50 iterations on average: 0.1 s on an old phone, while it hashes."""

LADDER: Final = (
    CALM,
    Difficulty("00", 400),
    Difficulty("000", 200),
    Difficulty("000", 1500),
)
"""One step up each time the rate doubles beyond what is usual: 8, 64, 480 times the work. The top
takes an old phone about a minute, so it is for the worst hour only."""


class ProofOfWork:
    """ALTCHA challenges (version 2, PBKDF2/SHA-256), each good once, within two hours.

    The price rises with the rate of submissions. It slows a flood down; it stops no bot.
    """

    VALID_SECONDS: Final = 7200

    def __init__(self, *, usual_per_minute: float, clock: Clock) -> None:
        self._secret = os.urandom(32)
        self._clock = clock
        self._usual_per_minute = usual_per_minute
        self._spent = _Spent(clock)
        self.rate = Rate(clock)

    def difficulty(self) -> Difficulty:
        """What a challenge asks just now."""
        step, rate = 0, self.rate.per_minute()
        while step < len(LADDER) - 1 and rate > self._usual_per_minute * 2**step:
            step += 1
        return LADDER[step]

    def expected_iterations(self) -> int:
        """How many iterations the proof that is asked just now takes on average."""
        difficulty = self.difficulty()
        return int(difficulty.cost * 16 ** len(difficulty.prefix))

    def challenge(self) -> dict[str, object]:
        """A new challenge, as JSON."""
        difficulty = self.difficulty()
        made: dict[str, object] = altcha.create_challenge(
            "PBKDF2/SHA-256",
            difficulty.cost,
            key_prefix=difficulty.prefix,
            expires_at=int(self._clock()) + self.VALID_SECONDS,
            hmac_secret=self._secret,
        ).to_dict()
        return made

    def check(self, proof: str) -> None:
        """Return if `proof` solves a challenge of ours for the first time.

        Raises:
            ProofError: otherwise. The challenge is spent either way, so that a wrong answer
                cannot be tried again at our cost.
        """
        if not proof:
            raise ProofError("the proof of work is missing: ask for a new one and send again")
        try:
            payload = json.loads(base64.b64decode(proof, validate=True))
            signature = bytes.fromhex(payload["challenge"]["signature"])
            expires_at = int(payload["challenge"]["parameters"]["expiresAt"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ProofError("the proof of work is malformed: ask for a new one") from None
        if expires_at < self._clock():
            raise ProofError("the proof of work is too old: ask for a new one and send again")
        # Only what we signed is remembered, so that strangers cannot fill the memory.
        result = altcha.verify_solution(proof, self._secret)
        if result.expired or result.invalid_signature or result.error:
            raise ProofError(
                "the proof of work is not for one of our challenges: ask for a new one"
            )
        if not self._spent.spend(signature, expires_at):
            raise ProofError("this proof of work was used already: ask for a new one")
        if not result.verified:
            raise ProofError("the proof of work is wrong: ask for a new one")


class Challenges:
    """Texts to sign once, within five minutes; nothing is stored until one is used."""

    VALID_SECONDS: Final = 300

    def __init__(self, clock: Clock) -> None:
        self._key = os.urandom(32)
        self._clock = clock
        self._spent = _Spent(clock)

    def issue(self) -> tuple[str, int]:
        """A challenge, and the second at which it expires."""
        expires_at = int(self._clock()) + self.VALID_SECONDS
        body = os.urandom(16) + struct.pack(">Q", expires_at)
        return to_b64(body + self._mac(body)), expires_at

    def spend(self, challenge: str) -> None:
        """Use a challenge up.

        Raises:
            ChallengeError: if it is not ours, too old, or used.
        """
        message = "the challenge is not known or too old: ask for a new one"
        try:
            raw = from_b64(challenge, 40, "challenge")
        except InputError:
            raise ChallengeError(message) from None
        body, mac = raw[:24], raw[24:]
        (expires_at,) = struct.unpack(">Q", body[16:])
        if not hmac.compare_digest(mac, self._mac(body)) or expires_at < self._clock():
            raise ChallengeError(message)
        if not self._spent.spend(body, expires_at):
            raise ChallengeError(message)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:16]


class NonceBook:
    """Nonces of partners' signatures, for twice as long as one would be taken."""

    VALID_SECONDS: Final = 600

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent = _Spent(clock)

    def spend(self, nonce: str) -> bool:
        """Whether it was not yet seen."""
        name = hashlib.sha256(nonce.encode()).digest()
        return self._spent.spend(name, self._clock() + self.VALID_SECONDS)
