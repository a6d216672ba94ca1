"""Whole episodes with a mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import CounterTask, counter

from rljax.ops.rollout import play
from rljax.run import evaluate
from rljax.types import Algorithm


def idle(carry, obs, reset, key):
    return carry + 1, jnp.zeros(obs.shape[0], jnp.int32), carry


class Idle(Algorithm):
    def act(self, state, carry, obs, reset, key, greedy):
        return carry, jnp.zeros(obs.shape[0], jnp.int32)


@pytest.mark.parametrize("end", ["terminate_at", "truncate_at"])
def test_an_episode_is_whole_and_what_follows_is_masked(end):
    """The count goes from 0, 1 or 2 to 5."""
    env, task = counter(start_high=3), CounterTask(**{end: 5})
    steps, mask = play(env, task, idle, jnp.int32(0), jax.random.key(0), 16, 8)
    start = np.asarray(steps.obs[0, :, 1])
    assert set(start) == {0.0, 1.0, 2.0}
    length = np.asarray(mask).sum(0)
    np.testing.assert_array_equal(length, 5 - start)
    np.testing.assert_array_equal(mask, np.arange(8)[:, None] < length)
    np.testing.assert_array_equal(steps.reset, np.arange(8)[:, None] + np.zeros(16) == 0)
    last = length - 1, np.arange(16)
    ended = steps.terminated if end == "terminate_at" else steps.truncated
    assert np.asarray(ended)[last].all() and (np.asarray(ended & mask).sum(0) == 1).all()
    np.testing.assert_array_equal(steps.extras, np.arange(8))  # the carry goes on


def test_a_longer_episode_is_truncated_at_the_limit():
    steps, mask = play(counter(), CounterTask(), idle, jnp.int32(0), jax.random.key(0), 3, 4)
    assert mask.all() and not steps.terminated.any()
    np.testing.assert_array_equal(steps.truncated, [[False] * 3] * 3 + [[True] * 3])


def test_an_evaluation_is_the_sum_of_what_is_played():
    env, task, key = counter(start_high=3), CounterTask(terminate_at=5), jax.random.key(3)
    steps, mask = play(env, task, idle, jnp.int32(0), key, 16, 8)
    np.testing.assert_array_equal(evaluate(Idle(env), (), env, key, 16, task=task), (steps.reward * mask).sum(0))


def test_episodes_of_a_group_start_alike():
    steps, _ = play(counter(start_high=1000), CounterTask(), idle, jnp.int32(0), jax.random.key(0), 12, 2, group=4)
    start = np.asarray(steps.obs[0, :, 1]).reshape(3, 4)
    assert (start == start[:, :1]).all() and len(set(start[:, 0])) == 3
