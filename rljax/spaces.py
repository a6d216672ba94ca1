"""Spaces: the sets that observations and actions lie in."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import ConfigError

Array = jax.Array
LEGAL = "action_mask"
"""The entry of a `Dict` observation, `[A]` bool, that says which of A discrete actions are legal."""


@dataclass(frozen=True)
class Discrete:
    """The integers `0 .. n-1`."""

    n: int
    dtype = np.dtype(np.int32)
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Takes whole numbers of any kind."""
        object.__setattr__(self, "n", _whole(self.n))

    def sample(self, key: Array) -> Array:
        """A uniform draw, `[]` int32."""
        return jax.random.randint(key, (), 0, self.n)

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.logical_and(x >= 0, x < self.n)


@dataclass(frozen=True)
class MultiDiscrete:
    """A vector of integers, entry i being in `0 .. nvec[i]-1`; or a grid of such vectors, `[*grid, len(nvec)]`."""

    nvec: tuple[int, ...]
    grid: tuple[int, ...] = ()
    dtype: np.dtype = np.dtype(np.int32)  # noqa: RUF009  a grid of bytes is a quarter as large in a memory

    def __post_init__(self) -> None:
        """Takes whole numbers of any kind, in any sequence."""
        for name in ("nvec", "grid"):
            object.__setattr__(self, name, tuple(map(_whole, getattr(self, name))))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid, len(self.nvec))

    def sample(self, key: Array) -> Array:
        """A uniform draw, `[*grid, len(nvec)]`."""
        drawn = jax.random.randint(key, self.shape, 0, jnp.broadcast_to(jnp.array(self.nvec), self.shape))
        return drawn.astype(self.dtype)

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.all(jnp.logical_and(x >= 0, x < jnp.broadcast_to(jnp.array(self.nvec), self.shape)))


@dataclass(frozen=True, eq=False)
class Box:
    """Arrays between `low` and `high`, elementwise; bounds may be infinite."""

    low: np.ndarray
    high: np.ndarray
    dtype: np.dtype = np.dtype(np.float32)  # noqa: RUF009  dtypes are immutable

    def __post_init__(self) -> None:
        """Takes what NumPy takes as bounds and dtype; those of 64 bits become 32, as networks see no others."""
        narrow = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.int64): np.dtype(np.int32)}
        dtype = np.dtype(self.dtype)
        object.__setattr__(self, "dtype", narrow.get(dtype, dtype))
        for name in ("low", "high"):
            bound = np.asarray(getattr(self, name))
            object.__setattr__(self, name, bound.astype(narrow.get(bound.dtype, bound.dtype), copy=False))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.low.shape

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def movable(self) -> np.ndarray:
        """`shape` bool: the entries that have more than one value."""
        return self.low < self.high

    def only_movable(self, x: Array) -> Array:
        """Sets the entries of `x` `[..., *shape]` that have one value alone to 0, their point in the unit cube."""
        return x if self.movable.all() else jnp.where(jnp.broadcast_to(self.movable, x.shape), x, 0.0)

    def sample(self, key: Array) -> Array:
        """A uniform draw where the bounds are finite, a standard normal one elsewhere; `shape`, `dtype`."""
        finite = np.isfinite(self.low) & np.isfinite(self.high)
        low, high = np.where(finite, self.low, 0.0), np.where(finite, self.high, 1.0)
        k_uniform, k_normal = jax.random.split(key)
        uniform = low + (high - low) * jax.random.uniform(k_uniform, self.shape)
        normal = jnp.clip(jax.random.normal(k_normal, self.shape), self.low, self.high)
        return jnp.where(finite, uniform, normal).astype(self.dtype)

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.all(jnp.logical_and(x >= self.low, x <= self.high))

    def clip(self, x: Array) -> Array:
        """The nearest point of the box; `x` is `[..., *shape]`."""
        return jnp.clip(x, jnp.broadcast_to(self.low, x.shape), jnp.broadcast_to(self.high, x.shape))

    def from_unit(self, x: Array) -> Array:
        """Maps the cube of -1 to 1 into the box, which must be bounded; `x` is `[..., *shape]`."""
        low, high = (jnp.broadcast_to(bound, x.shape) for bound in (self.low, self.high))
        return jnp.clip(low + 0.5 * (x + 1.0) * (high - low), low, high)  # rounding can leave the box

    def to_unit(self, x: Array) -> Array:
        """The inverse of `from_unit`; 0 in entries that have one value alone."""
        high = np.where(self.movable, self.high, self.low + 1)
        low, high = (jnp.broadcast_to(bound, x.shape) for bound in (self.low, high))
        return self.only_movable(2.0 * (x - low) / (high - low) - 1.0)


@dataclass(frozen=True)
class Dict:
    """Several spaces by name: a value is a dict of arrays, or of further dicts where a space is a `Dict` itself.

    Of observations, the entry `LEGAL` is no feature: policies take the actions that it allows alone.
    """

    spaces: Mapping[str, Space]

    def __post_init__(self) -> None:
        """Sorts the spaces by name, the order of the leaves of a value."""
        if isinstance(self.spaces, Mapping) and all(isinstance(name, str) for name in self.spaces):
            object.__setattr__(self, "spaces", dict(sorted(self.spaces.items())))

    def __hash__(self) -> int:
        return hash(tuple(self.spaces.items()))

    def sample(self, key: Array) -> dict[str, Any]:
        """A draw from each space."""
        keys = jax.random.split(key, len(self.spaces))
        return {name: space.sample(k) for (name, space), k in zip(self.spaces.items(), keys)}

    def contains(self, x: Mapping[str, Any]) -> Array:
        """`[]` bool."""
        return jnp.all(jnp.array([space.contains(x[name]) for name, space in self.spaces.items()]))


Single = Box | Discrete | MultiDiscrete  # what one array lies in
Space = Single | Dict


def like(space: Space) -> Any:
    """The shapes and dtypes of a value: a `jax.ShapeDtypeStruct`, or a dict of them."""
    if isinstance(space, Dict):
        return {name: like(each) for name, each in space.spaces.items()}
    return jax.ShapeDtypeStruct(space.shape, space.dtype)


def zeros(space: Space) -> Any:
    """A value of zeros, whether the space contains it or not."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like(space))


def cast(space: Space, x: Any) -> Any:
    """A value with the dtypes of the space; leaves `[..., *shape]`."""
    return jax.tree.map(lambda leaf, y: jnp.asarray(y, leaf.dtype), like(space), x)


def _whole(n: Any) -> Any:
    """Converts a whole number to `int`; leaves anything else, to be refused with the name of the environment."""
    return n if isinstance(n, bool) or not hasattr(n, "__index__") else operator.index(n)


def num_actions(space: Space, instead: str) -> int:
    """The number of actions of a Discrete space. Raises ConfigError for another one, naming an algorithm `instead`."""
    if isinstance(space, Discrete):
        return space.n
    kind = type(space).__name__
    raise ConfigError(f"action_space={kind}: must be Discrete; use another algorithm, such as {instead}")
