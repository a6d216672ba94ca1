"""Transitions over several steps against the n-step returns of whole trajectories."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rljax.data.transitions import transition
from rljax.ops.returns import n_step_returns
from rljax.types import TimeStep


def runs(n: int, size: int, ends: float) -> TimeStep:
    draw = np.random.default_rng(n)
    terminated = draw.random((n, size)) < ends
    truncated = (draw.random((n, size)) < ends) & ~terminated
    obs = draw.normal(size=(2, n, size)).astype(np.float32)
    reward, action = draw.normal(size=(n, size)).astype(np.float32), draw.integers(0, 3, (n, size))
    arrays = obs[0], action, reward, obs[1], terminated, truncated, np.zeros((n, size), bool)
    return TimeStep(*map(jnp.asarray, arrays))


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("ends", [0.0, 0.3])
def test_the_target_is_the_n_step_return(n, ends):
    """The observation stands for its value."""
    steps = runs(n, 200, ends)
    found = transition(steps, 0.9)
    flags = steps.terminated, steps.truncated
    expected = n_step_returns(steps.reward, steps.next_obs, *flags, 0.9, n)[0]
    np.testing.assert_allclose(found.reward + found.discount * found.next_obs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.obs, steps.obs[0])
    np.testing.assert_array_equal(found.action, steps.action[0])


def test_by_hand():
    """Three runs of three steps: terminated at the second, truncated at the second, and going on."""
    reward = jnp.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    no = jnp.zeros((3, 3), bool)
    steps = TimeStep(reward, reward, reward, 10 * reward, no.at[1, 0].set(True), no.at[1, 1].set(True), no)
    found = transition(steps, 0.5)
    np.testing.assert_array_equal(found.reward, [2.0, 2.0, 3.0])
    np.testing.assert_array_equal(found.next_obs, [20.0, 20.0, 40.0])
    np.testing.assert_array_equal(found.discount, [0.0, 0.25, 0.125])
