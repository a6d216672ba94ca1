"""Orthogonal weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.nets.initializers import orthogonal


@pytest.mark.parametrize("shape", [(4, 64), (64, 4), (64, 64), (256, 256), (3, 3, 4, 16), (5, 1)])
def test_the_shorter_side_is_orthonormal_times_the_gain(shape):
    x = orthogonal(2.0)(jax.random.key(0), shape).reshape(-1, shape[-1])
    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    np.testing.assert_allclose(gram, 4.0 * np.eye(len(gram)), atol=2e-5)


def test_directions_are_uniform():
    """Any one entry of a random orthogonal n x n matrix has mean 0 and variance 1 / n."""
    x = jax.vmap(lambda key: orthogonal()(key, (8, 8)))(jax.random.split(jax.random.key(1), 4000))
    np.testing.assert_allclose(x.mean(0), 0.0, atol=0.03)
    np.testing.assert_allclose(x.var(0), 1 / 8, atol=0.015)
    np.testing.assert_allclose(jnp.linalg.slogdet(x)[0].mean(), 0.0, atol=0.06)  # reflections as often as rotations
