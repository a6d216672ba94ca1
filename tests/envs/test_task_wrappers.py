"""Trials of several episodes on one task, and random projections."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import rljax
from rljax import envs
from rljax.envs.task_wrappers import random_projection, trial_of, trials
from rljax.errors import ConfigError
from rljax.ops.rollout import begin, rollout
from rljax.ops.tree import as_arrays
from rljax.task import with_task
from rljax.types import Box, Discrete, Env, StepResult

KEY = jax.random.key(3)
TRIAL = "darkroom/5x5|trials(3)|with_past"
SMALL = {"memory": "gru(width=4)", "hidden": (4,), "num_envs": 4, "num_steps": 32, "num_minibatches": 2}
HOW = SMALL | {"use_preset": False, "progress": False, "log_every": 1}


class Task(struct.PyTreeNode):
    hidden: jax.Array  # drawn
    length: jax.Array
    luck: jax.Array


@functools.cache
def family(ends="terminated"):
    """A family of which an episode shows `[t, its start, noise]` and pays hidden + luck * (1 + noise)."""

    def new_task(key):
        return Task(jax.random.uniform(key), jnp.int32(3), jnp.float32(0.0))

    def reset(key, task):
        state = {"time": jnp.int32(0), "start": jax.random.uniform(key)}
        return state, jnp.stack([0.0, state["start"], 0.0])

    def step(key, state, action, task):
        state = {**state, "time": state["time"] + 1}
        over, no, noise = state["time"] >= task.length, jnp.array(False), jax.random.uniform(key)
        obs = jnp.stack([state["time"].astype(jnp.float32), state["start"], noise])
        flags = (over, no) if ends == "terminated" else (no, over)
        return state, StepResult(obs, task.hidden + task.luck * (1.0 + noise), *flags)

    space = Box(np.zeros(3, np.float32), np.full(3, 100, np.float32))
    limit = lambda task: task.length  # noqa: E731
    return Env("family", reset, step, new_task(KEY), space, Discrete(2), limit, new_task=new_task)


def play(env, count, key=KEY, task=None):
    """The first observation and `count` steps of one trial, with what the trial says after each of them."""
    task = env.task if task is None else task

    def step(state, key):
        state, result = env.step(key, state, env.action_space.sample(key), task)
        trial = trial_of(state)
        return state, (result, trial.first, trial.returns, trial.episode)

    k_reset, k_steps = jax.random.split(key)
    state, obs = env.reset(k_reset, task)
    return obs, jax.lax.scan(step, state, jax.random.split(k_steps, count))[1]


def played(env, count, task=None):
    """The same as NumPy arrays."""
    return jax.tree.map(np.asarray, jax.jit(lambda: play(env, count, task=task))())


def test_a_trial_step_by_step():
    env = trials(family(), 4)
    first, (steps, firsts, returns, episodes) = played(env, 12)
    assert first[0] == 0 and env.name == "family|trials(4)" and env.longest_episode() == 12
    np.testing.assert_array_equal(steps.obs[:, 0], [1, 2, 0] * 4)  # the last 0 is the fifth episode's, never played
    np.testing.assert_array_equal(firsts, [False, False, True] * 4)
    np.testing.assert_array_equal(steps.truncated, np.arange(12) == 11)
    assert not steps.terminated.any()
    np.testing.assert_array_equal(episodes, (1 + np.arange(12)) // 3)
    hidden = steps.reward[0]
    assert (steps.reward == hidden).all()
    np.testing.assert_allclose(returns[-1], [3 * hidden] * 4, rtol=1e-6)
    np.testing.assert_allclose(returns[4], hidden * np.array([3, 2, 0, 0]), rtol=1e-6)


def test_returns_stay_when_the_trial_is_over():
    returns = played(trials(family(), 2), 20)[1][2]
    assert (returns[6:] == returns[5]).all()


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
@pytest.mark.parametrize("objective", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_the_end_of_a_trial(ends, objective, k):
    _, (steps, firsts, *_) = played(trials(family(ends), k, objective), 3 * k)
    flag = "terminated" if objective else ends if k == 1 else "truncated"
    for name in ("terminated", "truncated"):
        np.testing.assert_array_equal(getattr(steps, name), (np.arange(3 * k) == 3 * k - 1) & (name == flag))
    assert steps.obs[-1, 0] == (3 if k == 1 else 0) and firsts[-1] == (k > 1)  # the true successor


def test_every_trial_has_a_task_and_every_episode_a_start_of_its_own():
    env, count = with_task(trials(family(), 3), {"luck": 1.0}), 2000
    first, (steps, _, _, _) = jax.vmap(lambda key: play(env, 9, key))(jax.random.split(KEY, count))
    shown, paid = np.asarray(steps.obs), np.asarray(steps.reward)
    hidden = paid[:, 0] - 1 - shown[:, 0, 2]
    noise = paid - 1 - hidden[:, None]  # where an episode ends as well, which shows the next one
    np.testing.assert_allclose(noise[:, [1, 3, 4, 6, 7]], shown[:, [1, 3, 4, 6, 7], 2], atol=1e-5)  # one task
    draws = np.stack([hidden, first[:, 1], *shown[:, 2::3, 1].T, *noise.T])
    apart = np.corrcoef(draws) - np.eye(len(draws))
    assert abs(apart).max() < 5 / np.sqrt(count) and abs(draws.mean(1) - 0.5).max() < 5 * np.sqrt(1 / 12 / count)


def test_a_rollout_draws_a_task_for_each_trial_and_memory_is_reset_between_them_alone():
    env = trials(family(), 2)
    task = as_arrays(env.task)
    noting = lambda carry, obs, reset, key: (carry, jnp.zeros(8, jnp.int32), ())  # noqa: E731
    out = rollout(env, task, noting, (), begin(env, task, KEY, 8), jax.random.key(1), 24)
    np.testing.assert_array_equal(out.steps.reset, np.tile((np.arange(24) % 6 == 0)[:, None], 8))
    hidden = np.asarray(out.steps.reward).reshape(4, 6, 8)
    assert (hidden == hidden[:, :1]).all() and len(set(hidden[:, 0].ravel().tolist())) == 32
    assert out.metrics["episodes"] == 32 and out.metrics["episode_length"] == 6


def test_numbers_that_are_not_drawn_are_given_as_ever():
    env = trials(family(), 2)
    assert env.task.hidden is None and env.new_task is None
    other = with_task(env, {"length": 5, "luck": 2.0})
    assert other.longest_episode() == 10
    _, (steps, *_) = played(other, 10)
    assert steps.truncated.argmax() == 9 and (steps.reward > 2.0).all()
    with pytest.raises(ConfigError, match=r"task.hidden=1: family\|trials\(2\) draws it anew; leave it out"):
        with_task(env, {"hidden": 1})
    given = played(env, 6, task=family().task.replace(hidden=jnp.float32(7.0)))
    assert (given[1][0].reward == 7.0).all()


def test_what_is_drawn_is_found_in_functions_that_are_compiled_too():
    plain = family()
    jitted = trials(Env(**{**vars(plain), "new_task": jax.jit(plain.new_task)}), 2)
    assert jitted.task.hidden is None and jitted.task.length is not None


def test_limits():
    assert envs.make("gridworld/small|trials(2)").time_limit is None  # which is drawn
    assert envs.make("CartPole-v1|trials(3)").longest_episode() == 1500


def test_several_agents_end_together():
    def reset(key, task):
        return jnp.int32(0), jnp.zeros(2)

    def step(key, time, action, task):
        ended = jnp.stack([time >= 0, time >= 1])
        return time + 1, StepResult(jnp.ones(2), jnp.array([1.0, 3.0]), ended, jnp.zeros(2, bool))

    space = Box(np.zeros(2, np.float32), np.ones(2, np.float32))
    env = trials(Env("pair", reset, step, (), space, Discrete(2), lambda task: 2, agents=2), 2)
    _, (steps, _, returns, _) = played(envs.check(env), 4)
    np.testing.assert_array_equal(steps.truncated, [[False] * 2] * 3 + [[True] * 2])
    np.testing.assert_array_equal(returns[-1], [4.0, 4.0])  # means over the agents


def test_play_finds_nothing():
    assert envs.check(TRIAL, 200) is envs.make(TRIAL)


@pytest.mark.parametrize("name", [TRIAL, "gridworld/rand-small|trials(2)", "Pendulum-v1|random_projection(action=2)"])
def test_types(name, check_types):
    env = envs.make(name)
    check_types(env)
    state, _ = env.reset(KEY, env.task)
    assert env.render(state, env.task).dtype == np.uint8


@pytest.mark.parametrize("name", ["bandit/3x10|trials(2)", "CartPole-v1|random_projection(obs=3)|trials(2)"])
def test_no_key_is_used_twice(name, strict):
    env = envs.make(name)
    k_reset, k_step = jax.random.split(jax.random.key(0))
    state, _ = env.reset(k_reset, env.task)
    env.step(k_step, state, jnp.int32(0), env.task)


def test_64_bits_change_no_trial():
    env = envs.make(TRIAL)
    with jax.enable_x64(True):
        state, obs = jax.eval_shape(env.reset, KEY, env.task)
        after, _ = jax.eval_shape(env.step, KEY, state, jax.ShapeDtypeStruct((), jnp.int32), env.task)
    assert not {str(x.dtype) for x in jax.tree.leaves((state, obs, after))} & {"float64", "int64"}


def test_an_agent_with_a_memory_trains_evaluates_and_resumes(tmp_path):
    train = functools.partial(rljax.train, "ppo", TRIAL, horizon=4, **HOW)
    whole = train(steps=512, out=tmp_path / "whole")
    train(steps=256, out=tmp_path / "part")
    part = rljax.resume(tmp_path / "part", steps=512)
    for a, b in zip(jax.tree.leaves(whole.policy.state.params), jax.tree.leaves(part.policy.state.params)):
        np.testing.assert_array_equal(a, b)
    policy = rljax.load(tmp_path / "whole")
    returns = policy.trial_returns(16, greedy=False)
    assert returns.shape == (16, 3) and len(set(returns.ravel().tolist())) > 2
    np.testing.assert_array_equal(returns.sum(1), part.evaluate(16, greedy=False))
    with pytest.raises(ConfigError, match="has no trials; name some"):
        policy.trial_returns(env="darkroom/5x5|with_past")
    longer = whole.policy.trial_returns(8, env="darkroom/5x5|trials(5)|with_past", task={"max_steps": 4})
    assert longer.shape == (8, 5) and longer.max() <= 4


@pytest.mark.parametrize("size", [2, 8])
def test_projections_are_orthonormal_and_last_for_a_trial(size):
    env = trials(random_projection(family(), obs=size), 2)
    assert env.task.matrix is None and env.task.inner.length is not None

    @jax.jit
    @jax.vmap
    def trial(key):
        state, _ = env.reset(key, env.task)
        matrix = state.drawn.matrix
        for _ in range(4):
            state, _ = env.step(key, state, 0, env.task)
        return matrix, state.drawn.matrix

    before, after = map(np.asarray, trial(jax.random.split(KEY, 3)))
    np.testing.assert_array_equal(before, after)
    assert before.shape == (3, size, 3) and all(abs(before[i] - before[i - 1]).max() > 0.1 for i in range(3))
    for p in before:
        np.testing.assert_allclose(p.T @ p if size >= 3 else p @ p.T, np.eye(min(size, 3)), atol=1e-5)


def test_a_projection_shows_the_observation_in_another_basis():
    plain, env = envs.make("CartPole-v1"), envs.make("CartPole-v1|random_projection(obs=6)")
    matrix = np.asarray(env.task.matrix)
    (state, obs), (inner, seen) = env.reset(KEY, env.task), plain.reset(KEY, plain.task)
    np.testing.assert_allclose(matrix.T @ obs, seen, atol=1e-5)
    _, result = env.step(KEY, state, jnp.int32(1), env.task)
    _, true = plain.step(KEY, inner, jnp.int32(1), plain.task)
    np.testing.assert_allclose(matrix.T @ result.obs, true.obs, atol=1e-5)
    assert result.reward == true.reward and env.observation_space.shape == (6,)


def test_a_projection_takes_actions_in_another_basis():
    """The action of the environment is the box's middle + half its width times Q a', or its bound."""
    low, high = np.array([-1.0, 0.0, 5.0], np.float32), np.array([1.0, 4.0, 6.0], np.float32)

    def step(key, state, action, task):
        return state, StepResult(action, action.sum(), jnp.array(False), jnp.array(False))

    plain = Env("echo", lambda key, task: (jnp.int32(0), jnp.ones(3) * low), step, (), Box(low, high), Box(low, high))
    env = random_projection(plain, action=2)
    assert env.action_space.shape == (2,) and env.action_space.bounded
    for action in ([0.0, 0.0], [0.3, -0.7], [1.0, 1.0], [5.0, 0.0]):
        unit = np.asarray(env.task.matrix) @ np.clip(action, -1, 1)
        expected = np.clip((low + high) / 2 + (high - low) / 2 * unit, low, high)
        obs = env.step(KEY, jnp.int32(0), jnp.array(action), env.task)[1].obs
        np.testing.assert_allclose(obs, expected, rtol=1e-5, atol=1e-6)


def test_both_projections_and_a_hidden_task_are_drawn():
    env = envs.make("Pendulum-v1|random_projection(obs=5,action=2)")
    assert env.name == "Pendulum-v1|random_projection(obs=5,action=2)"
    assert env.observation_space.shape == (5,) and env.action_space.shape == (2,)
    one, other = (env.new_task(jax.random.key(i)) for i in range(2))
    assert (one.matrix != other.matrix).any() and (one.inner.matrix != other.inner.matrix).any()
    inner = random_projection(family(), obs=4)
    assert inner.task.inner is family().task
    assert inner.new_task(KEY).inner.hidden != inner.new_task(jax.random.key(4)).inner.hidden


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v1|trials(0)", "k=0: must be at least 1"),
        ("CartPole-v1|trials(2.5)", "k=2.5: must be a whole number"),
        ("CartPole-v1|trials(2,objective=3)", "objective=3: must be true or false"),
        ("CartPole-v1|trials", "trials: .*missing 1 required positional argument: 'k'"),
        ("CartPole-v1|random_projection", "give obs=, action= or both"),
        ("CartPole-v1|random_projection(obs=0)", "obs=0: must be at least 1"),
        ("CartPole-v1|random_projection(action=2)", r"random_projection\(action\) needs Box actions, not Discrete"),
        ("darkroom/5x5|random_projection(obs=2)", r"random_projection\(obs\) needs Box observations, not MultiDisc"),
        ("Pendulum-v1|clip_action|random_projection(action=2)", "needs finite action bounds"),
    ],
)
def test_errors(name, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name)
