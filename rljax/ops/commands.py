"""Commands: the return to come to, and the steps in which to (Srivastava et al. 2019, arXiv:1912.02877)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.types import Array


class Outcomes(struct.PyTreeNode):
    """The returns and lengths of the best episodes, from which commands are made."""

    mean: Array  # [] of returns
    std: Array  # [] of returns
    length: Array  # [] the mean

    def command(self, key: Array, batch_size: int, greedy: bool | Array) -> Array:
        """Commands `[B, 2]` for new episodes: a return and the steps in which to come to it.

        R = mean + std u, u ~ U(0, 1), or 0 if `greedy`; h = length

        Source: arXiv 1912.02877, algorithm 2.
        """
        better = jnp.where(greedy, 0.0, jax.random.uniform(key, (batch_size,)))
        return jnp.stack([self.mean + self.std * better, jnp.full_like(better, self.length)], axis=-1)


def outcomes(returns: Array, lengths: Array) -> Outcomes:
    """The outcomes of episodes `[K]`; those of length 0 are none, and without any all are 0."""
    real = lengths > 0
    weight = real / jnp.maximum(real.sum(), 1)
    mean = (weight * returns).sum()
    return Outcomes(mean, jnp.sqrt((weight * (returns - mean) ** 2).sum()), (weight * lengths).sum())


def count_down(command: Array) -> Array:
    """Commands `[B, 2]` a step later: an episode that takes longer than it was told is always about to end."""
    return jnp.stack([command[:, 0], jnp.maximum(command[:, 1] - 1.0, 1.0)], axis=-1)
