"""Numbers that change over a run, and the schedules by which they go from their start to their end."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp

from rljax.catalogue import SCHEDULES
from rljax.errors import require
from rljax.types import Array, Scalar

SMALL = 1e-9  # in place of 0, to divide by


def progress(updates: Array, horizon: Scalar) -> Array:
    """The part of a run that is over, in [0, 1]: n / N, and 1 past the N updates; 0 in a run without end, N = inf."""
    return jnp.minimum(updates / horizon, 1.0)


def along(text: str, progress: Scalar) -> Array:
    """The share of the way from its start to its end that a number has gone, in [0, 1].

    Args:
      text: a name in `rljax.catalogue.SCHEDULES`, possibly with arguments: `warmup(0.1)`.
      progress: the part of the run that is over, in [0, 1].

    Raises:
      ConfigError: there is none of that name, or it does not take these arguments.
    """
    return jnp.asarray(SCHEDULES.make(text, progress))


@cache
def check(text: str) -> None:
    """Refuses a schedule that there is not, or that gives no number. Raises ConfigError."""
    found = jax.eval_shape(lambda progress: along(text, progress), jnp.float32(0.0))
    require(found.shape == () and found.dtype == jnp.float32, "schedule", text, "must give one number, a float32")


def linear(progress: Scalar) -> Scalar:
    """Evenly."""
    return progress


def constant(progress: Scalar) -> Array:
    """Not at all."""
    return jnp.zeros_like(progress)


def cosine(progress: Scalar) -> Array:
    """Slowly at both ends: (1 - cos(pi p)) / 2."""
    return 0.5 * (1.0 - jnp.cos(jnp.pi * progress))


def steps(progress: Scalar, *at: float) -> Array:
    """In jumps of equal size, one at each of these parts of the run."""
    return sum((jnp.asarray(progress >= x, jnp.float32) for x in at), jnp.zeros(())) / max(len(at), 1)


def warmup(progress: Scalar, share: float = 0.1, then: str = "linear") -> Array:
    """Goes from the end to the start during the first `share` of the run, and from there by another schedule."""
    rest = along(then, jnp.maximum(0.0, progress - share) / max(1.0 - share, SMALL))
    return jnp.where(progress < share, 1.0 - progress / max(share, SMALL), rest)


def annealed(value: Scalar, final: Scalar, progress: Scalar) -> Array:
    """Goes from `value` to the fraction `final` of it, as `progress` goes from 0 to 1."""
    return jnp.asarray(value * (1.0 + progress * (final - 1.0)))


def linear_schedule(
    progress: Scalar, start: Scalar, final: Scalar, share: Scalar = 1.0, schedule: str = "linear"
) -> Array:
    """Goes from `start` to `final` during the first `share` of a run, linearly if not told otherwise, and stays there.

    Args:
      progress: the part of the run that is over, in [0, 1]; 0 in a run without end, which stays at `start`.
      share: in [0, 1]; 0 gives `final` from the first update on.
      schedule: how it goes, see `along`.
    """
    positive = jnp.asarray(share) > 0.0
    left = 1.0 - along(schedule, jnp.minimum(1.0, progress / jnp.where(positive, share, 1.0)))
    return final + jnp.where(positive, left, 0.0) * (start - final)
