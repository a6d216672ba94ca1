r"""Dark rooms: an agent sees where it is, and not where the goal is, which belongs to the task.

The room is a square of side n; moves are up, down, left, right and stay, a wall leaves it where it is. Standing at the
goal after a step pays 1, in `hard` but once an episode. It truncates after T steps.

| | n | start | T | pays |
|---|---|---|---|---|
| `darkroom/5x5` | 5 | corner | 20 | each step |
| `darkroom/7x7` | 7 | corner | 20 | each step |
| `darkroom/9x9` | 9 | centre | 20 | each step |
| `darkroom/10x10` | 10 | corner | 100 | each step |
| `darkroom/hard` | 17 | centre | 20 | once |

The goal is uniform over all cells, that of the start included. By itself a room has one goal, the draw of `seed`;
`darkroom/9x9|trials(4)|with_past` has another one for every four episodes: the first is for looking, the others for
going there.

Sources: Laskin et al. 2022 (Algorithm Distillation, arXiv:2210.14215): 9x9 and hard; Lee et al. 2023 (DPT,
arXiv:2306.14892): 10x10; Elawady et al. 2024 (ReLIC, arXiv:2410.02751): 7x7.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.envs import render
from rljax.envs.gridworld_levels import MOVES
from rljax.kinds import Count
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult


class Room(NamedTuple):
    """A room of which the goal is to be drawn."""

    side: int
    start: int  # the row, and the column
    max_steps: int
    once: bool = False


ROOMS = {
    "darkroom/5x5": Room(5, 0, 20),
    "darkroom/7x7": Room(7, 0, 20),
    "darkroom/9x9": Room(9, 4, 20),
    "darkroom/10x10": Room(10, 0, 100),
    "darkroom/hard": Room(17, 8, 20, once=True),
}


class Task(struct.PyTreeNode):
    """The cell of the goal, and the number of steps."""

    goal: Array  # [2] int32, drawn: row and column
    max_steps: Array  # [] int32, T


class State(struct.PyTreeNode):
    """The cell of the agent, whether it has been at the goal, and the steps taken."""

    cell: Array  # [2] int32
    found: Array  # [] bool
    time: Array  # [] int32


def make(name: str, max_steps: int | None = None, seed: int = 0) -> Env:
    """Makes a dark room: observation row and column (n, n), 5 actions, T steps.

    Args:
      name: one of `catalogue.DARKROOMS`.
      max_steps: T, in place of that of the room.
      seed: which default task.

    Raises:
      ConfigError: `max_steps` is no positive whole number.
    """
    side, start, usual, once = ROOMS[name]
    most = Count().convert("max_steps", usual if max_steps is None else max_steps)

    def draw(key: Array) -> Task:
        return Task(jax.random.randint(key, (2,), 0, side), jnp.int32(most))

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        cell = jnp.full(2, start, jnp.int32)
        return State(cell, jnp.zeros((), bool), jnp.int32(0)), cell

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        cell, time = walk(state.cell, action, side), state.time + 1
        found = (cell == task.goal).all()
        paid = found & ~state.found if once else found
        after = State(cell, state.found | found, time)
        return after, StepResult(cell, paid.astype(jnp.float32), jnp.zeros((), bool), time >= task.max_steps)

    new_task = modes.single(draw)
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (2, 3)),
        new_task(jax.random.key(seed)),
        MultiDiscrete((side, side)),
        Discrete(len(MOVES)),
        time_limit=lambda task: task.max_steps,
        new_task=new_task,
        render=lambda state, task: picture(side, state.cell, task.goal),
    )


def walk(cell: Array, action: Array, side: int) -> Array:
    """The cell `[2]` after a move in an empty room."""
    return jnp.clip(cell + jnp.asarray(MOVES)[action], 0, side - 1)


def picture(side: int, *cells: Array) -> np.ndarray:
    """Draws the agent's cell and others `[2]`, each in another colour: `[H, W, 3]` uint8."""
    channels = np.zeros((side, side, len(cells)), np.float32)
    for channel, cell in enumerate(cells):
        channels[(*np.asarray(cell), channel)] = 1.0
    return render.grid(channels)
