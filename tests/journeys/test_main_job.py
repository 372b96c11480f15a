"""A person protects a picture; a platform stops it."""

import json
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from PIL import Image, ImageEnhance

from tests.journeys.conftest import free_port, running_demo, unspread, until
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey


def quarter(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 4, picture.height // 4), Image.Resampling.LANCZOS)


CHANGES = {
    "the same file": lambda picture: encoded(picture, quality=90),
    "resized to a quarter": lambda picture: encoded(quarter(picture), quality=90),
    "saved as JPEG at quality 40": lambda picture: encoded(picture, quality=40),
    "converted to WebP": lambda picture: encoded(picture, "WEBP", quality=80),
    "converted to PNG": lambda picture: encoded(picture, "PNG"),
    "lightly brightened": lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(1.15)),
    "mirrored": lambda picture: encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


@pytest.fixture(scope="module")
def protected(demo, tmp_path_factory):
    """A picture that somebody has protected, and the receipt."""
    picture = landscape(1)
    path = tmp_path_factory.mktemp("device") / "private name.jpg"
    path.write_bytes(encoded(picture, quality=90))
    case = demo.submit(path)
    until(lambda: demo.post(path.read_bytes()).status_code >= 400)
    return picture, case["receipt"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_of_a_protected_picture_is_refused(demo, protected, change):
    picture, _ = protected
    answer = demo.post(CHANGES[change](picture))
    assert 400 <= answer.status_code < 500, change
    assert answer.json()["scan"]["decision"] == "refuse"


def test_an_unrelated_picture_is_accepted(demo, protected):
    answer = demo.post(encoded(landscape(2)))
    assert answer.status_code == 201
    assert demo.post_is_up(answer.json()["post"])


def test_a_crop_waits_for_a_person_and_one_part_in_common_is_nothing(demo, tmp_path):
    picture, other = landscape(6, 480, 360), landscape(2, 480, 360)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, quality=90))
    demo.submit(path)
    until(lambda: demo.post(path.read_bytes()).status_code >= 400)

    scan = demo.post(encoded(picture.crop((48, 36, 432, 324)))).json()["scan"]
    assert (scan["decision"], {each["part"] for each in scan["matches"]}) == ("hold", {"window"})

    # Around one of the windows that are listed, and no other.
    other.paste(picture.crop((33, 39, 164, 169)), (24, 18))
    assert demo.post(encoded(other)).status_code == 201


def test_a_picture_posted_before_is_taken_down_and_the_person_sees_it(demo, tmp_path):
    picture = landscape(3)
    earlier = demo.post(encoded(quarter(picture), quality=70)).json()["post"]
    assert demo.post_is_up(earlier)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, quality=90))
    receipt = demo.submit(path)["receipt"]
    until(lambda: not demo.post_is_up(earlier))

    def removed():
        (item,) = demo.status(receipt)["items"]
        said = item["platforms"]
        return said and said[0].get("received_at") and said[0].get("removed_at") and said[0]

    said = until(removed)
    assert said["name"]
    assert said["found_at"]


def test_a_withdrawn_picture_is_accepted_again(demo, tmp_path):
    picture = landscape(4)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, quality=90))
    receipt = demo.submit(path)["receipt"]
    copy = encoded(picture, quality=50)
    until(lambda: demo.post(copy).status_code >= 400)
    demo.withdraw(receipt)
    until(lambda: demo.post(copy).status_code == 201)
    demo.withdraw(receipt)  # again: nothing changes
    (item,) = demo.status(receipt)["items"]
    assert item["state"] == "withdrawn"
    until(lambda: demo.status(receipt)["items"][0]["platforms"][0].get("forgotten_at"))


def bomb() -> bytes:
    """A PNG whose header says 300 megapixels; its data is a few bytes of zeros."""
    header = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    import struct
    import zlib

    header[16:24] = struct.pack(">II", 20_000, 15_000)
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    return bytes(header)


