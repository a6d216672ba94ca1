"""Shuffled epochs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.ops.minibatch import flatten_time, minibatch_epochs, permutation


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000, 8192])
def test_a_permutation_has_every_index_once(size):
    np.testing.assert_array_equal(np.sort(permutation(jax.random.key(size), size)), np.arange(size))


def test_permutations_are_uniform():
    keys = jax.random.split(jax.random.key(0), 6000)
    orders = np.asarray(jax.vmap(lambda k: permutation(k, 3))(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 5 / 6)  # five standard deviations


@pytest.mark.usefixtures("strict")
def test_every_epoch_sees_every_sample_once_in_a_new_order():
    batch = {"x": jnp.arange(24.0), "y": jnp.arange(24.0)[:, None] * jnp.ones((24, 2))}

    def update(carry, part, key):
        return carry + part["x"].sum(), (part["x"], part["y"], jax.random.key_data(key))

    total, (x, y, keys) = minibatch_epochs(update, 0.0, batch, jax.random.key(1), 3, 4)
    assert total == 3 * np.arange(24).sum()
    assert x.shape == (3, 4, 6)
    np.testing.assert_array_equal(np.sort(x.reshape(3, 24)), np.tile(np.arange(24), (3, 1)))
    assert not np.array_equal(x[0], x[1])
    np.testing.assert_array_equal(y[..., 0], x)  # rows stay together
    assert len(np.unique(keys.reshape(12, -1), axis=0)) == 12


def test_flatten_time_keeps_rows():
    x = jnp.arange(24).reshape(4, 3, 2)
    np.testing.assert_array_equal(flatten_time({"x": x})["x"], x.reshape(12, 2))
