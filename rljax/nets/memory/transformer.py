"""A causal transformer over the last steps of an episode, with a cache of their keys and values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rljax.errors import require
from rljax.nets.memory.base import Memory
from rljax.types import Array

Gate = Literal["none", "gru"]
Sink = Literal["none", "kv", "k", "zero"]


class Window(NamedTuple):
    """The steps before a step, the oldest first: C - 1 in a carry, as zeros where they are not of its episode."""

    length: Array  # [B] of how many steps of its episode are here; of a sequence [T, B], how many preceded
    keys: tuple[Array, ...]  # of each layer, [B, h, steps, d] of h heads, as they were before any position
    values: tuple[Array, ...]


class Transformer(Memory):
    r"""Layers of attention to the last C steps of the same episode, the step itself included.

    $$x_0 = W x, \quad y_l = g(x_l, \mathrm{attention}(\mathrm{norm}(x_l))), \quad
    x_{l+1} = g(y_l, \mathrm{mlp}(\mathrm{norm}(y_l)))$$

    Without a gate $g(x, y) = x + y$, and the outputs are normalised. The mlp has one hidden layer of 4 H.

    Positions are differences of steps alone, so they need no clock, be it of the episode or of training. Keys are
    cached before they are turned to their position, which is exact however long an episode lasts. The carry is a window
    that moves by one slot a step: the same numbers as a ring, but in the order of time, so that a sequence is the
    window and what comes after it, and neither gathers nor scatters are needed.

    In learning, steps of the rollout have keys and values by the parameters that learn. Those of the window with which
    it began are data, as they were when it acted: no derivative of a loss reaches what made them, as in Transformer-XL.
    To compute them again would take the last C - 1 observations instead, and C / T more time.

    Attributes:
      width: H, of the layers and of the outputs.
      layers: how many.
      heads: of attention in each; their width H / heads is even.
      context: C, at least 2, however long the sequences are that it is trained on.
      gate: g; `gru` is GTrXL, see `GRUGate`.
      sink: one more key and value to attend to, see `Attention`.

    Source: Vaswani et al. 2017, arXiv:1706.03762, normalised before each part: Xiong et al. 2020, arXiv:2002.04745; the
    window: Dai et al. 2019, arXiv:1901.02860; GTrXL: Parisotto et al. 2020, arXiv:1910.06764, sections 3.1 and 3.2.
    """

    layers: int = 2
    heads: int = 4
    context: int = 64
    gate: Gate = "none"
    sink: Sink = "none"

    def check(self) -> None:
        self.check_counts("width", "layers", "heads", "context")
        require(self.context > 1, "memory.context", self.context, "must be at least 2: the step itself, and one before")
        fits = f"must be a multiple of 2 * heads = {2 * self.heads}: a head turns pairs of numbers by their position"
        require(self.width % (2 * self.heads) == 0, "memory.width", self.width, fits)
        for name, kind in (("gate", Gate), ("sink", Sink)):
            value, can = getattr(self, name), get_args(kind)
            require(value in can, f"memory.{name}", value, f"must be one of {', '.join(can)}")

    def initial_carry(self, batch_size: int) -> Window:
        def empty() -> tuple[Array, ...]:
            shape = (batch_size, self.heads, self.context - 1, self.width // self.heads)
            return tuple(jnp.zeros(shape) for _ in range(self.layers))

        return Window(jnp.zeros(batch_size), empty(), empty())

    def __call__(self, carry: Window, x: Array, reset: Array) -> tuple[Window, Array, Window]:
        slots, before = self.context - 1, preceding(carry.length, reset)
        y, keys, values = self.through(x, before, carry, False)
        length = jnp.minimum(before[-1] + 1.0, slots)
        ages = np.arange(slots, 0, -1, dtype=np.float32)[None, None, :, None]
        kept = ages <= length[:, None, None, None]

        def last(h: Array) -> Array:
            return jnp.where(kept, h[:, :, -slots:], 0.0)

        return Window(length, *jax.tree.map(last, (keys, values))), y, Window(before, keys, values)

    def ahead(self, states: Window, x: Array) -> Array:
        return self.through(x, states.length + 1.0, states, True)[0]

    @nn.compact
    def through(self, x: Array, before: Array, past: Window, ahead: bool) -> tuple[Array, Any, Any]:
        """The layers on `x` `[T, B, F]` -> (outputs `[T, B, H]`, keys and values of each layer).

        Args:
          before: `[T, B]` how many steps of its episode each was preceded by.
          past: the window before them, to which their keys and values are added; ahead, that of a sequence and itself.
          ahead: the inputs are those one step after those of a sequence, and see nothing of each other.
        """
        gated, (steps, batch) = self.gate == "gru", before.shape
        activation: Callable[[Array], Array] = jax.nn.relu if gated else jax.nn.gelu
        x, found = nn.Dense(self.width, name="embedding")(x.reshape(steps * batch, -1)), []

        def merged(x: Array, y: Array, name: str) -> Array:
            return GRUGate(name=f"{name}_gate")(x, activation(y)) if gated else x + y

        for i, cached in enumerate(zip(past.keys, past.values)):
            attention = Attention(self.heads, self.context, self.sink, name=f"attention_{i}")
            y, kept = attention(nn.LayerNorm(name=f"attention_norm_{i}")(x), before, cached, ahead)
            x = merged(x, y, f"attention_{i}")
            y = nn.Dense(4 * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"mlp_norm_{i}")(x))
            x = merged(x, nn.Dense(self.width, name=f"mlp_{i}")(activation(y)), f"mlp_{i}")
            found.append(kept)
        x = x if gated else nn.LayerNorm(name="norm")(x)
        keys, values = zip(*found)
        return x.reshape(steps, batch, -1), keys, values


class Attention(nn.Module):
    r"""Several heads of attention to past steps of the episode, to the step itself, and to a sink.

    $$y_t = O \sum_j w_{tj} v_j, \quad w_{t \cdot} = \mathrm{softmax}_j \frac{(R_t q_t)^T R_j k_j}{\sqrt d}, \quad
    j = t \text{ or } 0 < t - j < C \text{ in the same episode}$$

    R_t turns the pairs (i, i + d / 2) of the d numbers of a head by t * 10000^(-2 i / d), so that scores know t - j
    alone. A sink is a key and a value of each head that are learned and have no position: a head can attend to nothing.

    Attributes:
      heads: how many; d is their width.
      context: C.
      sink: `kv`; `k`, its value being 0; `zero`, both being 0, which adds 1 to the denominator of the softmax; `none`.

    Source: arXiv:1706.03762, section 3.2; R: Su et al. 2021, arXiv:2104.09864, eq. 34; sinks: Elawady et al. 2024,
    arXiv:2410.02751.
    """

    heads: int
    context: int
    sink: Sink

    @nn.compact
    def __call__(self, x: Array, before: Array, past: tuple[Array, Array], ahead: bool) -> tuple[Array, Any]:
        (steps, batch), width = before.shape, x.shape[-1]
        # Batches of matrices with their axes last: half of the time of products over the axes in between on CPUs.
        found = nn.Dense(3 * width, use_bias=False, name="qkv")(x).reshape(steps, batch, 3, self.heads, -1)
        q, k, v = found.transpose(2, 1, 3, 0, 4)  # [B, h, T, d]
        q = q / (width // self.heads) ** 0.5
        past = past if ahead else jax.tree.map(lambda h, new: jnp.concatenate([h, new], 2), past, (k, v))
        # The last step of a sequence is before none of them; ahead, it is.
        count = self.context - 2 + steps + ahead
        keys, values = (h[:, :, :count] for h in past)  # [B, h, S, d]
        now, then = np.arange(steps) + ahead, np.arange(count) - (self.context - 1)
        ages = (now[:, None] - then)[None].astype(np.float32)  # [1, T, S]
        seen = (ages >= 1) & (ages < self.context) & (ages <= before.T[..., None])

        scores = jnp.where(seen[:, None], turned(q, now) @ turned(keys, then).swapaxes(2, 3), -jnp.inf)
        beside = [((q * k).sum(-1, keepdims=True), v)]  # scores [B, h, T, 1], values: of the step itself, and of a sink
        if self.sink != "none":
            shape, small = (1, self.heads, 1, width // self.heads), nn.initializers.normal(0.02)
            key = jnp.zeros(shape) if self.sink == "zero" else self.param("sink_key", small, shape)
            value = self.param("sink_value", small, shape) if self.sink == "kv" else jnp.zeros(shape)
            beside.append(((q * key).sum(-1, keepdims=True), value))
        most = jax.lax.stop_gradient(scores.max(-1, keepdims=True, initial=-jnp.inf))
        most = reduce(jnp.maximum, (jax.lax.stop_gradient(score) for score, _ in beside), most)
        weights, aside = jnp.exp(scores - most), [jnp.exp(score - most) for score, _ in beside]
        total = weights.sum(-1, keepdims=True) + sum(aside)
        y = (weights @ values + sum(weight * value for weight, (_, value) in zip(aside, beside))) / total
        return nn.Dense(width, name="out")(y.transpose(2, 0, 1, 3).reshape(-1, width)), past


class GRUGate(nn.Module):
    r"""A residual connection with the gates of a GRU.

    $$r = \sigma(W_r y + U_r x), \quad z = \sigma(W_z y + U_z x - b), \quad
    g(x, y) = (1 - z) \odot x + z \odot \tanh(W_g y + U_g (r \odot x))$$

    The bias b begins as 2, so that at first little but x passes: an agent without a memory.

    Args of the call:
      x, y: `[..., H]`.

    Source: arXiv:1910.06764, section 3.2.
    """

    @nn.compact
    def __call__(self, x: Array, y: Array) -> Array:
        width = x.shape[-1]
        dense = partial(nn.Dense, use_bias=False)
        y_r, y_z, y_g = jnp.split(dense(3 * width, name="of_output")(y), 3, -1)
        x_r, x_z = jnp.split(dense(2 * width, name="of_input")(x), 2, -1)
        bias = self.param("bias", nn.initializers.constant(2.0), (width,))
        z = jax.nn.sigmoid(y_z + x_z - jnp.broadcast_to(bias, x.shape))
        new = jnp.tanh(y_g + dense(width, name="of_kept")(jax.nn.sigmoid(y_r + x_r) * x))
        return (1.0 - z) * x + z * new


def preceding(length: Array, reset: Array) -> Array:
    """Counts the steps of its episode before each step, `[T, B]`.

    Args:
      length: their number before the first step, `[B]`.
      reset: `[T, B]` bool: the step opens an episode.
    """
    time = jnp.arange(len(reset), dtype=jnp.float32)[:, None]
    start = jnp.where(reset, time, -length[None])
    return time - (start if len(reset) == 1 else jax.lax.cummax(start))


def turned(x: Array, position: np.ndarray) -> Array:
    """Turns the pairs of numbers of steps `[..., S, d]` by the angles of their positions `[S]`."""
    half = x.shape[-1] // 2
    angle = position[:, None] * 1e4 ** (-np.arange(half) / half)
    cos, sin = (f(angle).astype(np.float32).reshape(*(1,) * (x.ndim - 2), -1, half) for f in (np.cos, np.sin))
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
