"""Statistics for few, skewed scores: the interquartile mean, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Statistic = Callable[..., Any]
"""`(x, axis) -> value`, reducing one axis: `np.mean`, `np.median`, `iqm`."""


def iqm(x: ArrayLike, axis: int | None = None) -> Any:
    """The interquartile mean: the mean of the middle half of the scores.

    `floor(n / 4)` scores are cut at either end, as in `scipy.stats.trim_mean(x, 0.25)`. Robust like the median,
    yet nearly as efficient as the mean (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
    Statistical Precipice").

    Args:
      x: scores of any shape.
      axis: the axis to reduce; None takes all of `x` together (for `[runs, tasks]`, what the paper reports).

    Returns:
      A float, or an array without that axis.
    """
    scores = np.asarray(x, float)
    scores = scores.reshape(-1) if axis is None else np.moveaxis(scores, axis, -1)
    cut = scores.shape[-1] // 4
    # Only what is cut must be out of the way: a partition is cheaper than a sort.
    middle = np.partition(scores, (cut, scores.shape[-1] - cut - 1), axis=-1)[..., cut : scores.shape[-1] - cut]
    return middle.mean(-1)


def bootstrap_ci(
    statistic: Statistic, x: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """A percentile bootstrap interval, resampling runs; with several tasks, those of each task by themselves.

    Args:
      statistic: reduces the last axis of `[resamples, scores]`, given as `axis=-1`.
      x: scores `[runs]` or `[runs, tasks]` (stratified: every resample has as many runs of each task).
      confidence: how often the interval should hold the truth.
      resamples: how many resamples to draw.
      seed: of the draws, so that a figure is the same every time.

    Returns:
      The ends of the interval.

    Raises:
      ValueError: `x` has no runs, or more than two axes.
    """
    scores = np.asarray(x, float)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"scores of shape {scores.shape}: expected [runs] or [runs, tasks], not empty")
    scores = scores.reshape(len(scores), -1)
    runs, tasks = scores.shape
    rng = np.random.default_rng(seed)
    # In blocks, so that thousands of episodes do not need gigabytes.
    block = max(1, 2_000_000 // scores.size)
    values = []
    for start in range(0, resamples, block):
        rows = rng.integers(runs, size=(min(block, resamples - start), runs, tasks))
        drawn = np.take_along_axis(scores[None], rows, axis=1)
        values.append(statistic(drawn.reshape(len(drawn), -1), axis=-1))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(values), (tail, 100 - tail))
    return float(low), float(high)


def mean_band(
    x: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The pointwise bootstrap interval of a mean curve, resampling whole runs.

    Args:
      x: curves `[runs, points]`.
      confidence, resamples, seed: as for `bootstrap_ci`.

    Returns:
      The lower and the upper curve, `[points]` each.
    """
    curves = np.asarray(x, float)
    runs = len(curves)
    # How often each run was drawn is all that a mean needs: a matrix product.
    counts = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), size=resamples)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(counts @ curves / runs, (tail, 100 - tail), axis=0)
    return low, high


def mean_ci(x: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of scores and its bootstrap interval.

    Args:
      x: scores `[episodes]`, or `[runs, tasks]`.
      confidence: how often the interval should hold the truth.

    Returns:
      The mean, and the ends of the interval: all the same for one score, or equal ones.

    Raises:
      ValueError: `x` is empty.
    """
    scores = np.asarray(x, float)
    if scores.size and (scores == scores.flat[0]).all():  # where a mean of copies would round
        mean = low = high = float(scores.flat[0])
    else:
        low, high = bootstrap_ci(np.mean, scores, confidence)
        mean = float(scores.mean())
    return mean, low, high
