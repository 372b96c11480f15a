import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import ImageOps

from tests.films import filmed
from unspread.errors import UnreadableMediaError
from unspread.fingerprint.commands import compare, hash_files
from unspread.fingerprint.confined import TOO_COSTLY, Confined
from unspread.testing.samples import encoded, landscape

VECTORS = Path(__file__).parents[2] / "vectors"


def hashed(*arguments: object):
    return CliRunner().invoke(hash_files, [str(each) for each in arguments])


def compared(one: Path, other: Path) -> tuple[dict, str]:
    runner = CliRunner()
    as_json = runner.invoke(compare, [str(one), str(other), "--json"], catch_exceptions=False)
    in_words = runner.invoke(compare, [str(one), str(other)], catch_exceptions=False)
    return json.loads(as_json.output), in_words.output


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(landscape(1, 400, 300), "PNG"))
    return path


def test_hash_writes_one_line_of_json_for_each_file(picture):
    clip = VECTORS / "videos/h264.mp4"
    result = hashed("--json", picture, clip)
    assert result.exit_code == 0
    of_picture, of_clip = (json.loads(line) for line in result.output.splitlines())
    assert of_picture["path"] == str(picture)
    assert (of_picture["media"], of_clip["media"]) == ("image", "video")
    assert {"pdq", "quality", "sha256", "md5"} <= of_picture.keys() & of_clip.keys()
    assert len(of_clip["frames"]) > 1
    assert len(of_picture["windows"]) >= 1


def test_hash_walks_directories_and_names_what_it_cannot_read(picture):
    (picture.parent / "notes.txt").write_text("no picture")
    result = hashed("--json", picture.parent)
    assert result.exit_code == 2
    assert "notes.txt" in result.stderr
    assert json.loads(result.stdout)["path"] == str(picture)


def test_hash_prints_for_people_too(picture):
    text = hashed(picture).output
    assert "image, 400 x 300" in text
    assert "sha256" in text


def test_compare_tells_the_same_file_a_copy_and_another_picture_apart(picture, tmp_path):
    copy, other = tmp_path / "copy.jpg", tmp_path / "other.jpg"
    copy.write_bytes(encoded(landscape(1, 400, 300), quality=60))
    other.write_bytes(encoded(landscape(2, 400, 300)))
    assert compared(picture, picture)[0] == {"match": True, "identical": True}
    record, words = compared(picture, copy)
    assert record["match"]
    assert record["distance_bits"] <= 31
    assert "the same picture" in words or "look the same" in words
    assert not compared(picture, other)[0]["match"]


def test_compare_finds_a_cropped_copy_by_a_part(picture, tmp_path):
    crop = tmp_path / "crop.png"
    crop.write_bytes(encoded(landscape(1, 400, 300).crop((10, 10, 380, 290)), "PNG"))
    record, words = compared(picture, crop)
    assert record["match"]
    assert "part" in words


def test_compare_counts_matched_frames_of_videos():
    record, words = compared(VECTORS / "videos/h264.mp4", VECTORS / "videos/vp9.webm")
    assert not record["match"]
    assert record["matched_of_a"] == 0
    assert "different" in words


def test_compare_finds_a_frame_in_its_video(tmp_path):
    clip = VECTORS / "videos/h264.mp4"
    with av.open(clip) as container:
        frame = next(frame for at, frame in enumerate(container.decode(video=0)) if at == 40)
        frame.to_image().save(tmp_path / "frame.png")
    record, words = compared(tmp_path / "frame.png", clip)
    assert record["match"]
    assert "is a frame of" in words


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(ImageOps.mirror, id="mirrored"),
        pytest.param(lambda image: image.rotate(90, expand=True), id="turned"),
        pytest.param(lambda image: ImageOps.expand(image, 40, "white"), id="bordered"),
    ],
)
def test_compare_looks_at_a_copy_as_a_platform_does(picture, tmp_path, change):
    copy = tmp_path / "copy.png"
    copy.write_bytes(encoded(change(landscape(1, 400, 300)), "PNG"))
    record, words = compared(picture, copy)
    assert record["match"]
    assert record["whole_distance_bits"] > 31
    assert "turned, mirrored or bordered" in words


