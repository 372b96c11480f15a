"""An index stays right through any life: changes, saving, opening, rebuilding, all at once."""

import os
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.properties.match_oracle import (
    KERNELS,
    ORDER,
    answer,
    flipped,
    matches_within,
    random_rows,
)
from unspread.match import Index
from unspread.match.building import parts_of

BASE = random_rows(4300, seed=11)
"""Enough rows for tables."""
FAMILY = [flipped(BASE[0], range(0, 8 * step, 2)) for step in range(12)]
"""Rows 4 bits apart, so that most queries stand near the radius of some."""


class IndexLife(RuleBasedStateMachine):
    """Every kernel's index goes through the same life as a plain list of entries."""

    @initialize(with_tables=st.booleans())
    def build(self, with_tables):
        rows = BASE if with_tables else BASE[:3]
        self.entries = list(zip(range(10_000, 10_000 + len(rows)), rows, strict=True))
        ids = np.array([each for each, _ in self.entries])
        self.indexes = [
            Index(kernel, ORDER, parts_of(kernel, [(ids, kernel.permuted(rows, ORDER))]))
            for kernel in KERNELS
        ]

    @rule(
        added=st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, len(FAMILY) - 1)), min_size=1, max_size=4
        )
    )
    def add(self, added):
        ids = np.array([each for each, _ in added])
        rows = np.stack([FAMILY[number] for _, number in added])
        self.entries += zip(ids.tolist(), rows, strict=True)
        for index in self.indexes:
            index.add(ids, rows)

    @rule(removed=st.lists(st.sampled_from([*range(7), 10_000, 10_001, 77]), max_size=4))
    def remove(self, removed):
        kept = [(each, row) for each, row in self.entries if each not in removed]
        for index in self.indexes:
            went = index.remove(np.array(removed, dtype=np.int64))
            assert went == len(self.entries) - len(kept)
        self.entries = kept

    @rule()
    def rebuild(self):
        for index in self.indexes:
            index.rebuild()

    @rule()
    def save_and_open(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "index"
            for number, index in enumerate(self.indexes):
                index.save(path)
                # What one kernel wrote, any kernel opens.
                self.indexes[number] = Index.open(
                    path, kernel="numpy" if number % 2 else "compiled"
                )

    @rule(number=st.integers(0, len(FAMILY) - 1), radius_bits=st.integers(0, 40))
    def query(self, number, radius_bits):
        near = [entry for entry in self.entries if entry[0] <= 10_000]
        expected = matches_within(near, FAMILY[number], radius_bits)
        for index in self.indexes:
            assert answer(index.within(FAMILY[number], radius_bits)) == expected

    @rule(number=st.integers(0, len(FAMILY) - 1))
    def query_in_a_batch(self, number):
        near = [entry for entry in self.entries if entry[0] <= 10_000]
        expected = matches_within(near, FAMILY[number], 31)
        for index in self.indexes:
            many = index.within_many(np.stack([BASE[4000] ^ BASE[4001], FAMILY[number]]))
            assert set(many.query_positions.tolist()) <= {1}
            assert answer(many) == expected

    @invariant()
    def counts_agree(self):
        for index in self.indexes:
            assert len(index) == len(self.entries) == index.info().entries


TestIndexLife = IndexLife.TestCase
TestIndexLife.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
def test_readers_see_every_change_at_once_while_writers_and_rebuilds_go_on(kernel):
    """Each reader asks for entries in a known state; a wrong answer in any thread fails."""
    count, steady = 6000, 500
    rows = random_rows(count, seed=5)
    index = Index.build(np.arange(count), rows, kernel=kernel)
    fresh = random_rows(400, seed=6)
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(work):
        def run():
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 (shown by the test below)
                failures.append(error)
                stop.set()

        return run

    def read_one(rng):
        number = int(rng.integers(steady))
        query = flipped(rows[number], rng.permutation(256)[:31])
        assert answer(index.within(query)) == [(number, 31)]

    def read_many(rng):
        numbers = rng.integers(0, steady, 50)
        many = index.within_many(rows[numbers])
        assert many.ids.tolist() == numbers.tolist()

    def rebuild(_):
        index.rebuild()

    threads = [
        threading.Thread(target=guarded(partial(work, np.random.default_rng(seed))))
        for seed, work in enumerate([read_one, read_one, read_many, rebuild])
    ]
    for thread in threads:
        thread.start()
    # The one writer sees each of its own changes at once, and never one that it took back.
    for number, row in enumerate(fresh):
        listed = np.array([100_000 + number])
        index.add(listed, row[None])
        assert answer(index.within(row)) == [(100_000 + number, 0)]
        if number % 3:
            assert index.remove(listed) == 1
            assert len(index.within(row)) == 0
        gone = steady + number
        assert index.remove(np.array([gone])) == 1
        assert len(index.within(rows[gone])) == 0
        if stop.is_set():
            break
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[0]
    index.rebuild()
    kept = {100_000 + number for number in range(400) if not number % 3}
    assert {int(each) for each in index.within_many(fresh).ids} == kept
    assert len(index) == count - 400 + len(kept)


def test_many_additions_start_a_rebuild_by_themselves():
    index = Index.build(np.arange(10), BASE[:10])
    rows = random_rows(20_000, seed=8)
    for start in range(0, len(rows), 100):
        index.add(np.arange(start, start + 100), rows[start : start + 100])
    index.rebuild()
    assert index.info().waiting == 0
    assert len(index) == 20_010
    assert len(index.within_many(rows[:50])) == 50


def test_many_removals_start_a_rebuild_by_themselves():
    rows = random_rows(40_000, seed=9)
    index = Index.build(np.arange(len(rows)), rows)
    index.remove(np.arange(20_000))
    index.rebuild()
    assert index.info().removed == 0
    assert index.within_many(rows[19_990:20_010]).ids.tolist() == list(range(20_000, 20_010))


def _opened_in_child(path, queries):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        found = Index.open(path).within_many(queries)
        os.write(writing, len(found).to_bytes(8, "big"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answered:
        counted = int.from_bytes(answered.read(8), "big")
    os.waitpid(child, 0)
    return counted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are started another way there")
def test_processes_that_open_one_file_answer_alike_and_change_only_their_own(tmp_path):
    path = tmp_path / "index"
    Index.build(np.arange(len(BASE)), BASE).save(path)
    ours = Index.open(path)
    ours.remove(np.arange(100))
    assert _opened_in_child(path, BASE[:100]) == 100
    assert len(ours.within_many(BASE[:100])) == 0
