"""Spaces: what lies in them, and what they are equal to."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.spaces import cast, like, zeros
from rljax.types import Box, Dict, Discrete, MultiDiscrete

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


MIXED = Dict({"place": Dict({"room": Discrete(3), "at": Box(*WIDE)}), "alarms": MultiDiscrete((2, 2))})


@pytest.mark.usefixtures("strict")
def test_a_dict_holds_what_each_of_its_spaces_holds():
    x = jax.vmap(MIXED.sample)(jax.random.split(jax.random.key(0), 50))
    assert jax.tree.map(lambda x: (x.shape[1:], x.dtype), x) == jax.tree.map(lambda x: (x.shape, x.dtype), like(MIXED))
    assert list(x) == ["alarms", "place"] and len(np.unique(x["place"]["room"])) == 3
    assert jax.vmap(MIXED.contains)(x).all()
    x["place"]["room"] = x["place"]["room"].at[7].set(3)
    np.testing.assert_array_equal(jax.vmap(MIXED.contains)(x), np.arange(50) != 7)


def test_dicts_are_equal_whatever_the_order_of_their_names_and_can_be_hashed_and_pickled():
    one, other = ({"a": Discrete(2), "b": Discrete(3)}, {"b": Discrete(3), "a": Discrete(2)})
    assert Dict(one) == Dict(other) and hash(Dict(one)) == hash(Dict(other))
    assert Dict(one) != Dict(one | {"c": Discrete(2)})
    assert pickle.loads(pickle.dumps(Dict(one))) == Dict(one)
    one["a"] = Discrete(9)
    assert Dict(other).spaces["a"] == Discrete(2)


def test_values_are_cast_leaf_by_leaf():
    value = cast(MIXED, jax.tree.map(lambda x: np.ones((4, *x.shape)), like(MIXED)))
    assert jax.tree.map(lambda x: x.dtype, value) == jax.tree.map(lambda x: x.dtype, like(MIXED))
    assert jax.tree.map(jnp.shape, zeros(MIXED)) == jax.tree.map(lambda x: x.shape, like(MIXED))
