r"""Parallelised Q-learning (Gallici et al. 2024, arXiv:2407.04811), without memory or target network; all of it.

Many environments instead of a memory, layer normalisation instead of a target network. Targets are

$$G_t = r_t + \gamma (1 - d_t) \left( \lambda G_{t+1} + (1 - \lambda) \max_a Q(s_{t+1}, a) \right)$$

over a rollout (eq. 7 there), the trace cut where an episode ends; the network descends on the squared error to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import struct

from rljax.errors import ConfigError
from rljax.fields import INF, choice, count, flag, number, share, sizes, text
from rljax.nets.q import QNetwork, chosen
from rljax.nets.torsos import check_torso
from rljax.on_policy import loop
from rljax.ops.explore import epsilon_greedy, legal, mask
from rljax.ops.losses import explained_variance, squared_error
from rljax.ops.returns import lambda_returns
from rljax.ops.schedules import linear_schedule
from rljax.types import Array, Discrete, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(32, "parallel environments, E")
    num_steps: int = count(64, "steps per environment and update, T")
    num_epochs: int = count(4, "passes over each batch")
    num_minibatches: int = count(16, "parts a batch is cut into; must divide num_envs * num_steps")
    torso: Literal["mlp", "cnn"] = choice("mlp", "cnn: one convolution below the hidden layers, for image observations")
    hidden: tuple[int, ...] = sizes((128, 128), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(True, "in the hidden layers; what keeps it from diverging")
    dueling: bool = flag(False, "a stream of its own for the state's value")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(1e-3, "learning rate of Adam", low=0.0)
    lr_final: Scalar = number(0.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    trace_lambda: Scalar = share(0.65, "lambda of the returns that are the targets")
    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration: Scalar = number(0.2, "share of the run in which it falls, linearly", above=0.0)
    max_grad_norm: Scalar = number(10.0, "bound on the global gradient norm", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class State(loop.State):
    """All that evolves; arrays only."""

    epsilon: Array  # [] share of random actions


class Batch(NamedTuple):
    """What is learned from, `[B, ...]`."""

    obs: Array
    action: Array
    target: Array


@dataclass(frozen=True)
class PQN(loop.OnPolicy):
    """PQN on an environment.

    Raises:
      ConfigError: actions that are not discrete, a count below 1, minibatches that do not divide the batch.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def network(self) -> Any:
        config = self.config
        return QNetwork(
            actions=self.env.action_space.n,  # pyright: ignore[reportAttributeAccessIssue]
            observation_space=self.env.observation_space,
            torso=config.torso,
            hidden=config.hidden,
            activation=config.activation,
            layer_norm=config.layer_norm,
            dueling=config.dueling,
        )

    def init(self, key, hypers, task):
        return State(**vars(super().init(key, hypers, task)), epsilon=jnp.float32(0.0))

    def initial_params(self, key, obs):
        return self.network.init(key, self.preprocess(obs))

    def q_values(self, params, obs):
        """Q `[..., A]` for observations `[..., *shape]`; -inf for illegal actions."""
        values = self.network.apply(params, self.preprocess(obs))[..., 0]
        return mask(values, legal(self.env.observation_space, obs))

    def act(self, state, carry, obs, reset, key, greedy):
        best = self.q_values(state.params, obs).argmax(-1).astype(jnp.int32)
        epsilon = jnp.where(greedy, 0.0, state.epsilon)
        allowed = legal(self.env.observation_space, obs)
        actions = self.env.action_space.n  # pyright: ignore[reportAttributeAccessIssue]
        return carry, epsilon_greedy(key, best, epsilon, actions, allowed)

    def collect(self, state, hypers, task, key):
        progress = self.progress(state, hypers)
        epsilon = linear_schedule(progress, hypers.epsilon, hypers.epsilon_final, hypers.exploration)
        state, steps, metrics = super().collect(state.replace(epsilon=epsilon), hypers, task, key)
        return state, steps, metrics | {"epsilon": epsilon}

    def targets(self, state, hypers, steps):
        """Lambda-returns: (state, Batch `[T, E, ...]`, no metrics)."""
        next_value = self.q_values(state.params, steps.next_obs).max(-1)
        flags = steps.terminated, steps.truncated
        target = lambda_returns(steps.reward, next_value, *flags, hypers.discount, hypers.trace_lambda)
        return state, Batch(steps.obs, steps.action, target), {}

    def loss(self, params, state, hypers, batch, key):
        """The squared error of a Batch `[B, ...]` -> (loss, metrics)."""
        value = chosen(self.q_values(params, batch.obs)[..., None], batch.action)[..., 0]
        total = squared_error(value, batch.target).mean()
        fit = explained_variance(value, batch.target)
        return total, {"value_loss": total, "value": value.mean(), "explained_variance": fit}

    def check(self):
        space = self.env.action_space
        if not isinstance(space, Discrete):
            kind = type(space).__name__
            raise ConfigError(f"action_space={kind}: must be Discrete; use another algorithm, such as ppo")
        super().check()
        check_torso(self.config, self.env.observation_space)
