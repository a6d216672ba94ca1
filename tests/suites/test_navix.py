"""NAVIX: flags, true successors, a traced limit, chance by the key of the step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_checks import suite

from rljax import envs
from rljax.errors import ConfigError

pytestmark = suite("navix")


def limited(task, steps):
    return task.replace(max_steps=jnp.int32(steps))


@pytest.mark.parametrize("name", ["Empty-5x5", "DoorKey-5x5"])
def test_it_keeps_the_contract(name, check_types, check_rollout):
    env = envs.make(f"navix/{name}")
    check_types(env)
    check_rollout(env, limited)


@pytest.mark.parametrize(
    ("name", "limit", "grid"), [("Empty-5x5", 100, (5, 5)), ("Empty-8x8", 256, (8, 8)), ("DoorKey-6x6", 144, (6, 6))]
)
def test_the_limit_is_that_of_minigrid_on_every_version(name, limit, grid):
    env = envs.make(f"navix/{name}")
    assert env.max_episode_steps == limit and env.observation_space.shape == (*grid, 3)
    assert envs.make(f"navix/{name}", max_steps=7).max_episode_steps == 7


def test_the_goal_terminates_also_at_the_limit():
    """In Empty-5x5 it is two steps forward, a turn to the right, and two steps away."""
    env = envs.make("navix/Empty-5x5", max_steps=5)
    state, _ = env.reset(jax.random.key(0), env.task)
    for action in (2, 2, 1, 2, 2):  # 2: forward, 1: right
        state, result = env.step(jax.random.key(0), state, jnp.int32(action), env.task)
    assert result.terminated and not result.truncated and result.reward == 1
    still, _ = env.reset(jax.random.key(0), env.task)
    for _ in range(5):
        still, result = env.step(jax.random.key(0), still, jnp.int32(0), env.task)
    assert result.truncated and not result.terminated


def test_the_observation_at_an_end_is_the_last_of_the_episode():
    """The agent stands where it went, not where it begins."""
    env = envs.make("navix/Empty-5x5", max_steps=1)
    state, first = env.reset(jax.random.key(0), env.task)
    _, result = env.step(jax.random.key(0), state, jnp.int32(2), env.task)
    assert result.truncated and not np.array_equal(result.obs, first)
    assert first[1, 1, 0] == 10 and result.obs[1, 2, 0] == 10, "the tag of the agent"


def test_chance_follows_the_key_of_the_step():
    env = envs.make("navix/Dynamic-Obstacles-6x6")
    state, _ = env.reset(jax.random.key(0), env.task)
    seen = {np.asarray(env.step(jax.random.key(i), state, jnp.int32(0), env.task)[1].obs).tobytes() for i in range(6)}
    again = env.step(jax.random.key(0), state, jnp.int32(0), env.task)[1].obs
    assert len(seen) > 1 and np.asarray(again).tobytes() in seen


def test_views_and_pictures():
    env = envs.make("navix/Empty-5x5", view="first_person")
    state, obs = env.reset(jax.random.key(0), env.task)
    assert obs.shape == env.observation_space.shape != (5, 5, 3)
    picture = env.render(state, env.task)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3 and picture.std() > 5
    with pytest.raises(ConfigError, match="view=top: must be one of full, first_person"):
        envs.make("navix/Empty-5x5", view="top")
