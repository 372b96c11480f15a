import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from unspread.errors import UnreadableMediaError
from unspread.fingerprint import (
    MediaScan,
    Sampling,
    fingerprint_file,
    fingerprint_image,
    scan_media,
)
from unspread.fingerprint.files import Format, Limits
from unspread.fingerprint.pdq import distance_bits
from unspread.fingerprint.score import best_score, distances, score
from unspread.fingerprint.trim import without_borders
from unspread.fingerprint.video import Dense, _content, dense_fingerprints, open_film
from unspread.model import Fingerprint, Kind, Part
from unspread.testing.samples import landscape


def frame(bits: int, quality: int = 100) -> Fingerprint:
    """A fingerprint with so many bits set, so that two differ by the difference."""
    return Fingerprint(Kind.PDQ, ((1 << bits) - 1).to_bytes(32), Part.FRAME, quality)


def apart(count: int, seed: int = 0) -> list[Fingerprint]:
    """Fingerprints of unrelated frames."""
    values = np.random.default_rng(seed).bytes(32 * count)
    return [
        Fingerprint(Kind.PDQ, values[at : at + 32], Part.FRAME, 100)
        for at in range(0, len(values), 32)
    ]


def test_a_frame_is_left_out_up_to_16_bits_from_the_last_one_kept():
    dense = Dense()
    for bits in (0, 16, 17, 20, 33, 34):
        dense.add(frame(bits))
    assert dense.result() == [frame(0), frame(17), frame(34)]


def test_frames_that_show_too_little_count_only_if_there_is_no_other():
    dense = Dense()
    for quality in (10, 49, 30):
        dense.add(frame(quality, quality))
    assert dense.result() == [frame(49, 49)]
    dense.add(frame(100, 50))
    assert dense.result() == [frame(100, 50)]


def test_a_long_film_stays_under_the_cap_and_says_so():
    dense = Dense(max_kept=50)
    for each in apart(1000):
        dense.add(each)
        assert len(dense.kept) <= 50
    assert dense.is_capped
    assert len(dense.result()) > 20


def test_a_film_under_the_cap_is_whole():
    frames = apart(50)
    dense = Dense(max_kept=50)
    for each in frames:
        dense.add(each)
    assert dense.result() == frames
    assert not dense.is_capped


def test_bars_are_what_is_dark_in_every_sample():
    picture = np.full((100, 200), 90, np.uint8)
    picture[:10] = picture[-20:] = 16
    picture[:, :3] = 40
    content = _content(picture)
    # 3 of 200 columns are thinner than a fiftieth of the side.
    assert (content.top, content.bottom, content.left, content.right) == (10, 80, 0, 200)


def test_a_dark_picture_has_no_bars():
    picture = np.full((100, 200), 20, np.uint8)
    picture[50, 100] = 200
    content = _content(picture)
    assert (content.height, content.width) == (100, 200)


@pytest.mark.parametrize("colour", [0, 255, 128])
def test_borders_of_any_colour_are_found_to_the_pixel(colour):
    picture = np.asarray(landscape(3, 300, 200))
    framed = np.full((260, 380, 3), colour, np.uint8)
    framed[20:220, 50:350] = picture
    inner = without_borders(framed)
    assert (inner.top, inner.bottom, inner.left, inner.right) == (20, 220, 50, 350)
    whole = without_borders(picture)
    assert (whole.height, whole.width) == (200, 300)


def test_distance_counts_bits():
    assert distance_bits(bytes(32), b"\xff" * 32) == 256


