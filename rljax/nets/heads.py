"""Policy distributions as small pytrees, and the linen heads that make them from features.

`[...]` stands for any batch axes and `A` for the size of an action vector: log-probabilities and entropies are summed
over it.
"""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from rljax.errors import ConfigError, require
from rljax.nets.initializers import orthogonal
from rljax.ops.explore import mask
from rljax.types import Array, Box, Discrete, MultiDiscrete, Scalar, Space

_LOG_2 = np.log(2.0).item()
_LOG_2PI = np.log(2.0 * np.pi).item()


class Distribution(struct.PyTreeNode):
    """A distribution over actions; every policy head makes one of its subclasses."""

    def sample(self, key: Array) -> Array:
        """One action for each batch entry, `[...]` or `[..., A]`; reparametrised where the action is continuous."""
        raise NotImplementedError

    def log_prob(self, action: Array) -> Array:
        """The log-probability or log-density of `action`, `[...]`."""
        raise NotImplementedError

    def sample_and_log_prob(self, key: Array) -> tuple[Array, Array]:
        """An action and its log-probability."""
        action = self.sample(key)
        return action, self.log_prob(action)

    def entropy(self, key: Array | None = None) -> Array:
        """The entropy in nats, `[...]`; only a distribution without a closed form uses, and needs, the key."""
        raise NotImplementedError

    def mode(self) -> Array:
        """The greedy action, `[...]` or `[..., A]`."""
        raise NotImplementedError

    def restrict(self, legal: Array | None) -> Self:
        """The distribution over legal actions alone; itself where all are.

        Args:
          legal: `[..., A]` bool, of each discrete action, as `ops.explore.legal` finds it; None: all of them.

        Raises:
          ConfigError: actions are continuous.
        """
        if legal is None:
            return self
        raise ConfigError(f"legal={legal.shape}: {type(self).__name__} has no single actions; use discrete ones")


class Categorical(Distribution):
    """One of n actions; an action whose logit is -inf is never taken.

    Attributes:
      logits: `[..., n]`, unnormalised log-probabilities, at least one of them finite.
    """

    logits: Array

    def sample(self, key: Array) -> Array:
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def log_prob(self, action: Array) -> Array:
        # A masked sum, not a gather: its gradient is no scatter, and -inf elsewhere does not spread.
        chosen = jax.nn.one_hot(action, self.logits.shape[-1], dtype=bool)
        return jnp.sum(jnp.where(chosen, jax.nn.log_softmax(self.logits), 0.0), axis=-1)

    def entropy(self, key: Array | None = None) -> Array:
        log_p = jax.nn.log_softmax(self.logits)
        log_p = jnp.where(jnp.isneginf(log_p), 0.0, log_p)  # 0 log 0 = 0, in the gradient too
        return -jnp.sum(jax.nn.softmax(self.logits) * log_p, axis=-1)

    def mode(self) -> Array:
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def restrict(self, legal: Array | None) -> Self:
        return self.replace(logits=mask(self.logits, legal))


class MultiCategorical(Distribution):
    """Independent categoricals of different sizes.

    Attributes:
      logits: `[..., sum(nvec)]`, those of all entries one after the other.
      nvec: the number of actions of each entry; static. Actions are `[..., len(nvec)]`.
    """

    logits: Array
    nvec: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def parts(self) -> list[Categorical]:
        return [Categorical(x) for x in self._split(self.logits)]

    def sample(self, key: Array) -> Array:
        keys = jax.random.split(key, len(self.nvec))
        return jnp.stack([part.sample(k) for part, k in zip(self.parts, keys)], axis=-1)

    def log_prob(self, action: Array) -> Array:
        return sum((part.log_prob(action[..., i]) for i, part in enumerate(self.parts)), jnp.zeros(()))

    def entropy(self, key: Array | None = None) -> Array:
        return sum((part.entropy() for part in self.parts), jnp.zeros(()))

    def mode(self) -> Array:
        return jnp.stack([part.mode() for part in self.parts], axis=-1)

    def restrict(self, legal: Array | None) -> Self:
        if legal is None:
            return self
        masked = [mask(*part) for part in zip(self._split(self.logits), self._split(legal))]
        return self.replace(logits=jnp.concatenate(masked, axis=-1))

    def _split(self, x: Array) -> list[Array]:
        return jnp.split(x, np.cumsum(self.nvec)[:-1], axis=-1)


