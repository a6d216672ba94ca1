"""The fitness of training runs, and its combination into what a strategy is told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from rljax.build import Prepared
from rljax.errors import require
from rljax.meta import strategies
from rljax.ops import streams
from rljax.run import evaluate
from rljax.types import Array

Kind = Literal["final", "mean", "evaluation"]
LAST = 0.1  # the share of a run whose episodes count for `final`
EPISODES = 64  # of an evaluation

NORMALISERS: dict[str, Callable[[Array], Array]] = {
    "ranks": strategies.centred_ranks,
    "z-score": strategies.z_score,
    "pairwise": strategies.pairwise,
    "none": strategies.raw,
}
"""They make the fitnesses `[N]` of members comparable that had the same run, or, pairwise, of the two of a pair."""
WITHIN_PAIRS = ("pairwise", "none")  # the normalisers for pairs that have different runs


def check(kind: Kind, metrics: Collection[str], algo: str) -> None:
    """Refuses a fitness of training for an algorithm that logs no returns. Raises ConfigError."""
    remedy = f"is of returns while training, and {algo} logs none; take evaluation"
    require(kind == "evaluation" or {"episodes", "episode_return"} <= {*metrics}, "fitness", kind, remedy)


def of_training(kind: Kind, metrics: dict[str, np.ndarray], updates: np.ndarray) -> np.ndarray:
    """The fitness of runs by the episodes that ended while training.

    Args:
      kind: `final`: the mean return of the episodes that ended in the last tenth of the run. `mean`: over the whole
        run, the mean over updates of the return of the episodes that ended in each, which counts early and late alike
        (episodes may be much longer at one end of a run than at the other).
      metrics: `episodes`, `episode_return`, `[M, U]`.
      updates: `[M]`, the lengths; `metrics` beyond them mean nothing.

    Returns:
      `[M]`; NaN where no episode ended.
    """
    n = np.arange(1, metrics["episodes"].shape[1] + 1)
    alive = n <= updates[:, None]
    weight = np.where(alive, metrics["episodes"], 0).astype(float)
    if kind == "final":
        weight *= n > np.minimum((1 - LAST) * updates, updates - 1)[:, None]
    else:
        weight = (weight > 0).astype(float)
    total = weight.sum(1)
    sums = (np.where(weight > 0, metrics["episode_return"], 0.0) * weight).sum(1)
    return np.where(total > 0, sums / np.maximum(total, 1e-9), np.nan)


def combine(normaliser: str, fitness: np.ndarray) -> np.ndarray:
    """The fitness that a strategy is told: the mean over runs of the normalised ones, `[N, D]` -> `[N]`.

    Args:
      normaliser: a name in `NORMALISERS`.
      fitness: of N members in D runs each; NaN where one diverged. A column is one run, the same for all members; or,
        for the normalisers `WITHIN_PAIRS`, at least for the two of a pair.
    """
    told = np.where(np.isfinite(fitness), fitness, -np.inf)  # to normalisers alike; `jax_debug_nans` would stop at NaN
    columns = jax.vmap(NORMALISERS[normaliser], 1, 1)(jnp.asarray(told, jnp.float32))
    return np.asarray(columns.mean(1))


def evaluation(prepared: Prepared) -> Callable[..., Array]:
    """Makes `(state, hypers, task, seed) -> []`: the mean return of whole episodes of the trained policy, sampled."""

    def mean_return(state, hypers, task, seed):
        key = streams.of_seed(seed, streams.FITNESS)
        play = partial(evaluate, episodes=EPISODES, greedy=False, task=task)
        return play(prepared.algorithm, state, prepared.env, key).mean()

    return mean_return


def summary(table: np.ndarray) -> dict[str, float]:
    """Columns of a generation's row, from the fitnesses `[N, D]` of a population: over members, of means over runs."""
    fine = np.isfinite(table).all(1)
    members = table[fine].mean(1) if fine.any() else np.array([np.nan])
    low, high = np.percentile(members, (25, 75))
    found = {"mean": members.mean(), "low": low, "high": high, "best": members.max()}
    return {f"fitness_{name}": float(x) for name, x in found.items()} | {"diverged": float((~fine).sum())}
