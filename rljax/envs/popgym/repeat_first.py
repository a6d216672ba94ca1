"""RepeatFirst: at every step, name the suit of the first card of the episode.

N = 52 D cards are dealt, one shown at each step; naming the suit of the first one pays 1 / (N - 1), another costs as
much. It terminates with the last card, after N - 1 steps. One item is to be kept for the whole episode.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.repeat_first`: D is 1, 8, 16.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment, no, signed
from rljax.types import Array, Discrete, Env, StepResult


class State(struct.PyTreeNode):
    """The suits of the cards in the order in which they are dealt, and the steps taken."""

    suits: Array  # [N] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1) -> Env:
    """Makes RepeatFirst: observation suit (4), action suit (4), N - 1 steps; the task has no numbers.

    Args:
      decks: D, so that N = 52 D.

    Raises:
      ConfigError: `decks` is no positive whole number.
    """
    steps = cards.count(decks) - 1

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        suits = cards.dealt(key, decks, "suits")
        return State(suits, jnp.int32(0)), suits[0]

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        time = state.time + 1
        reward = signed(action == state.suits[0], 1.0 / steps)
        return State(state.suits, time), StepResult(state.suits[time], reward, time >= steps, no())

    suit = Discrete(cards.KINDS["suits"])
    return environment(name, reset, step, suit, suit, steps)
