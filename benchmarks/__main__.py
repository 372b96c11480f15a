"""`make bench ARGS="match --quick"`: run benchmarks, each beside its peer, and keep the figures.

A benchmark is a module of this package with `run(report: Report) -> None`, listed below.
"""

import argparse
import importlib

from benchmarks.report import PAGE, Report, machine, write_section

MODULES = (
    "match",
    "feed",
    "fingerprint",
    "recall",
    "recall_videos",
    "platform",
    "page",
    "intake",
    "erasure",
    "end_to_end",
)


def main() -> None:
    """Run what the arguments name; without names, everything."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    parser.add_argument("--quick", action="store_true", help="small sizes; the page is kept")
    parser.add_argument("--full", action="store_true", help="sizes that need 16 GiB and time")
    given = parser.parse_args()
    for name in given.names:
        if name not in MODULES:
            parser.error(f"no benchmark called {name}; there are: {', '.join(MODULES)}")
    print(machine())
    for name in given.names or MODULES:
        print(f"\n{name}")
        report = Report(name, quick=given.quick, full=given.full)
        importlib.import_module(f"benchmarks.{name}").run(report)
        if not given.quick:
            command = f'make bench ARGS="{name}{" --full" if given.full else ""}"'
            write_section(PAGE, name, report.to_markdown(command))


if __name__ == "__main__":
    main()
