"""Linear recurrent networks: S5, LRU and minGRU, layers of a linear recurrence between maps that are not linear."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rljax.errors import require
from rljax.nets.memory.base import Memory
from rljax.nets.memory.gated import check_chrono, long
from rljax.nets.memory.linear_scan import How, Number, Pair, linear_scan
from rljax.types import Array


class LinearMemory(Memory):
    r"""Residual layers, each of which is a linear recurrence between two nonlinear maps.

    $$x_0 = W x, \quad x_{l+1} = x_l + g \odot \sigma(V g), \quad
    g = \mathrm{gelu}(\mathrm{recurrence}(\mathrm{norm}(x_l)))$$

    Attributes:
      width: H, of the layers and of the outputs.
      layers: how many.
      states: P, of each recurrence; complex ones are kept as half of their conjugate pairs.
      norm: whether inputs of a recurrence are normalised, over H.
      scan: how a sequence is computed, see `linear_scan`.

    Source: the layer is that of Smith, Warrington and Linderman 2023, arXiv:2208.04933, with the gate of its section G.
    """

    layers: int = 2
    states: int = 128
    norm: bool = True
    scan: How = "auto"

    def check(self) -> None:
        self.check_counts("width", "layers", "states")
        require(self.scan in get_args(How), "memory.scan", self.scan, f"must be one of {', '.join(get_args(How))}")

    def initial_carry(self, batch_size: int) -> Any:
        return tuple(self.empty(batch_size) for _ in range(self.layers))

    def empty(self, batch_size: int) -> Number:
        """The state of one recurrence before an episode, by default of half of P conjugate pairs."""
        return Pair(*(jnp.zeros((batch_size, self.states // 2)) for _ in range(2)))

    def recurrence(self, layer: int) -> Any:
        """The recurrence of a layer: `(carry, x [T * B, H], reset [T, B]) -> (outputs [T * B, H], states)`."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, carry: Any, x: Array, reset: Array) -> tuple[Any, Array, Any]:
        # Rows of a matrix: on CPUs derivatives of products over two axes are slow, 8.5 instead of 5 ms for one layer.
        x, states = nn.Dense(self.width)(x.reshape(-1, x.shape[-1])), []
        for i in range(self.layers):
            y, found = self.recurrence(i)(carry[i], nn.LayerNorm()(x) if self.norm else x, reset)
            y = jax.nn.gelu(y)
            x += y * jax.nn.sigmoid(nn.Dense(self.width)(y))
            states.append(found)
        return jax.tree.map(lambda h: h[-1], tuple(states)), x.reshape(*reset.shape, -1), tuple(states)


class S5(LinearMemory):
    """Layers of S5, see `S5Recurrence`.

    Source: Smith, Warrington and Linderman 2023, arXiv:2208.04933; with resets, Lu et al. 2023, arXiv:2303.03982.
    """

    fastest: float = 1e-1
    slowest: float = 1e-3

    def check(self) -> None:
        super().check()
        check_even(self.states)
        fits = 0 < self.slowest < self.fastest
        require(fits, "memory.slowest", self.slowest, f"must lie between 0 and fastest={self.fastest}")

    def recurrence(self, layer: int) -> Any:
        return S5Recurrence(self.width, self.states, self.fastest, self.slowest, self.scan, name=f"recurrence_{layer}")


class LRU(LinearMemory):
    """Layers of linear recurrent units, see `LRURecurrence`. Source: Orvieto et al. 2023, arXiv:2303.06349."""

    radius: tuple[float, float] = (0.9, 0.999)
    phase: float = math.pi / 10

    def check(self) -> None:
        super().check()
        check_even(self.states)
        fits = len(self.radius) == 2 and 0 <= self.radius[0] < self.radius[1] <= 1
        require(fits, "memory.radius", self.radius, "must be two numbers, 0 <= low < high <= 1")

    def recurrence(self, layer: int) -> Any:
        return LRURecurrence(self.width, self.states, self.radius, self.phase, self.scan, name=f"recurrence_{layer}")


class MinGRU(LinearMemory):
    """Layers of minimal gated recurrent units, see `MinGRURecurrence`. Source: Feng et al. 2024, arXiv:2410.01201."""

    chrono: float = 0.0

    def check(self) -> None:
        super().check()
        check_chrono(self.chrono)

    def empty(self, batch_size: int) -> Number:
        return jnp.zeros((batch_size, self.states))

    def recurrence(self, layer: int) -> Any:
        return MinGRURecurrence(self.width, self.states, self.chrono, self.scan, name=f"recurrence_{layer}")


