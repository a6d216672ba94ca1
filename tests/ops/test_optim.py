"""The optimiser: a true norm, and finite meta-gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rljax.ops import optim


def test_clipping_scales_the_whole_gradient_and_keeps_its_direction():
    clip = optax.clip_by_global_norm(0.5)
    grads = {"a": jnp.array([6.0, 0.0]), "b": jnp.array(8.0)}  # norm 10
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(optim.global_norm(clipped), 0.5, rtol=1e-6)
    np.testing.assert_allclose(clipped["a"][0] / clipped["b"], 6 / 8, rtol=1e-6)
    # and that is what the optimiser does: Adam's moments are those of the clipped gradient
    opt = optim.adam(1e-3, 0.5).init(grads)
    _, opt = optim.apply(optim.adam(1e-3, 0.5), grads, opt, grads)
    mu = optax.tree_utils.tree_get(opt, "mu")
    np.testing.assert_allclose(mu["b"], 0.1 * clipped["b"], rtol=1e-6)


def test_one_step_of_adam_by_hand():
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, -0.1])
    optimiser = optim.adam(0.01, jnp.inf, eps=1e-5)
    stepped, _ = optim.apply(optimiser, grads, optimiser.init(params), params)
    np.testing.assert_allclose(stepped, params - 0.01 * grads / (jnp.abs(grads) + 1e-5), rtol=1e-5)


def test_meta_gradient_is_finite_where_a_gradient_is_zero():
    def after(lr):
        params = jnp.array([1.0, 1.0])
        opt = optim.adam(lr, 1.0).init(params)
        for _ in range(2):
            grads = jax.grad(lambda p: (p[0] ** 2) + 0.0 * p[1])(params)
            params, opt = optim.apply(optim.adam(lr, 1.0), grads, opt, params)
        return params.sum()

    slope = jax.grad(after)(0.1)
    assert jnp.isfinite(slope)
    np.testing.assert_allclose(slope, (after(0.101) - after(0.099)) / 0.002, rtol=1e-2)
