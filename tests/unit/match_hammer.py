"""Threads that ask, add, remove, rebuild and scan at once, on the kernel that argv names.

A program of its own, run by test_match_kernel.py with a kernel that a race detector watches.
"""

import importlib.util
import sys
import threading

import numpy as np

spec = importlib.util.spec_from_file_location("unspread.match._kernel", sys.argv[1])
assert spec is not None
assert spec.loader is not None
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
# Both where it is looked up by name and where `from unspread.match import _kernel` looks.
sys.modules[spec.name] = kernel

from unspread.match import Catalogue, Index, compiled_kernel, found_in  # noqa: E402 (needs the above)

assert compiled_kernel._kernel is kernel

ROWS = np.random.default_rng(1).integers(0, 2**64, (9000, 4), dtype=np.uint64)
ROWS[:900] = ROWS[0]  # a clump
INDEX = Index.build(np.arange(len(ROWS)), ROWS)
CATALOGUE = Catalogue.of(ROWS)
WORKS = [
    lambda: INDEX.within(ROWS[5]),
    lambda: INDEX.within(ROWS[7000], 40),  # beyond the tables, without the interpreter's lock
    lambda: INDEX.within_many(ROWS[:1500]),
    lambda: INDEX.within_many(ROWS[3000:3040]),
    INDEX.rebuild,
    lambda: list(found_in(CATALOGUE, ROWS[:5])),
]
stop = threading.Event()
failures = []


def repeat(work):
    try:
        while not stop.is_set():
            work()
    except Exception as error:  # noqa: BLE001 (shown at the end)
        failures.append(error)


threads = [threading.Thread(target=repeat, args=(work,)) for work in WORKS]
for thread in threads:
    thread.start()
for number in range(60):
    INDEX.add(np.array([20_000 + number]), ROWS[number : number + 1])
    assert INDEX.remove(np.array([1000 + number])) == 1
stop.set()
for thread in threads:
    thread.join()
assert not failures, failures
print("no race")
