"""Convolutional torsos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.conv import Conv
from rljax.nets.mlp import MLP, activation, as_float
from rljax.types import Array


class CNN(nn.Module):
    """Convolutions of stride 1 without padding, then dense layers; the defaults are MinAtar's network.

    Attributes:
      features: the channels of each convolution.
      kernels, strides: the side and the stride of each; one for all of them if it is a number.
      hidden: the widths of the dense layers.
      activation: a name in `rljax.catalogue.ACTIVATIONS`.
      gain: the scale of the orthogonal weights.
      layer_norm, dense: of the dense layers, as of `MLP`.
      images: `(H, W, C)` of each image, where inputs are vectors that begin with images, as the features of a Dict do.
        Each image has convolutions of its own; what comes after the images joins the dense layers.

    Args of the call:
      x: `[..., H, W, C]`, or `[..., F]` with `images`; bool and integers are cast; `nets.features` scales bytes.

    Returns:
      `[..., hidden[-1]]`.

    Raises:
      ConfigError: unknown activation.

    Source: the default sizes are those of arXiv 1903.03176; the initialisation is that of `MLP`.
    """

    features: tuple[int, ...] = (16,)
    kernels: int | tuple[int, ...] = 3
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    gain: float = math.sqrt(2)
    layer_norm: bool = False
    dense: Callable[..., nn.Module] = nn.Dense
    images: tuple[tuple[int, ...], ...] | None = None
    strides: int | tuple[int, ...] = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        parts = [as_float(x)] if self.images is None else self._images(as_float(x))
        parts[: len(self.images or "1")] = [self._encoded(image) for image in parts[: len(self.images or "1")]]
        x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return MLP(self.hidden, self.activation, self.gain, self.layer_norm, dense=self.dense)(x)

    def convolve(self, x: Array) -> Array:
        """Encodes images `[..., H, W, C]` as others, `[..., H', W', C']`."""
        act, layers = activation(self.activation), len(self.features)
        for channels, side, stride in zip(self.features, _each(self.kernels, layers), _each(self.strides, layers)):
            x = act(self.convolution(channels, side, stride)(x))
        return x

    def convolution(self, channels: int, side: int, stride: int = 1, padding: str = "VALID") -> Conv:
        """Makes a layer of `convolve`."""
        return Conv(channels, side, stride, padding, self.gain)

    def _images(self, x: Array) -> list[Array]:
        """The images in vectors `[..., F]`, and what comes after them, if anything."""
        assert self.images is not None
        ends = [sum(math.prod(shape) for shape in self.images[: i + 1]) for i in range(len(self.images))]
        *flat, rest = jnp.split(x, ends, axis=-1)
        images = [part.reshape(*part.shape[:-1], *shape) for part, shape in zip(flat, self.images)]
        return images + [rest] * (rest.shape[-1] > 0)

    def _encoded(self, image: Array) -> Array:
        x = self.convolve(image)
        return x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))


class Nature(CNN):
    """The network of DQN on Atari; for images of at least 36 x 36, such as 84 x 84.

    Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods.
    """

    features: tuple[int, ...] = (32, 64, 64)
    kernels: int | tuple[int, ...] = (8, 4, 3)
    strides: int | tuple[int, ...] = (4, 2, 1)
    hidden: tuple[int, ...] = (512,)


class Impala(CNN):
    """The residual network of IMPALA: sections of a convolution, pooling by 2 and two residual blocks each.

    A block is x + W_2 act(W_1 act(x)), all convolutions 3 x 3 with padding; `features` are the channels of sections.

    Source: Espeholt et al. 2018, arXiv:1802.01561, figure 3, right.
    """

    BLOCKS: ClassVar[int] = 2
    features: tuple[int, ...] = (16, 32, 32)
    hidden: tuple[int, ...] = (256,)

    def convolve(self, x: Array) -> Array:
        act = activation(self.activation)
        for channels in self.features:
            x = self.convolution(channels, 3, padding="SAME")(x)
            x = _max_pool(x)
            for _ in range(self.BLOCKS):
                inner = self.convolution(channels, 3, padding="SAME")(act(x))
                x = x + self.convolution(channels, 3, padding="SAME")(act(inner))
        return act(x)


def _max_pool(x: Array) -> Array:
    """The largest of 3 x 3, at every second place, `[..., H, W, C]` -> `[..., ceil(H / 2), ceil(W / 2), C]`."""
    flat = x.reshape(-1, *x.shape[-3:])
    pooled = nn.max_pool(flat, (3, 3), (2, 2), padding="SAME")
    return pooled.reshape(*x.shape[:-3], *pooled.shape[-3:])


def _each(sizes: int | tuple[int, ...], layers: int) -> tuple[int, ...]:
    return (sizes,) * layers if isinstance(sizes, int) else sizes
