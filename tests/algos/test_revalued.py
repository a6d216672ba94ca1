"""REValueD on environments with known answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned

import rljax
from rljax import envs
from rljax.errors import ConfigError

SMALL = {
    "num_envs": 8, "batch_size": 64, "capacity": 2048, "warmup": 128, "hidden": (16,), "gradient_steps": 2,
    "critics": 2, "n_step": 1,
}  # fmt: skip


def test_the_best_choice_is_found_and_worth_what_it_should_be():
    """Q(a) = -(a - target)^2, for five actions from -1 to 1."""
    settings = SMALL | {"choices": 5}
    numbers = {"lr": 1e-2, "target_rate": 0.05, "epsilon_final": 0.5, "regulariser": 0.0}
    algo, state, _ = learned("revalued", "probe/continuous", settings, 2, 1000, **numbers)
    env = envs.make("probe/continuous")
    obs, target = jnp.zeros((1, *env.observation_space.shape)), float(env.task.target)
    action = jax.vmap(lambda s: algo.act(s, (), obs, jnp.ones(1, bool), jax.random.key(0), True)[1])(state)
    choices = env.action_space.from_unit(jnp.linspace(-1, 1, 5)[:, None])[:, 0]
    value = -((choices - target) ** 2)
    np.testing.assert_allclose(action[:, 0, 0], choices[value.argmax()], atol=1e-5)
    found = jax.vmap(lambda params: algo.network.apply(params, obs))(state.params["values"])  # [S, M, 1, 1, 5]
    np.testing.assert_allclose(found[:, :, 0, 0], jnp.broadcast_to(value, (2, 2, 5)), atol=0.15)


def test_actions_come_back_from_memory_as_they_were_chosen():
    """Whatever the bounds: a choice, stretched to the environment and back, is the same."""
    algo, env = rljax.make("revalued", "Pendulum-v1", choices=7, warmup=500, num_envs=4)
    state = jax.jit(algo.init)(jax.random.key(0), algo.hypers, env.task)
    action = algo.source.draw(state.buffer, env.task, jax.random.key(1), 256).steps.action[0]
    grid = np.linspace(env.action_space.low, env.action_space.high, 7)[:, 0]
    gap = np.abs(np.asarray(action) - grid[None]).min(1)
    np.testing.assert_allclose(gap, 0.0, atol=1e-5)
    assert len(np.unique(np.asarray(action).round(3))) == 7


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("CartPole-v1", {}, "action_space=Discrete: must be Box"),
        ("Pendulum-v1", {"choices": 1}, "choices=1: must be at least 2"),
    ],
)
def test_what_cannot_be_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        rljax.make("revalued", env, **settings)
