"""Curves: what a picture of a long run keeps."""

from __future__ import annotations

import numpy as np

from rljax.results.curves import thinned


def test_thinning_keeps_what_can_be_seen():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(9_973)
    values[4_321], values[1_234], values[6_000:8_000] = 50.0, -50.0, np.nan
    kept = thinned(values, bins=100)
    assert len(kept) <= 400 and kept[0] == 0 and kept[-1] == len(values) - 1
    assert {4_321, 1_234, 5_999, 8_000} <= set(kept.tolist())
    assert np.isnan(values[kept[(kept > 5_999) & (kept < 8_000)]]).all()
    size = 100
    for start in range(0, 5_900, size):
        part, shown = values[start : start + size], values[kept[(kept >= start) & (kept < start + size)]]
        assert (shown.min(), shown.max()) == (part.min(), part.max())
        assert (shown[0], shown[-1]) == (part[0], part[-1])


def test_thinning_leaves_short_lines_alone():
    np.testing.assert_array_equal(thinned(np.full(400, np.nan), bins=100), np.arange(400))
    assert np.isnan(np.full(4_001, np.nan)[thinned(np.full(4_001, np.nan), bins=100)]).all()
