"""The door to the two kernels: compiled where it could be built, numpy everywhere else.

Both answer every question with the same bits; tests hold them to it.
"""

from typing import Any, Final, Literal, Protocol

from unspread.errors import InputError
from unspread.match.layout import I64, U8, U16, U32, U64, Found, FoundMany, Part, Tables

KernelChoice = Literal["compiled", "numpy"]


class Kernel(Protocol):
    """Arrays in, arrays out. Rows named `permuted` are in the index's secret bit order."""

    name: str
    """`numpy`, or `compiled` and the instruction set it chose."""

    def permuted(self, rows: U64, order: U8) -> U64:
        """(n, 4) canonical rows in the order that `layout.secret_order` gave."""

    def tables(self, front: U64, back: U64, kept: U32) -> Tables:
        """Tables over the rows at the positions `kept`, ascending."""

    def distances(self, front: U64, back: U64, permuted: U64) -> U16:
        """(n,) bits in which each row differs from the one `permuted` row (4,)."""

    def view(self, part: Part, order: U8) -> Any:
        """The part, of rows in this order, as `search` wants it; keeps the arrays alive."""

    def search(
        self, views: tuple[Any, ...], tail_rows: int, row: U64, radius_bits: int, limit: int
    ) -> Found | None:
        """Entries within the radius of one canonical row (4,), nearest first; None for none.

        All views have the same order. Of the last one, only the first `tail_rows` rows exist. When
        more than `limit` lie within the radius, those with the lowest ids are given.

        Raises:
            InputError: if the row is no (4,) uint64.
        """

    def search_many(
        self, views: tuple[Any, ...], tail_rows: int, rows: U64, radius_bits: int, limit: int
    ) -> FoundMany:
        """The same for (n, 4) canonical rows at once, ordered by query."""

    def scan(
        self, front: U64, back: U64 | None, needles: U64, radius_bits: int
    ) -> tuple[I64, I64, I64]:
        """Compare canonical rows given as halves, each (n, 2), with (k, 4) needles.

        Returns the row, the needle and the distance of each pair within the radius, by row. Without
        `back`, of each pair whose first halves are within it, with the distance of those halves.
        """


def choose(choice: KernelChoice | None = None) -> Kernel:
    """The kernel asked for, or the fastest that this machine has.

    Raises:
        InputError: if the compiled one is asked for and was not built, or for any other name.
    """
    if choice not in {None, "compiled", "numpy"}:
        raise InputError(f"kernel is compiled or numpy, not {choice}")
    if choice != "numpy":
        try:
            from unspread.match.compiled_kernel import CompiledKernel
        except ImportError:
            if choice == "compiled":
                raise InputError("the compiled kernel was not built on this machine") from None
        else:
            return CompiledKernel()
    from unspread.match.numpy_kernel import NumpyKernel

    return NumpyKernel()


def kernel_name() -> str:
    """Which kernel this machine uses by default, for metrics and checks."""
    return choose().name


LIMIT: Final = 1024
"""Most matches given for one query: a picture that meets more listings is no evidence of any."""
