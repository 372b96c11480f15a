"""Who may review: passkeys, made with an invitation; sessions that end by themselves.

There is no password, so none can be a default one. The first start writes an invitation into a
file that only the operator can read; who opens it makes the first passkey, and invites others.
"""

import json
import os
import secrets
import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from unspread.crypto import sha256
from unspread.errors import InputError, TrustError
from unspread.platform_kit.review.rules import ReviewerId
from unspread.platform_kit.store import Store, time_of, time_text

IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
INVITATION_LASTS: Final = timedelta(days=7)
CHALLENGE_LASTS: Final = timedelta(minutes=5)
FIRST_INVITATION: Final = Path("keys") / "review.invitation"

SCHEMA: Final = (
    """CREATE TABLE review_reviewers (
        reviewer INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
        since TEXT NOT NULL, closed_at TEXT)""",
    """CREATE TABLE review_passkeys (
        credential_id BLOB PRIMARY KEY, reviewer INTEGER NOT NULL, public_key BLOB NOT NULL,
        sign_count INTEGER NOT NULL, since TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE review_invitations (
        digest BLOB PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, until TEXT NOT NULL
        ) WITHOUT ROWID""",
    """CREATE TABLE review_challenges (
        digest BLOB PRIMARY KEY, purpose TEXT NOT NULL, until TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE review_sessions (
        digest BLOB PRIMARY KEY, reviewer INTEGER NOT NULL, since TEXT NOT NULL,
        seen_at TEXT NOT NULL) WITHOUT ROWID""",
)


class SignInError(TrustError):
    """Not signed in, or not with what is needed here."""


class Role(StrEnum):
    """What somebody may do."""

    REVIEWER = "reviewer"
    LEAD = "lead"
    """Also invites and closes accounts, and files reports."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Somebody who may decide."""

    reviewer: ReviewerId
    name: str
    role: Role


