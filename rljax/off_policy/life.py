"""How an algorithm lives that learns from a memory: it acts, remembers, and learns from what is remembered.

What makes it that algorithm is its `Method`. Of its `Config` the fields `num_envs`, `num_steps`, `gradient_steps`,
`batch_size`, `capacity`, `warmup`, `n_step` and `prioritised` are read here, of its `Hypers` `discount`,
`priority_exponent`, `priority_beta` and `horizon`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.data import ring
from rljax.data.memory import Held, memory
from rljax.data.transitions import transition
from rljax.errors import require
from rljax.ops import optim, schedules
from rljax.ops.explore import check_env, random_action
from rljax.ops.metrics import NOT_FINITE, either, not_finite
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.types import Algorithm, Array, Box, Env, Functions, Metrics, Scalar

SMALLEST = 1e-6  # what is added to how wrong a value was, so that no transition is forgotten


class Learner(struct.PyTreeNode):
    """What gradient steps change: networks, by name."""

    params: dict[str, Any]
    target_params: dict[str, Any]  # slow copies, of some of them
    opt: dict[str, Any]
    gradient_steps: Array  # [] done

    def descend(self, name: str, optimiser: optax.GradientTransformation, grads: Any) -> Learner:
        """One gradient step of one network."""
        params, opt = optim.apply(optimiser, grads, self.opt[name], self.params[name])
        return self.replace(params=self.params | {name: params}, opt=self.opt | {name: opt})

    def follow(self, rate: Scalar) -> Learner:
        """Every slow copy moves that share of its way to what it is a copy of."""
        now = {name: self.params[name] for name in self.target_params}
        slow = jax.tree.map(lambda slow, now: slow + rate * (now - slow), self.target_params, now)
        return self.replace(target_params=slow)


def fresh(params: dict[str, Any], slow: tuple[str, ...], optimisers: dict[str, Any]) -> Learner:
    """A learner as it starts: with copies of the networks in `slow`."""
    opt = {name: each.init(params[name]) for name, each in optimisers.items()}
    return Learner(params, {name: params[name] for name in slow}, opt, jnp.int32(0))


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    learner: Learner
    episodes: Episodes  # [E, ...]
    held: Held  # what is remembered
    exploration: Array  # [] how much of it there was in the last update
    key: Array
    updates: Array  # [] updates done

    @property
    def params(self) -> dict[str, Any]:
        return self.learner.params


@dataclass(frozen=True)
class Method:
    """What is an algorithm's own: pure functions.

    Attributes:
      begin: `(key, hypers, obs [1, ...]) -> Learner`.
      act: `(params, exploration, obs [B, ...], key, greedy) -> action [B, ...]`.
      learn_values: `(Learner, Transition [B, ...], weight [B], hypers, progress, key) -> (Learner, how wrong they were
        [B], metrics)`: a gradient step of what says how good actions are, samples counting by their weight.
      learn_policy: `(Learner, obs [B, ...], hypers, key) -> (Learner, metrics)`: one of what acts, where that is
        something else.
      delay: gradient steps of values for one of the policy.
      exploration: `(hypers, progress) -> []`, what `act` is given: how much it is to explore.
      sample: `key -> action`, a random one; by default of all that there are.
    """

    begin: Callable[..., Learner]
    act: Callable[..., Array]
    learn_values: Callable[..., tuple[Learner, Array, Metrics]]
    learn_policy: Callable[..., tuple[Learner, Metrics]] | None = None
    delay: int = 1
    exploration: Callable[..., Scalar] | None = None
    sample: Callable[[Array], Array] | None = None


def algorithm(env: Env, config: Any, method: Method, hypers: Any) -> Algorithm:
    """A method, alive. Raises ConfigError: a capacity that holds no run of steps and what comes after it."""
    store = memory(env, config)
    per_update = config.num_envs * config.num_steps
    check_env(env)

    def init(key, hypers, task):
        key, k_env, k_learner, k_warmup = jax.random.split(key, 4)
        episodes = begin(env, task, k_env, config.num_envs)
        learner = method.begin(k_learner, hypers, jax.tree.map(lambda x: x[:1], episodes.obs))
        episodes, held = warm_up(task, episodes, k_warmup)
        return State(learner, episodes, held, jnp.float32(0.0), key, jnp.int32(0))

    def warm_up(task, episodes, key):
        """Steps with random actions, to begin with -> (episodes, what is remembered)."""

        def at_random(carry, obs, reset, key):
            keys = jax.random.split(key, config.num_envs)
            if method.sample:
                return carry, jax.vmap(method.sample)(keys), ()
            return carry, jax.vmap(partial(random_action, env))(obs, keys), ()

        def collect(loop, key):
            episodes, held = loop
            done = rollout(env, task, at_random, (), episodes, key, config.num_steps)
            return (done.episodes, store.add(held, done.steps)), None

        return jax.lax.scan(collect, (episodes, store.start()), jax.random.split(key, blocks(config)))[0]

    def act(state, carry, obs, reset, key, greedy):
        return carry, method.act(state.params, state.exploration, obs, key, greedy)

    def step(state, hypers, task):
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        progress = schedules.progress(state.updates, hypers.horizon)
        explored = {}
        if method.exploration:
            state = state.replace(exploration=jnp.float32(method.exploration(hypers, progress)))
            explored = {"exploration": state.exploration}

        def behave(carry, obs, reset, key):
            carry, action = act(state, carry, obs, reset, key, False)
            return carry, action, ()

        # 1. act, and remember
        done = rollout(env, task, behave, (), state.episodes, k_collect, config.num_steps)
        episodes, seen, held = done.episodes, done.metrics, store.add(state.held, done.steps)
        # 2. learn from what is remembered
        learner, held, learned = learn(state.learner, held, hypers, progress, k_learn)
        state = state.replace(learner=learner, episodes=episodes, held=held, key=key, updates=state.updates + 1)
        return state, seen | learned | explored | {NOT_FINITE: seen[NOT_FINITE] | learned[NOT_FINITE]}

    def learn(learner, held, hypers, progress, key):
        """-> (Learner, what is remembered, metrics)."""
        beta = hypers.priority_beta + progress * (1.0 - hypers.priority_beta)

        def of_values(loop, key):
            learner, held = loop
            k_draw, key = jax.random.split(key)
            drawn = store.draw(held, k_draw, config.batch_size, beta)
            batch = transition(drawn.steps, hypers.discount)
            learner, wrong, metrics = method.learn_values(learner, batch, drawn.weight, hypers, progress, key)
            held = store.prioritise(held, drawn.place, (wrong + SMALLEST) ** hypers.priority_exponent)
            learner = learner.replace(gradient_steps=learner.gradient_steps + 1)
            metrics |= {
                "error": wrong.mean(),
                NOT_FINITE: not_finite(drawn.steps),
            }  # those of `init` are seen here first
            return (learner, held), (metrics, batch.obs)

        def cycle(loop, key):
            k_values, k_policy = jax.random.split(key)
            (learner, held), (metrics, obs) = jax.lax.scan(of_values, loop, jax.random.split(k_values, method.delay))
            metrics = over_steps(metrics)
            if method.learn_policy:
                learner, more = method.learn_policy(learner, jax.tree.map(lambda x: x[-1], obs), hypers, k_policy)
                metrics |= more
            return (learner, held), metrics

        keys = jax.random.split(key, config.gradient_steps // method.delay)
        (learner, held), metrics = jax.lax.scan(cycle, (learner, held), keys)
        return learner, held, over_steps(metrics)

    warmup = blocks(config) * per_update
    functions = {"init": init, "step": step, "act": act}
    return Functions(env, (method, config), hypers, **functions, steps_per_update=per_update, warmup_steps=warmup)


def over_steps(metrics: Metrics) -> Metrics:
    """Metrics of several gradient steps as those of all: means, of `NOT_FINITE` whatever was in any."""
    return {name: either(x) if name == NOT_FINITE else x.mean() for name, x in metrics.items()}


def blocks(config: Any) -> int:
    """In how many blocks of `num_steps` steps of each environment the steps before learning arrive."""
    return -(-config.warmup // (config.num_envs * config.num_steps))


def check(config: Any, delay: int = 1) -> None:
    """Refuses what cannot run of a `Config`.

    Raises:
      ConfigError: a count below 1, a batch larger than what there is to draw from when learning begins, a delay that
        does not divide the gradient steps.
    """
    for name in ("num_envs", "num_steps", "gradient_steps", "batch_size", "warmup", "n_step"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    length = ring.room(config.capacity, config.num_envs, config.num_steps)
    runs = (min(blocks(config) * config.num_steps, length) - (config.n_step - 1)) * config.num_envs
    found = f"must be at most the {max(runs, 0)} that warmup={config.warmup} and capacity={config.capacity} leave"
    require(config.batch_size <= runs, "batch_size", config.batch_size, found)
    fits = delay >= 1 and config.gradient_steps % delay == 0
    require(fits, "policy_delay", delay, f"must be at least 1 and divide gradient_steps={config.gradient_steps}")


def check_actions(space: Box) -> None:
    """Refuses continuous actions that cannot be stretched from the unit box. Raises ConfigError."""
    require(len(space.shape) == 1, "action_space.shape", space.shape, "must have one axis; flatten the actions")
    require(space.bounded, "action_space", "Box without bounds", "must be bounded; use ppo")


def unused(config: Any) -> dict[str, str]:
    """The numbers in `Hypers` that a memory without priorities leaves without effect, and what would use them."""
    return {} if config.prioritised else dict.fromkeys(("priority_exponent", "priority_beta"), "prioritised=true")
