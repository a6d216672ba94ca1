"""Losses against hand computation and rlax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
import rlax
from numpy.testing import assert_allclose, assert_array_equal

from rljax.ops.losses import (
    clipped_value_loss,
    dqn_clipped,
    dqn_reg,
    explained_variance,
    huber,
    squared_error,
)


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


def test_squared_error_is_halved_and_refuses_to_broadcast():
    assert_allclose(squared_error(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])), [2.0, 0.0])
    with pytest.raises(AssertionError):
        squared_error(jnp.ones((3, 1)), jnp.ones(3))


def test_huber_equals_rlax():
    error = jnp.linspace(-3.0, 3.0, 25)
    assert_allclose(huber(error, jnp.zeros(25), 0.7), rlax.huber_loss(error, 0.7), rtol=1e-6)
    slope = jax.vmap(jax.grad(lambda e: huber(e, jnp.zeros(()), 0.7)))(error)
    assert_allclose(slope, jnp.clip(error, -0.7, 0.7), rtol=1e-6)


def test_clipped_value_loss_by_hand():
    value, target = jnp.array([0.1, 2.0, 2.0, -2.0]), jnp.array([1.0, 3.0, -1.0, 0.0])
    # Inside the clip; clipped is worse; plain is worse; plain is worse, from below.
    expected = 0.5 * jnp.array([0.9**2, 2.8**2, 3.0**2, 2.0**2])
    assert_allclose(clipped_value_loss(value, jnp.zeros(4), target, 0.2), expected, rtol=1e-6)
    gradient = jax.grad(lambda v: clipped_value_loss(v, jnp.zeros(4), target, 0.2).sum())(value)
    assert_allclose(gradient, [-0.9, 0.0, 3.0, -2.0], rtol=1e-6)


def test_infinite_clip_is_the_squared_error():
    value, old, target = jax.random.normal(jax.random.key(0), (3, 4, 5))
    plain = jax.value_and_grad(lambda v: squared_error(v, target).sum())(value)
    clipped = jax.value_and_grad(lambda v, clip: clipped_value_loss(v, old, target, clip).sum(), (0, 1))
    loss, (gradient, clip_gradient) = clipped(value, jnp.inf)
    assert_array_equal(loss, plain[0])
    assert_allclose(gradient, plain[1])
    assert clip_gradient == 0.0


def test_explained_variance():
    target = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert_allclose(explained_variance(target, target), 1.0)
    assert_allclose(explained_variance(target + 5.0, target), 1.0)
    assert_allclose(explained_variance(jnp.full_like(target, 7.0), target), 0.0, atol=1e-6)
    assert_allclose(explained_variance(-target, target), -3.0)
    assert_allclose(explained_variance(target, jnp.ones_like(target)), 0.0)


def test_evolved_losses_by_hand():
    """At Q = 1, r = 0.5, gamma = 0.9, max Q_target = 2: Y = 2.3, error -1.3."""
    value, bootstrap = jnp.ones(1), jnp.full(1, 2.0)
    target = 0.5 + 0.9 * bootstrap
    assert_allclose(dqn_reg(value, target), 1.79, rtol=1e-6)
    assert_allclose(dqn_clipped(value, target, bootstrap, 0.9), 7.59, rtol=1e-6)
    with pytest.raises(AssertionError):
        dqn_reg(value, target[None])
