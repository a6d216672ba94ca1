"""Convolutional torsos for small images."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP, activation, as_float
from rljax.types import Array


class CNN(nn.Module):
    """Convolutions of stride 1 without padding, then dense layers; the defaults are MinAtar's network.

    Attributes:
      features: the channels of each convolution.
      kernel: the side of every kernel.
      hidden: the widths of the dense layers.
      activation: a name in `rljax.registry.ACTIVATIONS`.
      gain: the scale of the orthogonal weights.
      layer_norm, dense: of the dense layers, as of `MLP`.
      image: `(H, W, C)` where inputs are vectors that begin with an image; what comes after it joins the dense layers.

    Args of the call:
      x: `[..., H, W, C]`, or `[..., F]` with `image`; bool and integers are cast; `nets.features` scales bytes.

    Returns:
      `[..., hidden[-1]]`.

    Raises:
      ConfigError: unknown activation.

    Source: the default sizes are those of arXiv 1903.03176; the initialisation is that of `MLP`.
    """

    features: tuple[int, ...] = (16,)
    kernel: int = 3
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    gain: float = math.sqrt(2)
    layer_norm: bool = False
    dense: Callable[..., nn.Module] = nn.Dense
    image: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        act, x = activation(self.activation), as_float(x)
        init = orthogonal(self.gain)
        others = None
        if self.image is not None:
            x, others = jnp.split(x, [math.prod(self.image)], axis=-1)
            x = x.reshape(*x.shape[:-1], *self.image)
        for channels in self.features:
            x = act(nn.Conv(channels, (self.kernel, self.kernel), padding="VALID", kernel_init=init)(x))
        x = x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))
        x = x if others is None else jnp.concatenate([x, others], axis=-1)
        return MLP(self.hidden, self.activation, self.gain, self.layer_norm, dense=self.dense)(x)
