"""What networks see of an observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rljax.types import Array, Box, Discrete, Space


def features(space: Space, obs: Array) -> Array:
    """Observations `[..., *space.shape]` as float32 `[..., *feature_shape(space)]`; a discrete one becomes one-hot.

    A Box of bytes, such as a camera's, is divided by its highest bound, so that 0 .. 255 becomes 0 .. 1.
    """
    if isinstance(space, Discrete):
        return jax.nn.one_hot(obs, space.n)
    x = obs.astype(jnp.float32)
    if isinstance(space, Box) and space.dtype == np.uint8:
        return x / np.float32(np.clip(space.high.max(), 1, 255))
    return x


def feature_shape(space: Space) -> tuple[int, ...]:
    """The shape of one observation's features."""
    return (space.n,) if isinstance(space, Discrete) else space.shape


def flat_features(space: Space, obs: Array) -> Array:
    """The same as vectors: `[..., *space.shape]` -> `[..., F]`."""
    x = features(space, obs)
    return x.reshape(*x.shape[: x.ndim - len(feature_shape(space))], -1)
