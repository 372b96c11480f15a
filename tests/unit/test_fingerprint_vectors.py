"""The package against `vectors/`, which were made without it (vectors/make_media.py)."""

import json
from pathlib import Path

import pytest

from unspread.fingerprint import MediaScan, Sampling, fingerprint_file, scan_media
from unspread.fingerprint.decode import decode
from unspread.fingerprint.files import STANDARD, Format
from unspread.fingerprint.pdq import ORIENTATIONS, dihedral, fingerprints, small_matrices
from unspread.fingerprint.video import open_film
from unspread.model import MIN_PDQ_QUALITY, Kind, Media, Part

VECTORS = Path(__file__).parents[2] / "vectors"
PICTURES = json.loads((VECTORS / "pictures.json").read_text())["files"]
VIDEOS = json.loads((VECTORS / "videos.json").read_text())["files"]

picture = pytest.mark.parametrize("expected", PICTURES, ids=lambda each: each["file"])
video = pytest.mark.parametrize("expected", VIDEOS, ids=lambda each: each["file"])


def upright_probes(scan: MediaScan) -> list[str]:
    """The first probe of each frame of a video."""
    step = 32 * len(ORIENTATIONS)
    return [scan.probe_bytes[at : at + 32].hex() for at in range(0, len(scan.probe_bytes), step)]


@picture
def test_a_picture_has_the_references_fingerprint(expected):
    found = fingerprint_file(VECTORS / "pictures" / expected["file"])
    whole = found.first(Kind.PDQ)
    assert (whole.value.hex(), whole.quality) == (expected["pdq"], expected["quality"])
    assert found.first(Kind.SHA256).value.hex() == expected["sha256"]
    assert found.first(Kind.MD5).value.hex() == expected["md5"]
    assert (found.width, found.height) == (expected["width"], expected["height"])
    assert found.media is Media.IMAGE


@picture
def test_a_picture_has_the_windows_that_were_written_down(expected):
    found = fingerprint_file(VECTORS / "pictures" / expected["file"])
    assert [
        (each.value.hex(), each.quality) for each in found.fingerprints if each.part is Part.WINDOW
    ] == [
        (each["pdq"], each["quality"])
        for each in expected["windows"]
        if each["quality"] >= MIN_PDQ_QUALITY
    ]


@picture
def test_its_dihedral_variants_are_the_references(expected):
    data = (VECTORS / "pictures" / expected["file"]).read_bytes()
    shown = decode(data, STANDARD)
    if min(shown.pixels.shape[:2]) < 5:
        pytest.skip("too small to turn")
    small = small_matrices(shown.pixels, [shown.orientation])[0]
    assert [each.tobytes().hex() for each in dihedral(small)] == expected["dihedral"]


@picture
def test_a_scan_says_its_path_and_stays_within_its_bits(expected):
    path = VECTORS / "pictures" / expected["file"]
    if min(expected["width"], expected["height"]) < 5:
        pytest.skip("refused by the scan")
    found = scan_media(path)
    distance = (int(expected["pdq"], 16) ^ int.from_bytes(found.probe_bytes[:32])).bit_count()
    assert distance <= (2 if found.decoder == "luma" else 0)
    assert abs(found.qualities[0] - expected["quality"]) <= (1 if found.decoder == "luma" else 0)
    assert len(found.rows) % len(ORIENTATIONS) == 0


@video
def test_a_video_is_submitted_with_every_frame_that_looks_different(expected):
    found = fingerprint_file(VECTORS / "videos" / expected["file"])
    frames = [each for each in found.fingerprints if each.part is Part.FRAME]
    assert [each.value.hex() for each in frames] == expected["submitted"]
    assert found.frames_seen == len(expected["frames"])
    assert found.first(Kind.SHA256).value.hex() == expected["sha256"]
    assert found.first(Kind.MD5).value.hex() == expected["md5"]
    bars = sum(expected["bars"].values())
    assert (found.width, found.height) == (expected["width"], expected["height"] + bars)
    assert found.media is Media.VIDEO


@video
def test_each_frame_of_a_video_has_the_references_fingerprint(expected):
    path = VECTORS / "videos" / expected["file"]
    kind = Format.MATROSKA if path.suffix in {".mkv", ".webm"} else Format.MP4
    with open_film(path, kind, STANDARD) as film:
        film.strip_bars()
        found = [(each.seconds, fingerprints(each.matrices)[0]) for each in film.every_frame()]
    assert [each.value.hex() for _, each in found] == [each["pdq"] for each in expected["frames"]]
    assert [each.quality for _, each in found] == [each["quality"] for each in expected["frames"]]
    assert [seconds for seconds, _ in found] == pytest.approx(
        [each["seconds"] for each in expected["frames"]], abs=1e-5
    )


def first_of_frames(scan: MediaScan) -> list[str]:
    """Of each frame the upright fingerprint of what it shows, first among its probes."""
    firsts = [scan.frame_of_probe.index(frame) for frame in range(len(scan.seconds_of_frame))]
    return [scan.probe_bytes[32 * at : 32 * at + 32].hex() for at in firsts]


@video
def test_sampling_every_second_takes_the_last_frame_not_after_it(expected):
    found = scan_media(VECTORS / "videos" / expected["file"], sampling=Sampling.EVERY_SECOND)
    times = [each["seconds"] for each in expected["frames"]]
    wanted = [max(time for time in times if time <= t) for t in range(int(times[-1]) + 1)]
    assert found.seconds_of_frame == pytest.approx(wanted, abs=1e-5)
    values = {each["seconds"]: each["pdq"] for each in expected["frames"]}
    assert first_of_frames(found) == [values[time] for time in wanted]


@video
def test_keyframes_are_among_the_frames(expected):
    found = scan_media(VECTORS / "videos" / expected["file"])
    known = {each["pdq"] for each in expected["frames"]}
    assert set(first_of_frames(found)) <= known
