"""Turns observations into what networks take: float32 arrays."""

from __future__ import annotations

import math
from functools import reduce
from operator import getitem
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.spaces import Single
from rljax.types import LEGAL, Array, Box, Dict, Discrete, MultiDiscrete, Space


def features(space: Space, obs: Any) -> Array:
    """Observations, leaves `[..., *shape]`, as float32 `[..., *feature_shape(space)]`.

    Discrete ones, and each entry of multi-discrete ones, become one-hot, so that a grid of categories `[H, W, C]`
    becomes an image. A Box of bytes, such as a camera's, is divided
    by its highest bound, so that 0 .. 255 becomes 0 .. 1. A Dict becomes one vector: the entries of its spaces one
    after the other, images first, but for the mask of legal actions.
    """
    if isinstance(space, Dict):
        parts = [flat_features(each, reduce(getitem, path, obs)) for path, each in _leaves(space)]
        return jnp.concatenate(parts, axis=-1)
    if isinstance(space, Discrete):
        return jax.nn.one_hot(obs, space.n)
    if isinstance(space, MultiDiscrete):
        return jnp.concatenate([jax.nn.one_hot(obs[..., i], n) for i, n in enumerate(space.nvec)], axis=-1)
    x = obs.astype(jnp.float32)
    return x / np.float32(np.clip(space.high.max(), 1, 255)) if space.dtype == np.uint8 else x


def feature_shape(space: Space) -> tuple[int, ...]:
    """The shape of one observation's features."""
    if isinstance(space, Dict):
        return (sum(math.prod(feature_shape(each)) for _, each in _leaves(space)),)
    if isinstance(space, MultiDiscrete):
        return (*space.grid, sum(space.nvec))
    return (space.n,) if isinstance(space, Discrete) else space.shape


def flat_features(space: Space, obs: Any) -> Array:
    """Observations as vectors of float32, `[..., F]`."""
    x = features(space, obs)
    return x.reshape(*x.shape[: x.ndim - len(feature_shape(space))], -1)


def feature_bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """The least and the highest values of `flat_features`, `[F]` float32 each."""
    low, high = [], []
    for _, each in _leaves(space):
        size = math.prod(feature_shape(each))
        low.append(np.ravel(features(each, each.low)) if isinstance(each, Box) else np.zeros(size))
        high.append(np.ravel(features(each, each.high)) if isinstance(each, Box) else np.ones(size))
    return np.concatenate(low, dtype=np.float32), np.concatenate(high, dtype=np.float32)


def image_shapes(space: Space) -> tuple[tuple[int, ...], ...]:
    """`(H, W, C)` of the features of each image in observations: of a Box of three axes, or a grid of categories."""
    return tuple(feature_shape(each) for _, each in _leaves(space) if _is_image(each))


def _leaves(space: Space, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Single]]:
    """The spaces within a Dict with the names that lead to them: images first, the mask of legal actions left out."""
    if not isinstance(space, Dict):
        return [(path, space)]
    names = ((*path, name) for name in space.spaces)
    found = [leaf for name in names if name != (LEGAL,) for leaf in _leaves(space.spaces[name[-1]], name)]
    return sorted(found, key=lambda leaf: not _is_image(leaf[1]))


def _is_image(space: Space) -> bool:
    return isinstance(space, Box | MultiDiscrete) and len(space.shape) == 3
