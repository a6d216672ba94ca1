"""What networks see of an observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.types import Array, Discrete, Space


def features(space: Space, obs: Array) -> Array:
    """Observations `[..., *space.shape]` as float32 `[..., *feature_shape(space)]`; a discrete one becomes one-hot."""
    return jax.nn.one_hot(obs, space.n) if isinstance(space, Discrete) else obs.astype(jnp.float32)


def feature_shape(space: Space) -> tuple[int, ...]:
    """The shape of one observation's features."""
    return (space.n,) if isinstance(space, Discrete) else space.shape


def flat_features(space: Space, obs: Array) -> Array:
    """The same as vectors: `[..., *space.shape]` -> `[..., F]`."""
    x = features(space, obs)
    return x.reshape(*x.shape[: x.ndim - len(feature_shape(space))], -1)
