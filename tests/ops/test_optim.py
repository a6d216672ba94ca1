"""The optimiser: a true norm, and finite meta-gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax.catalogue import OPTIMISERS
from rljax.errors import ConfigError
from rljax.ops import optim


def test_clipping_scales_the_whole_gradient_and_keeps_its_direction():
    clip = optax.clip_by_global_norm(0.5)
    grads = {"a": jnp.array([6.0, 0.0]), "b": jnp.array(8.0)}  # norm 10
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(optim.global_norm(clipped), 0.5, rtol=1e-6)
    np.testing.assert_allclose(clipped["a"][0] / clipped["b"], 6 / 8, rtol=1e-6)
    # and that is what the optimiser does: Adam's moments are those of the clipped gradient
    opt = optim.make("adam", 1e-3, 0.5).init(grads)
    _, opt = optim.apply(optim.make("adam", 1e-3, 0.5), grads, opt, grads)
    mu = optax.tree_utils.tree_get(opt, "mu")
    np.testing.assert_allclose(mu["b"], 0.1 * clipped["b"], rtol=1e-6)


def test_one_step_of_adam_by_hand():
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, -0.1])
    optimiser = optim.make("adam(eps=1e-5)", 0.01, jnp.inf)
    stepped, _ = optim.apply(optimiser, grads, optimiser.init(params), params)
    np.testing.assert_allclose(stepped, params - 0.01 * grads / (jnp.abs(grads) + 1e-5), rtol=1e-5)


def test_meta_gradient_is_finite_where_a_gradient_is_zero():
    def after(lr):
        params = jnp.array([1.0, 1.0])
        opt = optim.make("adam", lr, 1.0).init(params)
        for _ in range(2):
            grads = jax.grad(lambda p: (p[0] ** 2) + 0.0 * p[1])(params)
            params, opt = optim.apply(optim.make("adam", lr, 1.0), grads, opt, params)
        return params.sum()

    slope = jax.grad(after)(0.1)
    assert jnp.isfinite(slope)
    np.testing.assert_allclose(slope, (after(0.101) - after(0.099)) / 0.002, rtol=1e-2)


@pytest.mark.parametrize("name", OPTIMISERS.names())
def test_every_optimiser_descends_with_a_traced_learning_rate(name):
    """One program over learning rates: a larger one goes further on a gradient that stays as it is."""
    optim.check(name)
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}

    def after(lr):
        optimiser = optim.make(name, lr, jnp.inf)

        def step(carry, _):
            return optim.apply(optimiser, jax.tree.map(lambda x: 0.5 * jnp.ones_like(x), params), *carry[::-1]), None

        return jax.lax.scan(step, (params, optimiser.init(params)), None, 5)[0][0]

    moved = jax.tree.map(lambda x: 1.0 - x, jax.jit(jax.vmap(after))(jnp.array([1e-3, 1e-2])))
    for leaf in jax.tree.leaves(moved):
        assert (leaf[0] > 0).all() and (leaf[1] > leaf[0]).all()


def test_arguments_of_an_optimiser():
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, -0.1])
    ours, theirs = optim.make("sgd(momentum=0.5,nesterov=True)", 0.1, jnp.inf), optax.sgd(0.1, 0.5, True)
    one, other = (optim.apply(o, grads, o.init(params), params)[0] for o in (ours, theirs))
    np.testing.assert_allclose(one, other)
    assert optim.takes("adam", "b1") and not optim.takes("sgd", "b1")
    found = optim.make("sgd", 0.1, jnp.inf, b1=0.3)  # a number of Adam's alone
    np.testing.assert_allclose(optim.apply(found, grads, found.init(params), params)[0], params - 0.1 * grads)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adamm", "unknown optimiser 'adamm'; did you mean 'adam'"),
        ("adam(b3=0.9)", r"optimiser 'adam\(b3=0.9\)': .*unexpected keyword argument 'b3'"),
        ("adam(", "write it as a name with plain arguments"),
        ("lbfgs", "unknown optimiser"),
    ],
)
def test_an_optimiser_that_cannot_be(text, message):
    with pytest.raises(ConfigError, match=message):
        optim.check(text)


def test_what_needs_more_than_gradients_is_refused(monkeypatch):
    monkeypatch.setitem(OPTIMISERS.registered(), "lbfgs", optax.lbfgs)
    with pytest.raises(ConfigError, match="optimiser=lbfgs: cannot be used"):
        optim.check("lbfgs")
