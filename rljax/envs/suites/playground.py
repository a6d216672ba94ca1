"""MuJoCo Playground: the control suite of dm_control in MJX, without a download.

The task is the physical model, whose numbers are traced, and the limit: `task.model.replace(opt=...)` changes gravity.
What an environment's class copies out of the model when it is built, such as the ranges of joints, stays as it was.
Playground's own wrappers give the observation of the reset at the end of an episode, and begin every one in the same
state; neither is so here.
"""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.envs.suites.catalogue import PLAYGROUND
from rljax.envs.suites.shared import Counted, begun, counted, library
from rljax.kinds import Count, Table
from rljax.ops.tree import as_arrays
from rljax.types import Array, Box, Env, Scalar, StepResult


class Task(struct.PyTreeNode):
    """The numbers of an environment of Playground."""

    model: Any  # mjx.Model
    max_steps: Scalar


@modes.in_32_bits()
def make(name: str, max_steps: int | None = None, config: Any = None) -> Env:
    """Makes the environment `playground/CartpoleBalance`, say.

    Args:
      max_steps: the limit; by default the library's, 1000.
      config: entries of the library's configuration to change, by name.

    Raises:
      ConfigError: playground is not installed, or an argument that cannot be.
    """
    registry = library("playground", "mujoco_playground").registry
    changes = {"impl": "jax" if jax.default_backend() == "cpu" else "warp"} | Table().convert("config", config)
    made = registry.load(PLAYGROUND[name.removeprefix("playground/")], config_overrides=changes)
    limit = Count().convert("max_steps", int(made._config.episode_length) if max_steps is None else max_steps)

    def with_model(task: Task) -> Any:
        traced = copy.copy(made)
        traced._mjx_model = task.model
        return traced

    def reset(key: Array, task: Task) -> tuple[Counted, Array]:
        first = with_model(task).reset(key)
        return as_arrays((begun(_kept(first)), _seen(first.obs)))

    def step(key: Array, state: Counted, action: Array, task: Task) -> tuple[Counted, StepResult]:
        del key  # the state has one, where there is chance
        after = with_model(task).step(state.inner, action)
        return counted(state, _kept(after), _seen(after.obs), after.reward, after.done, task.max_steps)

    model = jax.tree.map(np.asarray, made._mjx_model)  # by way of the host, as a task must follow the other arguments
    task = as_arrays(Task(model, limit))
    obs = jax.eval_shape(reset, jax.random.key(0), task)[1]
    unbounded, action = np.full(obs.shape, np.inf, np.float32), np.ones(made.action_size, np.float32)
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=Box(-unbounded, unbounded),
        action_space=Box(-action, action),
        time_limit=lambda task: task.max_steps,
        costly_reset=True,
    )


def _kept(state: Any) -> Any:
    """The state without the reward and the flag of the step before it, which a reset does not undo."""
    return state.replace(reward=jnp.zeros(()), done=jnp.zeros(()))


def _seen(obs: Any) -> Array:
    """One array; of an environment that shows more to a critic, what the agent sees."""
    return obs["state"] if isinstance(obs, dict) else obs
