"""Environments with Gymnax's methods are taken as they are, their ends told apart."""

from __future__ import annotations

from functools import partial

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import LogWrapper
from toys import TINY

import rljax
from rljax import envs
from rljax.errors import ConfigError
from rljax.ops.rollout import begin, rollout


@struct.dataclass
class State(environment.EnvState):
    time: int


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 5
    end: int = 3


class Old(environment.Environment):
    """An environment as it was written for Gymnax 0.0.9: done holds the limit as well as the end."""

    name = "Old"

    @property
    def default_params(self):
        return Params()

    def step_env(self, key, state, action, params):
        state = State(state.time + 1)
        done = self.is_terminal(state, params)
        return self.get_obs(state), state, jnp.array(1.0), done, {"discount": 1.0}

    def reset_env(self, key, params):
        state = State(0)
        return self.get_obs(state), state

    def get_obs(self, state, params=None, key=None):
        return jnp.array([state.time], jnp.float32)

    def is_terminal(self, state, params):
        return (state.time >= params.end) | (state.time >= params.max_steps_in_episode)

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0.0, 100.0, (1,), jnp.float32)


class Ownerless(Old):
    @property
    def default_params(self):
        return None


def flags(env, task):
    policy = lambda carry, obs, reset, key: (carry, jnp.zeros(1, jnp.int32), ())  # noqa: E731
    episodes = begin(env, task, jax.random.key(0), 1)
    steps = jax.jit(partial(rollout, env, policy=policy, carry=(), num_steps=12))(
        task=task, episodes=episodes, key=jax.random.key(1)
    ).steps
    return steps.terminated[:, 0], steps.truncated[:, 0], steps.next_obs[:, 0, 0]


@pytest.mark.parametrize(("end", "limit", "terminates"), [(3, 5, True), (6, 4, False), (4, 4, True)])
def test_a_limit_is_no_end(end, limit, terminates):
    env = envs.from_gymnax(Old(), Params(limit, end))
    terminated, truncated, after = flags(env, env.task)
    ends = (np.arange(1, 13) % min(end, limit)) == 0
    np.testing.assert_array_equal(terminated, ends & terminates)
    np.testing.assert_array_equal(truncated, ends & (not terminates))
    np.testing.assert_array_equal(after[ends], min(end, limit))  # the true successor
    assert env.longest_episode() == limit


def test_one_of_gymnax_is_that_of_its_name():
    """The same steps as `CartPole-v1`, and the same object for the same environment."""
    env, params = gymnax.make("CartPole-v1")
    ours, named = envs.from_gymnax(env, params), envs.make("CartPole-v1")
    assert ours is envs.from_gymnax((env, params)) and ours.name == "gymnax/CartPole-v1"
    short = params.replace(max_steps_in_episode=7)
    for one, other in zip(flags(ours, short), flags(named, short), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_trains_is_saved_swept_and_checked(tmp_path):
    env = Old()
    how = {"steps": 64, "progress": False, **TINY}
    run = rljax.train("ppo", env, out=tmp_path / "a", tensorboard=False, **how)
    assert run.record["env"] == "gymnax/Old" and run.evaluate(2).tolist() == [3.0, 3.0]
    assert rljax.load(tmp_path / "a", env=env).evaluate(2, task={"end": 2}).tolist() == [2.0, 2.0]
    assert rljax.train("dqn", (env, Params(4, 9)), steps=64, progress=False, warmup=16, batch_size=4).evaluate(1) == 4
    found = rljax.sweep("ppo", env, seeds=1, workers=1, width=1, grid={"task.end": [2, 4]}, **how)
    assert sorted(found.table().iqm) == [2.0, 4.0]
    envs.check(envs.from_gymnax(env), steps=20)
    assert rljax.domain("ppo", env, 64, **TINY).row.env is envs.from_gymnax(env)


def test_what_cannot_be_taken_is_refused_in_a_line():
    with pytest.raises(ConfigError, match="env=LogWrapper: is a wrapper, and would be lost"):
        rljax.train("ppo", LogWrapper(gymnax.make("CartPole-v1")[0]), steps=64, **TINY)
    with pytest.raises(ConfigError, match="its parameters have none of max_steps_in_episode"):
        rljax.train("ppo", Ownerless(), steps=64, **TINY)
    with pytest.raises(ConfigError, match="env is"):
        rljax.train("ppo", object(), steps=64, **TINY)
