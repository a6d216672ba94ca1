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
`optimal_return` is exact wherever positions are given; where objects roam there are too many states to solve.

Sources: Oh et al. 2020 (LPG, arXiv:2007.08794) defines the family; numbers are those of Jackson et al. 2023 (GROOVE,
arXiv:2310.02782, appendix C) and its released code, in which Jackson et al. 2024 (TA-LPG, arXiv:2402.05828) trained.
Decided here: `longer` is 9 x 9 with three bad objects, as in the code (LPG: 7 x 9, five); what scattered walls cut off
becomes wall; the time is not shown, as values are bootstrapped across the limit; where objects roam so does the start,
and they never appear under the agent; `grid` shows walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.envs import render
from rljax.errors import ConfigError, require, unknown
from rljax.types import Array, Box, Discrete, Env, Scalar, StepResult

Whole = int | tuple[int, int]  # given, or the bounds of a draw
Number = float | tuple[float, float]

MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)], np.int32)  # up, down, left, right, stay
MOST_STATES = 2**20  # of `optimal_values`, which takes about 50 bytes for each


class Level(struct.PyTreeNode):
    """One gridworld of `height x width` cells, numbered row by row, with room for `O` objects."""

    walls: Array  # [height, width] bool; cells outside a smaller grid are walls too
    start: Array | None  # [] int32: the cell in which episodes start; None: any vacant one
    position: Array | None  # [O] int32: the cell of each object; None: any vacant one, anew whenever it appears
    used: Array  # [O] bool: which of the O objects the level has
    kind: Array  # [O] int32: which objects look the same
    reward: Array  # [O] float32
    terminate: Array  # [O] float32: the probability that collecting it ends the episode
    respawn: Array  # [O] float32: the probability, each step, that it comes back; 0 for unused objects
    max_steps_in_episode: Array  # [] int32


class State(struct.PyTreeNode):
    """Where the agent is, where the objects are or were, which of them are there, and the steps taken."""

    cell: Array  # [] int32
    position: Array  # [O] int32
    present: Array  # [O] bool
    time: Array  # [] int32


class Kind(NamedTuple):
    """So many objects that share their numbers: uniform in `reward`, log-uniform in the two probabilities."""

    objects: int
    reward: Number
    terminate: Number
    respawn: Number


@dataclass(frozen=True)
class Mode:
    """A distribution of levels of one shape."""

    side: Whole  # the grid is square; uniform
    max_steps: Whole  # log-uniform
    kinds: tuple[Kind, ...]
    used: Whole | None = None  # how many of the objects a level has; uniform; None: all
    walls: tuple[tuple[int, int], ...] = ()  # (row, column)
    scattered: int = 0  # walls at random cells of the largest grid
    roaming: bool = False  # start and objects anywhere, anew each episode


def _scattered(side: Whole, max_steps: Whole, used: tuple[int, int], walls: int, roaming: bool = False) -> Mode:
    """A mode in which all objects differ and the first one is never bad."""
    first, other = (Kind(1, reward, (0.01, 1.0), (0.001, 0.1)) for reward in ((0.0, 1.0), (-1.0, 1.0)))
    return Mode(side, max_steps, (first, *[other] * (used[1] - 1)), used, scattered=walls, roaming=roaming)


CENTRE = tuple((row, 4) for row in range(9) if row not in (1, 7))
CROSS = (*((row, 5) for row in range(11) if row not in (0, 7)), *((4, column) for column in (0, 1, 3, 4, 6, 7, 9, 10)))
DENSE = (Kind(2, 1, 0, 0.05), Kind(1, -1, 0.5, 0.1), Kind(1, -1, 0, 0.5))
LONG = (Kind(2, 1, 0, 0.01), Kind(2, -1, 0.5, 1))

