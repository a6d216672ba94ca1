"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347): the whole algorithm."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from rljax.errors import require
from rljax.fields import INF, choice, flag, number, policy_objective, share
from rljax.nets.heads import PolicyHead, ValueHead
from rljax.nets.memory import Past, memory, remember
from rljax.nets.torsos import check_torso, torso
from rljax.objectives import Objective, PPOClip
from rljax.objectives.base import bounded
from rljax.on_policy import loop
from rljax.ops import normalise
from rljax.ops.explore import legal
from rljax.ops.losses import clipped_value_loss, explained_variance
from rljax.ops.minibatch import flatten_time, with_time
from rljax.ops.normalise import standardise
from rljax.ops.returns import gae
from rljax.types import Array, Box, Scalar, Space


@dataclass(frozen=True)
class Config(loop.Config):
    """Shapes and branches, beside those of all on-policy algorithms. Changing one compiles a new program."""

    squash: bool = flag(False, "continuous actions: a Gaussian squashed by tanh instead of one clipped to the bounds")
    normalize_obs: bool = flag(False, "by running mean and standard deviation")
    normalize_reward: bool = flag(False, "by the running standard deviation of the discounted return")
    normalize_advantage: Literal["minibatch", "batch", "none"] = choice("minibatch", "over what")


class Hypers(loop.Hypers):
    """Numbers, beside those of all on-policy algorithms; all traced: sweep, anneal, perturb or differentiate them."""

    gae_lambda: Scalar = share(0.95, "lambda of generalised advantage estimation")
    objective: Objective = policy_objective(PPOClip, "the policy objective")
    entropy_coef: Scalar = number(0.01, "weight of the entropy bonus", low=0.0)
    value_coef: Scalar = number(0.5, "weight of the value loss", low=0.0)
    value_clip: Scalar = number(
        0.2, "how far a value may move in one update; inf: as far as it likes", low=0.0, high=INF
    )


class State(loop.State):
    """All that evolves; arrays only."""

    obs_stats: Any = ()  # RunningStats; () if observations are not normalised
    reward_scale: Any = ()  # ReturnScale; () if rewards are not normalised


class Extras(NamedTuple):
    """The notes of the policy on its actions, `[T, E, ...]`."""

    action: Array  # as sampled, before any clipping
    log_prob: Array
    value: Array


class Batch(NamedTuple):
    """The fields that the loss reads of steps, `[B, ...]`."""

    obs: Array
    action: Array  # as sampled, before any clipping
    log_prob: Array  # of the action, when it was taken
    value: Array  # of the observation, then
    advantage: Array
    target: Array  # for the value
    past: Any = ()  # of a memory


class ActorCritic(nn.Module):
    """Two separate networks, or one with a memory below both heads.

    Features of observations `[..., *]` -> (distribution over actions, value `[...]`). With a memory they are those of
    `[T * B]` steps, and its carry and states come with what it gives, see `rljax.nets.memory`.
    """

    config: Config
    observation_space: Space
    action_space: Space

    @nn.compact
    def __call__(self, x: Array, past: Any = (), states: Any = None) -> Any:
        config, space = self.config, self.observation_space
        sizes = {"hidden": config.hidden, "activation": config.activation}
        if config.memory == "none":
            actor, critic = (torso(config.torso, x, space, **sizes) for _ in range(2))
            remembered = ()
        else:
            actor, *remembered = remember(config.memory, torso(config.torso, x, space, **sizes), past, states)
            critic = actor
        return PolicyHead(self.action_space, squash=config.squash)(actor), ValueHead()(critic), *remembered


