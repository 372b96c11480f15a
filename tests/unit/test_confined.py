import asyncio
import io
import json
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from unspread.errors import StateError, UnreadableMediaError
from unspread.fingerprint import confined_worker, fingerprint_file, scan_media
from unspread.fingerprint.confined import (
    PATIENT,
    TOO_COSTLY,
    Answer,
    Budget,
    Confined,
    Confinement,
    FingerprintCall,
    _descriptor,
)
from unspread.fingerprint.files import STANDARD

VECTORS = Path(__file__).parents[2] / "vectors"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


def encoded(side: int, name: str = "PNG") -> bytes:
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, name)
    return file.getvalue()


def children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for each in tasks for pid in each.read_text().split()]


@pytest.fixture(scope="module")
def confined():
    with Confined(workers=1) as pool:
        yield pool


def test_a_worker_answers_what_the_same_process_would(confined, tmp_path):
    data = encoded(200, "JPEG")
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert confined.scan(data) == confined.scan(path) == scan_media(data)
    assert asyncio.run(confined.scan_async(data)) == scan_media(data)


def test_a_refusal_comes_with_its_text(confined):
    for data in (b"", b"<html>", encoded(64)[:500]):
        with pytest.raises(UnreadableMediaError) as direct:
            scan_media(data)
        with pytest.raises(UnreadableMediaError) as refused:
            confined.scan(data)
        assert str(refused.value) == str(direct.value)


def test_workers_are_confined_here(confined):
    assert confined.confinement() == Confinement(rlimits=True, seccomp=True, landlock=True)


ATTEMPTS = {
    "network": "socket.socket()",
    "pair of sockets": "socket.socketpair()",
    "another process": "os.waitpid(os.fork() or os._exit(0), 0)",
    "another program": "os.posix_spawn('/bin/true', ['true'], {})",
    "reading a file": "open(folder + '/secret').read()",
    "reading a directory": "os.listdir(folder)",
    "writing a file": "open(folder + '/secret', 'a')",
    "making a file": "open(folder + '/new', 'w')",
    "making a file without a name": "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
    "making a directory": "os.mkdir(folder + '/directory')",
    "making a link": "os.symlink('secret', folder + '/link')",
    "removing a file": "os.rename(folder + '/secret', folder + '/moved')",
    "changing rights": "os.chmod(folder, 0o700)",
    "changing rights through a descriptor": "os.fchmod(0, 0o600)",
    "what its parent was started with": "open(f'/proc/{os.getppid()}/environ').read()",
    "the memory of its parent": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "limits of its parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
    "a signal": "os.kill(os.getppid(), 0)",
    "the processors of its parent": "os.sched_setaffinity(os.getppid(), {0})",
    "memory that stays": "os.memfd_create('more')",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
}
PROGRAM = """
import json, os, resource, socket, sys
from unspread.fingerprint import scan_media
from unspread.fingerprint.confined import Budget
from unspread.fingerprint.confined_worker import _confine, _warm_up

folder, given = sys.argv[1:]
_warm_up()
if given:
    assert len(os.listdir("/proc/self/task")) == 1, "other threads would be left unconfined"
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
    _confine(Budget())
allowed = []
for name, attempt in json.load(sys.stdin).items():
    try:
        eval(attempt)
    except (OSError, ValueError):
        continue
    allowed.append(name)
print(json.dumps(allowed))
"""


@pytest.mark.parametrize("is_confined", [False, True])
def test_from_inside_nothing_can_be_opened_started_or_sent(is_confined, tmp_path):
    (tmp_path / "secret").write_text("a key")
    with (tmp_path / "attempts").open("w+") as attempts:
        json.dump(ATTEMPTS, attempts)
        attempts.seek(0)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path), "confined" if is_confined else ""],
            stdin=attempts,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    # What is not possible without confinement would show nothing.
    assert json.loads(done.stdout) == ([] if is_confined else list(ATTEMPTS))


