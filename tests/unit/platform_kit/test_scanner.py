"""Uploads to probes, by the ways that an operator may choose."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.films import filmed
from unspread.fingerprint.confined import Confined
from unspread.fingerprint.result import Sampling
from unspread.model import Kind, Part
from unspread.platform_kit.app import open_kit
from unspread.platform_kit.scanner import Scanned, confined_fingerprinter
from unspread.platform_kit.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


@pytest.fixture(scope="module")
def pool():
    with Confined(workers=1) as started:
        yield started


@pytest.fixture(scope="module")
def film() -> bytes:
    return filmed([1, 2, 3, 4], g="48", sc_threshold="0")


def seconds(scanned: Scanned) -> list[float | None]:
    frames = {each.frame: each.at_seconds for each in scanned.probes if each.kind is Kind.PDQ}
    return [frames[frame] for frame in sorted(frames)]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [(Sampling.KEYFRAMES, [0.0, 2.0]), (Sampling.EVERY_SECOND, [0.0, 1.0, 2.0, 3.0])],
)
def test_videos_are_looked_at_by_keyframes_or_every_second(pool, film, sampling, expected):
    fingerprint = confined_fingerprinter(pool, 50, sampling=sampling)
    scanned = asyncio.run(fingerprint(film))
    assert seconds(scanned) == expected
    assert {each.part for each in scanned.probes if each.kind is Kind.PDQ} == {Part.FRAME}


def test_windows_of_so_many_frames_are_looked_up(pool, film):
    scanned = asyncio.run(confined_fingerprinter(pool, 50, frames_with_windows=1)(film))
    assert {each.frame for each in scanned.probes if each.part is Part.WINDOW} == {0}


def test_a_probe_of_a_frame_says_what_was_done_to_it(pool, film):
    probes = asyncio.run(confined_fingerprinter(pool, 50)(film)).probes
    of_first = [each.variant for each in probes if each.kind is Kind.PDQ and each.frame == 0]
    turns = of_first[:8]
    assert turns[:2] == ["original", "mirrored"]
    widened = ["widened", *(f"widened_{turn}" for turn in turns[1:])]
    assert of_first == [*turns, *widened, *widened]


def test_the_settings_choose(tmp_path: Path, film: bytes):
    (tmp_path / "platform.toml").write_text(
        'scan_workers = 1\nscan_videos_by = "every_second"\nscan_windows_of_frames = 1\n'
    )
    kit, pool = open_kit(Settings.load(tmp_path))
    with pool:
        scanned = asyncio.run(kit.scanner.scan(film))
    kit.close()
    assert seconds(scanned) == [0.0, 1.0, 2.0, 3.0]
    assert {each.frame for each in scanned.probes if each.part is Part.WINDOW} == {0}
