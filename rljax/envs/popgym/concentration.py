"""Concentration: find pairs of cards that lie face down.

N = 52 D cards lie in a row. An action flips a card; two flips are a turn. If they are two cards of a kind they stay
up and pay 2 / N; if not, or if it is one card twice, they cost 2 / L and are turned back. Touching a card that is up
already ends the turn and costs 1 / L for each card in it. It terminates when all cards are up, and truncates after
L = ceil(2 N - N / (2 N - 1)) steps. The observation shows each card's kind, or m where it is face down; the cards of
a turn are seen once, at the end of it.

The action is no part of the observation: POPGym says that an agent needs the previous one, for which there is a
wrapper.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.concentration`: colours of 1 deck, colours of 2, ranks of 1.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

NONE = -1  # no card has been flipped in this turn


class State(struct.PyTreeNode):
    """The kinds of the cards, which of them are up, the first one of the turn or -1, and the steps taken."""

    kinds: Array  # [N] int32
    up: Array  # [N] bool
    first: Array  # [] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1, kind: str = "ranks") -> Env:
    """Makes Concentration: observation kind or face down (m + 1) of N cards, action card (N), at most L steps.

    The task has no numbers.

    Args:
      decks: D, so that N = 52 D.
      kind: `colours` (m = 2), `suits` (4) or `ranks` (13).

    Raises:
      ConfigError: `decks` is no positive whole number, there is no such kind, or an odd number of cards of each.
    """
    count, m = cards.count(decks), cards.number_of_kinds(kind)
    cards.require_pairs(decks, kind)
    steps = math.ceil(2 * count - count / (2 * count - 1))

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        kinds = cards.dealt(key, decks, kind)
        return State(kinds, jnp.zeros(count, bool), jnp.int32(NONE), jnp.int32(0)), jnp.full(count, m, jnp.int32)

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        position, time = jnp.arange(count), state.time + 1
        flipped = (position == action) | (position == state.first)
        obs = jnp.where(state.up | flipped, state.kinds, m)
        touched, second = state.up[action], state.first != NONE
        alike = (state.kinds[action] == state.kinds[state.first]) & (action != state.first)
        pair = second & ~touched & alike
        lost = -jnp.where(second, 2.0, 1.0) / steps
        reward = jnp.where(pair, 2.0 / count, jnp.where(touched | second, lost, 0.0)).astype(jnp.float32)
        up = state.up | (flipped & pair)
        after = State(state.kinds, up, jnp.where(touched | second, NONE, action).astype(jnp.int32), time)
        terminated = up.all()
        return after, StepResult(obs, reward, terminated, (time >= steps) & ~terminated)

    return environment(name, reset, step, MultiDiscrete((m + 1,) * count), Discrete(count), steps)
