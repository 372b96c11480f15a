"""The matching engine beside its peers."""

import numpy as np

from benchmarks.report import Report, best_of
from unspread.match import Index


def run(report: Report) -> None:
    """A miss against a uniform list."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2**64, (100_000, 4), dtype=np.uint64)
    index = Index.build(np.arange(len(rows)), rows)
    queries = rng.integers(0, 2**64, (200, 4), dtype=np.uint64)
    took = best_of(lambda: [index.within(query) for query in queries]) / len(queries)
    report.row("one miss, 100 000 entries", took * 1e6, "µs")
