"""However a log grows and whenever readers look, all of them end with the same list."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.feed.reader import Event
from unspread.testing.feed import TrialLog


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), ticks=st.integers(1, 40))
def test_readers_that_look_at_different_times_see_the_same_events(seed: int, ticks: int) -> None:
    dice = random.Random(seed)
    log = TrialLog(seed)
    log.enrol()
    readers = [log.reader() for _ in range(3)]
    seen: list[list[Event]] = [[] for _ in readers]

    def look(number: int) -> None:
        seen[number] += log.follow(readers[number])
        assert readers[number].size == log.writer.size
        assert readers[number].root == log.writer.checkpoint.root
        readers[number] = log.reader(state=readers[number].state())

    for _ in range(ticks):
        for _ in range(dice.choice([0, 1, 1, 2, 5, 40])):
            listing_id = log.add()
            if dice.random() < 0.2:
                log.withdraw(dice.choice([listing_id, *log.receipts]))
        if dice.random() < 0.3:
            log.pad(dice.randint(1, 9))
        log.publish()
        if dice.random() < 0.2:
            log.restarted()
        for number, often in enumerate([1, 0.4, 0]):
            if dice.random() < often:
                look(number)
    for number in range(len(readers)):
        look(number)
    assert seen[0] == seen[1] == seen[2]
