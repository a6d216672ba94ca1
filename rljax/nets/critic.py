"""Ensembles of critics, and the deterministic actor that goes with them."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP
from rljax.types import Array


class Critics(nn.Module):
    """M critics without shared weights, of one continuous action or of all discrete ones.

    One product each, not one batched product for all: that takes 1.6 times as long on a CPU.

    Attributes:
      members, size: M and K.
      actions: how many discrete ones; 0 where actions are continuous.
      hidden, activation, layer_norm, dropout, batch_norm: of each.

    Args of the call:
      x: features `[..., F]`.
      action: `[..., A]`, where actions are continuous.

    Returns:
      `[M, ..., actions, K]`, of a continuous action `[M, ..., 1, K]`; the head gives the K outputs their meaning, see
      `ops.value_heads`.
    """

    members: int = 2
    size: int = 1
    actions: int = 0
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False
    dropout: float = 0.0
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, action: Array | None = None) -> Array:
        x = x if action is None else jnp.concatenate([x, action], axis=-1)
        outputs = jnp.stack([self._member(x) for _ in range(self.members)])
        return outputs.reshape(*outputs.shape[:-1], -1, self.size)

    def _member(self, x: Array) -> Array:
        kinds = {"layer_norm": self.layer_norm, "dropout": self.dropout, "batch_norm": self.batch_norm}
        x = MLP(self.hidden, self.activation, **kinds)(x)
        return nn.Dense(max(self.actions, 1) * self.size, kernel_init=orthogonal(1.0))(x)


class DeterministicActor(nn.Module):
    """Features `[..., F]` -> actions `[..., actions]` within the unit box."""

    actions: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = MLP(self.hidden, self.activation)(x)
        return jnp.tanh(nn.Dense(self.actions, kernel_init=orthogonal(0.01))(x))
