"""The optimiser, rebuilt where it is used so that its numbers can be traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rljax.types import Scalar


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


def adam(lr: Scalar, max_grad_norm: Scalar, eps: float = 1e-5, b1: Scalar = 0.9) -> optax.GradientTransformation:
    """Adam behind `clip`.

    `eps_root` keeps meta-gradients through Adam finite where a gradient coordinate is exactly 0; at 1e-12 it moves the
    denominator by at most 1e-6, a tenth of `eps`.

    Args:
      lr: learning rate.
      max_grad_norm: c; `inf` clips nothing.
      eps: added to the root of the second moment.
      b1: decay of the first moment.
    """
    return optax.chain(clip(max_grad_norm), optax.adam(lr, b1, eps=eps, eps_root=1e-12))


def named(kind: str, lr: Scalar, max_grad_norm: Scalar) -> optax.GradientTransformation:
    """Makes `sgd` or `adam`, behind `clip`."""
    return optax.chain(clip(max_grad_norm), optax.sgd(lr)) if kind == "sgd" else adam(lr, max_grad_norm)


def apply(optimiser: optax.GradientTransformation, grads: Any, opt: Any, params: Any) -> tuple[Any, Any]:
    """Takes one step of the optimiser: -> (params, opt)."""
    updates, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt


global_norm = optax.global_norm
