"""Curves of irregular measurements: joined over short distances, smoothed over windows, and broken at gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rljax.results.stats import Statistic, bootstrap_ci, mean_band

TYPICAL = 3  # times the usual distance between measurements,
SHARE = 0.2  # or this part of the run, is a gap
WINDOW = 0.04  # of the run: the width of the smoothing window, unless that has fewer than three rows
BINS = 1500  # parts of a line that a picture shows apart

Columns = Mapping[str, np.ndarray]
"""The logged columns of a run: `step` and others, `[rows]` each."""


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


class Curve(NamedTuple):
    """A statistic over seeds at each point `[U]`, and its 95 % interval; NaN where a line breaks."""

    step: np.ndarray  # environment steps, or updates where there are none
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray


def over_seeds(steps: np.ndarray, runs: np.ndarray, finished: int, statistic: Statistic, resamples: int) -> Curve:
    """The curve of some runs `[S, U]` of one setting, of which so many are finished, from its first to its last point.

    A seed counts between two episodes' ends too, unless they lie far apart. NaN where fewer than half of the finished
    ones have a value.
    """
    known = np.stack([bridge(steps, values) for values in runs])
    often = np.isfinite(known).sum(0) * 2 >= max(1, finished)
    points = np.flatnonzero(often & np.isfinite(known).any(0))
    points = np.arange(points[0], points[-1] + 1) if points.size else points
    curve = Curve(steps[points], *(np.full(points.size, np.nan) for _ in range(3)))
    for i, column in enumerate(known[:, points].T):
        column = column[np.isfinite(column)]
        if often[points[i]]:
            curve.center[i] = statistic(column, axis=-1)
            curve.low[i], curve.high[i] = bootstrap_ci(statistic, column, resamples=resamples)
    return curve


def thinned(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The indices of those points of a line `[U]` that a picture can show; all of them where they are few.

    Of each of `bins` parts of equal length these are the first and the last known value, the least and the greatest;
    where nothing is known, one or two that are NaN, so that the line breaks there.
    """
    size = -(-len(values) // bins)
    if size <= 4:
        return np.arange(len(values))
    parts = np.append(values, np.full(-len(values) % size, np.nan)).reshape(-1, size)
    known = np.isfinite(parts)
    ends = known.argmax(1), size - 1 - known[:, ::-1].argmax(1)
    extremes = np.where(known, parts, np.inf).argmin(1), np.where(known, parts, -np.inf).argmax(1)
    chosen = size * np.arange(len(parts)) + np.stack([*ends, *extremes])
    return np.unique(np.minimum(chosen, len(values) - 1))


def isolated(values: np.ndarray) -> np.ndarray:
    """Marks points `[U]` without a neighbour to be joined to, which a line would not show."""
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


def window(columns: Columns, metric: str) -> float:
    """The number of steps that a run is smoothed over: a share of it, and at least three measurements."""
    steps = columns["step"]
    measured = steps[np.isfinite(columns[metric])]
    apart = float(np.median(np.diff(measured))) if len(measured) > 1 else float(measured[0])
    return min(float(steps[-1]), max(WINDOW * float(steps[-1]), 3 * apart))


def aligned(runs: Sequence[Columns], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps `[points]` that all of the runs have, and their smoothed curves `[runs, points]` there."""
    measured = [np.isfinite(run[metric]) for run in runs]
    first = max(run["step"][m][0] for run, m in zip(runs, measured))
    last = max(first, min(run["step"][m][-1] for run, m in zip(runs, measured)))
    points = np.linspace(first, last, min(200, max(int(m.sum()) for m in measured)))
    return points, np.stack([smooth(run, metric, points) for run in runs])


def smooth(columns: Columns, metric: str, points: np.ndarray) -> np.ndarray:
    """The mean `[points]` over a centred window of steps, of returns over the episodes ending in it; NaN in gaps."""
    width = window(columns, metric)
    measured = np.isfinite(columns[metric])
    steps, values = columns["step"][measured], columns[metric][measured]
    weights = columns["episodes"][measured] if metric == "episode_return" and "episodes" in columns else 1.0
    weights = np.nan_to_num(np.broadcast_to(weights, values.shape), nan=1.0)
    total, weight = (np.concatenate(([0.0], np.cumsum(x))) for x in (values * weights, weights))
    left = np.searchsorted(steps, points - width / 2, "left")
    right = np.searchsorted(steps, points + width / 2, "right")
    inside = weight[right] - weight[left]
    mean = np.divide(total[right] - total[left], inside, out=np.full(len(points), np.nan), where=inside > 0)
    return np.where(inside > 0, mean, np.interp(points, columns["step"], bridge(columns["step"], columns[metric])))
