"""The training loop of off-policy algorithms: act, store the steps, draw batches of them and learn in phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.data import ring
from rljax.data.replay import Replay, Source, check_replay, replay
from rljax.data.transitions import Transition, transition
from rljax.errors import require
from rljax.nets.memory.agent import Agent
from rljax.off_policy import memory
from rljax.off_policy.config import Config as Config
from rljax.off_policy.config import Hypers as Hypers
from rljax.off_policy.learner import Aux, Batch, Context, Learner, Phase, init_learner, nested
from rljax.ops import explore, optim, schedules
from rljax.ops.metrics import NOT_FINITE, mean, not_finite
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.spaces import like, zeros
from rljax.types import Array, Metrics, Scalar, TimeStep

SMALLEST = 1e-6  # what is added to an error, so that every step keeps a priority


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    learner: Learner
    episodes: Episodes | Any  # [E, ...]; () where nothing is collected
    carry: Any  # of the policy; () without a memory
    buffer: Any  # of the source
    exploration: Array  # [] how much of it there was in the last update
    key: Array
    updates: Array  # [] updates done

    @property
    def params(self) -> dict[str, Any]:
        return self.learner.params


@dataclass(frozen=True)
class OffPolicy(Agent):
    """The base of algorithms that learn from stored steps.

    An update is `collect` and `learn`, which draws batches, `relabel`s them and goes through the `phases`; by default
    there is one, `learn_values`, which descends on `loss`. Each can be overridden alone. Its `Config` and `Hypers`
    derive from those of this module.
    """

    value_network = "values"  # what `learn_values` learns

    @cached_property
    def source(self) -> Source:
        """The store of steps that batches come from; by default a replay of what was collected."""
        config, obs, action = self.config, like(self.env.observation_space), like(self.action_space)
        reward, ended = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)
        step: Any = obs, action, reward, obs, ended, ended, ended, self.extras_like
        length = ring.room(config.capacity, config.num_envs, config.num_steps)
        kinds: dict[str, Any] = {"run": self.run, "prioritised": config.prioritised}
        if self.remembers:
            one = jax.eval_shape(lambda: jax.tree.map(lambda h: h[0], self.initial_carry((), 1)))
            kinds |= {"period": config.num_steps, "carry": one if config.stored_carry else None}
        return replay(TimeStep(*step), length, config.num_envs, **kinds)

    @property
    def steps_per_update(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """E * T; 0 where the source needs no collecting."""
        return self.config.num_envs * self.config.num_steps if self.source.collects else 0

    @property
    def warmup_steps(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The random steps before learning begins, in whole blocks of E * T."""
        return self._blocks * self.steps_per_update

    @property
    def _blocks(self) -> int:
        return -(-self.config.warmup // (self.config.num_envs * self.config.num_steps))

    @property
    def action_space(self) -> Any:
        """The space of actions, of a kind that `check` lets pass."""
        return self.env.action_space

    @property
    def run(self) -> int:
        """The steps of an environment that are drawn together."""
        return self.config.burn_in + self.config.sequence if self.remembers else self.config.n_step

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The parts of learning, from the most frequent to the rarest."""
        return (Phase(self.learn_values),)

    @property
    def target_networks(self) -> tuple[str, ...]:
        """The networks of which there are slow copies."""
        return (self.value_network,)

    @property
    def extras_like(self) -> Any:
        """The shapes and dtypes of what `choose` notes of a step in one environment."""
        return ()

    def initial_params(self, key: Array, hypers: Any, obs: Any) -> dict[str, Any]:
        """The networks in which learning begins, by name, made for observations `[1, ...]`."""
        raise NotImplementedError

    def optimisers(self, hypers: Any, progress: Scalar = 0.0) -> dict[str, Any]:
        """The optimiser of every network, by its name, for that part of the run."""
        raise NotImplementedError

    def optimiser(self, hypers: Any, lr: Scalar, progress: Scalar, max_grad_norm: Scalar, **numbers: Scalar) -> Any:
        """The config's optimiser, `lr` being its learning rate at the start; other arguments as of `optim.make`."""
        lr = schedules.annealed(lr, hypers.lr_final, schedules.along(self.config.lr_schedule, progress))
        return optim.make(self.config.optimiser, lr, max_grad_norm, **numbers)

    def choose(self, params: dict, exploration: Array, carry: Any, obs: Any, reset: Array, key: Array, greedy: Any):
        """Acts on observations `[B, ...]`: (carry, action `[B, ...]`, what is to be noted in `TimeStep.extras`)."""
        raise NotImplementedError

    def loss(self, params: Any, learner: Learner, batch: Batch, context: Context) -> tuple[Array, Aux]:
        """The loss `[]` of `params` as those of the `value_network`; `learner` is as it was before."""
        raise NotImplementedError

    def exploration(self, hypers: Any, progress: Array) -> Scalar | None:
        """The amount by which `choose` is to explore, `[]`; None where that is no number."""
        return None

    def random_action(self, obs: Any, key: Array) -> Any:
        """An action on one observation before learning begins."""
        return explore.random_action(self.env, obs, key)

    def relabel(self, learner: Learner, hypers: Any, task: Any, steps: TimeStep) -> TimeStep:
        """The steps `[run, B, ...]` that are learned from, by default as they were: the place for a reward model."""
        return steps

    def transition(self, batch: Batch, hypers: Any) -> Transition:
        """The transitions `[N, ...]` of a batch: its runs, or with a memory the steps of its sequences."""
        if not self.remembers:
            return transition(batch.steps, hypers.discount)._replace(weight=batch.weight)
        stored = bool(jax.tree.leaves(batch.carry))
        carry = batch.carry if stored else self.initial_carry((), batch.weight.shape[0])
        return memory.in_sequences(batch, hypers.discount, self.config, carry)

    def init(self, key: Array, hypers: Any, task: Any) -> Any:
        key, k_env, k_learner, k_warmup = jax.random.split(key, 4)
        if self.source.collects:
            episodes = begin(self.env, self.source.env_task(task), k_env, self.config.num_envs)
            obs = jax.tree.map(lambda x: x[:1], episodes.obs)
        else:
            episodes, obs = (), jax.tree.map(lambda x: x[None], zeros(self.env.observation_space))
        params = self.initial_params(k_learner, hypers, obs)
        learner = init_learner(params, self.target_networks, self.optimisers(hypers))
        state = State(learner, episodes, (), self.source.init(), jnp.float32(0.0), key, jnp.int32(0))
        if not self.source.collects:
            return state
        return self.warm_up(state.replace(carry=self.initial_carry(state, self.config.num_envs)), task, k_warmup)

    def warm_up(self, state: Any, task: Any, key: Array) -> Any:
        """Takes random steps to begin with -> state."""
        notes = jax.tree.leaves((state.carry, self.extras_like))

        def behave(carry, obs, reset, key):
            extras = ()
            if notes:  # what a policy with a memory sees, and would have noted
                key, k_choose = jax.random.split(key)
                carry, _, extras = self.choose(state.params, state.exploration, carry, obs, reset, k_choose, False)
            return carry, jax.vmap(self.random_action)(obs, jax.random.split(key, self.config.num_envs)), extras

        def block(loop, key):
            return self._remember(state.replace(**loop), task, behave, key)[0], None

        loop = {"episodes": state.episodes, "carry": state.carry, "buffer": state.buffer}
        return state.replace(**jax.lax.scan(block, loop, jax.random.split(key, self._blocks))[0])

    def act(self, state: Any, carry: Any, obs: Any, reset: Array, key: Array, greedy: bool | Array) -> tuple[Any, Any]:
        return self.choose(state.params, state.exploration, carry, obs, reset, key, greedy)[:2]

    def step(self, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        found: Metrics = {}
        # 1. act, and store the steps
        if self.source.collects:
            state, found = self.collect(state, hypers, task, k_collect)
        # 2. learn from what is stored
        state, learned = self.learn(state, hypers, task, k_learn)
        faults = found.get(NOT_FINITE, 0) | learned[NOT_FINITE]
        return state.replace(key=key, updates=state.updates + 1), found | learned | {NOT_FINITE: faults}

    def collect(self, state: Any, hypers: Any, task: Any, key: Array) -> tuple[Any, Metrics]:
        """Takes T steps in every environment and stores them -> (state, metrics)."""
        explored, amount = {}, self.exploration(hypers, self.progress(state, hypers))
        if amount is not None:
            state = state.replace(exploration=jnp.float32(amount))
            explored = {"exploration": state.exploration}

        def behave(carry, obs, reset, key):
            return self.choose(state.params, state.exploration, carry, obs, reset, key, False)

        loop, metrics = self._remember(state, task, behave, key)
        return state.replace(**loop), metrics | explored

    def _remember(self, state: Any, task: Any, behave: Callable, key: Array) -> tuple[dict[str, Any], Metrics]:
        """Takes T steps in every environment by a policy -> (the fields of the state that change, metrics)."""
        num_steps, env_task = self.config.num_steps, self.source.env_task(task)
        done = rollout(self.env, env_task, behave, state.carry, state.episodes, key, num_steps)
        before = (state.carry,) if self.remembers else ()
        buffer = self.source.add(state.buffer, done.steps, *before)
        return {"episodes": done.episodes, "carry": done.carry, "buffer": buffer}, done.metrics

    def learn(self, state: Any, hypers: Any, task: Any, key: Array) -> tuple[Any, Metrics]:
        """Draws the batches of an update and learns from them -> (state with its learner and buffer, metrics)."""
        progress, phases = self.progress(state, hypers), self.phases
        beta = hypers.priority_beta + progress * (1.0 - hypers.priority_beta)

        def turn(phase, loop, sample, key):
            learner, buffer = loop
            context = Context(hypers, task, progress, key)
            learner, priority, metrics = phase.learn(learner, Batch(sample.steps, sample.weight, sample.carry), context)
            if priority is not None:
                buffer = self.source.prioritise(buffer, sample.index, (priority + SMALLEST) ** hypers.priority_exponent)
                metrics = metrics | {"error": priority.mean()}
            return (learner, buffer), metrics

        def draw(loop, key):
            """Draws a batch, for the turn of the first phase."""
            k_draw, key = jax.random.split(key)
            sample = self.source.draw(loop[1], task, k_draw, self.config.batch_size, beta)
            faults = {NOT_FINITE: not_finite(sample.steps)}  # those of the steps of `init` are seen here first
            sample = sample._replace(steps=self.relabel(loop[0], hypers, task, sample.steps))
            (learner, buffer), metrics = turn(phases[0], loop, sample, key)
            learner = learner.replace(gradient_steps=learner.gradient_steps + 1)
            return (learner, buffer), (metrics | faults, sample)

        cycle, batches = nested(phases, draw, turn)

        def without_sample(loop, key):
            loop, (metrics, _) = cycle(loop, key)
            return loop, metrics

        keys = jax.random.split(key, self.config.gradient_steps // batches)
        (learner, buffer), metrics = jax.lax.scan(without_sample, (state.learner, state.buffer), keys)
        return state.replace(learner=learner, buffer=buffer), mean(metrics)

    def learn_values(self, learner: Learner, batch: Batch, context: Context) -> tuple[Learner, Array, Metrics]:
        """Takes a gradient step of the `value_network` on `loss`."""
        name, optimisers = self.value_network, self.optimisers(context.hypers, context.progress)
        grads, aux = jax.grad(self.loss, has_aux=True)(learner.params[name], learner, batch, context)
        learner = learner.apply_gradients(name, optimisers[name], grads)
        if aux.averages:
            learner = learner.replace(params=learner.params | {name: learner.params[name] | aux.averages})
        errors = aux.td_error
        if self.remembers:
            errors = memory.priority(errors, context.hypers.priority_max, self.config)
        return learner, errors, aux.metrics | {"grad_norm": optim.global_norm(grads)}

    def progress(self, state: Any, hypers: Any) -> Array:
        """The part of the run that is over, `[]`."""
        return schedules.progress(state.updates, hypers.horizon)

    @classmethod
    def unused(cls, config: Any, env: Any) -> dict[str, str]:
        needs = dict.fromkeys(("priority_exponent", "priority_beta", "priority_max"), "prioritised=true")
        alone = {} if getattr(config, "memory", "none") != "none" else {"priority_max": "a memory"}
        return super().unused(config, env) | alone | ({} if config.prioritised else needs)

    def check(self) -> None:
        explore.check_env(self.env)
        config, every = self.config, 1
        for name in ("num_envs", "num_steps", "gradient_steps", "batch_size", "warmup", "n_step"):
            require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
        for phase in self.phases:
            fits = phase.every >= 1 and phase.every % every == 0 and config.gradient_steps % phase.every == 0
            found = f"must be a multiple of the {every} before it and divide gradient_steps={config.gradient_steps}"
            require(fits, "every", phase.every, found)
            every = phase.every
        optim.check(config.optimiser)
        schedules.check(config.lr_schedule)
        super().check()
        if self.remembers:
            memory.check(config)
        if isinstance(self.source, Replay):
            check_replay(self.source, config, self._blocks * config.num_steps, self.remembers)
