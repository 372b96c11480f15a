"""The compiled kernel: arrays are made here, filled and read in C."""

from typing import Any, Final

import numpy as np

from unspread.match import _kernel
from unspread.match.layout import (
    CHUNKS,
    I64,
    U8,
    U16,
    U32,
    U64,
    Part,
    Tables,
    key_bits_for,
)

INSTRUCTION_SETS: Final[tuple[str, ...]] = _kernel.KERNELS
"""What this processor has of what was compiled, fastest first."""


class CompiledKernel:
    """See `kernel.Kernel`."""

    search = staticmethod(_kernel.search)
    search_many = staticmethod(_kernel.search_many)

    def __init__(self, instruction_set: str = INSTRUCTION_SETS[0]):
        self.instruction_set = instruction_set
        self.name = f"compiled ({instruction_set})"

    def permuted(self, rows: U64, order: U8) -> U64:
        permuted = np.empty_like(rows)
        _kernel.permute(self.instruction_set, order, rows, permuted)
        return permuted

    def tables(self, front: U64, back: U64, kept: U32) -> Tables:
        count = len(kept)
        tables = Tables(
            np.empty((CHUNKS, (1 << key_bits_for(count)) + 1), dtype=np.uint32),
            np.empty((CHUNKS, count), dtype=np.uint16),
            np.zeros((CHUNKS * count + 1, 3), dtype=np.uint8),
        )
        _kernel.fill_tables(front, back, kept, tables.offsets, tables.signatures, tables.positions)
        return tables

    def distances(self, front: U64, back: U64, permuted: U64) -> U16:
        distances = np.empty(len(front), dtype=np.uint16)
        _kernel.distances(self.instruction_set, front, back, permuted, distances)
        return distances

    def view(self, part: Part, order: U8) -> Any:
        tables, clumps = part.tables, part.clumps
        return _kernel.View(
            self.instruction_set,
            order,
            *(part.ids, part.front, part.back, part.dead),
            *((tables.offsets, tables.signatures, tables.positions) if tables else (None,) * 3),
            *(
                (clumps.starts, clumps.centres, clumps.radii, clumps.positions)
                if clumps
                else (None,) * 4
            ),
            *(
                (clumps.common, clumps.columns, clumps.pairs, clumps.paired)
                if clumps
                else (None,) * 4
            ),
        )

    def scan(
        self, front: U64, back: U64 | None, needles: U64, radius_bits: int
    ) -> tuple[I64, I64, I64]:
        found = _kernel.scan(self.instruction_set, front, back, needles, radius_bits)
        rows, numbers, distances = (np.frombuffer(each, dtype=np.int64) for each in found)
        order = np.lexsort((numbers, rows))
        return rows[order], numbers[order], distances[order]
