"""Action values of discrete actions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.critic import VECTOR
from rljax.nets.initializers import orthogonal
from rljax.nets.memory import remember
from rljax.nets.noisy import NoisyDense
from rljax.nets.torsos import torso
from rljax.types import Array, Space


class QNetwork(nn.Module):
    r"""K outputs for each of A actions; a head gives them their meaning, see `ops.value_heads`.

    Dueling, they are $V + (A - \frac{1}{|A|} \sum_{a'} A_{a'})$, for each of the K.

    Attributes:
      actions, size: A and K.
      observation_space: of what comes in as features.
      torso, hidden, activation, layer_norm: of the layers below.
      memory: between those and the outputs, see `rljax.nets.memory`.
      dueling: a stream of its own for the state.
      noisy: perturbed weights in all linear layers, where a random stream for them is given.

    Args of the call:
      x: features `[..., *shape]`, with a memory `[T * B, *shape]`.
      past, states: of the memory.

    Returns:
      `[..., A, K]`; with a memory (`[T * B, A, K]`, its carry, its states).

    Source: dueling: Wang et al. 2016, arXiv:1511.06581, eq. 9; for distributions Hessel et al. 2018, arXiv:1710.02298.
    """

    actions: int
    size: int = 1
    observation_space: Space = VECTOR
    torso: str = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    layer_norm: bool = False
    dueling: bool = False
    noisy: bool = False
    memory: str = "none"

    @nn.compact
    def __call__(self, x: Array, past: Any = (), states: Any = None) -> Any:
        dense = NoisyDense if self.noisy else nn.Dense
        sizes = {"hidden": self.hidden, "activation": self.activation, "layer_norm": self.layer_norm, "dense": dense}
        x = torso(self.torso, x, self.observation_space, **sizes)
        remembered = ()
        if self.memory != "none":
            x, *remembered = remember(self.memory, x, past, states)

        def outputs(actions: int, name: str) -> Array:
            made = dense(actions * self.size, kernel_init=orthogonal(1.0), name=name)(x)
            return made.reshape(*x.shape[:-1], actions, self.size)

        advantage = outputs(self.actions, "advantage" if self.dueling else "value")
        if self.dueling:
            centred = advantage - advantage.mean(-2, keepdims=True)
            advantage = jnp.broadcast_to(outputs(1, "value"), advantage.shape) + centred
        return (advantage, *remembered) if remembered else advantage


def chosen(outputs: Array, action: Array) -> Array:
    """The outputs of actions that were taken: `[..., A, K]`, `[...]` -> `[..., K]`."""
    # A masked sum, not a gather: its gradient is no scatter.
    taken = jax.nn.one_hot(action, outputs.shape[-2], dtype=bool)[..., None]
    return jnp.where(taken, outputs, 0.0).sum(-2)
