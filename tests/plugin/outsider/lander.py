"""A lander on a line: push up or not, and touch down gently."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.types import Box, Discrete, Env, Scalar, StepResult


class Task(struct.PyTreeNode):
    gravity: Scalar = 0.05  # pull per step
    limit: Scalar = 100  # steps of an episode


def reset(key, task):
    height = jax.random.uniform(key, (), minval=0.8, maxval=1.2)
    return (height, jnp.float32(0.0), jnp.int32(0)), jnp.stack([height, jnp.float32(0.0)])


def step(key, state, action, task):
    speed = state[1] - task.gravity + 0.1 * action
    height, steps = state[0] + 0.1 * speed, state[2] + 1
    landed = height <= 0.0
    reward = jnp.where(landed, 1.0 - jnp.abs(speed), -0.01)
    return (height, speed, steps), StepResult(
        jnp.stack([height, speed]), reward, landed, ~landed & (steps >= task.limit)
    )


def picture(state, task):
    return np.where(np.arange(64)[:, None, None] > 60 - 40 * float(state[0]), 0, 255).repeat(16, 1).repeat(3, 2)


def make():
    space = Box(np.full(2, -np.inf, np.float32), np.full(2, np.inf, np.float32))
    return Env("outsider/lander", reset, step, Task(), space, Discrete(2), lambda task: task.limit, render=picture)
