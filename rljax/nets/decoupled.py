"""Values of discretised actions, one dimension at a time."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP
from rljax.types import Array


class Utilities(nn.Module):
    r"""M critics, each of which estimates the contribution of each choice in each dimension of an action.

    $$Q_m(s, a) = \frac{1}{D} \sum_i U_m^i(s, a_i)$$

    Attributes:
      members, dimensions, choices: M, D and how many values each entry of an action can have.
      hidden, activation, layer_norm: of each.

    Args of the call:
      x: features `[..., F]`.

    Returns:
      U, `[M, ..., D, choices]`.

    Source: Seyde et al. 2022, arXiv:2210.12566, eq. 3.
    """

    members: int
    dimensions: int
    choices: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        torsos = [MLP(self.hidden, self.activation, layer_norm=self.layer_norm)(x) for _ in range(self.members)]
        size = self.dimensions * self.choices
        outputs = jnp.stack([nn.Dense(size, kernel_init=orthogonal(1.0))(each) for each in torsos])
        return outputs.reshape(*outputs.shape[:-1], self.dimensions, self.choices)
