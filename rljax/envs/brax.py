"""The continuous-control environments of Brax, on its four physics backends.

The whole physical system is part of the task, so gravity, masses, friction or gears can be swept. That costs next to
nothing against compiling the system in. CPU time per step, 64 environments on one core, compiled in and traced: ant
generalized 132 and 134 us, spring 42 and 44, positional 157 and 163, mjx 57 and 54, halfcheetah generalized 247 and
247, humanoid spring 52 and 53. Compile times are the same within 10 %.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import io
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.envs.catalogue import BRAX_BACKENDS, check_arguments
from rljax.errors import require, unknown
from rljax.ops.tree import as_arrays
from rljax.types import Array, Box, Env, StepResult


class Task(struct.PyTreeNode):
    """The numbers of a Brax environment.

    To change the physics: `task.replace(sys=task.sys.tree_replace({"gravity": jnp.array([0.0, 0.0, -3.7])}))`. The mjx
    backend reads MuJoCo's fields (`opt.gravity`, `body_mass`), the others Brax's (`gravity`, `link.inertia.mass`).
    """

    sys: Any  # brax.base.System
    max_steps: Array  # [] int32


class State(struct.PyTreeNode):
    """The state of the bodies, and the steps that the episode has taken."""

    pipeline: Any  # brax.base.State of the backend
    time: Array  # [] int32


@modes.in_32_bits()
def make(name: str, backend: str | None = None, max_steps: int = 1000, **kwargs: Any) -> Env:
    """Makes the Brax environment `name`.

    Args:
      name: one of `catalogue.BRAX`, with the backend appended or not: `brax/ant/spring`.
      backend: generalized (the default), spring, positional or mjx.
      max_steps: after so many steps the episode is truncated.
      **kwargs: arguments of the environment's class (`healthy_reward=0.0`).

    Raises:
      ConfigError: an unknown backend or argument.
    """
    short, _, suffix = name.removeprefix("brax/").partition("/")
    require(not (suffix and backend), "backend", repr(backend), f"given twice, '{name}' has one; drop either")
    backend = suffix or backend or "generalized"
    if backend not in BRAX_BACKENDS:
        raise unknown(f"backend of brax/{short}", backend, BRAX_BACKENDS)
    require(max_steps > 0, "max_steps", max_steps, "must be positive")
    return _adapt(_build(short, backend, kwargs), f"brax/{short}/{backend}".removesuffix("/generalized"), max_steps)


def _build(short: str, backend: str, kwargs: dict[str, Any]) -> Any:
    """Builds the environment with Brax."""
    with _quiet():
        from brax import envs

        factory = envs._envs[short]
        parameters = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_KEYWORD]
        check_arguments(f"brax/{short}", kwargs, [*parameters, "n_frames", "debug"])
        return factory(backend=backend, **kwargs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Brax (it is not developed any more), MJX (Warp is missing) and MuJoCo (old XML)."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mujoco: Any = importlib.import_module("mujoco")
        before = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda message: None)
        try:
            yield
        finally:
            mujoco.set_mju_user_warning(before)


def _adapt(env: Any, name: str, max_steps: int) -> Env:
    from brax.envs import State as BraxState

    def with_physics(task: Task) -> Any:
        traced = copy.copy(env)
        traced.sys = task.sys
        return traced

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        first = with_physics(task).reset(key)
        return as_arrays((State(first.pipeline_state, jnp.int32(0)), first.obs))

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        del key  # the physics is deterministic
        # Brax carries its metrics and info along, and they would survive our resets: it gets empty ones each step.
        zero = jnp.zeros(())
        after = with_physics(task).step(BraxState(state.pipeline, zero, zero, zero, {}, {}), action)
        time = state.time + 1
        terminated = jnp.asarray(after.done, bool)
        truncated = jnp.logical_and(time >= task.max_steps, jnp.logical_not(terminated))
        result = StepResult(after.obs, jnp.asarray(after.reward, jnp.float32), terminated, truncated)
        return as_arrays((State(after.pipeline_state, time), result))

    # By way of the host, since Brax commits some arrays to a device, and a task must follow the other arguments.
    task = as_arrays(Task(sys=jax.tree.map(np.asarray, env.sys), max_steps=jnp.int32(max_steps)))
    obs = jax.eval_shape(reset, jax.random.key(0), task)[1]
    unbounded = np.full(obs.shape, np.inf, np.float32)
    action = np.ones(env.action_size, np.float32)
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=Box(-unbounded, unbounded),
        action_space=Box(-action, action),
        costly_reset=True,
        render=_picture,
        time_limit=lambda task: task.max_steps,
    )


def _picture(state: State, task: Task) -> np.ndarray:
    from rljax.envs import render3d

    return render3d.bodies(task.sys, state.pipeline.x.pos, state.pipeline.x.rot)