def test_a_worker_cannot_change_what_it_was_given(confined):
    with _descriptor(b"picture") as descriptor, pytest.raises(PermissionError):
        os.ftruncate(descriptor, 1)
    with _descriptor(b"picture") as descriptor, pytest.raises(PermissionError):
        mmap.mmap(descriptor, 0)


def test_a_file_larger_than_the_memory_of_a_worker_is_read_all_the_same(tmp_path):
    film = (VECTORS / "videos/h264.mp4").read_bytes()
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.write(film + struct.pack(">I4s", 2**30, b"free"))
        file.truncate(len(film) + 2**30)
    with Confined(budget=Budget(memory_bytes=2**30)) as pool:
        assert pool.scan(path).rows.tolist() == pool.scan(film).rows.tolist()


@pytest.mark.parametrize("name", ["pictures/rgb.png", "videos/h264.mp4"])
def test_a_worker_fingerprints_what_is_submitted_and_says_how_far_it_is(confined, name):
    path = VECTORS / name
    assert confined.fingerprint(path) == fingerprint_file(path)
    assert confined.fingerprint(path.read_bytes()) == fingerprint_file(path)


def test_a_long_film_is_told_of_while_it_lasts(monkeypatch):
    monkeypatch.setattr(confined_worker, "_SIGN_OF_LIFE_SECONDS", -1)
    film, signs = VECTORS / "videos/h264.mp4", []
    given = os.open(film, os.O_RDONLY)
    mine, theirs = socket.socketpair()
    with mine, theirs, theirs.makefile("rb") as answers:
        answer = confined_worker._answer(FingerprintCall(STANDARD), given, PATIENT, mine)
        mine.close()
        while length := answers.read(4):
            message = answers.read(int.from_bytes(length, "little"))
            signs.append(msgspec.msgpack.decode(message, type=Answer).progress)
    assert answer.fingerprint == fingerprint_file(film)
    assert len(signs) > 40
    assert signs == sorted(signs)
    assert 0 < signs[0] < signs[-1] <= 1


def test_a_worker_that_dies_is_replaced(confined):
    data = encoded(100)
    confined.scan(data)
    for pid in set(children()):
        if "confined_worker" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnreadableMediaError, match=TOO_COSTLY):
        confined.scan(data)
    assert confined.scan(data) == scan_media(data)


def test_a_picture_that_needs_too_much_memory_is_refused_and_the_next_is_not():
    with Confined(budget=Budget(memory_bytes=700 * 2**20)) as pool:
        pixels = Image.new("RGB", (14_000, 14_000))
        file = io.BytesIO()
        pixels.save(file, "PNG", compress_level=1)
        with pytest.raises(UnreadableMediaError):
            pool.scan(file.getvalue())
        small = encoded(100)
        assert pool.scan(small) == scan_media(small)


def test_a_worker_that_takes_too_long_is_killed():
    pool = Confined(budget=Budget(wall_seconds=0.001))
    with pool, pytest.raises(UnreadableMediaError, match=TOO_COSTLY):
        pool.scan(encoded(1500))


def test_a_closed_pool_says_so():
    pool = Confined()
    pool.close()
    with pytest.raises(StateError):
        pool.scan(encoded(10))


def page_faults(pid: int) -> int:
    """Pages that the system had to hand out (proc_pid_stat(5), minflt)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_worker_keeps_its_memory_for_the_next_picture():
    data = encoded(2000)
    pages = 2000 * 2000 * 3 // 4096
    before = set(children())
    with Confined() as pool:
        pool.scan(data, windows=False)
        (worker,) = set(children()) - before
        faults = page_faults(worker)
        pool.scan(data, windows=False)
        assert page_faults(worker) - faults < pages // 4


def test_workers_that_do_not_start_are_no_fault_of_the_file(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Confined() as pool, pytest.raises(StateError):
        pool.scan(encoded(10))