MODES: dict[str, Mode] = {
    "dense": Mode(11, 500, DENSE),
    "sparse": Mode(13, 50, (Kind(1, 1, 1, 0), Kind(1, -1, 1, 0))),
    "long": Mode(11, 1000, LONG),
    "longer": Mode(9, 2000, (Kind(2, 1, 0.1, 0.01), Kind(3, -1, 0.8, 1)), walls=CENTRE),
    "long-dense": Mode(11, 2000, (Kind(4, 1, 0, 0.005),), walls=CROSS),
    "small": _scattered((4, 6), (20, 100), (1, 3), walls=7),
    "medium": _scattered((6, 8), (100, 250), (2, 4), walls=10),
    "large": _scattered((8, 10), (250, 750), (2, 5), walls=15),
    "all": _scattered((4, 10), (20, 750), (1, 5), walls=15),
    "rand-dense": Mode(11, 500, DENSE, roaming=True),
    "rand-long": Mode(11, 1000, LONG, roaming=True),
    "rand-small": Mode(7, 500, (Kind(2, 1, 0, 0.05), Kind(2, -1, 0.5, 0.1)), walls=((1, 2), (3, 4)), roaming=True),
    "rand-sparse": Mode(7, 50, (Kind(1, 1, 1, 1), Kind(2, -1, 1, 1)), roaming=True),
    "rand-very-dense": Mode(11, 2000, (Kind(1, 1, 0, 1),), roaming=True),
    "rand-all": _scattered((4, 10), (20, 750), (1, 5), walls=15, roaming=True),
}


def make(mode: str | Mode, seed: int = 0, observation: str | None = None) -> Env:
    """The gridworld of that mode; its default task is one level, `random_level(jax.random.key(seed), mode)`.

    Args:
      mode: a name in `MODES`, or a mode of your own.
      seed: which level.
      observation: `index` (`Discrete`) or `grid` (`Box [height, width, 2 + kinds]`); by default `grid` where objects
        roam, as an index cannot say where they are, else `index`.

    Raises:
      ConfigError: an unknown mode or observation, or `index` where objects roam.
    """
    name = f"gridworld/{mode}" if isinstance(mode, str) else "gridworld"
    mode = _mode(mode)
    observation = observation or ("grid" if mode.roaming else "index")
    known = ("grid",) if mode.roaming else ("index", "grid")
    require(observation in known, "observation", observation, f"must be one of {known}")
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


@partial(jax.jit, static_argnames=("mode",))
@modes.in_32_bits()
def random_level(key: Array, mode: str | Mode) -> Level:
    """A level drawn from a mode; compiled, to be called with one key or under `vmap`.

    Free cells are one connected region; start and objects lie on distinct free cells. Where scattered walls leave no
    region that holds them all (fewer than one level of `all` in a thousand), the level has no inner walls.
    """
    mode = _mode(mode)
    k_walls, k_cells, k_used, k_steps, k_kinds = jax.random.split(key, 5)
    objects, *numbers = zip(*mode.kinds)
    # Bounds [K], lower and upper; what is drawn for a kind, its objects share.
    reward, terminate, respawn = (np.array([np.broadcast_to(x, 2) for x in column]).T for column in numbers)
    kind, steps = np.repeat(np.arange(len(objects)), objects), np.broadcast_to(mode.max_steps, 2)
    walls = _walls(k_walls, mode, len(kind))
    cells = _draw(k_cells, ~walls.reshape(-1), 1 + len(kind))
    fewest, most = np.broadcast_to(mode.used or len(kind), 2)
    used = jnp.arange(len(kind)) < jax.random.randint(k_used, (), fewest, most + 1)
    share = jax.random.uniform(k_kinds, (3, len(objects)))
    return Level(
        walls=walls,
        start=None if mode.roaming else cells[0],
        position=None if mode.roaming else cells[1:],
        used=used,
        kind=jnp.asarray(kind, jnp.int32),
        reward=(jnp.float32(reward[0]) + share[0] * (reward[1] - reward[0]))[kind],
        terminate=_log_between(share[1], *terminate)[kind],
        respawn=jnp.where(used, _log_between(share[2], *respawn)[kind], 0.0),
        max_steps_in_episode=jnp.round(_log_between(jax.random.uniform(k_steps), *steps)).astype(jnp.int32),
    )


