"""Exploration by random actions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.ops.explore import check_legal, epsilon_greedy, legal, mask, random_action
from rljax.types import LEGAL, Box, Dict, Discrete, Env, MultiDiscrete


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_every_action_has_its_share(epsilon):
    size = 100_000
    found = epsilon_greedy(jax.random.key(0), jnp.full(size, 2, jnp.int32), epsilon, 5)
    assert found.dtype == jnp.int32
    expected = np.full(5, epsilon / 5) + (1 - epsilon) * (np.arange(5) == 2)
    np.testing.assert_allclose(np.bincount(found, minlength=5) / size, expected, atol=0.006)


ONE = np.ones(1, np.float32)


def masked(size: int) -> Dict:
    allowed = np.ones(size, bool)
    return Dict({LEGAL: Box(~allowed, allowed, np.dtype(bool)), "seen": Box(-ONE, ONE)})


@pytest.mark.usefixtures("strict")
def test_random_actions_are_legal_and_each_of_them_has_its_share():
    size, allowed = 50_000, jnp.array([False, True, True, False, True])
    greedy, all_of_them = jnp.full(size, 2, jnp.int32), jnp.broadcast_to(allowed, (size, 5))
    found = epsilon_greedy(jax.random.key(0), greedy, 0.3, 5, all_of_them)
    assert found.dtype == jnp.int32
    np.testing.assert_allclose(np.bincount(found, minlength=5) / size, [0, 0.1, 0.8, 0, 0.1], atol=0.006)
    one, two = [[0, 1 / 3, 1 / 3, 0, 1 / 3]], [[0, 1], [0.5, 0, 0.5]]
    for space, shares in [(Discrete(5), one), (MultiDiscrete((2, 3)), two)]:
        env = Env("toy", lambda: 0, lambda: 0, (), masked(5), space)  # pyright: ignore
        obs, keys = {LEGAL: allowed, "seen": jnp.zeros(1)}, jax.random.split(jax.random.key(1), size)
        drawn = jax.vmap(functools.partial(random_action, env, obs))(keys)
        assert drawn.shape == (size, *space.shape) and drawn.dtype == space.dtype
        for column, share in zip(drawn.reshape(size, -1).T, shares):
            np.testing.assert_allclose(np.bincount(column, minlength=len(share)) / size, share, atol=0.01)


@pytest.mark.usefixtures("strict")
def test_illegal_values_are_never_the_greatest_and_where_no_action_is_legal_all_are():
    values, allowed = jnp.array([[3.0, 1.0, 2.0]] * 2), jnp.array([[False, True, True], [False] * 3])
    np.testing.assert_array_equal(mask(values, allowed), [[-np.inf, 1, 2], [3, 1, 2]])
    assert mask(values, None) is values


def test_the_mask_is_an_entry_of_observations():
    obs = {LEGAL: jnp.ones((2, 3), bool), "seen": jnp.zeros((2, 1))}
    assert legal(masked(3), obs) is obs[LEGAL]
    assert legal(Dict({"seen": Box(-ONE, ONE)}), {"seen": obs["seen"]}) is None and legal(Discrete(3), 1) is None


@pytest.mark.parametrize(
    ("given", "space", "message"),
    [
        (masked(3), Box(-ONE, ONE), "discrete actions are legal, but action_space is a Box"),
        (masked(3), Discrete(4), r"bool \(3,\): must be a Box of bool with shape \(4,\)"),
        (masked(3), MultiDiscrete((2, 2)), r"shape \(4,\)"),
        (Dict({LEGAL: Box(0 * np.ones(4), np.ones(4))}), Discrete(4), "float32"),
        (Dict({LEGAL: Discrete(4)}), Discrete(4), "int32"),
        (Dict({LEGAL: masked(4)}), Discrete(4), "a Dict"),
    ],
)
def test_a_mask_that_does_not_fit_the_actions_is_refused(given, space, message):
    with pytest.raises(ConfigError, match=message):
        check_legal(given, space)
    check_legal(masked(4), Discrete(4))
    check_legal(Discrete(4), Box(-ONE, ONE))
