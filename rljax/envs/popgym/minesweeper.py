"""MineSweeper: visit every cell without a mine, told only how many mines lie around the cell that was visited.

M mines lie on a board of n x n, and L = n^2 - M cells are free. An action visits a cell. A free one that is new pays
1 / L, one that was visited before costs 0.5 / (L - 2), a mine costs 0.5 + 1 / L. The observation is the number of mines
in the 3 x 3 cells around the one visited, itself included. It terminates on a mine or when all free cells are visited,
and truncates after L steps.

The action is no part of the observation: POPGym says that an agent needs the previous one, for which there is a
wrapper.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.minesweeper`: (n, M) is (4, 2), (6, 6), (8, 10).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym.episodes import environment
from rljax.errors import require
from rljax.ops.minibatch import permutation
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult


class State(struct.PyTreeNode):
    """The cells of mines, those that were visited, and the steps taken."""

    mines: Array  # [n, n] bool
    visited: Array  # [n, n] bool
    time: Array  # [] int32


def make(name: str, board: int = 4, mines: int = 2) -> Env:
    """Makes MineSweeper: observation mines around (M + 1, at most 10), action (row (n), column (n)), at most L steps.

    The task has no numbers.

    Args:
      board: n, the width and height.
      mines: M.

    Raises:
      ConfigError: fewer than one mine, or fewer than three cells without.
    """
    free = board**2 - mines
    require(mines >= 1 and free >= 3, "mines", mines, f"must be in 1 .. {board**2 - 3}, for a board of {board}")

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        lie = (permutation(key, board**2) < mines).reshape(board, board)
        return State(lie, jnp.zeros((board, board), bool), jnp.int32(0)), jnp.int32(0)

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        row, column = action[0], action[1]
        mine, again = state.mines[row, column], state.visited[row, column]
        lost = jnp.where(mine, -0.5 - 1.0 / free, -0.5 / (free - 2))
        reward = jnp.where(mine | again, lost, 1.0 / free).astype(jnp.float32)
        visited = state.visited.at[row, column].set(~mine)
        after = State(state.mines, visited, state.time + 1)
        around = jax.lax.dynamic_slice(jnp.pad(state.mines, 1), (row, column), (3, 3))
        terminated = mine | (visited | state.mines).all()
        obs = around.sum(dtype=jnp.int32)
        return after, StepResult(obs, reward, terminated, (after.time >= free) & ~terminated)

    return environment(name, reset, step, Discrete(min(mines + 1, 10)), MultiDiscrete((board, board)), free)