@jax.jit
@modes.in_32_bits()
def optimal_values(level: Level, discount: Scalar = 1.0, steps: int | Array | None = None) -> Array:
    r"""The exact action values of the best policy, by dynamic programming over all states.

    $Q_k(s, a) = E[r + \gamma (1 - d) \max_{a'} Q_{k-1}(s', a')]$ with $Q_0 = 0$, $d$ the termination and k the steps
    to go. Objects come back independently, so the expectation over s' is taken one object at a time.

    Args:
      level: one level with given positions.
      discount: $\gamma$ in [0, 1].
      steps: k, traced; by default the whole episode, `level.max_steps_in_episode`.

    Returns:
      `[states, actions]`, a row for each `index` observation; rows that no episode reaches hold nothing of use.

    Raises:
      ConfigError: positions are not given, or there are more than `MOST_STATES` states.
    """
    if level.position is None:
        raise ConfigError("level.position=None: objects that roam have too many states to solve; give positions")
    cells, patterns = level.walls.size, 2**level.used.size
    require(cells * patterns <= MOST_STATES, "states", cells * patterns, f"can be {MOST_STATES} at most")
    steps = level.max_steps_in_episode if steps is None else steps
    here = level.position[:, None] == jnp.arange(cells)[None]  # [O, cells]
    there = (np.arange(patterns)[None] >> np.arange(level.used.size)[:, None]) & 1 > 0  # [O, patterns]
    collected = jnp.logical_and(there[:, :, None], here[:, None])  # [O, patterns, cells]
    reward = jnp.where(collected, level.reward[:, None, None], 0.0).sum(0)
    alive = jnp.where(collected, 1.0 - level.terminate[:, None, None], 1.0).prod(0)
    successor = _successors(level.walls)

    def backup(_: Array, values: Array) -> Array:
        value = values.max(-1)
        for i in range(level.used.size):
            pairs = value.reshape(-1, 2, 2**i, cells)  # without and with object i
            away = pairs[:, 0] + level.respawn[i] * (pairs[:, 1] - pairs[:, 0])
            value = jnp.stack([away, jnp.where(here[i], pairs[:, 0], pairs[:, 1])], 1)
        return (reward + discount * alive * value.reshape(patterns, cells))[:, successor]

    return jax.lax.fori_loop(0, steps, backup, jnp.zeros((patterns, *successor.shape))).reshape(-1, len(MOVES))


@jax.jit
@modes.in_32_bits()
def optimal_return(level: Level, discount: Scalar = 1.0) -> Array:
    """The expected return of an episode under the best policy, `[]`; exact, and an upper bound for every agent.

    The best policy knows how many steps are left. For many levels, `jax.lax.map` takes less time on a CPU and less
    memory than `vmap`, which goes on with all until the longest ends. Arguments and errors as for `optimal_values`.
    """
    values = optimal_values(level, discount).max(-1).reshape(-1, level.walls.size)
    first = values[jnp.sum(level.used << jnp.arange(level.used.size))]
    if level.start is None and level.position is not None:  # it is given, or there were no values
        return first.mean(where=_vacant(level, level.position, level.used))
    return first[level.start]


def _mode(mode: str | Mode) -> Mode:
    if isinstance(mode, str) and mode not in MODES:
        raise unknown("mode", mode, MODES)
    return MODES[mode] if isinstance(mode, str) else mode


def _begin(key: Array, level: Level) -> State:
    """The start of an episode."""
    k_objects, k_start = jax.random.split(key)
    position, start, free = level.position, level.start, ~level.walls.reshape(-1)
    if position is None:
        position = _draw(k_objects, free if start is None else free.at[start].set(False), level.used.size)
    if start is None:
        start = _draw(k_start, _vacant(level, position, level.used), 1)[0]
    return State(start, position, level.used, jnp.int32(0))


