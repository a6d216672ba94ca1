"""The interface of memories."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from rljax.kinds import Count
from rljax.types import Array


class Past(NamedTuple):
    """The beginning of sequences `[T, B, ...]`, from which a memory sees them again as when it acted."""

    carry: Any  # [B, ...] before the first step
    reset: Array  # [T, B] bool: the step opens an episode


class Memory(nn.Module):
    r"""A layer with a state.

    $$(h_t, y_t) = f(\tilde h_{t-1}, x_t), \quad \tilde h_{t-1} = h_\text{initial} \text{ where } \mathrm{reset}_t
    \text{, else } h_{t-1}$$

    Attributes:
      width: of the outputs.

    Args of the call:
      carry: h before the first step, `[B, ...]`.
      x: inputs `[T, B, F]`.
      reset: `[T, B]` bool: the step opens an episode, so what was before it does not count.

    Returns:
      (carry after the last step, outputs `[T, B, width]`, states: what `ahead` needs of each step).
    """

    width: int = 128

    def check(self) -> None:
        """Refuses fields that cannot be. Raises ConfigError."""
        self.check_counts("width")

    def check_counts(self, *names: str) -> None:
        """Refuses fields that are no positive whole numbers. Raises ConfigError."""
        for name in names:
            Count().convert(f"memory.{name}", getattr(self, name))

    def initial_carry(self, batch_size: int) -> Any:
        """The state before an episode, `[B, ...]`."""
        raise NotImplementedError

    def __call__(self, carry: Any, x: Array, reset: Array) -> tuple[Any, Array, Any]:
        raise NotImplementedError

    def ahead(self, states: Any, x: Array) -> Array:
        """The outputs `[T, B, width]` of one step further, on `x` `[T, B, F]`, from the state after each step.

        For the values of true successors: `x[t]` follows step t of the same episode, and nothing goes on from it. By
        default `states` are the carries after each step, leaves `[T, B, ...]`.
        """
        lead = x.shape[:2]
        flat = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states)
        _, y, _ = self(flat, x.reshape(1, -1, x.shape[-1]), jnp.zeros((1, lead[0] * lead[1]), bool))
        return y.reshape(*lead, -1)


class NoMemory(Memory):
    """Passes its inputs on."""

    def initial_carry(self, batch_size: int) -> Any:
        return ()

    def __call__(self, carry: Any, x: Array, reset: Array) -> tuple[Any, Array, Any]:
        return (), x, ()
