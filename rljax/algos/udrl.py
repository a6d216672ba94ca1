r"""Upside-down reinforcement learning (Srivastava et al. 2019, arXiv:1912.02877): all of it.

A policy is commanded to come to a return R within h steps, and learns how by imitation: the best episodes that were
seen are taken for what somebody would do who was commanded what they came to,

$$\max_\theta E[\log \pi_\theta(a_t | s_t, R, h_t)], \quad R = \sum_{i < u} r_i, \quad h_t = u - t,$$

u being where the episode ends or, if `segments` are any, some step of it. New episodes are commanded more than that: R
is drawn from the interval between the mean return of the best and a standard deviation above it, h is the mean of their
lengths (algorithm 2 there). A greedy policy is commanded the means.

There, R is what is left to come to. Here it is the return of the whole episode, and h alone is counted down: a policy
sees no rewards when it acts, so it is trained on what it will see, a command that it was given as the episode began.

With a `memory` it is the recurrent policy of generalised upside-down RL (Arulkumaran et al. 2022, arXiv:2202.11960)
under this kind of command: trained on short sequences, each from a memory that knows nothing yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypedDict

import jax
import jax.numpy as jnp

from rljax.errors import require
from rljax.fields import choice, count, entry, number, share, sizes
from rljax.nets.commanded import CommandedPolicy
from rljax.nets.memory import Past, check_memory, memory
from rljax.nets.torsos import check_torso
from rljax.off_policy import imitation
from rljax.ops.commands import Outcomes, count_down, outcomes
from rljax.ops.explore import legal
from rljax.ops.minibatch import flatten_time
from rljax.types import Array, Box, Scalar


@dataclass(frozen=True)
class Config(imitation.Config):
    """Shapes and branches. Changing one compiles a new program."""

    command_episodes: int = count(5, "the best episodes, of whose returns and lengths commands are made")
    segments: Literal["whole", "any"] = choice(
        "whole", "what is imitated: up to an episode's end, or to any of its steps"
    )
    torso: str = entry("mlp", "torso", "layers that see the observation alone")
    hidden: tuple[int, ...] = sizes((64, 64), "widths of the hidden layers; the command gates the first")
    activation: str = entry("tanh", "activation", "of the hidden layers")
    memory: str = entry("none", "memory", "what lasts from step to step of an episode: gru, s5(layers=1), ...")
    sequence: int = count(10, "steps that a memory is trained on together; of a shorter episode, all")


class Hypers(imitation.Hypers):
    """Numbers, all traced: sweep, anneal or perturb them."""

    return_scale: Scalar = number(0.02, "factor of returns in commands", low=0.0)
    horizon_scale: Scalar = number(0.02, "factor of steps in commands", low=0.0)
    epsilon: Scalar = share(0.0, "share of random actions, beside those that the policy draws")


class State(imitation.State):
    """All that evolves; arrays only. Given other `outcomes`, the same policy does something else."""

    outcomes: Outcomes  # of the best episodes
    scale: Array  # [2] of returns and of steps in commands
    epsilon: Array  # [] share of random actions


class Carry(TypedDict):
    """The command that an episode is under, and what is remembered of it."""

    command: Array  # [B, 2] its return, and the steps that are left
    memory: Any  # [B, ...]; () without one


@dataclass(frozen=True)
class UDRL(imitation.Imitation):
    """Upside-down RL on an environment.

    Raises:
      ConfigError: a count below 1, more episodes for commands than are remembered, or a network that does not fit.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def network(self) -> Any:
        config, env = self.config, self.env
        sizes = {name: getattr(config, name) for name in ("hidden", "torso", "memory", "activation")}
        return CommandedPolicy(env.observation_space, env.action_space, **sizes)

    @property
    def run(self):
        return 1 if self.config.memory == "none" else self.config.sequence

    @property
    def anywhere(self):
        return self.config.segments == "any"

    def init(self, key, hypers, task):
        begun = super().init(key, hypers, task)
        return State(**vars(begun), **self.acting(begun.buffer, hypers))

    def step(self, state, hypers, task):
        state, metrics = super().step(state, hypers, task)
        state = state.replace(**self.acting(state.buffer, hypers))
        return state, metrics | {"command_return": state.outcomes.mean, "command_horizon": state.outcomes.length}

    def acting(self, buffer, hypers):
        """The fields of the state that say how to act from here on."""
        best = jax.tree.map(lambda x: x[: self.config.command_episodes], (buffer.best.returns, buffer.best.lengths))
        scale = jnp.stack([jnp.float32(hypers.return_scale), jnp.float32(hypers.horizon_scale)])
        return {"outcomes": outcomes(*best), "scale": scale, "epsilon": jnp.float32(hypers.epsilon)}

    def initial_params(self, key, obs):
        carry = self.initial_carry((), 1)
        past = Past(carry["memory"], jnp.ones((1, 1), bool))
        return self.network.init(key, self.preprocess(obs), carry["command"], past)

    def initial_carry(self, state, batch_size):
        remembered = memory(self.config.memory).initial_carry(batch_size)
        return Carry(command=jnp.zeros((batch_size, 2)), memory=remembered)

    def forward(self, params, scale, obs, command, past):
        """(distribution over legal actions, carry of the memory) for steps `[T * B, ...]` and commands `[T * B, 2]`."""
        policy, after = self.network.apply(params, self.preprocess(obs), scale[None] * command, past)
        return policy.restrict(legal(self.env.observation_space, obs)), after

    def act(self, state, carry, obs, reset, key, greedy):
        k_command, k_sample, k_explore, k_random = jax.random.split(key, 4)
        begun = state.outcomes.command(k_command, reset.shape[0], greedy)
        command = jnp.where(reset[:, None], begun, carry["command"])
        policy, after = self.forward(state.params, state.scale, obs, command, Past(carry["memory"], reset[None]))
        action = jnp.where(greedy, policy.mode(), policy.sample(k_sample))
        action = self.env.action_space.clip(action) if isinstance(self.env.action_space, Box) else action
        random = jax.random.uniform(k_explore, reset.shape) < jnp.where(greedy, 0.0, state.epsilon)
        random = random.reshape(-1, *(1,) * (action.ndim - 1))
        action = jnp.where(random, self.random_action(obs, k_random), action)
        return Carry(command=count_down(command), memory=after), action

    def loss(self, params, state, hypers, batch):
        """The mean negative log-likelihood of what was done in a Stretch `[n, B, ...]`; 0 where all is masked."""
        obs, action, command, mask = flatten_time((batch.obs, batch.action, batch.command, batch.mask))
        past = Past(self.initial_carry(state, batch.reset.shape[1])["memory"], batch.reset)
        policy, _ = self.forward(params, state.scale, obs, command, past)
        return -jnp.where(mask, policy.log_prob(action), 0.0).sum() / jnp.maximum(mask.sum(), 1)

    def check(self):
        config, least = self.config, "must be at least 1"
        super().check()
        fits, found = 1 <= config.command_episodes <= config.best_episodes, f"best_episodes={config.best_episodes}"
        require(fits, "command_episodes", config.command_episodes, f"{least} and at most {found}")
        require(config.sequence >= 1, "sequence", config.sequence, least)
        check_memory(config.memory)
        check_torso(config, self.env.observation_space)
