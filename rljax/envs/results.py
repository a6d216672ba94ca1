"""Checks of what `reset` and `step` return, against the spaces and the agents that an environment declares.

All of them raise ConfigError; `same_...` say whether a result is to be kept as it is, or cast.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.envs.abstract import demand, described
from rljax.errors import ConfigError
from rljax.types import Dict, Space, StepResult

FORM = "(state, StepResult(obs, reward, terminated, truncated))"


def of_reset(space: Space, out: Any) -> None:
    """Refuses what is no pair of a state and an observation of the space."""
    pair = isinstance(out, tuple) and len(out) == 2
    demand(pair, f"reset gives {described(out)}: must be (state, obs)")
    swapped = _fits(out[0], space) and not _fits(out[1], space)
    demand(not swapped, "reset gives (obs, state): must be (state, obs); swap the two")
    _require_observation("observation of reset", out[1], space)


def of_step(space: Space, out: Any) -> None:
    """Refuses what is no pair of a state and a `StepResult`."""
    if not (isinstance(out, tuple) and len(out) == 2):
        gym = isinstance(out, tuple) and len(out) in (4, 5)
        hint = "; it is the order of Gymnax or Gymnasium" if gym else ""
        raise ConfigError(f"step gives {described(out)}: must be {FORM}{hint}")
    swapped = isinstance(out[0], StepResult) and not isinstance(out[1], StepResult)
    demand(not swapped, f"step gives (StepResult, state): must be {FORM}; swap the two")
    demand(isinstance(out[1], StepResult), f"step gives a state and {described(out[1])}: must be {FORM}")
    _require_observation("observation of step", out[1].obs, space)
    for name in ("reward", "terminated", "truncated"):
        require_array(name, getattr(out[1], name))


def require_array(what: str, x: Any) -> None:
    """Refuses what is no array or number."""
    remedy = "use jnp.stack or jnp.concatenate" if what.startswith("observation") else "give it alone"
    array = isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float)
    demand(array, f"{what} is {described(x)}: must be one array; {remedy}")


def _require_observation(what: str, obs: Any, space: Space) -> None:
    """Refuses what has not the structure of the space."""
    if not isinstance(space, Dict):
        require_array(what, obs)
        return
    demand(type(obs) is dict, f"{what} is {described(obs)}: must be a dict, as observation_space has it")
    apart = sorted(obs.keys() ^ space.spaces.keys())
    demand(not apart, f"{what} and observation_space differ in {apart[:1]}: must have the same entries")
    for name, each in space.spaces.items():
        _require_observation(f"{what}[{name!r}]", obs[name], each)


def _fits(x: Any, space: Space) -> bool:
    if isinstance(space, Dict):
        return type(x) is dict and x.keys() == space.spaces.keys()
    return isinstance(x, jax.Array | np.ndarray | np.generic) and x.shape == space.shape


def same_observation(what: str, obs: Any, space: Space) -> bool:
    """Whether an observation has the dtypes of the space; refuses one of other shapes or kinds of numbers."""
    if isinstance(space, Dict):
        same = [same_observation(f"{what}[{name!r}]", obs[name], each) for name, each in space.spaces.items()]
        return all(same)
    given, declared = obs.dtype, space.dtype
    said = f"{what} has shape {obs.shape} and observation_space says {space.shape}: must be the same; change either"
    demand(obs.shape == space.shape, said)
    remedy = f"write obs.astype(jnp.{declared}), or declare {given}"
    demand(_holds(declared, given), f"{what} is {given} and observation_space says {declared}: {remedy}")
    return given == declared and not obs.weak_type


def _holds(declared: Any, given: Any) -> bool:
    """Whether numbers of dtype `given` are cast to `declared` without a loss of meaning (64 bits hold 32, for us)."""
    if given in (declared, np.bool_):
        return True
    if jnp.issubdtype(declared, jnp.floating):
        return jnp.issubdtype(given, jnp.integer) or jnp.issubdtype(given, jnp.floating)
    whole = jnp.issubdtype(declared, jnp.integer) and jnp.issubdtype(given, jnp.integer)
    return whole and (np.can_cast(given, declared) or declared.itemsize >= 4)


def same_reward(reward: Any, agents: int | None) -> bool:
    """Whether it is a float32, or one for each agent."""
    _require_shape("reward", reward.shape, agents, "reward.sum()")
    real = jnp.issubdtype(reward.dtype, jnp.floating) or jnp.issubdtype(reward.dtype, jnp.integer)
    demand(real or reward.dtype == bool, f"reward is {reward.dtype}: must be a real number; write reward.real")
    return reward.dtype == jnp.float32 and not reward.weak_type


def check_flags(result: StepResult, agents: int | None) -> None:
    """Refuses flags that are no bool, or not one for each agent."""
    for name in ("terminated", "truncated"):
        flag = getattr(result, name)
        _require_shape(name, flag.shape, agents, f"{name}.any()")
        demand(flag.dtype == bool, f"{name} is {flag.dtype}: must be bool; write {name} > 0")


def _require_shape(name: str, shape: tuple[int, ...], agents: int | None, remedy: str) -> None:
    """Refuses what is no scalar or, where there are several agents, has no entry for each of them."""
    if agents is None:
        require_scalar(name, shape, remedy + (f", or give agents={shape[0]}" if len(shape) == 1 else ""))
        return
    demand(shape == (agents,), f"{name} has shape {shape}: must be ({agents},), an entry for each agent")


def require_scalar(name: str, shape: tuple[int, ...], remedy: str) -> None:
    """Refuses every shape but `()`."""
    remedy = f"{name}[0]" if shape == (1,) else remedy
    demand(shape == (), f"{name} has shape {shape}: must be a scalar; return {remedy}")
