"""The leaves of a state as a checkpoint stores them: numpy arrays of a schema, and how two schemas differ."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import CheckpointError

Schema = dict[str, list]  # leaf path -> [shape, dtype]
KEYS = ("threefry2x32", "rbg", "unsafe_rbg")  # kinds of random keys


def schema_of(leaves: dict[str, Any]) -> Schema:
    """The shapes and dtypes of leaves, by path."""
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves.items()}


def described(shape: list[int], dtype: str) -> jax.ShapeDtypeStruct:
    """The leaf that a schema describes."""
    kinds = (jax.random.key(0, impl=impl).dtype for impl in KEYS) if dtype.startswith("key<") else ()
    return jax.ShapeDtypeStruct(tuple(shape), next((kind for kind in kinds if str(kind) == dtype), dtype))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_saved(leaf: Any) -> Any:
    """Makes the array to store: of numpy, cheaper for orbax than of jax, unless other hosts have parts of it."""
    data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return np.asarray(data) if getattr(data, "is_fully_addressable", True) else data


def template(leaf: Any, stored: np.dtype | None = None) -> Any:
    """Makes the array that `to_saved` would make of a leaf, without values; `stored` is its dtype if not the leaf's."""
    data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or sharding.is_fully_addressable:
        return np.broadcast_to(np.zeros((), stored or data.dtype), data.shape)  # takes no memory
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding)


def from_saved(data: Any, leaf: Any) -> jax.Array:
    """Makes the array that `leaf` describes; `data` is None where it has no elements (orbax cannot save those)."""
    if data is None:
        array = jnp.zeros(leaf.shape, leaf.dtype)
    elif _is_key(leaf):
        array = jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(jnp.zeros((), leaf.dtype)))
    else:
        array = data if data.dtype == leaf.dtype else _narrowed(np.asarray(data), leaf.dtype)
    return jax.device_put(array, getattr(leaf, "sharding", None))


def _narrowed(data: np.ndarray, dtype: Any) -> np.ndarray:
    """Casts an array. Raises CheckpointError where a whole number does not fit."""
    cast = data.astype(dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(cast, data):
        raise CheckpointError(f"a checkpoint holds {np.abs(data).max()}, too large for {dtype}; set JAX_ENABLE_X64=1")
    return cast


def difference(stored: Schema, here: Schema) -> str:
    """Names the first leaf in which two schemas differ, in words; empty where none does."""
    for path in [*stored, *here]:
        if path not in here:
            return f"'{path}' is there, not here"
        if path not in stored:
            return f"'{path}' is here, not there"
        (shape, dtype), (shape_here, dtype_here) = stored[path], here[path]
        if shape != shape_here:
            return f"'{path}' has shape {tuple(shape)} there, {tuple(shape_here)} here"
        if dtype != dtype_here:
            return f"'{path}' is {dtype} there, {dtype_here} here"
    return ""
