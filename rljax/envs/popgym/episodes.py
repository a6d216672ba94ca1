"""Environments of a fixed form: a default task, two spaces, and a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rljax import modes
from rljax.types import Array, Env, Space


def environment(
    name: str,
    reset: Callable[..., Any],
    step: Callable[..., Any],
    observation_space: Space,
    action_space: Space,
    steps: int | Callable[[Any], Array],
    task: Any = (),
) -> Env:
    """An environment of at most `steps` steps, whose functions compute in 32 bits.

    Args:
      reset, step: as of an `Env`.
      steps: their number, or `task -> []`.
      task: the default one; () where no number is to be changed.
    """
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (2, 3)),
        task,
        observation_space,
        action_space,
        time_limit=steps if callable(steps) else lambda task: steps,
        costly_reset=True,  # to shuffle a deck, or to lay out a board, takes 5 to 80 steps of a game
    )


def signed(right: Array, scale: float | Array) -> Array:
    """The reward `scale` where `right` `[]` is True, else `-scale`; `[]` float32."""
    return jnp.where(right, 1.0, -1.0).astype(jnp.float32) * jnp.asarray(scale, jnp.float32)


def no() -> Array:
    """A flag that is not set, `[]` bool."""
    return jnp.zeros((), bool)
