"""Brax through the adapter: two quick environments here, all of them on all backends in the slow suite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue

EVERY = [(name, backend) for name in catalogue.BRAX for backend in catalogue.BRAX_BACKENDS]


def with_limit(task, limit):
    return task.replace(max_steps=jnp.int32(limit))


@pytest.mark.parametrize("name", ["brax/inverted_pendulum", "brax/inverted_pendulum/spring"])
def test_contract(name, check_types, check_rollout):
    env = envs.make(name)
    assert env.name == name and env.longest_episode() == 1000
    check_types(env)
    long, short = check_rollout(env, with_limit, steps=6)
    np.testing.assert_array_equal(short["next_obs"][:3], long["next_obs"][:3])
    assert len(np.unique(long["obs"][0], axis=0)) == long["obs"].shape[1]


def test_names_and_physics():
    env = envs.make("brax/inverted_pendulum/spring")
    assert env.name == envs.make("brax/inverted_pendulum", backend="spring").name
    assert envs.make("brax/inverted_pendulum", backend="generalized").name == "brax/inverted_pendulum"
    assert envs.make("brax/inverted_pendulum", max_steps=7).longest_episode() == 7
    # Nothing is pinned to a device, so the task goes where the other arguments are.
    assert not any(x.committed for x in jax.tree.leaves(env.task))


def test_gravity_is_swept_and_state_carries_nothing_else():
    env = envs.make("brax/inverted_pendulum/spring")
    key = jax.random.key(0)

    def tilted(gravity):
        task = env.task.replace(sys=env.task.sys.tree_replace({"gravity": jnp.array([0.0, 0.0, gravity])}))
        state, _ = env.reset(key, task)
        return env.step(key, state, jnp.zeros(1), task)

    state, result = jax.jit(jax.vmap(tilted))(jnp.array([-1.0, -9.81]))
    assert (np.asarray(result.obs[0]) != np.asarray(result.obs[1])).any()
    assert set(vars(state)) == {"pipeline", "time"}


def test_picture():
    env = envs.make("brax/inverted_pendulum/spring")
    state, _ = jax.jit(env.reset)(jax.random.key(0), env.task)
    frame = env.render(state, env.task)
    assert frame.shape == (270, 360, 3) and frame.dtype == np.uint8
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 100


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), EVERY)
def test_every_environment_on_every_backend(name, backend, check_types, check_rollout):
    env = envs.make(name, backend=backend)
    check_types(env)
    check_rollout(env, with_limit, steps=4)
    state, _ = jax.jit(env.reset)(jax.random.key(0), env.task)
    assert len(np.unique(env.render(state, env.task).reshape(-1, 3), axis=0)) > 100
