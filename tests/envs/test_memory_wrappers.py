"""The past in observations, and noise on them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import envs
from rljax.envs.memory_wrappers import noisy_observation, with_past
from rljax.errors import ConfigError
from rljax.types import Box, Dict, Discrete, Env, MultiDiscrete, StepResult

KEY = jax.random.key(0)
ACTIONS = {
    "one-hot": (Discrete(3), 2, [0, 0, 1]),
    "several": (MultiDiscrete((2, 3)), [1, 0], [0, 1, 1, 0, 0]),
    "vector": (Box(np.array([1.0, -2.0], np.float32), np.array([3.0, 2.0], np.float32)), [2.5, -9.0], [2.5, -2.0]),
    "dict": (Dict({"b": Discrete(2), "a": Box(-np.ones(1), np.ones(1))}), {"a": [0.5], "b": 0}, [0.5, 1, 0]),
}
OBSERVATIONS = {
    "vector": (Box(np.array([0, -5], np.float32), np.array([np.inf, 5], np.float32)), [7.0, -3.0], [7.0, -3.0]),
    "bytes": (Box(np.zeros(2, np.uint8), np.full(2, 200, np.uint8), np.uint8), [100, 200], [0.5, 1.0]),
    "category": (Discrete(3), 1, [0, 1, 0]),
    "categories": (MultiDiscrete((2, 3)), [1, 2], [0, 1, 0, 0, 1]),
    "table": (Box(np.zeros((2, 2)), np.ones((2, 2))), [[0.0, 1.0], [0.5, 0.0]], [0, 1, 0.5, 0]),
}


def echo(observations, shown, actions, agents=None):
    """Shows always the same, and pays 0.5 times the number of the step, to each agent; never ends."""
    obs = jnp.asarray(shown, observations.dtype)
    no = jnp.zeros(() if agents is None else (agents,), bool)

    def step(key, time, action, task):
        return time + 1, StepResult(obs, 0.5 * (time + 1).astype(jnp.float32) + no, no, no)

    return Env("echo", lambda key, task: (jnp.int32(0), obs), step, (), observations, actions, agents=agents)


def shown(env, action):
    """The observations of a reset and of two steps."""
    state, first = env.reset(KEY, env.task)
    action = jax.tree.map(jnp.asarray, action, is_leaf=lambda x: isinstance(x, list))
    state, one = env.step(KEY, state, action, env.task)
    return [first, one.obs, env.step(KEY, state, action, env.task)[1].obs]


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_past_of_all_kinds_of_actions(kind, check_types):
    space, action, vector = ACTIONS[kind]
    env = with_past(echo(*OBSERVATIONS["vector"][:2], space))
    seen = shown(env, action)
    np.testing.assert_array_equal(seen[0], [7, -3, *[0] * len(vector), 0, 1])
    np.testing.assert_array_equal(seen[1], [7, -3, *vector, 0.5, 0])
    np.testing.assert_array_equal(seen[2], [7, -3, *vector, 1.0, 0])
    assert all(env.observation_space.contains(x) for x in seen) and env.name == "echo|with_past"
    assert envs.check(env) is env


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_all_kinds_of_observations_become_one_vector(kind):
    space, obs, vector = OBSERVATIONS[kind]
    env = with_past(echo(space, obs, Discrete(2)))
    seen = shown(env, 1)
    np.testing.assert_array_equal(seen[0], [*vector, 0, 0, 0, 1])
    np.testing.assert_array_equal(seen[1], [*vector, 0, 1, 0.5, 0])
    assert seen[0].dtype == jnp.float32 and all(env.observation_space.contains(x) for x in seen)
    assert envs.check(env) is env


def test_bounds_are_those_of_what_is_shown():
    space = with_past(echo(*OBSERVATIONS["vector"][:2], ACTIONS["vector"][0])).observation_space
    np.testing.assert_array_equal(space.low, [0, -5, 0, -2, -np.inf, 0])  # no action is a 0 of each entry
    np.testing.assert_array_equal(space.high, [np.inf, 5, 3, 2, np.inf, 1])


@pytest.mark.parametrize("name", ["Breakout-MinAtar", "probe/action-mask"])
def test_images_and_dicts_stay_what_they_are(name, check_types):
    plain, env = envs.make(name), envs.make(f"{name}|with_past")
    check_types(env)
    (_, inner), (_, obs) = plain.reset(KEY, plain.task), env.reset(KEY, env.task)
    assert obs.keys() == {"obs", "past"} | ({"action_mask"} if "mask" in name else set())
    inner = inner if isinstance(inner, dict) else {"obs": inner}
    assert all((obs[entry] == inner[entry]).all() for entry in inner)
    np.testing.assert_array_equal(obs["past"], [0, 0, 0, 0, 1])


def test_each_agent_has_a_reward():
    env = envs.check(with_past(echo(*OBSERVATIONS["category"][:2], Discrete(2), agents=2)))
    np.testing.assert_array_equal(shown(env, 1)[1], [0, 1, 0, 0, 1, 0.5, 0.5, 0])


@pytest.mark.parametrize("between", ["", "|time_limit(100)", "|noisy_observation(0.0)|sticky_actions(0.0)"])
def test_behind_trials_every_episode_has_a_first_observation_and_the_last_reward_is_seen(between):
    """The probe pays 1 in its only step: every observation is a first one, with what was paid just before."""
    env = envs.make(f"probe/constant|trials(3){between}|with_past")
    state, obs = env.reset(KEY, env.task)
    seen, over = [obs], []
    for i in range(3):
        state, result = env.step(jax.random.key(i), state, jnp.int32(0), env.task)
        seen, over = [*seen, result.obs], [*over, bool(result.truncated)]
    assert over == [False, False, True]
    rewards, firsts = np.stack(seen)[:, -2], np.stack(seen)[:, -1]
    np.testing.assert_array_equal(firsts, 1.0)
    np.testing.assert_array_equal(rewards, [0.0, 1.0, 1.0, 1.0])


def test_before_trials_the_last_reward_is_not_seen():
    env = envs.make("probe/constant|with_past|trials(3)")
    state, _ = env.reset(KEY, env.task)
    obs = env.step(KEY, state, jnp.int32(0), env.task)[1].obs
    assert obs[-2] == 0 and obs[-1] == 1


def test_in_a_room_the_flag_is_set_where_an_episode_begins_alone():
    env = envs.make("darkroom/5x5|trials(2)|with_past", max_steps=3)
    state, obs = env.reset(KEY, env.task)
    firsts = [float(obs[-1])]
    for i in range(5):
        state, result = env.step(jax.random.key(i), state, jnp.int32(1), env.task)
        firsts.append(float(result.obs[-1]))
    assert firsts == [1, 0, 0, 1, 0, 0]


def test_noise_has_the_deviation_and_the_bounds_that_are_said():
    bounds = np.array([np.inf, np.inf, 2.0], np.float32)
    env = noisy_observation(echo(Box(-bounds, bounds), [3.0, -1.0, 2.0], Discrete(2)), 0.5)

    def one(key):
        k_reset, k_step = jax.random.split(key)
        state, obs = env.reset(k_reset, env.task)
        return obs, env.step(k_step, state, 0, env.task)[1].obs

    for seen in map(np.asarray, jax.vmap(one)(jax.random.split(KEY, 4000))):
        np.testing.assert_allclose(seen[:, :2].mean(0), [3.0, -1.0], atol=0.04)
        np.testing.assert_allclose(seen[:, :2].std(0), 0.5, atol=0.03)
        assert abs(np.corrcoef(seen[:, :2].T)[0, 1]) < 0.08
        assert seen[:, 2].max() == 2.0 and (seen[:, 2] == 2.0).mean() == pytest.approx(0.5, abs=0.04)
    assert env.name == "echo|noisy_observation(0.5)" and env.observation_space.high[2] == 2


def test_noise_on_a_step_is_not_the_noise_of_the_environment():
    env, plain = envs.make("CartPole-v1|noisy_observation(0.5)"), envs.make("CartPole-v1")
    starts = jax.vmap(lambda key: (env.reset(key, env.task)[1], env.reset(key, env.task)[0]))(
        jax.random.split(KEY, 500)
    )
    clean = jnp.stack([starts[1].x, starts[1].x_dot], 1)
    noise = starts[0][:, :2] - clean
    assert abs(np.corrcoef(np.asarray(clean[:, 1]), np.asarray(noise[:, 1]))[0, 1]) < 0.2
    assert plain.observation_space.shape == env.observation_space.shape


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda env: noisy_observation(env, -1.0), "sigma=-1.0: must be at least 0"),
        (lambda env: noisy_observation(env, "x"), "sigma=.*must be a number"),
        (lambda env: noisy_observation(envs.make("darkroom/5x5"), 1.0), "needs Box observations, not MultiDiscrete"),
        (
            lambda env: with_past(with_past(envs.make("Breakout-MinAtar"))),
            "entry past, which is there already; drop it",
        ),
    ],
)
def test_errors(wrap, message):
    with pytest.raises(ConfigError, match=message):
        wrap(envs.make("CartPole-v1"))