class DiagonalGaussian(Distribution):
    """Independent normals; samples are unbounded.

    Attributes:
      mean: `[..., A]`.
      log_std: `[..., A]`, of the shape of `mean`.
    """

    mean: Array
    log_std: Array

    def sample(self, key: Array) -> Array:
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def log_prob(self, action: Array) -> Array:
        return self.log_densities(action).sum(-1)

    def entropy(self, key: Array | None = None) -> Array:
        return self.entropies().sum(-1)

    def log_densities(self, action: Array) -> Array:
        """Those of the entries of an action, `[..., A]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * (jnp.square(z) + _LOG_2PI) - self.log_std

    def entropies(self) -> Array:
        """Those of the entries of an action, `[..., A]`."""
        return self.log_std + 0.5 * (1.0 + _LOG_2PI)

    def mode(self) -> Array:
        return self.mean


class TanhGaussian(Distribution):
    """Independent normals squashed into a box.

    a = low + (high - low) (tanh(x) + 1) / 2,  x ~ N(mean, exp(log_std)^2)
    log p(a) = sum_i log N(x_i) - log(1 - tanh(x_i)^2) - log((high_i - low_i) / 2)

    `log_prob` inverts the squashing, so an action within rounding of a bound counts as the nearest one whose inverse
    is finite; `sample_and_log_prob` keeps x and is exact. The entropy has no closed form: `entropy(key)` is that of
    the normal plus the log-Jacobian at one sample, unbiased, as are its gradients.

    Where low = high nothing is chosen: such an entry is that number, and counts in no sum.

    Attributes:
      mean, log_std: `[..., A]`, of x.
      low, high: `[..., A]`, finite.

    Source: arXiv 1801.01290, appendix C, eq. 20 and 21, to which the scale of the box is added.
    """

    mean: Array
    log_std: Array
    low: Scalar
    high: Scalar

    @property
    def base(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean, self.log_std)

    @property
    def half_width(self) -> Array:
        return jnp.where(self.fixed, 1.0, 0.5 * (self.high - self.low))

    @property
    def fixed(self) -> Array:
        """Entries that have no width."""
        return jnp.asarray(self.high == self.low)

    def squash(self, x: Array) -> Array:
        """From the real line into the box."""
        # Rounding can leave the box by one unit in the last place.
        return jnp.clip(self.low + self.half_width * (jnp.tanh(x) + 1.0), self.low, self.high)

    def log_jacobian(self, x: Array) -> Array:
        """log |da/dx|, summed, `[...]`; 1 - tanh^2 is rewritten so that it does not underflow."""
        log_derivative = 2.0 * (_LOG_2 - x - jax.nn.softplus(-2.0 * x))
        return self._sum(log_derivative + jnp.log(self.half_width))

    def sample(self, key: Array) -> Array:
        return self.squash(self.base.sample(key))

    def log_prob(self, action: Array) -> Array:
        unit = (action - self.low) / self.half_width - 1.0
        limit = 1.0 - jnp.finfo(unit.dtype).eps
        x = jnp.arctanh(jnp.clip(unit, -limit, limit))
        return self._sum(self.base.log_densities(x)) - self.log_jacobian(x)

    def sample_and_log_prob(self, key: Array) -> tuple[Array, Array]:
        x = self.base.sample(key)
        return self.squash(x), self._sum(self.base.log_densities(x)) - self.log_jacobian(x)

    def entropy(self, key: Array | None = None) -> Array:
        if key is None:
            raise ValueError("key=None: the entropy of a squashed Gaussian is sampled, pass a key")
        return self._sum(self.base.entropies()) + self.log_jacobian(self.base.sample(key))

    def mode(self) -> Array:
        """The squashed mean: the median, and not the point of highest density."""
        return self.squash(self.mean)

    def _sum(self, entries: Array) -> Array:
        return jnp.where(self.fixed, 0.0, entries).sum(-1)


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
