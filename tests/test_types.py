"""Spaces, and what makes two algorithms or environments the same."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import counter

from rljax.errors import ConfigError, require, unknown
from rljax.types import Box, Discrete, MultiDiscrete

WIDE = np.array([-np.inf, -1.0, 0.0], np.float32), np.array([np.inf, 1.0, np.inf], np.float32)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("space", [Discrete(4), MultiDiscrete((2, 5)), Box(*WIDE)], ids=lambda s: type(s).__name__)
def test_samples_are_contained_and_spread(space):
    x = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 200))
    assert x.shape == (200, *space.shape) and x.dtype == space.dtype
    assert jax.vmap(space.contains)(x).all()
    assert len(np.unique(x, axis=0)) >= 4


def test_what_lies_outside_is_not_contained():
    assert not Discrete(4).contains(jnp.int32(4)) and not Discrete(4).contains(jnp.int32(-1))
    assert not MultiDiscrete((2, 5)).contains(jnp.array([0, 5]))
    box = Box(*WIDE)
    assert not box.contains(jnp.array([0.0, 1.1, 0.0])) and not box.bounded
    np.testing.assert_array_equal(box.clip(jnp.array([[9.0, 9.0, -9.0]])), [[9.0, 1.0, 0.0]])


@pytest.mark.usefixtures("strict")
def test_an_entry_with_one_value_is_left_where_it_is():
    box = Box(np.array([-1.0, 3.0, -2.0]), np.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(box.movable, [True, False, True])
    action = box.from_unit(jnp.array([[0.5, 0.5, -1.0]]))
    np.testing.assert_array_equal(action, [[0.5, 3.0, -2.0]])
    np.testing.assert_array_equal(box.to_unit(action), [[0.5, 0.0, -1.0]])
    assert all(np.isfinite(x).all() for x in (box.sample(jax.random.key(0)), jax.jacobian(box.to_unit)(action)))


def test_environments_are_equal_if_their_functions_are():
    env = counter()
    other = dataclasses.replace(env, task=env.task.replace(terminate_at=3))
    assert env == other and hash(env) == hash(other)
    assert env != counter()


def test_errors_name_the_thing_the_value_and_the_remedy():
    assert str(unknown("fruit", "aple", ["apple", "pear"], "ls")) == (
        "unknown fruit 'aple'; did you mean 'apple'? ls shows all"
    )
    assert str(unknown("fruit", "zzz", ["apple"], "ls")) == "unknown fruit 'zzz'; ls shows all"
    assert str(unknown("fruit", "zzz", [])) == "unknown fruit 'zzz'"
    assert "CartPole-v1" in str(unknown("environment", "cartpole", ["CartPole-v1", "Pong-misc"]))
    with pytest.raises(ConfigError, match=r"^x=3: must be odd$"):
        require(False, "x", 3, "must be odd")
