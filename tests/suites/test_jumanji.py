"""Jumanji: dicts of observations, masks, limits that the library folds into ends, several agents as one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_checks import suite

import rljax
from rljax import envs
from rljax.errors import ConfigError
from rljax.ops.explore import random_action

pytestmark = suite("jumanji")


def limited(task, steps):
    return task.replace(max_steps=jnp.int32(steps))


def played(env, steps, task=None, legal=True):
    """A random game -> (results over steps, the step at which it ended or None)."""
    task, key = env.task if task is None else task, jax.random.key(1)
    state, obs = jax.jit(env.reset)(key, task)
    step, results = jax.jit(env.step), []
    for i in range(steps):
        k_act, key = jax.random.split(jax.random.fold_in(key, i))
        action = random_action(env, obs, k_act) if legal else env.action_space.sample(k_act)
        state, result = step(k_act, state, action, task)
        results.append(result)
        obs = result.obs
        if result.terminated or result.truncated:
            return results, i + 1
    return results, None


@pytest.mark.parametrize("name", ["Snake", "Connector"])
def test_it_keeps_the_contract(name, check_types, check_rollout):
    env = envs.make(f"jumanji/{name}")
    check_types(env)
    check_rollout(env, limited, steps=20)


@pytest.mark.parametrize("name", ["Game2048", "Sudoku-very-easy", "Knapsack"])
def test_those_that_end_by_themselves_do(name, check_types):
    env = envs.make(f"jumanji/{name}")
    check_types(env)
    assert env.max_episode_steps is None
    results, ended = played(env, 600)
    assert ended and results[-1].terminated and not results[-1].truncated


def test_a_limit_of_the_library_truncates_here():
    """The maze says that it ended, with a discount of 0, where its time is up."""
    env = envs.make("jumanji/Maze", max_steps=6)
    results, ended = played(env, 20)
    assert ended == 6 and results[-1].truncated and not results[-1].terminated


def test_masks_are_of_all_parts_of_an_action():
    """In a Sudoku they are of cell and number together, so these are one number; agents have masks of their own."""
    sudoku = envs.make("jumanji/Sudoku")
    assert sudoku.action_space.n == 9**3
    state, obs = sudoku.reset(jax.random.key(0), sudoku.task)
    assert obs["action_mask"].shape == (9**3,) and 0 < obs["action_mask"].sum() < 9**3
    allowed = int(np.flatnonzero(obs["action_mask"])[0])
    row, column, number = np.unravel_index(allowed, (9, 9, 9))
    after = sudoku.step(jax.random.key(0), state, jnp.int32(allowed), sudoku.task)[1]
    assert obs["board"][row, column] == -1 and after.obs["board"][row, column] == number
    _, long = played(sudoku, 40)
    _, short = played(sudoku, 40, legal=False)
    assert (long or 40) > short
    connector = envs.make("jumanji/Connector")
    assert sum(connector.action_space.nvec) == connector.observation_space.spaces["action_mask"].shape[0]


def test_the_reward_of_several_agents_is_their_mean():
    env = envs.make("jumanji/LevelBasedForaging")
    results, _ = played(env, 5)
    assert all(result.reward.shape == () for result in results) and env.agents is None


def test_an_agent_learns_to_pack(optimised):
    """Knapsack by masked PPO: more value than random packing has."""
    env = envs.make("jumanji/Knapsack")
    run = rljax.train("ppo", env, steps=60_000, num_envs=32, num_steps=32, lr=2e-3, progress=False)
    random = np.mean([sum(float(x.reward) for x in played(env, 60)[0]) for _ in range(1)])
    assert run.evaluate(32).mean() > random


def test_what_cannot_be_is_refused():
    for name, arguments, message in (
        ("Snake", {"max_steps": 0}, "max_steps=0"),
        ("Game2048", {"max_steps": 5}, "ends by itself"),
        ("Snake", {"num_rowz": 5}, "did you mean 'num_rows'"),
    ):
        with pytest.raises(ConfigError, match=message):
            envs.make(f"jumanji/{name}", **arguments)


def test_it_can_be_drawn():
    env = envs.make("jumanji/Snake")
    state, _ = env.reset(jax.random.key(0), env.task)
    picture = env.render(state, env.task)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3 and picture.std() > 5
