"""TD3 on environments with known answers, and the traps of its kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

import rljax
from rljax import envs
from rljax.algos import td3
from rljax.errors import ConfigError
from rljax.run import as_arrays, start

SMALL = {
    "num_envs": 8, "batch_size": 64, "capacity": 2048, "warmup": 128, "hidden": (16,), "num_steps": 1,
    "gradient_steps": 2,
}  # fmt: skip


def trained(updates=1000, settings=None, **numbers):
    """On Q(a) = -(a - target)^2 -> (algorithm, state [S], metrics [S, U])."""
    given = {"lr": 3e-3, "critic_lr": 1e-2, "target_rate": 0.05, "exploration_noise": 0.3} | numbers
    return learned("td3", "probe/continuous", SMALL | (settings or {}), 2, updates, **given)


@pytest.mark.parametrize(
    "settings", [{}, {"n_step": 2, "prioritised": True}, {"head": "quantile", "atoms": 11}, {"critics": 1}]
)
def test_the_best_action_is_found(settings):
    algo, state, _ = trained(settings=settings)
    env = envs.make("probe/continuous")
    obs = jnp.zeros((1, *env.observation_space.shape))
    action = jax.vmap(lambda s: algo.act(s, (), obs, jnp.ones(1, bool), jax.random.key(0), True)[1])(state)
    np.testing.assert_allclose(action[:, 0, 0], float(env.task.target), atol=0.1)


def test_it_explores_by_as_much_as_it_is_told():
    algo, state, _ = trained(200, exploration_noise=0.05)
    obs = jnp.zeros((4096, *envs.make("probe/continuous").observation_space.shape))
    one = jax.tree.map(lambda x: x[0], state)
    action = algo.act(one, (), obs, jnp.ones(len(obs), bool), jax.random.key(0), False)[1]
    space = envs.make("probe/continuous").action_space
    np.testing.assert_allclose(space.to_unit(action).std(), 0.05, rtol=0.1)


def test_slow_copies_move_once_for_each_step_of_the_policy():
    env = envs.make("Pendulum-v1")
    algo = td3.TD3(env, tiny("td3", gradient_steps=4, policy_delay=4))
    task, hypers = as_arrays(env.task), as_arrays(algo.hypers.replace(target_rate=0.25))
    state = start(algo, jax.random.key(0), hypers, task)
    after, _ = jax.jit(algo.step)(state, hypers, task)
    expected = jax.tree.map(lambda a, b: a + 0.25 * (b - a), state.learner.target_params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after.learner.target_params, expected)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("CartPole-v1", {}, "action_space=Discrete: must be Box"),
        ("Pendulum-v1", {"policy_delay": 3}, "policy_delay=3: must be at least 1 and divide gradient_steps=2"),
        ("Pendulum-v1", {"batch_size": 5000}, "batch_size=5000: must be at most the 1000"),
        ("Pendulum-v1", {"value_high": 5.0}, "value_high=5.0: has no effect without head=categorical or hl-gauss"),
    ],
)
def test_what_cannot_be_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        rljax.make("td3", env, **settings)
