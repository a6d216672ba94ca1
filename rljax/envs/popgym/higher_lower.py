"""HigherLower: guess whether the next card is higher or lower than the one that is shown.

N = 52 D cards are dealt, one shown at each step. Action 0 says higher, 1 lower: 1 / N if right, -1 / N if not, 0 for a
tie of ranks. It terminates with the last card, after N - 1 steps. Counting cards is worth .03 / .02 / .015 in the
levels, of .53 / .52 / .51: it is no test of memory.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.higher_lower`: D is 1, 2, 3.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment, no, signed
from rljax.types import Array, Discrete, Env, StepResult

HIGHER, LOWER = 0, 1


class State(struct.PyTreeNode):
    """The ranks of the cards in the order in which they are dealt, and the steps taken."""

    ranks: Array  # [N] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1) -> Env:
    """Makes HigherLower: observation rank (13), action higher or lower (2), N - 1 steps; the task has no numbers.

    Args:
      decks: D, so that N = 52 D.

    Raises:
      ConfigError: `decks` is no positive whole number.
    """
    count = cards.count(decks)

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        ranks = cards.dealt(key, decks, "ranks")
        return State(ranks, jnp.int32(0)), ranks[0]

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        time = state.time + 1
        before, rank = state.ranks[state.time], state.ranks[time]
        right = (rank > before) == (action == HIGHER)
        reward = jnp.where(rank == before, 0.0, signed(right, 1.0 / count))
        return State(state.ranks, time), StepResult(rank, reward, time >= count - 1, no())

    return environment(name, reset, step, Discrete(cards.KINDS["ranks"]), Discrete(2), count - 1)
