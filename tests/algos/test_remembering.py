"""Agents with a memory learn what those without one cannot, and no environment lets those see it."""

from __future__ import annotations

import jax
import pytest
from toys import learn

import rljax
from rljax.envs.references import POPGYM, REFERENCES
from rljax.run import as_arrays, evaluate

SETTINGS = {"num_envs": 32, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "hidden": (64, 64)}
TASKS = ["MemoryChain-bsuite", "tmaze/passive", "tmaze/active", *(name for name in POPGYM if name.endswith("-easy"))]
LEAKS = [name for name in TASKS if REFERENCES[name].memoryless is not None and REFERENCES[name].memoryless < 0.9]


def returns(env, seeds, steps, episodes, task=None, **settings):
    """Greedy returns `[seeds, episodes]` of PPO after so many steps."""
    settings = SETTINGS | {"lr": 1e-3} | settings
    updates = steps // (SETTINGS["num_envs"] * SETTINGS["num_steps"])
    algorithm, env = rljax.make("ppo", env, task=task, horizon=float(updates), **settings)
    state, _ = learn(algorithm, as_arrays(algorithm.hypers), as_arrays(env.task), seeds, updates)
    return jax.jit(jax.vmap(lambda s: evaluate(algorithm, s, env, jax.random.key(1), episodes)))(state)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["gru(width=64)", "s5(width=64,layers=1,states=64)"])
def test_a_cue_is_remembered(memory):
    found = returns("MemoryChain-bsuite", 4, 100_000, 64, {"memory_length": 5}, memory=memory, lr=3e-3)
    print(f"{memory}: {found.mean(1)}")
    assert found.mean(1).min() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["none", "gru(width=64)", "s5(width=64,layers=1,states=64)"])
def test_with_nothing_to_remember_it_learns_as_well(memory):
    found = returns("CartPole-v1", 4, 500_000, 64, memory=memory)
    print(f"{memory}: {found.mean(1)}")
    assert found.mean() > 475


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAKS)
def test_without_a_memory_it_is_no_better_than_the_best_that_has_none(name):
    """Nothing that is to be remembered can be seen."""
    found = returns(name, 2, 100_000, 512)
    mean, error = found.mean(1), found.std(1) / 512**0.5
    print(f"{name}: {mean} +- {error}, at most {REFERENCES[name].memoryless}")
    assert (mean - 3 * error < REFERENCES[name].memoryless + 1e-6).all()
