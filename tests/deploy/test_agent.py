"""Policies in Gymnasium's environments."""

from __future__ import annotations

import gymnasium
import jax
import numpy as np
import pytest

import rljax
from rljax.deploy import Agent


@pytest.fixture(scope="module")
def trained():
    return rljax.train("ppo", "CartPole-v1", steps=50_000, seed=1, progress=False).policy


def test_it_balances_the_pole_of_gymnasium(trained, optimised):
    returns = Agent(trained).play(gymnasium.make("CartPole-v1"), episodes=5)
    assert returns.shape == (5,) and returns.mean() > 300
    np.testing.assert_array_equal(returns, Agent(trained).play(gymnasium.make("CartPole-v1"), episodes=5))


def test_actions_are_as_gymnasium_has_them(trained):
    env, agent = gymnasium.make("CartPole-v1"), Agent(trained)
    obs, _ = env.reset(seed=0)
    assert type(agent(obs)) is int and env.action_space.contains(agent(obs))
    vector = gymnasium.make_vec("CartPole-v1", num_envs=3)
    many, _ = vector.reset(seed=0)
    agent.reset()
    assert agent(many).shape == (3,) and vector.action_space.contains(agent(many).astype(np.int64))
    assert agent(many)[0] == Agent(trained)(many[0])


def test_samples_differ_and_repeat(trained):
    obs = np.zeros(4, np.float32)
    draws = [[Agent(trained, greedy=False, seed=seed)(obs) for seed in range(20)] for _ in range(2)]
    assert draws[0] == draws[1] and len(set(draws[0])) == 2
    agent = Agent(trained, greedy=False)
    assert len({agent(obs) for _ in range(30)}) == 2


def test_it_predicts_as_stable_baselines_asks(trained):
    agent, obs = Agent(trained), np.zeros((2, 4), np.float32)
    action, state = agent.predict(obs, state=None, episode_start=np.ones(2, bool), deterministic=True)
    np.testing.assert_array_equal(action, trained(jax.numpy.asarray(obs)))
    assert state is None
    sampled = {int(agent.predict(obs[0], deterministic=False)[0]) for _ in range(30)}
    assert sampled == {0, 1} and agent.predict(obs[0])[0] == action[0]
