"""The Merkle tree of RFC 6962, section 2.1: digests of leaves, nodes and roots."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

DIGEST_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_digest(entry: bytes) -> bytes:
    """The digest of one entry as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_digest(left: bytes, right: bytes) -> bytes:
    """The digest of a node with these two children."""
    return sha256(b"\x01" + left + right).digest()


def fold(digests: Sequence[bytes]) -> bytes:
    """The root over 1.. nodes of one height, in order; the last may stand for less than the rest.

    So the digests of leaves give the root of their tree, and a list of subtrees' roots that all
    but the last are of equal, full height gives the root over all.
    """
    level = list(digests)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ] + odd
    return level[0]


class Frontier:
    """The right edge of a tree: its size and the roots of its complete subtrees, lowest first.

    Enough to append and to know the root, in O(log size) memory. There is one subtree for each bit
    set in the size: of 2**level leaves for bit `level`.
    """

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, subtrees: Iterable[bytes] = ()) -> None:
        """A tree of `size` leaves from `subtrees()` of an earlier frontier.

        Raises:
            ValueError: if there are not as many subtrees as bits set in the size.
        """
        nodes = list(subtrees)
        if size < 0 or len(nodes) != size.bit_count() or any(len(n) != DIGEST_BYTES for n in nodes):
            raise ValueError("a frontier has one subtree for each bit of its size")
        self.size = size
        self._nodes: dict[int, bytes] = dict(
            zip((level for level in range(size.bit_length()) if size >> level & 1), nodes,
                strict=True)
        )  # fmt: skip

    def subtrees(self) -> list[bytes]:
        """The roots of the complete subtrees, lowest first."""
        return [self._nodes[level] for level in sorted(self._nodes)]

    def copy(self) -> "Frontier":
        """An independent frontier of the same tree."""
        return Frontier(self.size, self.subtrees())

    def truncated(self, size: int) -> "Frontier":
        """The frontier of the first `size` leaves, where this one still knows it.

        Raises:
            ValueError: if `size` is not this size with some of its lowest bits cleared.
        """
        low = self.size - size
        if size < 0 or low < 0 or self.size & ~low != size or low > (size & -size or self.size):
            raise ValueError("this frontier does not know the tree at that size")
        kept = [self._nodes[level] for level in sorted(self._nodes) if size >> level & 1]
        return Frontier(size, kept)

    def append(self, digests: Sequence[bytes], level: int = 0) -> None:
        """Append subtrees of 2**level leaves each, in order: at level 0, digests of leaves.

        Raises:
            ValueError: if the size is not a multiple of 2**level.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("a subtree starts at a multiple of its width")
        row = list(digests)
        self.size += len(row) << level
        while row:
            left = self._nodes.pop(level, None)
            if left is not None:
                row.insert(0, left)
            if len(row) % 2:
                self._nodes[level] = row.pop()
            row = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(row[::2], row[1::2], strict=True)
            ]
            level += 1

    def root(self) -> bytes:
        """The root of the whole tree."""
        digest = b""
        for level in sorted(self._nodes):
            node = self._nodes[level]
            digest = node_digest(node, digest) if digest else node
        return digest or EMPTY_ROOT
