"""Linear layers whose weights are perturbed by learned amounts: exploration by the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from rljax.nets.initializers import orthogonal
from rljax.types import Array

NOISE = "noise"  # the random stream that perturbs; without it the weights are their means


class NoisyDense(nn.Module):
    r"""A linear layer with factorised Gaussian noise.

    $$y = (\mu_W + \sigma_W \odot f(\epsilon_{in}) f(\epsilon_{out})^T)^T x + \mu_b + \sigma_b \odot f(\epsilon_{out}),
    \quad f(x) = \mathrm{sign}(x) \sqrt{|x|}$$

    One draw serves the whole batch. It is the random stream `noise`, to be given where there is to be any.

    Attributes:
      features: of the output, q.
      kernel_init: of the means; the deviations start at `deviation` / sqrt(p), p being the inputs.
      deviation: sigma_0.

    Args of the call:
      x: `[..., p]`.

    Returns:
      `[..., q]`.

    Source: Fortunato et al. 2018, arXiv:1706.10295, eq. 8 to 11; its means start uniform, these like those of `Dense`.
    """

    features: int
    kernel_init: Callable[..., Any] = orthogonal()
    deviation: float = 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs = x.shape[-1]
        start = nn.initializers.constant(self.deviation / inputs**0.5)
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel_deviation = self.param("kernel_deviation", start, (inputs, self.features))
        bias_deviation = self.param("bias_deviation", start, (self.features,))
        if self.has_rng(NOISE):
            k_in, k_out = jax.random.split(self.make_rng(NOISE))
            of_input, of_output = _noise(k_in, inputs), _noise(k_out, self.features)
            kernel += kernel_deviation * jnp.outer(of_input, of_output)
            bias += bias_deviation * of_output
        return x @ kernel + jnp.broadcast_to(bias, (*x.shape[:-1], self.features))


def _noise(key: Array, size: int) -> Array:
    x = jax.random.normal(key, (size,))
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))
