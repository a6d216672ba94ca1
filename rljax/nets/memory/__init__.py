"""Memories: layers with a state that lasts from step to step of an episode, by name.

A memory is a flax module that derives from `Memory`. It forgets where `reset` holds, before it looks at that step's
input; one step is a sequence with `T = 1`. Its state is called `carry`, a pytree of float32 `[B, ...]`, however long
the sequences are that it is trained on.
"""

from __future__ import annotations

from typing import Any

from rljax.catalogue import MEMORIES
from rljax.nets.memory.base import Past as Past
from rljax.types import Array


def memory(text: str) -> Any:
    """The memory of a name, possibly with arguments: `gru`, `s5(layers=1)`."""
    return MEMORIES.make(text)


def remember(text: str, x: Array, past: Past, states: Any = None) -> tuple[Array, Any, Any]:
    """Applies a memory within a module.

    Args:
      text: its name.
      x: inputs of all steps as rows `[T * B, F]`, those of the first step first.
      past: how the sequences begin.
      states: if given, those after each step: `x` are the inputs that follow them, and nothing goes on from there.

    Returns:
      (outputs `[T * B, width]`, carry after the last step, states after each step, see `Memory`).
    """
    made, x = memory(text), x.reshape(*past.reset.shape, x.shape[-1])
    if states is None:
        carry, y, states = made(past.carry, x, past.reset)
    else:
        carry, y = past.carry, made.ahead(states, x)
    return y.reshape(-1, y.shape[-1]), carry, states
