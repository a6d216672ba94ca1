"""Numbers in pytrees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_arrays(tree: Any) -> Any:
    """Every number as a strongly typed array, so that 1, 1.0 and an array do not compile apart.

    Python numbers go by way of numpy: jax compiles a small program for every conversion of its own.
    """

    def strong(x: Any) -> jax.Array:
        if isinstance(x, jax.Array):
            return jnp.asarray(x, dtype=x.dtype) if x.weak_type else x
        return jnp.asarray(np.asarray(x, dtype=jnp.result_type(x)))

    return jax.tree.map(strong, tree)
