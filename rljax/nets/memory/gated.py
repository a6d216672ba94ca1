"""Gated recurrent networks: GRU and LSTM."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from rljax.errors import require
from rljax.nets.initializers import orthogonal
from rljax.nets.memory.base import Memory
from rljax.nets.memory.recurrence import unroll
from rljax.types import Array


class GRU(Memory):
    r"""A gated recurrent unit.

    $$r = \sigma(x U_r + h W_r + b_r), \quad z = \sigma(x U_z + h W_z + b_z), \quad
    n = \tanh(x U_n + r \odot (h W_n + b_n)), \quad h' = (1 - z) \odot n + z \odot h$$

    Attributes:
      width: H, of the state and of the outputs.
      chrono: the longest time, in steps, that it is to remember: b_z begins as log U(1, chrono - 1); 0: as 0.

    Source: Cho et al. 2014, arXiv:1406.1078, with the reset gate inside, as in cuDNN; chrono initialisation: Tallec and
    Ollivier 2018, arXiv:1804.11188, eq. 16.
    """

    chrono: float = 0.0

    def check(self) -> None:
        super().check()
        check_chrono(self.chrono)

    def initial_carry(self, batch_size: int) -> Any:
        return (jnp.zeros((batch_size, self.width)),)

    @nn.compact
    def __call__(self, carry: Any, x: Array, reset: Array) -> tuple[Any, Array, Any]:
        def bias(key, shape):
            return jnp.zeros(shape).at[self.width : 2 * self.width].set(long(key, self.chrono, self.width))

        carry, states = unroll(_gru, _weights(self, x.shape[-1], 3, bias), carry, x, reset)
        return carry, states[0], states


class LSTM(Memory):
    r"""A long short-term memory.

    $$(i, f, o) = \sigma(x U_{i,f,o} + h W_{i,f,o} + b_{i,f,o}), \quad g = \tanh(x U_g + h W_g + b_g), \quad
    c' = f \odot c + i \odot g, \quad h' = o \odot \tanh(c')$$

    Attributes:
      width: H, of each half of the state (h, c), and of the outputs.
      chrono: the longest time, in steps, that it is to remember: b_f begins as log U(1, chrono - 1) and b_i as its
        opposite; 0: b_f begins as 1. All others begin as 0.

    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Tallec and Ollivier 2018, arXiv:1804.11188.
    """

    chrono: float = 0.0

    def check(self) -> None:
        super().check()
        check_chrono(self.chrono)

    def initial_carry(self, batch_size: int) -> Any:
        return tuple(jnp.zeros((batch_size, self.width)) for _ in range(2))

    @nn.compact
    def __call__(self, carry: Any, x: Array, reset: Array) -> tuple[Any, Array, Any]:
        def bias(key, shape):
            forget = long(key, self.chrono, self.width) if self.chrono else jnp.ones(self.width)
            ignore = -forget if self.chrono else jnp.zeros(self.width)
            return jnp.concatenate([ignore, forget, jnp.zeros(2 * self.width)])

        carry, states = unroll(_lstm, _weights(self, x.shape[-1], 4, bias), carry, x, reset)
        return carry, states[0], states


def check_chrono(chrono: float) -> None:
    """Refuses a time that is too short to be remembered. Raises ConfigError."""
    require(not chrono or chrono > 2, "memory.chrono", chrono, "must be above 2 steps, or 0 for none")


def long(key: Array, longest: float, width: int) -> Array:
    r"""Biases of gates that keep for up to that many steps, `[width]`: $\log U(1, \text{longest} - 1)$; 0 for 0."""
    if not longest:
        return jnp.zeros(width)
    return jnp.log(jax.random.uniform(key, (width,), minval=1.0, maxval=longest - 1.0))


def _weights(module: GRU | LSTM, size: int, gates: int, bias: Any) -> tuple[Array, Array, Array]:
    """U `[F, gates * H]`, W `[H, gates * H]`, orthogonal gate by gate, and b `[gates * H]`."""
    total = gates * module.width
    of_input = module.param("input_kernel", _side_by_side(nn.initializers.lecun_normal(), gates), (size, total))
    of_state = module.param("kernel", _side_by_side(orthogonal(), gates), (module.width, total))
    return of_input, of_state, module.param("bias", bias, (total,))


def _side_by_side(initial: Any, gates: int) -> Any:
    """Initialises the matrices of several gates apart."""

    def initialise(key: Array, shape: tuple[int, int]) -> Array:
        keys = jax.random.split(key, gates)
        return jnp.concatenate([initial(each, (shape[0], shape[1] // gates)) for each in keys], axis=1)

    return initialise


def _gru(x: Array, product: Array, carry: Any) -> Any:
    (x_r, x_z, x_n), (h_r, h_z, h_n), (h,) = jnp.split(x, 3, -1), jnp.split(product, 3, -1), carry
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    return ((1.0 - z) * jnp.tanh(x_n + r * h_n) + z * h,)


def _lstm(x: Array, product: Array, carry: Any) -> Any:
    i, f, o, g = jnp.split(x + product, 4, -1)
    c = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
