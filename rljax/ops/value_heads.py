r"""Value heads: how the outputs of a critic stand for a return, and the losses by which they learn it.

A head reads K numbers per action. A target is made of the next step's outputs under a policy there, given as weights
over actions and an amount to add to each (an entropy bonus, say):

$$y = r + \gamma \sum_{a'} w(a') \, (Q(s', a') + b(a')),$$

for a head that holds a distribution, the distribution of that. `[...]` stands for batch axes, A for actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rljax.catalogue import VALUE_HEADS
from rljax.ops.losses import dqn_clipped, dqn_reg, huber, squared_error
from rljax.types import Array, Scalar


class Bootstrap(NamedTuple):
    """The successor's part of a target, `[B, ...]`."""

    outputs: Array  # [B, A, K] of the critic at the successor
    weight: Array  # [B, A] of each action there, w
    bonus: Array  # [B, A] what is added to its value, b
    reward: Array  # [B]
    discount: Array  # [B] of what follows; 0 where nothing does


class HeadParams(NamedTuple):
    """The numbers of a head, which may be traced; a head itself is static."""

    low: Scalar = 0.0  # the range of returns of a head that holds a distribution over a fixed one
    high: Scalar = 1.0
    sigma: Scalar = 0.75  # of HL-Gauss: standard deviation of a target, in bins
    weight: Scalar = 0.1  # of values in DQNReg


class Head(Protocol):
    """A way in which K numbers stand for a return. Static."""

    @property
    def size(self) -> int:
        """K."""
        ...

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        """Gives the expected return: `[..., K]` -> `[...]`."""
        ...

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        """Makes the target, `[B, ...]`; no gradient is to pass through it."""
        ...

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        """Compares outputs `[B, K]` with a target: -> (losses `[B]`, priorities `[B]`, non-negative errors)."""
        ...


Loss = Literal["squared", "huber", "dqn-reg", "dqn-clipped"]


