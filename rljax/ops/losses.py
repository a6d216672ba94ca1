"""Losses per sample: the same shape out as in, no mean inside.

Squared errors are halved, so gradients are plain residuals; evolved losses stand as they were published.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp

from rljax.types import Array, Scalar


def squared_error(prediction: Array, target: Array) -> Array:
    """Half the squared error.

    (prediction - target)^2 / 2

    Args:
      prediction, target: `[...]`.

    Returns:
      Losses `[...]`.
    """
    chex.assert_equal_shape([prediction, target])
    return 0.5 * jnp.square(prediction - target)


def huber(prediction: Array, target: Array, delta: Scalar = 1.0) -> Array:
    """The Huber loss: half the squared error near 0, linear with slope `delta` beyond.

    e^2 / 2 if |e| <= delta else delta (|e| - delta / 2),  e = prediction - target

    Args:
      prediction, target: `[...]`.
      delta: where it turns linear, positive.

    Returns:
      Losses `[...]`.

    Source: Huber (1964), Robust estimation of a location parameter, section 4.
    """
    chex.assert_equal_shape([prediction, target])
    error = jnp.abs(prediction - target)
    quadratic = jnp.minimum(error, delta)
    return quadratic * (error - 0.5 * quadratic)


def dqn_reg(value: Array, target: Array, weight: Scalar = 0.1) -> Array:
    """DQNReg, an evolved loss: the squared error, and a price on high values.

    w Q + (Q - Y)^2

    Args:
      value: Q(s, a), `[...]`.
      target: Y = r + gamma max Q_target(s', .), `[...]`.
      weight: w; may need tuning.

    Returns:
      Losses `[...]`.

    Source: Co-Reyes et al. (2021), arXiv 2101.03958.
    """
    chex.assert_equal_shape([value, target])
    return weight * value + jnp.square(value - target)


def dqn_clipped(value: Array, target: Array, bootstrap: Array, discount: Scalar) -> Array:
    """DQNClipped, an evolved loss: it pushes values down where they would overestimate.

    max(Q, (Q - Y)^2 + Y) + max(Q - Y, gamma B^2)

    Args:
      value: Q(s, a), `[...]`.
      target: Y = r + gamma B, `[...]`.
      bootstrap: B = max Q_target(s', .), `[...]`; 0 where the episode terminated.
      discount: gamma.

    Returns:
      Losses `[...]`.

    Source: Co-Reyes et al. (2021), arXiv 2101.03958.
    """
    chex.assert_equal_shape([value, target, bootstrap])
    error = value - target
    return jnp.maximum(value, jnp.square(error) + target) + jnp.maximum(error, discount * jnp.square(bootstrap))


def clipped_value_loss(value: Array, old_value: Array, target: Array, clip: Scalar) -> Array:
    """PPO's value loss: the larger of the plain error and that of a value clipped to near its old one.

    max((value - target)^2, (clip(value, old_value - clip, old_value + clip) - target)^2) / 2

    Args:
      value: the prediction under the current parameters, `[...]`.
      old_value: the prediction when the data were collected, `[...]`.
      target: `[...]`.
      clip: how far `value` may move, non-negative; infinity for no clipping.

    Returns:
      Losses `[...]`.

    Source: not in the PPO paper (arXiv 1707.06347); studied in arXiv 2006.05990, section 3.4.
    """
    clipped = jnp.clip(value, old_value - clip, old_value + clip)
    return jnp.maximum(squared_error(value, target), squared_error(clipped, target))


def explained_variance(prediction: Array, target: Array) -> Array:
    """The share of the targets' variance that the predictions explain.

    1 - Var(target - prediction) / Var(target): 1 is perfect, 0 no better than a constant

    Args:
      prediction, target: `[...]`; the variance is over all entries.

    Returns:
      `[]`; 0 where the target is constant.
    """
    chex.assert_equal_shape([prediction, target])
    variance = jnp.var(target)
    ratio = jnp.var(target - prediction) / jnp.where(variance > 0, variance, 1.0)
    return jnp.where(variance > 0, 1.0 - ratio, 0.0)


def kl_divergence(log_p: Array, log_q: Array) -> Array:
    r"""$\mathrm{KL}(p \| q) = \sum_i p_i (\log p_i - \log q_i)$ over the last axis, `[..., m]` -> `[...]`."""
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
