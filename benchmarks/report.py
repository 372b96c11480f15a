"""What a benchmark says: rows beside their peers, and where they are written."""

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One figure of ours, beside a peer's figure for the same work in the same run."""

    what: str
    ours: float
    unit: str
    """`µs`, `GB/s`, `bytes/entry` …"""
    peer: str = ""
    """Who else did it, with its setting, and nothing if this is our figure alone."""
    theirs: float | None = None
    target: str = ""
    """As the goal was set, `≥ 300x` or `< 10 µs`."""
    reached: bool | None = None
    """Whether the target holds; None where there is none."""
    better: Literal["less", "more"] = "less"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer's."""
        if self.theirs is None:
            return None
        return self.theirs / self.ours if self.better == "less" else self.ours / self.theirs


@dataclass
class Report:
    """What one module found. A module exposes `run(report)` and says what it did through this."""

    name: str
    quick: bool
    """Small sizes, a minute at most; nothing is written to the page."""
    full: bool = False
    """The sizes that need much memory and time, too."""
    rows: list[Row] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)

    def row(self, what: str, ours: float, unit: str, **more: Any) -> Row:
        """Note a figure and show it at once. `at_least=300` or `at_most=10` sets the target:

        of the ratio if there is a peer, else of our figure.
        """
        at_least, at_most = more.pop("at_least", None), more.pop("at_most", None)
        row = Row(what, ours, unit, **more)
        judged = ours if row.ratio is None else row.ratio
        if at_least is not None or at_most is not None:
            sign, bound = ("≥", at_least) if at_most is None else ("≤", at_most)
            target = f"{sign} {_figure(bound)}" + ("x" if row.ratio else f" {unit}")
            reached = judged >= bound if at_most is None else judged <= bound
            row = Row(**{**row.__dict__, "target": target, "reached": reached})
        self.rows.append(row)
        print("  " + " | ".join(_cells(row)), flush=True)
        return row

    def text(self, markdown: str) -> None:
        """A paragraph under the table: conditions, limits, what stands in the way."""
        self.paragraphs.append(markdown)

    def figure(self, path: Path, caption: str) -> None:
        """A picture under docs/, already written."""
        self.paragraphs.append(f"![{caption}]({path.relative_to(PAGE.parent).as_posix()})")

    def to_markdown(self, command: str) -> str:
        """The section of the page."""
        lines = [
            f"Made by `{command}` on {date.today().isoformat()}: {machine()}.",  # noqa: DTZ011 (a day)
            "",
            "| What | Ours | Peer | Theirs | Ratio | Target |",
            "| --- | --- | --- | --- | --- | --- |",
            *("| " + " | ".join(_cells(row)) + " |" for row in self.rows),
        ]
        for paragraph in self.paragraphs:
            lines += ["", paragraph]
        return "\n".join(lines)


def best_of(
    work: Callable[[], object],
    *,
    at_least_seconds: float = 0.2,
    runs: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds for one call: the best of some runs, because others share the machine.

    With `time.process_time` as the clock what others do counts even less; fit for calls that
    neither sleep nor wait.
    """
    best, spent, done = float("inf"), 0.0, 0
    while done < runs or spent < at_least_seconds:
        started = clock()
        work()
        took = clock() - started
        best, spent, done = min(best, took), spent + took, done + 1
    return best


def machine() -> str:
    """The processor, its cores and memory, the system and Python, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = re.search(r"model name\s*: (.*)", cpuinfo.read_text())
        name = named[1].strip() if named else name
    gigabytes = ""
    if hasattr(os, "sysconf"):
        gigabytes = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return (
        f"{name}, {os.cpu_count()} cores{gigabytes}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def write_section(page: Path, name: str, markdown: str) -> None:
    """Replace the section between the marks of `name`, or append it; others stay as they are."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n\n{markdown}\n\n{end}"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    before, mark, rest = text.partition(begin)
    if mark:
        text = before + section + rest.partition(end)[2]
    else:
        text = f"{text.rstrip()}\n\n## {name}\n\n{section}\n"
    page.write_text(text, encoding="utf-8")


def _cells(row: Row) -> list[str]:
    ratio = "" if row.ratio is None else f"{_figure(row.ratio)}x"
    theirs = "" if row.theirs is None else f"{_figure(row.theirs)} {row.unit}"
    verdict = {None: "", True: " ✓", False: " ✗ missed"}[row.reached]
    ours = f"{_figure(row.ours)} {row.unit}"
    return [row.what, ours, row.peer, theirs, ratio, row.target + verdict]


def _figure(value: float) -> str:
    """Three digits, no more: the rest is noise."""
    if value == 0 or not 1e-3 <= abs(value) < 1e7:
        return f"{value:.2e}" if value else "0"
    digits = max(0, 2 - int(f"{value:e}".rpartition("e")[2]))
    return f"{value:,.{digits}f}".replace(",", " ")
