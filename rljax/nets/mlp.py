"""Fully connected torsos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from rljax.catalogue import ACTIVATIONS
from rljax.nets.initializers import orthogonal
from rljax.types import Array

DROPOUT = "dropout"  # the random stream that drops units; without it none are dropped
AVERAGES = "batch_stats"  # the running averages of batch normalisation, which are used where they may not change


def activation(name: str) -> Callable[[Array], Array]:
    """Looks an activation function up by its name.

    Raises:
      ConfigError: there is none; `rljax.catalogue.ACTIVATIONS` holds them all.
    """
    return ACTIVATIONS.load(name)


def as_float(x: Array) -> Array:
    """Casts bool and integer inputs `[...]` to float32, unscaled; leaves floats alone."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


class MLP(nn.Module):
    """Dense layers, each followed by dropout and layer normalisation, if asked for, and the activation.

    x_{l+1} = activation(layer_norm(dropout(W_l x_l + b_l))), W_l orthogonal times `gain`, b_l = 0

    Attributes:
      hidden: the width of each layer; empty for the identity.
      activation: a name in `rljax.catalogue.ACTIVATIONS`.
      gain: the scale of the orthogonal weights.
      layer_norm: normalise before each activation.
      dropout: share of units that are set to 0, wherever a random stream `DROPOUT` is given.
      batch_norm: normalise the input and the output of each layer: over the batch where `AVERAGES` are mutable, else by
        running averages over batches.
      dense: builds a linear layer from its width and the initialiser of its weights.

    Args of the call:
      x: `[..., features]`; bool and integers are cast.

    Returns:
      `[..., hidden[-1]]`.

    Raises:
      ConfigError: unknown activation.

    Source: the initialisation is that of arXiv 1312.6120; dropout before normalisation as in DroQ, arXiv 2110.02034;
    batch normalisation where CrossQ has it, arXiv 1902.05605.
    """

    VECTORS: ClassVar[bool] = True  # it takes no other features
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    gain: float = math.sqrt(2)
    layer_norm: bool = False
    dropout: float = 0.0
    batch_norm: bool = False
    dense: Callable[..., nn.Module] = nn.Dense

    @nn.compact
    def __call__(self, x: Array) -> Array:
        act, x = activation(self.activation), self._normalise(as_float(x))
        for width in self.hidden:
            x = self.dense(width, kernel_init=orthogonal(self.gain))(x)
            x = nn.Dropout(self.dropout, deterministic=not self.has_rng(DROPOUT))(x) if self.dropout else x
            x = self._normalise(act(nn.LayerNorm()(x) if self.layer_norm else x))
        return x

    def _normalise(self, x: Array) -> Array:
        if not self.batch_norm:
            return x
        return nn.BatchNorm(not self.is_mutable_collection(AVERAGES), momentum=0.99, epsilon=1e-3)(x)
