"""One file to everything a platform looks up: turned, mirrored and trimmed, as fast as can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from unspread.errors import UnreadableMediaError
from unspread.fingerprint import pdq
from unspread.fingerprint.decode import decode
from unspread.fingerprint.digest import DIGEST_SHARE, Progress, digests, file_digests
from unspread.fingerprint.files import (
    HEAD_BYTES,
    STANDARD,
    Format,
    Limits,
    Source,
    opened,
    read_picture,
    size_bytes,
    sniff,
)
from unspread.fingerprint.result import MediaScan, Sampling
from unspread.fingerprint.score import MATCH_FRAMES
from unspread.fingerprint.trim import Rectangle, rectangles_of
from unspread.fingerprint.video import Film, Frame, open_film
from unspread.fingerprint.windows import window_probes
from unspread.model import MATCH_RADIUS_BITS, Media, Part

_SPACING_SECONDS: Final = 2.0
"""Between looks. Any frame of a copy finds its listing, which is dense; three that find it make a
match, and looks that are nearer would be three of a title that strangers share."""
_LEAST_LOOKS: Final = 2 * MATCH_FRAMES
"""At a short film that has so many keyframes."""

_ALONE_SECONDS: Final = 30
"""Of a film with one keyframe, which may be a title card: so much is looked at every second."""

_WIDENED: Final = (0.02, 0.04)
"""Of the side, on each side: finds copies of a video that were cropped by 2 to 8 %."""

_PART: Final = 0.6

_SMALL: Final = 512
_ENLARGED: Final = 1024
"""Longer sides in pixels. PDQ blurs a picture by 1/128 of its side, and of a thumbnail takes single
pixels instead: it lies 17 bits from its original on average, enlarged it lies 7."""


def scan_media(
    source: Source,
    *,
    windows: bool = True,
    sampling: Sampling = Sampling.KEYFRAMES,
    max_frames: int = 4096,
    frames_with_windows: int = 0,
    limits: Limits = STANDARD,
    progress: Progress = lambda _: None,
) -> MediaScan:
    """Everything to look up for one picture or video.

    Of a picture: the whole and, in bordered ones and screenshots, the rectangles where a picture
    may stand, each in all 8 turns and mirrors, small ones also enlarged; and `windows` likewise,
    which find copies that were cropped, covered in part or put into another picture. Of a video:
    sampled frames without letterbox bars, in all turns, also as if they had been cropped, at most
    `max_frames`; and windows of so many of them that look different, spread over the film, which
    find a listed picture of another moment of it.

    Raises:
        UnreadableMediaError: if it is neither, is damaged, or is beyond the limits.
    """
    with opened(source) as file:
        kind = sniff(file.read(HEAD_BYTES))
        if not kind.is_video:
            return _scan_picture(read_picture(file, limits), windows, limits)
        return _scan_video(
            file,
            kind,
            sampling=sampling,
            max_frames=max_frames,
            frames_with_windows=frames_with_windows if windows else 0,
            limits=limits,
            progress=progress,
        )


def _scan_picture(data: bytes, windows: bool, limits: Limits) -> MediaScan:
    picture = decode(data, limits, luma=True)
    rectangles = _rectangles(picture.pixels)
    turns = [picture.orientation.then(each) for each in pdq.ORIENTATIONS]
    shown = [each.of(picture.pixels) for each in rectangles]
    shown += [_enlarged(each) for each in shown if max(each.shape[:2]) <= _SMALL]
    matrices = np.concatenate([pdq.small_matrices(each, turns) for each in shown])
    values, qualities = pdq.bits(pdq.coefficients(matrices)), pdq.qualities(matrices)
    parts = [Part.WHOLE] * len(values)
    if windows:
        for each in shown[: 2 if _is_part(rectangles) else 1]:
            more, their_qualities = window_probes(picture.orientation.upright(each))
            parts += [Part.WINDOW] * len(more)
            values = np.concatenate([values, more])
            qualities = np.concatenate([qualities, their_qualities])
    return MediaScan(
        media=Media.IMAGE,
        probe_bytes=values.tobytes(),
        qualities=tuple(qualities.tolist()),
        part_of_probe=tuple(parts),
        frame_of_probe=(0,) * len(values),
        seconds_of_frame=(0.0,),
        digests=digests(data),
        decoder=picture.decoder,
        width=picture.width,
        height=picture.height,
        notes=("trimmed",) if len(rectangles) > 1 else (),
    )


def _rectangles(pixels: pdq.Pixels) -> Sequence[Rectangle]:
    """The whole first, then where in it a picture may stand."""
    if min(pixels.shape[:2]) < pdq.MIN_SIDE:
        raise UnreadableMediaError("the picture is too small to be fingerprinted")
    return rectangles_of(pixels)


def _is_part(rectangles: Sequence[Rectangle]) -> bool:
    """Whether what is likeliest shown is so small a part that the cells of the whole are coarse."""
    return len(rectangles) > 1 and rectangles[1].area < _PART * rectangles[0].area


def _enlarged(pixels: pdq.Pixels) -> pdq.Pixels:
    """A small picture in the size that it may be a thumbnail of."""
    height, width = pixels.shape[:2]
    times = -(-_ENLARGED // max(height, width))
    size = (width * times, height * times)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _scan_video(
    file: BinaryIO,
    kind: Format,
    *,
    sampling: Sampling,
    max_frames: int,
    frames_with_windows: int,
    limits: Limits,
    progress: Progress,
) -> MediaScan:
    if size_bytes(file) > limits.max_video_bytes:
        raise UnreadableMediaError("the file is too large for a video")
    of_file = file_digests(file, lambda done: progress(DIGEST_SHARE * done))
    notes: list[str] = []
    with open_film(file, kind, limits) as film:
        film.strip_bars()
        frames = []
        for frame in islice(_probed(film, sampling, frames_with_windows), max_frames + 1):
            frames.append(frame)
            progress(DIGEST_SHARE + (1 - DIGEST_SHARE) * film.share_done(frame.seconds))
        if not frames:
            raise UnreadableMediaError("the video has no frame that can be decoded")
        if len(frames) > max_frames:
            notes.append("frames_capped")
            frames.pop()
        qualities = [quality for frame in frames for quality in frame.qualities]
        height, width = film.size
        if film.has_bars:
            notes.append("trimmed")
        return MediaScan(
            media=Media.VIDEO,
            probe_bytes=b"".join(frame.values for frame in frames),
            qualities=tuple(qualities),
            part_of_probe=tuple(part for frame in frames for part in frame.parts),
            frame_of_probe=tuple(at for at, frame in enumerate(frames) for _ in frame.parts),
            seconds_of_frame=tuple(frame.seconds for frame in frames),
            digests=of_file,
            decoder="luma",
            width=width,
            height=height,
            duration_seconds=film.duration_seconds,
            notes=tuple(notes),
        )


@dataclass(frozen=True, slots=True)
class _Probed:
    """One frame's probes."""

    seconds: float
    values: bytes
    qualities: list[int]
    parts: list[Part]


