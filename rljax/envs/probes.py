"""Probes: environments so small that their values are known in closed form, to test a learner in seconds.

Each isolates one thing that a learner can get wrong; a learner that fails one of them has that bug. `V` and `Q` are
discounted values, `g` is the discount.

| probe | tests | values |
|---|---|---|
| `probe/constant` | the value loss | V = 1 |
| `probe/discounted` | the discount | V(0) = g, V(1) = 1 |
| `probe/observation` | whether the value depends on the observation | V(obs) = obs |
| `probe/action` | the policy's gradient | Q(0) = 0, Q(1) = 1 |
| `probe/action-observation` | a policy that depends on the observation | Q = 1 where the action is right, else -1 |
| `probe/truncation` | bootstrapping where a limit cuts the episode | V = 1 / (1 - g) |
| `probe/both-flags` | that an ending wins over a limit in the same step | V(t) = 1 + g + ... + g^(length - 1 - t) |
| `probe/action-mask` | legal actions | Q(a) = a for the legal ones of 0, 1 and 2, V = 1 or 2 |
| `probe/continuous` | continuous actions | Q(a) = -(a - target)^2 |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.errors import require
from rljax.types import LEGAL, Array, Box, Dict, Discrete, Env, Space, StepResult


class Task(struct.PyTreeNode):
    """The numbers of a probe: an episode ends after `length` steps, or is truncated after `limit` if that is sooner."""

    length: Array  # [] int32
    limit: Array  # [] int32
    target: Array  # [] float32; used by `probe/continuous`


class State(struct.PyTreeNode):
    """The observation shown, and the steps taken."""

    obs: Any  # [1] float32, or a dict of it and a mask
    time: Array  # [] int32


FOREVER = np.iinfo(np.int32).max
BINARY = Discrete(2)


def constant() -> Env:
    """One step, reward 1 whatever the agent does: V = 1."""
    return _probe("probe/constant", _zero, lambda obs, action, task: jnp.ones(()))


def discounted() -> Env:
    """Two steps, showing 0 then 1; the second one gives reward 1: V(0) = discount, V(1) = 1."""

    def reward(obs: Array, action: Array, task: Task) -> Array:
        return obs[0]

    return _probe("probe/discounted", _zero, reward, show=_count, high=2.0, length=2)


def observation() -> Env:
    """One step, showing -1 or +1 by chance and giving that as the reward: V(obs) = obs."""
    return _probe("probe/observation", _sign, lambda obs, action, task: obs[0])


def action() -> Env:
    """One step, whose reward is the action, 0 or 1: Q(0) = 0, Q(1) = 1; the best policy has V = 1."""
    return _probe("probe/action", _zero, lambda obs, action, task: action.astype(jnp.float32))


def action_observation() -> Env:
    """One step, showing -1 or +1 by chance; action 1 is right at +1, action 0 at -1. Reward 1 if right, else -1.

    Q(obs, action) is that reward; the best policy has V = 1, any policy that ignores the observation 0 on average.
    """
    return _probe("probe/action-observation", _sign, lambda obs, action, task: obs[0] * (2.0 * action - 1.0))


def truncation(limit: int = 10) -> Env:
    """One state, reward 1 a step, never an end, only a limit: V = 1 / (1 - discount), however short the limit."""
    return _probe("probe/truncation", _zero, lambda obs, action, task: jnp.ones(()), length=FOREVER, limit=limit)


def both_flags(length: int = 4) -> Env:
    """Reward 1 a step, showing the steps taken; ends on the last step that its limit allows.

    It is terminated, not truncated: V(t) = (1 - discount^(length - t)) / (1 - discount), so 1 before the last step.
    """

    def reward(obs: Array, action: Array, task: Task) -> Array:
        return jnp.ones(())

    high = float(length)
    return _probe("probe/both-flags", _zero, reward, show=_count, high=high, length=length, limit=length)


def action_mask() -> Env:
    """One step, whose reward is the action, 0, 1 or 2, but 1000 if it is illegal; 2 is legal by chance, 0 and 1 always.

    Q(a) = a for legal actions, V(obs) = 1 + obs: it shows 1 where 2 is legal, else 0. No legal policy gets more than 2.
    """

    def start(key: Array) -> dict[str, Array]:
        allowed = jax.random.bernoulli(key)
        return {LEGAL: jnp.array([True, True, False]).at[2].set(allowed), "obs": allowed.astype(jnp.float32)[None]}

    def reward(obs: dict[str, Array], action: Array, task: Task) -> Array:
        return jnp.where(obs[LEGAL][action], action.astype(jnp.float32), 1000.0)

    bound, mask = np.ones(1, np.float32), np.ones(3, bool)
    space = Dict({LEGAL: Box(~mask, mask, np.dtype(bool)), "obs": Box(-bound, bound)})
    return _probe("probe/action-mask", start, reward, space=space, action_space=Discrete(3))


def continuous(target: float = 0.5) -> Env:
    """One step with an action in [-1, 1], reward -(action - target)^2: the best action is the target, with V = 0."""
    require(-1.0 <= target <= 1.0, "target", target, "must lie in [-1, 1]")
    one = np.ones(1, np.float32)

    def reward(obs: Array, action: Array, task: Task) -> Array:
        return -jnp.square(action[0] - task.target)

    return _probe("probe/continuous", _zero, reward, action_space=Box(-one, one), target=target)


def _zero(key: Array) -> Array:
    return jnp.zeros(1)


def _sign(key: Array) -> Array:
    return jax.random.rademacher(key, (1,), jnp.float32)


def _same(obs: Any, time: Array) -> Any:
    return obs


def _count(obs: Array, time: Array) -> Array:
    return jnp.full(1, time, jnp.float32)


def _probe(
    name: str,
    start: Callable[[Array], Any],
    reward: Callable[[Any, Array, Task], Array],
    *,
    show: Callable[[Any, Array], Any] = _same,
    high: float = 1.0,
    space: Space | None = None,
    action_space: Space = BINARY,
    length: int = 1,
    limit: int = FOREVER,
    target: float = 0.0,
) -> Env:
    """An environment that starts at `start(key)`, pays `reward(obs, action, task)` and then shows `show(obs, time)`."""
    require(length > 0, "length", length, "must be positive")
    require(limit > 0, "limit", limit, "must be positive")

    def reset(key: Array, task: Task) -> tuple[State, Any]:
        obs = start(key)
        return State(obs, jnp.int32(0)), obs

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        time = state.time + 1
        obs = show(state.obs, time)
        terminated = time >= task.length
        truncated = jnp.logical_and(time >= task.limit, jnp.logical_not(terminated))
        return State(obs, time), StepResult(obs, reward(state.obs, action, task), terminated, truncated)

    bound = np.full(1, high, np.float32)
    task: Any = Task(jnp.int32(length), jnp.int32(limit), jnp.float32(target))
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (3,)),
        task,
        space or Box(-bound, bound),
        action_space,
        time_limit=lambda task: jnp.minimum(task.length, task.limit),
    )
