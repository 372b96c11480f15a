"""Uploads to fingerprints, in confined processes, never on the event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unspread.errors import TransportError
from unspread.fingerprint.confined import Confined
from unspread.fingerprint.result import MediaScan, Sampling
from unspread.model import Kind, Media, Part
from unspread.platform_kit.bank import TRIMMED, WIDENED, Probe


class BusyError(TransportError):
    """All workers and places in the queue are taken: retry later."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan asks the bank, and what it may say about the media."""

    media: Media
    probes: tuple[Probe, ...]
    quality: int | None
    """PDQ's, of the whole picture or the best frame."""
    notes: tuple[str, ...]
    """`low_quality`: only digests are compared. And those of the fingerprinter."""


Fingerprinter = Callable[[bytes | Path], Awaitable[Scanned]]
"""Media, as bytes or as a file, to fingerprints; raises UnreadableMediaError."""


class Scanner:
    """Lets so many uploads in, and turns the others away at once."""

    def __init__(self, fingerprint: Fingerprinter, places: int) -> None:
        """At most `places` uploads are in work or waiting."""
        self._fingerprint = fingerprint
        self._places = places
        self._taken = 0

    @property
    def is_busy(self) -> bool:
        """Whether the next upload would be turned away."""
        return self._taken >= self._places

    async def scan(self, media: bytes | Path) -> Scanned:
        """The fingerprints of one upload.

        Raises:
            BusyError: if there is no place.
            UnreadableMediaError: if it is neither picture nor video, or damaged.
        """
        if self.is_busy:
            raise BusyError("all scan workers are busy")
        self._taken += 1
        try:
            return await self._fingerprint(media)
        finally:
            self._taken -= 1


VARIANTS: Final = (
    "original",
    "mirrored",
    "turned_180",
    "flipped",
    "transposed",
    "turned_90",
    "transversed",
    "turned_270",
)
"""Names of `unspread.fingerprint.pdq.ORIENTATIONS`, in order: which turn of the upload matched."""


def scanned(scan: MediaScan, min_quality: int) -> Scanned:
    """A scan's probes that are worth looking up, and its digests."""
    probes = []
    first_of_frame = 0
    for at, quality in enumerate(scan.qualities):
        frame, part = scan.frame_of_probe[at], scan.part_of_probe[at]
        if frame != scan.frame_of_probe[first_of_frame]:
            first_of_frame = at
        if quality < min_quality:
            continue
        turn = at % len(VARIANTS)
        variant = VARIANTS[turn] if part is not Part.WINDOW else "window"
        if part is Part.FRAME and at - first_of_frame >= len(VARIANTS):
            variant = WIDENED if variant == "original" else f"{WIDENED}_{variant}"
        # Groups of eight: as it stands, then rectangles of it, then those that are small, enlarged.
        if part is Part.WHOLE and "trimmed" in scan.notes and at >= len(VARIANTS):
            variant = TRIMMED if variant == "original" else f"{TRIMMED}_{variant}"
        seconds = scan.seconds_of_frame[frame] if scan.media is Media.VIDEO else None
        value = scan.probe_bytes[32 * at : 32 * at + 32]
        probes.append(Probe(Kind.PDQ, value, variant, seconds, part, frame, turn))
    probes.extend(Probe(each.kind, each.value) for each in scan.digests)
    whole = [
        quality
        for quality, part in zip(scan.qualities, scan.part_of_probe, strict=True)
        if part is not Part.WINDOW
    ]
    quality = max(whole, default=0)
    notes = scan.notes if quality >= min_quality else (*scan.notes, "low_quality")
    return Scanned(scan.media, tuple(probes), quality, notes)


def confined_fingerprinter(
    pool: Confined,
    min_quality: int,
    *,
    windows: bool = True,
    sampling: Sampling = Sampling.KEYFRAMES,
    frames_with_windows: int = 0,
) -> Fingerprinter:
    """Fingerprints made in the confined worker processes of a pool."""

    async def fingerprint(media: bytes | Path) -> Scanned:
        scan = await pool.scan_async(
            media, windows=windows, sampling=sampling, frames_with_windows=frames_with_windows
        )
        # A long film has a hundred thousand probes: not on the event loop.
        return await asyncio.to_thread(scanned, scan, min_quality)

    return fingerprint


def thread_fingerprinter(min_quality: int, *, windows: bool = False) -> Fingerprinter:
    """Fingerprints made in a thread of this process: for tests alone."""

    from unspread.fingerprint import scan_media

    async def fingerprint(media: bytes | Path) -> Scanned:
        return scanned(await asyncio.to_thread(scan_media, media, windows=windows), min_quality)

    return fingerprint
