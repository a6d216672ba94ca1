"""Numbers that change over a run."""

from __future__ import annotations

import jax.numpy as jnp

from rljax.types import Array, Scalar


def progress(updates: Array, horizon: Scalar) -> Array:
    """The part of a run that is over, in [0, 1]: n / N, and 1 past the N updates; 0 in a run without end, N = inf."""
    return jnp.minimum(updates / horizon, 1.0)


def annealed(value: Scalar, final: Scalar, progress: Scalar) -> Array:
    """Goes linearly from `value` to the fraction `final` of it, as `progress` goes from 0 to 1."""
    return jnp.asarray(value * (1.0 + progress * (final - 1.0)))


def linear_schedule(progress: Scalar, start: Scalar, final: Scalar, share: Scalar = 1.0) -> Array:
    """Goes linearly from `start` to `final` during the first `share` of a run, and stays at `final`.

    Args:
      progress: the part of the run that is over, in [0, 1]; 0 in a run without end, which stays at `start`.
      share: in [0, 1]; 0 gives `final` from the first update on.
    """
    positive = jnp.asarray(share) > 0.0
    left = jnp.maximum(0.0, 1.0 - progress / jnp.where(positive, share, 1.0))
    return final + jnp.where(positive, left, 0.0) * (start - final)
