"""NAVIX: MiniGrid's rooms in JAX, by the names that MiniGrid has for them.

An observation shows what is in each cell, its colour and its state, as categories: `MultiDiscrete(nvec, grid)`, of the
whole room, or of the cells before the agent (`view="first_person"`). The limit is `task.max_steps`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.envs.suites.catalogue import NAVIX
from rljax.envs.suites.shared import NEVER, Counted, Limit, as_bytes, begun, counted, library
from rljax.kinds import Choice, Count
from rljax.ops.tree import as_arrays
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

KINDS = (11, 6, 4)  # of tags, colours, and states of a door or directions of the agent
VIEWS = {"full": "symbolic", "first_person": "symbolic_first_person"}


@modes.in_32_bits()
def make(name: str, max_steps: int | None = None, view: str = "full") -> Env:
    """Makes the environment `navix/Empty-8x8`, say.

    Args:
      max_steps: the limit; by default four times the cells of the room, as in MiniGrid, whatever the library's is.
      view: `full`, or `first_person`.

    Raises:
      ConfigError: navix is not installed, or an argument that cannot be.
    """
    navix = library("navix", "navix")
    see = getattr(navix.observations, VIEWS[Choice(tuple(VIEWS)).convert("view", view)])
    made = navix.make(NAVIX[name.removeprefix("navix/")], max_steps=NEVER, observation_fn=see)
    timestep_of = library("navix", "navix.environments.environment").Timestep
    sprites = made.reset(jax.random.key(0)).state.cache  # the same in every state: none needs to carry it
    limit = Count().convert("max_steps", 4 * made.height * made.width if max_steps is None else max_steps)

    def reset(key: Array, task: Limit) -> tuple[Counted, Array]:
        timestep = made.reset(key)
        return as_arrays((begun(timestep.state.replace(cache=None)), as_bytes(timestep.observation)))

    def step(key: Array, state: Counted, action: Array, task: Limit) -> tuple[Counted, StepResult]:
        before = timestep_of(
            t=state.time,
            observation=jnp.zeros(()),
            action=action,
            reward=jnp.zeros(()),
            step_type=jnp.zeros((), jnp.int32),
            state=state.inner.replace(key=key),  # which the library draws once, when it resets
        )
        after = made._step(before, action)  # `step` would reset by itself
        obs = as_bytes(after.observation)
        return counted(state, after.state, obs, after.reward, after.is_termination(), task.max_steps)

    task = as_arrays(Limit(limit))
    grid = jax.eval_shape(reset, jax.random.key(0), task)[1].shape[:-1]
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=MultiDiscrete(KINDS, grid, np.dtype(np.uint8)),
        action_space=Discrete(len(made.action_set)),
        time_limit=lambda task: task.max_steps,
        render=lambda state, task: np.asarray(navix.observations.rgb(state.inner.replace(cache=sprites))),
    )
