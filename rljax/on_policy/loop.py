"""The training loop of on-policy algorithms: roll out, compute targets, learn in epochs of minibatches.

Within a rollout there may be partial updates: each learns from its newest steps alone, by what the agent remembers of
all before them, and that is then computed again by the new parameters (Elawady et al. 2024, arXiv:2410.02751).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.errors import require
from rljax.fields import INF, count, entry, flag, number, share, sizes
from rljax.nets.features import features
from rljax.nets.memory import Past
from rljax.nets.memory.agent import Agent
from rljax.ops import optim, schedules
from rljax.ops.explore import check_env
from rljax.ops.minibatch import by_environment, flatten_time, in_time, minibatch_epochs, with_time
from rljax.ops.rollout import Episodes, begin, joined, rollout
from rljax.types import Array, Metrics, Scalar, TimeStep


@dataclass(frozen=True)
class RolloutConfig:
    """The size of a rollout."""

    num_envs: int = count(4, "parallel environments, E")
    num_steps: int = count(128, "steps per environment and update, T")


@dataclass(frozen=True)
class Config(RolloutConfig):
    """The shapes and branches of learning in epochs of minibatches. Changing one compiles a new program."""

    num_epochs: int = count(4, "passes over each batch")
    num_minibatches: int = count(
        4, "parts a batch is cut into; must divide num_envs * num_steps, with a memory num_envs"
    )
    torso: str = entry("mlp", "torso", "layers below the heads")
    memory: str = entry("none", "memory", "what lasts from step to step of an episode: gru, s5(layers=1), ...")
    hidden: tuple[int, ...] = sizes((64, 64), "widths of the hidden layers")
    activation: str = entry("tanh", "activation", "of the hidden layers")
    optimiser: str = entry("adam", "optimiser", "of optax, possibly with arguments, 'adamw(weight_decay=1e-4)'")
    lr_schedule: str = entry("linear", "schedule", "how lr goes to its end")
    partial_updates: int = count(0, "updates within each rollout, on what is new, before that on all of it", least=0)
    clear_memory: bool = flag(False, "each rollout begins with an empty memory")


class Hypers(struct.PyTreeNode):
    """The numbers of learning in epochs of minibatches, all traced."""

    lr: Scalar = number(2.5e-4, "learning rate", low=0.0)
    lr_final: Scalar = number(0.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    max_grad_norm: Scalar = number(0.5, "bound on the global gradient norm", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    carry: Any  # of the policy; () without a memory
    key: Array
    updates: Array  # [] updates done
    start: Any  # within an update, `carry` as it was before the rollout; else ()


class Context(NamedTuple):
    """A memory as the steps that it comes from: whichever parameters learn, it is computed by them."""

    carry: Any  # [E, ...] before the first of these steps
    obs: Any  # [E, T, ...]
    reset: Array  # [E, T]


@dataclass(frozen=True)
class OnPolicy(Agent):
    """The base of algorithms that learn from rollouts `[T, E, ...]`.

    An update is `collect`, `relabel`, `targets` and `learn`, which descends on `loss`; each can be overridden alone.
    Their `Config` and `Hypers` derive from those of this module.
    """

    @property
    def steps_per_update(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """E * T."""
        return self.config.num_envs * self.config.num_steps

    @property
    def parts(self) -> int:
        """Stretches of a rollout, each of which but the last ends with a partial update."""
        return getattr(self.config, "partial_updates", 0) + 1

    def initial_params(self, key: Array, obs: Array) -> Any:
        """The parameters in which learning begins, made for observations `[1, ...]`."""
        raise NotImplementedError

    def initial_opt(self, hypers: Any, params: Any) -> Any:
        """The optimiser's state for these parameters."""
        return self.optimiser(hypers).init(params)

    def targets(self, state: Any, hypers: Any, steps: TimeStep) -> tuple[Any, Any, Metrics]:
        """Computes what is learned from a rollout: (state, batch, a tree of arrays `[T, E, ...]`, metrics).

        The batch of an agent with a memory has a field `past`, of which `past(state, steps)` is the value.
        """
        raise NotImplementedError

    def loss(self, params: Any, state: Any, hypers: Any, batch: Any, key: Array) -> tuple[Array, Metrics]:
        """The loss of `params` on a minibatch `[B, ...]` -> (loss `[]`, metrics); `state` is that before the update.

        With a memory the B steps are those of whole sequences, the first of all of them first, and `batch.past` says
        how they begin.
        """
        raise NotImplementedError

    def init(self, key: Array, hypers: Any, task: Any) -> Any:
        key, k_env, k_net = jax.random.split(key, 3)
        episodes = begin(self.env, task, k_env, self.config.num_envs)
        params = self.initial_params(k_net, jax.tree.map(lambda x: x[:1], episodes.obs))
        state = State(params, self.initial_opt(hypers, params), episodes, (), key, jnp.int32(0), ())
        return state.replace(carry=self.initial_carry(state, self.config.num_envs))

    def step(self, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        if getattr(self.config, "clear_memory", False):
            state = state.replace(carry=self.initial_carry(state, self.config.num_envs))
        state = state.replace(start=state.carry)
        # 1. roll out, with partial updates if there are any
        state, steps, collected = self.collect(state, hypers, task, k_collect)
        # 2. targets, bootstrapped from the true successors
        steps = self.relabel(state, hypers, task, steps)
        state, batch, found = self.targets(state, hypers, steps)
        # 3. epochs of minibatch updates
        state, learned = self.learn(state, hypers, batch, k_learn)
        return state.replace(key=key, updates=state.updates + 1, start=()), collected | found | learned

    def collect(self, state: Any, hypers: Any, task: Any, key: Array) -> tuple[Any, TimeStep, Metrics]:
        """Rolls out -> (state with its episodes, steps `[T, E, ...]`, metrics)."""
        length = self.config.num_steps // self.parts

        def roll(state, key):
            def behave(carry, obs, reset, key):
                return self.behave(state, carry, obs, reset, key)

            done = rollout(self.env, task, behave, state.carry, state.episodes, key, length)
            return state.replace(episodes=done.episodes, carry=done.carry), done

        *keys, key = jax.random.split(key, 2 * self.parts - 1) if self.parts > 1 else (key,)
        found = []
        for k_roll, k_learn in zip(keys[::2], keys[1::2]):
            state, done = roll(state, k_roll)
            found.append(done)
            state = self.learn_newest(state, hypers, task, joined(found)[0], k_learn)
        state, done = roll(state, key)
        return state, *joined([*found, done])

    def learn_newest(self, state: Any, hypers: Any, task: Any, steps: TimeStep, key: Array) -> Any:
        """A partial update: learns from the last T / parts of the steps of a rollout so far -> state.

        Of the state only what it learned changes, and its memory. What else targets and learning change, such as
        statistics, changes by the update on all steps, which sees these again.
        """
        _, batch, _ = self.targets(state, hypers, self.relabel(state, hypers, task, steps))
        first = steps.reset.shape[0] - self.config.num_steps // self.parts
        batch = jax.tree.map(lambda x: x[first:], batch._replace(past=()))
        past = self.past(state, steps)
        if self.remembers:
            carry = state.start
            if first:
                rows = jax.tree.map(lambda x: x[:first].swapaxes(0, 1), (steps.obs, steps.reset))
                carry = Context(carry, *rows)
            batch = batch._replace(past=Past(carry, steps.reset[first:]))
        learned, _ = self.learn(state, hypers, batch, key)
        state = state.replace(params=learned.params, opt=learned.opt)
        carry = self.recall(state.params, state, flatten_time(steps.obs), past) if self.remembers else ()
        return state.replace(carry=carry)

    def recall(self, params: Any, state: Any, obs: Any, past: Any) -> Any:
        """The memory after steps `[T * E]` by these parameters, `[E, ...]`."""
        raise NotImplementedError

    def in_context(self, params: Any, state: Any, batch: Any) -> Any:
        """A batch of steps `[T * B]` whose memory is computed, where it is a `Context`."""
        before = batch.past.carry if self.remembers else ()
        if not isinstance(before, Context):
            return batch
        obs, reset = jax.tree.map(lambda x: x.swapaxes(0, 1), before[1:])
        carry = self.recall(params, state, flatten_time(obs), Past(before.carry, reset))
        return batch._replace(past=batch.past._replace(carry=carry))

    def behave(self, state: Any, carry: Any, obs: Any, reset: Array, key: Array) -> tuple[Any, Any, Any]:
        """The actions of a rollout -> (carry, action `[E, ...]`, what is to be noted in `TimeStep.extras`)."""
        return *self.act(state, carry, obs, reset, key, False), ()

    def relabel(self, state: Any, hypers: Any, task: Any, steps: TimeStep) -> TimeStep:
        """The steps that are learned from, by default as they were: the place for a reward model."""
        return steps

    def learn(self, state: Any, hypers: Any, batch: Any, key: Array) -> tuple[Any, Metrics]:
        """Descends on `loss` in epochs of minibatches of a batch `[T, E, ...]` -> (state, metrics).

        A minibatch is any of the steps, or with a memory the whole rollout of some of the environments.
        """
        optimiser = self.optimiser(hypers, self.progress(state, hypers))
        rows = by_environment(batch) if self.remembers else flatten_time(batch)

        def update(carry, batch, key):
            params, opt = carry
            batch = in_time(batch) if self.remembers else batch

            def loss(params):
                return self.loss(params, state, hypers, self.in_context(params, state, batch), key)

            grads, metrics = jax.grad(loss, has_aux=True)(params)
            return optim.apply(optimiser, grads, opt, params), metrics | {"grad_norm": optim.global_norm(grads)}

        config, start = self.config, (state.params, state.opt)
        (params, opt), metrics = minibatch_epochs(update, start, rows, key, config.num_epochs, config.num_minibatches)
        return state.replace(params=params, opt=opt), jax.tree.map(jnp.mean, metrics)

    def past(self, state: Any, steps: TimeStep) -> Any:
        """The `past` of the rollout that began with `state.start`; () without a memory."""
        return Past(state.start, steps.reset) if self.remembers else ()

    def successors(self, unroll: Callable[..., tuple[Any, Any, Any]], state: Any, steps: TimeStep) -> Any:
        """The outputs of a network for true successors, `[T, E, ...]`: with a memory, by what it knows after each step.

        Args:
          unroll: `(obs, past, states) -> (outputs, carry, states)`, obs and outputs being those of `[T * E]` steps.
        """
        if not self.remembers:
            return unroll(steps.next_obs)[0]
        past = self.past(state, steps)
        _, _, states = unroll(flatten_time(steps.obs), past)
        out, _, _ = unroll(flatten_time(steps.next_obs), past, states)
        return with_time(out, *past.reset.shape)

    def optimiser(self, hypers: Any, progress: Scalar = 0.0) -> optax.GradientTransformation:
        """The optimiser, with its learning rate for that part of the run."""
        gone = schedules.along(self.config.lr_schedule, progress)
        lr = schedules.annealed(hypers.lr, hypers.lr_final, gone)
        return optim.make(self.config.optimiser, lr, hypers.max_grad_norm)

    def progress(self, state: Any, hypers: Any) -> Array:
        """The part of the run that is over, `[]`."""
        return schedules.progress(state.updates, hypers.horizon)

    def preprocess(self, obs: Any) -> Array:
        """Observations as the networks see them, `[..., *feature_shape]`."""
        return features(self.env.observation_space, obs)

    def check(self) -> None:
        check_env(self.env)
        config = self.config
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
        into = f"must divide num_steps={config.num_steps} into equal stretches, one more than there are partial updates"
        require(config.num_steps % self.parts == 0, "partial_updates", self.parts - 1, into)
        size, product = self.steps_per_update // self.parts, "num_envs * num_steps"
        product += f" / (partial_updates + 1) = {size}" if self.parts > 1 else f" = {size}"
        fits = f"must divide {product}"
        super().check()
        clears = getattr(config, "clear_memory", False)
        require(self.remembers or not clears, "clear_memory", clears, "has no effect without a memory; leave it out")
        if self.remembers:
            size = config.num_envs
            fits = f"must divide num_envs={size}: with a memory a minibatch is whole rollouts; give more environments"
        require(size % config.num_minibatches == 0, "num_minibatches", config.num_minibatches, fits)
        optim.check(config.optimiser)
        schedules.check(config.lr_schedule)
