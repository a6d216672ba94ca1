"""Heads of critics against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from rljax.ops import value_heads as heads
from rljax.ops.losses import dqn_clipped, dqn_reg, huber

NUMBERS = heads.HeadParams(-2.0, 2.0)
EVERY = [heads.ScalarHead(), heads.CategoricalHead(21), heads.HLGaussHead(21), heads.QuantileHead(21)]
every_head = pytest.mark.parametrize("head", EVERY, ids=lambda head: type(head).__name__)
strict = pytest.mark.usefixtures("strict")


def follows(head: heads.Head, size: int = 6, actions: int = 3, **changes) -> heads.Bootstrap:
    draw = np.random.default_rng(0)
    weight = draw.dirichlet(np.ones(actions), size)
    found = {
        "outputs": draw.normal(size=(size, actions, head.size)) * 0.3,
        "weight": weight,
        "bonus": draw.normal(size=(size, actions)) * 0.1,
        "reward": draw.normal(size=size) * 0.1,
        "discount": np.array([0.0] + [0.9] * (size - 1)),
    }
    return heads.Bootstrap(**{n: jnp.asarray(x, jnp.float32) for n, x in (found | changes).items()})


def mean(head: heads.Head, target: jax.Array) -> jax.Array:
    """The expectation of a target."""
    if isinstance(head, heads.ScalarHead):
        return target[:, 0]
    if isinstance(head, heads.QuantileHead):
        return target.mean(-1)
    return head.value(jnp.log(target), NUMBERS)


@strict
@every_head
def test_the_mean_of_a_target_is_the_bellman_target(head):
    after = follows(head)
    value = head.value(after.outputs, NUMBERS)
    expected = after.reward + after.discount * (after.weight * (value + after.bonus)).sum(-1)
    np.testing.assert_allclose(mean(head, head.target(after, NUMBERS)), expected, atol=2e-3)


@strict
@pytest.mark.parametrize("head", EVERY[:3], ids=lambda head: type(head).__name__)
def test_at_the_target_nothing_is_left_to_learn(head):
    """And anywhere else exact is. (Quantiles have a test of their own.)"""
    target = head.target(follows(head), NUMBERS)
    exact = target[:, :1] if isinstance(head, heads.ScalarHead) else jnp.log(target + 1e-20)

    def total(outputs):
        return head.loss(outputs, target, NUMBERS)[0].sum()

    np.testing.assert_allclose(head.loss(exact, target, NUMBERS)[1], 0.0, atol=1e-5)
    np.testing.assert_allclose(jax.grad(total)(exact), 0.0, atol=1e-6)
    elsewhere = jnp.broadcast_to(jnp.linspace(1.0, 2.0, head.size), exact.shape)
    assert (head.loss(elsewhere, target, NUMBERS)[1] > 1e-3).all()
    assert total(elsewhere - 0.01 * jax.grad(total)(elsewhere)) < total(elsewhere)


@strict
@pytest.mark.parametrize("kind", ["huber", "dqn-reg", "dqn-clipped"])
def test_a_scalar_head_uses_the_loss_it_is_told(kind):
    after, head = follows(heads.ScalarHead()), heads.ScalarHead(kind)
    y, following, discount = head.target(after, NUMBERS).T
    np.testing.assert_allclose(y, after.reward + discount * following, rtol=1e-6)
    value = jnp.linspace(-3.0, 3.0, 6)
    by_name = {
        "huber": lambda: huber(value, y),
        "dqn-reg": lambda: dqn_reg(value, y, 0.3),
        "dqn-clipped": lambda: dqn_clipped(value, y, following, discount),
    }
    loss, priority = head.loss(value[:, None], head.target(after, NUMBERS), NUMBERS._replace(weight=0.3))
    np.testing.assert_array_equal(loss, by_name[kind]())
    np.testing.assert_array_equal(priority, jnp.abs(value - y))


@strict
def test_projection_by_hand():
    """Between two atoms, on one, and beyond the last."""
    support = jnp.array([0.0, 1.0, 2.0])
    found = heads.project(jnp.array([[0.25, 1.0, 5.0]]), jnp.array([[0.4, 0.1, 0.5]]), support)
    np.testing.assert_allclose(found, [[0.3, 0.2, 0.5]], rtol=1e-6)


@strict
def test_hl_gauss_is_the_gaussian_in_bins_and_its_mean_comes_back():
    y = jnp.array([-2.5, -0.3, 0.0, 1.234])
    found = heads.hl_gauss(y, NUMBERS, 40)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    edges, sigma = np.linspace(-2, 2, 41), 0.75 * 0.1
    by_definition = np.diff(norm.cdf((edges - 1.234) / sigma))
    np.testing.assert_allclose(found[3], by_definition / by_definition.sum(), atol=1e-6)
    np.testing.assert_allclose(heads.hl_gauss_mean(found[1:], NUMBERS), y[1:], atol=1e-3)


@strict
def test_quantile_loss_by_definition():
    draw = np.random.default_rng(1)
    theta, y = draw.normal(size=(2, 3)), draw.normal(size=(2, 5)) * 2
    expected = np.zeros(2)
    for b in range(2):
        for i in range(3):
            u = y[b] - theta[b, i]
            weight = np.abs((i + 0.5) / 3 - (u < 0))
            expected[b] += (weight * np.asarray(huber(jnp.asarray(u), jnp.zeros(5)))).mean()
    np.testing.assert_allclose(heads.quantile_huber(jnp.asarray(theta), jnp.asarray(y)), expected, rtol=1e-5)


@strict
def test_quantiles_of_a_known_distribution():
    """Fitted to many samples of a normal, they are its quantiles (but for the Huber loss's rounding of the median)."""
    sample = norm.ppf((np.arange(400) + 0.5) / 400)[None] * 20.0
    theta = jnp.zeros((1, 9))
    go = jax.grad(lambda theta: heads.quantile_huber(theta, jnp.asarray(sample, jnp.float32)).sum())
    theta = jax.lax.fori_loop(0, 3000, lambda i, x: x - 2.0 * go(x), theta)
    np.testing.assert_allclose(theta[0], norm.ppf((np.arange(9) + 0.5) / 9) * 20.0, atol=0.5)


def test_rescaled_returns_come_back():
    """To 1e-5 of them from 1e-6 to 1e6, with slopes that are finite everywhere; h(3) = 1 + 3 epsilon."""
    x = np.concatenate([s * np.logspace(-6, 6, 200) for s in (-1, 1)] + [[0.0]]).astype(np.float32)
    np.testing.assert_allclose(heads.restored(heads.rescaled(x)), x, rtol=2e-5)
    np.testing.assert_allclose(heads.rescaled(jnp.float32(3.0)), 1.003, rtol=1e-6)
    slopes = [jax.vmap(jax.grad(f))(jnp.array([-1e4, 0.0, 1e-3, 1e4])) for f in (heads.rescaled, heads.restored)]
    assert all(np.isfinite(s).all() for s in slopes)


def test_the_rescaled_head_learns_h_of_the_target():
    head = heads.head_of("rescaled", 51, "squared")
    numbers, q = heads.HeadParams(), jnp.array([[[90.0], [400.0]]])
    after = heads.Bootstrap(
        heads.rescaled(q), jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 2.0]]), *jnp.array([[5.0], [0.5]])
    )
    y = heads.rescaled(jnp.float32(5.0 + 0.5 * 402.0))
    output = jnp.array([[3.0]])
    loss, error = head.loss(output, head.target(after, numbers), numbers)
    np.testing.assert_allclose((loss[0], error[0]), (0.5 * (3.0 - y) ** 2, y - 3.0), rtol=1e-5)
    np.testing.assert_allclose(head.value(heads.rescaled(q), numbers), q[..., 0], rtol=1e-5)
