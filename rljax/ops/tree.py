"""Pytrees of numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import CheckpointError

NARROW = {bool: np.bool_, int: np.int32, float: np.float32, complex: np.complex64}
"""The types that programs have Python's numbers in, whatever `jax_enable_x64` says."""


def as_arrays(tree: Any) -> Any:
    """Turns every number into a strongly typed array, so that 1, 1.0 and an array share a program.

    Python's numbers become 32-bit ones, by way of numpy: jax compiles a small program
    for every conversion. An array of 64 bits is intended, and stays.
    """

    def strong(x: Any) -> jax.Array:
        if isinstance(x, jax.Array):
            return jnp.asarray(x, dtype=x.dtype) if getattr(x, "weak_type", False) else x  # keys have none
        return jnp.asarray(numbers(x))

    return jax.tree.map(strong, tree)


def numbers(x: Any) -> np.ndarray:
    """A number, or an array of them, on the host, in the type that programs have it in."""
    if isinstance(x, jax.Array):
        return np.asarray(x)
    return np.asarray(x, dtype=NARROW.get(type(x)) or jnp.result_type(x))


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path, e.g. `opt/0/mu/Dense_0/kernel`, in the order of the tree.

    Raises:
      CheckpointError: two leaves have the same name.
    """
    flat, _ = jax.tree.flatten_with_path(tree)
    leaves = {}
    for path, leaf in flat:
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "state"
        if name in leaves:
            raise CheckpointError(f"two leaves of the state are named '{name}': rename one")
        leaves[name] = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    return leaves
