"""Torsos: the layers between an observation's features and the heads, by name."""

from __future__ import annotations

from typing import Any

from rljax.errors import require
from rljax.nets.mlp import activation
from rljax.registry import TORSOS
from rljax.types import Array, Space


def torso(name: str, x: Array, axes: int, **sizes: Any) -> Array:
    """Applies a torso within a module: features `[..., *shape]` of that many `axes` -> `[..., hidden[-1]]`.

    An mlp takes them as one vector; `sizes` are fields of the torso, such as `hidden` and `activation`.
    """
    if name == "mlp":
        x = x.reshape(*x.shape[: x.ndim - axes], -1)
    return TORSOS.load(name)(**sizes)(x)


def check_torso(config: Any, space: Space) -> None:
    """Refuses a `torso` that does not fit observations, or an unknown `activation`. Raises ConfigError."""
    shape = space.shape
    require(config.torso == "mlp" or len(shape) == 3, "torso", config.torso, f"needs [H, W, C] images, not {shape}")
    activation(config.activation)
