"""Penalties on the Kullback-Leibler divergence between the old and the new policy."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from rljax.fields import number
from rljax.objectives.base import bounded
from rljax.ops.schedules import annealed
from rljax.types import Array, Scalar

SMALLEST_STEP = 1e-6  # keeps the weight finite at the end of a run whose step size goes to zero


class KLPenalty(struct.PyTreeNode):
    r"""The surrogate with a penalty on either KL divergence, or on both.

    $$-r A + (w_f (r - 1 - \log r) + w_r (r \log r - r + 1)) / t, \quad t = 1 + \mathrm{progress} (t_{final} - 1)$$

    The two terms are estimates, from one action of the old policy, of KL(old || new) and of KL(new || old). Both are
    unbiased in value and in gradient, never negative, and 0 with slope 0 at r = 1: drifts in the sense of mirror
    learning. Their weights are numbers, so a sweep over directions is one program.

    The defaults are Mirror Descent Policy Optimisation with a constant step size; its authors let the step size fall
    to zero, `final=0`, and take the divergence of the distributions where here it is estimated. `forward=b, reverse=0`
    is the fixed penalty of PPO.

    Source: Tomar et al. 2022, arXiv:2005.09814, on-policy MDPO; Schulman et al. 2017, arXiv:1707.06347, eq. 8.
    """

    forward: Scalar = number(0.0, "weight of KL(old || new)", low=0.0)
    reverse: Scalar = number(1.0, "weight of KL(new || old)", low=0.0)
    final: Scalar = number(1.0, "fraction of the step size (1 / weight) that is left at the end of the run", low=0.0)

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar, reference: Array | None = None) -> Array:
        log_ratio = bounded(log_ratio)
        change = jnp.expm1(log_ratio)  # r - 1, exact near r = 1
        ratio = 1.0 + change
        drift = self.forward * (change - log_ratio) + self.reverse * (ratio * log_ratio - change)
        step = jnp.maximum(annealed(1.0, self.final, progress), SMALLEST_STEP)
        return drift / step - ratio * advantage
