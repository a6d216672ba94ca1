"""Random streams that one seed has beside the training run's own.

With JAX's keys `split(key, n)[i]` is `fold_in(key, i)`, so a small number folded into a run's key gives a key that the
run itself uses. These are numbers that no split comes to.
"""

from __future__ import annotations

import jax

from rljax.types import Array

EVALUATION = 2**31 + 1  # episodes that a trained policy plays
FITNESS = 2**31 + 2  # those that a life is judged by
TASK = 2**31 + 3  # what a life's environment draws its task by


def fold_in(key: Array, stream: int) -> Array:
    """The key of one of these streams."""
    return jax.random.fold_in(key, stream)
