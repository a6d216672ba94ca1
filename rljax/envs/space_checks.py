"""Checks of the spaces that an environment may have."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from rljax.errors import ConfigError
from rljax.types import Box, Dict, Discrete, MultiDiscrete, Space

KINDS = "must be a Box, Discrete, MultiDiscrete or Dict of rljax.types"


def check(field: str, space: Any) -> None:
    """Refuses a space that nothing can lie in or no algorithm can use. Raises ConfigError."""
    if isinstance(space, dict | tuple | list):
        raise ConfigError(f"{field} is a {type(space).__name__}: {KINDS}; name its parts and write Dict({{...}})")
    if isinstance(space, Dict):
        _check_parts(field, space)
        return
    if not isinstance(space, Box | Discrete | MultiDiscrete):
        raise ConfigError(f"{field} is {space!r:.80}: {KINDS}".replace("\n", " "))
    fault = {Box: _box, Discrete: _discrete, MultiDiscrete: _multi_discrete}[_kind(space)](space)
    if fault:
        raise ConfigError(f"{field}{fault}")
    if field.startswith("action_space") and isinstance(space, MultiDiscrete) and space.grid:
        raise ConfigError(f"{field} is a grid of {space.grid}: must be a vector; flatten the actions")
    if field.startswith("action_space") and isinstance(space, Box) and not jnp.issubdtype(space.dtype, jnp.floating):
        raise ConfigError(f"{field} is a Box of {space.dtype}: must be of floats; use Discrete or MultiDiscrete")


def _check_parts(field: str, space: Dict) -> None:
    names = isinstance(space.spaces, Mapping) and all(isinstance(name, str) for name in space.spaces)
    if not names or not space.spaces:
        raise ConfigError(f"{field} is {space!r:.80}: must be a Dict of one space or more by their names")
    for name, each in space.spaces.items():
        check(f"{field}[{name!r}]", each)


@functools.cache
def action_space(space: Space) -> Space:
    """Converts a space of actions to 32-bit floats, which is what algorithms give."""
    if isinstance(space, Dict):
        parts = {name: action_space(each) for name, each in space.spaces.items()}
        return space if parts == space.spaces else Dict(parts)
    if isinstance(space, Box) and space.dtype != np.float32:
        return Box(space.low.astype(np.float32), space.high.astype(np.float32))
    return MultiDiscrete(space.nvec, space.grid) if isinstance(space, MultiDiscrete) else space


def _kind(space: Box | Discrete | MultiDiscrete) -> type:
    return next(kind for kind in (Box, Discrete, MultiDiscrete) if isinstance(space, kind))


def _discrete(space: Discrete) -> str:
    return "" if _count(space.n) else f".n is {space.n!r}: must be a whole number, at least 1"


def _multi_discrete(space: MultiDiscrete) -> str:
    fine = isinstance(space.nvec, tuple) and space.nvec and all(map(_count, space.nvec))
    if not fine:
        return f".nvec is {space.nvec!r}: must be whole numbers, each at least 1"
    if not all(map(_count, space.grid)):
        return f".grid is {space.grid!r}: must be whole numbers, each at least 1"
    holds = jnp.issubdtype(space.dtype, jnp.integer) and max(space.nvec) - 1 <= np.iinfo(space.dtype).max
    return "" if holds else f".dtype is {space.dtype}: must be one of whole numbers that holds {max(space.nvec) - 1}"


def _count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 1 <= n < 2**31


def _box(space: Box) -> str:
    low, high = space.low, space.high
    if not (
        jnp.issubdtype(space.dtype, jnp.integer) or jnp.issubdtype(space.dtype, jnp.floating) or space.dtype == bool
    ):
        return f".dtype is {space.dtype}: must be one of real numbers"
    for name, bound in (("low", low), ("high", high)):
        if bound.dtype.kind not in "biuf" or np.isnan(bound.astype(np.float64)).any():
            return f".{name} holds what is no number: must be numbers or infinities"
    if low.shape != high.shape:
        return f".low has shape {low.shape} and .high {high.shape}: must be the same"
    if low.size == 0:
        return f" has shape {low.shape}, so no entries: must have one at least; a constant 0 will do"
    low, high = low.astype(np.float64), high.astype(np.float64)
    above = np.argwhere((low > high) | (low == np.inf) | (high == -np.inf))
    if len(above):
        where = tuple(above[0].tolist())
        return f" has no room in entry {list(where)}: low is {low[where]:g} and high {high[where]:g}; swap them"
    return ""
