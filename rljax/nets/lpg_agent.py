"""The networks of an agent that learns by a learned policy gradient."""

from __future__ import annotations

import flax.linen as nn
import jax

from rljax.nets.features import flat_features
from rljax.nets.heads import Categorical
from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP
from rljax.ops.explore import legal
from rljax.types import Array, Discrete, Space


class Linear(nn.Module):
    """Observations `[..., *shape]` -> `[..., size]`; without hidden layers it is linear, without bias."""

    hidden: tuple[int, ...]
    activation: str
    space: Space
    size: int
    gain: float = 1.0

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        start = orthogonal(self.gain)
        if isinstance(self.space, Discrete) and not self.hidden:
            # The numbers of a linear layer above one-hot features, which would be wide: 3200 for gridworld/all.
            return self.param("table", start, (self.space.n, self.size))[obs]
        x = MLP(self.hidden, self.activation)(flat_features(self.space, obs))
        return nn.Dense(self.size, use_bias=bool(self.hidden), kernel_init=start, name="linear")(x)


class Agent(nn.Module):
    """Three separate networks: obs `[..., *]` -> (distribution over legal actions, log y `[..., m]`, value `[...]`)."""

    hidden: tuple[int, ...]
    activation: str
    observation_space: Space
    actions: int
    bootstrap: int

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Categorical, Array, Array]:
        what = self.hidden, self.activation, self.observation_space
        logits = Linear(*what, self.actions, gain=0.01, name="actor")(obs)
        y = Linear(*what, self.bootstrap, name="bootstrap")(obs)
        value = Linear(*what, 1, name="critic")(obs)
        policy = Categorical(logits).restrict(legal(self.observation_space, obs))
        return policy, jax.nn.log_softmax(y), value[..., 0]
