"""Probes have the values that their docstrings give, by exact rollout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue

G = 0.9


def with_limit(task, limit):
    return task.replace(limit=jnp.int32(limit))


def episode(env, action, key=None, steps=20):
    """The steps of one episode under a constant action: (obs, reward, terminated, truncated) each."""
    key = jax.random.key(0) if key is None else key
    state, obs = env.reset(key, env.task)
    seen = []
    for _ in range(steps):
        state, result = env.step(key, state, action, env.task)
        seen.append((float(obs[0]), float(result.reward), bool(result.terminated), bool(result.truncated)))
        obs = result.obs
        if result.terminated or result.truncated:
            return seen, obs
    raise AssertionError("it never ended")


def value(seen, after=0.0):
    """The discounted return, bootstrapped with `after` where the episode was truncated."""
    result = after if seen[-1][3] else 0.0
    for _, reward, _, _ in reversed(seen):
        result = reward + G * result
    return result


@pytest.mark.parametrize("name", catalogue.PROBES)
def test_contract(name, check_types, check_rollout):
    env = envs.make(name)
    assert env.name == name
    check_types(env)
    check_rollout(env, with_limit)


@pytest.mark.parametrize("action", [0, 1])
def test_constant(action):
    seen, _ = episode(envs.make("probe/constant"), jnp.int32(action))
    assert seen == [(0.0, 1.0, True, False)]


def test_discounted():
    seen, _ = episode(envs.make("probe/discounted"), jnp.int32(0))
    assert [s[0] for s in seen] == [0.0, 1.0]
    assert value(seen) == pytest.approx(G) and value(seen[1:]) == 1.0


def test_observation():
    found = {episode(envs.make("probe/observation"), jnp.int32(0), jax.random.key(i))[0][0][:2] for i in range(20)}
    assert found == {(-1.0, -1.0), (1.0, 1.0)}


def test_action():
    assert [value(episode(envs.make("probe/action"), jnp.int32(a))[0]) for a in (0, 1)] == [0.0, 1.0]


def test_action_observation():
    env = envs.make("probe/action-observation")
    for i in range(10):
        for action in (0, 1):
            seen, _ = episode(env, jnp.int32(action), jax.random.key(i))
            assert value(seen) == (1.0 if (seen[0][0] > 0) == (action == 1) else -1.0)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_truncation(limit):
    seen, _ = episode(envs.make("probe/truncation", limit=limit), jnp.int32(0))
    assert len(seen) == limit and seen[-1][2:] == (False, True)
    infinite = 1 / (1 - G)
    assert value(seen, after=infinite) == pytest.approx(infinite)


def test_both_flags():
    seen, _ = episode(envs.make("probe/both-flags", length=4), jnp.int32(0))
    assert [s[2:] for s in seen] == [(False, False)] * 3 + [(True, False)]
    for t in range(4):
        assert seen[t][0] == t
        assert value(seen[t:], after=100.0) == pytest.approx((1 - G ** (4 - t)) / (1 - G))


def test_action_mask():
    env, seen = envs.make("probe/action-mask"), set()
    for i in range(10):
        state, obs = env.reset(jax.random.key(i), env.task)
        seen.add(int(obs["obs"][0]))
        assert obs["action_mask"].tolist() == [True, True, obs["obs"][0] == 1]
        rewards = [env.step(jax.random.key(0), state, jnp.int32(a), env.task)[1].reward for a in range(3)]
        assert rewards == [0, 1, 2 if obs["action_mask"][2] else 1000]
    assert seen == {0, 1}


@pytest.mark.parametrize("action", [-1.0, 0.0, 0.5, 1.0])
def test_continuous(action):
    seen, _ = episode(envs.make("probe/continuous"), jnp.array([action]))
    assert value(seen) == pytest.approx(-((action - 0.5) ** 2))


def test_target_is_swept():
    env = envs.make("probe/continuous")
    key = jax.random.key(0)
    tasks = jax.vmap(lambda t: env.task.replace(target=t))(jnp.array([-0.5, 0.0, 0.5]))
    state, _ = env.reset(key, env.task)
    reward = jax.vmap(env.step, (None, None, None, 0))(key, state, jnp.zeros(1), tasks)[1].reward
    np.testing.assert_allclose(reward, [-0.25, 0.0, -0.25])
