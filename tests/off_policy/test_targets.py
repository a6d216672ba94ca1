"""The least value of several critics, and the loss of all of them, in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.off_policy.targets import least, subset, target_loss
from rljax.ops.value_heads import Bootstrap, HeadParams, QuantileHead, ScalarHead

NUMBERS = HeadParams()
strict = pytest.mark.usefixtures("strict")


@strict
def test_the_least_is_that_of_the_critic_that_expects_the_least():
    """Whole outputs of one critic: means 2 and 1.5, then 0 and 5."""
    outputs = jnp.array([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 3.0], [4.0, 6.0]]])  # [M, B, K]
    np.testing.assert_array_equal(least(QuantileHead(2), outputs, NUMBERS), [[0.0, 3.0], [0.0, 0.0]])
    scalar = jax.random.normal(jax.random.key(0), (3, 7, 2, 1))
    np.testing.assert_array_equal(least(ScalarHead(), scalar, NUMBERS), scalar.min(0))


@strict
def test_a_subset_is_drawn_without_replacement_and_every_critic_has_its_share():
    outputs = jnp.arange(5.0)[:, None]
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.vmap(lambda key: subset(key, outputs, 2))(keys))[..., 0]
    assert (drawn[:, 0] != drawn[:, 1]).all()
    np.testing.assert_allclose(np.bincount(drawn.astype(int).ravel(), minlength=5) / 3000, 0.4, atol=0.05)
    np.testing.assert_array_equal(subset(jax.random.key(1), outputs, 5), outputs)


def loss(values, expectile=0.5, bonus=0.0):
    """The loss of two critics on two transitions, weights 1 and 3: y = 1 + 0.5 (2 + bonus), then 1, a last step."""
    after = Bootstrap(
        outputs=jnp.full((2, 1, 1), 2.0),
        weight=jnp.ones((2, 1)),
        bonus=jnp.full((2, 1), bonus),
        reward=jnp.ones(2),
        discount=jnp.array([0.5, 0.0]),
    )
    return target_loss(ScalarHead(), values[..., None], after, jnp.array([1.0, 3.0]), NUMBERS, expectile)


@strict
def test_the_loss_is_summed_over_critics_and_a_weighted_mean_over_samples():
    values = jnp.array([[2.0, 2.0], [5.0, 0.0]])
    total, priority = loss(values)
    np.testing.assert_allclose(total, (0.0 + 3 * 0.5) / 2 + (4.5 + 3 * 0.5) / 2)
    np.testing.assert_allclose(priority, [1.5, 1.0])  # priorities: unweighted, on average over critics


@strict
def test_above_a_half_what_turned_out_better_counts_more():
    values = jnp.array([[2.0, 2.0], [5.0, 0.0]])  # only the last one is below its target
    total, priority = loss(values, 0.8)
    np.testing.assert_allclose(total, 0.4 * (0.0 + 3 * 0.5) / 2 + (0.4 * 4.5 + 1.6 * 3 * 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(priority, [1.5, 1.0])


def test_no_gradient_passes_through_the_target():
    """Not even where the outputs after are a function of the same parameters."""

    def total(parameter):
        after = Bootstrap(jnp.full((1, 1, 1), parameter), jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.ones(1), jnp.ones(1))
        return target_loss(ScalarHead(), jnp.full((1, 1, 1), parameter), after, jnp.ones(1), NUMBERS)[0]

    np.testing.assert_allclose(jax.grad(total)(3.0), 3.0 - 4.0)  # value - target; 0 if both moved
