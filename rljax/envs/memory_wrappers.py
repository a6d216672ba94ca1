"""Wrappers for agents with a memory: the past in the observation, and noise on it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.envs.task_wrappers import trial_of
from rljax.envs.wrappers import box, wrapped
from rljax.errors import require
from rljax.kinds import Number
from rljax.nets.features import feature_bounds, flat_features, image_shapes
from rljax.types import Array, Box, Dict, Env, StepResult

PAST = "past"


def with_past(env: Env) -> Env:
    r"""Show the previous action, the previous reward, and whether this is a first observation, with each observation.

    $$x'_t = (x_t, a_{t-1}, r_{t-1}, f_t)$$

    with a discrete action as a one-hot vector, and f 1 in an episode's first observation, else 0; at the start of an
    episode the action and the reward are zeros. Observations become one vector of float32; an image, or a dict, stays
    what it is beside the entry `past`, `{"obs": image, "past": (a, r, f)}`.

    Behind `trials` f is 1 where an inner episode begins, and the action and the reward are those that ended the one
    before: `darkroom/9x9|trials(4)|with_past`.

    Raises:
      ConfigError: the observation has an entry `past` already.

    Source: Duan et al. 2016 (RL^2, arXiv:1611.02779), section 2.2.
    """
    space, actions, agents = env.observation_space, env.action_space, env.agents or 1
    apart = isinstance(space, Dict) or bool(image_shapes(space))
    endless = np.full(agents, np.inf, np.float32)
    low, high = feature_bounds(actions)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)  # which they are before the first action
    past = Box(np.concatenate([low, -endless, [0.0]]), np.concatenate([high, endless, [1.0]]))
    if apart:
        entries = space.spaces if isinstance(space, Dict) else {"obs": space}
        require(PAST not in entries, "env", env.name, "with_past shows an entry past, which is there already; drop it")
        seen = Dict({**entries, PAST: past})
    else:
        lowest, highest = feature_bounds(space)
        seen = Box(np.append(lowest, past.low), np.append(highest, past.high))

    def show(obs: Any, action: Array, reward: Array, first: Array) -> Any:
        before = jnp.concatenate([action, jnp.atleast_1d(reward), first[None]], dtype=jnp.float32)
        if apart:
            return {**(obs if isinstance(space, Dict) else {"obs": obs}), PAST: before}
        return jnp.concatenate([flat_features(space, obs), before], dtype=jnp.float32)

    def reset(key: Array, task: Any) -> tuple[Any, Any]:
        state, obs = env.reset(key, task)
        return state, show(obs, jnp.zeros(low.size), jnp.zeros(agents), jnp.array(True))

    def step(key: Array, state: Any, action: Any, task: Any) -> tuple[Any, StepResult]:
        state, result = env.step(key, state, action, task)
        trial, done = trial_of(state), jnp.clip(flat_features(actions, action), low, high)
        first = jnp.array(False) if trial is None else trial.first
        return state, result._replace(obs=show(result.obs, done, result.reward, first))

    return wrapped(env, "with_past", lambda state: state, reset=reset, step=step, observation_space=seen)


def noisy_observation(env: Env, sigma: float) -> Env:
    r"""Add noise to observations, which are clipped to their bounds.

    $$x'_t = \mathrm{clip}(x_t + \sigma \epsilon_t), \quad \epsilon_t \sim N(0, 1)$$

    Args:
      sigma: the standard deviation of each entry.

    Raises:
      ConfigError: `sigma` is no number of at least 0, or observations are no Box of floats.
    """
    sigma = Number(low=0.0).convert("sigma", sigma)
    space = box(env, "noisy_observation")
    real = jnp.issubdtype(space.dtype, jnp.floating)
    require(real, "env", env.name, f"noisy_observation needs observations of floats, not {space.dtype}")

    def seen(key: Array, obs: Array) -> Array:
        return space.clip(obs + sigma * jax.random.normal(key, obs.shape, space.dtype)).astype(space.dtype)

    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        k_reset, k_noise = jax.random.split(key)
        state, obs = env.reset(k_reset, task)
        return state, seen(k_noise, obs)

    def step(key: Array, state: Any, action: Any, task: Any) -> tuple[Any, StepResult]:
        k_step, k_noise = jax.random.split(key)
        state, result = env.step(k_step, state, action, task)
        return state, result._replace(obs=seen(k_noise, result.obs))

    return wrapped(env, f"noisy_observation({sigma})", lambda state: state, reset=reset, step=step)
