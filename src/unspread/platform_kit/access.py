"""Who may ask for what: scoped keys from the first start, and a rate for each."""

import base64
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from unspread.crypto import sha256
from unspread.errors import InputError
from unspread.platform_kit.store import Store, time_text

FIRST_KEY_FILE: Final = Path("keys") / "first.key"
_KEY_BYTES: Final = 20
"""160 random bits: a plain SHA-256 of it is safe to keep."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Scope(StrEnum):
    """What a key allows."""

    SCAN = "scan"
    LOOKUP = "lookup"
    CATALOGUE = "catalogue"
    REVIEW = "review"
    MANAGE = "manage"
    METRICS = "metrics"


class AccessError(InputError):
    """No key, an unknown one, one without this scope, or too many requests."""

    def __init__(self, status: int, text: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        """401, 403 or 429."""
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key: never the key."""

    name: str
    scopes: frozenset[Scope]
    created_at: str
    revoked_at: str | None


class Keys:
    """The keys of this installation."""

    def __init__(
        self, store: Store, requests_per_minute: int, seconds: Callable[[], float]
    ) -> None:
        """Read all keys.

        Args:
            seconds: a clock that never goes back.
        """
        self._store = store
        self._per_second = requests_per_minute / 60
        self._most = float(max(requests_per_minute // 6, 10))
        self._seconds = seconds
        self._known: dict[bytes, KeyRecord] = {}
        self._presented: dict[str, KeyRecord] = {}
        """Authorization headers seen and found good: no digest for each request."""
        self._tokens: dict[str, tuple[float, float]] = {}
        self.reload()

    def reload(self) -> None:
        """Learn of keys made or revoked by another process."""

        def work(connection: sqlite3.Connection) -> dict[bytes, KeyRecord]:
            return {
                row["key_digest"]: KeyRecord(
                    row["name"],
                    frozenset(Scope(each) for each in row["scopes"].split()),
                    row["created_at"],
                    row["revoked_at"],
                )
                for row in connection.execute("SELECT * FROM api_keys ORDER BY created_at")
            }

        known = self._store.read(work)
        if known != self._known:
            self._known, self._presented = known, {}

    def all(self) -> tuple[KeyRecord, ...]:
        """Every key ever made."""
        return tuple(self._known.values())

    def issue(self, name: str, scopes: Iterable[Scope], by: str, at: datetime) -> str:
        """Make a key and return its text, which is shown once and kept nowhere.

        Raises:
            InputError: if the name is malformed or taken.
        """
        if not _NAME.fullmatch(name):
            raise InputError("a key's name has small letters, digits, '.', '_' and '-'")
        text = "uk_" + base64.b32encode(os.urandom(_KEY_BYTES)).decode().lower()
        values = (sha256(text.encode()), name, " ".join(sorted(scopes)), time_text(at))

        def work(connection: sqlite3.Connection) -> bool:
            return (
                connection.execute(
                    "INSERT INTO api_keys VALUES (?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING", values
                ).rowcount
                > 0
            )

        if not self._store.write(work):
            raise InputError("there is a key of this name already")
        self._store.audit(by, "issue key", name, at)
        self.reload()
        return text

    def revoke(self, name: str, by: str, at: datetime) -> None:
        """Make a key useless from the next request on.

        Raises:
            InputError: if there is no such key in use.
        """

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE api_keys SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL",
                (time_text(at), name),
            ).rowcount

        if not self._store.write(work):
            raise InputError("there is no key of this name in use")
        self._store.audit(by, "revoke key", name, at)
        self.reload()

    def issue_first(self, data: Path, at: datetime) -> Path | None:
        """At the very first start, write a key for everything into a file for its owner alone."""
        if self._known:
            return None
        path = data / FIRST_KEY_FILE
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = self.issue("first", Scope, "first start", at)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
        return path

    def allow(self, authorization: str | None, scope: Scope) -> KeyRecord:
        """The key that an Authorization header presents (Bearer, or Basic with it as password).

        Raises:
            AccessError: 401, 403 or 429.
        """
        if not authorization:
            raise AccessError(401, "a key is needed: Authorization: Bearer KEY")
        record = self._presented.get(authorization)
        if record is None:
            record = self._known.get(sha256(_presented_key(authorization)))
            if record is None or record.revoked_at:
                raise AccessError(401, "this key is not known, or it was revoked")
            self._presented[authorization] = record
        if scope not in record.scopes:
            raise AccessError(403, f"this key does not allow {scope}")
        self._spend(record.name)
        return record

    def _spend(self, name: str) -> None:
        now = self._seconds()
        tokens, since = self._tokens.get(name, (self._most, now))
        tokens = min(self._most, tokens + (now - since) * self._per_second)
        if tokens < 1:
            raise AccessError(429, "too many requests with this key", retry_after_seconds=1)
        self._tokens[name] = (tokens - 1, now)


def _presented_key(authorization: str) -> bytes:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:
            pass
    return b""
