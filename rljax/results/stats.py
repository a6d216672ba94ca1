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
    scores = _by_task(x)
    runs, tasks = scores.shape
    if scores.size == 1:  # every resample is the same
        value = float(statistic(scores[0], axis=-1))
        return value, value
    rng = np.random.default_rng(seed)
    # In blocks, so that thousands of episodes do not need gigabytes.
    block = max(1, 2_000_000 // scores.size)
    values = []
    for start in range(0, resamples, block):
        rows = rng.integers(runs, size=(min(block, resamples - start), runs, tasks))
        drawn = np.take_along_axis(scores[None], rows, axis=1)
        values.append(statistic(drawn.reshape(len(drawn), -1), axis=-1))
    low, high = _ends(np.concatenate(values), confidence)
    return float(low), float(high)


def optimality_gap(x: ArrayLike, target: float = 1.0, axis: int | None = None) -> Any:
    """The mean distance of scores below a target; scores beyond the target count as the target.

        target - mean(min(x, target))

    Args:
      x: scores of any shape.
      target: the score that is good enough, in the units of `x`; 1 where scores are normalised to an expert's.
      axis: the axis to reduce; None takes all of `x` together.

    Returns:
      A float, or an array without that axis; 0 is best.

    Source: Agarwal et al. 2021, section 4.3.
    """
    return target - np.minimum(np.asarray(x, float), target).mean(axis)


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
    shares = _shares(np.random.default_rng(seed), len(curves), resamples)
    return _ends(shares @ curves, confidence)


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


def performance_profile(
    x: ArrayLike, thresholds: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of runs that score above each threshold, with a pointwise stratified bootstrap interval.

        F(t) = mean over tasks and runs of [x > t]

    Args:
      x: scores `[runs]` or `[runs, tasks]`.
      thresholds: `[thresholds]`, in the units of `x`.
      confidence, resamples, seed: as for `bootstrap_ci`.

    Returns:
      The shares, and the ends of their intervals, `[thresholds]` each.

    Raises:
      ValueError: `x` has no runs, or more than two axes.

    Source: Agarwal et al. 2021, section 4.2, the run-score distribution.
    """
    above = _by_task(x)[..., None] > np.asarray(thresholds, float)  # [runs, tasks, thresholds]
    rng = np.random.default_rng(seed)
    drawn = sum(_shares(rng, len(above), resamples) @ task for task in np.moveaxis(above, 1, 0)) / above.shape[1]
    return above.mean((0, 1)), *_ends(drawn, confidence)


def probability_of_improvement(
    x: ArrayLike, y: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """The probability that a run of `x` beats one of `y` on a task: the Mann-Whitney statistic, averaged over tasks.

        P = mean over tasks, runs i of x and runs j of y of [x_i > y_j] + [x_i = y_j] / 2

    Args:
      x: scores `[runs]` or `[runs, tasks]`.
      y: scores of the same tasks; there may be more runs, or fewer.
      confidence, resamples, seed: as for `bootstrap_ci`; `x` and `y` are resampled independently.

    Returns:
      The probability, and the ends of its interval.

    Raises:
      ValueError: no runs, more than two axes, or different numbers of tasks.

    Source: Agarwal et al. 2021, section 4.3; Mann and Whitney 1947.
    """
    a, b = _by_task(x), _by_task(y)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"scores of shapes {a.shape} and {b.shape}: expected [runs, tasks] of the same tasks")
    wins = (np.sign(a.T[:, :, None] - b.T[:, None, :]) + 1) / 2  # [tasks, runs of x, runs of y]
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for task in wins:
        of_x, of_y = (_shares(rng, runs, resamples) for runs in task.shape)
        drawn += np.einsum("ri,ri->r", of_x @ task, of_y) / len(wins)
    low, high = _ends(drawn, confidence)
    return float(wins.mean()), float(low), float(high)


def paired_difference(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The difference of `x` and `y`, whose runs share seeds: the statistic of the differences, and its interval.

    What a seed does to both alike cancels, so that fewer seeds tell two settings apart. Fewer than six cannot at 95 %:
    differences that are nothing but noise all have one sign in `2^(1 - runs)` of cases, and then the interval
    leaves 0 out.

    Args:
      x: scores `[runs]` or `[runs, tasks]`.
      y: scores of the same shape, of the same seeds in the same order.
      statistic: of the differences, reducing the axis given as `axis=-1`.
      confidence, resamples, seed: as for `bootstrap_ci`.

    Returns:
      The statistic of `x - y`, and the ends of its interval.

    Raises:
      ValueError: no runs, more than two axes, or different shapes.
    """
    a, b = _by_task(x), _by_task(y)
    if a.shape != b.shape:
        raise ValueError(f"scores of shapes {a.shape} and {b.shape}: expected the same runs of the same tasks")
    return float(statistic((a - b).reshape(-1), axis=-1)), *bootstrap_ci(statistic, a - b, confidence, resamples, seed)


def _by_task(x: ArrayLike) -> np.ndarray:
    """Scores as `[runs, tasks]`."""
    scores = np.asarray(x, float)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"scores of shape {scores.shape}: expected [runs] or [runs, tasks], not empty")
    return scores.reshape(len(scores), -1)


def _shares(rng: np.random.Generator, runs: int, resamples: int) -> np.ndarray:
    """Draws the share of every run in each resample, `[resamples, runs]`: a mean is then a matrix product."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples) / runs


def _ends(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the percentile interval over the first axis."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, (tail, 100 - tail), axis=0)
    return low, high