def check_even(states: int) -> None:
    """Refuses states that cannot be conjugate pairs. Raises ConfigError."""
    require(states % 2 == 0, "memory.states", states, "must be even: half of conjugate pairs are kept")


def _read(states: Pair, x: Array, kernel: Array, skip: Array) -> Array:
    r"""The outputs by half of the conjugate pairs: $2 \mathrm{Re}(C h) + D x$, kernel `[2, P / 2, H]`."""
    states = _in_rows(states)
    return 2.0 * (states.re @ kernel[0] - states.im @ kernel[1]) + jnp.broadcast_to(skip, x.shape) * x


def _in_time(rows: Any, reset: Array) -> Any:
    """Leaves `[T * B, P]` as `[T, B, P]`."""
    return jax.tree.map(lambda x: x.reshape(*reset.shape, -1), rows)


def _in_rows(states: Any) -> Any:
    """Leaves `[T, B, P]` as `[T * B, P]`."""
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), states)


class S5Recurrence(nn.Module):
    r"""A diagonal state space model in discrete time.

    $$h_t = e^{\Lambda \Delta} h_{t-1} + \Lambda^{-1} (e^{\Lambda \Delta} - 1) B x_t, \quad
    y_t = 2 \mathrm{Re}(C h_t) + D x_t$$

    Λ begins as the eigenvalues of the normal part of HiPPO-LegS, B and C in its basis, and the steps Δ, one for each
    state, as log-uniform. The real parts of Λ stay below -1e-4, so that no state grows.

    Attributes:
      width: H, of inputs and outputs.
      states: P; half of them are kept.
      fastest, slowest: the range of the initial steps Δ; half of a state is gone after 1.4 / Δ steps.
      scan: see `linear_scan`.

    Source: arXiv:2208.04933, sections 3.2 and B.1.1, eq. 6.
    """

    width: int
    states: int
    fastest: float
    slowest: float
    scan: How

    @nn.compact
    def __call__(self, carry: Pair, x: Array, reset: Array) -> tuple[Array, Pair]:
        half, width = self.states // 2, self.width
        eigenvalues, basis = hippo(self.states)
        lecun, wide = nn.initializers.lecun_normal(), nn.initializers.normal((0.5 / self.states) ** 0.5)

        def of_inputs(part):  # B in the basis: V^H B, one matrix of real numbers seen from both sides
            return lambda key, shape: lecun(key, (width, self.states)) @ part

        def of_states(key, shape):  # C V, with complex C
            re, im = (wide(k, (self.states, width)) for k in jax.random.split(key))
            return jnp.stack([basis.real.T @ re - basis.imag.T @ im, basis.real.T @ im + basis.imag.T @ re])

        def steps(key, shape):
            low, high = math.log(self.slowest), math.log(self.fastest)
            return jax.random.uniform(key, shape, minval=low, maxval=high)

        decay = self.param("decay", lambda key, shape: jnp.asarray(eigenvalues.real, jnp.float32), (half,))
        turn = self.param("turn", lambda key, shape: jnp.asarray(eigenvalues.imag, jnp.float32), (half,))
        parts = np.concatenate([basis.real, -basis.imag], axis=1).astype(np.float32)
        of_input = self.param("input_kernel", of_inputs(parts), (width, 2 * half))
        read = self.param("kernel", of_states, (2, half, width))
        skip = self.param("skip", nn.initializers.normal(1.0), (width,))
        step = jnp.exp(self.param("log_step", steps, (half,)))
        decay = jnp.minimum(decay, -1e-4)
        size = jnp.exp(decay * step)
        a = Pair(size * jnp.cos(turn * step), size * jnp.sin(turn * step))
        # (a - 1) / Λ, with 1 / Λ = conj(Λ) / |Λ|²
        scale = 1.0 / (decay * decay + turn * turn)
        gain = Pair(
            ((a.re - 1.0) * decay + a.im * turn) * scale,
            (a.im * decay - (a.re - 1.0) * turn) * scale,
        )
        re, im = jnp.split(of_input, 2, axis=1)
        gain = jax.tree.map(lambda part: jnp.broadcast_to(part, re.shape), gain)
        b = Pair(x @ (re * gain.re - im * gain.im), x @ (re * gain.im + im * gain.re))
        states = linear_scan(a, _in_time(b, reset), carry, reset, self.scan)
        return _read(states, x, read, skip), states


