"""Levels of gridworlds, the distributions they are drawn from, and moves on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.errors import unknown
from rljax.types import Array

Whole = int | tuple[int, int]  # given, or the bounds of a draw
Number = float | tuple[float, float]

MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)], np.int32)  # up, down, left, right, stay


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


class Kind(NamedTuple):
    """A number of objects that share the rest: uniform in `reward`, log-uniform in the two probabilities."""

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


def mode_of(mode: str | Mode) -> Mode:
    """The mode of that name, or the one given. Raises ConfigError: an unknown name."""
    if isinstance(mode, str) and mode not in MODES:
        raise unknown("mode", mode, MODES)
    return MODES[mode] if isinstance(mode, str) else mode


@partial(jax.jit, static_argnames=("mode",))
@modes.in_32_bits()
def random_level(key: Array, mode: str | Mode) -> Level:
    """Draws a level from a mode; compiled, to be called with one key or under `vmap`.

    Free cells are one connected region; start and objects lie on distinct free cells. Where scattered walls leave no
    region that holds them all (fewer than one level of `all` in a thousand), the level has no inner walls.
    """
    mode = mode_of(mode)
    k_walls, k_cells, k_used, k_steps, k_kinds = jax.random.split(key, 5)
    objects, *numbers = zip(*mode.kinds)
    # Bounds [K], lower and upper; what is drawn for a kind, its objects share.
    reward, terminate, respawn = (np.array([np.broadcast_to(x, 2) for x in column]).T for column in numbers)
    kind, steps = np.repeat(np.arange(len(objects)), objects), np.broadcast_to(mode.max_steps, 2)
    walls = _walls(k_walls, mode, len(kind))
    cells = draw_cells(k_cells, ~walls.reshape(-1), 1 + len(kind))
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


def draw_cells(key: Array, allowed: Array, count: int) -> Array:
    """Draws distinct cells `[count]`, uniformly from those `allowed` `[cells]`; others only when these run out."""
    return jax.lax.top_k(jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0), count)[1]


def vacant(level: Level, position: Array, present: Array) -> Array:
    """The free cells without an object, `[cells]` bool."""
    taken = (position[:, None] == jnp.arange(level.walls.size)[None]) & present[:, None]
    return ~(level.walls.reshape(-1) | taken.any(0))


def move(walls: Array, cell: Array, action: Array) -> Array:
    """The cell after a move; `cell` and `action` broadcast."""
    height, width = walls.shape
    offset = jnp.asarray(MOVES)[action]
    row = jnp.clip(cell // width + offset[..., 0], 0, height - 1)
    column = jnp.clip(cell % width + offset[..., 1], 0, width - 1)
    return jnp.where(walls[row, column], cell, row * width + column)


def successors(walls: Array) -> Array:
    """The cell after each move from each cell, `[cells, actions]`."""
    return move(walls, jnp.arange(walls.size)[:, None], jnp.arange(len(MOVES))[None])


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
    scattered = draw_cells(k_scatter, jnp.ones(side * side, bool), mode.scattered)
    region = _largest_region(jnp.asarray(given).reshape(-1).at[scattered].set(True).reshape(side, side) | ~inside)
    return ~jnp.where(region.sum() > objects, region, inside)


def _largest_region(walls: Array) -> Array:
    """`[height, width]` bool: the largest part of the grid in which every cell can be reached from every other."""
    free, cells = ~walls.reshape(-1), jnp.arange(walls.size)
    reach = jnp.any(successors(walls)[:, :, None] == cells[None, None], axis=1) & free[:, None]
    for _ in range(walls.size.bit_length()):  # in 1 move, then in 2, 4, ...
        reach = jnp.matmul(reach, reach, preferred_element_type=jnp.float32) > 0
    return reach[reach.sum(1).argmax()].reshape(walls.shape)
