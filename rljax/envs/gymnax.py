"""The environments of Gymnax 1.x: classic control, MinAtar, bsuite and miscellaneous ones.

Gymnax's `step` resets by itself and would hide the true successor; the adapter calls `step_env` and `is_truncated`
instead. The task is Gymnax's parameter object with every field an array, so each constant can be swept.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.declarations import of_number
from rljax.envs import render
from rljax.envs.catalogue import check_arguments
from rljax.errors import require
from rljax.ops.tree import as_arrays
from rljax.types import Array, Box, Dict, Discrete, Env, Space, StepResult

WIDER = {
    "MemoryChain-bsuite": (-1.0, 1.0),  # the context bits are -1 or 1
    "GaussianBandit-misc": (-np.inf, np.inf),  # it shows the last reward, which is Gaussian
    "MetaMaze-misc": (-np.inf, np.inf),  # it shows the last reward, which the task sets
}
"""What these environments show, found by running them; the spaces that Gymnax states are narrower."""

DEFERRED = ("matplotlib", "matplotlib.pyplot", "matplotlib.colors", "matplotlib.animation", "seaborn")
"""What Gymnax imports but needs only to draw."""


@modes.in_32_bits()
def make(name: str, **kwargs: Any) -> Env:
    """Makes the Gymnax environment `name`.

    Args:
      name: one of `catalogue.GYMNAX`.
      **kwargs: arguments of the environment's class (`use_minimal_action_set=False`) or new values for fields of the
        task (`max_steps_in_episode=200`).

    Raises:
      ConfigError: an argument that is neither.
    """
    factory = _import_gymnax().registration._registry[name]
    known = set(inspect.signature(factory).parameters)
    env = factory(**{k: v for k, v in kwargs.items() if k in known})
    fields = [f.name for f in dataclasses.fields(env.default_params)]
    check_arguments(name, kwargs, [*known, *fields])
    defaults = as_arrays(env.default_params)
    changes = {k: of_number(getattr(defaults, k)).convert(k, v) for k, v in kwargs.items() if k in fields}
    limit = changes.get("max_steps_in_episode", 1)
    require(limit >= 1, "max_steps_in_episode", limit, "must be at least 1")
    params = dataclasses.replace(env.default_params, **changes)
    made = adapted(name, env, params, lambda state, task: env.is_truncated(state, task))
    return dataclasses.replace(
        made,
        observation_space=_widened(name, made.observation_space),
        render=_renderer(name, env),
        time_limit=lambda task: task.max_steps_in_episode,
    )


def adapted(name: str, env: Any, params: Any, is_truncated: Callable[[Any, Any], Array]) -> Env:
    """An environment with Gymnax's methods, `reset_env` and `step_env`, as an `Env`.

    Args:
      params: its parameters, which become the task.
      is_truncated: whether its limit has been reached, by `(state, task)`, where it did not terminate.
    """
    task = as_arrays(params)
    obs = jax.eval_shape(env.reset_env, jax.random.key(0), task)[0]

    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        obs, state = env.reset_env(key, task)
        return as_arrays((state, obs))

    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        obs, state, reward, terminated, *_ = env.step_env(key, state, action, task)
        truncated = jnp.logical_and(is_truncated(state, task), jnp.logical_not(terminated))
        result = StepResult(obs, jnp.asarray(reward, jnp.float32), jnp.asarray(terminated, bool), truncated)
        return as_arrays((state, result))

    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=space_of(env.observation_space(params), obs),
        action_space=space_of(env.action_space(params)),
    )


def _renderer(name: str, env: Any) -> Callable[[Any, Any], np.ndarray] | None:
    if name in render.CLASSIC:
        return render.CLASSIC[name]
    if name.endswith("-MinAtar") or name in ("Catch-bsuite", "DeepSea-bsuite", "Pong-misc"):
        return lambda state, task: render.grid(env.observe(jax.random.key(0), state, None, task))
    return None


class _Deferred(ModuleType):
    """Stands for a module that is imported when it is first used."""

    __path__ = ()  # pyright: ignore[reportAssignmentType]  a package, so that its sub-modules may have stand-ins too

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self.__name__), attribute)


def _import_gymnax() -> Any:
    """Imports Gymnax without the libraries that it needs only to draw: 0.3 s instead of 3.6 s.

    The stand-ins are gone from `sys.modules` afterwards, so whoever imports these libraries gets the real ones.
    """
    if "gymnax" in sys.modules:
        return sys.modules["gymnax"]
    stand_ins = {name: _Deferred(name) for name in DEFERRED if name not in sys.modules}
    for name, module in stand_ins.items():
        parent, _, child = name.rpartition(".")
        if parent in stand_ins:
            setattr(stand_ins[parent], child, module)
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("gymnax")
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def _widened(name: str, space: Space) -> Space:
    if name not in WIDER or not isinstance(space, Box):
        return space
    low, high = WIDER[name]
    return Box(np.minimum(space.low, np.float32(low)), np.maximum(space.high, np.float32(high)), space.dtype)


def space_of(space: Any, like: Any = None) -> Space:
    """Converts a space of Gymnax's kind.

    Args:
      like: what it contains, whose dtypes count where the space states others.
    """
    if hasattr(space, "spaces") and isinstance(space.spaces, Mapping):
        parts = {name: (each, None if like is None else like[name]) for name, each in space.spaces.items()}
        return Dict({name: space_of(*part) for name, part in parts.items()})
    if hasattr(space, "n") and not np.shape(space.n):
        return Discrete(int(space.n))
    require(hasattr(space, "low") and hasattr(space, "high"), "space", type(space).__name__, "must be Box or Discrete")
    dtype = np.dtype(space.dtype if like is None else like.dtype)
    low, high = (np.broadcast_to(np.asarray(b, np.float32), space.shape) for b in (space.low, space.high))
    largest = np.finfo(np.float32).max  # Gymnax's way to write infinity
    low, high = np.where(low <= -largest, -np.inf, low), np.where(high >= largest, np.inf, high)
    return Box(low.astype(np.float32), high.astype(np.float32), dtype)
