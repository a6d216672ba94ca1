"""Random actions among greedy ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.types import Array, Scalar


def falling(progress: Scalar, start: Scalar, final: Scalar, share: Scalar = 1.0) -> Array:
    """Linearly from `start` to `final` while the first `share` of a run passes, `final` from then on.

    Args:
      progress: the part of the run that is over; 0 in a run without end, which so stays at `start`.
    """
    return final + jnp.maximum(0.0, 1.0 - progress / share) * (start - final)


def epsilon_greedy(key: Array, action: Array, epsilon: Scalar, actions: int) -> Array:
    """`action` [B] or, of several entries, [B, D], but each with probability `epsilon` replaced by a uniform one."""
    k_explore, k_random = jax.random.split(key)
    explore = jax.random.uniform(k_explore, (action.shape[0], *(1,) * (action.ndim - 1))) < epsilon
    return jnp.where(explore, jax.random.randint(k_random, action.shape, 0, actions), action)
