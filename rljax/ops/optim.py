"""The optimiser, rebuilt where it is used so that its numbers can be traced."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rljax.catalogue import OPTIMISERS
from rljax.errors import ConfigError, reason
from rljax.registry import parsed
from rljax.types import Array, Scalar


def clip(max_grad_norm: Scalar) -> optax.GradientTransformation:
    r"""True global-norm clipping: $g \leftarrow g \min(1, c / \lVert g \rVert_2)$ over all leaves together.

    Its derivative is finite also where every gradient is exactly 0, as that of a policy that has settled: the root of
    the norm is taken of no less than c squared. `inf` clips nothing.
    """

    def scale(grads: Any, _: Any) -> Any:
        square = sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads))
        factor = jax.lax.rsqrt(jnp.maximum(square / jnp.square(max_grad_norm), 1.0))
        return jax.tree.map(lambda g: factor * g, grads)

    return optax.stateless(scale)


def adam(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: float = 0.999, eps: float = 1e-5, eps_root: float = 1e-12
) -> optax.GradientTransformation:
    """Adam, as optax has it with other defaults.

    Args:
      learning_rate: of it.
      b1, b2: decays of the two moments.
      eps: added to the root of the second moment.
      eps_root: added to the second moment; it keeps meta-gradients finite where a coordinate of the gradient is exactly
        0, and at 1e-12 moves the denominator by at most 1e-6, a tenth of `eps`.
    """
    return optax.adam(learning_rate, b1, b2, eps, eps_root)


def make(text: str, lr: Scalar, max_grad_norm: Scalar, **numbers: Scalar) -> optax.GradientTransformation:
    """Makes an optimiser behind `clip`.

    Args:
      text: a name in `rljax.catalogue.OPTIMISERS`, possibly with arguments: `rmsprop(decay=0.95)`.
      lr: learning rate.
      max_grad_norm: c; `inf` clips nothing.
      numbers: further arguments, of which those count that it has.

    Raises:
      ConfigError: there is none of that name, or it does not take the arguments in it.
    """
    given = {name: value for name, value in numbers.items() if takes(text, name)}
    return optax.chain(clip(max_grad_norm), OPTIMISERS.make(text, learning_rate=lr, **given))


def takes(text: str, name: str) -> bool:
    """Whether an optimiser has an argument of that name."""
    return name in inspect.signature(OPTIMISERS.load(parsed(text).name)).parameters


@cache
def check(text: str) -> None:
    """Refuses an optimiser that there is not, or that needs more than gradients. Raises ConfigError."""

    def trial(lr: Array) -> Any:
        optimiser, params = make(text, lr, 1.0), {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
        return apply(optimiser, params, optimiser.init(params), params)

    try:
        jax.eval_shape(trial, 1.0)
    except ConfigError:
        raise
    except Exception as error:  # whatever a factory of the user's raises
        why = reason(error)
        raise ConfigError(f"optimiser={text}: cannot be used ({why})") from error


def apply(optimiser: optax.GradientTransformation, grads: Any, opt: Any, params: Any) -> tuple[Any, Any]:
    """Takes one step of the optimiser: -> (params, opt)."""
    updates, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt


global_norm = optax.global_norm
