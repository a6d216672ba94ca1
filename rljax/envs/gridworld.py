r"""Gridworlds with objects to collect: the random family that learned update rules are trained on.

The agent walks on a grid with walls (up, down, left, right, stay; what is blocked leaves it where it is). Object i pays
`reward[i]` when the agent stands where it is, which removes it and ends the episode with probability `terminate[i]`.
One step: the agent moves; what is there is collected; the episode ends or goes on; every object that was away before
the step comes back with probability `respawn[i]`, also under the agent. The limit `max_steps_in_episode` truncates.

The **level** is the task: a pytree of arrays whose shapes belong to its mode, so `random_level(key, mode)` draws one
inside a compiled program and `vmap` runs an agent on each of many. What a level leaves out, episodes draw: without
`position` objects roam, each on any vacant cell whenever it appears; without `start` the agent starts on any.

| modes | drawn with the level | observation |
|---|---|---|
| `dense`, `sparse`, `long`, `longer`, `long-dense` | start and positions | index |
| `small`, `medium`, `large`, `all` | size, walls, objects and limit too | index |
| `rand-dense`, `rand-long`, `rand-small`, `rand-sparse`, `rand-very-dense` | nothing: objects and start roam | grid |
| `rand-all` | as `all`, but objects and start roam | grid |

`index` is the whole state but for the time, `cell + cells * sum_i 2^i [object i is there]`: a tabular agent's row.
`grid` is `[height, width, 2 + kinds]`, of 0 and 1: the agent, one channel for each kind of object, walls.
`gridworld_values` has exact optimal returns wherever positions are given; objects that roam have too many states.

Sources: Oh et al. 2020 (LPG, arXiv:2007.08794) defines the family; numbers are those of Jackson et al. 2023 (GROOVE,
arXiv:2310.02782, appendix C) and its released code, in which Jackson et al. 2024 (TA-LPG, arXiv:2402.05828) trained.
Decided here: `longer` is 9 x 9 with three bad objects, as in the code (LPG: 7 x 9, five); what scattered walls cut off
becomes wall; the time is not shown, as values are bootstrapped across the limit; where objects roam so does the start,
and they never appear under the agent; `grid` shows walls.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.envs import render
from rljax.envs.gridworld_levels import MOVES, Level, Mode, draw_cells, mode_of, move, random_level, vacant
from rljax.errors import require
from rljax.types import Array, Box, Discrete, Env, StepResult


class State(struct.PyTreeNode):
    """The cells of the agent and of the objects, those that were collected too, and the steps taken."""

    cell: Array  # [] int32
    position: Array  # [O] int32
    present: Array  # [O] bool
    time: Array  # [] int32


def make(mode: str | Mode, seed: int = 0, observation: str | None = None) -> Env:
    """Makes the gridworld of a mode; its default task is one level, `random_level(jax.random.key(seed), mode)`.

    Args:
      mode: a name in `MODES`, or a mode of your own.
      seed: which level.
      observation: `index` (`Discrete`) or `grid` (`Box [height, width, 2 + kinds]`); by default `grid` where objects
        roam, as an index cannot say where they are, else `index`.

    Raises:
      ConfigError: an unknown mode or observation, or `index` where objects roam.
    """
    name = f"gridworld/{mode}" if isinstance(mode, str) else "gridworld"
    mode = mode_of(mode)
    observation = observation or ("grid" if mode.roaming else "index")
    possible = ("grid",) if mode.roaming else ("index", "grid")
    require(observation in possible, "observation", observation, f"must be one of {possible}")
    level = random_level(jax.random.key(seed), mode)
    picture = partial(_picture, kinds=len(mode.kinds))
    observe, space = _index, Discrete(level.walls.size * 2**level.used.size)
    if observation == "grid":
        low = np.zeros((*level.walls.shape, 2 + len(mode.kinds)), np.float32)
        observe, space = picture, Box(low, low + 1.0)

    def reset(key: Array, level: Level) -> tuple[State, Array]:
        state = _begin(key, level)
        return state, observe(state, level)

    def step(key: Array, state: State, action: Array, level: Level) -> tuple[State, StepResult]:
        state, reward, terminated = _advance(key, state, action, level)
        truncated = jnp.logical_and(state.time >= level.max_steps_in_episode, jnp.logical_not(terminated))
        return state, StepResult(observe(state, level), reward, terminated, truncated)

    draw = lambda state, level: render.grid(picture(state, level))  # noqa: E731
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (3,)),
        level,
        space,
        Discrete(len(MOVES)),
        new_task=lambda key: random_level(key, mode),
        render=draw,
        time_limit=lambda level: level.max_steps_in_episode,
    )


def _begin(key: Array, level: Level) -> State:
    """The start of an episode."""
    k_objects, k_start = jax.random.split(key)
    position, start, free = level.position, level.start, ~level.walls.reshape(-1)
    if position is None:
        position = draw_cells(k_objects, free if start is None else free.at[start].set(False), level.used.size)
    if start is None:
        start = draw_cells(k_start, vacant(level, position, level.used), 1)[0]
    return State(start, position, level.used, jnp.int32(0))


def _advance(key: Array, state: State, action: Array, level: Level) -> tuple[State, Array, Array]:
    """Takes one step -> (state, reward `[]`, terminated `[]`)."""
    k_chance, k_place = jax.random.split(key)
    chance = jax.random.uniform(k_chance, (1 + level.used.size,))
    cell = move(level.walls, state.cell, action)
    collected = jnp.logical_and(state.present, state.position == cell)
    terminated = chance[0] < 1.0 - jnp.where(collected, 1.0 - level.terminate, 1.0).prod()
    back = jnp.logical_and(~state.present, chance[1:] < level.respawn)
    position, present = state.position, jnp.logical_and(state.present, ~collected)
    if level.position is None:
        cells = draw_cells(k_place, vacant(level, position, present).at[cell].set(False), level.used.size)
        # The first object that comes back takes the first cell drawn, so no more cells need be vacant than come back.
        position = jnp.where(back, cells[jnp.cumsum(back) - 1], position)
    after = State(cell, position, jnp.logical_or(present, back), state.time + 1)
    return after, jnp.where(collected, level.reward, 0.0).sum(), terminated


def _index(state: State, level: Level) -> Array:
    """`[]` int32: the agent's cell and which objects are there, as one number."""
    return state.cell + level.walls.size * jnp.sum(state.present << jnp.arange(level.used.size))


def _picture(state: State, level: Level, kinds: int) -> Array:
    """`[height, width, 2 + kinds]` float32: the agent, the objects of each kind, walls."""
    entry = jnp.arange(level.walls.size * (2 + kinds))
    agent, objects = (2 + kinds) * state.cell, (2 + kinds) * state.position + 1 + level.kind
    picture = (entry % (2 + kinds) == 1 + kinds) & jnp.repeat(level.walls, 2 + kinds) | (entry == agent)
    for i in range(level.used.size):  # unrolled, it is one vectorised pass
        picture |= (entry == objects[i]) & state.present[i]
    return picture.reshape(*level.walls.shape, 2 + kinds).astype(jnp.float32)
