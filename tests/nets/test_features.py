"""Observations as networks see them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rljax.nets.features import feature_shape, features
from rljax.types import Box, Discrete


def test_discrete_observations_become_one_hot():
    space = Discrete(3)
    np.testing.assert_array_equal(features(space, jnp.array([[0, 2]])), [[[1, 0, 0], [0, 0, 1]]])
    assert feature_shape(space) == (3,)


def test_others_become_floats_of_the_same_shape():
    space = Box(np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32), np.dtype(bool))
    x = features(space, jnp.ones((5, 2, 2), bool))
    assert x.dtype == jnp.float32 and x.shape == (5, *feature_shape(space))
