"""Exact action values and returns of gridworlds, by dynamic programming."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.envs.gridworld_levels import MOVES, Level, successors, vacant
from rljax.errors import ConfigError, require
from rljax.types import Array, Scalar

MOST_STATES = 2**20  # of `optimal_values`, which takes about 50 bytes for each


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
    located = level.position[:, None] == jnp.arange(cells)[None]  # [O, cells]
    present = (np.arange(patterns)[None] >> np.arange(level.used.size)[:, None]) & 1 > 0  # [O, patterns]
    collected = jnp.logical_and(present[:, :, None], located[:, None])  # [O, patterns, cells]
    reward = jnp.where(collected, level.reward[:, None, None], 0.0).sum(0)
    alive = jnp.where(collected, 1.0 - level.terminate[:, None, None], 1.0).prod(0)
    successor = successors(level.walls)

    def backup(_: Array, values: Array) -> Array:
        value = values.max(-1)
        for i in range(level.used.size):
            pairs = value.reshape(-1, 2, 2**i, cells)  # without and with object i
            away = pairs[:, 0] + level.respawn[i] * (pairs[:, 1] - pairs[:, 0])
            value = jnp.stack([away, jnp.where(located[i], pairs[:, 0], pairs[:, 1])], 1)
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
        return first.mean(where=vacant(level, level.position, level.used))
    return first[level.start]
