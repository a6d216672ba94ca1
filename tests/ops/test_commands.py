"""Commands in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.ops.commands import count_down, outcomes


@pytest.mark.usefixtures("strict")
def test_commands_lie_between_the_mean_return_and_a_deviation_above_it():
    found = outcomes(jnp.array([7.0, 3.0, 100.0]), jnp.array([4, 1, 0]))  # the last is none
    np.testing.assert_allclose([found.mean, found.std, found.length], [5.0, 2.0, 2.5])
    command = found.command(jax.random.key(0), 1000, False)
    np.testing.assert_array_equal(command[:, 1], 2.5)
    np.testing.assert_allclose([command[:, 0].min(), command[:, 0].max()], [5.0, 7.0], atol=0.02)
    np.testing.assert_array_equal(found.command(jax.random.key(0), 2, True), [[5.0, 2.5]] * 2)


def test_without_an_episode_commands_are_0():
    none = outcomes(jnp.zeros(3), jnp.zeros(3, jnp.int32))
    np.testing.assert_array_equal(none.command(jax.random.key(0), 2, False), np.zeros((2, 2)))


def test_steps_are_counted_down_to_1_and_the_return_stays():
    np.testing.assert_array_equal(count_down(jnp.array([[9.0, 3.0], [9.0, 1.5], [9.0, 0.0]])), [[9, 2], [9, 1], [9, 1]])