@dataclass(frozen=True)
class ScalarHead:
    """The return itself, K = 1. A target is (y, the expected value that follows, its discount)."""

    kind: Loss = "squared"
    size: int = 1

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        return outputs[..., 0]

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        following = expected(next.outputs[..., 0], next)
        return jnp.stack([next.reward + next.discount * following, following, next.discount], axis=-1)

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        return self.compare(self.value(outputs, numbers), target, numbers)

    def compare(self, value: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        """Compares values `[B]` with a target, in its units."""
        y, following, discount = jnp.unstack(target, axis=-1)
        if self.kind == "dqn-reg":
            loss = dqn_reg(value, y, numbers.weight)
        elif self.kind == "dqn-clipped":
            loss = dqn_clipped(value, y, following, discount)
        else:
            loss = (huber if self.kind == "huber" else squared_error)(value, y)
        return loss, jnp.abs(value - y)


@dataclass(frozen=True)
class RescaledHead(ScalarHead):
    r"""The return, rescaled: K = 1, the output is h(Q) and learns from h(y), so that large rewards need no clipping.

    $$h(x) = \mathrm{sign}(x) (\sqrt{|x| + 1} - 1) + \epsilon x, \quad \epsilon = 10^{-3}$$

    Source: Pohlen et al. 2018, arXiv:1805.11593, section 3.2.
    """

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        return restored(outputs[..., 0])

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        following = expected(restored(next.outputs[..., 0]), next)
        y = next.reward + next.discount * following
        return jnp.stack([rescaled(y), rescaled(following), next.discount], axis=-1)

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        return self.compare(outputs[..., 0], target, numbers)


@dataclass(frozen=True)
class CategoricalHead:
    r"""C51: probabilities of K returns $z_i$ from `low` to `high`, by cross-entropy to the projected target.

    The target distribution is that of $r + \gamma (z_i + b)$, i drawn with the probabilities of an action that is drawn
    with w; what lies between two of the K returns is shared between them, what lies beyond goes to the ends.

    Source: Bellemare et al. 2017, arXiv:1707.06887, eq. 7.
    """

    size: int = 51

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        support = spaced(numbers.low, numbers.high, self.size)
        return jax.nn.softmax(outputs) @ support

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        support = spaced(numbers.low, numbers.high, self.size)
        mass = next.weight[..., None] * jax.nn.softmax(next.outputs)  # [B, A, K]
        point = next.reward[:, None, None] + next.discount[:, None, None] * (
            support[None, None] + next.bonus[..., None]
        )
        flat = (point.shape[0], -1)
        return project(point.reshape(flat), mass.reshape(flat), support)

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        return divergence(target, outputs)


@dataclass(frozen=True)
class HLGaussHead:
    """Probabilities of K equal bins from `low` to `high`, by cross-entropy to a Gaussian around the expected target.

    Source: Farebrother et al. 2024 (Stop Regressing), arXiv:2403.03950, section 3.1.
    """

    size: int = 51

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        return hl_gauss_mean(jax.nn.softmax(outputs), numbers)

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        y = next.reward + next.discount * expected(self.value(next.outputs, numbers), next)
        return hl_gauss(y, numbers, self.size)

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        return divergence(target, outputs)


@dataclass(frozen=True)
class QuantileHead:
    r"""QR-DQN: K quantiles of the return at $\tau_i = (2 i - 1) / 2 K$, by quantile regression with a Huber loss.

    Under a policy that mixes actions, quantile i of the target is the mixture of theirs, as in M-IQN.

    Source: Dabney et al. 2018, arXiv:1710.10044, eq. 10.
    """

    size: int = 51

    def value(self, outputs: Array, numbers: HeadParams) -> Array:
        return outputs.mean(-1)

    def target(self, next: Bootstrap, numbers: HeadParams) -> Array:
        mixed = (next.weight[..., None] * (next.outputs + next.bonus[..., None])).sum(-2)
        return next.reward[:, None] + next.discount[:, None] * mixed

    def loss(self, outputs: Array, target: Array, numbers: HeadParams) -> tuple[Array, Array]:
        loss = quantile_huber(outputs, target)
        return loss, loss


def head_of(name: str, size: int, loss: Loss = "squared") -> Head:
    """Finds a registered head by its name: one of numbers, of that loss, or another one, of that size."""
    kind = VALUE_HEADS.load(name)
    return kind(loss) if isinstance(kind, type) and issubclass(kind, ScalarHead) else kind(size)


def unused(name: str) -> dict[str, str]:
    """Maps the fields of `Hypers` that have no effect with this head to the setting that would use them."""
    needs = {"head=categorical or hl-gauss": ("value_low", "value_high"), "head=hl-gauss": ("sigma",)}
    return {number: need for need, numbers in needs.items() if name not in need for number in numbers}


RESCALING = 1e-3  # epsilon, which keeps the inverse's slope bounded


def rescaled(x: Array) -> Array:
    """The rescaled return h(x), see `RescaledHead`, `[...]`; without a difference of numbers that are nearly equal."""
    return x / (jnp.sqrt(jnp.abs(x) + 1.0) + 1.0) + RESCALING * x


def restored(y: Array) -> Array:
    r"""The inverse of `rescaled`, `[...]`, likewise.

    $$h^{-1}(y) = q (|q| + 2), \qquad
    q = \frac{2 y}{1 + 2 \epsilon + \sqrt{(1 + 2 \epsilon)^2 + 4 \epsilon |y|}}$$
    """
    slope = 1.0 + 2.0 * RESCALING
    q = 2.0 * y / (slope + jnp.sqrt(slope**2 + 4.0 * RESCALING * jnp.abs(y)))
    return q * (jnp.abs(q) + 2.0)


def expected(value: Array, next: Bootstrap) -> Array:
    """The expected value of the successor, `[B]`, from the values of its actions `[B, A]`."""
    return (next.weight * (value + next.bonus)).sum(-1)


def spaced(low: Scalar, high: Scalar, count: int) -> Array:
    """Spaces `count` numbers evenly from `low` to `high`, which may be traced: `[count]`."""
    return low + (high - low) * jnp.arange(count) / (count - 1)


def project(point: Array, mass: Array, support: Array) -> Array:
    r"""Probabilities on the support: $p_i = \sum_m \mathrm{mass}_m \max(0, 1 - |\mathrm{clip}(x_m) - z_i| / \Delta z)$.

    Args:
      point, mass: `[B, M]`; the masses of a row sum to 1.
      support: `[K]`, equidistant, K at least 2.

    Returns:
      `[B, K]`, of the same mean where no point lies beyond the support.
    """
    gap = support[1] - support[0]
    inside = jnp.clip(point, support[0], support[-1])
    share = jnp.maximum(0.0, 1.0 - jnp.abs(inside[..., None] - support[None, None]) / gap)
    return (mass[..., None] * share).sum(-2)


def hl_gauss(target: Array, numbers: HeadParams, bins: int) -> Array:
    r"""Probabilities `[B, bins]` of a Gaussian around `target` [B], cut off at the bounds.

    $p_i \propto \Phi((u_{i+1} - y) / \sigma) - \Phi((u_i - y) / \sigma)$ with edges u, y clipped to the bounds.
    """
    edges = spaced(numbers.low, numbers.high, bins + 1)
    width = numbers.sigma * (numbers.high - numbers.low) / bins
    centre = jnp.clip(target, numbers.low, numbers.high)
    below = jax.scipy.special.ndtr((edges[None] - centre[:, None]) / width)
    return jnp.diff(below) / (below[:, -1:] - below[:, :1])


def hl_gauss_mean(probability: Array, numbers: HeadParams) -> Array:
    """The mean of the bins' centres under these probabilities: `[..., bins]` -> `[...]`."""
    edges = spaced(numbers.low, numbers.high, probability.shape[-1] + 1)
    return probability @ (0.5 * (edges[1:] + edges[:-1]))


def divergence(target: Array, logits: Array) -> tuple[Array, Array]:
    """The cross-entropy of logits to target probabilities, both `[B, K]`, and the KL of them: `[B]` each."""
    loss = -(target * jax.nn.log_softmax(logits)).sum(-1)
    least = -jax.scipy.special.xlogy(target, target).sum(-1)
    return loss, jnp.maximum(loss - least, 0.0)


def quantile_huber(quantile: Array, target: Array) -> Array:
    r"""$\sum_i \frac{1}{M} \sum_j |\tau_i - 1[u_{ij} < 0]| \, H_1(u_{ij})$, $u_{ij} = y_j - \theta_i$.

    Args:
      quantile: theta, `[B, K]`.
      target: y, `[B, M]`.

    Returns:
      `[B]`.
    """
    count = quantile.shape[-1]
    tau = (jnp.arange(count) + 0.5) / count
    y, theta = jnp.broadcast_arrays(target[:, None, :], quantile[:, :, None])
    weight = jnp.abs(tau[None, :, None] - (y < theta))
    return (weight * huber(theta, y)).mean(-1).sum(-1)
