"""Modes of JAX that a user may have switched on: 64-bit numbers, and the search for NaNs.

Agents compute in 32 bits whatever `jax_enable_x64` says: a run's numbers, states and checkpoints are the same in both
modes. Environments are called in the mode that their author chose, so physics may take 64 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

# Programs are traced apart for every value of these: JAX does that for 64 bits, but not for `jax_debug_nans`.
_wide = jax.make_user_context(False)  # 64 bits are on, outside of what computes in 32
_hunting = jax.make_user_context(False)  # `jax_debug_nans` is on


def is_on(name: str) -> bool:
    """Whether a flag of JAX is on here, by a context or for the whole process."""
    return getattr(jax.config, name)


@contextmanager
def in_32_bits() -> Iterator[None]:
    """Computes, or traces, as if `jax_enable_x64` were off."""
    if not is_on("jax_enable_x64"):
        yield
        return
    with _wide(True), jax.enable_x64(False):
        yield


@contextmanager
def as_outside() -> Iterator[None]:
    """Computes in the mode outside of `in_32_bits`."""
    if not _wide.value:
        yield
        return
    with jax.enable_x64(True):
        yield


class Single:
    """A function that computes in 32 bits; two are equal if their functions are.

    An agent whose state was cast to 64 bits stays there: that is how its derivatives are checked.

    Args:
      function: pure.
      narrowed: which of its positional arguments are cast to 32 bits.
      state: which of them is the state; 1 of a method.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], narrowed: tuple[int, ...] = (), state: int = 0):
        functools.update_wrapper(self, function)
        self.narrowed, self.state = narrowed, state

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if not is_on("jax_enable_x64") or _is_wide(arguments[self.state : self.state + 1]):
            return self.__wrapped__(*arguments, **keywords)
        with in_32_bits():
            given = (narrow(x) if i in self.narrowed else x for i, x in enumerate(arguments))
            return self.__wrapped__(*given, **keywords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Single) and self.__wrapped__ == other.__wrapped__

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


def _is_wide(state: Any) -> bool:
    """Whether the state of an agent has 64-bit numbers, those of its environments left out."""
    leaves = (x for path, x in jax.tree.leaves_with_path(state) if "episodes" not in jax.tree_util.keystr(path))
    return any(getattr(x, "dtype", None) == jnp.float64 for x in leaves)


def single(function: Callable[..., Any], narrowed: tuple[int, ...] = (), state: int = 0) -> Single:
    """Wraps a function as `Single(function, narrowed, state)`, unless it is one already."""
    return function if isinstance(function, Single) else Single(function, narrowed, state)


def outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function of an environment to compute in its author's mode: in 64 bits if these are on."""

    def call(*arguments):
        with as_outside():
            return function(*arguments)

    return call


def narrow(tree: Any) -> Any:
    """Casts the arrays of a tree to 32 bits: float64 to float32, and so on."""

    def cast(x: Any) -> Any:
        if not hasattr(x, "dtype") or jnp.issubdtype(x.dtype, jax.dtypes.extended):
            return x
        return jnp.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))

    with in_32_bits():
        return jax.tree.map(cast, tree)


def differ_in_bits(one: str, other: str) -> bool:
    """Whether two dtypes differ in nothing but 64 and 32 bits."""
    return one != other and one.replace("64", "32") == other.replace("64", "32")


@contextmanager
def hunting() -> Iterator[None]:
    """Traces programs that know of `jax_debug_nans`, apart from those without it."""
    if not is_on("jax_debug_nans"):
        yield
        return
    with _hunting(True):
        yield


def ratio(total: Array, count: Array) -> Array:
    """Divides `total` by `count`, of one shape; NaN where `count` is 0, but 0 there under `jax_debug_nans`."""
    if _hunting.value or is_on("jax_debug_nans"):
        return jnp.where(count == 0, 0.0, total) / jnp.where(count == 0, 1, count)
    return total / count
