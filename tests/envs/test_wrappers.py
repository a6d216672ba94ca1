"""Wrappers, each against values computed by hand."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import wrappers
from rljax.envs.memory_wrappers import noisy_observation, with_past
from rljax.envs.task_wrappers import random_projection
from rljax.errors import ConfigError
from rljax.types import Box, Env, StepResult

KEY = jax.random.key(0)


@functools.cache
def counter(length=5, limit=1000):
    """Shows `[t, -t, 10]`; rewards with the sum of the action, of bounds [-2, 4]; ends after `length` steps."""

    def obs(t):
        return jnp.stack([t, -t, 0 * t + 10]).astype(jnp.float32)

    def reset(key, task):
        return jnp.int32(0), obs(jnp.int32(0))

    def step(key, t, action, task):
        t = t + 1
        terminated = t >= length
        truncated = (t >= limit) & ~terminated
        return t, StepResult(obs(t), action.sum().astype(jnp.float32), terminated, truncated)

    seen = Box(np.array([0, -1000, 10], np.float32), np.array([1000, 0, 10], np.float32))
    actions = Box(np.full(2, -2, np.float32), np.full(2, 4, np.float32))
    picture = lambda state, task: np.full((2, 2, 3), state, np.uint8)  # noqa: E731
    return Env("counter", reset, step, (), seen, actions, lambda task: min(length, limit), render=picture)


def steps(env, actions):
    """The results of one episode, the first one with only its observation."""
    state, obs = env.reset(KEY, env.task)
    results = [StepResult(obs, None, None, None)]
    for i, action in enumerate(actions):
        state, result = env.step(jax.random.fold_in(KEY, i), state, jnp.asarray(action, jnp.float32), env.task)
        results.append(result)
    return results, state


def test_flatten_observation():
    env = wrappers.flatten_observation(envs.make("Catch-bsuite"))
    assert env.name == "Catch-bsuite|flatten_observation" and env.observation_space.shape == (50,)
    state, obs = env.reset(KEY, env.task)
    after = env.step(KEY, state, jnp.int32(1), env.task)[1].obs
    assert obs.shape == after.shape == (50,) and obs.sum() == after.sum() == 2


@pytest.mark.parametrize("hidden", [[1], [-2], [False, True, False], np.array([False, True, False])])
def test_mask_observation(hidden):
    env = wrappers.mask_observation(counter(), hidden)
    seen, _ = steps(env, [[0, 0]] * 2)
    np.testing.assert_array_equal([r.obs for r in seen], [[0, 0, 10], [1, 0, 10], [2, 0, 10]])
    np.testing.assert_array_equal(env.observation_space.low, [0, 0, 10])


def test_clip_action():
    env = wrappers.clip_action(counter())
    assert not env.action_space.bounded
    seen, _ = steps(env, [[-100, 100], [1, 1]])
    assert [float(r.reward) for r in seen[1:]] == [2.0, 2.0]


def test_rescale_action():
    env = wrappers.rescale_action(counter(), -1.0, 1.0)
    assert env.action_space.low.tolist() == [-1, -1] and env.action_space.high.tolist() == [1, 1]
    seen, _ = steps(env, [[-1, -1], [1, 1], [0, 0]])
    assert [float(r.reward) for r in seen[1:]] == [-4.0, 8.0, 2.0]


def test_time_limit():
    env = wrappers.time_limit(counter(length=5), 3)
    assert env.longest_episode() == 3
    seen, _ = steps(env, [[0, 0]] * 3)
    assert [(bool(r.terminated), bool(r.truncated)) for r in seen[1:]] == [(False, False)] * 2 + [(False, True)]
    assert seen[3].obs[0] == 3  # the true successor
    both, _ = steps(wrappers.time_limit(counter(length=3), 3), [[0, 0]] * 3)
    assert (bool(both[3].terminated), bool(both[3].truncated)) == (True, False)
    inner, _ = steps(wrappers.time_limit(counter(limit=2), 3), [[0, 0]] * 2)
    assert (bool(inner[2].terminated), bool(inner[2].truncated)) == (False, True)


def test_action_repeat_sums_rewards_and_stops_at_the_end():
    env = wrappers.action_repeat(counter(length=5), 3)
    assert env.longest_episode() == 2
    seen, state = steps(env, [[1, 0], [1, 1]])
    assert [float(r.reward) for r in seen[1:]] == [3.0, 4.0]
    assert [float(r.obs[0]) for r in seen] == [0, 3, 5] and int(state) == 5
    assert [bool(r.terminated) for r in seen[1:]] == [False, True]
    cut, _ = steps(wrappers.action_repeat(counter(limit=2), 3), [[1, 0]])
    assert bool(cut[1].truncated) and float(cut[1].reward) == 2.0


def test_frame_stack():
    env = wrappers.frame_stack(counter(), 2)
    seen, _ = steps(env, [[0, 0]] * 2)
    expected = [[0, 0, 10, 0, 0, 10], [0, 0, 10, 1, -1, 10], [1, -1, 10, 2, -2, 10]]
    np.testing.assert_array_equal([r.obs for r in seen], expected)
    assert env.observation_space.shape == (6,)
    assert wrappers.frame_stack(envs.make("Breakout-MinAtar"), 3).observation_space.shape == (10, 10, 12)


def test_sticky_actions():
    given = [[float(i), 0.0] for i in range(1, 4)]
    never, _ = steps(wrappers.sticky_actions(counter(), 0.0), given)
    assert [float(r.reward) for r in never[1:]] == [1, 2, 3]
    env = wrappers.sticky_actions(counter(), 0.25)

    def second(key):
        state, _ = env.reset(key, ())
        state, first = env.step(key, state, jnp.array([1.0, 0.0]), ())
        return first.reward, env.step(jax.random.fold_in(key, 1), state, jnp.array([2.0, 0.0]), ())[1].reward

    first, after = jax.vmap(second)(jax.random.split(KEY, 4000))
    assert (first == 1.0).all()
    assert float((after == 1.0).mean()) == pytest.approx(0.25, abs=0.03)


ALL = [
    wrappers.flatten_observation,
    functools.partial(wrappers.mask_observation, hidden=[0]),
    wrappers.clip_action,
    functools.partial(wrappers.time_limit, max_steps=4),
    functools.partial(wrappers.action_repeat, n=2),
    functools.partial(wrappers.frame_stack, n=2),
    functools.partial(wrappers.sticky_actions, prob=0.5),
    functools.partial(noisy_observation, sigma=0.5),
    functools.partial(random_projection, obs=4),
    with_past,
]


@pytest.mark.parametrize(("outer", "inner"), itertools.permutations(range(len(ALL)), 2))
def test_any_two_compose(outer, inner, check_types):
    env = ALL[outer](ALL[inner](counter()))
    check_types(env)
    assert env.longest_episode() <= 5
    assert env.name.startswith("counter|") and env.name.count("|") == 2


def test_all_together_keep_the_contract(check_types):
    env = functools.reduce(lambda env, wrap: wrap(env), ALL, counter())
    env = wrappers.rescale_action(dataclasses.replace(env, action_space=counter().action_space))
    check_types(env)

    longest = int(env.longest_episode())

    @jax.jit
    @jax.vmap
    def episode(key):
        state, _ = env.reset(key, env.task)
        results = []
        for k in jax.random.split(key, longest):
            state, result = env.step(k, state, env.action_space.sample(k), env.task)
            results.append(result)
        return state, results

    state, results = episode(jax.random.split(KEY, 16))
    last = results[-1]
    assert bool((last.terminated | last.truncated).all()) and not bool((last.terminated & last.truncated).any())
    one = jax.tree.map(lambda x: x[0], state)
    assert env.render(one, env.task).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("wrap", "name", "message"),
    [
        (wrappers.flatten_observation, "FrozenLake-misc", "needs Box observations, not Discrete"),
        (wrappers.flatten_observation, "probe/action-mask", "needs Box observations, not Dict"),
        (lambda env: wrappers.sticky_actions(env, 0.1), "probe/action-mask", "may not be legal; drop either"),
        (lambda env: wrappers.action_repeat(env, 2), "probe/action-mask", "may not be legal; drop either"),
        (wrappers.clip_action, "CartPole-v1", "needs Box actions, not Discrete"),
        (lambda env: wrappers.mask_observation(env, [4]), "CartPole-v1", "indices must be integers below 4"),
        (lambda env: wrappers.mask_observation(env, [True]), "CartPole-v1", None),
        (lambda env: wrappers.mask_observation(env, [True, False]), "CartPole-v1", "must broadcast"),
        (lambda env: wrappers.rescale_action(env, 1.0, -1.0), "Pendulum-v1", "must be below"),
        (lambda env: wrappers.rescale_action(wrappers.clip_action(env)), "Pendulum-v1", "finite action bounds"),
        (lambda env: wrappers.time_limit(env, 0), "CartPole-v1", "max_steps=0: must be positive"),
        (lambda env: wrappers.sticky_actions(env, 1.0), "CartPole-v1", "prob=1.0"),
    ],
)
def test_errors(wrap, name, message):
    if message is None:
        wrap(envs.make(name))
        return
    with pytest.raises(ConfigError, match=message):
        wrap(envs.make(name))
