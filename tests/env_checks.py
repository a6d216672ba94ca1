"""Checks that every environment has to pass, as fixtures."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.ops.explore import random_action
from rljax.spaces import like


def suite(module):
    """Marks tests that need a suite's library; without it they are skipped."""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed: make test-suites")


class Trajectory:
    """Episodes of one environment under random actions, `[T, E, ...]`, as NumPy arrays."""

    def __init__(self, env, steps, num_envs=8):
        self.env, self.traces = env, 0
        self._steps, self._num_envs = steps, num_envs
        self._jitted = jax.jit(self._roll)

    def __call__(self, task):
        keys = jax.random.split(jax.random.key(0), self._num_envs)
        return jax.tree.map(np.asarray, self._jitted(keys, task))

    def _roll(self, keys, task):
        self.traces += 1
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), jax.vmap(self._roll_one, (0, None))(keys, task))

    def _roll_one(self, key, task):
        env = self.env

        def step(carry, key):
            state, obs = carry
            k_action, k_step, k_reset = jax.random.split(key, 3)
            action = random_action(env, obs, k_action)
            state, result = env.step(k_step, state, action, task)
            ended = jnp.logical_or(result.terminated, result.truncated)
            carry = jax.tree.map(lambda a, b: jnp.where(ended, a, b), env.reset(k_reset, task), (state, result.obs))
            valid = env.observation_space.contains(obs) & env.observation_space.contains(result.obs)
            return carry, {**result._asdict(), "obs": obs, "next_obs": result.obs, "valid": valid}

        k_reset, k_steps = jax.random.split(key)
        return jax.lax.scan(step, env.reset(k_reset, task), jax.random.split(k_steps, self._steps))[1]


def _avals(tree):
    leaves, structure = jax.tree.flatten(tree)  # some states say of themselves what equals them
    return [(x.shape, x.dtype, x.weak_type) for x in leaves], structure


@pytest.fixture
def check_types():
    """The state, the observation and the result keep their types; nothing is weakly typed."""

    def check(env):
        key = jax.random.key(0)
        state, obs = jax.eval_shape(env.reset, key, env.task)
        action = jax.eval_shape(env.action_space.sample, key)
        after, result = jax.eval_shape(env.step, key, state, action, env.task)
        assert _avals(after) == _avals(state)
        assert not any(x.weak_type for x in jax.tree.leaves((state, obs, result, env.task)))
        expected = [(x.shape, x.dtype, False) for x in jax.tree.leaves(like(env.observation_space))]
        assert _avals(obs)[0] == _avals(result.obs)[0] == expected
        assert _avals(action)[0][0][:2] == (env.action_space.shape, env.action_space.dtype)
        assert _avals(result[1:])[0] == [((), jnp.float32, False), ((), jnp.bool_, False), ((), jnp.bool_, False)]
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(env.task))
        assert envs.check(env) is env  # nothing is to be cast

    return check


@pytest.fixture
def check_rollout():
    """Observations lie in the space, flags exclude each other, and a shorter limit truncates without a new trace.

    The bound on an episode follows the task.

    Returns the trajectories under the default task and under a limit of 3.
    """

    def check(env, with_limit, steps=40):
        roll = Trajectory(env, steps)
        assert int(env.time_limit(with_limit(env.task, 3))) == min(3, env.longest_episode())
        long, short = roll(env.task), roll(with_limit(env.task, 3))
        assert roll.traces == 1
        for run in (long, short):
            assert run["valid"].all()
            assert np.isfinite(run["reward"]).all()
            assert not (run["terminated"] & run["truncated"]).any()
            # Where an episode goes on, the next observation is the true successor.
            going_on = ~(run["terminated"] | run["truncated"])[:-1]
            for after, obs in zip(jax.tree.leaves(run["next_obs"]), jax.tree.leaves(run["obs"])):
                np.testing.assert_array_equal(after[:-1][going_on], obs[1:][going_on])
        alive = ~short["terminated"][:3].any(axis=0)
        assert short["truncated"][2][alive].all() and not short["truncated"][:2].any()
        return long, short

    return check
