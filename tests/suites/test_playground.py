"""MuJoCo Playground: physics that is traced, exact limits, resets that differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_checks import suite

from rljax import envs
from rljax.errors import ConfigError

pytestmark = suite("mujoco_playground")
NAME = "playground/CartpoleBalance"


def test_it_keeps_the_contract(check_types, check_rollout):
    env = envs.make(NAME)
    check_types(env)
    check_rollout(env, lambda task, steps: task.replace(max_steps=jnp.int32(steps)), steps=8)


def test_physics_are_numbers_of_the_task():
    """Two gravities in one program, and two ways for a pole to fall; every reset is another."""
    env = envs.make(NAME, max_steps=500)
    assert env.max_episode_steps == 500
    state, obs = env.reset(jax.random.key(0), env.task)
    assert not np.array_equal(obs, env.reset(jax.random.key(1), env.task)[1])

    def fall(gravity):
        option = env.task.model.opt.replace(gravity=jnp.array([0.0, 0.0, gravity]))
        task = env.task.replace(model=env.task.model.replace(opt=option))
        step = lambda state, _: (env.step(jax.random.key(0), state, jnp.ones(1), task)[0], ())  # noqa: E731
        return jax.lax.scan(step, state, None, 20)[0].inner.data.qpos

    low, high, low_again = jax.jit(jax.vmap(fall))(jnp.array([-1.0, -20.0, -1.0]))
    assert not np.allclose(low, high) and np.array_equal(low, low_again)


def test_what_cannot_be_is_refused():
    for arguments, message in (({"max_steps": 0}, "max_steps=0"), ({"config": 3}, "config=3")):
        with pytest.raises(ConfigError, match=message):
            envs.make(NAME, **arguments)