class LRURecurrence(nn.Module):
    r"""A linear recurrent unit.

    $$h_t = \lambda \odot h_{t-1} + \gamma \odot B x_t, \quad \lambda = e^{-e^\nu + i e^\theta}, \quad
    y_t = 2 \mathrm{Re}(C h_t) + D x_t$$

    with $|\lambda|$ uniform (in area) over a ring, phases uniform, and $\gamma = \sqrt{1 - |\lambda|^2}$ at first.

    Attributes:
      width: H, of inputs and outputs.
      states: P; half of them are kept.
      radius: of the ring.
      phase: the largest.
      scan: see `linear_scan`.

    Source: Orvieto et al. 2023, arXiv:2303.06349, eqs. 3 to 8; the ring for long memories: its table 10.
    """

    width: int
    states: int
    radius: tuple[float, float]
    phase: float
    scan: How

    @nn.compact
    def __call__(self, carry: Pair, x: Array, reset: Array) -> tuple[Array, Pair]:
        half, width, (low, high) = self.states // 2, self.width, self.radius

        def log_decay(key, shape):
            return jnp.log(-0.5 * jnp.log(jax.random.uniform(key, shape, minval=low**2, maxval=high**2)))

        def log_phase(key, shape):
            return jnp.log(self.phase * jax.random.uniform(key, shape, minval=1e-4))

        nu = self.param("log_decay", log_decay, (half,))
        theta = self.param("log_phase", log_phase, (half,))
        size, turn = jnp.exp(-jnp.exp(nu)), jnp.exp(theta)
        first = jnp.exp(-2.0 * jnp.exp(nu))
        gain = jnp.exp(self.param("log_gain", lambda key, shape: 0.5 * jnp.log1p(-first), (half,)))
        normal = nn.initializers.normal
        of_input = self.param("input_kernel", normal((0.5 / width) ** 0.5), (width, 2 * half))
        read = self.param("kernel", normal((0.5 / half) ** 0.5), (2, half, width))
        skip = self.param("skip", normal(1.0), (width,))
        of_input *= jnp.broadcast_to(jnp.tile(gain, 2), of_input.shape)
        re, im = jnp.split(of_input, 2, axis=1)
        a = Pair(size * jnp.cos(turn), size * jnp.sin(turn))
        states = linear_scan(a, _in_time(Pair(x @ re, x @ im), reset), carry, reset, self.scan)
        return _read(states, x, read, skip), states


class MinGRURecurrence(nn.Module):
    r"""A gated recurrent unit whose gate does not see the state, so that it is linear in it.

    $$z = \sigma(x W_z + b_z), \quad h_t = (1 - z) \odot h_{t-1} + z \odot (x W_h + b_h), \quad y_t = h_t C$$

    Attributes:
      width: H, of inputs and outputs.
      states: P.
      chrono: the longest time, in steps, that it is to remember: -b_z begins as log U(1, chrono - 1); 0: as 0.
      scan: see `linear_scan`.

    Source: Feng et al. 2024, arXiv:2410.01201, section 3.1.
    """

    width: int
    states: int
    chrono: float
    scan: How

    @nn.compact
    def __call__(self, carry: Number, x: Array, reset: Array) -> tuple[Array, Number]:
        def bias(key, shape, dtype):
            return -long(key, self.chrono, self.states)

        z = jax.nn.sigmoid(nn.Dense(self.states, bias_init=bias, name="gate")(x))
        a, b = _in_time((1.0 - z, z * nn.Dense(self.states, name="candidate")(x)), reset)
        states = linear_scan(a, b, carry, reset, self.scan)
        return nn.Dense(self.width, use_bias=False, name="read")(_in_rows(states)), states


@cache
def hippo(size: int) -> tuple[Any, Any]:
    r"""The normal part of HiPPO-LegS: its eigenvalues above the real axis `[P / 2]` and eigenvectors `[P, P / 2]`.

    $$A_{nk} = -\sqrt{(n + 1/2)(k + 1/2)} \text{ for } n > k, \; + \text{ for } n < k, \; -1/2 \text{ for } n = k$$

    Its real parts are all -1/2; the rest is skew-symmetric, so -i times it is Hermitian. In double precision.

    Source: Gu et al. 2022, arXiv:2206.11893, as used by arXiv:2208.04933, section B.1.1.
    """
    root = np.sqrt(np.arange(size) + 0.5)
    product = np.outer(root, root)
    skew = np.triu(product, 1) - np.tril(product, -1)
    turns, vectors = np.linalg.eigh(-1j * skew)
    return -0.5 + 1j * turns[size // 2 :], vectors[:, size // 2 :]