def test_compare_finds_a_mirrored_video(tmp_path):
    clip, copy = VECTORS / "videos/h264.mp4", tmp_path / "copy.mp4"
    with av.open(clip) as original, av.open(copy, "w") as written:
        stream = written.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for frame in original.decode(video=0):
            mirrored = np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:, ::-1])
            written.mux(stream.encode(av.VideoFrame.from_ndarray(mirrored, format="rgb24")))
        written.mux(stream.encode(None))
    record, words = compared(clip, copy)
    assert record["match"]
    assert record["matched_of_b"] == record["frames_of_b"] == 3
    assert "the same" in words


def test_compare_says_what_it_is_that_videos_share_by_chance(tmp_path):
    one, other, copy = (tmp_path / name for name in ("one.mp4", "other.mp4", "copy.mp4"))
    one.write_bytes(filmed([20, 21, 22, 23]))
    other.write_bytes(filmed([20, 31, 32, 33]))
    copy.write_bytes(filmed([20, 21, 22, 23], crop=2))
    record, words = compared(one, other)
    assert (record["match"], record["matched_of_b"] > 0) == (False, True)
    assert "different but for one view" in words
    assert compared(one, copy)[0]["match"]


def test_compare_names_the_file_that_is_at_fault(picture, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    for pair in ((picture, tmp_path / "notes.txt"), (tmp_path / "notes.txt", picture)):
        result = CliRunner().invoke(compare, [str(each) for each in pair])
        assert isinstance(result.exception, UnreadableMediaError)
        assert "notes.txt: this is not a picture" in str(result.exception)


def test_hash_says_so_where_there_is_nothing(tmp_path):
    result = hashed(tmp_path)
    assert result.exit_code == 2
    assert "no files in it" in result.stderr


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="device"),
        pytest.param(lambda path: path.symlink_to(path.name), id="loop"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="nowhere"),
        pytest.param(lambda _: None, id="nothing"),
    ],
)
def test_what_is_no_ordinary_file_is_refused_and_not_waited_for(picture, made, tmp_path):
    made(tmp_path / "odd")
    result = hashed("--json", tmp_path / "odd", picture)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"unspread: {tmp_path}/odd: ")
    assert json.loads(result.stdout)["path"] == str(picture)


def test_a_name_cannot_write_a_line_or_command_a_terminal(picture):
    name = "a\n\x1b[2Jpdq\u202egpj\udcff.png"
    odd = picture.rename(picture.with_name(name))
    shown = "a\\n\\x1b[2Jpdq\\u202egpj\ufffd.png"
    assert f"{shown}: image, 400 x 300" in hashed(odd).stdout
    assert json.loads(hashed("--json", odd).stdout)["path"] == str(odd)
    odd.write_bytes(b"no picture")
    assert f"{shown}: this is not a picture" in hashed(odd).stderr
    assert shown in str(CliRunner().invoke(compare, [str(odd), str(odd)]).exception)
    odd.unlink()
    odd.mkdir()
    assert f"{shown}: no files in it" in hashed(odd).stderr


def test_hash_decodes_in_a_confined_worker_and_goes_on_when_it_is_killed(picture, monkeypatch):
    ask, asked = Confined._ask, []

    def killed_once(self, call, descriptor, progress):
        (worker,) = self._all
        if not asked:
            worker.ready()
            os.kill(worker._process.pid, signal.SIGKILL)
        asked.append(call)
        return ask(self, call, descriptor, progress)

    monkeypatch.setattr(Confined, "_ask", killed_once)
    result = hashed(picture, picture)
    assert result.exit_code == 2
    assert TOO_COSTLY in result.stderr
    assert "image, 400 x 300" in result.stdout
    assert len(asked) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_told_in_a_sentence(picture):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "unspread", "hash", "--json", str(picture)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "unspread: No space left on device\n")
