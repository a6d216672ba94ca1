"""Scores of validation runs by hand."""

from __future__ import annotations

import numpy as np

from rljax.meta.tasks import Run
from rljax.meta.validation import columns


def test_columns_are_means_by_domain_and_a_diverged_run_counts_as_the_worst():
    """On b: scores 4 and one that diverged, at the start 1 and 3; the worst run there is 1."""
    runs = [Run(domain, seed, 10, {}) for domain, seed in ((0, 0), (1, 1), (0, 2), (1, 3))]
    row = columns(["a", "b"], runs, np.array([2.0, 4.0, 6.0, np.nan]), np.array([1.0, 1.0, 2.0, 3.0]))
    means = {name: x for name, x in row.items() if name.count("/") == 1}
    expected = {"held_out/a": 4.0, "start/a": 1.5, "gain/a": 2.5, "held_out/b": 2.5, "start/b": 2.0, "gain/b": 0.5}
    assert means == expected
    assert row["gain/a/low"] == 1.0 and row["gain/a/high"] == 4.0  # of two runs: either of them twice


def test_where_all_diverged_nothing_is_said():
    row = columns(["a"], [Run(0, 0, 10, {})], np.array([np.nan]), np.array([np.nan]))
    assert len(row) == 9 and np.isnan(list(row.values())).all()
