"""Battleship: find the ships on a board of which only hit or miss is shown.

Ships of 2, 3, 3 and 4 cells lie on a board of n x n, each placed uniformly where the ones before it leave room. An
action is a cell. A cell of a ship that was not hit before pays 1 / 12, any other, repeated ones too, costs
1 / (n^2 - 12). It terminates when all 12 cells are hit, and truncates after n^2 steps, so that going through the whole
board in any order gives no less than 0.

The action is no part of the observation: POPGym says that an agent needs the previous one, for which there is a
wrapper.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.battleship`: n is 8, 10, 12. That places ships by rejection;
here the same distribution is drawn from directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym.episodes import environment
from rljax.errors import require
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

SHIPS = (2, 3, 3, 4)


class State(struct.PyTreeNode):
    """The cells of ships, those that were guessed, the hits, and the steps taken."""

    ships: Array  # [n, n] bool
    guessed: Array  # [n, n] bool
    hits: Array  # [] int32
    time: Array  # [] int32


def make(name: str, board: int = 8, ships: Sequence[int] = SHIPS) -> Env:
    """Makes Battleship: observation hit (2), action (row (n), column (n)), at most n^2 steps; the task has no numbers.

    Args:
      board: n, the width and height.
      ships: the sizes of the ships, placed in this order.

    Raises:
      ConfigError: there is no ship, a size that is not positive, or a board that may have no room for them.
    """
    require(len(ships) > 0 and min(ships) >= 1, "ships", ships, "must be one size or more, each at least 1")
    cells = sum(ships)
    # The rows hold `board * (board // size)` ways that share no cell, of which each cell that is taken spoils one.
    room = all(sum(ships[:i]) < board * (board // size) for i, size in enumerate(ships))
    require(room and cells < board**2, "board", board, f"may have no room for ships={tuple(ships)}; make it larger")
    steps = board**2

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        lie = jnp.zeros((board, board), bool)
        for size, k in zip(ships, jax.random.split(key, len(ships))):
            lie = _placed(k, lie, size)
        zero = jnp.int32(0)
        return State(lie, jnp.zeros((board, board), bool), zero, zero), zero

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        row, column = action[0], action[1]
        hit = state.ships[row, column] & ~state.guessed[row, column]
        after = State(state.ships, state.guessed.at[row, column].set(True), state.hits + hit, state.time + 1)
        reward = jnp.where(hit, 1.0 / cells, -1.0 / (steps - cells)).astype(jnp.float32)
        terminated = after.hits == cells
        return after, StepResult(hit.astype(jnp.int32), reward, terminated, (after.time >= steps) & ~terminated)

    return environment(name, reset, step, Discrete(2), MultiDiscrete((board, board)), steps)


def _placed(key: Array, lie: Array, size: int) -> Array:
    """Adds a ship to the board `[n, n]`, uniform over the ways in which it is free of others."""
    n = len(lie)
    ends = n - size + 1
    across = sum(lie[:, i : i + ends].astype(jnp.int32) for i in range(size))  # [n, ends], by its first cell
    down = sum(lie[i : i + ends].astype(jnp.int32) for i in range(size))  # [ends, n]
    taken = jnp.concatenate([jnp.reshape(across, -1), jnp.reshape(down, -1)]) > 0
    chosen = jax.random.categorical(key, jnp.where(taken, -jnp.inf, 0.0))
    vertical = chosen >= n * ends
    offset = chosen - jnp.where(vertical, n * ends, 0)
    width = jnp.where(vertical, n, ends)
    row, column = offset // width, offset % width
    length = jnp.arange(size)
    return lie.at[row + jnp.where(vertical, length, 0), column + jnp.where(vertical, 0, length)].set(True)
