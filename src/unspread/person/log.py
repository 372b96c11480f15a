"""Where an item stands in the public log, by a proof that is checked here.

Pure. The commitment is the clearinghouse's word, because a receipt holds no fingerprint: what
is shown is that *an* entry stands there, signed (docs/decisions/0035-the-device-checks-the-log.md).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from unspread.errors import TrustError
from unspread.transparency.merkle import DIGEST_BYTES
from unspread.transparency.note import VerifierKey
from unspread.transparency.proof import entries_of_log_with

_BLINDED: Final = b"\x01"
"""Before the commitment in an entry's public form (docs/protocol/log.md, "Entries")."""


class Proof(StrEnum):
    """What the proof of an entry is worth."""

    HOLDS = "holds"
    WRONG = "wrong"
    UNCHECKED = "unchecked"
    """It could not be fetched: that says nothing either way."""


@dataclass(frozen=True, slots=True)
class PlaceInLog:
    """The entry of one item in the public log."""

    index: int
    proof: Proof
    entries: int | None = None
    """Of the signed log, where the proof holds."""


def place_in_log(
    index: int, commitment: str, file: bytes | None, log_key: VerifierKey
) -> PlaceInLog:
    """Judge a `.tlog-proof`; None is one that could not be fetched.

    Args:
        index: the item's listing.
        commitment: 32 bytes in hex, as the clearinghouse says.
        file: the proof.
        log_key: of the log in which the entry should stand.
    """
    if file is None:
        return PlaceInLog(index, Proof.UNCHECKED)
    try:
        digest = bytes.fromhex(commitment)
        if len(digest) != DIGEST_BYTES:
            return PlaceInLog(index, Proof.WRONG)
        size = entries_of_log_with(file, _BLINDED + digest, index, log_key)
    except (ValueError, TrustError):
        return PlaceInLog(index, Proof.WRONG)
    return PlaceInLog(index, Proof.HOLDS, size)
