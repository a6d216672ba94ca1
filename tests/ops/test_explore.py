"""Exploration by random actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.ops.explore import epsilon_greedy


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_every_action_has_its_share(epsilon):
    size = 100_000
    found = epsilon_greedy(jax.random.key(0), jnp.full(size, 2, jnp.int32), epsilon, 5)
    assert found.dtype == jnp.int32
    expected = np.full(5, epsilon / 5) + (1 - epsilon) * (np.arange(5) == 2)
    np.testing.assert_allclose(np.bincount(found, minlength=5) / size, expected, atol=0.006)
