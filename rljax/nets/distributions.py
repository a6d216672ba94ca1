"""Policy distributions as small pytrees.

`[...]` stands for any batch axes and `A` for the size of an action vector: log-probabilities and entropies are summed
over it.
"""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.errors import ConfigError
from rljax.ops.explore import mask
from rljax.types import Array, Scalar

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
        """Restricts the distribution to legal actions; changes nothing where all are.

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
        """The log-densities of the entries of an action, `[..., A]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * (jnp.square(z) + _LOG_2PI) - self.log_std

    def entropies(self) -> Array:
        """The entropies of the entries of an action, `[..., A]`."""
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
        """Maps the real line into the box."""
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
