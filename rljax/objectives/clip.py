"""The clipped surrogate of PPO."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from rljax.fields import INF, number
from rljax.objectives.base import bounded
from rljax.types import Array, Scalar


class PPOClip(struct.PyTreeNode):
    r"""The clipped surrogate: $-\min(r A,\; \mathrm{clip}(r, 1-\epsilon, 1+\epsilon) A)$.

    As a drift, $D = \max(0, (r - \mathrm{clip}(r, 1-\epsilon, 1+\epsilon)) A)$.

    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """

    clip: Scalar = number(0.2, "epsilon", low=0.0, high=INF)

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar, reference: Array | None = None) -> Array:
        ratio = jnp.exp(bounded(log_ratio))
        return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip) * advantage)
