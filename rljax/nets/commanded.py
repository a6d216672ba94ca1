"""The network of a policy that is commanded."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from rljax.nets.heads import PolicyHead
from rljax.nets.memory import remember
from rljax.nets.mlp import MLP
from rljax.nets.torsos import torso
from rljax.types import Array, Space

LOG_STD = (-5.0, 2.0)


class CommandedPolicy(nn.Module):
    """A policy whose features of the observation are gated by a command.

    x = torso(features), y = x * sigmoid(W command + b), then further layers, a memory and the head

    Attributes:
      hidden: the widths of the layers; the torso has the first of them.
      torso, memory, activation: names.
      observation_space, action_space: of the environment.

    Args of the call:
      x: features of the observations of all steps, `[T * B, *feature_shape]`.
      command: `[T * B, C]`.
      past: of a memory, see `rljax.nets.memory`; anything without one.

    Returns:
      (distribution over actions `[T * B]`, carry of the memory, () without one). The width of a Gaussian is computed
      from the features and bounded: the likelihood of actions that all lie at one point has no greatest width.

    Source: arXiv 1912.02877, section 3.2 (the gate).
    """

    observation_space: Space
    action_space: Space
    hidden: tuple[int, ...] = (64, 64)
    torso: str = "mlp"
    memory: str = "none"
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Array, command: Array, past: Any = ()) -> Any:
        first, rest = self.hidden[:1], self.hidden[1:]
        x = torso(self.torso, x, self.observation_space, hidden=first, activation=self.activation)
        x = MLP(rest, self.activation)(x * nn.sigmoid(nn.Dense(x.shape[-1])(command)))
        x, carry, _ = (x, (), ()) if self.memory == "none" else remember(self.memory, x, past)
        return PolicyHead(self.action_space, state_dependent_std=True, log_std_range=LOG_STD)(x), carry
