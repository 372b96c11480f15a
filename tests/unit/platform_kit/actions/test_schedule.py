"""Retries back off for three days, then a person is called."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from unspread.platform_kit.actions.schedule import (
    JITTER,
    LONGEST_RETRY_AFTER_SECONDS,
    RETRY_AFTER_SECONDS,
    next_attempt,
)

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
chances = st.floats(0, 1)


@given(failures=st.integers(1, len(RETRY_AFTER_SECONDS)), chance=chances)
def test_each_wait_is_that_of_the_schedule_and_at_most_a_fifth_more(
    failures: int, chance: float
) -> None:
    again = next_attempt(NOW, failures, chance)
    assert again is not None
    seconds = (again - NOW).total_seconds()
    least = RETRY_AFTER_SECONDS[failures - 1]
    assert least <= seconds <= least * (1 + JITTER) + 1


def test_the_first_retry_is_soon_and_the_last_after_three_days() -> None:
    assert RETRY_AFTER_SECONDS[0] <= 5
    assert timedelta(days=3) <= timedelta(seconds=sum(RETRY_AFTER_SECONDS)) <= timedelta(days=5)
    assert list(RETRY_AFTER_SECONDS) == sorted(RETRY_AFTER_SECONDS)


def test_after_the_last_wait_the_action_is_given_up() -> None:
    assert next_attempt(NOW, len(RETRY_AFTER_SECONDS), 0.0) is not None
    assert next_attempt(NOW, len(RETRY_AFTER_SECONDS) + 1, 0.0) is None


@given(asked=st.floats(0, 1e9), chance=chances)
def test_a_receiver_may_ask_for_more_time_up_to_a_day(asked: float, chance: float) -> None:
    again = next_attempt(NOW, 1, chance, asked)
    assert again is not None
    seconds = (again - NOW).total_seconds()
    assert seconds + 1e-3 >= min(asked, LONGEST_RETRY_AFTER_SECONDS)
    assert seconds <= max(LONGEST_RETRY_AFTER_SECONDS, RETRY_AFTER_SECONDS[0] * 2)
