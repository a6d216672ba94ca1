"""Ensembles of critics, and the actors that go with them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rljax.nets.heads import PolicyHead
from rljax.nets.initializers import orthogonal
from rljax.nets.torsos import torso
from rljax.types import Array, Box, MultiDiscrete, Space

VECTOR = MultiDiscrete((1,))  # stands for all spaces whose features are vectors


class Critics(nn.Module):
    """M critics without shared weights, of one continuous action or of all discrete ones.

    One product each, not one batched product for all: that takes 1.6 times as long on a CPU.

    Attributes:
      members, size: M and K.
      actions: how many discrete ones; 0 where actions are continuous.
      observation_space: of what comes in as features.
      torso, hidden, activation, layer_norm, dropout, batch_norm: of each.

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
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False
    dropout: float = 0.0
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, action: Array | None = None) -> Array:
        outputs = jnp.stack([self._member(x, action) for _ in range(self.members)])
        return outputs.reshape(*outputs.shape[:-1], -1, self.size)

    def _member(self, x: Array, action: Array | None) -> Array:
        kinds = {"layer_norm": self.layer_norm, "dropout": self.dropout, "batch_norm": self.batch_norm}
        sizes = {"hidden": self.hidden, "activation": self.activation}
        x = torso(self.torso, x, self.observation_space, action, flat=True, **sizes, **kinds)
        return nn.Dense(max(self.actions, 1) * self.size, kernel_init=orthogonal(1.0))(x)


class DeterministicActor(nn.Module):
    """Features `[..., F]` -> actions `[..., actions]` within the unit box."""

    actions: int
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = torso(self.torso, x, self.observation_space, flat=True, hidden=self.hidden, activation=self.activation)
        return jnp.tanh(nn.Dense(self.actions, kernel_init=orthogonal(0.01))(x))


class StochasticActor(nn.Module):
    """Features `[..., F]` -> distribution over actions, continuous ones within the unit box."""

    space: Space
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Array) -> Any:
        x = torso(self.torso, x, self.observation_space, flat=True, hidden=self.hidden, activation=self.activation)
        if not isinstance(self.space, Box):
            return PolicyHead(self.space)(x)
        one = self.space.movable.astype(np.float32)  # what cannot move is no part of the policy
        return PolicyHead(Box(-one, one), squash=True, state_dependent_std=True, log_std_range=(-5.0, 2.0))(x)
