"""Wrappers: functions `Env -> Env` that compose in any order.

A wrapper changes the spaces, the bound on the episode's length and the true successor along with the observation, and
leaves at most one of the two flags set. It adds itself to the name: `frame_stack(make("CartPole-v1"), 4)` is
`CartPole-v1|frame_stack(4)`. It keeps the task: numbers given to a wrapper are compiled in, those of the task are not.
Wrappers that change the task are in `task_wrappers`, those for agents with a memory in `memory_wrappers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.errors import ConfigError, require
from rljax.ops.explore import legal
from rljax.spaces import cast, like, zeros
from rljax.types import Array, Box, Env, Space, StepResult

_Map = Callable[[Array], Array]


def flatten_observation(env: Env) -> Env:
    """Flatten observations: `[H, W, C]` becomes `[H*W*C]`."""
    space = box(env, "flatten_observation")
    flat = Box(space.low.reshape(-1), space.high.reshape(-1), space.dtype)
    return _map_observation(env, "flatten_observation", lambda obs: obs.reshape(-1), flat)


def mask_observation(env: Env, hidden: Sequence[int] | Sequence[bool] | np.ndarray) -> Env:
    """Hide entries of the observation, by setting them to 0: the environment becomes partially observable.

    Args:
      env: its observations have any shape.
      hidden: indices into the last axis, or booleans that broadcast against the observation, True to hide.

    Raises:
      ConfigError: an index or a shape that does not fit.
    """
    space = box(env, "mask_observation")
    hidden = np.asarray(hidden)
    if hidden.dtype == bool:
        fits = hidden.ndim <= len(space.shape) and all(
            h in (1, s) for h, s in zip(hidden.shape[::-1], space.shape[::-1])
        )
        require(fits, "hidden", hidden.tolist(), f"booleans must broadcast to the observation {space.shape}")
        mask = np.broadcast_to(hidden, space.shape)
    else:
        size = space.shape[-1] if space.shape else 0
        fits = np.issubdtype(hidden.dtype, np.integer) and np.all((hidden >= -size) & (hidden < size))
        require(bool(fits), "hidden", hidden.tolist(), f"indices must be integers below {size}, the last axis")
        mask = np.zeros(space.shape, bool)
        mask[..., hidden] = True
    seen = Box(np.where(mask, 0, space.low), np.where(mask, 0, space.high), space.dtype)
    label = f"mask_observation({str(hidden.tolist()).replace(' ', '')})"
    return _map_observation(env, label, lambda obs: jnp.where(mask, jnp.zeros_like(obs), obs), seen)


def clip_action(env: Env) -> Env:
    """Take any real action and clip it to the environment's bounds."""
    space = action_box(env, "clip_action")
    anything = np.full(space.shape, np.inf, np.float32)
    return _map_action(env, "clip_action", lambda a: jnp.clip(a, space.low, space.high), Box(-anything, anything))


def rescale_action(env: Env, low: float = -1.0, high: float = 1.0) -> Env:
    """Take actions in [low, high], and stretch that interval linearly to the environment's bounds.

    Raises:
      ConfigError: the environment's bounds are infinite, or low >= high.
    """
    space = action_box(env, "rescale_action")
    require(low < high, "low", low, f"must be below high={high}")
    require(space.bounded, "env", env.name, "rescale_action needs finite action bounds")

    def stretch(action: Array) -> Array:
        # A mix of the two bounds rather than an offset from one: exact at both ends.
        part = (action - low) / (high - low)
        return jnp.asarray((1.0 - part) * space.low + part * space.high, space.dtype)

    ours = Box(np.full(space.shape, low, np.float32), np.full(space.shape, high, np.float32))
    return _map_action(env, f"rescale_action({low},{high})", stretch, ours)


class TimedState(struct.PyTreeNode):
    """The inner state, and the steps taken."""

    inner: Any
    time: Array  # [] int32


def time_limit(env: Env, max_steps: int) -> Env:
    """Truncate episodes after `max_steps` steps of this environment."""
    require(max_steps > 0, "max_steps", max_steps, "must be positive")

    def reset(key: Array, task: Any) -> tuple[TimedState, Array]:
        inner, obs = env.reset(key, task)
        return TimedState(inner, jnp.int32(0)), obs

    def step(key: Array, state: TimedState, action: Array, task: Any) -> tuple[TimedState, StepResult]:
        inner, result = env.step(key, state.inner, action, task)
        time = state.time + 1
        over = jnp.logical_or(result.truncated, time >= max_steps)
        truncated = jnp.logical_and(over, jnp.logical_not(result.terminated))
        return TimedState(inner, time), result._replace(truncated=truncated)

    inner = env.time_limit
    changes: dict[str, Any] = {
        "reset": reset,
        "step": step,
        "time_limit": lambda task: max_steps if inner is None else jnp.minimum(max_steps, inner(task)),
    }
    return wrapped(env, f"time_limit({max_steps})", lambda state: state.inner, **changes)


