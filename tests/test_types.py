"""Equality of algorithms and environments, ends of episodes, and the wording of errors."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from toys import counter

from rljax import envs
from rljax.errors import ConfigError, require, unknown
from rljax.types import Env


def test_environments_are_equal_if_their_functions_are():
    env = counter()
    other = dataclasses.replace(env, task=env.task.replace(terminate_at=3))
    assert env == other and hash(env) == hash(other)
    assert env != counter()


def test_a_limit_may_be_a_number():
    given = {f.name: getattr(counter(), f.name) for f in dataclasses.fields(Env) if f.name != "time_limit"}
    env = Env(**given, max_episode_steps=np.int32(7))
    assert env.longest_episode() == 7 and dataclasses.replace(env, agents=2).longest_episode() == 7
    assert envs.check(env).longest_episode() == 7 and env.max_episode_steps == 7
    assert dataclasses.replace(env, time_limit=lambda task: 3).max_episode_steps == 3
    assert envs.make("CartPole-v1").max_episode_steps == 500
    assert dataclasses.replace(env, time_limit=None).max_episode_steps is None
    with pytest.raises(ConfigError, match="give one of them"):
        Env(**given, max_episode_steps=7, time_limit=None)
    for bad in (0, 2.5, "7", lambda task: 7):
        with pytest.raises(ConfigError, match="max_episode_steps="):
            Env(**given, max_episode_steps=bad)


def test_an_episode_of_several_agents_ends_when_each_has_ended():
    alone, pair = counter(), dataclasses.replace(counter(), agents=2)
    assert alone != pair
    terminated, truncated = jnp.array([[True, False], [True, False]]), jnp.array([[False, False], [False, True]])
    assert pair.ended(terminated, truncated).tolist() == [False, True]
    assert alone.ended(terminated, truncated).tolist() == [[True, False], [True, True]]


def test_errors_name_the_thing_the_value_and_the_remedy():
    assert str(unknown("fruit", "aple", ["apple", "pear"], "ls")) == (
        "unknown fruit 'aple'; did you mean 'apple'? ls shows all"
    )
    assert str(unknown("fruit", "zzz", ["apple"], "ls")) == "unknown fruit 'zzz'; ls shows all"
    assert str(unknown("fruit", "zzz", [])) == "unknown fruit 'zzz'"
    assert "CartPole-v1" in str(unknown("environment", "cartpole", ["CartPole-v1", "Pong-misc"]))
    with pytest.raises(ConfigError, match=r"^x=3: must be odd$"):
        require(False, "x", 3, "must be odd")
