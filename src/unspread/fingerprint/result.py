"""What a scan of one file answers, wherever it was made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unspread.model import Fingerprint, Kind, Media, Part

TURNS: Final = 8
"""Of a picture, mirrored ones included: as many as `pdq.ORIENTATIONS`."""


class Sampling(StrEnum):
    """Which frames of a video are looked at."""

    KEYFRAMES = "keyframes"
    """One in two seconds; of a short film six."""
    EVERY_SECOND = "every_second"


@dataclass(frozen=True, slots=True)
class MediaScan:
    """What to look up for one file.

    Probes stand in groups: all that belong to one frame follow each other, and `frame_of_probe`
    names it; a picture is one frame. Within it each view stands in its eight turns, in the order
    of `pdq.ORIENTATIONS`: probe n is in turn n % 8. A file matches a listing when one of its
    probes does that is no window, or two windows (`score.are_two_parts`); two videos are compared
    by how many of their frames match.
    """

    media: Media
    probe_bytes: bytes
    """32 bytes for each probe, canonical PDQ."""
    qualities: tuple[int, ...]
    """Of each probe, 0..100; those below 50 match anything and should not be looked up."""
    part_of_probe: tuple[Part, ...]
    """`whole` (also of a rectangle in it), `window`, or `frame` of a video. A window that matches
    says that a part is shared; it is weaker than the whole, and for a person to look at."""
    frame_of_probe: tuple[int, ...]
    seconds_of_frame: tuple[float, ...]
    digests: tuple[Fingerprint, ...]
    """SHA-256 and MD5 of the file."""
    decoder: str
    """Which path was taken: `luma` lies at most 2 bits from the exact fingerprint, others at 0."""
    width: int
    height: int
    duration_seconds: float | None = None
    notes: tuple[str, ...] = ()
    """Stable words: `trimmed` if borders or a page around it were found, `frames_capped`."""

    def __post_init__(self) -> None:
        # Also what a confined worker answers, which may have been taken over.
        count = len(self.qualities)
        if not count or not (
            len(self.probe_bytes) == 32 * count
            and len(self.part_of_probe) == len(self.frame_of_probe) == count
            and set(self.frame_of_probe) <= set(range(len(self.seconds_of_frame)))
        ):
            raise ValueError("the probes of a scan do not fit together")

    @property
    def rows(self) -> NDArray[np.uint64]:
        """(n, 4) words: the probes as the index takes them."""
        return np.frombuffer(self.probe_bytes, "<u8").reshape(-1, 4)

    @property
    def probes(self) -> list[Fingerprint]:
        """All of them as fingerprints."""
        return [
            Fingerprint(Kind.PDQ, self.probe_bytes[32 * at : 32 * at + 32], part, quality)
            for at, (part, quality) in enumerate(
                zip(self.part_of_probe, self.qualities, strict=True)
            )
        ]

    @property
    def fingerprint(self) -> Fingerprint:
        """The first probe: the whole picture, or the first frame, as it stands."""
        part = Part.WHOLE if self.media is Media.IMAGE else Part.FRAME
        return Fingerprint(Kind.PDQ, self.probe_bytes[:32], part, self.qualities[0])
