"""Trees of arrays as rows of 32-bit words, so that a step kept in memory is read in one piece.

A step has five or more parts. Kept as arrays of their own, each step drawn from a memory larger than the cache costs a
miss for every part; in one row it costs one or two. Nothing is converted: 8-bit observations take 8 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import require
from rljax.types import Array

WORD = 4  # bytes


@dataclass(frozen=True)
class Layout:
    """How a tree is laid out in a row.

    Attributes:
      structure: of the tree.
      shapes, dtypes: of its leaves, without the axes of a batch.
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]

    @property
    def words(self) -> int:
        """W, the 32-bit words of a row."""
        return sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        """Words of each leaf."""
        return [-(-math.prod(s) * d.itemsize // WORD) for s, d in zip(self.shapes, self.dtypes)]

    def pack(self, tree: Any) -> Array:
        """A tree with leaves `[..., *shape]` as rows `[..., W]` uint32.

        Raises:
          ConfigError: a leaf of another dtype, whose bits would be read as those of its own.
        """
        leaves = self.structure.flatten_up_to(tree)
        for i, (x, dtype) in enumerate(zip(leaves, self.dtypes)):
            require(x.dtype == dtype, f"dtype of leaf {i}", x.dtype, f"must be {dtype}, as the layout has it")
        return jnp.concatenate([_to_words(x, s) for x, s in zip(leaves, self.shapes)], axis=-1)

    def cast(self, tree: Any) -> Any:
        """The tree with the dtypes of the layout, wherever numbers keep their kind: no fraction is cut off."""
        leaves = self.structure.flatten_up_to(tree)
        kept = [x.astype(d) if np.can_cast(x.dtype, d, "same_kind") else x for x, d in zip(leaves, self.dtypes)]
        return jax.tree.unflatten(self.structure, kept)

    def unpack(self, rows: Array) -> Any:
        """The inverse of `pack`, bit by bit."""
        parts = jnp.split(rows, np.cumsum(self._sizes)[:-1].tolist(), axis=-1)
        leaves = [_from_words(x, s, d) for x, s, d in zip(parts, self.shapes, self.dtypes)]
        return jax.tree.unflatten(self.structure, leaves)


def layout(tree: Any) -> Layout:
    """The layout of trees like this one, whose leaves (arrays or their shapes) have no batch axes."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(x.shape for x in leaves), tuple(np.dtype(x.dtype) for x in leaves))


def _to_words(x: Array, shape: tuple[int, ...]) -> Array:
    x = x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))
    x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
    each = WORD // x.dtype.itemsize  # entries in a word; 0: an entry takes several
    if each > 1:
        spare = -x.shape[-1] % each
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spare)]).reshape(*x.shape[:-1], -1, each)
    words = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return words if each else words.reshape(*words.shape[:-2], -1)


def _from_words(words: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    batch, size = words.shape[:-1], math.prod(shape)
    kind = jnp.dtype(jnp.uint8) if dtype == np.bool_ else jnp.dtype(dtype)
    if kind.itemsize > WORD:
        words = words.reshape(*batch, -1, kind.itemsize // WORD)
    entries = jax.lax.bitcast_convert_type(words, kind).reshape(*batch, -1)[..., :size]
    return entries.reshape(*batch, *shape).astype(dtype)
