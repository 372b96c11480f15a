"""Every listed fingerprint within a radius, exactly."""

from unspread.match.index import Index, IndexInfo, ManyMatches, Matches
from unspread.match.kernel import KernelChoice, kernel_name
from unspread.match.snapshot import SnapshotError

__all__ = [
    "Index",
    "IndexInfo",
    "KernelChoice",
    "ManyMatches",
    "Matches",
    "SnapshotError",
    "kernel_name",
]
