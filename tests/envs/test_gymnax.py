"""Every environment of Gymnax through the adapter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue

# These start the same way every time; chance, if any, comes with the steps.
FIXED_START = {
    *("Asterix-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar", "DeepSea-bsuite"),
    *("SimpleBandit-bsuite", "DiscountingChain-bsuite", "FourRooms-misc", "FrozenLake-misc", "Pong-misc"),
}
# These show the time that is left, so a shorter limit changes what they show.
SHOW_TIME = {"DiscountingChain-bsuite", "PointRobot-misc", "BernoulliBandit-misc", "GaussianBandit-misc"}


def with_limit(task, limit):
    return task.replace(max_steps_in_episode=jnp.asarray(limit, task.max_steps_in_episode.dtype))


@pytest.mark.parametrize("name", catalogue.GYMNAX)
def test_contract(name, check_types, check_rollout):
    env = envs.make(name)
    assert env.name == name and env.longest_episode() == int(env.task.max_steps_in_episode)
    check_types(env)
    long, short = check_rollout(env, with_limit)
    if name not in SHOW_TIME:  # the observation where the limit cuts is the one without a limit, not a reset one
        np.testing.assert_array_equal(short["next_obs"][:3], long["next_obs"][:3])
    if name not in FIXED_START:
        states = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(1), 16), env.task)
        assert any(len(np.unique(np.asarray(x), axis=0)) > 1 for x in jax.tree.leaves(states))


def test_spaces_are_ours_and_say_the_dtype_that_comes():
    assert envs.make("FourRooms-misc").observation_space.dtype == np.int32
    assert envs.make("Catch-bsuite").observation_space.dtype == np.float32
    assert envs.make("FrozenLake-misc").observation_space.n == 16
    cartpole = envs.make("CartPole-v1").observation_space
    assert np.isinf(cartpole.high[[1, 3]]).all() and np.isfinite(cartpole.high[[0, 2]]).all()
    assert np.isfinite(np.asarray(cartpole.sample(jax.random.key(0)))).all()


def test_an_end_on_the_last_allowed_step_is_an_end():
    env = envs.make("DeepSea-bsuite", size=4)  # it ends after `size` steps, which is its limit too
    key = jax.random.key(0)
    state, _ = env.reset(key, env.task)
    flags = []
    for _ in range(4):
        state, result = env.step(key, state, jnp.int32(1), env.task)
        flags.append((bool(result.terminated), bool(result.truncated)))
    assert flags == [(False, False)] * 3 + [(True, False)]


def test_physics_is_swept_by_vmap():
    env = envs.make("CartPole-v1")
    key = jax.random.key(0)
    state, _ = env.reset(key, env.task)
    tasks = jax.vmap(lambda g: env.task.replace(gravity=g))(jnp.array([1.0, 9.8, 30.0]))
    step = jax.vmap(env.step, (None, None, None, 0))
    obs = step(key, state, jnp.int32(1), tasks)[1].obs
    assert len(np.unique(np.asarray(obs), axis=0)) == 3


PICTURED = [*catalogue.GYMNAX[:10], "Catch-bsuite", "DeepSea-bsuite", "Pong-misc"]


@pytest.mark.parametrize("name", PICTURED)
def test_picture(name):
    env = envs.make(name)
    state, _ = env.reset(jax.random.key(0), env.task)
    frame = env.render(state, env.task)
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and min(frame.shape[:2]) >= 100
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 2
    if name == "CartPole-v1":
        moved = env.render(state.replace(x=state.x + 1.0), env.task)
        assert (moved != frame).any()
