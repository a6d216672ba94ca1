"""Linen heads that make policy distributions and values from features; `[...]` stands for any batch axes."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from rljax.errors import ConfigError, require
from rljax.nets.distributions import Categorical, DiagonalGaussian, Distribution, MultiCategorical, TanhGaussian
from rljax.nets.initializers import orthogonal
from rljax.types import Array, Box, Discrete, MultiDiscrete, Space


class PolicyHead(nn.Module):
    """A linear map from features to the action distribution of a space.

    `Discrete` gives `Categorical`, `MultiDiscrete` `MultiCategorical`, `Box` `DiagonalGaussian`, or `TanhGaussian` if
    squashed. Without squashing, samples may leave the box: clip what goes to the environment, keep what was sampled.

    Attributes:
      action_space: of what to act on; a `Box` has one axis.
      squash: keep a `Box` policy inside its bounds by a tanh.
      state_dependent_std: compute log_std from the features; otherwise it is one free parameter per action entry.
      initial_log_std: where log_std starts.
      log_std_range: where a state-dependent log_std is clipped to.
      gain: the scale of the orthogonal weights; small, so that the first policy hardly depends on the observation.

    Args of the call:
      x: features `[..., F]`.

    Returns:
      A `Distribution` with batch axes `[...]`.

    Raises:
      ConfigError: `squash` on an unbounded box, a box with other than one axis, or a space of another kind.

    Source: the small gain is recommended by arXiv 2006.05990, section 3.2.
    """

    action_space: Space
    squash: bool = False
    state_dependent_std: bool = False
    initial_log_std: float = 0.0
    log_std_range: tuple[float, float] = (-20.0, 2.0)
    gain: float = 0.01

    @nn.compact
    def __call__(self, x: Array) -> Distribution:
        space = self.action_space
        if isinstance(space, Discrete):
            return Categorical(self._linear(space.n)(x))
        if isinstance(space, MultiDiscrete):
            return MultiCategorical(self._linear(sum(space.nvec))(x), space.nvec)
        if not isinstance(space, Box):
            raise ConfigError(f"action_space={space}: use Discrete, MultiDiscrete or Box")
        require(len(space.shape) == 1, "action_space.shape", space.shape, "must have one axis; flatten the actions")
        require(space.bounded or not self.squash, "squash", True, "needs a Box with finite bounds; use squash=False")
        mean, log_std = self._mean_and_log_std(x, space.shape[0])
        if not self.squash:
            return DiagonalGaussian(mean, log_std)
        low, high = (jnp.broadcast_to(jnp.asarray(b, mean.dtype), mean.shape) for b in (space.low, space.high))
        return TanhGaussian(mean, log_std, low, high)

    def _mean_and_log_std(self, x: Array, size: int) -> tuple[Array, Array]:
        if self.state_dependent_std:
            mean, log_std = jnp.split(self._linear(2 * size)(x), 2, axis=-1)
            return mean, jnp.clip(self.initial_log_std + log_std, *self.log_std_range)
        mean = self._linear(size)(x)
        log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (size,))
        return mean, jnp.broadcast_to(log_std, mean.shape)

    def _linear(self, size: int) -> nn.Dense:
        return nn.Dense(size, kernel_init=orthogonal(self.gain))


class ValueHead(nn.Module):
    """A linear map from features to one value.

    Attributes:
      gain: the scale of the orthogonal weights.

    Args of the call:
      x: features `[..., F]`.

    Returns:
      Values `[...]`.
    """

    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(1, kernel_init=orthogonal(self.gain))(x)[..., 0]
