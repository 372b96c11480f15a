"""Videos to fingerprints of their frames: dense where they are submitted, sparse where scanned.

A frame's fingerprint is PDQ of its decoded luma plane, upright by the file's display matrix.
Decoding is bit-exact by specification, so that browser and server agree. The person's device
fingerprints every frame and collapses neighbours that look alike; a platform then looks at
keyframes alone, at any frame rate, and still finds each of them in the dense list.

For files from strangers, call through `unspread.fingerprint.confined`.
"""

import math
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from unspread.errors import UnreadableMediaError
from unspread.fingerprint import pdq
from unspread.fingerprint.digest import Progress
from unspread.fingerprint.files import Format, Limits, Source, opened, size_bytes
from unspread.fingerprint.pdq import UPRIGHT, Matrix, Orientation, Pixels
from unspread.fingerprint.trim import Rectangle
from unspread.model import MIN_PDQ_QUALITY, Fingerprint, Part

COLLAPSE_BITS: Final = 16
"""A frame this near the one kept before it (inclusive) is left out: a copy of it, itself up to
15 bits off, is still within the match radius of 31 of the one that was kept."""

MAX_FRAMES_KEPT: Final = 2048
"""Beyond it, neighbours are collapsed more and more: 65 kB of fingerprints for a long film."""

_COLLAPSE_STEP_BITS: Final = 4
_MAX_COLLAPSE_BITS: Final = 28

DAMAGED: Final = "the video is damaged or incomplete; try to open it and save it again"

_ODD_TITLES: Final[dict[str, Any]] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
"""Titles that are not UTF-8 are no reason to refuse a film; from PyAV 19 on they never are."""

_DEMUXERS: Final = {Format.MP4: "mov", Format.MATROSKA: "matroska"}
"""By name, so that no playlist or device behind a media type is ever opened."""

_CODECS: Final = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4"}

_SKIPPING_CODECS: Final = {"h264", "hevc", "mpeg4"}
"""Decoders that can be told to skip frame by frame; libdav1d takes the order once and for all."""

_HEAD_BYTES: Final = 4096

_BAR_SAMPLES: Final = 8
_MAX_SAMPLED_PIXELS: Final = 32 * 2**20
"""Of the sampled frames that are kept, lest a scan of keyframes decodes them again."""
_BAR_LUMA: Final = 40
"""A line is a bar where no sampled frame is brighter: 16 is black, the rest is coding noise."""
_MIN_BAR: Final = Fraction(1, 50)
"""Of the side; thinner dark edges are left."""
_MIN_LEFT: Final = Fraction(1, 4)
"""Of the side; where less would be left the picture is dark rather than barred."""

_SEEK_SPACING_SECONDS: Final = 1.5
"""Keyframes nearer than this make seeking to each second cheaper than decoding through."""

_LIMITED_TO_FULL: Final = 255 / 219
"""Luma of limited range is 16..235 (ITU-R BT.601, 2.5.1)."""
_TO_FULL_RANGE: Final = np.rint(np.clip((np.arange(256) - 16) * _LIMITED_TO_FULL, 0, 255)).astype(
    np.uint8
)
_FULL_RANGE: Final = 2
"""AVCOL_RANGE_JPEG (FFmpeg, libavutil/pixfmt.h)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame without its bars."""

    seconds: float
    """After the first frame."""
    matrices: Matrix
    """(n, 64, 64): in the orientations asked for, luma scaled to full range."""
    luma: Pixels
    """Upright, in the range in which it is stored; the decoder's own memory: not to be kept."""
    is_limited: bool
    """Whether that range is 16..235."""

    def picture(self) -> Pixels:
        """(height, width) luma as a picture of this frame would have it."""
        return _TO_FULL_RANGE[self.luma] if self.is_limited else self.luma