def clip(path, *, codec="libx264", pixel_format="yuv420p", frames=12, bar=0, crop=0, **options):
    """A few frames of a drawn landscape that moves, with black bars of so many lines.

    Or without so many lines at each of its edges.
    """
    wide = np.array(landscape(9, 320, 240))
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=24, options={"crf": "12", "qp": "0"} | options)
        stream.width, stream.height, stream.pix_fmt = 256, 192, pixel_format
        stream.codec_context.thread_count = 1
        for step in range(frames):
            part = wide[step % 48 : step % 48 + 192, 3 * step % 64 : 3 * step % 64 + 256].copy()
            part[:bar] = part[192 - bar :] = 0
            if crop:
                cut = Image.fromarray(part[crop:-crop, crop * 4 // 3 : -crop * 4 // 3])
                part = np.array(cut.resize((256, 192)))
            for packet in stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("spacing", "seconds"),
    [
        pytest.param(1000, [0, 1, 2], id="one keyframe tells only how a film begins"),
        pytest.param(30, [0, 1.25], id="two are enough"),
    ],
)
def test_a_scan_looks_at_keyframes_and_further_where_there_is_but_one(spacing, seconds, tmp_path):
    options = {"g": str(spacing), "sc_threshold": "0"}
    scan = scan_media(clip(tmp_path / "film.mp4", frames=60, **options))
    assert scan.seconds_of_frame == pytest.approx(seconds)
    assert len(set(scan.frame_of_probe)) == len(seconds)


def test_a_film_that_breaks_off_after_its_only_keyframe_is_looked_at_all_the_same(tmp_path):
    path = clip(tmp_path / "film.mkv", frames=60, g="1000", sc_threshold="0")
    written = bytearray(path.read_bytes())
    with av.open(path) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    written[places[1] + 8 : -200] = bytes(len(written) - 208 - places[1])
    assert scan_media(bytes(written)).seconds_of_frame == (0.0,)


@pytest.mark.parametrize("crop", [5, 8])
def test_a_video_that_was_cropped_by_a_few_lines_is_found(crop, tmp_path):
    listed = fingerprint_file(clip(tmp_path / "listed.mp4", frames=60)).fingerprints
    scan = scan_media(clip(tmp_path / "cropped.mp4", frames=60, crop=crop, g="12"))
    assert set(scan.part_of_probe) == {Part.FRAME}
    plain = [at for at in range(len(scan.probes)) if at % 24 == 0]
    assert not score([scan.probes[at] for at in plain], listed, 31).is_match
    assert best_score(scan, listed, 31).is_match
    assert best_score(scan, listed, 31).frames_of_query == len(plain)


def test_windows_of_frames_find_a_listed_picture_of_another_moment(tmp_path):
    def nearest(scan: MediaScan) -> int:
        return int(distances(scan.probes, listed).min())

    path = clip(tmp_path / "film.mp4", frames=48, g="1000")
    with av.open(path) as film:
        frame = next(each for at, each in enumerate(film.decode(video=0)) if at == 12)
        frame.to_image().save(tmp_path / "frame.png")
    listed = fingerprint_image((tmp_path / "frame.png").read_bytes()).fingerprints
    listed = [each for each in listed if each.kind is Kind.PDQ]
    plain, looked = scan_media(path), scan_media(path, frames_with_windows=2)
    assert nearest(plain) > 31
    assert nearest(looked) <= 31
    windows = [at for at, part in enumerate(looked.part_of_probe) if part is Part.WINDOW]
    assert {looked.frame_of_probe[at] for at in windows} == {0, 1}
    assert scan_media(path, frames_with_windows=2, windows=False) == plain
    # Of neighbours that look different, only such as are spread over the film.
    dense = scan_media(clip(tmp_path / "dense.mp4", frames=48, g="6"), frames_with_windows=2)
    windows = [at for at, part in enumerate(dense.part_of_probe) if part is Part.WINDOW]
    assert [
        dense.seconds_of_frame[at] for at in sorted({dense.frame_of_probe[at] for at in windows})
    ] == [0, 1]
    one = scan_media(path, frames_with_windows=1)
    windows = [at for at, part in enumerate(one.part_of_probe) if part is Part.WINDOW]
    assert {one.frame_of_probe[at] for at in windows} == {0}


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        pytest.param("libx264", "yuv420p10le", id="10 bits"),
        pytest.param("libx264", "yuv444p", id="full chroma"),
        pytest.param("libx264", "gray", id="grey"),
        pytest.param("libx264rgb", "rgb24", id="red, green and blue"),
    ],
)
def test_other_layouts_of_pixels_look_the_same(codec, pixel_format, tmp_path):
    plain = scan_media(clip(tmp_path / "plain.mp4"))
    other = scan_media(clip(tmp_path / "other.mkv", codec=codec, pixel_format=pixel_format))
    assert distance_bits(plain.probe_bytes[:32], other.probe_bytes[:32]) <= 12
    assert abs(plain.qualities[0] - other.qualities[0]) <= 2


