"""Observations as networks see them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.nets.features import feature_shape, features, flat_features, image_shapes
from rljax.types import LEGAL, Box, Dict, Discrete, MultiDiscrete


def test_discrete_observations_become_one_hot():
    space = Discrete(3)
    np.testing.assert_array_equal(features(space, jnp.array([[0, 2]])), [[[1, 0, 0], [0, 0, 1]]])
    assert feature_shape(space) == (3,)


def test_others_become_floats_of_the_same_shape():
    space = Box(np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32), np.dtype(bool))
    x = features(space, jnp.ones((5, 2, 2), bool))
    assert x.dtype == jnp.float32 and x.shape == (5, *feature_shape(space))


def test_flat_features_keep_every_batch_axis_and_no_other():
    space = Box(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))
    x = jnp.arange(4 * 5 * 6.0).reshape(4, 5, 2, 3)
    np.testing.assert_array_equal(flat_features(space, x), x.reshape(4, 5, 6))
    assert flat_features(Discrete(3), jnp.zeros((4, 5), jnp.int32)).shape == (4, 5, 3)


@pytest.mark.parametrize("shape", [(4, 4, 1), (4,)])
def test_bytes_are_scaled_by_their_highest_bound_and_nothing_else_is(shape):
    def box(high, dtype):
        return Box(np.zeros(shape, np.float32), np.full(shape, high, np.float32), np.dtype(dtype))

    obs = jnp.full(shape, 51)
    np.testing.assert_allclose(features(box(255, np.uint8), obs.astype(jnp.uint8)), 0.2, rtol=1e-6)
    np.testing.assert_allclose(features(box(102, np.uint8), obs.astype(jnp.uint8)), 0.5)
    np.testing.assert_allclose(features(box(np.inf, np.uint8), obs.astype(jnp.uint8)), 0.2, rtol=1e-6)
    for dtype in (np.int32, np.float32, np.bool_):  # MinAtar's are bool or float: as they are
        np.testing.assert_array_equal(features(box(255, dtype), obs.astype(dtype)), obs.astype(dtype))


def bytes_of(*shape):
    return Box(np.zeros(shape), np.full(shape, 255), np.dtype(np.uint8))


def test_multi_discrete_observations_become_one_hot_entry_by_entry():
    space = MultiDiscrete((2, 3))
    np.testing.assert_array_equal(features(space, jnp.array([[[1, 0]]])), [[[0, 1, 1, 0, 0]]])
    assert feature_shape(space) == (5,)


def test_a_dict_becomes_one_vector_that_begins_with_the_image_and_leaves_the_mask_out():
    inner = Dict({"eye": bytes_of(1, 2, 1), LEGAL: MultiDiscrete((2,))})  # no mask, for it is not an entry of the outer
    space = Dict({LEGAL: bytes_of(2), "at": Box(-np.ones(2), np.ones(2)), "inner": inner, "kind": Discrete(2)})
    eye = jnp.array([[[0], [255]]], jnp.uint8)
    obs = {LEGAL: jnp.zeros(2), "at": jnp.array([0.5, -1]), "inner": {"eye": eye, LEGAL: jnp.array([0])}, "kind": 1}
    expected = [0, 1, 0.5, -1, 1, 0, 0, 1]
    np.testing.assert_array_equal(features(space, obs), expected)
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, 5, *jnp.shape(x))), obs)
    np.testing.assert_array_equal(flat_features(space, batch), np.broadcast_to(expected, (4, 5, 8)))
    assert feature_shape(space) == (8,) and image_shapes(space) == ((1, 2, 1),)
    assert image_shapes(bytes_of(2, 2, 3)) == ((2, 2, 3),) and image_shapes(bytes_of(2)) == ()
    assert image_shapes(Dict({"one": bytes_of(2, 2, 3), "other": bytes_of(4, 4, 1)})) == ((2, 2, 3), (4, 4, 1))


def test_a_grid_of_categories_is_an_image_of_ones_and_zeros():
    space = MultiDiscrete((3, 2), (2, 2))
    assert space.shape == (2, 2, 2) and feature_shape(space) == (2, 2, 5) and image_shapes(space) == ((2, 2, 5),)
    obs = jnp.array([[[0, 1], [2, 0]], [[1, 1], [1, 0]]])
    assert bool(space.contains(obs)) and not bool(space.contains(obs.at[0, 0, 1].set(2)))
    small = MultiDiscrete((3, 2), (2, 2), np.dtype(np.uint8))
    np.testing.assert_array_equal(features(small, obs.astype(jnp.uint8)), features(space, obs))
    assert small.sample(jax.random.key(0)).dtype == np.uint8 != space.dtype and small != space
    assert features(space, obs)[0, 1].tolist() == [0, 0, 1, 1, 0] and space.sample(jax.random.key(0)).shape == (2, 2, 2)