def spacing_seconds(duration_seconds: float | None) -> float:
    """The stretch of a film of which one keyframe is looked at; no claim makes it longer than 2."""
    if not duration_seconds:
        return _SPACING_SECONDS
    return min(_SPACING_SECONDS, duration_seconds / _LEAST_LOOKS)


def _sampled(film: Film, sampling: Sampling) -> Iterator[Frame]:
    if sampling is Sampling.EVERY_SECOND:
        yield from film.every_second(pdq.ORIENTATIONS)
        return
    count = 0
    for frame in film.keyframes(pdq.ORIENTATIONS, spacing_seconds(film.duration_seconds)):
        count += 1
        yield frame
    if count == 1:
        # The keyframe is the first of these, too.
        later = islice(film.every_second(pdq.ORIENTATIONS), 1, _ALONE_SECONDS)
        try:
            yield from later
        except UnreadableMediaError:
            # A film that breaks off after its keyframe shows the keyframe all the same.
            return


def _probed(film: Film, sampling: Sampling, frames_with_windows: int) -> Iterator[_Probed]:
    spacing = (film.duration_seconds or 0.0) / max(frames_with_windows, 1)
    last: tuple[float, bytes] | None = None
    for frame in _sampled(film, sampling):
        views = [pdq.coefficients(frame.matrices, widened=share) for share in (0.0, *_WIDENED)]
        values = pdq.bits(np.stack(views)).tobytes()
        qualities = len(views) * pdq.qualities(frame.matrices).tolist()
        parts = [Part.FRAME] * len(qualities)
        is_new = last is None or (
            frame.seconds >= last[0] + spacing
            and pdq.distance_bits(values[:32], last[1]) > MATCH_RADIUS_BITS
        )
        if frames_with_windows and is_new:
            frames_with_windows -= 1
            last = frame.seconds, values[:32]
            more, their_qualities = window_probes(frame.picture())
            values += more.tobytes()
            qualities += their_qualities.tolist()
            parts += [Part.WINDOW] * len(more)
        yield _Probed(frame.seconds, values, qualities, parts)