@pytest.mark.parametrize("bar", [0, 30])
@pytest.mark.parametrize(("codec", "name"), [("libx264", "film.mp4"), ("libvpx-vp9", "film.webm")])
def test_frames_that_were_sampled_for_bars_stand_in_their_places(codec, name, bar, tmp_path):
    path = clip(tmp_path / name, codec=codec, frames=60, bar=bar, g="5", deadline="realtime")
    kind = Format.MP4 if name.endswith("mp4") else Format.MATROSKA
    with open_film(path, kind, Limits()) as film:
        film.strip_bars()
        assert film.has_bars == bool(bar)
        assert len(film._sampled) == (8 if bar else 1)
        found = list(film.keyframes())
        film._sampled.clear()
        decoded = list(film.keyframes())
    with av.open(path) as container:
        packets = [each for each in container.demux(video=0) if each.is_keyframe]
    seconds = [float(each.pts * each.time_base) for each in packets]
    assert [each.seconds for each in found] == seconds
    assert len(seconds) >= 12
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert [each.seconds for each in decoded] == seconds
    assert all(
        np.array_equal(one.matrices, other.matrices)
        for one, other in zip(found, decoded, strict=True)
    )


def test_a_film_without_a_known_length_is_read_to_its_end(tmp_path):
    path = clip(tmp_path / "film.mkv")
    data = path.read_bytes()
    assert scan_media(data).seconds_of_frame[0] == 0
    with open_film(data, Format.MATROSKA, Limits()) as film:
        film.duration_seconds = None
        assert len(dense_fingerprints(film).result()) >= 1
        assert film.frames_seen == 12


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(Limits(max_frames=5), id="frames"),
        pytest.param(Limits(max_frame_pixels=1000), id="pixels"),
        pytest.param(Limits(max_video_bytes=100), id="bytes"),
        pytest.param(Limits(max_duration_seconds=0), id="seconds"),
    ],
)
def test_a_film_beyond_a_limit_is_refused(limits, tmp_path):
    with pytest.raises(UnreadableMediaError):
        fingerprint_file(clip(tmp_path / "film.mp4"), limits)


def longer(original: Path, path: Path, times: int, apart: int = 0) -> Path:
    """The packets of a clip over and over; with a last one `apart` seconds later."""
    with av.open(original) as source, av.open(path, "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [each for each in source.demux(video=0) if each.size]
        length = sum(each.duration for each in packets)
        for turn in range(times):
            shift = turn * length
            if turn == times - 1:
                shift += int(apart / packets[0].time_base)
            for each in packets:
                copy = av.Packet(bytes(each))
                copy.time_base, copy.stream = each.time_base, stream
                copy.pts, copy.dts = each.pts + shift, each.dts + shift
                copy.duration, copy.is_keyframe = each.duration, each.is_keyframe
                container.mux(copy)
    return path


def test_a_film_whose_times_lie_is_refused_before_every_second_is_counted(tmp_path):
    film = longer(clip(tmp_path / "clip.mp4"), tmp_path / "film.mkv", 2, apart=400_000_000)
    data = bytearray(film.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    # The header says a second (RFC 9559, Duration).
    data[at : at + 8] = struct.pack(">d", 1000.0)
    for sampling in Sampling:
        with pytest.raises(UnreadableMediaError, match="long"):
            scan_media(bytes(data), sampling=sampling)


MEASURE = """
import resource, sys
from pathlib import Path
from unspread.fingerprint import Sampling, fingerprint_file, scan_media
film = Path(sys.argv[1])
fingerprint_file(film)
for sampling in Sampling:
    scan_media(film, sampling=sampling)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_a_longer_film_needs_no_more_memory(tmp_path):
    original = clip(tmp_path / "clip.mp4", frames=240, g="24")
    peaks = []
    for times in (2, 30):
        film = longer(original, tmp_path / "film.mp4", times)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, film], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 24 * 1024


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_film_that_begins_after_its_keyframe_is_read_from_the_next_one(name, tmp_path):
    whole, cut = clip(tmp_path / "whole.mp4", frames=96, g="24"), tmp_path / name
    with av.open(whole) as source, av.open(cut, "w") as target:
        track = source.streams.video[0]
        copy = target.add_stream_from_template(track)
        for at, packet in enumerate(source.demux(track)):
            if at >= 10 and packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    with av.open(cut) as container:
        shown = [float(each.pts * each.time_base) for each in container.decode(video=0)]
    assert fingerprint_file(cut).frames_seen == len(shown) == 72
    for sampling in Sampling:
        seconds = scan_media(cut, sampling=sampling).seconds_of_frame
        assert seconds[:3] == pytest.approx((0, 1, 2), abs=1e-3)
