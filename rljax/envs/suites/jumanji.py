"""Jumanji: packing, routing, puzzles and games, many of whose actions are illegal in many states.

Observations are dicts by the names of Jumanji's fields; `action_mask` says which actions are legal. Actions of several
parts that a mask rules together are numbered, as `jnp.unravel_index` does; several agents act as one, whose reward is
their mean. The limit of those that have one is `task.max_steps`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.envs.catalogue import check_arguments
from rljax.envs.suites.catalogue import JUMANJI
from rljax.envs.suites.shared import NEVER, Counted, Limit, begun, counted, library
from rljax.errors import require
from rljax.kinds import Count
from rljax.ops.tree import as_arrays
from rljax.types import LEGAL, Array, Box, Dict, Discrete, Env, MultiDiscrete, Space, StepResult

LIMIT = "time_limit"  # the argument that sets the library's own limit
BY_LIMIT = ("jumanji/MMST", "jumanji/SearchAndRescue")  # their arrays, or rewards, depend on it

WIDER = {"jumanji/TSP": {"position": -1.0}}  # before the first city; the library's specification begins at 0


@modes.in_32_bits()
def make(name: str, max_steps: int | None = None, **kwargs: Any) -> Env:
    """Makes the environment `jumanji/Snake`, say.

    Args:
      max_steps: the limit; by default the library's, where it has one.
      **kwargs: arguments of the environment's class (`generator=...`).

    Raises:
      ConfigError: jumanji is not installed, or there is no such argument.
    """
    jumanji, number = library("jumanji", "jumanji"), JUMANJI[name.removeprefix("jumanji/")]
    default = jumanji.make(number)
    known = [x for x in inspect.signature(type(default).__init__).parameters if x not in ("self", "viewer", LIMIT)]
    check_arguments(name, kwargs, known)
    limited, fixed = hasattr(default, LIMIT), name in BY_LIMIT
    require(limited or max_steps is None, "max_steps", max_steps, f"{name} ends by itself")
    limit = Count().convert("max_steps", int(getattr(default, LIMIT, NEVER)) if max_steps is None else max_steps)
    made = jumanji.make(number, **kwargs, **({LIMIT: limit if fixed else NEVER} if limited else {}))
    joint = _joint(made)

    def seen(observation: Any) -> Any:
        obs = {n: jnp.asarray(x) for n, x in _named(observation).items()}
        return obs | {LEGAL: obs[LEGAL].reshape(-1)} if LEGAL in obs else obs

    def reset(key: Array, task: Limit) -> tuple[Counted, Any]:
        state, timestep = made.reset(key)
        return as_arrays((begun(state), seen(timestep.observation)))

    def step(key: Array, state: Counted, action: Array, task: Limit) -> tuple[Counted, StepResult]:
        del key  # the library's state has one
        choice = action if joint is None else jnp.stack(jnp.unravel_index(action, joint))
        inner, timestep = made.step(state.inner, choice)
        last = timestep.last()
        terminated = jnp.logical_and(last, state.time + 1 < task.max_steps) if fixed else last
        reward = jnp.asarray(timestep.reward, jnp.float32).mean()
        return counted(state, inner, seen(timestep.observation), reward, terminated, task.max_steps)

    task = as_arrays(Limit(limit))
    like = jax.eval_shape(reset, jax.random.key(0), task)[1]
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=_observations(made.observation_spec, like, WIDER.get(name, {})),
        action_space=_actions(made.action_spec, _mask(made)) if joint is None else Discrete(math.prod(joint)),
        time_limit=(lambda task: task.max_steps) if limited else None,
        costly_reset=True,
        render=lambda state, task: _picture(made, state.inner),
    )


def _joint(made: Any) -> tuple[int, ...] | None:
    """The sizes of the parts of an action that one mask rules together; None where there are no such parts."""
    mask = _mask(made)
    parts = np.asarray(getattr(made.action_spec, "num_values", 0))
    together = mask is not None and parts.ndim > 0 and tuple(mask.shape) == tuple(parts.ravel())
    return tuple(int(n) for n in parts.ravel()) if together else None


def _mask(made: Any) -> Any:
    """The specification of the mask of legal actions, or None."""
    return getattr(made.observation_spec, LEGAL, None)


def _parts(observation: Any) -> dict[str, Any] | None:
    """The parts of an observation by their names; None where it has none."""
    if hasattr(observation, "_asdict"):
        return observation._asdict()
    if dataclasses.is_dataclass(observation):
        return {f.name: getattr(observation, f.name) for f in dataclasses.fields(observation)}
    return dict(observation) if isinstance(observation, Mapping) else None


def _named(observation: Any, prefix: str = "") -> dict[str, Any]:
    """The arrays of an observation by their names, those of parts within it as `part.name`."""
    found = {}
    for name, value in (_parts(observation) or {"obs": observation}).items():
        inside = _parts(value)
        found |= {prefix + name: value} if inside is None else _named(value, f"{prefix}{name}.")
    return found


def _observations(spec: Any, like: Mapping[str, Any], lowest: Mapping[str, float]) -> Dict:
    """The space of observations, with the bounds of the specifications that have any, or these lower ones."""
    specs: dict[str, Any] = {}

    def collect(part: Any, prefix: str) -> None:
        for name, each in getattr(part, "_specs", {}).items():
            collect(each, f"{prefix}{name}.")
            specs[f"{prefix}{name}"] = each

    collect(spec, "")
    return Dict({name: _box(specs.get(name), x, lowest.get(name)) for name, x in like.items()})


def _box(spec: Any, like: Any, lowest: float | None) -> Space:
    low, high = (getattr(spec, end, bound) for end, bound in (("minimum", -np.inf), ("maximum", np.inf)))
    low = low if lowest is None else lowest
    if like.dtype == bool:
        low, high = 0, 1
    low, high = (np.broadcast_to(np.asarray(end, np.float32), like.shape) for end in (low, high))
    return Box(low, high, np.dtype(like.dtype))


def _actions(spec: Any, mask: Any) -> Space:
    values = getattr(spec, "num_values", None)
    if values is None and np.issubdtype(spec.dtype, np.integer):  # from 0; a mask says how many
        values = np.broadcast_to(np.asarray(spec.maximum) + 1 if mask is None else mask.shape[-1], spec.shape)
    if values is None:
        low, high = (np.broadcast_to(np.asarray(x, np.float32), spec.shape) for x in (spec.minimum, spec.maximum))
        return Box(low, high)
    values = np.asarray(values)
    return Discrete(int(values)) if values.ndim == 0 else MultiDiscrete(tuple(int(n) for n in values.ravel()))


def _picture(made: Any, state: Any) -> np.ndarray:
    """The figure that the library draws, as an image."""
    import matplotlib.pyplot as plt

    made.render(state)
    figure = plt.gcf()
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # pyright: ignore[reportAttributeAccessIssue]
    plt.close(figure)
    return image
