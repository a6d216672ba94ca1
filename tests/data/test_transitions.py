"""Transitions over several steps against the n-step returns of whole trajectories."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rljax.data.transitions import transition, transitions
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


def test_sequences_cut_at_their_ends_and_at_those_of_episodes():
    """Two environments, five steps, n = 3, gamma = 1/2: one terminates with its third step, one is cut by a limit."""
    zero = jnp.zeros((5, 2), bool)
    terminated, truncated = zero.at[2, 0].set(True), zero.at[1, 1].set(True)
    number = jnp.arange(10.0).reshape(5, 2)
    reward = jnp.stack([2.0 ** jnp.arange(5), 10.0 * 2.0 ** jnp.arange(5)], 1)  # so that discounted, they are equal
    found = transitions(TimeStep(number, number, reward, number + 100, terminated, truncated, zero), 0.5, 3)
    reward, discount, ends = (x.reshape(5, 2) for x in (found.reward, found.discount, found.ends))
    np.testing.assert_allclose(reward, [[3, 20], [4, 20], [4, 120], [16, 160], [16, 160]])
    np.testing.assert_allclose(discount, [[0, 0.25], [0, 0.5], [0, 0.125], [0.25, 0.25], [0.5, 0.5]])
    np.testing.assert_array_equal(ends // 2, [[2, 1], [2, 1], [2, 4], [4, 4], [4, 4]])  # in time
    np.testing.assert_array_equal(ends % 2, np.tile([0, 1], (5, 1)))
    np.testing.assert_array_equal(found.at_end(found.next_obs), found.ends + 100.0)
    single = transitions(TimeStep(number, number, number, number, terminated, truncated, zero), 0.5, 1)
    assert single.ends == () and single.at_end(single.obs) is single.obs
