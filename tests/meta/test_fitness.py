"""Fitness by hand, and what a strategy is told."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.divergence import diverged
from rljax.meta import fitness
from rljax.meta.runner import _until
from rljax.run import start
from rljax.spec import prepare

METRICS = {  # two runs of 20 and of 4 updates; beyond them nothing counts
    "episodes": np.array([[1] * 18 + [1, 3], [0, 2, 0, 0] + [9] * 16]),
    "episode_return": np.array([[*range(18), 10.0, 20.0], [np.nan, 5.0, np.nan, np.nan] + [99.0] * 16]),
}
LENGTHS = np.array([20, 4])


def test_final_is_the_mean_over_episodes_of_the_last_tenth():
    found = fitness.of_training("final", METRICS, LENGTHS)
    assert found[0] == (10 + 3 * 20) / 4
    assert np.isnan(found[1])  # no episode ended in its last update


def test_mean_counts_every_update_that_ended_an_episode_alike():
    found = fitness.of_training("mean", METRICS, LENGTHS)
    assert found[0] == (sum(range(18)) + 10 + 20) / 20
    assert found[1] == 5.0


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_short_run_is_scored_by_its_last_update(length):
    metrics = {"episodes": np.ones((1, 9)), "episode_return": np.arange(9.0)[None]}
    assert fitness.of_training("final", metrics, np.array([length])) == length - 1


def test_ranks_weigh_every_run_alike_whatever_its_scale():
    table = np.array([[1.0, 300.0], [2.0, 200.0], [3.0, 100.0]])
    np.testing.assert_allclose(fitness.combine("ranks", table), 0.0, atol=1e-7)
    assert (np.argsort(fitness.combine("none", table)) == [2, 1, 0]).all()


def test_a_run_that_diverged_is_the_worst_one():
    table = np.array([[1.0], [np.nan], [2.0], [3.0]])
    for name in fitness.NORMALISERS:
        assert np.isfinite(fitness.combine(name, table)).all(), name
    np.testing.assert_allclose(fitness.combine("ranks", table), [-1 / 6, -0.5, 1 / 6, 0.5], atol=1e-6)
    np.testing.assert_array_equal(fitness.combine("pairwise", table), [0.0, 0.0, 1.0, 1.0])


def test_an_evaluation_is_the_mean_of_whole_episodes_by_the_task_of_the_run():
    prepared = prepare("ppo", "probe/constant", steps=32, num_envs=4, num_steps=8, num_minibatches=1)
    algorithm, env = prepared.algorithm, prepared.env
    state = start(algorithm, jax.random.key(0), algorithm.hypers, env.task)
    mean_return = jax.jit(fitness.evaluation(prepared))
    assert mean_return(state, algorithm.hypers, env.task, jnp.uint32(0)) == 1.0


def test_what_comes_after_a_run_is_no_divergence():
    metrics = {"loss": np.array([[1.0, 2.0, np.nan], [1.0, np.inf, 1.0], [np.nan, 1.0, 1.0]])}
    np.testing.assert_array_equal(
        np.any(diverged(_until(metrics, np.array([2, 2, 1])), frozenset()), axis=1), [False, True, True]
    )
    np.testing.assert_array_equal(
        np.any(diverged(_until(metrics, np.array([3, 1, 1])), frozenset()), axis=1), [True, False, True]
    )
