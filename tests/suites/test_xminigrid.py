"""XLand-MiniGrid: flags, limits, and worlds whose goal is the task."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_checks import suite

import rljax
from rljax import envs
from rljax.errors import ConfigError

pytestmark = suite("xminigrid")


def to_goal(env, state, actions):
    """Plays these actions from a state -> the results."""
    found = []
    for action in actions:
        state, result = env.step(jax.random.key(0), state, jnp.int32(action), env.task)
        found.append(result)
    return found


@pytest.mark.parametrize("name", ["Empty-5x5", "DoorKey-5x5", "MemoryS8"])
def test_it_keeps_the_contract(name, check_types):
    env = envs.make(f"xminigrid/{name}")
    check_types(env)
    envs.check(env, steps=150)


def test_the_goal_terminates_and_pays_by_the_time():
    """In Empty-5x5 the goal is two steps forward, a turn, and two steps away: 1 - 0.9 * 5 / 100 of a reward."""
    env = envs.make("xminigrid/Empty-5x5", max_steps=100)
    state, _ = env.reset(jax.random.key(0), env.task)
    results = to_goal(env, state, (0, 0, 1, 0, 0))
    assert [bool(x.terminated) for x in results] == [False] * 4 + [True] and not results[-1].truncated
    assert results[-1].reward == pytest.approx(1 - 0.9 * 5 / 100) and sum(x.reward for x in results[:-1]) == 0


def test_the_limit_truncates_and_an_end_at_the_limit_terminates():
    env = envs.make("xminigrid/Empty-5x5", max_steps=5)
    state, _ = env.reset(jax.random.key(0), env.task)
    last = to_goal(env, state, (1, 1, 1, 1, 1))[-1]
    assert not last.terminated and last.truncated and env.max_episode_steps == 5
    last = to_goal(env, state, (0, 0, 1, 0, 0))[-1]
    assert last.terminated and not last.truncated


def rulesets():
    """Two worlds: hold a red ball, or hold a blue one."""
    from xminigrid.types import RuleSet

    def one(colour):
        goal = jnp.array([1, 3, colour, 0, 0], jnp.uint8)  # an agent holds a ball of that colour
        balls = jnp.array([[3, 1], [3, 3]], jnp.uint8)
        return RuleSet(goal=goal, rules=jnp.zeros((1, 7), jnp.uint8), init_tiles=balls)

    return one(1), one(3)


def test_rulesets_are_tasks_of_one_program():
    red, blue = rulesets()
    env = envs.make("xminigrid/XLand-R1-9x9", ruleset=red)
    tasks = jax.tree.map(lambda *x: jnp.stack(x), red, blue)

    def play(key, task):
        def step(state, key):
            k_act, k_step = jax.random.split(key)
            state, result = env.step(k_step, state, env.action_space.sample(k_act), task)
            return state, (result.terminated, state.state.agent.pocket[1])

        return jax.lax.scan(step, env.reset(key, task)[0], jax.random.split(key, 240))[1]

    keys = jax.random.split(jax.random.key(0), 32)
    ended, carried = jax.jit(jax.vmap(jax.vmap(play, (0, None)), (None, 0)))(keys, tasks)
    for i, colour in enumerate((1, 3)):
        assert ended[i].any(), "nobody reached this goal"
        assert set(np.asarray(carried[i][ended[i]]).tolist()) == {colour}


def test_a_world_without_a_goal_is_refused():
    with pytest.raises(ConfigError, match="has no goal of its own; give ruleset="):
        envs.make("xminigrid/XLand-R1-9x9")
    for arguments, message in (
        ({"max_steps": 0}, "max_steps=0: must be at least 1"),
        ({"view_size": 4}, "must be odd"),
        ({"ruleset": rulesets()[0]}, "has its own"),
        ({"size": 3}, "unknown argument of xminigrid/Empty-5x5 'size'"),
    ):
        with pytest.raises(ConfigError, match=message):
            envs.make("xminigrid/Empty-5x5", **arguments)


def test_ppo_finds_the_goal(optimised):
    """The way straight to the goal has 0.95 by MiniGrid's score."""
    run = rljax.train("ppo", "xminigrid/Empty-5x5", steps=60_000, num_envs=32, num_steps=32, lr=2e-3, progress=False)
    assert run.evaluate(32).mean() > 0.9


def test_it_can_be_drawn():
    env = envs.make("xminigrid/Empty-5x5")
    state, obs = env.reset(jax.random.key(0), env.task)
    picture = env.render(state, env.task)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3 and picture.std() > 5
    assert obs.shape == (7, 7, 2) and obs.dtype == jnp.uint8
