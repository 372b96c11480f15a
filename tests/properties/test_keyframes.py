"""Which keyframes a scan looks at: of each stretch the first, whatever times a film gives."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.fingerprint import Sampling, scan_media
from unspread.fingerprint.files import STANDARD, Format
from unspread.fingerprint.scan import spacing_seconds
from unspread.fingerprint.video import open_film
from unspread.testing.samples import landscape

SIZE = (64, 48)


def intra(bar: int) -> tuple[bytes, list[bytes]]:
    """A film of keyframes alone with black lines above and below, and its packets."""
    made = io.BytesIO()
    with av.open(made, "w", format="matroska") as target:
        stream = target.add_stream("mpeg4", rate=24, options={"g": "1", "qscale": "5"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for seed in range(6):
            shown = np.array(landscape(seed, *SIZE))
            shown[:bar] = shown[SIZE[1] - bar :] = 0
            target.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        target.mux(stream.encode())
    with av.open(io.BytesIO(made.getvalue())) as film:
        return made.getvalue(), [bytes(each) for each in film.demux(video=0) if each.size]


FILMS = {bar: intra(bar) for bar in (0, 8)}


def muxed(times: list[int], decoded: list[int], bar: int, kind: str) -> bytes:
    """A film of a keyframe at each of these milliseconds, to be decoded at those."""
    template, packets = FILMS[bar]
    made = io.BytesIO()
    with av.open(io.BytesIO(template)) as source, av.open(made, "w", format=kind) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for at, (time, earlier) in enumerate(zip(times, decoded, strict=True)):
            packet = av.Packet(packets[at % len(packets)])
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts = time, earlier
            packet.is_keyframe = True
            target.mux(packet)
    return made.getvalue()


def shown_at(times: list[int], claimed: float | None, bar: int = 0) -> bytes:
    """A film of a keyframe at each of these milliseconds, that claims to last so many."""
    # Matroska does not keep these, but its writer wants them to grow.
    decoded = [min(times[at:]) for at in range(len(times))]
    film = bytearray(muxed(times, decoded, bar, "matroska"))
    # RFC 9559, Duration; or nothing of that length (RFC 8794, Void).
    at = film.index(b"\x44\x89\x88")
    film[at : at + 11] = (
        b"\xec\x89" + bytes(9) if claimed is None else b"\x44\x89\x88" + struct.pack(">d", claimed)
    )
    return bytes(film)


def looked_at(times: list[int], length: int, sampled: set[int]) -> list[int]:
    """The oracle: of each stretch so long what was sampled there, else the first in the file."""
    chosen = set(sampled)
    for start in {time - time % length for time in times}:
        within = [time for time in times if start <= time < start + length]
        if not sampled & {*within}:
            chosen.add(within[0])
    return sorted(chosen)


@settings(max_examples=100)
@given(
    times=st.lists(st.integers(0, 90_000), min_size=1, max_size=40),
    in_order=st.booleans(),
    claimed=st.one_of(st.none(), st.floats(1, 4e7)),
    bar=st.sampled_from(sorted(FILMS)),
)
def test_of_each_stretch_the_first_keyframe_is_looked_at(times, in_order, claimed, bar):
    times = sorted(times) if in_order else times
    with open_film(shown_at(times, claimed, bar), Format.MATROSKA, STANDARD) as film:
        film.strip_bars()
        spacing = spacing_seconds(film.duration_seconds)
        seconds = [each.seconds for each in film.keyframes(spacing_seconds=spacing)]
        sampled = set(film._sampled)
    found = [times[0] + round(1000 * each) for each in seconds]
    length = max(round(spacing * 1000), 1)
    assert sorted(found) == looked_at(times, length, sampled)
    assert found == sorted(found) or not in_order


@pytest.mark.parametrize(
    ("duration", "spacing"),
    [
        pytest.param(None, 2, id="not known"),
        pytest.param(0.6, 0.1, id="six of a short film"),
        pytest.param(12, 2, id="one in two seconds"),
        pytest.param(40_000, 2, id="also of a long film, or one that claims to be"),
    ],
)
def test_a_film_is_looked_at_by_its_length(duration, spacing):
    assert spacing_seconds(duration) == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("step", "claimed", "looks"),
    [
        pytest.param(100, 20_000, 10, id="one in two seconds"),
        pytest.param(10, 2_000, 6, id="six of a short film"),
        pytest.param(3, 600, 6, id="a film and its length, both thirty times too short"),
        pytest.param(100, None, 10, id="no length"),
        pytest.param(100, 1, 200, id="a length of a millisecond"),
        pytest.param(100, 4e7, 10, id="a length of eleven hours"),
        pytest.param(0, 20_000, 1, id="all at the same time"),
    ],
)
def test_a_film_of_keyframes_alone_is_looked_at_by_few(step, claimed, looks):
    data = shown_at([at * step for at in range(200)], claimed)
    assert len(scan_media(data).seconds_of_frame) == looks


def decoded_at_once() -> bytes:
    """An MP4 of 60 s of which every frame is to be decoded at the same time."""
    film = bytearray(muxed([1000 * at for at in range(60)], [*range(60)], 0, "mp4"))
    # ISO/IEC 14496-12, 8.6.1.2: counts and steps.
    at = film.index(b"stts") + 12
    for entry in range(struct.unpack_from(">I", film, at - 4)[0]):
        struct.pack_into(">I", film, at + 8 * entry + 4, 0)
    return bytes(film)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(
            shown_at([*range(100_000, 159_000, 1000), 70], 60_000),
            Format.MATROSKA,
            id="the last frame claims to be the first",
        ),
        pytest.param(decoded_at_once(), Format.MP4, id="all are to be decoded at the same time"),
    ],
)
def test_a_film_is_read_from_its_beginning_whatever_its_index_says(data, kind):
    with open_film(data, kind, STANDARD) as film:
        film.strip_bars()
        assert len(list(film.every_frame())) == 60
        assert len(list(film.keyframes())) == 60
    assert len(scan_media(data).seconds_of_frame) >= 30
    assert len(scan_media(data, sampling=Sampling.EVERY_SECOND).seconds_of_frame) >= 59
