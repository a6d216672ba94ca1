"""Random streams of a seed that are independent of its training run.

With JAX's keys `split(key, n)[i]` is `fold_in(key, i)`, so a small number folded into a run's key gives a key that the
run itself uses. No split reaches the numbers below.
"""

from __future__ import annotations

import jax

from rljax.types import Array

EVALUATION = 2**31 + 1  # episodes that evaluate a trained policy
FITNESS = 2**31 + 2  # episodes that give a training run of a search its fitness
TASK = 2**31 + 3  # the task of a training run of a search


def of_seed(seed: int | Array, stream: int) -> Array:
    """The key of one of these streams, from a seed, `[]` where it is traced."""
    return fold_in(jax.random.key(seed), stream)


def fold_in(key: Array, stream: int) -> Array:
    """The key of one of these streams."""
    return jax.random.fold_in(key, stream)