class SignIn:
    """Reviewers, their passkeys and their sessions. Methods block; any thread may call."""

    def __init__(self, store: Store, origin: str, clock: Callable[[], datetime]) -> None:
        """`origin`: where the pages are reached; passkeys work there and nowhere else."""
        self._store = store
        self._origin = origin
        self._clock = clock
        self._site = urlsplit(origin).hostname or ""
        store.migrate("review-signin", SCHEMA)

    # Invitations

    def invite(self, name: str, role: Role) -> str:
        """A text that lets somebody make a passkey, once, within a week.

        Raises:
            InputError: if the name is empty, too long, or taken by somebody active.
        """
        name = name.strip()
        if not 0 < len(name) <= 80 or not name.isprintable():
            raise InputError("a reviewer's name has 1 to 80 characters")
        taken = self._store.read(
            lambda c: c.execute("SELECT 1 FROM review_reviewers WHERE name = ?", (name,)).fetchone()
        )
        # Also of a closed account: the record of decisions names people.
        if taken is not None:
            raise InputError("there is, or was, a reviewer of this name")
        text = secrets.token_urlsafe(24)
        until = time_text(self._clock() + INVITATION_LASTS)
        self._store.write(
            lambda c: c.execute(
                "INSERT INTO review_invitations VALUES (?, ?, ?, ?)",
                (_digest(text), name, role, until),
            )
        )
        return text

    def first_invitation(self, data: Path) -> Path | None:
        """The file with the first lead's invitation, made if nobody can sign in yet."""
        path = data / FIRST_INVITATION
        if self.reviewers():
            path.unlink(missing_ok=True)
            return None
        if path.exists() and self._invitation(path.read_text().strip()) is not None:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(self.invite("First reviewer", Role.LEAD) + "\n")
        return path

    def _invitation(self, text: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_invitations WHERE digest = ?", (_digest(text),)
            ).fetchone()
        )
        return row if row is not None and time_of(row["until"]) > self._clock() else None

    # Passkeys

    def registration(self, invitation: str) -> dict[str, Any]:
        """What the browser needs to make a passkey (`PublicKeyCredentialCreationOptions`).

        Raises:
            SignInError: if the invitation is not one, was used, or is too old.
        """
        row = self._invitation(invitation)
        if row is None:
            raise SignInError("this invitation is not known, was used, or is too old")
        from unspread.platform_kit.review import passkeys

        return passkeys.options_to_make(self._site, row["name"], self._challenge("registration"))

    def register(self, invitation: str, credential: dict[str, Any]) -> str:
        """Make the reviewer and the passkey, and sign them in; the session's text.

        Raises:
            SignInError: if the invitation or the credential does not hold.
        """
        from unspread.platform_kit.review import passkeys

        row = self._invitation(invitation)
        if row is None:
            raise SignInError("this invitation is not known, was used, or is too old")
        try:
            verified = passkeys.verified_new(
                credential,
                challenge=self._spent_challenge(credential, "registration"),
                site=self._site,
                origin=self._origin,
            )
        except passkeys.WebAuthnException:
            raise SignInError("this passkey could not be checked") from None
        now = time_text(self._clock())

        def work(connection: sqlite3.Connection) -> ReviewerId:
            used = connection.execute(
                "DELETE FROM review_invitations WHERE digest = ?", (_digest(invitation),)
            )
            if used.rowcount != 1:
                raise SignInError("this invitation was used meanwhile")
            made = connection.execute(
                "INSERT INTO review_reviewers (name, role, since) VALUES (?, ?, ?)"
                " RETURNING reviewer",
                (row["name"], row["role"], now),
            ).fetchone()
            connection.execute(
                "INSERT INTO review_passkeys VALUES (?, ?, ?, ?, ?)",
                (
                    verified.credential_id,
                    made[0],
                    verified.credential_public_key,
                    verified.sign_count,
                    now,
                ),
            )
            return ReviewerId(made[0])

        reviewer = self._store.write(work)
        self._store.audit(row["name"], "made a passkey", "review", self._clock())
        return self._session(reviewer)

    def authentication(self) -> dict[str, Any]:
        """What the browser needs to use a passkey (`PublicKeyCredentialRequestOptions`)."""
        from unspread.platform_kit.review import passkeys

        return passkeys.options_to_use(self._site, self._challenge("authentication"))

    def authenticate(self, credential: dict[str, Any]) -> str:
        """Sign in with a passkey; the session's text.

        Raises:
            SignInError: if it is not a passkey of an active reviewer, or does not hold.
        """
        from unspread.platform_kit.review import passkeys

        try:
            credential_id = _from_base64url(str(credential.get("rawId", "")))
        except ValueError:
            raise SignInError("this passkey could not be read") from None
        row = self._store.read(
            lambda c: c.execute(
                "SELECT passkeys.*, name FROM review_passkeys AS passkeys"
                " JOIN review_reviewers USING (reviewer)"
                " WHERE credential_id = ? AND closed_at IS NULL",
                (credential_id,),
            ).fetchone()
        )
        challenge = self._spent_challenge(credential, "authentication")
        if row is None:
            raise SignInError("this passkey is not known here")
        try:
            verified = passkeys.verified_use(
                credential,
                challenge=challenge,
                site=self._site,
                origin=self._origin,
                public_key=row["public_key"],
                sign_count=row["sign_count"],
            )
        except passkeys.WebAuthnException:
            raise SignInError("this passkey could not be checked") from None
        self._store.write(
            lambda c: c.execute(
                "UPDATE review_passkeys SET sign_count = ? WHERE credential_id = ?",
                (verified.new_sign_count, credential_id),
            )
        )
        self._store.audit(row["name"], "signed in", "review", self._clock())
        return self._session(ReviewerId(row["reviewer"]))

    def _challenge(self, purpose: str) -> bytes:
        challenge = secrets.token_bytes(32)
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM review_challenges WHERE until < ?", (time_text(now),))
            connection.execute(
                "INSERT INTO review_challenges VALUES (?, ?, ?)",
                (
                    _digest(urlsafe_b64encode(challenge).decode().rstrip("=")),
                    purpose,
                    time_text(now + CHALLENGE_LASTS),
                ),
            )

        self._store.write(work)
        return challenge

    def _spent_challenge(self, credential: dict[str, Any], purpose: str) -> bytes:
        """The challenge that a credential answers, if we made it; it serves no second time."""
        try:
            client = json.loads(_from_base64url(credential["response"]["clientDataJSON"]))
            text = str(client["challenge"])
            challenge = _from_base64url(text)
        except (KeyError, TypeError, ValueError, RecursionError):
            raise SignInError("this passkey could not be read") from None
        now = time_text(self._clock())

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM review_challenges WHERE digest = ? AND purpose = ? AND until >= ?",
                (_digest(text), purpose, now),
            ).rowcount

        if self._store.write(work) != 1:
            raise SignInError("this took too long: try again")
        return challenge

    # Sessions

    def _session(self, reviewer: ReviewerId) -> str:
        text = secrets.token_urlsafe(32)
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM review_sessions WHERE since < ? OR seen_at < ?",
                (time_text(now - LONGEST), time_text(now - IDLE)),
            )
            connection.execute(
                "INSERT INTO review_sessions VALUES (?, ?, ?, ?)",
                (_digest(text), reviewer, time_text(now), time_text(now)),
            )

        self._store.write(work)
        return text

    def who(self, session: str) -> Reviewer:
        """Whose session it is; it is extended by being used.

        Raises:
            SignInError: if it is none, has ended, or the account is closed.
        """
        now = self._clock()
        row = self._store.read(
            lambda c: c.execute(
                "SELECT review_sessions.since, seen_at, reviewer, name, role, closed_at"
                " FROM review_sessions JOIN review_reviewers USING (reviewer) WHERE digest = ?",
                (_digest(session),),
            ).fetchone()
        )
        if (
            row is None
            or row["closed_at"] is not None
            or now - time_of(row["since"]) > LONGEST
            or now - time_of(row["seen_at"]) > IDLE
        ):
            raise SignInError("sign in first")
        if now - time_of(row["seen_at"]) > IDLE / 30:
            self._store.write(
                lambda c: c.execute(
                    "UPDATE review_sessions SET seen_at = ? WHERE digest = ?",
                    (time_text(now), _digest(session)),
                )
            )
        return Reviewer(ReviewerId(row["reviewer"]), row["name"], Role(row["role"]))

    def sign_out(self, session: str) -> None:
        """End a session."""
        self._store.write(
            lambda c: c.execute("DELETE FROM review_sessions WHERE digest = ?", (_digest(session),))
        )

    def reviewers(self) -> list[Reviewer]:
        """Everyone who may sign in."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT * FROM review_reviewers WHERE closed_at IS NULL ORDER BY name"
            ).fetchall()
        )
        return [
            Reviewer(ReviewerId(row["reviewer"]), row["name"], Role(row["role"])) for row in rows
        ]

    def close(self, reviewer: ReviewerId, by: str) -> None:
        """Close an account: its sessions end now, its decisions stay.

        Raises:
            InputError: if nobody but them could invite others.
        """
        active = self.reviewers()
        leads = [each for each in active if each.role is Role.LEAD]
        if [each.reviewer for each in leads] == [reviewer]:
            raise InputError("this is the last one who can invite others")
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE review_reviewers SET closed_at = ? WHERE reviewer = ?",
                (time_text(now), reviewer),
            )
            connection.execute("DELETE FROM review_sessions WHERE reviewer = ?", (reviewer,))
            connection.execute("DELETE FROM review_passkeys WHERE reviewer = ?", (reviewer,))

        self._store.write(work)
        self._store.audit(by, "closed an account", str(reviewer), now)


def _digest(text: str) -> bytes:
    return sha256(b"unspread/v1/review-secret", text.encode())


def _from_base64url(text: str) -> bytes:
    """Bytes of text without padding, as browsers write it."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