BAD_FILES = {
    "truncated": lambda: encoded(landscape(5))[:5000],
    "empty": lambda: b"",
    "a 300-megapixel bomb": bomb,
    "a text file renamed .jpg": lambda: b"this is not a picture\n" * 50,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_cannot_be_read_gets_a_clear_answer_everywhere(demo, tmp_path, kind):
    content = BAD_FILES[kind]()
    scanned = demo.post(content, "x.jpg")
    assert 400 <= scanned.status_code < 500
    assert scanned.json()["message"]
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for command in (("hash", str(path)), ("submit", str(path), "--to", demo.url)):
        answer = unspread(*command, check=False)
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr
        assert answer.stderr.strip()
    assert httpx.get(f"{demo.platform_url}/health/ready").is_success


def test_a_blank_picture_is_not_listed_as_if_it_could_be_told_apart(demo, tmp_path):
    path = tmp_path / "blank.png"
    path.write_bytes(encoded(Image.new("RGB", (640, 480), "white"), "PNG"))
    answer = unspread("submit", str(path), "--to", demo.url, "--json", check=False)
    if answer.returncode == 0:
        (item,) = json.loads(answer.stdout)["items"]
        assert item["state"] == "held"
        assert item["reasons"]
    else:
        assert answer.returncode == 2
    assert demo.post(path.read_bytes()).status_code == 201


def test_a_receipt_that_is_mistyped_or_unknown_says_so(demo):
    from unspread.crypto import Receipt

    unknown = Receipt(bytes(13)).to_text()
    assert unspread("status", unknown, "--at", demo.url, check=False).returncode == 3
    mistyped = unspread("status", unknown[:-1] + "Z", "--at", demo.url, check=False)
    assert mistyped.returncode == 2
    assert unknown[:-1] not in mistyped.stderr


def test_all_data_is_there_after_stopping_and_starting_again(tmp_path):
    picture = landscape(6)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, quality=90))
    with running_demo(tmp_path / "data") as demo:
        receipt = demo.submit(path)["receipt"]
        until(lambda: demo.post(path.read_bytes()).status_code >= 400)
        kept = demo.post(encoded(landscape(7))).json()["post"]
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(60) == 0
    with running_demo(tmp_path / "data") as demo:
        assert demo.post(path.read_bytes()).status_code >= 400
        assert demo.post_is_up(kept)
        (item,) = demo.status(receipt)["items"]
        assert item["state"] == "listed"


def test_pulling_the_plug_loses_nothing_and_leaves_nothing_running(tmp_path):
    picture = landscape(8)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, quality=90))
    with running_demo(tmp_path / "data") as demo:
        ports = [int(each.rpartition(":")[2]) for each in (demo.url, demo.platform_url)]
        receipt = demo.submit(path)["receipt"]
        demo.process.kill()
        demo.process.wait(60)
    # On the same ports: the children have gone too.
    until(lambda: not any(is_listening(port) for port in ports))
    with running_demo(tmp_path / "data", *ports) as demo:
        assert demo.status(receipt)["items"][0]["state"] == "listed"
        until(lambda: demo.post(path.read_bytes()).status_code >= 400)


def is_listening(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_start_a_used_port_and_a_read_only_directory_say_what_is_wrong(demo, tmp_path):
    def start(*arguments):
        finished = subprocess.run(
            [sys.executable, "-m", "unspread", "demo", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 3
        assert "Traceback" not in finished.stderr
        return finished.stderr

    ports = ["--port", str(free_port()), "--platform-port", str(free_port())]
    assert "already running" in start("--data", str(demo.data), *ports)
    used = ["--port", demo.url.rpartition(":")[2], "--platform-port", str(free_port())]
    assert "port" in start("--data", str(tmp_path), *used)
    (tmp_path / "file").touch()
    assert "cannot write" in start("--data", str(tmp_path / "file" / "data"), *ports)
