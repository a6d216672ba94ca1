"""Curves of what is measured now and then: where a line may join two points, and where nothing is known."""

from __future__ import annotations

import numpy as np

from rljax.results.stats import mean_band

TYPICAL = 3  # times the usual distance between measurements,
SHARE = 0.2  # or this part of the run, is a gap


def bridge(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values `[U]` with those between two neighbouring measurements filled in, and NaN over gaps.

    A gap is longer than three times the median distance between measurements, or than a fifth of the run: a straight
    line over it would be taken for something measured. Neighbouring rows of the log are always joined.

    Args:
      steps: ascending `[U]`, perhaps NaN past the end of the run.
      values: `[U]`, NaN where nothing was measured, as for returns where no episode ended.
    """
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(steps))
    if len(known) < 2:
        return np.where(np.isfinite(values), values, np.nan)
    at, apart = steps[known], np.diff(steps[known])
    longest = min(TYPICAL * float(np.median(apart)), SHARE * float(np.nanmax(steps) - np.nanmin(steps)))
    gap = (apart > longest) & (np.diff(known) > 1)
    interval = np.clip(np.searchsorted(at, steps, "left") - 1, 0, len(apart) - 1)
    filled = np.interp(steps, at, values[known], left=np.nan, right=np.nan)
    return np.where(np.isfinite(values), values, np.where(gap[interval], np.nan, filled))


def isolated(values: np.ndarray) -> np.ndarray:
    """Which points `[U]` have no neighbour to be joined to: a line would not show them."""
    known = np.concatenate(([False], np.isfinite(values), [False]))
    return known[1:-1] & ~known[:-2] & ~known[2:]


def band(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of the curves `[runs, points]` that are known at each point and its 95 % bootstrap interval, `[points]`.

    NaN where fewer than half of them are known.
    """
    known = np.isfinite(curves)
    mean, low, high = (np.full(curves.shape[1], np.nan) for _ in range(3))
    for pattern in np.unique(known, axis=1).T:
        if 2 * pattern.sum() >= max(2, len(pattern)):
            here = (known == pattern[:, None]).all(0)
            some = curves[pattern][:, here]
            mean[here], (low[here], high[here]) = some.mean(0), mean_band(some)
    return mean, low, high
