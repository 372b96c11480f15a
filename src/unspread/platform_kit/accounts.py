"""How many accounts posted something, counted without knowing whose they are.

What a platform says of an account (its number, a pseudonym) is not kept: 63 bits of an HMAC of it
are, by a key that never leaves the data directory. A clearinghouse is told a rounded count.
"""

import hashlib
import hmac
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from unspread.errors import InputError, StateError

MAX_COUNTED: Final = 1000
"""Accounts kept for one listing: four times what the rule for spread counts of one platform."""
MAX_ACCOUNT_CHARACTERS: Final = 256
_KEY_BYTES: Final = 32


class MalformedPostingError(InputError):
    """The account or the day is not one."""


@dataclass(frozen=True, slots=True)
class Posting:
    """What a platform says of how content came to it."""

    account: str = ""
    """Any text that is the same for the same account; empty: not said."""
    on: date | None = None
    """The day on which it was posted; None: today."""

    @classmethod
    def from_text(cls, account: str, day: str) -> "Posting":
        """From two headers, each empty if it is not said.

        Raises:
            MalformedPostingError: for a day that is not YYYY-MM-DD, or too long an account.
        """
        if len(account) > MAX_ACCOUNT_CHARACTERS:
            raise MalformedPostingError(
                f"an account is named in up to {MAX_ACCOUNT_CHARACTERS} characters"
            )
        try:
            return cls(account, date.fromisoformat(day) if day else None)
        except ValueError:
            raise MalformedPostingError("the day of a posting is like 2024-05-31") from None


UNSAID: Final = Posting()


class Accounts:
    """Stands for accounts by numbers that only this data directory's key can make."""

    def __init__(self, path: Path) -> None:
        """Read the key, or make it.

        Raises:
            StateError: if the file is damaged.
        """
        with suppress(FileExistsError):
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                # Not replaced: another process may have made it meanwhile.
                os.link(partial, path)
            finally:
                partial.unlink()
        self._key = path.read_bytes()
        if len(self._key) != _KEY_BYTES:
            raise StateError(f"{path} is damaged: delete it, and accounts are counted anew")

    def number(self, account: str) -> int:
        """The same for the same account, 0 .. 2^63 - 1; says nothing of it without the key."""
        digest = hmac.digest(self._key, account.encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "big") >> 1


def rounded(count: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50 … not above `count`; 0 of none."""
    if count == 0:
        return 0
    power = 10 ** (len(str(count)) - 1)
    return int(next(step for step in (5, 2, 1) if step * power <= count) * power)
