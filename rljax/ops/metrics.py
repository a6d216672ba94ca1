"""The metrics of an algorithm's `step`: a flat dict of scalars with fixed keys, and what they mean.

`episodes` counts the episodes that ended. A name that starts with `episode_` is a mean over them: it is weighted by
`episodes`, and may be NaN where that is 0. `NOT_FINITE` says which of its numbers an environment spoiled. Any other
metric that is not finite means that training has diverged, but for diagnostics: those in `DIAGNOSTICS`, and what an
algorithm declares as its `diagnostics`. Nothing is learned from them, so they never end a run.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.types import Array, Metrics, TimeStep

EPISODES = "episodes"
RETURN = "episode_return"
EPISODE_PREFIX = "episode_"
DIAGNOSTICS = frozenset({"approx_kl", "bootstrap_entropy", "entropy", "explained_variance"})
NOT_FINITE = "not_finite"
"""A metric: which `GIVEN` an environment gave as a NaN or an infinity, bit by bit; 0 where all is well."""
GIVEN = ("observation", "reward")


def is_diagnostic(name: str, declared: frozenset[str] = frozenset()) -> bool:
    """Whether a metric of that name may be NaN or infinite in a run that goes well."""
    return name.startswith(EPISODE_PREFIX) or name == EPISODES or name in DIAGNOSTICS | declared


def not_finite(step: TimeStep) -> Array:
    """Finds which `GIVEN` are NaN or infinite in steps `[...]` of an environment: `[]` int32, bit i for the i-th.

    What follows an action that is none itself is not theirs: then it is the policy that has diverged.
    """
    obs, after, reward, action = (
        _not_finite(x, step.reset.ndim) for x in (step.obs, step.next_obs, step.reward, step.action)
    )
    observation = (obs & (step.reset | ~action)) | (after & ~action)
    return jnp.int32(observation.any()) + 2 * jnp.int32((reward & ~action).any())


def either(codes: Array) -> Array:
    """The union of values of `NOT_FINITE`, `[...]` -> `[]`."""
    return (codes & 1).max() + 2 * (codes >> 1).max()


def in_words(code: int) -> str:
    """A value of `NOT_FINITE` in words."""
    return " and ".join(name for i, name in enumerate(GIVEN) if int(code) >> i & 1)


def mean(metrics: Metrics) -> Metrics:
    """The metrics of several gradient steps `[...]` as one: means, and of `NOT_FINITE` whatever is set in any."""
    return {name: either(x) if name == NOT_FINITE else x.mean() for name, x in metrics.items()}


def summarise(metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over the last axis, in double precision; episode figures are weighted by the episodes that ended.

    Args:
      metrics: name -> `[..., n]`, with `episodes` the number that ended in each update.

    Returns:
      name -> `[...]`; the sum of `episodes`; NaN for an episode figure where none ended; all bits of `NOT_FINITE`.
    """
    episodes = metrics.get(EPISODES, np.zeros(1)).astype(np.float64)
    total = episodes.sum(-1)
    found = {}
    for name, x in metrics.items():
        if name == EPISODES:
            found[name] = total.astype(int)
        elif name == NOT_FINITE:
            found[name] = np.bitwise_or.reduce(x, axis=-1)
        elif name.startswith(EPISODE_PREFIX):
            sums = (np.where(episodes > 0, x, 0.0) * episodes).sum(-1)
            found[name] = np.where(total > 0, sums / np.maximum(total, 1.0), np.nan)
        else:
            found[name] = x.mean(-1, dtype=np.float64)
    return found


def _not_finite(tree: Any, axes: int) -> Array:
    """Finds where floats of a tree are NaN or infinite, over its leading axes.

    A product with a small vector is one wherever an entry is; a sum costs more, for compilers do not reorder it (PPO on
    Breakout is 2 % slower with the one, 3 % with the other). Small, so that large numbers do not add up to an infinity.
    """
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    rows = [jax.lax.stop_gradient(x).reshape(*x.shape[:axes], -1) for x in floats]
    totals = [x @ jnp.full(x.shape[-1], 1e-9, x.dtype) for x in rows]
    return ~jnp.isfinite(sum(totals[1:], totals[0])) if totals else jnp.array(False)
