"""Small things that tests share: tiny settings for every algorithm, and an environment that can be checked by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import algos
from rljax.types import Box, Discrete, Env, StepResult

TINY = {
    "num_envs": 4,
    "num_steps": 8,
    "num_epochs": 2,
    "num_minibatches": 2,
    "hidden": (8,),
}


def tiny(algo: str, **settings):
    """The smallest sensible `Config` of an algorithm: whatever fields of TINY it has."""
    config = algos.load(algo).Config
    names = {f.name for f in dataclasses.fields(config)}
    return config(**{k: v for k, v in (TINY | settings).items() if k in names})


class CounterTask(struct.PyTreeNode):
    terminate_at: int = 1000  # terminates when the count reaches this
    truncate_at: int = 1000  # truncated when the count reaches this, unless it terminates


def counter(start_high: int = 1) -> Env:
    """Counts from a random start below `start_high`: obs [count, start], reward = the count reached."""

    def reset(key, task):
        start = jax.random.randint(key, (), 0, start_high)
        return (start, start), jnp.stack([start, start]).astype(jnp.float32)

    def step(key, state, action, task):
        count, start = state[0] + 1, state[1]
        terminated = count >= task.terminate_at
        truncated = (count >= task.truncate_at) & ~terminated
        obs = jnp.stack([count, start]).astype(jnp.float32)
        return (count, start), StepResult(obs, count.astype(jnp.float32), terminated, truncated)

    bounds = np.full(2, np.inf, np.float32)
    return Env("toy/counter", reset, step, CounterTask(), Box(-bounds, bounds), Discrete(2))
