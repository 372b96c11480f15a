"""The index file: the same answers, shared, never half written, refused when anything is wrong."""

import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from unspread.errors import StateError
from unspread.match import Index, SnapshotError
from unspread.match.building import parts_of
from unspread.match.kernel import choose
from unspread.match.snapshot import _FIXED, VERSION, _read_header, _shapes, opened, written

ROWS = np.random.default_rng(3).integers(0, 2**64, (9000, 4), dtype=np.uint64)
ROWS[:600] = ROWS[0]


@pytest.fixture(scope="module")
def index():
    index = Index.build(np.arange(8900), ROWS[:8900])
    index.add(np.arange(9000, 9100), ROWS[8900:])
    index.remove(np.array([5, 1000, 9001]))
    return index


@pytest.fixture(scope="module")
def file(index, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / "index"
    index.save(path)
    return path


def answers(index):
    many = index.within_many(ROWS, limit=5000)
    return [part.tolist() for part in (*many, many.capped_queries)]


@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
def test_an_opened_file_answers_what_the_saved_index_answered(index, file, kernel):
    opened = Index.open(file, kernel=kernel, verify=True)
    assert len(opened) == len(index)
    assert answers(opened) == answers(index)


def test_an_opened_index_can_be_changed_rebuilt_and_saved_again(file, tmp_path):
    opened = Index.open(file)
    opened.add(np.array([7]), ROWS[8000:8001])
    assert opened.remove(np.array([3000])) == 1
    opened.rebuild()
    again = tmp_path / "again"
    opened.save(again)
    opened.save(again)
    assert answers(Index.open(again)) == answers(opened)
    assert answers(Index.open(file)) != answers(opened)


def test_what_waited_stands_in_the_files_tables_and_what_was_removed_is_not_in_it(tmp_path):
    path, removed = tmp_path / "index", []
    index = Index.build(np.arange(8000), ROWS[:8000])
    for place in range(8000, 8500, 100):
        index.add(np.arange(place, place + 100), ROWS[place : place + 100])
        removed += [place, place - 7000]
        index.remove(np.array(removed[-2:]))
        index.save(path)
        index = Index.open(path)
    assert len(index._state.parts) == 1
    assert index.info().waiting == index.info().removed == 0
    found = index.within_many(ROWS[8000:8500])
    assert found.ids.tolist() == [each for each in range(8000, 8500) if each % 100]
    written = path.read_bytes()
    permuted = choose().permuted(ROWS, opened(path)[0])
    assert permuted[8001, :2].tobytes() in written
    assert not any(permuted[each, :2].tobytes() in written for each in removed)


def assert_equal(ours, theirs):
    """Arrays, and what holds arrays, to the last bit."""
    if isinstance(ours, np.ndarray):
        assert np.array_equal(ours, theirs)
    else:
        assert type(ours) is type(theirs)
        for name in getattr(ours, "__dataclass_fields__", ()):
            assert_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("part_rows", [1 << 24, 5000])
def test_a_written_file_is_what_building_in_memory_makes(tmp_path, part_rows):
    """In any order of ids, with clumps and without, in one part and in several."""
    rng = np.random.default_rng(8)
    ids = rng.permutation(12_000)
    rows = rng.integers(0, 2**64, (12_000, 4), dtype=np.uint64)
    rows[:900] = rows[0]
    kernel = choose()
    Index.write(tmp_path / "index", [(ids[:5], rows[:5]), (ids[5:], rows[5:])], part_rows=part_rows)
    order, parts = opened(tmp_path / "index", verify=True)
    expected = parts_of(kernel, [(ids, kernel.permuted(rows, order))], part_rows=part_rows)
    assert len(parts) == len(expected)
    for ours, theirs in zip(parts, expected, strict=True):
        assert_equal(ours, theirs)
    assert any(part.clumps for part in parts)


SMALL = """
import resource, sys
import numpy as np
from unspread.match import Index
rows = np.random.default_rng(3).integers(0, 2**64, (400_000, 4), dtype=np.uint64)
path = sys.argv[1]
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def resident():
    size, found = 0, False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            found = line.rstrip().endswith(path)
        elif found and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size
Index.write(path, [(np.arange(len(rows)), rows)])
index = Index.open(path, rebuilds=False)
index.add(np.arange(400_000, 400_100), rows[:100])
assert len(index.within_many(rows)) == 400_100
whole, before = resident(), most()
index.save(path + ".new")
grown = most() - before
index.give_back()
left = resident()
assert len(index.within_many(rows[:1000])) == 1100
print(whole, grown, left)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_index_is_written_anew_in_a_fraction_of_its_memory_and_gives_back_its_own(tmp_path):
    path = tmp_path / "index"
    command = [sys.executable, "-c", SMALL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    whole, grown, left = map(int, done.stdout.split())
    assert whole > path.stat().st_size * 0.9
    assert grown < whole / 3
    assert left < whole / 20


def test_an_index_that_stays_in_its_file_lets_additions_wait(tmp_path):
    Index.build(np.arange(5000), ROWS[:5000]).save(tmp_path / "index")
    index = Index.open(tmp_path / "index", rebuilds=False)
    for start in range(0, 20_000, 4000):
        index.add(np.arange(start, start + 4000) + 10_000, ROWS[5000:9000])
    assert not index.info().is_rebuilding
    assert index.info().waiting == 20_000
    frozen = index.frozen()
    index.add(np.array([7_777_777]), ROWS[:1])
    index.remove(np.array([10_000]))
    frozen.save(tmp_path / "index")
    assert len(Index.open(tmp_path / "index")) == 25_000


@pytest.mark.parametrize("count", [0, 1, 4096])
def test_small_indexes_are_saved_too(count, tmp_path):
    Index.build(np.arange(count), ROWS[:count]).save(tmp_path / "small")
    assert len(Index.open(tmp_path / "small")) == count


def test_a_file_cut_short_anywhere_is_refused(file, tmp_path):
    whole = file.read_bytes()
    cut = tmp_path / "cut"
    for size in (0, 1, 15, 16, 71, 72, 73, 500, 4096, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(SnapshotError):
            Index.open(cut, verify=False)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(SnapshotError, match="should have"):
        Index.open(cut, verify=False)


def test_any_damage_to_the_header_is_refused_without_reading_the_rest(file, tmp_path):
    whole = bytearray(file.read_bytes())
    header_bytes = _FIXED.unpack_from(whole)[3]
    damaged = tmp_path / "damaged"
    for place in range(0, header_bytes, 7):
        whole[place] ^= 1
        damaged.write_bytes(whole)
        with pytest.raises(SnapshotError):
            Index.open(damaged, verify=False)
        whole[place] ^= 1


def test_damage_to_any_array_is_refused_when_it_is_looked_for(file, tmp_path):
    whole = bytearray(file.read_bytes())
    header_bytes = _FIXED.unpack_from(whole)[3]
    damaged = tmp_path / "damaged"
    for place in np.linspace(header_bytes + 64, len(whole) - 65, 40).astype(int).tolist():
        whole[place] ^= 255
        damaged.write_bytes(whole)
        whole[place] ^= 255
        try:
            Index.open(damaged, verify=True)
        except SnapshotError:
            continue
        # Between two arrays there is room that nobody reads.
        assert whole[place] == 0


WRONG = """
import sys
import numpy as np
from unspread.errors import InputError
from unspread.match import Index
rows = np.random.default_rng(3).integers(0, 2**64, (9000, 4), dtype=np.uint64)
rows[:600] = rows[0]
batches = (rows[:1500], rows) if sys.argv[1] == "compiled" else (rows[590:650],)
for path in sys.argv[2:]:
    print(path, flush=True)
    index = Index.open(path, kernel=sys.argv[1], verify=False)
    for question, asked in ((index.within, rows[590:650]), (index.within_many, batches)):
        for each in asked:
            try:
                question(each)
            except InputError as error:
                assert "damaged" in str(error)
"""


@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
@pytest.mark.parametrize("share", [1.0, 0.02])
def test_damaged_arrays_that_were_not_looked_at_break_no_process(file, tmp_path, kernel, share):
    """One array after the other, for damage to one is found before another is read."""
    whole = file.read_bytes()
    with file.open("rb") as opened:
        header, _ = _read_header(opened)
    rng = np.random.default_rng(1)
    part, paths = header.parts[0], []
    for number, (array, (dtype, shape)) in enumerate(zip(part.arrays, _shapes(part), strict=True)):
        content = np.frombuffer(bytearray(whole), np.uint8)
        size = dtype.itemsize * int(np.prod(shape))
        places = rng.permutation(size)[: int(share * size)]
        content[array.start + places] = 255
        paths.append(tmp_path / f"damaged array {number}")
        paths[-1].write_bytes(content.tobytes())
    # A process of its own: to read at a wrong place would end it.
    done = subprocess.run(
        [sys.executable, "-c", WRONG, kernel, *paths], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, len(paths)), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        pytest.param(0, b"PK\x03\x04", "not an index file", id="another format"),
        pytest.param(16, struct.pack(">I", 0x01020304), "other byte order", id="byte order"),
        pytest.param(16, b"\xff\xff\xff\xff", "no byte order", id="no byte order"),
        pytest.param(20, struct.pack("=I", VERSION + 1), "of version", id="a later version"),
        pytest.param(
            20, struct.pack("=I", VERSION - 1), "build the index anew", id="an earlier version"
        ),
        pytest.param(24, struct.pack("=Q", 2**63), "header is not whole", id="endless header"),
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="the table is for little-endian machines")
def test_the_refusal_says_what_is_wrong(file, tmp_path, offset, content, message):
    whole = bytearray(file.read_bytes())
    whole[offset : offset + len(content)] = content
    wrong = tmp_path / "wrong"
    wrong.write_bytes(whole)
    with pytest.raises(SnapshotError, match=message):
        Index.open(wrong)


def test_a_file_that_names_no_order_of_bits_is_refused(tmp_path):
    path = tmp_path / "index"
    for order in (np.zeros(256, np.uint8), np.arange(255, dtype=np.uint8)):
        with written(path, order, 0):
            pass
        with pytest.raises(SnapshotError, match="no order of bits"):
            Index.open(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no advisory locks there")
def test_a_second_writer_of_the_same_file_is_refused(index, tmp_path):
    import fcntl

    path = tmp_path / "index"
    index.save(path)
    with (tmp_path / ".index.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StateError):
            index.save(path)
    index.save(path)
    assert len(Index.open(path)) == len(index)
    assert not (tmp_path / ".index.partial").exists()


WRITER = """
import sys
import numpy as np
from unspread.match import Index
rows = np.random.default_rng(3).integers(0, 2**64, (30_000, 4), dtype=np.uint64)
indexes = [Index.build(np.arange(count), rows[:count]) for count in (20_000, 30_000)]
while True:
    for index in indexes:
        index.save(sys.argv[1])
        print(len(index), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "index"
    rng = np.random.default_rng()
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(3):
                assert writer.stdout.readline()
            # Not a wait for anything: the kill must come at a moment nobody chose.
            time.sleep(rng.uniform(0, 0.03))
            os.kill(writer.pid, signal.SIGKILL)
        assert len(Index.open(path, verify=True)) in {20_000, 30_000}
