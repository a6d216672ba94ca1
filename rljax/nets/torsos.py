"""Torsos: the layers between an observation's features and the heads, by name."""

from __future__ import annotations

from typing import Any

from rljax.errors import require
from rljax.nets.features import feature_shape, image_shape
from rljax.nets.mlp import activation
from rljax.registry import TORSOS
from rljax.types import Array, Dict, Space


def torso(name: str, x: Array, space: Space, **sizes: Any) -> Array:
    """Applies a torso within a module: features of a space `[..., *feature_shape(space)]` -> `[..., hidden[-1]]`.

    An mlp takes them as one vector, a cnn the image in them; `sizes` are fields of the torso, such as `hidden`.
    """
    if name == "mlp":
        x = x.reshape(*x.shape[: x.ndim - len(feature_shape(space))], -1)
    elif name == "cnn" and isinstance(space, Dict):
        sizes["image"] = image_shape(space)
    return TORSOS.load(name)(**sizes)(x)


def check_torso(config: Any, space: Space) -> None:
    """Refuses a `torso` that does not fit observations, or an unknown `activation`. Raises ConfigError."""
    given = "a Dict without one" if isinstance(space, Dict) else space.shape
    fits = config.torso != "cnn" or image_shape(space) is not None
    require(fits, "torso", config.torso, f"needs [H, W, C] images, not {given}")
    activation(config.activation)
