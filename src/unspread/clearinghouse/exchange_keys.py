"""Static keys of the older programmes: made here, shown once, kept as digests.

A bearer key copied into configurations is the weakest door of a clearinghouse; it exists because
the programmes' clients know no other. So each key serves one programme and one set of rights, can
be replaced while the old one still works for a while, and can be revoked at once.

A key has 192 random bits: a plain SHA-256 of it cannot be searched, and needs no slow derivation.
"""

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from unspread.crypto import sha256
from unspread.exchange.listings import Caller, Member, Scope

SECRET_BYTES: Final = 24
PREFIX: Final = "unsp_"
"""So that scanners of leaked secrets can find ours."""


class Programme(StrEnum):
    """Which wire format a key opens."""

    NCMEC = "ncmec"
    STOPNCII = "stopncii"
    STOPNCII_SUBSCRIPTION = "stopncii-subscription"
    """The second of StopNCII's two keys: says who calls, opens nothing alone."""
    THREATEXCHANGE = "threatexchange"


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """One key as it is kept."""

    key_id: str
    programme: Programme
    partner_id: str
    member: Member
    scope: Scope
    created_at: int
    revoked_at: int = 0
    """From this second on it opens nothing; 0: until further notice."""

    def opens(self, programme: Programme, now: int) -> bool:
        """Whether it serves here and now."""
        return self.programme is programme and (not self.revoked_at or now < self.revoked_at)

    @property
    def caller(self) -> Caller:
        """Whom it stands for."""
        return Caller(self.member, self.scope)


class KeyStore(Protocol):
    """Where keys are looked up. Called from worker threads."""

    def find(self, key_digest: bytes) -> ExchangeKey | None:
        """The key with this digest, whatever its state, if its partner takes part."""
        ...


def new_secret(randomness: bytes) -> str:
    """The text of a key, from 24 random bytes: shown once to the partner."""
    return PREFIX + base64.urlsafe_b64encode(randomness[:SECRET_BYTES]).decode()


def secret_digest(secret: str) -> bytes:
    """What is kept of a key."""
    return sha256(b"unspread/v1/exchange-key\n", secret.encode())
