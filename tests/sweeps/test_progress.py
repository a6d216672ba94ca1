"""The progress of a sweep, in a line."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from rljax.engine.work import Report
from rljax.sweeps.execute import Progress


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=120)


def progress(console, **changes):
    options = {"total": 400, "start": 0, "runs": 4, "stored": 0, "seeds": 2, "console": console, "interval": 0.0}
    return Progress("sweep", **(options | changes))


def said(console):
    return console.file.getvalue().splitlines()


def test_it_says_the_rows_done_and_the_best_of_them(console):
    bar = progress(console)
    bar.report(Report(100, [], 3.0))
    bar.report(Report(100, [((0, 0), 1.0), ((0, 1), 2.0)], math.nan))
    bar.report(Report(200, [((1, 0), 5.0), ((1, 1), 6.0)], math.nan))
    bar.close()
    lines = said(console)
    assert "0/2 rows" in lines[0] and "return 3" in lines[0]
    assert "1/2 rows" in lines[1] and "best 1.5 (row 0)" in lines[1]
    assert "2/2 rows" in lines[2] and "best 5.5 (row 1)" in lines[2]


def test_a_row_is_done_when_all_its_seeds_are(console):
    bar = progress(console)
    bar.report(Report(100, [((0, 0), 1.0), ((1, 0), 1.0)], math.nan))
    bar.report(Report(100, [((0, 1), 1.0)], math.nan))
    bar.close()
    assert all("1/2 rows" in line for line in said(console))


def test_a_row_that_ended_no_episode_is_not_the_best(console):
    bar = progress(console)
    bar.report(Report(200, [((0, 0), math.nan), ((0, 1), 9.0), ((1, 0), 1.0), ((1, 1), 2.0)], math.nan))
    bar.close()
    assert "best 1.5 (row 1)" in said(console)[-1]


def test_a_row_of_which_some_seeds_are_done_says_so(console):
    bar = progress(console)
    bar.report(Report(100, [((1, 0), 3.0)], math.nan))
    bar.close()
    assert "best 3 (row 1, 1 of 2 seeds)" in said(console)[-1]


def test_what_was_finished_before_counts(console):
    bar = progress(console, start=200, stored=2)
    bar.report(Report(100, [((1, 0), 1.0)], math.nan))
    bar.report(Report(100, [((1, 1), 1.0)], math.nan))
    bar.close()
    assert "1/2 rows" in said(console)[0] and "75" in said(console)[0]
    assert "2/2 rows" in said(console)[-1] and "100" in said(console)[-1]


def test_the_best_row_is_that_of_each_environment(console):
    """With more than a few environments no row is named: returns of different ones do not compare."""
    finished = [((row, seed), float(row)) for row in range(4) for seed in (0, 1)]
    bar = progress(console, runs=8, environments=["a", "a", "b", "b"])
    bar.report(Report(100, finished, math.nan))
    bar.close()
    assert "best 1 (row 1, a), 3 (row 3, b)" in said(console)[-1]
    bar = progress(console, runs=8, environments=list("abcd"))
    bar.report(Report(100, finished, math.nan))
    bar.close()
    assert "4/4 rows" in said(console)[-1] and "best" not in said(console)[-1]
