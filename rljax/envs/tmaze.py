r"""T-mazes: a cue at the beginning of a corridor says where to turn at its end, any number of steps later.

The corridor is the cells (0, 0) to (o + length, 0), the ends are (o + length, 1) and (o + length, -1), one of which is
the goal by chance. Actions: right, up, left, down; an invalid move stays. The cue is seen at (0, 0), on the first visit
only: (0, goal). The corridor shows (0, 0), the junction and the ends (1, y).

| | start | steps |
|---|---|---|
| `tmaze/passive` | (0, 0), so o = 0 | length + 1 |
| `tmaze/active` | (1, 0), so o = 1: the cue is a step to the left | length + 3 |

Reward of step t, with x and y after it: `-penalty / length` if `x < t - o`, which is off the shortest way, and at the
last step instead `goal_reward` if y is the goal's, else 0. Running right and guessing gives 0.5, remembering 1.
The corridor's length shapes no array, so it is a number of the task. The horizon belongs to the task, so the episode
terminates there.

Source: Bakker 2001; Ni et al. 2023 (When do transformers shine in RL?, arXiv:2307.03864) and `envs/tmaze.py` of its
code, with a penalty of 1 / length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.kinds import Count
from rljax.types import Array, Box, Discrete, Env, StepResult

RIGHT, UP, LEFT, DOWN = range(4)
MOVES = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.int32)


class Task(struct.PyTreeNode):
    """The length of the corridor, the reward at the goal, and the cost of an episode that never moves on."""

    length: Array  # [] int32
    goal_reward: Array  # [] float32
    penalty: Array  # [] float32, over `length` steps


class State(struct.PyTreeNode):
    """The cell of the agent, the goal, whether the cue has been seen, and the steps taken."""

    x: Array  # [] int32
    y: Array  # [] int32
    goal: Array  # [] int32, 1 or -1
    seen: Array  # [] bool
    time: Array  # [] int32


def passive(length: int = 10, goal_reward: float = 1.0, penalty: float = 1.0) -> Env:
    """Makes the T-maze that begins at the cue: `length + 1` steps, observation `[2]`, 4 actions.

    Args:
      length, goal_reward, penalty: as in the task.

    Raises:
      ConfigError: `length` is no positive whole number.
    """
    return _tmaze("tmaze/passive", 0, length, goal_reward, penalty)


def active(length: int = 10, goal_reward: float = 1.0, penalty: float = 1.0) -> Env:
    """Makes the T-maze whose cue is a step away from the start: `length + 3` steps, observation `[2]`, 4 actions.

    Args:
      length, goal_reward, penalty: as in the task.

    Raises:
      ConfigError: `length` is no positive whole number.
    """
    return _tmaze("tmaze/active", 1, length, goal_reward, penalty)


def _tmaze(name: str, oracle: int, length: int, goal_reward: float, penalty: float) -> Env:
    """Makes a T-maze that starts `oracle` steps from the cue."""
    task = Task(jnp.int32(Count().convert("length", length)), jnp.float32(goal_reward), jnp.float32(penalty))
    limit = lambda task: task.length + 2 * oracle + 1  # noqa: E731

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        goal = jax.random.rademacher(key, (), jnp.int32)
        state = State(jnp.int32(oracle), jnp.int32(0), goal, jnp.zeros((), bool), jnp.int32(0))
        return _observed(state, task.length + oracle)

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        junction, time = task.length + oracle, state.time + 1
        move = jnp.asarray(MOVES)[action]
        x, y = state.x + move[0], state.y + move[1]
        corridor = (y == 0) & (x >= 0) & (x <= junction)
        valid = corridor | ((x == junction) & (jnp.abs(y) <= 1))
        x, y = jnp.where(valid, x, state.x), jnp.where(valid, y, state.y)
        terminated = time >= limit(task)
        late = jnp.where(x < time - oracle, -task.penalty / task.length, 0.0)
        reward = jnp.where(terminated, jnp.where(y == state.goal, task.goal_reward, 0.0), late)
        after, obs = _observed(State(x, y, state.goal, state.seen, time), junction)
        return after, StepResult(obs, reward, terminated, jnp.zeros((), bool))

    space = Box(np.array([0.0, -1.0], np.float32), np.ones(2, np.float32))
    single = modes.single(reset, (1,)), modes.single(step, (2, 3))
    return Env(name, *single, task, space, Discrete(len(MOVES)), time_limit=limit)


def _observed(state: State, junction: Array) -> tuple[State, Array]:
    """Looks around -> (state, obs `[2]` float32); the cue is seen once."""
    cue, end = state.x == 0, state.x >= junction
    shown = jnp.where(cue & ~state.seen, state.goal, jnp.where(end, state.y, 0))
    obs = jnp.stack([end.astype(jnp.float32), shown.astype(jnp.float32)])
    return state.replace(seen=state.seen | cue), obs
