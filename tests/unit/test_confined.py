import asyncio
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unspread.errors import StateError, UnreadableMediaError
from unspread.fingerprint import scan_media
from unspread.fingerprint.confined import TOO_COSTLY, Budget, Confined

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
    assert confined.confinement().rlimits


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
