"""JaxMARL as one joint agent: observations in a row, actions of all, the mean reward, exact limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_checks import suite

from rljax import envs
from rljax.errors import ConfigError

pytestmark = suite("jaxmarl")


def limited(task, steps):
    return task.replace(max_steps=jnp.int32(steps))


@pytest.mark.parametrize("name", ["MPE_simple_spread_v3", "MPE_simple_tag_v3", "switch_riddle"])
def test_it_keeps_the_contract(name, check_types, check_rollout):
    env = envs.make(f"jaxmarl/{name}")
    check_types(env)
    check_rollout(env, limited, steps=30)


def test_the_joint_agent_is_all_of_them():
    """Its observation and reward are those that the library gives the agents."""
    import jaxmarl

    ours, theirs = envs.make("jaxmarl/MPE_simple_spread_v3"), jaxmarl.make("MPE_simple_spread_v3")
    obs, state = theirs.reset(jax.random.key(3))
    begun, seen = ours.reset(jax.random.key(3), ours.task)
    np.testing.assert_allclose(seen, np.concatenate([obs[agent] for agent in theirs.agents]), rtol=1e-6)
    actions = dict(zip(theirs.agents, jnp.array([1, 2, 4])))
    obs, _, rewards, _, _ = theirs.step_env(jax.random.key(4), state, actions)
    _, result = ours.step(jax.random.key(4), begun, jnp.array([1, 2, 4]), ours.task)
    np.testing.assert_allclose(result.obs, np.concatenate([obs[agent] for agent in theirs.agents]), rtol=1e-5)
    assert result.reward == pytest.approx(np.mean([rewards[agent] for agent in theirs.agents]), rel=1e-5)


def test_episodes_are_as_long_as_the_limit_says():
    """The library's own ends after 26 steps for 25."""
    env = envs.make("jaxmarl/MPE_simple_spread_v3")
    assert env.max_episode_steps == 25
    state, _ = env.reset(jax.random.key(0), env.task)
    step, flags = jax.jit(env.step), []
    for i in range(25):
        state, result = step(jax.random.key(i), state, jnp.zeros(3, jnp.int32), env.task)
        flags.append((bool(result.terminated), bool(result.truncated)))
    assert flags == [(False, False)] * 24 + [(False, True)]


def test_shorter_observations_are_filled_up():
    env = envs.make("jaxmarl/MPE_simple_tag_v3")
    sizes = [16, 16, 16, 14]
    assert env.observation_space.shape == (4 * max(sizes),) and env.action_space.nvec == (5,) * 4
    _, obs = env.reset(jax.random.key(0), env.task)
    assert (obs[-2:] == 0).all()


def test_arguments_reach_the_library():
    assert envs.make("jaxmarl/MPE_simple_spread_v3", num_agents=5).action_space.nvec == (5,) * 5
    with pytest.raises(ConfigError, match="did you mean 'num_agents'"):
        envs.make("jaxmarl/MPE_simple_spread_v3", num_agent=5)
