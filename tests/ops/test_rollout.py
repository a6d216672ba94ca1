"""Rollouts against an environment that counts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import CounterTask, broken, counter, pair

from rljax import envs
from rljax.ops.metrics import NOT_FINITE, either, in_words
from rljax.ops.rollout import begin, rollout
from rljax.ops.rollout import play as play_episodes


def idle(carry, obs, reset, key):
    return carry + 1, jnp.zeros(obs.shape[0], jnp.int32), reset


def play(env, task, num_envs=2, num_steps=7, key=0):
    k_begin, k_roll = jax.random.split(jax.random.key(key))
    episodes = begin(env, task, k_begin, num_envs)
    return rollout(env, task, idle, 0, episodes, k_roll, num_steps)


@pytest.mark.parametrize("flag", ["terminate_at", "truncate_at"])
@pytest.mark.parametrize("costly", [False, True])
def test_episode_ends(flag, costly):
    env = dataclasses.replace(counter(), costly_reset=costly)
    episodes, carry, steps, _, metrics = play(env, CounterTask(**{flag: 3}))
    counts = np.array([0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(steps.obs[:, 0, 0], counts)
    np.testing.assert_array_equal(steps.next_obs[:, 0, 0], counts + 1)  # the true successor, also at the end
    np.testing.assert_array_equal(steps.reward[:, 1], counts + 1)
    ended, other = (steps.terminated, steps.truncated)[:: 1 if flag == "terminate_at" else -1]
    np.testing.assert_array_equal(ended[:, 0], counts == 2)
    assert not other.any()
    np.testing.assert_array_equal(steps.reset[:, 0], counts == 0)
    np.testing.assert_array_equal(steps.extras[:, 0], counts == 0)  # as the policy was told
    assert carry == 7
    assert metrics["episodes"] == 4 and metrics["episode_return"] == 6 and metrics["episode_length"] == 3
    np.testing.assert_array_equal(episodes.lengths, [1, 1])
    np.testing.assert_array_equal(episodes.returns, [1, 1])


def test_no_episode_ended_says_so():
    *_, metrics = play(counter(), CounterTask(), num_steps=2)
    assert metrics["episodes"] == 0 and np.isnan(metrics["episode_return"])


def test_an_episode_goes_on_in_the_next_rollout():
    env, task = counter(), CounterTask(terminate_at=5)
    episodes = begin(env, task, jax.random.key(0), 1)
    returns = []
    for i in range(4):
        episodes, _, _, _, metrics = rollout(env, task, idle, 0, episodes, jax.random.key(i), 2)
        returns.append(float(metrics["episode_return"]))
    np.testing.assert_array_equal(returns, [np.nan, np.nan, 15.0, np.nan])


def test_every_episode_starts_afresh():
    _, _, steps, _, _ = play(counter(start_high=1000), CounterTask(truncate_at=0), num_envs=4, num_steps=50)
    starts = np.asarray(steps.obs[..., 1]).ravel()
    assert len(np.unique(starts)) > 150


@pytest.mark.parametrize("num_envs", [1, 5, 40])
@pytest.mark.parametrize("task", [CounterTask(terminate_at=700), CounterTask(truncate_at=0)], ids=["some", "all"])
def test_resetting_only_what_ended_changes_no_number(num_envs, task):
    plain, costly = (
        play(dataclasses.replace(counter(start_high=800), costly_reset=c), task, num_envs, 60) for c in (False, True)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, costly)
    assert plain[-1]["episodes"] > 0


@pytest.mark.parametrize(
    ("obs", "reward", "code", "words"),
    [
        (0.0, 0.0, 0, ""),
        (np.nan, 0.0, 1, "observation"),
        (0.0, -np.inf, 2, "reward"),
        (np.inf, np.nan, 3, "observation and reward"),
    ],
)
@pytest.mark.parametrize("when", [0, 3])
def test_a_nan_of_the_environment_is_noticed(obs, reward, code, words, when):
    env = broken(obs, reward, when)
    for num_steps, found in ((2, code if when == 0 else 0), (4, code)):
        metrics = play(env, env.task, num_steps=num_steps)[-1]
        assert metrics[NOT_FINITE].dtype == jnp.int32 and metrics[NOT_FINITE] == found
    assert in_words(code) == words
    assert [int(either(jnp.array(codes))) for codes in ([0, 0], [1, 2], [2, 0], [3, 1])] == [0, 3, 2, 3]


def one_and_two(carry, obs, reset, key):
    return carry, jnp.broadcast_to(jnp.array([1, 2]), (len(reset), 2)), ()


@pytest.mark.parametrize("costly", [False, True])
def test_an_episode_of_two_agents_ends_with_the_last_of_them(costly):
    env = envs.check(dataclasses.replace(pair((2, 4)), costly_reset=costly))
    episodes = begin(env, (), jax.random.key(0), 3)
    assert episodes.returns.shape == (3, 2)
    done = rollout(env, (), one_and_two, (), episodes, jax.random.key(1), 6)
    np.testing.assert_array_equal(done.steps.obs["time"][:, 0, 0], [0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(done.steps.next_obs["time"][:, 0, 0], [1, 2, 3, 4, 1, 2])  # the true successor
    np.testing.assert_array_equal(done.steps.reset[:, 0], [True, False, False, False, True, False])
    np.testing.assert_array_equal(done.steps.reward[:, 0], [[1, 2], [1, 2], [0, 2], [0, 2], [1, 2], [1, 2]])
    np.testing.assert_array_equal(done.steps.terminated[:4, 0], [[0, 0], [1, 0], [1, 0], [1, 1]])
    assert done.metrics["episodes"] == 3 and done.metrics["episode_length"] == 4
    assert done.metrics["episode_return"] == (2 + 8) / 2 and done.metrics[NOT_FINITE] == 0
    np.testing.assert_array_equal(done.episodes.returns, [[2, 4]] * 3)
    np.testing.assert_array_equal(done.episodes.lengths, [2] * 3)


def test_whole_episodes_of_two_agents_have_a_mask():
    steps, mask = play_episodes(pair((1, 3)), (), one_and_two, (), jax.random.key(0), 2, 5)
    np.testing.assert_array_equal(mask[:, 0], [True, True, True, False, False])
    np.testing.assert_array_equal((steps.reward * mask[..., None]).sum(0), [[1, 6]] * 2)
    cut, mask = play_episodes(pair((1, 3)), (), one_and_two, (), jax.random.key(0), 2, 2)
    assert mask.all() and not cut.truncated[0].any()
    np.testing.assert_array_equal(cut.truncated[1], [[False, True]] * 2)  # the first agent has ended by itself


def test_environments_of_a_group_start_alike_and_go_on_by_themselves():
    env, task = counter(start_high=1000), CounterTask(truncate_at=0)
    starts = begin(env, task, jax.random.key(0), 6, group=3).obs[:, 1]
    assert len(np.unique(starts)) == 2 and (starts[:3] == starts[0]).all() and (starts[3:] == starts[3]).all()
    steps, _ = play_episodes(env, task, idle, 0, jax.random.key(0), 6, 2, group=3)
    shown = steps.obs[0, :, 1]
    assert len(np.unique(shown)) == 2 and (shown[:3] == shown[0]).all()
    noise = rollout(env, task, random_walk, 0, begin(env, task, jax.random.key(0), 6, 3), jax.random.key(1), 1)
    assert len(np.unique(noise.steps.action)) > 2


def random_walk(carry, obs, reset, key):
    return carry, jax.random.randint(key, reset.shape, 0, 1000), ()
