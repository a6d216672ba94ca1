"""Running statistics for observations and rewards; they live in an algorithm's state, not in environment wrappers.

Both are used frozen while an update acts and learns (so the ratio of a first minibatch is exactly 1), and renewed once
per update.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.types import Array, Scalar


class RunningStats(struct.PyTreeNode):
    """Mean and variance of all that was seen, elementwise over `shape`."""

    mean: Array  # [*shape]
    var: Array  # [*shape] population variance
    count: Array  # [] float32


def start(x: Array) -> RunningStats:
    """Statistics centred on a first batch `x` `[B, ...]`: its mean, unit variance, the weight of one sample.

    A batch of first observations tells where observations lie but not how far they spread (many environments start in
    nearly one place), so the scale is left at 1 until the first real batch outweighs it.
    """
    mean = x.astype(jnp.float32).mean(0)
    return RunningStats(mean=mean, var=jnp.ones_like(mean), count=jnp.ones(()))


def update(stats: RunningStats, x: Array) -> RunningStats:
    r"""Adds a batch `x` `[..., *shape]` by the parallel update of Chan, Golub and LeVeque (1979, eq. 2.1):

    $\mu = \mu_a + \delta n_b / n$,  $M = M_a + M_b + \delta^2 n_a n_b / n$,  $\delta = \mu_b - \mu_a$.
    """
    x = x.reshape(-1, *stats.mean.shape).astype(jnp.float32)
    count = stats.count + x.shape[0]
    delta = x.mean(0) - stats.mean
    fraction = x.shape[0] / count
    var = stats.var + (x.var(0) - stats.var) * fraction + delta**2 * fraction * (1.0 - fraction)
    return RunningStats(mean=stats.mean + delta * fraction, var=var, count=count)


def normalise(stats: RunningStats, x: Array, clip: float = 10.0) -> Array:
    """`(x - mean) / std` with bounds `[-clip, clip]`; `x` is `[..., *shape]`."""
    mean, var = jnp.broadcast_to(stats.mean, x.shape), jnp.broadcast_to(stats.var, x.shape)
    return jnp.clip((x - mean) * jax.lax.rsqrt(var + 1e-8), -clip, clip)


class ReturnScale(struct.PyTreeNode):
    """The spread of discounted returns, by which rewards are scaled."""

    stats: RunningStats  # of scalars
    returns: Array  # [E] discounted sum of the rewards of the episode so far


def start_return_scale(num_envs: int) -> ReturnScale:
    """Nothing seen yet: unit scale with the weight of one sample."""
    return ReturnScale(
        stats=RunningStats(mean=jnp.zeros(()), var=jnp.ones(()), count=jnp.ones(())), returns=jnp.zeros(num_envs)
    )


def scale_rewards(
    scale: ReturnScale, reward: Array, ended: Array, discount: Scalar, clip: float = 10.0
) -> tuple[ReturnScale, Array]:
    r"""Divides rewards by the running standard deviation of $R_t = \gamma R_{t-1} + r_t$.

    The sum of an episode's last step counts, and the next episode starts from 0 (Engstrom et al. 2020,
    arXiv:2005.12729, section 3.1, with the episode ends in the right place).

    Args:
      reward, ended: `[T, E]`; `ended` says that the step was its episode's last.

    Returns:
      (scale, reward `[T, E]` scaled by the statistics with this batch in them).
    """

    def one(running, x):
        reward, ended = x
        running = discount * running + reward
        return jnp.where(ended, 0.0, running), running

    running, returns = jax.lax.scan(one, scale.returns, (reward, ended))
    stats = update(scale.stats, returns)
    return ReturnScale(stats, running), jnp.clip(reward * jax.lax.rsqrt(stats.var + 1e-8), -clip, clip)
