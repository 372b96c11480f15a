"""What carrying an action out once means, for every kind of destination."""

from datetime import datetime
from typing import Protocol

import msgspec

from unspread.errors import StateError, TransportError
from unspread.platform_kit.store import Action

VERSION = 1


class TryAgainError(TransportError):
    """It did not work now. The text names no reference, address or listing."""

    def __init__(self, text: str, *, asked_seconds: float | None = None) -> None:
        """`asked_seconds`: what the other side asked us to wait, if it did."""
        super().__init__(text)
        self.asked_seconds = asked_seconds


class UndeliverableError(StateError):
    """It will never work: a person has to look."""


class Deliver(Protocol):
    """Carries one action out; doing it twice has the effect of doing it once."""

    async def __call__(self, action: Action, now: datetime) -> None:
        """Return when the other side has confirmed.

        Raises:
            TryAgainError: if it may work later.
            UndeliverableError: if it never will.
        """
        ...


def body(action: Action) -> bytes:
    """The action as JSON, the same for a webhook, a command's input and a queue's message."""
    told = action.message
    return msgspec.json.encode(
        {
            "version": VERSION,
            "id": action.action_id,
            "action": action.action,
            "reference": action.reference,
            "list": action.list_name,
            "listing_id": action.listing_id,
            "level": action.level,
            "kind": action.kind,
            "distance_bits": action.distance_bits,
            "rule": action.rule,
            "decided_at": action.decided_at,
            **({} if told is None else {"contact": told.contact, "text": told.text}),
        }
    )
