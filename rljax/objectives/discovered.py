"""Discovered Policy Optimisation: what a meta-learned objective looks like, written down.

Not Direct Preference Optimisation, which has the same initials and fits language models to preferences.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.fields import number
from rljax.objectives.base import bounded
from rljax.types import Array, Scalar


class DPO(struct.PyTreeNode):
    r"""Discovered Policy Optimisation: $D - r A$ with the drift

    $$D = \max(0, x - c \tanh(x / c)), \quad (x, c) = ((r - 1) A, \alpha) \text{ if } A \ge 0, (A \log r, \beta)
    \text{ else}.$$

    It acts only where the ratio has moved the way the advantage asks for, and grows like $x^3 / (3 c^2)$: no kink. For
    good actions the slope decays but never turns; for bad ones it turns below some ratio (0.56 at A = -1) and pulls
    back. Meant for standardised advantages, since alpha and beta are on their scale.

    Source: Lu et al. 2022, arXiv:2210.05639; the form and both numbers are those of the authors' PureJaxRL.
    """

    alpha: Scalar = number(2.0, "how far the probability of good actions may rise", low=1e-6)
    beta: Scalar = number(0.6, "how far that of bad ones may fall", low=1e-6)

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar, reference: Array | None = None) -> Array:
        log_ratio = bounded(log_ratio)
        change = jnp.expm1(log_ratio)  # r - 1, exact near r = 1
        good = advantage >= 0.0
        x = jnp.where(good, change, log_ratio) * advantage
        scale = jnp.where(good, self.alpha, self.beta)
        return jax.nn.relu(x - scale * jnp.tanh(x / scale)) - (1.0 + change) * advantage
