import contextlib
import io
import resource
import zlib
from pathlib import Path

import pytest

from tests.hostile import VECTORS, chunk, hostile
from unspread.errors import UnreadableMediaError
from unspread.fingerprint import Sampling, fingerprint_file, fingerprint_image, scan_media
from unspread.fingerprint.confined import Budget, Confined
from unspread.model import Kind
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.filterwarnings("ignore:(Corrupt EXIF|Tag data larger):UserWarning")

FILES = list(hostile())
KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
SMALL = [encoded(landscape(seed, 40, 30), kind) for kind in KINDS for seed in (1, 2)] + [
    (VECTORS / "videos/h264.mp4").read_bytes()
]
every = pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in FILES])


@pytest.fixture(scope="module")
def confined():
    with Confined(budget=Budget(wall_seconds=60)) as pool:
        yield pool


def test_there_are_enough_of_them():
    assert len({name for name, _ in FILES}) == len(FILES) >= 60


@every
def test_a_hostile_file_is_refused_with_one_clear_sentence(data, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(data)
    with pytest.raises(UnreadableMediaError) as refused:
        fingerprint_file(path)
    text = str(refused.value)
    assert 10 < len(text) < 160
    assert str(tmp_path) not in text


@every
def test_a_scan_refuses_it_too_and_the_worker_goes_on(data, confined):
    for sampling in Sampling:
        with pytest.raises(UnreadableMediaError):
            confined.scan(data, sampling=sampling)


def test_the_worker_still_works_after_all_of_them(confined):
    data = encoded(landscape(1, 64, 64))
    assert confined.scan(data) == scan_media(data)


def test_refusing_them_leaks_nothing():
    def refuse_all():
        for _, data in FILES:
            with pytest.raises(UnreadableMediaError):
                scan_media(data)

    refuse_all()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuse_all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.long
def test_decoding_thousands_of_files_leaks_nothing():
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def decode_all(rounds: int) -> None:
        for _ in range(rounds):
            for data in SMALL:
                scan_media(data, windows=False)
                with contextlib.suppress(UnreadableMediaError):
                    scan_media(data[: len(data) * 7 // 10], windows=False)

    # Allocators settle first: the heap of a decoder grows for some dozens of rounds, then no more.
    decode_all(80)
    before = resident_bytes()
    decode_all(100)
    # 3 000 decodes: a leak of two kilobytes each would be seen.
    assert resident_bytes() - before < 4 * 2**20


def test_a_gif_without_end_costs_one_frame():
    frames = [landscape(seed, 80, 60) for seed in range(3)] * 100
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0)
    still = io.BytesIO()
    frames[0].save(still, "GIF")
    whole = [fingerprint_image(each.getvalue()).first(Kind.PDQ).value for each in (file, still)]
    assert whole[0] == whole[1]


@pytest.mark.parametrize("damage", ["exif", "icc"])
def test_damaged_metadata_does_not_leave_a_picture_unprotected(damage):
    picture = landscape(2, 120, 90)
    plain = fingerprint_image(encoded(picture, "JPEG")).first(Kind.PDQ)
    noise = bytes(range(255)) * 4
    options = {"exif": b"Exif\0\0MM\0*" + noise} if damage == "exif" else {"icc_profile": noise}
    assert fingerprint_image(encoded(picture, "JPEG", **options)).first(Kind.PDQ) == plain


def test_a_picture_with_an_archive_behind_it_is_still_a_picture():
    data = encoded(landscape(3, 120, 90))
    whole = [fingerprint_image(each).first(Kind.PDQ) for each in (data, data + b"PK\x03\x04" * 9)]
    assert whole[0] == whole[1]


def test_a_png_with_a_text_that_unpacks_to_a_gigabyte_costs_nothing():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    data = (VECTORS / "pictures/rgb.png").read_bytes()
    bomb = data[:33] + text + data[33:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(UnreadableMediaError):
        scan_media(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
