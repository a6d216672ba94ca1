"""Craftax and Craftax-Classic: open-ended survival in a world that every episode makes anew.

The task is Craftax's parameters, whose numbers are traced: `max_timesteps`, the length of a day, the chances that
creatures appear. A reset makes a world, which costs far more than a step, so only episodes that end pay for one.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.declarations import of_number
from rljax.envs.catalogue import check_arguments
from rljax.envs.gymnax import space_of
from rljax.envs.suites.catalogue import CRAFTAX
from rljax.envs.suites.shared import NEVER, library
from rljax.errors import require
from rljax.ops.tree import as_arrays
from rljax.types import Array, Env, StepResult

BLOCK = 16  # pixels of a block in a picture


@modes.in_32_bits()
def make(name: str, **kwargs: Any) -> Env:
    """Makes the environment `craftax/symbolic`, say.

    Args:
      **kwargs: new values for fields of the task (`max_timesteps=1000`).

    Raises:
      ConfigError: craftax is not installed, or there is no such field.
    """
    made = library("craftax", "craftax.craftax_env").make_craftax_env_from_name(
        CRAFTAX[name.removeprefix("craftax/")], auto_reset=False
    )
    default = made.default_params
    known = [f.name for f in dataclasses.fields(default) if jax.tree.leaves(getattr(default, f.name))]
    check_arguments(name, kwargs, known)
    numbers = {n: of_number(as_arrays(getattr(default, n))).convert(n, value) for n, value in kwargs.items()}
    task = as_arrays(default.replace(**numbers))
    limit = int(task.max_timesteps)
    require(limit >= 1, "max_timesteps", limit, "must be at least 1")

    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        obs, state = made.reset_env(key, task)
        return as_arrays((state, obs))

    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        obs, state, reward, done, _ = made.step_env(key, state, action, task)
        terminated = jnp.asarray(made.is_terminal(state, task.replace(max_timesteps=NEVER)), bool)
        truncated = jnp.logical_and(done, ~terminated)
        return as_arrays((state, StepResult(obs, jnp.asarray(reward, jnp.float32), terminated, truncated)))

    obs = jax.eval_shape(reset, jax.random.key(0), task)[1]
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=space_of(made.observation_space(default), obs),
        action_space=space_of(made.action_space(default)),
        time_limit=lambda task: task.max_timesteps,
        costly_reset=True,
        render=_renderer("craftax_classic" if "classic" in name else "craftax"),
    )


def _renderer(package: str) -> Any:
    @functools.cache  # it reads textures, and is made when the first picture is wanted
    def renderer() -> Any:
        return jax.jit(library("craftax", f"craftax.{package}.renderer").make_craftax_pixel_renderer(BLOCK))

    def picture(state: Any, task: Any) -> np.ndarray:
        return np.asarray(renderer()(state)).clip(0, 255).astype(np.uint8)

    return picture
