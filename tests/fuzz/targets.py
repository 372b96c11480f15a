"""What is fuzzed: functions of bytes that may raise `UnspreadError` and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from unspread import case_protocol
from unspread.crypto import Receipt
from unspread.errors import UnspreadError
from unspread.exchange import ncmec
from unspread.feed import segments
from unspread.feed.records import AddRecord
from unspread.fingerprint import Sampling, fingerprint_image, scan_media
from unspread.fingerprint.confined import Answer
from unspread.fingerprint.files import HEAD_BYTES, Limits, sniff
from unspread.model import Fingerprint
from unspread.testing.samples import encoded, landscape
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.note import Note, VerifierKey
from unspread.transparency.proof import EntryProof

VECTORS: Final = Path(__file__).parents[2] / "vectors"
SMALL_FILE_BYTES: Final = 50_000
LIMITS: Final = Limits(max_pixels=100_000, max_frame_pixels=100_000, max_frames=40)


def picture(data: bytes) -> None:
    """Decoders of pictures, the canonical and the fast ones."""
    _refusing(scan_media, data, windows=False, limits=LIMITS)
    _refusing(fingerprint_image, data, LIMITS)


def video(data: bytes) -> None:
    """Demuxers and decoders of videos."""
    try:
        is_video = sniff(data[:HEAD_BYTES]).is_video
    except UnspreadError:
        return
    if is_video:
        for sampling in Sampling:
            _refusing(scan_media, data, sampling=sampling, max_frames=4, limits=LIMITS)


def text(data: bytes) -> None:
    """What people and other programs write."""
    written = data.decode("utf-8", "replace")
    for read in (Fingerprint.from_text, Receipt.from_text, Checkpoint.from_text):
        _refusing(read, written)
    _refusing(VerifierKey.from_text, written)


def case(data: bytes) -> None:
    """Bodies of requests."""
    for message in (
        case_protocol.CaseSubmission,
        case_protocol.CaseRequest,
        case_protocol.CaseAccepted,
    ):
        _refusing(case_protocol.decode, data, message)


def log(data: bytes) -> None:
    """Notes and proofs of the log."""
    _refusing(Note.from_bytes, data)
    _refusing(EntryProof.from_bytes, data)


def feed(data: bytes) -> None:
    """Records of the feed."""
    _refusing(AddRecord.from_bytes, data)
    _refusing(lambda plaintext: list(segments.records(plaintext)), data)


def exchange(data: bytes) -> None:
    """XML of other hotlines."""
    _refusing(ncmec.parse_entries, data)
    _refusing(ncmec.parse_vote, data)


def worker(data: bytes) -> None:
    """What a decoder that was taken over might answer."""
    try:
        msgspec.msgpack.decode(data, type=Answer)
    except msgspec.MsgspecError:
        return


def _refusing(read: Callable[..., object], *given: object, **named: object) -> None:
    try:
        read(*given, **named)
    except UnspreadError:
        return


def _files(*patterns: str) -> list[bytes]:
    found = [path for pattern in patterns for path in sorted(VECTORS.glob(pattern))]
    return [path.read_bytes() for path in found if path.stat().st_size <= SMALL_FILE_BYTES]


def _small_pictures() -> list[bytes]:
    """One of each kind: thousands of them are decoded in the time of one vector."""
    picture = landscape(1, 24, 18)
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
    alpha = picture.convert("RGBA")
    return [
        *(encoded(picture, kind) for kind in kinds),
        encoded(picture, "JPEG", progressive=True),
        *(encoded(alpha, kind) for kind in ("PNG", "WEBP")),
        *(encoded(picture.convert(mode), "PNG") for mode in ("L", "P", "1")),
    ]


TARGETS: Final[dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]]] = {
    "picture": (picture, lambda: _small_pictures() + _files("pictures/*")),
    "video": (video, lambda: _files("videos/*")),
    "text": (
        text,
        lambda: [
            b"pdq:" + b"0f" * 32,
            b"sha256:" + b"ab" * 32,
            b"4GTQ-RJ5N-8Z0D-W2XK-7HVE-M9PC",
            b"example.org/log\n17\n" + b"A" * 43 + b"=\n",
        ],
    ),
    "case": (case, lambda: _files("cases*.json", "receipts.json")),
    "log": (log, lambda: _files("log*/*", "log*", "notes*", "proofs*")),
    "feed": (feed, lambda: _files("feed*/*", "feed*")),
    "exchange": (exchange, lambda: _files("exchange/*", "ncmec*")),
    "worker": (worker, lambda: [msgspec.msgpack.encode(Answer(refusal="too large"))]),
}
"""Name → what is fuzzed, and files to start from."""
