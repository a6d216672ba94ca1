"""MultiarmedBandit: find the arm that wins most often, anew in every episode.

K arms win with probabilities drawn from U(low, high), by default U(0, 1), for each episode. A win pays 1 / T, a loss
costs 1 / T; the observation is whether the last pull won, 0 at first. It truncates after T steps.

The action is no part of the observation: POPGym says that an agent needs the previous one, which `|with_past` shows.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.multiarmed_bandit`: (K, T) is (10, 200), (20, 400), (30, 600).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym.episodes import environment, no, signed
from rljax.kinds import Count
from rljax.types import Array, Discrete, Env, StepResult


class Task(struct.PyTreeNode):
    """The bounds between which the arms' probabilities are drawn, and the number of pulls."""

    low: Array  # [] float32
    high: Array  # [] float32
    max_steps: Array  # [] int32, T


class State(struct.PyTreeNode):
    """The probability of a win of each arm, and the steps taken."""

    arms: Array  # [K] float32
    time: Array  # [] int32


def make(name: str, arms: int = 10, max_steps: int = 200) -> Env:
    """Makes MultiarmedBandit: observation win (2), action arm (K), T steps; its task is traced.

    Args:
      arms: K.
      max_steps: T.

    Raises:
      ConfigError: one of them is no positive whole number.
    """
    count = Count().convert("arms", arms)
    task = Task(jnp.float32(0.0), jnp.float32(1.0), jnp.int32(Count().convert("max_steps", max_steps)))

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        chances = task.low + (task.high - task.low) * jax.random.uniform(key, (count,))
        return State(chances, jnp.int32(0)), jnp.int32(0)

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        win = jax.random.uniform(key) < state.arms[action]
        time = state.time + 1
        reward = signed(win, 1.0 / task.max_steps)
        return State(state.arms, time), StepResult(win.astype(jnp.int32), reward, no(), time >= task.max_steps)

    return environment(name, reset, step, Discrete(2), Discrete(count), lambda task: task.max_steps, task)
