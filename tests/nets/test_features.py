"""Observations as networks see them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rljax.nets.features import feature_shape, features, flat_features
from rljax.types import Box, Discrete


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
