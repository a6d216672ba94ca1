"""Ensembles of critics."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP
from rljax.nets.q import QNetwork
from rljax.types import Array


class Critics(nn.Module):
    """M critics of a continuous action, without shared weights.

    One product each, not one batched product for all: that takes 1.6 times as long on a CPU.

    Attributes:
      members, size: M and K.
      hidden, activation, layer_norm: of each.

    Args of the call:
      x: features `[..., F]`.
      action: `[..., A]`.

    Returns:
      `[M, ..., K]`; what the K outputs stand for is a matter of the head, see `ops.value_heads`.
    """

    members: int = 2
    size: int = 1
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, action: Array) -> Array:
        x = jnp.concatenate([x, action], axis=-1)
        torsos = [MLP(self.hidden, self.activation, layer_norm=self.layer_norm)(x) for _ in range(self.members)]
        return jnp.stack([nn.Dense(self.size, kernel_init=orthogonal(1.0))(each) for each in torsos])


class DiscreteCritics(nn.Module):
    """M critics of discrete actions, without shared weights: features `[..., F]` -> `[M, ..., actions, K]`."""

    members: int
    actions: int
    size: int = 1
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        sizes = {"hidden": self.hidden, "activation": self.activation, "layer_norm": self.layer_norm}
        return jnp.stack([QNetwork(self.actions, self.size, **sizes)(x) for _ in range(self.members)])
