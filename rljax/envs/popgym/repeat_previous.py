"""RepeatPrevious: at every step, name the suit of the k-th card from the end, counting the one that is shown.

So the lag is k - 1. N = 52 D cards are dealt, one shown at each step. Nothing is paid until k cards are seen, then
1 / (N - k) for the suit and -1 / (N - k) for another. It terminates with the last card, after N - 1 steps. The last k
cards are to be kept in order: the most frequent suit so far, a count without an order, is a better guess than any suit
chosen by the newest card, -.33 / -.43 / -.44 in the levels.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.repeat_previous`: (D, k) is (1, 4), (2, 32), (3, 64). Copies in
JAX that other work has used ask for a lag of k; returns on those do not compare.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment, no, signed
from rljax.errors import require
from rljax.types import Array, Discrete, Env, StepResult


class Task(struct.PyTreeNode):
    """The number of the card that is asked for, from the end: 1 is the one that is shown."""

    k: Array  # [] int32, in 1 .. N - 1


class State(struct.PyTreeNode):
    """The suits of the cards in the order in which they are dealt, and the steps taken."""

    suits: Array  # [N] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1, k: int = 4) -> Env:
    """Makes RepeatPrevious: observation suit (4), action suit (4), N - 1 steps; its task is `k`, traced.

    Args:
      decks: D, so that N = 52 D.
      k: as in the task.

    Raises:
      ConfigError: `decks` is no positive whole number, or `k` is not in 1 .. N - 1.
    """
    count = cards.count(decks)
    require(1 <= k < count, "k", k, f"must lie in 1 .. {count - 1}, below the number of cards")

    def reset(key: Array, task: Task) -> tuple[State, Array]:
        suits = cards.dealt(key, decks, "suits")
        return State(suits, jnp.int32(0)), suits[0]

    def step(key: Array, state: State, action: Array, task: Task) -> tuple[State, StepResult]:
        time = state.time + 1  # as many cards have been seen
        asked = state.suits[jnp.maximum(time - task.k, 0)]
        reward = jnp.where(time >= task.k, signed(action == asked, 1.0 / (count - task.k)), 0.0)
        return State(state.suits, time), StepResult(state.suits[time], reward, time >= count - 1, no())

    suit = Discrete(cards.KINDS["suits"])
    return environment(name, reset, step, suit, suit, count - 1, Task(jnp.int32(k)))
