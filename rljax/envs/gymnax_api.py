"""Environments of others with the methods of Gymnax, taken as they are: `rljax.train("ppo", env)`.

Gymnax 1.x tells a limit that is reached (`is_truncated`) from the end of an episode. Environments written for its
earlier form do not: their `done` holds both, by a method `is_terminal` that reads the limit in the parameters. They are
asked again with that limit out of reach: what ends then has terminated, and any other end is a truncation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from rljax import runtime
from rljax.envs.gymnax import adapted
from rljax.errors import ConfigError, require
from rljax.types import Env

METHODS = ("reset_env", "step_env", "observation_space", "action_space")
LIMITS = ("max_steps_in_episode", "max_timesteps", "max_steps")  # names of the limit among the parameters
FAR = 2**31 - 1

_adapted: dict[tuple[int, int], tuple[Any, Any, Env]] = {}  # by identities; the objects are kept, or ids would recur


def is_gymnax(given: Any) -> bool:
    """Whether this is an environment of Gymnax's kind, or a pair of one and its parameters, as `gymnax.make` gives."""
    if isinstance(given, tuple):
        return len(given) == 2 and is_gymnax(given[0]) and not is_gymnax(given[1])
    return not isinstance(given, type | Env) and all(hasattr(given, name) for name in METHODS)


def from_gymnax(env: Any, params: Any = None, name: str | None = None) -> Env:
    """An `Env` of an environment with Gymnax's methods; the same object gives the same one.

    Args:
      env: it, or a pair of it and its parameters.
      params: by default `env.default_params`; they become the task, so that each can be swept.
      name: by default its own, behind `gymnax/`.

    Raises:
      ConfigError: it has no such methods, resets by itself, or holds its limit where it cannot be found.
    """
    if isinstance(env, tuple):
        env, params = env
    require(is_gymnax(env), "env", type(env).__name__, f"must have {', '.join(METHODS)}")
    inner = type(env).__name__
    remedy = "is a wrapper, and would be lost; give what is in it, and wrap that by rljax.envs.wrappers"
    require(hasattr(type(env), "step_env"), "env", inner, remedy)
    key = id(env), id(params)
    if key not in _adapted:
        runtime.start()
        _adapted[key] = env, params, _made(env, env.default_params if params is None else params, name)
    return _adapted[key][2]


def _made(env: Any, params: Any, name: str | None) -> Env:
    fields = [f.name for f in dataclasses.fields(params)] if dataclasses.is_dataclass(params) else []
    limit = next((each for each in LIMITS if each in fields), None)
    name = name or f"gymnax/{getattr(env, 'name', type(env).__name__)}"
    if not _mixes_ends(env):
        made = adapted(name, env, params, lambda state, task: env.is_truncated(state, task))
    elif limit is None:
        remedy = f"its is_terminal may hold a limit, but its parameters have none of {', '.join(LIMITS)}"
        raise ConfigError(f"env={name}: {remedy}; give an rljax.types.Env")
    else:
        made = _with_ends_apart(name, env, params, limit)
    bounds = (lambda task: getattr(task, limit)) if limit else None
    return dataclasses.replace(made, time_limit=bounds, costly_reset=True)


def _mixes_ends(env: Any) -> bool:
    """Whether what this environment calls done holds its limit, as before Gymnax 1.0."""
    ends = getattr(type(env), "is_terminal", None)
    return not hasattr(env, "is_truncated") or (ends is not None and not ends.__module__.startswith("gymnax."))


def _with_ends_apart(name: str, env: Any, params: Any, limit: str) -> Env:
    made = adapted(name, env, params, lambda state, task: jnp.bool_(False))

    def step(key, state, action, task):
        state, result = made.step(key, state, action, task)
        far = dataclasses.replace(task, **{limit: jnp.full_like(getattr(task, limit), FAR)})
        terminated = result.terminated & jnp.asarray(env.is_terminal(state, far), bool)
        return state, result._replace(terminated=terminated, truncated=result.terminated & ~terminated)

    require(np.ndim(getattr(params, limit)) == 0, limit, getattr(params, limit), "must be one number")
    return dataclasses.replace(made, step=step)
