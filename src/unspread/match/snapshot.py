"""The index as a file."""

from collections.abc import Sequence
from pathlib import Path

from unspread.errors import InputError
from unspread.match.layout import Part


class SnapshotError(InputError):
    """Not a whole and sound index file of this version and byte order; build or fetch it again."""


def saved(path: Path, parts: Sequence[Part]) -> None:
    """Write the parts."""
    raise NotImplementedError


def opened(path: Path, *, verify: bool | None = None) -> tuple[Part, ...]:
    """Read the parts."""
    raise NotImplementedError