def _advance(key: Array, state: State, action: Array, level: Level) -> tuple[State, Array, Array]:
    """One step -> (state, reward [], terminated [])."""
    k_chance, k_place = jax.random.split(key)
    chance = jax.random.uniform(k_chance, (1 + level.used.size,))
    cell = _move(level.walls, state.cell, action)
    collected = jnp.logical_and(state.present, state.position == cell)
    terminated = chance[0] < 1.0 - jnp.where(collected, 1.0 - level.terminate, 1.0).prod()
    back = jnp.logical_and(~state.present, chance[1:] < level.respawn)
    position, present = state.position, jnp.logical_and(state.present, ~collected)
    if level.position is None:
        places = _draw(k_place, _vacant(level, position, present).at[cell].set(False), level.used.size)
        # The first object that comes back takes the first cell drawn, so no more cells need be vacant than come back.
        position = jnp.where(back, places[jnp.cumsum(back) - 1], position)
    after = State(cell, position, jnp.logical_or(present, back), state.time + 1)
    return after, jnp.where(collected, level.reward, 0.0).sum(), terminated


def _move(walls: Array, cell: Array, action: Array) -> Array:
    """The cell after a move; `cell` and `action` broadcast."""
    height, width = walls.shape
    move = jnp.asarray(MOVES)[action]
    row = jnp.clip(cell // width + move[..., 0], 0, height - 1)
    column = jnp.clip(cell % width + move[..., 1], 0, width - 1)
    return jnp.where(walls[row, column], cell, row * width + column)


def _successors(walls: Array) -> Array:
    """`[cells, actions]`: the cell after each move from each cell."""
    return _move(walls, jnp.arange(walls.size)[:, None], jnp.arange(len(MOVES))[None])


def _vacant(level: Level, position: Array, present: Array) -> Array:
    """`[cells]` bool: free cells without an object."""
    taken = (position[:, None] == jnp.arange(level.walls.size)[None]) & present[:, None]
    return ~(level.walls.reshape(-1) | taken.any(0))


def _draw(key: Array, allowed: Array, count: int) -> Array:
    """`[count]` int32: distinct cells, uniformly from those `allowed` [cells], and others only when these run out."""
    return jax.lax.top_k(jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0), count)[1]


def _log_between(share: Array, low: np.ndarray, high: np.ndarray) -> Array:
    """`low^(1 - share) high^share`, float32 of the bounds' shape; exactly the bound where both are equal, 0 too."""
    ratio = np.divide(high, low, out=np.ones(low.shape), where=low > 0)
    return jnp.float32(low) * jnp.float32(ratio) ** share


def _walls(key: Array, mode: Mode, objects: int) -> Array:
    """`[height, width]` bool: given and scattered walls, and all that lies outside or is cut off."""
    least, side = np.broadcast_to(mode.side, 2)
    given = np.array([[(row, column) in mode.walls for column in range(side)] for row in range(side)])
    if not mode.scattered and least == side:
        return jnp.asarray(given)
    k_side, k_scatter = jax.random.split(key)
    inside = np.indices((side, side)).max(0) < jax.random.randint(k_side, (), least, side + 1)
    scattered = _draw(k_scatter, jnp.ones(side * side, bool), mode.scattered)
    region = _largest_region(jnp.asarray(given).reshape(-1).at[scattered].set(True).reshape(side, side) | ~inside)
    return ~jnp.where(region.sum() > objects, region, inside)


def _largest_region(walls: Array) -> Array:
    """`[height, width]` bool: the largest part of the grid in which every cell can be reached from every other."""
    free, cells = ~walls.reshape(-1), jnp.arange(walls.size)
    reach = jnp.any(_successors(walls)[:, :, None] == cells[None, None], axis=1) & free[:, None]
    for _ in range(walls.size.bit_length()):  # in 1 move, then in 2, 4, ...
        reach = jnp.matmul(reach, reach, preferred_element_type=jnp.float32) > 0
    return reach[reach.sum(1).argmax()].reshape(walls.shape)


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
