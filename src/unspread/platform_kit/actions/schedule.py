"""When to try again to carry an action out, and when to give up and call a person."""

from datetime import datetime, timedelta
from typing import Final

RETRY_AFTER_SECONDS: Final = (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""After the first, second, … failure. The first is soon, because a board that restarts is back in
seconds and a person waits; together they span three days, so that a weekend's outage loses nothing.
After the schedule of Standard Webhooks ("Delivery attempts"), with one step more at the start."""

JITTER: Final = 0.2
"""Share of the delay added at random at most: a thousand failed actions do not return at once."""

LONGEST_RETRY_AFTER_SECONDS: Final = 86400
"""How far a receiver's `Retry-After` is honoured."""


def next_attempt(
    now: datetime, failures: int, chance: float, asked_seconds: float | None = None
) -> datetime | None:
    """When to try again, or None when the action belongs on the dead-letter list.

    Args:
        now: when the last attempt failed.
        failures: attempts that failed so far, 1...
        chance: uniform in 0..1, from the caller's random source.
        asked_seconds: the receiver's `Retry-After`; never sooner than that.
    """
    if failures > len(RETRY_AFTER_SECONDS):
        return None
    delay = RETRY_AFTER_SECONDS[failures - 1] * (1 + JITTER * chance)
    if asked_seconds is not None:
        delay = max(delay, min(asked_seconds, LONGEST_RETRY_AFTER_SECONDS))
    return now + timedelta(seconds=delay)
