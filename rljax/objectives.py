r"""Policy objectives as pytrees: how the probability ratio and the advantage become a loss.

An objective is called as `objective(log_ratio, advantage, progress)` and returns a loss per sample, of the same shape.
`log_ratio` is $\log \pi(a|s) - \log \pi_{old}(a|s)$, `progress` the fraction of the run that is over. Its leaves are
traced numbers, so every field of it can be swept, perturbed or differentiated; its type selects the code.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import jax.numpy as jnp
from flax import struct

from rljax.errors import ConfigError, unknown
from rljax.types import Array, Scalar


class Objective(Protocol):
    """What a policy objective must be able to do."""

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar) -> Array:
        """The loss per sample, to be minimised; the shape of `log_ratio`."""
        ...


class PPOClip(struct.PyTreeNode):
    r"""The clipped surrogate: $-\min(r A,\; \mathrm{clip}(r, 1-\epsilon, 1+\epsilon) A)$.

    Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """

    clip: Scalar = 0.2  # epsilon

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar) -> Array:
        ratio = jnp.exp(log_ratio)
        return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip) * advantage)


OBJECTIVES: dict[str, type] = {"ppo-clip": PPOClip}
"""The objectives that have a name on the command line."""


def named(name: str) -> type:
    """The class of an objective: a registered name, or a user's own as `module:Class`.

    Raises:
      ConfigError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        if name not in OBJECTIVES:
            raise unknown("objective", name, OBJECTIVES, "rljax list objectives")
        return OBJECTIVES[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ConfigError(f"objective '{name}' cannot be imported; put the class into an importable module") from None


def name_of(objective: Objective) -> str:
    """The inverse of `named`."""
    kind = type(objective)
    registered = {cls: name for name, cls in OBJECTIVES.items()}
    return registered.get(kind, f"{kind.__module__}:{kind.__qualname__}")
