"""Random actions among greedy ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.types import Array, Scalar


def epsilon_greedy(key: Array, action: Array, epsilon: Scalar, actions: int) -> Array:
    """`action` [B] or, of several entries, [B, D], but each with probability `epsilon` replaced by a uniform one."""
    k_explore, k_random = jax.random.split(key)
    explore = jax.random.uniform(k_explore, (action.shape[0], *(1,) * (action.ndim - 1))) < epsilon
    return jnp.where(explore, jax.random.randint(k_random, action.shape, 0, actions), action)
