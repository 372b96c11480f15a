"""A list in memory served on the older programmes' addresses, with keys for one partner."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import uvicorn
from starlette.applications import Starlette

from unspread.clearinghouse import exchange_api
from unspread.clearinghouse.exchange_api import Call, Exchange
from unspread.clearinghouse.exchange_keys import (
    ExchangeKey,
    Programme,
    new_secret,
    secret_digest,
)
from unspread.errors import TransportError
from unspread.exchange.listings import ListingSource, Member, Scope
from unspread.exchange.threatexchange import app_id


class MemoryKeys:
    """A `KeyStore`."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, ExchangeKey] = {}

    def issue(
        self, partner_id: str, member: Member, programme: Programme, scope: Scope | None = None
    ) -> str:
        """A new key's text."""
        secret = new_secret(os.urandom(24))
        key_id = f"{programme}-{len(self._by_digest) + 1}"
        self._by_digest[secret_digest(secret)] = ExchangeKey(
            key_id, programme, partner_id, member, scope or Scope(), 0
        )
        return secret

    def revoke(self, secret: str, at: int) -> None:
        """From `at` on it opens nothing."""
        digest = secret_digest(secret)
        self._by_digest[digest] = replace(self._by_digest[digest], revoked_at=at)

    def find(self, key_digest: bytes) -> ExchangeKey | None:
        """By its digest."""
        return self._by_digest.get(key_digest)


@dataclass(frozen=True, slots=True)
class MemoryAudit:
    """Keeps every call."""

    calls: list[Call] = field(default_factory=list)

    def note(self, call: Call) -> None:
        """Keep one."""
        self.calls.append(call)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one partner was given."""

    user: str
    member: Member
    password: str
    fetch_key: str
    feedback_key: str
    submit_key: str
    subscription_key: str
    token: str


def credentials(
    keys: MemoryKeys, user: str, member: Member, scope: Scope | None = None
) -> Credentials:
    """One key of each sort."""
    scope = scope or Scope()

    def key(programme: Programme, rights: str = "") -> str:
        limited = replace(
            scope,
            may_read="read" in rights,
            may_give_feedback="feedback" in rights,
            may_submit="submit" in rights,
        )
        return keys.issue(user, member, programme, limited if rights else scope)

    return Credentials(
        user,
        member,
        key(Programme.NCMEC),
        key(Programme.STOPNCII, "read"),
        key(Programme.STOPNCII, "feedback"),
        key(Programme.STOPNCII, "submit"),
        key(Programme.STOPNCII_SUBSCRIPTION),
        f"{app_id(member.number)}|{key(Programme.THREATEXCHANGE)}",
    )


@contextmanager
def served(
    source: ListingSource, keys: MemoryKeys, audit: MemoryAudit, now: Callable[[], float]
) -> Iterator[str]:
    """Serve a list on a free port of this machine; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = Starlette(routes=exchange_api.routes(Exchange(source, keys, audit, now, url)))
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        waiter = threading.Event()
        for _ in range(600):
            if server.started:
                break
            waiter.wait(0.05)
        else:
            raise TransportError("the server did not start")
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(30)
