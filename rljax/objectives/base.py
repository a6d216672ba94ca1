"""The protocol of policy objectives, and the bound that keeps them finite."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp

from rljax.types import Array, Scalar

LARGEST = 15.0


class Objective(Protocol):
    """A policy objective: a loss per sample."""

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar, reference: Array | None = None) -> Array:
        """The loss per sample, to be minimised; the shape of `log_ratio`.

        Args:
          log_ratio: log pi(a | s) minus what it was when the action was taken.
          advantage: of the action.
          progress: the part of the run that is over.
          reference: log pi(a | s) minus that of a frozen reference policy, where there is one.
        """
        ...


def bounded(log_ratio: Array) -> Array:
    """Bounds log r `[...]` by 15, so that what is computed from it, and its derivatives, stay finite in float32.

    exp overflows at 89, the squares in second derivatives much sooner, and an infinity turns into NaN gradients. Where
    an action has become three million times likelier the sample says nothing any more, and its gradient is zero. Below,
    nothing overflows, and a drift may want to pull back.
    """
    return jnp.minimum(log_ratio, LARGEST)
