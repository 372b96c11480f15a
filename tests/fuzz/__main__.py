"""`make fuzz`: ten minutes of coverage-guided fuzzing, shared between all targets.

    python -m tests.fuzz [--seconds 600] [name …]

Each target runs in a process of its own, starts from the vectors, and fails on any exception but
`UnspreadError`, on a crash of a decoder, on 25 seconds for one input and on 3 GiB of memory. What
failed is kept in `test-output/fuzz`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

OUTPUT: Final = Path(__file__).parents[2] / "test-output" / "fuzz"
INSTRUMENTED: Final = ["unspread", "PIL"]


def main() -> None:
    """Fuzz what the arguments name; without names, everything."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="make fuzz ARGS=…", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for all of them together")
    given = parser.parse_args()
    names = given.names or list(TARGETS)
    failed = []
    for name in names:
        seconds = max(1, given.seconds // len(names))
        print(f"{name}: {seconds} seconds", flush=True)
        command = [sys.executable, "-m", "tests.fuzz.one", name, str(seconds)]
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
        lines = done.stderr.splitlines()
        print("  " + next((line for line in reversed(lines) if "Done " in line), "no summary"))
        if done.returncode:
            failed.append(name)
            print("\n".join(lines[-40:]))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the inputs are in {OUTPUT}")


def fuzz_one(name: str, seconds: int) -> None:
    """In this process; does not return."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    function, seeds = TARGETS[name]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            f"-artifact_prefix={OUTPUT}/{name}-",
            "-max_len=65536",
            "-rss_limit_mb=3072",
            "-timeout=25",
            "-print_final_stats=1",
        ]
        atheris.Setup(["fuzz", *options, corpus], function)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
