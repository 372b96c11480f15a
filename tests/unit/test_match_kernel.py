"""Which kernel answers, and that everything works where none could be compiled."""

import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unspread.errors import InputError
from unspread.match import Index, kernel_name
from unspread.match.compiled_kernel import INSTRUCTION_SETS, CompiledKernel
from unspread.match.layout import secret_order

REPOSITORY = Path(__file__).parents[2]


def test_the_fastest_compiled_kernel_is_chosen_and_named():
    assert kernel_name() == f"compiled ({INSTRUCTION_SETS[0]})"
    rows = np.zeros((1, 4), dtype=np.uint64)
    assert Index.build(np.arange(1), rows).info().kernel == kernel_name()
    assert Index.build(np.arange(1), rows, kernel="numpy").info().kernel == "numpy"


def test_a_kernel_that_is_not_there_is_refused():
    rows = np.zeros((1, 4), dtype=np.uint64)
    with pytest.raises(InputError, match="compiled or numpy"):
        Index.build(np.arange(1), rows, kernel="fortran")
    with pytest.raises(InputError, match="no kernel called"):
        CompiledKernel("avx1024").permuted(rows, secret_order())


def test_each_index_orders_the_bits_in_a_way_that_nobody_can_guess():
    rows = np.zeros((1, 4), dtype=np.uint64)
    orders = [Index.build(np.arange(1), rows)._order.tolist() for _ in range(8)]
    assert all(sorted(order) == list(range(256)) for order in orders)
    # Two hold the same bit in one place out of 256.
    alike = sum(
        a == b
        for left, right in itertools.combinations(orders, 2)
        for a, b in zip(left, right, strict=True)
    )
    assert alike < 28 * 4


WITHOUT_KERNEL = """
import sys
import sysconfig
sys.modules["unspread.match._kernel"] = None  # what a failed import leaves
import numpy as np
from unspread.errors import InputError
from unspread.match import Index, kernel_name
assert kernel_name() == "numpy"
rows = np.random.default_rng(1).integers(0, 2**64, (5000, 4), dtype=np.uint64)
index = Index.build(np.arange(5000), rows)
assert index.within(rows[77]).ids.tolist() == [77]
try:
    Index.build(np.arange(5000), rows, kernel="compiled")
except InputError:
    print("ok")
"""


def test_without_the_extension_numpy_answers():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERNEL], capture_output=True, text=True, check=True
    )
    assert done.stdout == "ok\n"


@pytest.mark.long
@pytest.mark.parametrize("compiler", ["false", None], ids=["no compiler", "a compiler"])
def test_the_package_is_built_from_source_with_and_without_a_compiler(tmp_path, compiler):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    shutil.copytree(
        REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info")
    )
    environment = dict(os.environ)
    if compiler:
        environment |= {"CC": compiler, "CXX": compiler}
    subprocess.run(
        [
            REPOSITORY / ".tools/bin/uv",
            "build",
            "--wheel",
            "--quiet",
            "--out-dir",
            tmp_path,
            source,
        ],
        env=environment,
        check=True,
        timeout=200,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("match/index.py") for name in names)
    for part in ("match", "fingerprint"):
        built = [name for name in names if f"{part}/_kernel." in name and name.endswith(".so")]
        assert bool(built) == (compiler is None)


@pytest.mark.long
@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")),
    reason="needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user",
)
def test_the_neon_kernel_finds_what_plain_c_finds(tmp_path):
    program = tmp_path / "neon"
    # Debian's headers ask for those of the processor; ours has words of the same width.
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = (
        Path("/usr/include") / (sysconfig.get_config_var("MULTIARCH") or "") / python / "pyconfig.h"
    )
    theirs = tmp_path / "aarch64-linux-gnu" / python / "pyconfig.h"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(f'#include "{ours}"\n')
    subprocess.run(
        [
            *("aarch64-linux-gnu-gcc", "-static", "-O2", "-w", "-DPy_LIMITED_API=0x030B0000"),
            *(f"-I{sysconfig.get_path('include')}", f"-I{tmp_path}"),
            *(Path(__file__).with_name("match_neon.c"), "-o", program),
            # What it never calls of Python is not there.
            "-Wl,--unresolved-symbols=ignore-all",
        ],
        check=True,
    )
    done = subprocess.run(
        ["qemu-aarch64", program], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout == "neon 0\n"


def _thread_sanitizer():
    """gcc's race detector as a library to load first, if it is there."""
    if not (sys.platform == "linux" and shutil.which("gcc") and shutil.which("setarch")):
        return None
    named = subprocess.run(
        ["gcc", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return named if Path(named).is_absolute() else None


@pytest.mark.long
@pytest.mark.skipif(_thread_sanitizer() is None, reason="needs gcc with libtsan")
def test_a_race_detector_finds_nothing_while_threads_hammer_the_kernel(tmp_path):
    library = tmp_path / "watched.so"
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-O1", "-g", "-fsanitize=thread"),
            *("-DPy_LIMITED_API=0x030B0000", f"-I{sysconfig.get_path('include')}"),
            *(REPOSITORY / "src/unspread/match/_kernel.c", "-o", library),
        ],
        check=True,
    )
    done = subprocess.run(
        # At random addresses, some kernels leave no room for what it remembers.
        ["setarch", "-R", sys.executable, Path(__file__).with_name("match_hammer.py"), library],
        env=dict(os.environ, LD_PRELOAD=_thread_sanitizer(), TSAN_OPTIONS="exitcode=66"),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert (done.returncode, done.stdout) == (0, "no race\n"), done.stderr[-4000:]