def action_repeat(env: Env, n: int) -> Env:
    """Take each action `n` times, or until the episode ends; the reward is the sum."""
    require(n > 0, "n", n, "must be positive")
    _refuse_mask(env, "action_repeat")

    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        def again(carry: tuple[Any, StepResult], key: Array) -> tuple[Any, None]:
            state, total = carry
            ended = env.ended(total.terminated, total.truncated)
            after, result = env.step(key, state, action, task)
            summed = (after, result._replace(reward=total.reward + result.reward))
            return jax.tree.map(lambda old, new: jnp.where(ended, old, new), carry, summed), None

        shapes = jax.eval_shape(env.step, key, state, action, task)[1]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(again, (state, nothing), jax.random.split(key, n))[0]

    inner = env.time_limit
    changes: dict[str, Any] = {
        "step": step,
        "time_limit": None if inner is None else lambda task: -(-inner(task) // n),
    }
    return wrapped(env, f"action_repeat({n})", lambda state: state, **changes)


class StackedState(struct.PyTreeNode):
    """The inner state, and the last observations, oldest first."""

    inner: Any
    frames: Array  # [n, ...]


def frame_stack(env: Env, n: int) -> Env:
    """Show the last `n` observations together, newest last, along the last axis: `[H, W, C]` becomes `[H, W, n*C]`.

    An episode starts with `n` copies of its first observation.
    """
    space = box(env, "frame_stack")
    require(n > 0, "n", n, "must be positive")
    require(len(space.shape) > 0, "env", env.name, "frame_stack needs observations with an axis")

    def reset(key: Array, task: Any) -> tuple[StackedState, Array]:
        inner, obs = env.reset(key, task)
        frames = jnp.stack([obs] * n)
        return StackedState(inner, frames), _side_by_side(frames)

    def step(key: Array, state: StackedState, action: Array, task: Any) -> tuple[StackedState, StepResult]:
        inner, result = env.step(key, state.inner, action, task)
        frames = jnp.concatenate([state.frames[1:], result.obs[None]])
        return StackedState(inner, frames), result._replace(obs=_side_by_side(frames))

    low, high = (np.concatenate([bound] * n, axis=-1) for bound in (space.low, space.high))
    changes = {"reset": reset, "step": step, "observation_space": Box(low, high, space.dtype)}
    return wrapped(env, f"frame_stack({n})", lambda state: state.inner, **changes)


class StickyState(struct.PyTreeNode):
    """The inner state, and the action that the environment last took."""

    inner: Any
    action: Any
    first: Array  # [] bool: no action was taken yet


def sticky_actions(env: Env, prob: float) -> Env:
    """With probability `prob`, the environment takes its previous action again instead of the given one.

    The first action of an episode is always the given one. Source: Machado et al. 2018, section 5.2.
    """
    require(0.0 <= prob < 1.0, "prob", prob, "must lie in [0, 1)")
    _refuse_mask(env, "sticky_actions")
    space = env.action_space

    def reset(key: Array, task: Any) -> tuple[StickyState, Array]:
        inner, obs = env.reset(key, task)
        return StickyState(inner, zeros(space), jnp.array(True)), obs

    def step(key: Array, state: StickyState, action: Array, task: Any) -> tuple[StickyState, StepResult]:
        k_stick, k_step = jax.random.split(key)
        stick = jnp.logical_and(jax.random.bernoulli(k_stick, prob), jnp.logical_not(state.first))
        taken = jax.tree.map(lambda old, new: jnp.where(stick, old, new), state.action, cast(space, action))
        inner, result = env.step(k_step, state.inner, taken, task)
        return StickyState(inner, taken, jnp.array(False)), result

    return wrapped(env, f"sticky_actions({prob})", lambda state: state.inner, reset=reset, step=step)


def _map_observation(env: Env, label: str, change: _Map, space: Space) -> Env:
    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        state, obs = env.reset(key, task)
        return state, change(obs)

    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        state, result = env.step(key, state, action, task)
        return state, result._replace(obs=change(result.obs))

    return wrapped(env, label, lambda state: state, reset=reset, step=step, observation_space=space)


def _map_action(env: Env, label: str, change: _Map, space: Space) -> Env:
    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        return env.step(key, state, change(action), task)

    return wrapped(env, label, lambda state: state, step=step, action_space=space)


def wrapped(env: Env, label: str, inner: Callable[[Any], Any], **changes: Any) -> Env:
    """Changes an environment; `inner` finds the state that its renderer takes."""
    picture = env.render
    render = None if picture is None else lambda state, task: picture(inner(state), task)
    return dataclasses.replace(env, name=f"{env.name}|{label}", render=render, **changes)


def _side_by_side(frames: Array) -> Array:
    """Joins `[n, ..., C]` along the last axis: `[..., n*C]`."""
    return jnp.concatenate(list(frames), axis=-1)


def box(env: Env, wrapper: str) -> Box:
    """The space of observations of an environment. Raises ConfigError where it is no Box, as `wrapper` needs."""
    if isinstance(env.observation_space, Box):
        return env.observation_space
    raise ConfigError(f"env={env.name}: {wrapper} needs Box observations, not {_kind(env.observation_space)}")


def action_box(env: Env, wrapper: str) -> Box:
    """The space of actions of an environment. Raises ConfigError where it is no Box, as `wrapper` needs."""
    if isinstance(env.action_space, Box):
        return env.action_space
    raise ConfigError(f"env={env.name}: {wrapper} needs Box actions, not {_kind(env.action_space)}")


def _refuse_mask(env: Env, wrapper: str) -> None:
    if legal(env.observation_space, like(env.observation_space)) is not None:
        raise ConfigError(f"env={env.name}: {wrapper} takes an action where it may not be legal; drop either")


def _kind(space: Space) -> str:
    return type(space).__name__
