"""Memories: layers with a state that lasts from step to step of an episode, by name.

A memory is a flax module that derives from `Memory`. It forgets where `reset` holds, before it looks at that step's
input; one step is a sequence with `T = 1`. Its state is called `carry`, a pytree of float32 `[B, ...]`, however long
the sequences are that it is trained on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from rljax.catalogue import MEMORIES
from rljax.errors import ConfigError, reason, require
from rljax.nets.memory.base import Past as Past
from rljax.registry import parsed
from rljax.types import Array


def memory(text: str) -> Any:
    """The memory of a name, possibly with arguments: `gru`, `s5(layers=1)`."""
    return MEMORIES.make(text)


@cache
def check_memory(text: str) -> None:
    """Refuses a memory with numbers that cannot be, or that gives other shapes than `Memory`. Raises ConfigError."""
    MEMORIES.check(parsed(text).name)
    made, x, reset = memory(text), jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), bool)
    if hasattr(made, "check"):
        made.check()
    try:
        carry = made.initial_carry(3)
        (after, y, _), _ = jax.eval_shape(lambda key: made.init_with_output(key, carry, x, reset), jax.random.key(0))
    except ConfigError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        raise ConfigError(f"memory={text}: does not take inputs of the shape {x.shape} ({reason(error)})") from error
    kept = jax.tree.map(lambda h: (h.shape, h.dtype), (carry, after))
    require(kept[0] == kept[1], "memory", text, "gives another carry than it took; keep shapes and dtypes")
    fits = getattr(y, "shape", ())[:2] == reset.shape and len(y.shape) == 3
    require(fits, "memory", text, f"must give outputs [T, B, width], not {getattr(y, 'shape', type(y).__name__)}")


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
