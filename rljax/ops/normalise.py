"""Standardised batches, and running statistics that give observations and rewards unit scale.

Statistics live in an algorithm's state, not in environment wrappers. They are used frozen while an update acts and
learns (so the ratio of a first minibatch is exactly 1), and renewed once per update.

Results do not depend on the unit of the input: an array counts as constant if it differs by no more than rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.types import Array, Scalar

EPS = float(jnp.finfo(jnp.float32).eps)


def standardise(x: Array) -> Array:
    """Scales an array `[...]` to zero mean and unit variance over all of its entries; 0 where all are equal."""
    first = jax.lax.stop_gradient(x).reshape(-1)[0]
    centred = x - first  # exact far from 0, where a mean would be rounded
    centred -= centred.mean()
    spread = jnp.abs(jax.lax.stop_gradient(centred)).max()  # squares of multiples of it neither over- nor underflow
    constant = spread <= EPS * jnp.abs(first)
    unit = centred / jnp.where(constant, 1.0, spread)
    return jnp.where(constant, 0.0, unit * jax.lax.rsqrt(jnp.where(constant, 1.0, jnp.square(unit).mean())))


class RunningStats(struct.PyTreeNode):
    """Mean and variance of all samples so far, elementwise over `shape`."""

    mean: Array  # [*shape]
    var: Array  # [*shape] population variance
    count: Array  # [] float32


def init(x: Array) -> RunningStats:
    """Centres statistics on a first batch `x` `[B, ...]`: its mean, unit variance, no weight.

    A batch of first observations tells where observations lie but not how far they spread (many environments start in
    nearly one place), so the scale is left at 1 until the first real batch sets it. A prior with a weight would stay:
    of a feature that varies by 1e-3, a variance of 1 is most of it for a million samples.
    """
    mean = x.astype(jnp.float32).mean(0)
    return RunningStats(mean=mean, var=jnp.ones_like(mean), count=jnp.zeros(()))


def update(stats: RunningStats, x: Array) -> RunningStats:
    r"""Adds a batch `x` `[..., *shape]` by the parallel update of Chan, Golub and LeVeque (1979, eq. 2.1):

    $\mu = \mu_a + \delta n_b / n$,  $M = M_a + M_b + \delta^2 n_a n_b / n$,  $\delta = \mu_b - \mu_a$.

    All of it is computed from $x - \mu_a$: sums of numbers far from 0 would round to more than they vary by.
    """
    x = x.reshape(-1, *stats.mean.shape).astype(jnp.float32) - stats.mean[None]
    count = stats.count + x.shape[0]
    delta = x.mean(0)
    fraction = x.shape[0] / count
    var = stats.var * (1.0 - fraction) + x.var(0) * fraction + delta**2 * fraction * (1.0 - fraction)
    return RunningStats(mean=stats.mean + delta * fraction, var=var, count=count)


def normalise(stats: RunningStats, x: Array, clip: float = 10.0) -> Array:
    """Gives `(x - mean) / std` in `[-clip, clip]`, not divided where `x` never varied; `x` is `[..., *shape]`."""
    var = jnp.where(_varied(stats), stats.var, 1.0)
    mean, var = jnp.broadcast_to(stats.mean, x.shape), jnp.broadcast_to(var, x.shape)
    return jnp.clip((x - mean) * jax.lax.rsqrt(var), -clip, clip)


def _varied(stats: RunningStats) -> Array:
    """Whether samples differed by more than rounding, `[*shape]` bool."""
    return stats.var > jnp.square(4.0 * EPS * stats.mean)


class ReturnScale(struct.PyTreeNode):
    """The spread of discounted returns, by which rewards are scaled."""

    stats: RunningStats  # of scalars
    returns: Array  # [E] discounted sum of the rewards of the episode so far


def init_return_scale(num_envs: int) -> ReturnScale:
    """The scale before any reward."""
    return ReturnScale(
        stats=RunningStats(mean=jnp.zeros(()), var=jnp.ones(()), count=jnp.zeros(())), returns=jnp.zeros(num_envs)
    )


def scale_rewards(
    scale: ReturnScale, reward: Array, ended: Array, discount: Scalar, clip: float = 10.0
) -> tuple[ReturnScale, Array]:
    r"""Divides rewards by the running standard deviation of $R_t = \gamma R_{t-1} + r_t$.

    The sum of an episode's last step counts, and the next episode starts from 0 (Engstrom et al. 2020,
    arXiv:2005.12729, section 3.1, with the episode ends in the right place). Sums that are all equal, such as the
    rewards of episodes of one step may be, are divided by their size instead.

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
    size = jnp.where(stats.mean == 0.0, 1.0, jnp.square(stats.mean))
    unit = jax.lax.rsqrt(jnp.where(_varied(stats), stats.var, size))
    return ReturnScale(stats, running), jnp.clip(reward * unit, -clip, clip)
