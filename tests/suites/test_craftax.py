"""Craftax: flags, worlds that differ, numbers that are traced, resets that only an end pays for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from env_checks import suite

from rljax import envs
from rljax.envs.suites.shared import NEVER

pytestmark = suite("craftax")
NAME = "craftax/classic-symbolic"


def limited(task, steps):
    return task.replace(max_timesteps=jnp.asarray(steps, task.max_timesteps.dtype))


def test_it_keeps_the_contract(check_types, check_rollout):
    env = envs.make(NAME)
    check_types(env)
    check_rollout(env, limited, steps=12)


def test_what_ends_an_episode_is_told_apart():
    """Killed, the player has terminated, also on the last step of the limit; otherwise that truncates."""
    env = envs.make(NAME, max_timesteps=3)
    state, _ = env.reset(jax.random.key(0), env.task)
    assert env.max_episode_steps == 3 and env.costly_reset
    dead = state.replace(player_health=jnp.zeros_like(state.player_health) - 1)
    step, noop = jax.jit(env.step), jnp.int32(0)
    _, (_, _, terminated, truncated) = step(jax.random.key(1), dead, noop, env.task)
    assert terminated and not truncated
    late = state.replace(timestep=jnp.asarray(2, state.timestep.dtype))
    assert [bool(x) for x in step(jax.random.key(1), late, noop, env.task)[1][2:]] == [False, True]
    assert [bool(x) for x in step(jax.random.key(1), late, noop, limited(env.task, NEVER))[1][2:]] == [False, False]
    both = late.replace(player_health=dead.player_health)
    assert [bool(x) for x in step(jax.random.key(1), both, noop, env.task)[1][2:]] == [True, False]


def test_every_reset_makes_a_world():
    env = envs.make(NAME)
    _, obs = jax.jit(jax.vmap(env.reset, (0, None)))(jax.random.split(jax.random.key(0), 3), env.task)
    assert not np.array_equal(obs[0], obs[1]) and not np.array_equal(obs[1], obs[2])
    assert env.observation_space.shape == (1345,) and env.action_space.n == 17


def test_it_can_be_drawn():
    env = envs.make(NAME)
    state, _ = env.reset(jax.random.key(0), env.task)
    picture = env.render(state, env.task)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3 and picture.std() > 5