@dataclass(frozen=True)
class PPO(loop.OnPolicy):
    """PPO on an environment.

    Raises:
      ConfigError: a count below 1, minibatches that do not divide the batch, or a network that does not fit.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def network(self) -> Any:
        return ActorCritic(self.config, self.env.observation_space, self.env.action_space)

    def init(self, key, hypers, task):
        begun, config = super().init(key, hypers, task), self.config
        return State(
            **vars(begun),
            obs_stats=normalise.init(self.preprocess(begun.episodes.obs)) if config.normalize_obs else (),
            reward_scale=normalise.init_return_scale(config.num_envs) if config.normalize_reward else (),
        )

    def initial_params(self, key, obs):
        past = self.one_step(self.initial_carry((), 1), jnp.ones(1, bool))
        return self.network.init(key, self.preprocess(obs), past)

    def initial_carry(self, state, batch_size):
        return memory(self.config.memory).initial_carry(batch_size)

    def forward(self, params, obs_stats, obs, past=()):
        """(distribution over legal actions, value) `[...]` for observations `[..., *shape]`."""
        return self.unroll(params, obs_stats, obs, past)[0]

    def unroll(self, params, obs_stats, obs, past=(), states=None):
        """Gives what `forward` does, and the carry and states of the memory; with `states`, one step ahead of each."""
        x = self.preprocess(obs)
        x = normalise.normalise(obs_stats, x) if self.config.normalize_obs else x
        found: Any = self.network.apply(params, x, past, states)
        policy, value, carry, states = found if self.remembers else (*found, (), ())
        return (policy.restrict(legal(self.env.observation_space, obs)), value), carry, states

    def recall(self, params, state, obs, past):
        return self.unroll(params, state.obs_stats, obs, past)[1]

    def to_env(self, action):  # a Gaussian is unbounded: the environment sees its sample clipped, the loss does not
        return self.env.action_space.clip(action) if isinstance(self.env.action_space, Box) else action

    def act(self, state, carry, obs, reset, key, greedy):
        (policy, _), carry, _ = self.unroll(state.params, state.obs_stats, obs, self.one_step(carry, reset))
        return carry, self.to_env(jnp.where(greedy, policy.mode(), policy.sample(key)))

    def policy(self, state, carry, obs, reset):  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.remembers:
            return carry, *self.forward(state.params, state.obs_stats, obs)
        out, carry, _ = self.unroll(state.params, state.obs_stats, flatten_time(obs), Past(carry, reset))
        return carry, *with_time(out, *reset.shape)

    def behave(self, state, carry, obs, reset, key):
        (policy, value), carry, _ = self.unroll(state.params, state.obs_stats, obs, self.one_step(carry, reset))
        action = policy.sample(key)
        return carry, self.to_env(action), Extras(action, policy.log_prob(action), value)

    def targets(self, state, hypers, steps):
        """Advantages by GAE, and targets of the value: (state, Batch `[T, E, ...]`, metrics)."""
        reward, reward_scale, (action, log_prob, value) = steps.reward, state.reward_scale, steps.extras
        if self.config.normalize_reward:
            ended = steps.terminated | steps.truncated
            reward_scale, reward = normalise.scale_rewards(reward_scale, reward, ended, hypers.discount)
        _, next_value = self.successors(partial(self.unroll, state.params, state.obs_stats), state, steps)
        flags = steps.terminated, steps.truncated
        advantage = gae(reward, value, next_value, *flags, hypers.discount, hypers.gae_lambda)
        target = advantage + value
        if self.config.normalize_advantage == "batch":
            advantage = standardise(advantage)
        batch = Batch(steps.obs, action, log_prob, value, advantage, target, self.past(state, steps))
        state = state.replace(reward_scale=reward_scale)
        return state, batch, {"explained_variance": explained_variance(value, target)}

    def loss(self, params, state, hypers, batch, key):
        """The policy objective, the value loss and the entropy bonus on a Batch `[B, ...]` -> (loss, metrics)."""
        per_minibatch = self.config.normalize_advantage == "minibatch"
        advantage = standardise(batch.advantage) if per_minibatch else batch.advantage
        policy, value = self.forward(params, state.obs_stats, batch.obs, batch.past)
        log_ratio = policy.log_prob(batch.action) - batch.log_prob
        policy_loss = hypers.objective(log_ratio, advantage, self.progress(state, hypers)).mean()
        value_loss = clipped_value_loss(value, batch.value, batch.target, hypers.value_clip).mean()
        entropy = policy.entropy(key).mean()
        total = policy_loss + hypers.value_coef * value_loss - hypers.entropy_coef * entropy
        bound = bounded(log_ratio)
        kl = (jnp.expm1(bound) - bound).mean()
        return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "approx_kl": kl}

    def learn(self, state, hypers, batch, key):
        state, metrics = super().learn(state, hypers, batch, key)
        if self.config.normalize_obs:
            # What was seen counts from the next update on: acting and learning use the same statistics.
            state = state.replace(obs_stats=normalise.update(state.obs_stats, self.preprocess(batch.obs)))
        return state, metrics

    def check(self):
        super().check()
        config = self.config
        parts = {"minibatch": config.num_minibatches, "batch": 1}.get(config.normalize_advantage, 0)
        size = self.steps_per_update // self.parts
        batch = "num_envs * num_steps" if self.parts == 1 else "num_envs * num_steps / (partial_updates + 1)"
        alone = f"{batch} = {size} in {parts} parts are single steps, each of which it would make 0"
        remedy = f"{alone}; give more steps, fewer minibatches, or normalize_advantage=none"
        require(size != parts, "normalize_advantage", config.normalize_advantage, remedy)
        check_torso(config, self.env.observation_space)
        require(not config.squash or isinstance(self.env.action_space, Box), "squash", True, "needs continuous actions")
