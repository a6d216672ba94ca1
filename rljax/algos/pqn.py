r"""Parallelised Q-learning (Gallici et al. 2024, arXiv:2407.04811), without replay or target network; all of it.

Many environments instead of a memory, layer normalisation instead of a target network. Targets are

$$G_t = r_t + \gamma (1 - d_t) \left( \lambda G_{t+1} + (1 - \lambda) \max_a Q(s_{t+1}, a) \right)$$

over a rollout (eq. 7 there), the trace cut where an episode ends; the network descends on the squared error to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from rljax.fields import entry, flag, number, share
from rljax.nets.memory import memory
from rljax.nets.q import QNetwork, chosen
from rljax.nets.torsos import check_torso
from rljax.on_policy import loop
from rljax.ops import schedules
from rljax.ops.explore import epsilon_greedy, legal, mask
from rljax.ops.losses import explained_variance, squared_error
from rljax.ops.returns import lambda_returns
from rljax.spaces import num_actions
from rljax.types import Array, Scalar


@dataclass(frozen=True)
class Config(loop.Config):
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = 32
    num_steps: int = 64
    num_minibatches: int = 16
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    layer_norm: bool = flag(True, "in the hidden layers; what keeps it from diverging")
    dueling: bool = flag(False, "a stream of its own for the state's value")
    exploration_schedule: str = entry("linear", "schedule", "how the share of random actions falls")


class Hypers(loop.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = 1e-3
    max_grad_norm: Scalar = 10.0
    trace_lambda: Scalar = share(0.65, "lambda of the returns that are the targets")
    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration_fraction: Scalar = number(0.2, "share of the run in which it falls", above=0.0)


class State(loop.State):
    """All that evolves; arrays only."""

    epsilon: Array  # [] share of random actions


class Batch(NamedTuple):
    """The fields that the loss reads of steps, `[B, ...]`."""

    obs: Array
    action: Array
    target: Array
    past: Any = ()  # of a memory


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
            actions=num_actions(self.env.action_space, "ppo"),
            observation_space=self.env.observation_space,
            torso=config.torso,
            hidden=config.hidden,
            activation=config.activation,
            layer_norm=config.layer_norm,
            dueling=config.dueling,
            memory=config.memory,
        )

    def init(self, key, hypers, task):
        return State(**vars(super().init(key, hypers, task)), epsilon=jnp.float32(0.0))

    def initial_params(self, key, obs):
        past = self.one_step(self.initial_carry((), 1), jnp.ones(1, bool))
        return self.network.init(key, self.preprocess(obs), past)

    def initial_carry(self, state, batch_size):
        return memory(self.config.memory).initial_carry(batch_size)

    def q_values(self, params, obs, past=()):
        """Q `[..., A]` for observations `[..., *shape]`; -inf for illegal actions."""
        return self.unroll(params, obs, past)[0]

    def unroll(self, params, obs, past=(), states=None):
        """Q, and the carry and states of the memory; with `states`, one step ahead of each."""
        found = self.network.apply(params, self.preprocess(obs), past, states)
        values, carry, states = found if self.remembers else (found, (), ())
        return mask(values[..., 0], legal(self.env.observation_space, obs)), carry, states

    def recall(self, params, state, obs, past):
        return self.unroll(params, obs, past)[1]

    def act(self, state, carry, obs, reset, key, greedy):
        values, carry, _ = self.unroll(state.params, obs, self.one_step(carry, reset))
        best = values.argmax(-1).astype(jnp.int32)
        epsilon = jnp.where(greedy, 0.0, state.epsilon)
        allowed = legal(self.env.observation_space, obs)
        return carry, epsilon_greedy(key, best, epsilon, self.network.actions, allowed)

    def collect(self, state, hypers, task, key):
        progress = self.progress(state, hypers)
        ends, schedule = (hypers.epsilon, hypers.epsilon_final), self.config.exploration_schedule
        epsilon = schedules.linear_schedule(progress, *ends, hypers.exploration_fraction, schedule)
        state, steps, metrics = super().collect(state.replace(epsilon=epsilon), hypers, task, key)
        return state, steps, metrics | {"epsilon": epsilon}

    def targets(self, state, hypers, steps):
        """Lambda-returns: (state, Batch `[T, E, ...]`, no metrics)."""
        next_value = self.successors(partial(self.unroll, state.params), state, steps).max(-1)
        flags = steps.terminated, steps.truncated
        target = lambda_returns(steps.reward, next_value, *flags, hypers.discount, hypers.trace_lambda)
        return state, Batch(steps.obs, steps.action, target, self.past(state, steps)), {}

    def loss(self, params, state, hypers, batch, key):
        """The squared error of a Batch `[B, ...]` -> (loss, metrics)."""
        value = chosen(self.q_values(params, batch.obs, batch.past)[..., None], batch.action)[..., 0]
        total = squared_error(value, batch.target).mean()
        fit = explained_variance(value, batch.target)
        return total, {"value_loss": total, "value": value.mean(), "explained_variance": fit}

    def check(self):
        num_actions(self.env.action_space, "ppo")
        super().check()
        schedules.check(self.config.exploration_schedule)
        check_torso(self.config, self.env.observation_space)
