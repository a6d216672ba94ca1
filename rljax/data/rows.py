"""Trees of arrays as rows of 32-bit words, so that a step kept in memory is read in one piece.

A step has five or more parts. Kept as arrays of their own, each step drawn from a memory larger than the cache costs a
miss for every part; in one row it costs one or two. Nothing is converted: 8-bit observations take 8 bits. Flags share
words.
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
    """The layout of a tree in a row.

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
    def _parts(self) -> list[tuple[tuple[int, ...], np.dtype]]:
        """The shape and dtype of each part of a row: of leaves, and behind them of all flags as one vector."""
        flags = sum(map(math.prod, self._of_flags(self.shapes)))
        leaves = [(s, d) for s, d in zip(self.shapes, self.dtypes) if d != np.bool_]
        return [*leaves, ((flags,), np.dtype(np.bool_))] if flags else leaves

    def _of_flags(self, leaves: Any) -> list[Any]:
        return [x for x, d in zip(leaves, self.dtypes) if d == np.bool_]

    @property
    def _sizes(self) -> list[int]:
        """Words of each part."""
        return [-(-math.prod(s) * d.itemsize // WORD) for s, d in self._parts]

    def pack(self, tree: Any) -> Array:
        """A tree with leaves `[..., *shape]` as rows `[..., W]` uint32.

        Raises:
          ConfigError: a leaf of another dtype, whose bits would be read as those of its own.
        """
        leaves = self.structure.flatten_up_to(tree)
        for i, (x, dtype) in enumerate(zip(leaves, self.dtypes)):
            require(x.dtype == dtype, f"dtype of leaf {i}", x.dtype, f"must be {dtype}, as the layout has it")
        flags = [_flat(x, s) for x, s in zip(self._of_flags(leaves), self._of_flags(self.shapes))]
        parts = [x for x, d in zip(leaves, self.dtypes) if d != np.bool_]
        parts += [jnp.concatenate(flags, axis=-1)] if flags else []
        return jnp.concatenate([_to_words(x, s) for x, (s, _) in zip(parts, self._parts)], axis=-1)

    def cast(self, tree: Any) -> Any:
        """The tree with the dtypes of the layout, wherever numbers keep their kind: no fraction is cut off."""
        leaves = self.structure.flatten_up_to(tree)
        kept = [x.astype(d) if np.can_cast(x.dtype, d, "same_kind") else x for x, d in zip(leaves, self.dtypes)]
        return jax.tree.unflatten(self.structure, kept)

    def unpack(self, rows: Array) -> Any:
        """The inverse of `pack`, bit by bit."""
        parts = jnp.split(rows, np.cumsum(self._sizes)[:-1].tolist(), axis=-1)
        found = iter([_from_words(x, s, d) for x, (s, d) in zip(parts, self._parts)])
        leaves = [None if d == np.bool_ else next(found) for d in self.dtypes]
        flags, start = next(found, jnp.zeros(0)), 0
        for i, (shape, dtype) in enumerate(zip(self.shapes, self.dtypes)):
            if dtype == np.bool_:
                leaves[i] = flags[..., start : start + math.prod(shape)].reshape(*flags.shape[:-1], *shape)
                start += math.prod(shape)
        return jax.tree.unflatten(self.structure, leaves)


def layout(tree: Any) -> Layout:
    """The layout of trees like this one, whose leaves (arrays or their shapes) have no batch axes."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(x.shape for x in leaves), tuple(np.dtype(x.dtype) for x in leaves))


def _flat(x: Array, shape: tuple[int, ...]) -> Array:
    """Leaves `[..., *shape]` as vectors `[..., n]`."""
    return x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))


def _to_words(x: Array, shape: tuple[int, ...]) -> Array:
    x = _flat(x, shape)
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
