"""PPO: what it learns on environments with known answers, and the traps of its kind."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import counter, learn, tiny

import rljax
from rljax import envs
from rljax.algos import ppo
from rljax.algos.presets import preset
from rljax.envs.catalogue import GYMNAX, PROBES
from rljax.errors import ConfigError
from rljax.run import as_arrays, evaluate, run, start
from rljax.types import MultiDiscrete

PROBE = ppo.Config(num_envs=8, num_steps=32, num_epochs=4, num_minibatches=4, hidden=(16,))


def values(algo, env, config, state, obs):
    network = ppo.ActorCritic(config, env.observation_space, env.action_space)
    return jax.vmap(lambda params: network.apply(params, obs)[1])(state.params)


def trained(name, updates=150, config=PROBE, **numbers):
    env = envs.make(name)
    algo = ppo.PPO(env, config)
    hypers = algo.hypers.replace(**({"lr": 5e-3, "horizon": float(updates), "value_clip": jnp.inf} | numbers))
    state, metrics = learn(algo, as_arrays(hypers), as_arrays(env.task), 2, updates)
    return algo, env, state, metrics


@pytest.mark.parametrize("discount", [0.9, 0.97])
def test_the_value_of_an_env_that_is_only_ever_truncated(discount):
    algo, env, state, _ = trained("probe/truncation", 400, discount=discount, lr=1e-2)
    obs = jax.vmap(lambda key: env.reset(key, env.task)[1])(jax.random.split(jax.random.key(1), 3))
    np.testing.assert_allclose(values(algo, env, PROBE, state, obs), 1 / (1 - discount), rtol=0.02)


@pytest.mark.parametrize(
    ("name", "obs", "expected"),
    [
        ("probe/constant", [0.0], [1.0]),
        ("probe/discounted", [0.0, 1.0], [0.9, 1.0]),
        ("probe/observation", [-1.0, 1.0], [-1.0, 1.0]),
        ("probe/both-flags", [0.0, 1.0, 2.0, 3.0], [3.439, 2.71, 1.9, 1.0]),
    ],
)
def test_values_of_the_probes(name, obs, expected):
    algo, env, state, _ = trained(name, discount=0.9)
    found = values(algo, env, PROBE, state, jnp.array(obs)[:, None])
    np.testing.assert_allclose(found, np.tile(expected, (2, 1)), atol=0.05)


@pytest.mark.parametrize(("name", "best"), [("probe/action", 1.0), ("probe/action-observation", 1.0)])
def test_policies_of_the_probes(name, best):
    algo, env, state, _ = trained(name)
    returns = jax.vmap(lambda s: evaluate(algo, s, env, jax.random.key(1), 32))(state)
    np.testing.assert_array_equal(returns, best)


@pytest.mark.parametrize("squash", [False, True])
def test_continuous_actions_find_the_target(squash):
    config = ppo.Config(num_envs=8, num_steps=32, num_epochs=4, num_minibatches=4, hidden=(16,), squash=squash)
    algo, env, state, _ = trained("probe/continuous", config=config, entropy_coef=0.0)
    returns = jax.vmap(lambda s: evaluate(algo, s, env, jax.random.key(1), 4))(state)
    np.testing.assert_allclose(returns, 0.0, atol=0.01)


def test_at_the_old_policy_the_first_ratio_is_one():
    """One epoch of one minibatch, with normalised observations: the loss sees the policy that acted."""
    env = envs.make("Pendulum-v1")
    for squash in (False, True):
        config = tiny("ppo", num_epochs=1, num_minibatches=1, normalize_obs=True, squash=squash)
        algo = ppo.PPO(env, config)
        state = start(algo, jax.random.key(0), as_arrays(algo.hypers), as_arrays(env.task))
        for _ in range(3):
            state, metrics = jax.jit(algo.step)(state, as_arrays(algo.hypers), as_arrays(env.task))
            np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-6)
            np.testing.assert_allclose(metrics["policy_loss"], 0.0, atol=1e-5)  # minus the mean of a standardised A


def test_reported_returns_are_the_environments_own():
    env = envs.make("Pendulum-v1")
    plain, scaled = (ppo.PPO(env, tiny("ppo", num_steps=200, normalize_reward=flag)) for flag in (False, True))
    returns = []
    for algo in (plain, scaled):
        _, metrics = run(algo, jax.random.key(0), as_arrays(algo.hypers), as_arrays(env.task), 1)
        returns.append(metrics["episode_return"])
    np.testing.assert_array_equal(*returns)


def test_the_learning_rate_anneals_by_progress():
    env = envs.make("CartPole-v1")
    algo = ppo.PPO(env, tiny("ppo"))
    hypers, task = as_arrays(algo.hypers.replace(horizon=4.0, lr_final=0.0)), as_arrays(env.task)
    state = start(algo, jax.random.key(0), hypers, task)
    step = jax.jit(algo.step)
    for updates, moves in ((0, True), (3, True), (4, False)):
        after, _ = step(state.replace(updates=jnp.int32(updates)), hypers, task)
        moved = jax.tree.map(lambda x, y: bool((x != y).any()), state.params, after.params)
        assert all(jax.tree.leaves(moved)) == moves


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_steps": -1}, "num_steps=-1"),
        ({"num_minibatches": 3}, "num_minibatches=3: must divide"),
        ({"num_minibatches": 32}, "normalize_advantage=minibatch: .* num_steps = 32 in 32 parts .*; give more steps"),
        ({"num_envs": 1, "num_steps": 1, "num_minibatches": 1, "normalize_advantage": "batch"}, "=batch: .*=none"),
        ({"torso": "cnn"}, "torso=cnn: needs"),
        ({"activation": "tahn"}, "did you mean 'tanh'"),
        ({"squash": True}, "squash=True"),
    ],
)
def test_what_cannot_run_is_refused_by_field(settings, field):
    with pytest.raises(ConfigError, match=field):
        ppo.PPO(envs.make("CartPole-v1"), tiny("ppo", **settings))


def test_multi_discrete_actions():
    env = dataclasses.replace(counter(), action_space=MultiDiscrete((2, 3)))
    algo = ppo.PPO(env, tiny("ppo"))
    arguments = as_arrays(algo.hypers), as_arrays(env.task)
    state = start(algo, jax.random.key(0), *arguments)
    after, metrics = jax.jit(algo.step)(state, *arguments)
    np.testing.assert_allclose(metrics["entropy"], np.log(6), rtol=0.05)
    _, action = algo.act(after, (), jnp.zeros((50, 2)), jnp.zeros(50, bool), jax.random.key(1), False)
    assert action.shape == (50, 2) and len(np.unique(action, axis=0)) == 6


def test_cartpole_is_solved_with_purejaxrls_settings(optimised):
    env = envs.make("CartPole-v1")
    algo = ppo.PPO(env, ppo.Config())
    updates = 500_000 // algo.steps_per_update
    state, metrics = learn(
        algo, as_arrays(algo.hypers.replace(horizon=float(updates))), as_arrays(env.task), 8, updates
    )
    ended = metrics["episodes"][:, -100:]
    returns = jnp.where(ended > 0, metrics["episode_return"][:, -100:], 0.0)
    assert (returns * ended).sum() / ended.sum() >= 475
    scores = jax.vmap(lambda s: evaluate(algo, s, env, jax.random.key(1), 32))(state)
    assert scores.mean() >= 475


def test_pendulum_is_learned(optimised):
    env = envs.make("Pendulum-v1")
    known = preset("ppo", "Pendulum-v1")
    algo, _ = rljax.make("ppo", "Pendulum-v1", **known.settings)
    updates = known.steps // algo.steps_per_update
    hypers = algo.hypers.replace(horizon=float(updates))
    state, _ = learn(algo, as_arrays(hypers), as_arrays(env.task), 4, updates)
    scores = jax.vmap(lambda s: evaluate(algo, s, env, jax.random.key(1), 32))(state)
    assert scores.mean() > -250  # a random policy: about -1200; solved: about -150


@pytest.mark.parametrize("name", [*GYMNAX, *PROBES, "brax/inverted_pendulum/spring"])
def test_every_environment_can_be_learned_on(name):
    """Traced, not run: shapes, types and spaces fit together."""
    env = envs.make(name)
    algo = ppo.PPO(env, tiny("ppo", normalize_obs=True))
    state, metrics = jax.eval_shape(partial(run, algo, num_updates=2), jax.random.key(0), algo.hypers, env.task)
    assert state.params and metrics["policy_loss"].shape == (2,)
