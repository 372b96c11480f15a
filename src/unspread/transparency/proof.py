"""Proofs that an entry stands in a tree, and that one tree continues another (RFC 6962, 2.1).

Proofs are made from the digests of complete subtrees, which `tiles.TileReader.node` knows, and
verified with nothing but digests (the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2).
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from unspread.errors import TrustError
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import DIGEST_BYTES, EMPTY_ROOT, leaf_digest, node_digest
from unspread.transparency.note import (
    MalformedNoteError,
    Note,
    VerifierKey,
    decode_base64,
    decode_decimal,
)

MAX_PROOF_DIGESTS: Final = 64

NodeSource = Callable[[int, int], bytes]
"""(level, index) → the root of the complete subtree of the 2**level leaves from index·2**level."""


class ProofError(TrustError):
    """A proof does not show what it should."""


def range_root(node: NodeSource, start: int, stop: int) -> bytes:
    """The root over leaves start..stop-1, where start is a multiple of the width rounded up."""
    parts: list[bytes] = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        parts.append(node(level, start >> level))
        start += 1 << level
    digest = parts.pop()
    while parts:
        digest = node_digest(parts.pop(), digest)
    return digest


def inclusion_proof(node: NodeSource, index: int, size: int) -> list[bytes]:
    """The siblings of leaf `index` on its way to the root of the first `size` leaves."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        split = start + (1 << (stop - start - 1).bit_length() - 1)
        if index < split:
            proof.append(range_root(node, split, stop))
            stop = split
        else:
            proof.append(range_root(node, start, split))
            start = split
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if `proof` shows that `leaf` (a digest) is at `index` of the tree with this root.

    Raises:
        ProofError: if it does not.
    """
    if not 0 <= index < size or len(proof) > MAX_PROOF_DIGESTS:
        raise ProofError("the entry is not in the tree")
    position, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != DIGEST_BYTES:
            raise ProofError("the proof of inclusion is too long")
        if position & 1 or position == last:
            digest = node_digest(sibling, digest)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            digest = node_digest(digest, sibling)
        position >>= 1
        last >>= 1
    if last or digest != root:
        raise ProofError("the entry is not at this place of the tree")


def consistency_proof(node: NodeSource, size: int, new_size: int) -> list[bytes]:
    """What shows that the tree of `new_size` leaves begins with the tree of `size` leaves."""
    if not 0 <= size <= new_size:
        raise ValueError("a log only grows")
    if size in {0, new_size}:
        return []
    proof: list[bytes] = []
    start, stop, is_whole = 0, new_size, True
    while stop != size:
        split = start + (1 << (stop - start - 1).bit_length() - 1)
        if size <= split:
            proof.append(range_root(node, split, stop))
            stop = split
        else:
            proof.append(range_root(node, start, split))
            start, is_whole = split, False
    if not is_whole:
        proof.append(range_root(node, start, stop))
    return proof[::-1]


def verify_consistency(
    size: int, root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if `proof` shows that the second tree begins with the first.

    Raises:
        ProofError: if it does not.
    """
    if size > new_size or len(proof) > MAX_PROOF_DIGESTS:
        raise ProofError("the log has become shorter")
    if size in {0, new_size}:
        if proof or root != (EMPTY_ROOT if size == 0 else new_root):
            raise ProofError("the log does not continue the one that was trusted")
        return
    path = list(proof)
    if size & (size - 1) == 0:
        path.insert(0, root)
    if not path or any(len(digest) != DIGEST_BYTES for digest in path):
        raise ProofError("the proof of consistency is malformed")
    position, last = size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the proof of consistency is too long")
        if position & 1 or position == last:
            old, new = node_digest(sibling, old), node_digest(sibling, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_digest(new, sibling)
        position >>= 1
        last >>= 1
    if last or old != root or new != new_root:
        raise ProofError("the log does not continue the one that was trusted")


_HEADER: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A `.tlog-proof` (https://c2sp.org/tlog-proof): that an entry stands in a log, offline."""

    index: int
    digests: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""
    """Not authenticated: what helps to rebuild the entry."""

    def to_bytes(self) -> bytes:
        """The proof as a file."""
        lines = [_HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(digest).decode() for digest in self.digests]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "EntryProof":
        """The proof that `to_bytes` writes so, not verified.

        Raises:
            MalformedNoteError: if it is not one.
        """
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise MalformedNoteError("not a proof of inclusion") from None
        if not separator or lines.pop(0) != _HEADER or not lines:
            raise MalformedNoteError("not a proof of inclusion")
        extra = b""
        if lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index ") or len(lines) > MAX_PROOF_DIGESTS + 1:
            raise MalformedNoteError("not a proof of inclusion")
        index = decode_decimal(lines.pop(0).removeprefix("index "))
        digests = tuple(decode_base64(line) for line in lines)
        return cls(index, digests, Note.from_bytes(checkpoint), extra)

    def verify(self, entry: bytes) -> Checkpoint:
        """The checkpoint in whose tree `entry` stands; its signatures are not looked at here.

        Raises:
            ProofError: if the entry is not there.
            MalformedNoteError: if the checkpoint is not one.
        """
        checkpoint = Checkpoint.from_text(self.checkpoint.text)
        verify_inclusion(
            leaf_digest(entry), self.index, checkpoint.size, self.digests, checkpoint.root
        )
        return checkpoint


def entries_of_log_with(file: bytes, entry: bytes, index: int, log_key: VerifierKey) -> int:
    """How many entries the signed log has in which `entry` stands at `index`.

    Everything that a device without memory can check of a `.tlog-proof`: the place in the tree,
    whose log it is, and the log's signature. web/case/log.js is its twin.

    Raises:
        TrustError: if any of it does not hold.
    """
    proof = EntryProof.from_bytes(file)
    if proof.index != index:
        raise ProofError("the proof is of another entry")
    checkpoint = proof.verify(entry)
    if checkpoint.origin != log_key.name:
        raise ProofError("the proof is of another log")
    proof.checkpoint.require(log_key)
    return checkpoint.size
