r"""Dark key-to-door: an agent sees where it is, and neither the key nor the door, which belong to the task.

The room is 9 x 9, with the agent in its centre; moves are those of dark rooms. The first step that ends at the key pays
1, and so does the first one after it that ends at the door. It truncates after 50 steps.

Key and door are each uniform over all cells, which makes 6561 tasks; where both are one, the door opens by staying.
By itself the room has one task, the draw of `seed`; `keydoor/9x9|trials(4)|with_past` has another for every four
episodes.

Source: Laskin et al. 2022 (Algorithm Distillation, arXiv:2210.14215). Decided here: every episode takes all its steps,
also where both rewards have been paid, so that all trials are of one length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax import modes
from rljax.envs.darkroom import picture, walk
from rljax.envs.gridworld_levels import MOVES
from rljax.kinds import Count
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

SIDE, START = 9, 4


class Task(struct.PyTreeNode):
    """The cells of the key and of the door, and the number of steps."""

    key: Array  # [2] int32, drawn: row and column
    door: Array  # [2] int32, drawn
    max_steps: Array  # [] int32


class State(struct.PyTreeNode):
    """The cell of the agent, whether it has the key, whether the door is open, and the steps taken."""

    cell: Array  # [2] int32
    has_key: Array  # [] bool
    opened: Array  # [] bool
    time: Array  # [] int32


def make(name: str, max_steps: int = 50, seed: int = 0) -> Env:
    """Makes dark key-to-door: observation row and column (9, 9), 5 actions.

    Args:
      name: `keydoor/9x9`.
      max_steps: steps of an episode.
      seed: which default task.

    Raises:
      ConfigError: `max_steps` is no positive whole number.
    """
    most = Count().convert("max_steps", max_steps)

    def draw(key: Array) -> Task:
        cells = jax.random.randint(key, (2, 2), 0, SIDE)
        return Task(cells[0], cells[1], jnp.int32(most))

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        cell, no = jnp.full(2, START, jnp.int32), jnp.zeros((), bool)
        return State(cell, no, no, jnp.int32(0)), cell

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        cell, time = walk(state.cell, action, SIDE), state.time + 1
        at_key, at_door = (cell == task.key).all(), (cell == task.door).all()
        has_key, opened = state.has_key | at_key, state.opened | (state.has_key & at_door)
        paid = (has_key & ~state.has_key) | (opened & ~state.opened)
        result = StepResult(cell, paid.astype(jnp.float32), jnp.zeros((), bool), time >= task.max_steps)
        return State(cell, has_key, opened, time), result

    new_task = modes.single(draw)
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (2, 3)),
        new_task(jax.random.key(seed)),
        MultiDiscrete((SIDE, SIDE)),
        Discrete(len(MOVES)),
        time_limit=lambda task: task.max_steps,
        new_task=new_task,
        render=lambda state, task: picture(SIDE, state.cell, task.key, task.door),
    )
