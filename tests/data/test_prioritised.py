"""Priorities against their definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax.data import prioritised


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_every_node_is_the_sum_of_its_children(size, seed):
    draw = np.random.default_rng(seed)
    expected, found = np.zeros(size, np.float32), prioritised.init(size)
    for _ in range(3):
        index = draw.integers(0, size, 5)
        value = draw.random(size).astype(np.float32)[index]  # a place that stands twice has one value
        expected[index] = value
        found = prioritised.assign(found, jnp.asarray(index), jnp.asarray(value))
    nodes = np.asarray(found.nodes)
    leaves = len(nodes) // 2
    np.testing.assert_array_equal(nodes[leaves : leaves + size], expected)
    inner = np.arange(1, leaves)
    np.testing.assert_array_equal(nodes[inner], nodes[2 * inner] + nodes[2 * inner + 1])
    np.testing.assert_allclose(found.total, expected.sum(), rtol=1e-5)
    assert found.highest >= 1.0


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("value", [[0.0, 1.0, 2.0, 0.0, 5.0, 0.0, 0.0], [1.0, 0.5, 2.0, 0.5, 1.0, 2.5, 0.5]])
def test_draws_are_in_proportion_and_never_of_nothing(value):
    value = jnp.array(value)
    priorities = prioritised.assign(prioritised.init(7), jnp.arange(7), value)
    counts = np.bincount(prioritised.draw(priorities, jax.random.key(0), 80_000), minlength=7)
    np.testing.assert_array_equal(counts > 0, value > 0)
    np.testing.assert_allclose(counts / 80_000, value / 8.0, atol=1e-4)  # stratified: off by one or two each
    many = jax.vmap(lambda key: prioritised.draw(priorities, key, 1))(jax.random.split(jax.random.key(1), 8000))
    np.testing.assert_allclose(np.bincount(many[:, 0], minlength=7) / 8000, value / 8.0, atol=0.03)


def test_what_holds_nothing_is_not_drawn_however_sums_are_rounded():
    value = jnp.array([0.1, 0.0, 1e-8, 0.0, 0.7, 0.0, 0.3, 0.0] * 64)
    priorities = prioritised.assign(prioritised.init(512), jnp.arange(512), value)
    drawn = prioritised.draw(priorities, jax.random.key(2), 200_000)
    assert (value[drawn] > 0).all()


@pytest.mark.parametrize("value", [[1.0, 0.0, 0.0, 0.0], [0.3, 0.0, 0.1, 0.0], [0.0, 0.2, 0.0, 0.0]])
def test_nor_is_it_by_the_largest_number_there_is_to_draw(value, monkeypatch):
    """Rounded, the share of the last of a batch is 1: all that there is, which no subtree on the way has left."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, 1 - 2.0**-23))
    value = jnp.array(value)
    priorities = prioritised.assign(prioritised.init(4), jnp.arange(4), value)
    assert (value[prioritised.draw(priorities, jax.random.key(0), 8)] > 0).all()


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_undo_the_bias(beta):
    value = jnp.array([1.0, 2.0, 5.0, 2.0])
    priorities = prioritised.assign(prioritised.init(4), jnp.arange(4), value)
    found = prioritised.weights(priorities, jnp.arange(4), jnp.int32(4), beta)
    expected = (4 * value / 10.0) ** -beta
    np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-6)
    if beta == 1.0:  # probability times weight is the same for all
        np.testing.assert_allclose(found * value, 1.0, rtol=1e-6)
