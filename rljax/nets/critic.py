"""Ensembles of critics, and the actors that go with them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rljax.catalogue import TORSOS
from rljax.nets.heads import PolicyHead
from rljax.nets.initializers import orthogonal
from rljax.nets.memory import remember
from rljax.nets.torsos import takes_vectors, torso
from rljax.registry import parsed
from rljax.types import Array, Box, MultiDiscrete, Space

VECTOR = MultiDiscrete((1,))  # stands for all spaces whose features are vectors


def hidden_layers(
    module: Any, x: Array, past: Any, states: Any, extra: Array | None = None, **sizes: Any
) -> tuple[Array, tuple[Any, ...]]:
    """The layers below a head, for features `[..., F]`, with a memory `[T * B, F]`.

    A memory comes before layers that take vectors and behind those that take images, which further ones then follow;
    it does not see what joins the features.

    Args:
      module: whose fields say what they are.
      past, states: of the memory, see `rljax.nets.memory`.
      extra: what is to join the features, `[..., A]`.

    Returns:
      (`[..., width]`, () or with a memory its carry and states).

    Source of a memory for each network, with layers between it and the head: Yang and Nguyen 2021, arXiv:2110.12628.
    """
    text, space, remembered = module.torso, module.observation_space, ()
    sizes |= {"hidden": module.hidden, "activation": module.activation}
    if module.memory != "none":
        if not takes_vectors(TORSOS.load(parsed(text).name)):
            x, text = torso(text, x, space, flat=True, **sizes), "mlp"
        x, *remembered = remember(module.memory, x, past, states)
        space = VECTOR
    return torso(text, x, space, extra, flat=True, **sizes), tuple(remembered)


class Critics(nn.Module):
    """M critics without shared weights, of one continuous action or of all discrete ones.

    One product each, not one batched product for all: that takes 1.6 times as long on a CPU.

    Attributes:
      members, size: M and K.
      actions: how many discrete ones; 0 where actions are continuous.
      observation_space: of what comes in as features.
      torso, hidden, activation, layer_norm, dropout, batch_norm: of each.
      memory: of each, see `hidden_layers`.

    Args of the call:
      x: features `[..., F]`, with a memory `[T * B, F]`.
      action: `[..., A]`, where actions are continuous.
      past, states: of the memories, whose carries and states are tuples, one of each critic.

    Returns:
      `[M, ..., actions, K]`, of a continuous action `[M, ..., 1, K]`; the head gives the K outputs their meaning, see
      `ops.value_heads`. With a memory (those, carries, states).
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
    memory: str = "none"

    @nn.compact
    def __call__(self, x: Array, action: Array | None = None, past: Any = (), states: Any = None) -> Any:
        if self.memory == "none":
            members = [self._member(x, action, (), None) for _ in range(self.members)]
        else:
            pasts = [past._replace(carry=carry) for carry in past.carry]
            members = [self._member(x, action, *each) for each in zip(pasts, states or [None] * self.members)]
        outputs = jnp.stack([outputs for outputs, _ in members])
        outputs = outputs.reshape(*outputs.shape[:-1], -1, self.size)
        return outputs if self.memory == "none" else (outputs, *zip(*(remembered for _, remembered in members)))

    def _member(self, x: Array, action: Array | None, past: Any, states: Any) -> tuple[Array, tuple[Any, ...]]:
        kinds = {"layer_norm": self.layer_norm, "dropout": self.dropout, "batch_norm": self.batch_norm}
        x, remembered = hidden_layers(self, x, past, states, action, **kinds)
        return nn.Dense(max(self.actions, 1) * self.size, kernel_init=orthogonal(1.0))(x), remembered


class DeterministicActor(nn.Module):
    """Features `[..., F]` -> actions `[..., actions]` within the unit box; with a memory (those, its carry, states)."""

    actions: int
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    memory: str = "none"

    @nn.compact
    def __call__(self, x: Array, past: Any = (), states: Any = None) -> Any:
        x, remembered = hidden_layers(self, x, past, states)
        action = jnp.tanh(nn.Dense(self.actions, kernel_init=orthogonal(0.01))(x))
        return (action, *remembered) if remembered else action


class StochasticActor(nn.Module):
    """Features `[..., F]` -> distribution over actions, continuous ones within the unit box; with a memory
    (that, its carry, states).
    """

    space: Space
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    memory: str = "none"

    @nn.compact
    def __call__(self, x: Array, past: Any = (), states: Any = None) -> Any:
        x, remembered = hidden_layers(self, x, past, states)
        distribution = self._head()(x)
        return (distribution, *remembered) if remembered else distribution

    def _head(self) -> PolicyHead:
        if not isinstance(self.space, Box):
            return PolicyHead(self.space)
        one = self.space.movable.astype(np.float32)  # what cannot move is no part of the policy
        return PolicyHead(Box(-one, one), squash=True, state_dependent_std=True, log_std_range=(-5.0, 2.0))
