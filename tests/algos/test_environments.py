"""Every algorithm takes every kind of environment that it declares."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import CASES
from toys import OTHERS, TINY

from rljax import algos, envs
from rljax.ops.tree import as_arrays
from rljax.run import run
from rljax.spec import make
from rljax.types import Box, Discrete, Env, StepResult

ONE = np.ones(1, np.float32)


def trained(algo, env, settings):
    """-> (algorithm, state, metrics [U]) of three tiny updates."""
    tiny = {name: value for name, value in (TINY | OTHERS | settings).items() if name in algos.settings(algo)}
    algorithm, env = make(algo, env, **tiny)
    go = jax.jit(partial(run, algorithm, num_updates=3))
    return algorithm, *go(jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(env.task))


def contextual(reward, action_space) -> Env:
    """One step, showing -1 or 1 by chance."""

    def reset(key, task):
        obs = jax.random.rademacher(key, (1,), jnp.float32)
        return obs, obs

    def step(key, obs, action, task):
        return obs, StepResult(obs, reward(obs, action), jnp.array(True), jnp.array(False))

    return Env("toy/contextual", reset, step, (), Box(-ONE, ONE), action_space, time_limit=lambda task: 1)


CONTINUOUS = [case for case in CASES if isinstance(envs.make(case.values[1]).action_space, Box)]


@pytest.mark.parametrize(("algo", "like", "settings"), CONTINUOUS)
def test_an_entry_of_the_action_that_cannot_move_is_left_where_it_is(algo, like, settings):
    narrow = Box(np.array([-1.0, 0.5]), np.array([1.0, 0.5]))
    env = contextual(lambda obs, action: -jnp.square(action[0] - 0.5) - 100 * jnp.abs(action[1] - 0.5), narrow)
    algorithm, state, metrics = trained(algo, env, settings)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, state.params)))
    assert (metrics["episode_return"] > -3).all()
    for greedy in (True, False):
        _, action = jax.jit(algorithm.act)(state, (), jnp.ones((4, 1)), jnp.ones(4, bool), jax.random.key(1), greedy)
        assert (action[:, 1] == 0.5).all()


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
def test_whole_rewards_teach_what_float_ones_do(dtype):
    def right(obs, action):
        return action == (obs[0] > 0)

    kinds = [lambda obs, action, d=d: right(obs, action).astype(d) for d in (dtype, np.float32)]
    whole, floats = (trained("dqn", contextual(reward, Discrete(2)), {})[2] for reward in kinds)
    assert 0 < floats["episode_return"].mean() < 1 and np.ptp(floats["value_loss"]) > 0
    for name, values in floats.items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)
