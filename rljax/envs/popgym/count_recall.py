"""CountRecall: say how many cards of a kind have been dealt so far.

Two decks of N = 52 D cards are shuffled apart, and a card of each is shown at every step: the first counts, the kind
of the second is asked for. The number of cards of that kind so far, the one shown included, pays 1 / (N - 1), any
other -1 / (N - 1). It terminates with the last card, after N - 1 steps. A clock alone gives half the way from random
to the best, see `rljax.envs.references`.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.count_recall`: colours of 1 deck, suits of 2, ranks of 4. Its
`error_clamp` has no effect there, and is not here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.envs.popgym import cards
from rljax.envs.popgym.episodes import environment, no, signed
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult


class State(struct.PyTreeNode):
    """The kinds of the cards that count and of those that ask, as they are dealt, the counts, and the steps taken."""

    values: Array  # [N] int32
    queries: Array  # [N] int32
    counts: Array  # [kinds] int32
    time: Array  # [] int32


def make(name: str, decks: int = 1, kind: str = "colours") -> Env:
    """Makes CountRecall: observation (kind (m), kind asked for (m)), action count (N / m + 1), N - 1 steps.

    The task has no numbers.

    Args:
      decks: D, so that N = 52 D.
      kind: `colours` (m = 2), `suits` (4) or `ranks` (13).

    Raises:
      ConfigError: `decks` is no positive whole number, or there is no such kind.
    """
    count, m = cards.count(decks), cards.number_of_kinds(kind)
    steps = count - 1

    def reset(key: Array, task: Any) -> tuple[State, Array]:
        k_values, k_queries = jax.random.split(key)
        values, queries = (cards.dealt(k, decks, kind) for k in (k_values, k_queries))
        state = State(values, queries, jnp.zeros(m, jnp.int32).at[values[0]].set(1), jnp.int32(0))
        return state, jnp.stack([values[0], queries[0]])

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        time = state.time + 1
        reward = signed(action == state.counts[state.queries[state.time]], 1.0 / steps)
        value = state.values[time]
        after = State(state.values, state.queries, state.counts.at[value].add(1), time)
        return after, StepResult(jnp.stack([value, state.queries[time]]), reward, time >= steps, no())

    return environment(name, reset, step, MultiDiscrete((m, m)), Discrete(count // m + 1), steps)
