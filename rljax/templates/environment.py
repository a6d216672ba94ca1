"""TEMPLATE, an environment of my own: a mass on a line, to be pushed to the middle and kept there.

rljax check-env my/TEMPLATE --plugin ./TEMPLATE.py
rljax train ppo my/TEMPLATE --plugin ./TEMPLATE.py --steps 100000
rljax sweep ppo my/TEMPLATE --plugin ./TEMPLATE.py --steps 100000 --grid task.mass=0.5,1,2
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import envs
from rljax.types import Array, Box, Discrete, Env, Scalar, StepResult


class Task(struct.PyTreeNode):
    """Numbers of the physics. They are traced: a sweep of them compiles once."""

    mass: Scalar = 1.0
    limit: Scalar = 200  # steps of an episode


class State(struct.PyTreeNode):
    """All that the next step depends on; arrays only."""

    position: Array
    speed: Array
    steps: Array


def observe(state):
    """The observation of a state, `[2]`."""
    return jnp.stack([state.position, state.speed])


def reset(key, task):
    """An episode's first state, drawn by the key -> (state, obs)."""
    state = State(jax.random.uniform(key, (), minval=-1.0, maxval=1.0), jnp.float32(0.0), jnp.int32(0))
    return state, observe(state)


def step(key, state, action, task):
    """One step, without any reset -> (state, StepResult). `key` is for dynamics that are random."""
    force = 0.1 * (action.astype(jnp.float32) - 1.0)  # 0, 1, 2: left, nothing, right
    speed = 0.95 * state.speed + force / task.mass
    state = State(state.position + 0.1 * speed, speed, state.steps + 1)
    terminated = jnp.abs(state.position) > 2.0  # the end of the line: nothing comes after it
    truncated = ~terminated & (state.steps >= task.limit)  # cut by a limit: what would come after it still counts
    reward = jnp.where(terminated, -10.0, 1.0 - jnp.abs(state.position))
    return state, StepResult(observe(state), reward, terminated, truncated)


def make():
    """The environment; arguments of this function are given by --env-args."""
    bound = np.full(2, np.inf, np.float32)
    return Env("my/TEMPLATE", reset, step, Task(), Box(-bound, bound), Discrete(3), lambda task: task.limit)


envs.register("my/TEMPLATE", make)
