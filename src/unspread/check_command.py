"""`unspread check`: what is installed, what it computes with, and whether it computes right."""

import platform
from collections.abc import Iterator
from importlib.metadata import version

import click
import numpy as np

from unspread.errors import InputError, StateError
from unspread.fingerprint import kernel as fingerprint_kernel
from unspread.fingerprint import pdq
from unspread.match import Index, KernelChoice, kernel_name

_LISTED_ROWS = 5000
"""Enough for tables."""
_KNOWN_FINGERPRINT = "d95b332a6348c72a0f4b7eaafd5aaa505592eb3140f3ffe0fc0003e7fc000377"
"""Of `_pattern`, by the code that agrees with vectors/pictures.json."""


def findings() -> Iterator[tuple[bool, str]]:
    """Whether each thing is good, and the thing in words. Needs no service, key or network."""
    yield True, f"unspread {version('unspread')}, numpy {np.__version__}"
    yield True, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield True, f"matching kernel: {kernel_name()}"
    compiled = "compiled" if fingerprint_kernel.compiled else "numpy"
    yield True, f"fingerprinting kernel: {compiled}"
    computed = pdq.fingerprint(_pattern()).value.hex()
    yield computed == _KNOWN_FINGERPRINT, "the known picture has its known fingerprint"
    choices: tuple[KernelChoice, ...] = ("compiled", "numpy")
    for choice in choices:
        try:
            found = _finds_what_it_should(choice)
        except InputError:
            yield True, f"{choice} matching: not built on this machine"
        else:
            yield found, f"{choice} matching finds what is 31 bits away, and not what is 32 away"


def _pattern() -> pdq.Pixels:
    down, across = np.mgrid[:192, :256]
    grey = (down * 3 + across * 2 + (down * across >> 6)) % 256
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _finds_what_it_should(choice: KernelChoice) -> bool:
    # Multiplied by the golden ratio and mixed as in splitmix64: the same on every machine.
    words = np.arange(4 * _LISTED_ROWS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    rows = (words ^ (words >> np.uint64(27))).reshape(-1, 4)
    index = Index.build(np.arange(len(rows)), rows, kernel=choice)
    queries = rows[[77, 78]].copy()
    queries[:, 2] ^= np.uint64(2**16 - 1)
    queries[:, 3] ^= np.array([2**15 - 1, 2**16 - 1], dtype=np.uint64)
    alone = [index.within(query) for query in queries]
    together = index.within_many(np.repeat(queries, _LISTED_ROWS // 2, axis=0))
    return (
        [each.ids.tolist() for each in alone] == [[77], []]
        and alone[0].distances_bits.tolist() == [31]
        and set(together.ids.tolist()) == {77}
        and len(together) == _LISTED_ROWS // 2
    )


@click.command()
def check() -> None:
    """Say what this installation computes with, and whether it computes right; status 3 if not."""
    problems = 0
    for is_good, text in findings():
        problems += not is_good
        click.echo(f"{'ok  ' if is_good else 'BAD '} {text}")
    if problems:
        raise StateError("this installation computes wrongly: install it again, and tell us")
