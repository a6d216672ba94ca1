"""An environment is checked against what it declares: every mistake is one line that names it."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import TINY, counter

import rljax
from rljax import envs, registry
from rljax.envs import wrappers
from rljax.errors import ConfigError
from rljax.spaces import like
from rljax.types import LEGAL, Box, Dict, Discrete, Env, MultiDiscrete, StepResult


class State(NamedTuple):
    time: Any


THREE = np.full(3, 10, np.float32)


def show(t):
    return jnp.full(3, t, jnp.float32)


def custom(
    *,
    obs=show,
    reward=lambda a: jnp.float32(1),
    terminated=lambda t: t >= 5,
    reset=None,
    step=None,
    start=lambda: State(jnp.int32(0)),
    later=lambda s: State(s.time + 1),
    space: Any = None,
    action_space: Any = None,
    **fields,
):
    """An environment in which one thing can be got wrong."""

    def usual_reset(key, task):
        state = start()
        return state, obs(jnp.asarray(jax.tree.leaves(state)[0], jnp.float32))

    def usual_step(key, state, action, task):
        state = later(state)
        time = jax.tree.leaves(state)[0]
        return state, StepResult(
            obs(jnp.asarray(time, jnp.float32)), reward(action), terminated(time), jnp.array(False)
        )

    space = Box(-THREE, THREE) if space is None else space
    action_space = Discrete(2) if action_space is None else action_space
    fields = {"task": {"unused": jnp.float32(0)}, "time_limit": lambda task: 5} | fields
    return Env("own/env", reset or usual_reset, step or usual_step, **fields, **spaces_of(space, action_space))


def spaces_of(space, action_space):
    return {"observation_space": space, "action_space": action_space}


def raises(key, state, action, task):
    if state.time > 3:
        return state
    return state


def by_numpy(key, state, action, task):
    return np.sin(state.time)


SEEN = Box(-THREE, THREE)


def both(t):
    return {"a": show(t), "b": show(t)}


MISTAKES = {
    "reward has shape (1,): must be a scalar; return reward[0]": {"reward": lambda a: jnp.ones(1)},
    "reward has shape (2,): must be a scalar; return reward.sum()": {"reward": lambda a: jnp.ones(2)},
    "reward is complex64: must be a real number": {"reward": lambda a: jnp.complex64(1)},
    "reward is a tuple of 2: must be one array": {"reward": lambda a: (1.0, 2.0)},
    "terminated is int32: must be bool; write terminated > 0": {"terminated": lambda t: (t >= 5).astype(jnp.int32)},
    "terminated is float32: must be bool": {"terminated": lambda t: (t >= 5).astype(jnp.float32)},
    "terminated has shape (1,): must be a scalar; return terminated[0]": {"terminated": lambda t: (t >= 5)[None]},
    "observation of reset has shape (2,) and observation_space says (3,)": {"obs": lambda t: jnp.zeros(2)},
    "observation of reset is float32 and observation_space says int32: write obs.astype(jnp.int32)": {
        "space": Box(-THREE, THREE, np.dtype(np.int32))
    },
    "observation of reset is int32 and observation_space says uint8": {
        "obs": lambda t: jnp.zeros(3, jnp.int32),
        "space": Box(0 * THREE, THREE, np.dtype(np.uint8)),
    },
    "observation of reset has shape (3,) and observation_space says ()": {"space": Discrete(3)},
    "observation of reset is a dict: must be one array; use jnp.stack": {"obs": lambda t: {"a": t}},
    "observation of reset is a list": {"obs": lambda t: [t, t, t]},
    "reset gives (obs, state): must be (state, obs); swap": {"reset": lambda k, t: (jnp.zeros(3), State(jnp.int32(0)))},
    "reset gives a tuple of 3: must be (state, obs)": {"reset": lambda k, t: (1, jnp.zeros(3), {})},
    "reset gives a State: must be (state, obs)": {"reset": lambda k, t: State(jnp.int32(0))},
    "step gives a tuple of 5: must be (state, StepResult(": {"step": lambda k, s, a, t: (show(0), s, 1.0, True, {})},
    "step gives (StepResult, state): must be": {"step": lambda k, s, a, t: (StepResult(show(0), 1.0, True, False), s)},
    "step gives a state and a tuple of 4": {"step": lambda k, s, a, t: (s, (show(0), 1.0, True, False))},
    "state.time has shape () after reset and (2,) after step": {
        "later": lambda s: State(jnp.stack([s.time, s.time])),
        "obs": lambda t: jnp.zeros(3),
        "terminated": lambda t: t[0] > 3,
    },
    "state of step is of another structure than that of reset": {"later": lambda s: {"time": s.time}},
    "step raises TracerBoolConversionError: Attempted boolean conversion": {"step": raises},
    "use jnp.where or jax.lax.cond instead of if (test_check.py, line ": {"step": raises},
    "use jax.numpy instead of numpy (test_check.py, line ": {"step": by_numpy},
    "reset raises TypeError: ": {"reset": lambda key: 1},
    "it is called as reset(key, task)": {"reset": lambda key: 1},
    "reset gives what is no array": {"reset": lambda k, t: ("start", jnp.zeros(3))},
    "observation_space is a dict: must be a Box, Discrete": {"space": {"a": Box(-THREE, THREE)}},
    "observation_space has no room in entry [0]: low is 10 and high -10": {"space": Box(THREE, -THREE)},
    "observation_space.low holds what is no number": {"space": Box(THREE * np.nan, THREE)},
    "observation_space.low has shape (2,) and .high (3,)": {"space": Box(-THREE[:2], THREE)},
    "observation_space has shape (0,), so no entries": {"space": Box(THREE[:0], THREE[:0])},
    "action_space.n is 0: must be a whole number, at least 1": {"action_space": Discrete(0)},
    "action_space.n is 2.5": {"action_space": Discrete(2.5)},  # pyright: ignore
    "action_space.nvec is (2, 0)": {"action_space": MultiDiscrete((2, 0))},
    "action_space.nvec is ()": {"action_space": MultiDiscrete(())},
    "action_space.dtype is uint8: must be one of whole numbers that holds 299": {
        "action_space": MultiDiscrete((2, 300), dtype=np.dtype(np.uint8))
    },
    "action_space.dtype is float32": {"action_space": MultiDiscrete((2,), dtype=np.dtype(np.float32))},
    "action_space is a Box of int32: must be of floats": {"action_space": Box(-THREE, THREE, np.dtype(np.int32))},
    "action_space is <class": {"action_space": Discrete},
    "task['mode'] is a str: must be a number": {"task": {"mode": "fast"}},
    "task is a State": {"task": type("State", (), {})()},
    "time_limit is a int: must be a function or None": {"time_limit": 5},
    "agents is 0: must be their number": {"agents": 0},
    "reward has shape (): must be (2,), an entry for each agent": {"agents": 2},
    "return reward.sum(), or give agents=2": {"reward": lambda a: jnp.ones(2)},
    "observation_space['a'] has no room in entry [0]": {"space": Dict({"a": Box(THREE, -THREE)})},
    "observation_space is Dict(spaces={}): must be a Dict of one space or more": {"space": Dict({})},
    "observation of reset is an array: must be a dict": {"space": Dict({"a": Box(-THREE, THREE)})},
    "observation of reset and observation_space differ in ['b']": {"space": Dict({"a": SEEN}), "obs": both},
    "observation of reset['b'] is float32 and observation_space says int32": {
        "space": Dict({"a": SEEN, "b": Box(-THREE, THREE, np.dtype(np.int32))}),
        "obs": both,
    },
    "observation of reset['a'] is a tuple of 2: must be one array": {
        "space": Dict({"a": SEEN, "b": SEEN}),
        "obs": lambda t: {"a": (t, t), "b": t},
    },
    "says which discrete actions are legal, but action_space is a Box": {
        "space": Dict({LEGAL: SEEN}),
        "action_space": SEEN,
    },
    "step is None: must be a function": {"step": None},
    "name is '': must be a name": {"name": ""},
    "new_task gives a task of another structure": {"new_task": lambda key: {}},
    "time_limit has shape (2,): must be a scalar": {"time_limit": lambda task: jnp.ones(2)},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(message):
    fields = dict(MISTAKES[message])
    replaced = {name: fields.pop(name) for name in ("name", "step") if name in fields}
    env = dataclasses.replace(custom(**fields), **replaced)
    with pytest.raises(ConfigError) as caught:
        envs.check(env)
    said = str(caught.value)
    assert said.startswith(f"environment '{env.name}': ") and message in said and "\n" not in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "env is None: must be a name (rljax list envs shows all) or an rljax.types.Env"),
        (counter, "env is a function: give what it returns, or register it"),
        (Env, "env is the class Env: "),
        ((counter(), 1), "env is a tuple of 2: "),
        (type("Gym", (), {"step": 1, "reset": 1, "observation_space": 1})(), "env is a Gym: give an rljax.types.Env"),
        (type("Old", (), {"step_env": 1})(), "env is a Old: give a Gymnax environment by its name"),
    ],
)
def test_what_is_no_environment_is_refused_everywhere(given, message):
    for use in (envs.check, lambda env: rljax.train("ppo", env, steps=10), lambda env: rljax.make("ppo", env)):
        with pytest.raises(ConfigError) as caught:
            use(given)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_every_door_checks_and_a_wrapper_does_not_hide_it(monkeypatch):
    env = custom(reward=lambda a: jnp.ones(1))
    monkeypatch.setattr(registry, "_added", {})
    envs.register("own/env", lambda: env)
    doors = (
        lambda: rljax.train("ppo", env, steps=10),
        lambda: rljax.train("ppo", wrappers.time_limit(env, 3), steps=10),
        lambda: rljax.sweep("ppo", env, steps=10, seeds=1),
        lambda: envs.make("own/env"),
        lambda: rljax.train("ppo", "own/env", steps=10),
    )
    for door in doors:
        with pytest.raises(ConfigError, match=r"own/env.*reward has shape \(1,\)"):
            door()


CASTS = {
    "whole rewards": {"reward": lambda a: a.astype(jnp.int32)},
    "bool rewards": {"reward": lambda a: a > 0},
    "half rewards": {"reward": lambda a: a.astype(jnp.float16)},
    "python rewards": {"reward": lambda a: 1.0},
    "half observations": {"obs": lambda t: jnp.full(3, t, jnp.float16)},
    "bool observations": {"obs": lambda t: jnp.full(3, t > 2)},
    "small observations": {"obs": lambda t: jnp.full(3, t, jnp.uint8), "space": Box(-THREE, THREE, np.dtype(np.int32))},
    "half observations of a dict": {
        "obs": lambda t: {"a": show(t), "b": jnp.full(3, t, jnp.float16)},
        "space": Dict({"a": SEEN, "b": SEEN}),
    },
    "weak states": {"start": lambda: State(0)},
}


@pytest.mark.parametrize("name", CASTS)
def test_what_loses_nothing_is_cast_to_the_same_environment_every_time(name):
    env = custom(**CASTS[name])
    made = envs.check(env)
    assert made is not env and made == envs.check(env) and hash(made) == hash(envs.check(env))
    assert envs.check(made) is made
    assert envs.check(dataclasses.replace(env, task={"unused": jnp.float32(3)})).task["unused"] == 3
    state, obs = jax.eval_shape(made.reset, jax.random.key(0), made.task)
    after, result = jax.eval_shape(made.step, jax.random.key(0), state, jnp.int32(1), made.task)
    assert (result.reward.dtype, result.reward.weak_type) == (jnp.float32, False)
    dtypes = jax.tree.map(lambda x: x.dtype, (obs, result.obs, like(env.observation_space)))
    assert dtypes[0] == dtypes[1] == dtypes[2]
    assert [(x.dtype, x.weak_type) for x in jax.tree.leaves(state)] == [
        (x.dtype, False) for x in jax.tree.leaves(after)
    ]


def test_a_state_of_whole_numbers_to_which_a_step_adds_a_fraction_keeps_the_fraction():
    env = envs.check(custom(start=lambda: State(jnp.int32(0)), later=lambda s: State(s.time + 0.25)))
    state, _ = env.reset(jax.random.key(0), env.task)
    for _ in range(3):
        state, result = env.step(jax.random.key(0), state, jnp.int32(0), env.task)
    assert state.time.dtype == jnp.float32 and state.time == 0.75 and result.obs[0] == 0.75


def test_a_sound_environment_is_given_back_as_it_is():
    parts = custom(space=Dict({"a": SEEN, "b": SEEN}), obs=both, action_space=Dict({"go": Discrete(2), "push": SEEN}))
    assert all(envs.check(env) is env for env in (custom(), wrappers.frame_stack(custom(), 2), parts))
    assert rljax.make("ppo", env := custom())[1] is env
    assert envs.check("probe/constant") is envs.make("probe/constant")


def test_spaces_take_what_numpy_takes():
    box = Box([0, 0.5], np.array([1.0, 2.0]), jnp.float64)  # pyright: ignore
    assert box.low.dtype == box.high.dtype == box.dtype == np.float32 and box.shape == (2,)
    assert Discrete(np.int64(3)) == Discrete(3) and MultiDiscrete([2, np.int32(3)]).nvec == (2, 3)  # pyright: ignore
    half = custom(action_space=Box(-THREE.astype(np.float16), THREE.astype(np.float16), np.dtype(np.float16)))
    several = envs.check(custom(action_space=Dict({"push": half.action_space})))
    assert several.action_space.spaces["push"].dtype == np.float32 and envs.check(several) is several
    assert envs.check(half).action_space.dtype == np.float32 and envs.check(half) == envs.check(half)


class Numbers(struct.PyTreeNode):
    """A task by which an episode is longer than the default one."""

    end: Any = 4


def test_the_cast_environment_trains_and_keeps_its_task():
    env = custom(reward=lambda a: True, task=Numbers(), terminated=lambda t: t >= 5)
    run = rljax.train("ppo", env, steps=32, task={"end": 7}, progress=False, tensorboard=False, **TINY)
    assert run.policy.env.task.end == 7 and (run.evaluate(2) == 5).all()
    gc.collect()
