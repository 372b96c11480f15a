"""Pictures that nobody's case is about: how near a fingerprint is to one of them."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from unspread.clearinghouse.rules import HeldReason
from unspread.errors import InputError
from unspread.match import Index
from unspread.model import MATCH_RADIUS_BITS

OWN_FILE: Final = "well_known.txt"
"""In the data directory: what the operator adds, in the same form."""

_WORDS: Final = 4


class MalformedSetError(InputError):
    """A line of a set of well-known fingerprints is not 64 digits of hex (or more, with commas) and
    a name."""


class WellKnownSet:
    """Fingerprints with names: thousands, against which each frame of a film is held."""

    def __init__(self, *sets: Iterable[str]) -> None:
        """From lines of hex, a space and a name; a name that begins with `blank` is a blank.

        Commas stand between the fingerprints of one picture: turned, in other sizes.

        Raises:
            MalformedSetError: naming the line's number within its set.
        """
        values: list[bytes] = []
        blank: list[bool] = []
        for number, line in chain.from_iterable(enumerate(lines, 1) for lines in sets):
            if not line.strip() or line.startswith("#"):
                continue
            digits, _, name = line.strip().partition(" ")
            for each in digits.split(","):
                try:
                    value = bytes.fromhex(each)
                except ValueError:
                    value = b""
                if len(value) != 32:
                    raise MalformedSetError(
                        f"line {number} of {OWN_FILE} is malformed: it wants 64 hex digits of a "
                        "PDQ (or several, with commas between), a space and a name"
                    )
                values.append(value)
                blank.append(name.startswith("blank"))
        rows = np.frombuffer(b"".join(values), np.uint64).reshape(-1, _WORDS)
        self._index = Index.build(np.arange(len(rows)), rows)
        self._is_blank = blank

    def __len__(self) -> int:
        return len(self._is_blank)

    def reason(self, value: bytes) -> HeldReason | None:
        """Whether a PDQ is within the radius of one of them, and of what kind."""
        nearest, _ = self._index.within(np.frombuffer(value, np.uint64), MATCH_RADIUS_BITS)
        if len(nearest) == 0:
            return None
        return HeldReason.BLANK if self._is_blank[nearest[0]] else HeldReason.WELL_KNOWN


@cache
def shipped() -> tuple[str, ...]:
    """The lines that come with the package, made by `make well-known`."""
    text = (files("unspread.clearinghouse") / "data" / OWN_FILE).read_text(encoding="utf-8")
    return tuple(text.splitlines())


def load(data: Path) -> WellKnownSet:
    """The package's set, with the operator's own from the data directory.

    Raises:
        MalformedSetError: if the operator's is malformed.
    """
    own = data / OWN_FILE
    # Names are free text: one in another encoding is no reason not to start.
    text = own.read_text(encoding="utf-8-sig", errors="replace") if own.exists() else ""
    return WellKnownSet(shipped(), text.splitlines())
