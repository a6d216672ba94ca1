"""The training loop of algorithms that imitate the best episodes of theirs: act, keep the best, learn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.data.episodes import BestEpisodes, Buffer, Stretch, best_episodes
from rljax.errors import require
from rljax.fields import INF, count, entry, number
from rljax.nets.features import features
from rljax.ops import explore, optim, schedules
from rljax.ops.metrics import NOT_FINITE, mean
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.spaces import like
from rljax.types import Algorithm, Array, Metrics, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches of the loop."""

    num_envs: int = count(16, "parallel environments, E")
    num_steps: int = count(32, "steps per environment and update, T")
    warmup: int = count(2_000, "random steps before learning begins")
    best_episodes: int = count(20, "episodes that are remembered, those with the highest returns")
    episode_steps: int = count(1_000, "steps of an episode that are remembered, at most")
    gradient_steps: int = count(16, "batches that are drawn and learned from, per update")
    batch_size: int = count(256, "of each gradient step; with a memory, sequences")
    optimiser: str = entry("adam", "optimiser", "of optax, possibly with arguments, 'adamw(weight_decay=1e-4)'")
    lr_schedule: str = entry("linear", "schedule", "how lr goes to its end")


class Hypers(struct.PyTreeNode):
    """Numbers of the loop, all traced."""

    lr: Scalar = number(1e-3, "learning rate", low=0.0)
    lr_final: Scalar = number(1.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    max_grad_norm: Scalar = number(1.0, "bound on the global gradient norm", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    carry: Any  # of the policy
    buffer: Buffer
    key: Array
    updates: Array  # [] updates done


@dataclass(frozen=True)
class Imitation(Algorithm):
    """The base of algorithms that imitate the best of the episodes that they have seen.

    An update is `collect` and `learn`, which descends on `loss`; each can be overridden alone. `Config`, `Hypers` and
    `State` derive from those of this module.
    """

    @property
    def steps_per_update(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """E * T."""
        return self.config.num_envs * self.config.num_steps

    @property
    def warmup_steps(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The random steps before learning begins, in whole blocks of E * T."""
        return self._blocks * self.steps_per_update

    @property
    def _blocks(self) -> int:
        return -(-self.config.warmup // self.steps_per_update)

    @property
    def run(self) -> int:
        """The steps of an episode that are drawn together."""
        return 1

    @property
    def anywhere(self) -> bool:
        """Whether what is drawn may end before its episode does."""
        return False

    @cached_property
    def store(self) -> BestEpisodes:
        """The episodes that are learned from."""
        config, spaces = self.config, (like(self.env.observation_space), like(self.env.action_space))
        return best_episodes(*spaces, config.best_episodes, config.episode_steps, config.num_envs)

    def initial_params(self, key: Array, obs: Any) -> Any:
        """The parameters in which learning begins, made for observations `[1, ...]`."""
        raise NotImplementedError

    def loss(self, params: Any, state: Any, hypers: Any, batch: Stretch) -> Array:
        """The loss `[]` of `params` on a Stretch `[n, B, ...]`; `state` is that before the update."""
        raise NotImplementedError

    def init(self, key: Array, hypers: Any, task: Any) -> Any:
        key, k_env, k_net, k_warmup, k_again = jax.random.split(key, 5)
        episodes = begin(self.env, task, k_env, self.config.num_envs)
        params = self.initial_params(k_net, jax.tree.map(lambda x: x[:1], episodes.obs))
        opt, buffer = self.optimiser(hypers).init(params), self.store.init()
        state = State(params, opt, episodes, (), buffer, key, jnp.int32(0))

        def behave(carry, obs, reset, key):
            return carry, self.random_action(obs, key), ()

        def block(state, key):
            return self.collect(state, behave, task, key)[0], None

        state, _ = jax.lax.scan(block, state, jax.random.split(k_warmup, self._blocks))
        # The policy has begun none of these episodes, so it begins others.
        episodes = begin(self.env, task, k_again, self.config.num_envs)
        return state.replace(episodes=episodes, carry=self.initial_carry(state, self.config.num_envs))

    def step(self, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
        key, k_collect, k_learn = jax.random.split(state.key, 3)

        def behave(carry, obs, reset, key):
            return *self.act(state, carry, obs, reset, key, False), ()

        # 1. act, and keep the best episodes
        after, found = self.collect(state, behave, task, k_collect)
        # 2. imitate them
        after, learned = self.learn(after, hypers, k_learn)
        faults = {NOT_FINITE: found[NOT_FINITE] | learned[NOT_FINITE]}
        return after.replace(key=key, updates=state.updates + 1), found | learned | faults

    def collect(self, state: Any, behave: Callable[..., Any], task: Any, key: Array) -> tuple[Any, Metrics]:
        """Takes T steps in every environment by a policy and stores them -> (state, metrics)."""
        done = rollout(self.env, task, behave, state.carry, state.episodes, key, self.config.num_steps)
        buffer = self.store.add(state.buffer, done.steps)
        return state.replace(episodes=done.episodes, carry=done.carry, buffer=buffer), done.metrics

    def learn(self, state: Any, hypers: Any, key: Array) -> tuple[Any, Metrics]:
        """Descends on `loss`, a batch a step -> (state, metrics)."""
        optimiser = self.optimiser(hypers, schedules.progress(state.updates, hypers.horizon))

        def update(loop, key):
            params, opt = loop
            batch = self.store.draw(state.buffer, key, self.config.batch_size, self.run, self.anywhere)
            loss, grads = jax.value_and_grad(self.loss)(params, state, hypers, batch)
            metrics = {"policy_loss": loss, "grad_norm": optim.global_norm(grads), NOT_FINITE: batch.not_finite}
            return optim.apply(optimiser, grads, opt, params), metrics

        keys = jax.random.split(key, self.config.gradient_steps)
        (params, opt), metrics = jax.lax.scan(update, (state.params, state.opt), keys)
        return state.replace(params=params, opt=opt), mean(metrics)

    def optimiser(self, hypers: Any, progress: Scalar = 0.0) -> optax.GradientTransformation:
        """The optimiser, with its learning rate for that part of the run."""
        lr = schedules.annealed(hypers.lr, hypers.lr_final, schedules.along(self.config.lr_schedule, progress))
        return optim.make(self.config.optimiser, lr, hypers.max_grad_norm)

    def random_action(self, obs: Any, key: Array) -> Any:
        """Uniform legal actions for observations `[B, ...]`."""
        keys = jax.random.split(key, jax.tree.leaves(obs)[0].shape[0])
        return jax.vmap(lambda obs, key: explore.random_action(self.env, obs, key))(obs, keys)

    def preprocess(self, obs: Any) -> Array:
        """Observations as the networks see them, `[..., *feature_shape]`."""
        return features(self.env.observation_space, obs)

    def check(self) -> None:
        explore.check_env(self.env)
        for name in (
            "num_envs",
            "num_steps",
            "warmup",
            "best_episodes",
            "episode_steps",
            "gradient_steps",
            "batch_size",
        ):
            require(getattr(self.config, name) >= 1, name, getattr(self.config, name), "must be at least 1")
        optim.check(self.config.optimiser)
        schedules.check(self.config.lr_schedule)
