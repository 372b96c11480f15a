"""Every listed fingerprint within a radius, exactly."""

from unspread.match.index import FrozenIndex, Index, IndexInfo, ManyMatches, Matches
from unspread.match.kernel import KernelChoice, kernel_name
from unspread.match.reverse import Catalogue, Stretch, append, found_in, near_fronts
from unspread.match.snapshot import SnapshotError, give_back

__all__ = [
    "Catalogue",
    "FrozenIndex",
    "Index",
    "IndexInfo",
    "KernelChoice",
    "ManyMatches",
    "Matches",
    "SnapshotError",
    "Stretch",
    "append",
    "found_in",
    "give_back",
    "kernel_name",
    "near_fronts",
]
