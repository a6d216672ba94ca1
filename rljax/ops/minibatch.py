"""Several passes over a batch in shuffled minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rljax.types import Array


def flatten_time(tree: Any) -> Any:
    """Leaves `[T, E, ...]` -> `[T * E, ...]`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def minibatch_epochs(
    update: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    batch: Any,
    key: Array,
    num_epochs: int,
    num_minibatches: int,
) -> tuple[Any, Any]:
    """Scans `update` over `num_epochs` fresh shuffles of `batch`, each cut into `num_minibatches` equal parts.

    Args:
      update: `(carry, minibatch [B / num_minibatches, ...]) -> (carry, out)`.
      batch: leaves `[B, ...]`; `num_minibatches` divides B.

    Returns:
      (carry, outs): the `out`s stacked `[num_epochs, num_minibatches, ...]`.
    """
    size = jax.tree.leaves(batch)[0].shape[0]

    def epoch(carry, key):
        order = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(lambda c, rows: update(c, jax.tree.map(lambda x: x[rows], batch)), carry, order)

    return jax.lax.scan(epoch, carry, jax.random.split(key, num_epochs))
