"""Autoencode: watch a deck, then name the suits of its cards in reverse order.

N = 52 D cards are shown, one at each step, in mode 1; with the last one the mode becomes 0. Then N suits are to be
named, from the last card to the first, 1 / N each if right and -1 / N if not, while the suit field shows 0. It
terminates after 2 N - 1 steps. The whole sequence is to be stored, about 2 N bits.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.autoencode`: D is 1, 2, 3.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment, no, signed
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

PLAY, WATCH = 0, 1


class State(struct.PyTreeNode):
    """The suits of the cards in the order in which they are shown, and the steps taken."""

    suits: Array  # [N] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1) -> Env:
    """Makes Autoencode: observation (mode (2), suit (4)), action suit (4), 2 N - 1 steps; the task has no numbers.

    Args:
      decks: D, so that N = 52 D.

    Raises:
      ConfigError: `decks` is no positive whole number.
    """
    count = cards.count(decks)
    last, steps = count - 1, 2 * count - 1

    def observe(suits: Array, time: Array) -> Array:
        mode = jnp.where(time < last, WATCH, PLAY)
        return jnp.stack([mode, jnp.where(time <= last, suits[jnp.minimum(time, last)], 0)]).astype(jnp.int32)

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        suits, time = cards.dealt(key, decks, "suits"), jnp.int32(0)
        return State(suits, time), observe(suits, time)

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        time = state.time + 1
        asked = state.suits[jnp.clip(steps - time, 0, last)]  # the last one at time N
        reward = jnp.where(time > last, signed(action == asked, 1.0 / count), 0.0)
        return State(state.suits, time), StepResult(observe(state.suits, time), reward, time >= steps, no())

    suit = cards.KINDS["suits"]
    return environment(name, reset, step, MultiDiscrete((2, suit)), Discrete(suit), steps)
