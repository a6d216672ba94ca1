"""Gymnasium's environments by host callbacks: numbers, pure steps, runs that resume; and our physics by theirs."""

from __future__ import annotations

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import leaves_equal
from toys import TINY

import rljax
from rljax import envs
from rljax.envs.gymnasium import from_gymnasium, space_of
from rljax.errors import ConfigError
from rljax.types import Dict, Discrete, MultiDiscrete


class Teller(gymnasium.Env):
    """Shows a dict: the sum of its actions, and the time; ends at a sum of 6."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gymnasium.spaces.Dict(
        {"sum": gymnasium.spaces.Box(-10, 10, (1,), np.float64), "late": gymnasium.spaces.Discrete(2)}
    )
    action_space = gymnasium.spaces.Discrete(3, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.total, self.time = float(self.np_random.integers(0, 2)), 0
        return self._seen(), {}

    def step(self, action):
        assert 1 <= action <= 3
        self.total, self.time = self.total + action, self.time + 1
        return self._seen(), float(action), self.total >= 6, False, {}

    def _seen(self):
        return {"sum": np.array([self.total]), "late": int(self.time > 1)}


def test_ours_moves_as_theirs_does():
    """The same state and actions lead to the same observations, up to the end."""
    ours, theirs = envs.make("CartPole-v1"), gymnasium.make("CartPole-v1")
    obs, _ = theirs.reset(seed=3)
    state, _ = ours.reset(jax.random.key(0), ours.task)
    state = state.replace(**dict(zip(("x", "x_dot", "theta", "theta_dot"), map(jnp.float32, obs))))
    for i in range(60):
        action = i // 3 % 2
        obs, reward, over, _, _ = theirs.step(action)
        state, result = ours.step(jax.random.key(0), state, jnp.int32(action), ours.task)
        np.testing.assert_allclose(result.obs, obs, rtol=1e-4, atol=1e-5)
        assert (result.reward, bool(result.terminated)) == (reward, over)
        if over:
            break
    assert over


def test_a_step_is_that_of_gymnasium():
    env, theirs = envs.make("gymnasium/Acrobot-v1"), gymnasium.make("Acrobot-v1")
    assert env.max_episode_steps == 500 and env.action_space == Discrete(3)
    state, first = jax.jit(env.reset)(jax.random.key(0), env.task)
    obs, _ = theirs.reset(seed=int(state.seed))
    np.testing.assert_array_equal(first, obs)
    step = jax.jit(env.step)
    for action in (0, 2, 1, 2):
        state, result = step(jax.random.key(0), state, jnp.int32(action), ())
        obs, reward, *_ = theirs.step(action)
        np.testing.assert_array_equal(result.obs, obs)
        assert result.reward == reward


def test_steps_are_pure():
    """One state leads to one result, whatever was played in between, for a whole batch at once."""
    env = envs.make("gymnasium/CartPole-v1")
    reset, step = jax.jit(jax.vmap(env.reset, (0, None))), jax.jit(jax.vmap(env.step, (0, 0, 0, None)))
    keys = jax.random.split(jax.random.key(0), 3)
    state, _ = reset(keys, ())
    actions = jnp.array([0, 1, 0])
    for _ in range(3):
        state, _ = step(keys, state, actions, ())
    one = step(keys, state, actions, ())
    later = step(keys, one[0], actions, ())
    again = step(keys, state, actions, ())
    assert leaves_equal(one, again) and not leaves_equal(one, later)
    assert leaves_equal(step(keys, again[0], actions, ()), later)


def test_flags_are_told_apart_and_the_limit_is_ours():
    env = from_gymnasium(Teller, max_steps=2)
    state, obs = env.reset(jax.random.key(0), ())
    assert isinstance(env.observation_space, Dict) and obs["sum"].dtype == jnp.float32
    low = [env.step(jax.random.key(0), state, jnp.int32(0), ())]
    low.append(env.step(jax.random.key(0), low[0][0], jnp.int32(0), ()))
    assert [(bool(x.terminated), bool(x.truncated)) for _, x in low] == [(False, False), (False, True)]
    assert low[1][1].obs["late"] == 1 and low[0][1].reward == 1, "the first action is 1 there"
    high = env.step(jax.random.key(0), state, jnp.int32(2), ())
    high = env.step(jax.random.key(0), high[0], jnp.int32(2), ())
    assert high[1].terminated and not high[1].truncated, "an end at the limit is an end"
    beyond = env.step(jax.random.key(0), high[0], jnp.int32(2), ())[1]
    assert beyond.reward == 0 and leaves_equal(beyond.obs, high[1].obs)


def test_agents_learn_on_it_and_resume_to_the_same_bits(tmp_path):
    how = {"progress": False, "tensorboard": False, **TINY}
    whole = rljax.train("ppo", "gymnasium/CartPole-v1", steps=4 * 8 * 12, **how)

    def stop(row, policy):
        if row["updates"] == 7:
            raise MemoryError

    with pytest.raises(MemoryError):
        rljax.train(
            "ppo", "gymnasium/CartPole-v1", steps=4 * 8 * 12, out=tmp_path / "a", save_every=3, on_rows=stop, **how
        )
    envs.make.__globals__["_make"].cache_clear()  # as in another process: nothing is kept on the host
    again = rljax.resume(tmp_path / "a", progress=False)
    assert leaves_equal(again.policy.state, whole.policy.state)
    assert again.evaluate(3).shape == (3,)
    given = rljax.train("ppo", gymnasium.make("CartPole-v1"), steps=64, **how)
    assert given.record["env"] == "gymnasium/CartPole-v1"


def test_spaces():
    spaces = gymnasium.spaces
    assert space_of(spaces.MultiBinary(3)) == MultiDiscrete((2, 2, 2))
    assert space_of(spaces.MultiDiscrete([2, 3])) == MultiDiscrete((2, 3))
    image = space_of(spaces.Box(0, 255, (2, 2), np.uint8))
    assert image.dtype == np.uint8 and image.high.tolist() == [[255, 255], [255, 255]] and not image.low.any()
    with pytest.raises(ConfigError, match="space=Text: must be Box, Discrete"):
        space_of(spaces.Text(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: envs.make("gymnasium/CartPool-v1"), "environment 'gymnasium/CartPool-v1': .*CartPool"),
        (lambda: from_gymnasium(Teller), "has no limit; give one"),
        (lambda: from_gymnasium(Teller(), max_steps=3), "was not made by gymnasium.make"),
        (lambda: from_gymnasium(3), "must be an environment of Gymnasium's, or a function"),
        (lambda: envs.make("gymnasium/CartPole-v1", max_steps=0), "max_steps=0: must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
