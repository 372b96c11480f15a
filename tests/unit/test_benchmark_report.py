"""Figures stand beside their peers, and a section is written without touching the others."""

import importlib

import pytest

from benchmarks.__main__ import MODULES
from benchmarks.report import Report, best_of, write_section


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_can_be_started(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").run)


def test_a_section_replaces_only_itself(tmp_path):
    page = tmp_path / "benchmarks.md"
    write_section(page, "one", "first figures")
    write_section(page, "two", "others")
    write_section(page, "one", "new figures")
    text = page.read_text()
    assert "first figures" not in text
    assert text.index("new figures") < text.index("others")
    assert text.count("<!-- one: begin -->") == text.count("## one") == 1


@pytest.mark.parametrize(
    ("figures", "ratio", "reached"),
    [
        pytest.param({"ours": 2.0, "theirs": 8.0, "at_least": 3}, 4, True, id="less is better"),
        pytest.param(
            {"ours": 2.0, "theirs": 8.0, "at_least": 3, "better": "more"},
            0.25,
            False,
            id="more is better",
        ),
        pytest.param({"ours": 7.0, "at_most": 10}, None, True, id="within a bound"),
        pytest.param({"ours": 11.0, "at_most": 10}, None, False, id="beyond a bound"),
        pytest.param({"ours": 11.0}, None, None, id="no target"),
    ],
)
def test_a_row_says_how_many_times_better_and_whether_that_is_enough(figures, ratio, reached):
    row = Report("name", quick=True).row("what", unit="µs", **figures)
    assert row.ratio == ratio
    assert row.reached is reached


def test_the_best_of_some_runs_is_taken():
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    assert best_of(lambda: None, at_least_seconds=0, clock=lambda: next(ticks)) == 2.0