class Film:
    """An open video. Use `open_film`."""

    def __init__(self, file: BinaryIO, kind: Format, limits: Limits) -> None:
        self._file = file
        self._kind = kind
        self._limits = limits
        self._container = _container(file, kind)
        self._stream = _moving_picture(self._container)
        self._first_pts: int | None = None
        self._orientation = UPRIGHT
        self._content: Rectangle | None = None
        self._sampled: dict[int, Any] = {}
        self.frames_seen = 0
        self.last_seconds = 0.0
        duration = self._container.duration
        self.duration_seconds = duration / av.time_base if duration and duration > 0 else None
        """As the file claims; None if it does not."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright; known once a frame was decoded."""
        context = self._stream.codec_context
        return self._orientation.size(context.height, context.width)

    def check(self, length: int) -> None:
        """What the file says of itself, against the limits and its length in bytes.

        Raises:
            UnreadableMediaError: if it is beyond the limits, or a part is missing.
        """
        context = self._stream.codec_context
        if context.width * context.height > self._limits.max_frame_pixels:
            raise UnreadableMediaError("the video's frames are too large")
        if (self.duration_seconds or 0.0) > self._limits.max_duration_seconds:
            raise UnreadableMediaError("the video is too long")
        if any(each.pos + each.size > length for each in self._stream.index_entries):
            raise UnreadableMediaError(DAMAGED)

    @property
    def has_bars(self) -> bool:
        """Whether black bars were found and left out."""
        context = self._stream.codec_context
        whole = Rectangle(0, context.height, 0, context.width)
        return self._content is not None and self._content != whole

    def share_done(self, seconds: float) -> float:
        """How much of the film lies before a time, 0..1, as far as it knows how long it is."""
        return min(seconds / self.duration_seconds, 1.0) if self.duration_seconds else 0.0

    def strip_bars(self) -> None:
        """Find the bars that are black in 8 keyframes across the film; leave them out from now on.

        Sampled are the keyframes at or before (k + 1/2) / 8 of the duration.
        """
        brightest: Pixels | None = None
        duration = self.duration_seconds or 0.0
        for step in range(_BAR_SAMPLES if duration else 1):
            frame = self._keyframe_at(duration * (step + 0.5) / _BAR_SAMPLES)
            if frame is None:
                continue
            luma = _luma(frame)
            if brightest is None:
                brightest = luma.copy()
            elif brightest.shape == luma.shape:
                np.maximum(brightest, luma, out=brightest)
            if frame.pts is not None and (step + 1) * luma.size <= _MAX_SAMPLED_PIXELS:
                self._sampled[frame.pts] = frame
            if _is_bright_along_edges(brightest):
                # What further frames show can only be brighter.
                break
        if brightest is not None:
            self._content = _content(brightest)
        self.frames_seen = 0

    def _keyframe_at(self, seconds: float) -> Any:
        """The keyframe at or before a time, else the next that can be decoded; None at the end."""
        self._seek(seconds)
        context = self._stream.codec_context
        try:
            for packet in self._container.demux(self._stream):
                if not (packet.size and packet.is_keyframe):
                    continue
                # Decoders that reorder would want the next keyframes before they give this one.
                for frame in (*packet.decode(), *context.decode(None)):
                    self._check(frame)
                    return frame
                context.flush_buffers()
        except av.error.FFmpegError as error:
            raise UnreadableMediaError(DAMAGED) from error
        return None

    def every_frame(self, orientations: tuple[Orientation, ...] = (UPRIGHT,)) -> Iterator[Frame]:
        """Every frame in order of presentation."""
        self._rewind()
        for frame in self._decoded():
            yield self._small(frame, orientations)

    def keyframes(
        self, orientations: tuple[Orientation, ...] = (UPRIGHT,), spacing_seconds: float = 0.0
    ) -> Iterator[Frame]:
        """The frames that need no other to be decoded: of each `spacing_seconds` the first.

        A stretch in which one was decoded to find bars is content with that one. Stretches are
        counted in the times that the film itself gives; one without a time is always taken.
        """
        self._rewind()
        ticks = max(1, round(spacing_seconds / self._stream.time_base))
        taken = {pts // ticks for pts in self._sampled}

        def is_wanted(packet: Any) -> bool:
            if not packet.is_keyframe:
                return False
            if packet.pts is None:
                return True
            if self._first_pts is None:
                self._first_pts = packet.pts
            stretch = packet.pts // ticks
            is_first = stretch not in taken
            taken.add(stretch)
            return is_first

        sampled = sorted(self._sampled.items(), reverse=True)
        # Demuxers that are told to discard the others mistake the times of those that are left.
        for frame in self._decoded(is_wanted):
            while sampled and sampled[-1][0] < (frame.pts or 0):
                yield self._small(sampled.pop()[1], orientations)
            yield self._small(frame, orientations)
        while sampled:
            yield self._small(sampled.pop()[1], orientations)

    def every_second(self, orientations: tuple[Orientation, ...] = (UPRIGHT,)) -> Iterator[Frame]:
        """At t = 0, 1, 2 … seconds after the first frame, the last frame that is not after t.

        Seeks to each second where keyframes are near each other, else decodes through and skips
        the frames on which no other depends.
        """
        times, keyframes = self._timetable()
        if not times.size:
            return
        first, second = int(times[0]), 1 / self._stream.time_base
        duration = (int(times[-1]) - first) / second
        if duration > self._limits.max_duration_seconds:
            raise UnreadableMediaError("the video is too long")
        wanted = {
            int(times[np.searchsorted(times, math.floor(first + t * second), "right") - 1])
            for t in range(int(duration) + 1)
        }
        self._first_pts = first
        spacing = duration / max(keyframes, 1)
        frames = (
            self._seek_to_each(wanted)
            if spacing < _SEEK_SPACING_SECONDS
            else self._pick_through(wanted)
        )
        for frame in frames:
            yield self._small(frame, orientations)

    def _timetable(self) -> tuple[NDArray[np.int64], int]:
        """When each frame is shown, sorted, and how many are keyframes; nothing is decoded."""
        self._rewind()
        shown, keyframes = array("q"), 0
        try:
            for packet in self._container.demux(self._stream):
                keyframes += bool(packet.is_keyframe and packet.size)
                # What stands before the first keyframe is never shown.
                if packet.pts is not None and packet.size and keyframes:
                    shown.append(packet.pts)
                if len(shown) > self._limits.max_frames:
                    raise UnreadableMediaError("the video has too many frames")
        except av.error.FFmpegError as error:
            raise UnreadableMediaError(DAMAGED) from error
        return np.sort(np.frombuffer(shown, np.int64)), keyframes

    def _pick_through(self, wanted: set[int]) -> Iterator[Any]:
        self._rewind()
        context = self._stream.codec_context
        try:
            for packet in self._container.demux(self._stream):
                if context.name in _SKIPPING_CODECS:
                    context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
                for frame in packet.decode():
                    self._check(frame)
                    if frame.pts in wanted:
                        yield frame
        except av.error.FFmpegError as error:
            raise UnreadableMediaError(DAMAGED) from error
        finally:
            context.skip_frame = "DEFAULT"

    def _seek_to_each(self, wanted: set[int]) -> Iterator[Any]:
        done: set[int] = set()
        for pts in sorted(wanted):
            if pts in done:
                continue
            self._seek_to(pts)
            for frame in self._decoded():
                if frame.pts in wanted and frame.pts not in done:
                    done.add(frame.pts)
                    yield frame
                if frame.pts is None or frame.pts >= pts:
                    break
        if wanted - done:
            # An index that lies leads elsewhere.
            yield from self._pick_through(wanted - done)

    def close(self) -> None:
        """Let go of the file, and leave it open."""
        self._container.close()

    def _rewind(self) -> None:
        """Begin with the first frame in the file.

        A seek would begin with one that claims to be the first: an index is by times, and lies.
        """
        self.close()
        self._container = _container(self._file, self._kind)
        self._stream = _moving_picture(self._container)

    def _seek(self, seconds: float) -> None:
        """To the keyframe at or before a time after the start, else to the first."""
        self._seek_to((self._stream.start_time or 0) + int(seconds / self._stream.time_base))

    def _seek_to(self, pts: int) -> None:
        # By this stream's own keyframes: those of a cover picture lie elsewhere.
        seek = self._container.seek
        try:
            try:
                seek(pts, stream=self._stream, backward=True)
            except av.error.PermissionError:
                # The film begins with frames that need one that was cut off.
                seek(pts, stream=self._stream, backward=False)
        except av.error.FFmpegError as error:
            raise UnreadableMediaError(DAMAGED) from error

    def _decoded(self, wanted: Callable[[Any], bool] = lambda _: True) -> Iterator[Any]:
        """Decoded frames of the packets wanted from here on, within the limits."""
        try:
            for packet in self._container.demux(self._stream):
                # The last one is empty: what a decoder still holds.
                if packet.size and not wanted(packet):
                    continue
                for frame in packet.decode():
                    self._check(frame)
                    yield frame
        except av.error.FFmpegError as error:
            raise UnreadableMediaError(DAMAGED) from error

    def _check(self, frame: Any) -> None:
        self.frames_seen += 1
        if self.frames_seen > self._limits.max_frames:
            raise UnreadableMediaError("the video has too many frames")
        if frame.width * frame.height > self._limits.max_frame_pixels:
            raise UnreadableMediaError("the video's frames are too large")

    def _small(self, frame: Any, orientations: tuple[Orientation, ...]) -> Frame:
        if self._first_pts is None:
            self._first_pts = frame.pts or 0
        self._orientation = _orientation(frame)
        luma = _luma(frame)
        content = self._content
        if (
            content is not None
            and content.bottom <= luma.shape[0]
            and content.right <= luma.shape[1]
        ):
            luma = content.of(luma)
        if min(luma.shape) < pdq.MIN_SIDE:
            raise UnreadableMediaError("the video's frames are too small")
        turns = [self._orientation.then(each) for each in orientations]
        matrices = pdq.small_matrices(luma, turns)
        is_limited = frame.color_range != _FULL_RANGE and not frame.format.name.startswith("yuvj")
        if is_limited:
            matrices *= _LIMITED_TO_FULL
        seconds = float(((frame.pts or 0) - self._first_pts) * self._stream.time_base)
        self.last_seconds = max(self.last_seconds, seconds)
        if seconds > self._limits.max_duration_seconds:
            raise UnreadableMediaError("the video is too long")
        return Frame(seconds, matrices, self._orientation.upright(luma), is_limited)


@contextmanager
def open_film(source: Source, kind: Format, limits: Limits) -> Iterator[Film]:
    """The first moving picture of a file.

    Raises:
        UnreadableMediaError: if there is none that can be decoded within the limits.
    """
    with opened(source) as file:
        length = size_bytes(file)
        claimed = _matroska_end(file.read(_HEAD_BYTES)) if kind is Format.MATROSKA else 0
        if claimed > length:
            raise UnreadableMediaError(DAMAGED)
        film = Film(file, kind, limits)
        try:
            film.check(length)
            yield film
        finally:
            film.close()


def _moving_picture(container: Any) -> Any:
    """The first stream that can be fingerprinted."""
    streams = [each for each in container.streams.video if each.codec_context is not None]
    streams = [each for each in streams if each.codec_context.name in _CODECS]
    if not streams:
        raise UnreadableMediaError(
            "the file has no moving picture of a kind that can be fingerprinted"
        )
    streams[0].codec_context.thread_count = 1
    return streams[0]


def _container(file: BinaryIO, kind: Format) -> Any:
    file.seek(0)
    try:
        return av.open(
            file,
            format=_DEMUXERS[kind],
            # Opening would else read many frames and decode one, for nothing.
            options={"protocol_whitelist": "", "skip_frame": "all", "analyzeduration": "1"},
            **_ODD_TITLES,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableMediaError(DAMAGED) from error


def _matroska_end(head: bytes) -> int:
    """Where the file should end by its own account; 0 if it does not say (RFC 8794, 4 and 6)."""
    at = 0
    for identifier in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        if not head.startswith(identifier, at) or len(head) <= at + 4:
            return 0
        at += 4
        width = 9 - head[at].bit_length()
        size = int.from_bytes(head[at : at + width]) & ((1 << 7 * width) - 1)
        at += width
        is_segment = identifier == b"\x18\x53\x80\x67"
        if is_segment and size == (1 << 7 * width) - 1:
            return 0
        at += size
    return at


@dataclass(slots=True)
class Dense:
    """Every frame's fingerprint, with neighbours that look alike collapsed as they come."""

    max_kept: int = MAX_FRAMES_KEPT
    collapse_bits: int = COLLAPSE_BITS
    every: int = 1
    """Of the frames that do not look alike, how many make one: 1 until the cap is met."""
    kept: list[Fingerprint] = field(default_factory=list)
    best: Fingerprint | None = None
    """The best of the frames that show too little, in case there is no other."""
    _passed: int = 0

    def add(self, fingerprint: Fingerprint) -> None:
        """The next frame's."""
        quality = fingerprint.quality or 0
        if quality < MIN_PDQ_QUALITY:
            if self.best is None or quality > (self.best.quality or 0):
                self.best = fingerprint
            return
        if self.kept and self._alike(self.kept[-1], fingerprint):
            return
        self._passed += 1
        if self._passed % self.every:
            return
        self.kept.append(fingerprint)
        if len(self.kept) > self.max_kept:
            self._thin()

    @property
    def is_capped(self) -> bool:
        """Whether frames were left out that do not look alike."""
        return self.collapse_bits > COLLAPSE_BITS or self.every > 1

    def result(self) -> list[Fingerprint]:
        """At least one frame, if there was any."""
        return self.kept or ([self.best] if self.best else [])

    def _alike(self, one: Fingerprint, other: Fingerprint) -> bool:
        return pdq.distance_bits(one.value, other.value) <= self.collapse_bits

    def _thin(self) -> None:
        if self.collapse_bits < _MAX_COLLAPSE_BITS:
            self.collapse_bits += _COLLAPSE_STEP_BITS
            before, self.kept = self.kept, []
            for each in before:
                if not self.kept or not self._alike(self.kept[-1], each):
                    self.kept.append(each)
        if len(self.kept) > self.max_kept:
            self.kept = self.kept[::2]
            self.every *= 2
            self._passed = 0


def dense_fingerprints(film: Film, progress: Progress = lambda _: None) -> Dense:
    """Every frame of a film, bars left out."""
    film.strip_bars()
    dense = Dense()
    for frame in film.every_frame():
        dense.add(pdq.fingerprints(frame.matrices, Part.FRAME)[0])
        progress(film.share_done(frame.seconds))
    if not dense.result():
        raise UnreadableMediaError(DAMAGED)
    if film.duration_seconds and film.last_seconds < 0.5 * film.duration_seconds - 2:
        raise UnreadableMediaError(DAMAGED)
    return dense


def _luma(frame: Any) -> Pixels:
    """(height, width) 8-bit luma of a decoded frame, as it is stored."""
    shape = frame.format
    if shape.is_rgb or shape.is_planar is None or shape.name.startswith("pal"):
        return np.asarray(frame.to_ndarray(format="gray"))
    plane = frame.planes[0]
    depth = shape.components[0].bits
    if depth == 8:
        rows: Pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return rows[: frame.height, : frame.width]
    words = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)
    high: Pixels = (words[: frame.height, : frame.width] >> (depth - 8)).astype(np.uint8)
    return high


def _orientation(frame: Any) -> Orientation:
    """From the display matrix (ISO/IEC 14496-12, 8.3.2; FFmpeg, libavutil/display.h)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("<5i", bytes(matrix))
    if abs(a) >= abs(b):
        return Orientation(flips_rows=d < 0, flips_columns=a < 0)
    return Orientation(flips_rows=c < 0, flips_columns=b < 0, transposes=True)


def _is_bright_along_edges(brightest: Pixels) -> bool:
    """Whether no edge can be a bar."""
    for axis in (0, 1):
        lines = brightest.swapaxes(0, axis)
        depth = -(-lines.shape[0] * _MIN_BAR.numerator // _MIN_BAR.denominator)
        if min(lines[:depth].max(), lines[-depth:].max()) <= _BAR_LUMA:
            return False
    return True


def _content(brightest: Pixels) -> Rectangle:
    """What is left of the stored frame without black bars."""
    edges = []
    for axis in (1, 0):
        (bright,) = np.nonzero(brightest.max(axis=axis) > _BAR_LUMA)
        length = brightest.shape[1 - axis]
        start, stop = (int(bright[0]), int(bright[-1]) + 1) if bright.size else (0, length)
        if stop - start < length * _MIN_LEFT:
            start, stop = 0, length
        start = start if start >= length * _MIN_BAR else 0
        stop = stop if length - stop >= length * _MIN_BAR else length
        edges.append((start, stop))
    (top, bottom), (left, right) = edges
    return Rectangle(top, bottom, left, right)
