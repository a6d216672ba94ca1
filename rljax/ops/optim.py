"""The optimiser, rebuilt where it is used so that its numbers can be traced."""

from __future__ import annotations

from typing import Any

import optax

from rljax.types import Scalar


def adam(lr: Scalar, max_grad_norm: Scalar, eps: float = 1e-5) -> optax.GradientTransformation:
    r"""Adam behind true global-norm clipping: $g \leftarrow g \min(1, c / \lVert g \rVert_2)$ over all leaves together.

    `eps_root` keeps meta-gradients through Adam finite where a gradient coordinate is exactly 0; at 1e-12 it moves the
    denominator by at most 1e-6, a tenth of `eps`.

    Args:
      lr: learning rate.
      max_grad_norm: c; `inf` clips nothing.
      eps: added to the root of the second moment.
    """
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(lr, eps=eps, eps_root=1e-12))


def apply(optimiser: optax.GradientTransformation, grads: Any, opt: Any, params: Any) -> tuple[Any, Any]:
    """One step: -> (params, opt)."""
    updates, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt


global_norm = optax.global_norm
