"""Presets reach the returns that they promise, over several seeds."""

from __future__ import annotations

import jax
import pytest
from toys import learn

import rljax
from rljax.algos.presets import preset
from rljax.ops.tree import as_arrays
from rljax.run import evaluate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "env", "within", "seeds", "score"),
    [
        ("dqn", "CartPole-v1", 150_000, 8, 475),  # at most 500
        ("dqn", "Catch-bsuite", 50_000, 8, 0.95),  # at most 1
        ("pqn", "CartPole-v1", 500_000, 8, 475),
        ("udrl", "CartPole-v1", 100_000, 8, 475),
        ("udrl", "Catch-bsuite", 50_000, 8, 0.95),
        ("sac", "Pendulum-v1", 30_000, 8, -200),  # random: -1200, solved: -150
        ("td3", "Pendulum-v1", 30_000, 8, -200),
        ("revalued", "Pendulum-v1", 30_000, 8, -200),
        ("sac", "brax/reacher/spring", 30_000, 4, -200),  # random: -600
    ],
)
def test_it_is_solved(algo, env, within, seeds, score):
    known = preset(algo, env)
    assert known is not None and known.steps <= within
    algorithm, environment = rljax.make(algo, env, **known.settings)
    updates = algorithm.updates(known.steps)
    hypers = algorithm.hypers.replace(horizon=float(updates))
    state, _ = learn(algorithm, as_arrays(hypers), as_arrays(environment.task), seeds, updates)
    scores = jax.jit(jax.vmap(lambda s: evaluate(algorithm, s, environment, jax.random.key(1), 32)))(state).mean(1)
    print(f"{algo} on {env}: returns of {scores.min():.4g} to {scores.max():.4g}, mean {scores.mean():.4g}")
    assert scores.mean() > score
