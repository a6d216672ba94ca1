"""An algorithm of somebody else: as little as the contract asks for is enough, and what breaks it is said in a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import rljax
from rljax.errors import ConfigError
from rljax.types import Algorithm

HOW = {"steps": 16, "progress": False}


@dataclass(frozen=True)
class Config:
    size: int = 4


class Hypers(struct.PyTreeNode):  # no horizon
    lr: float = 0.5


class State(NamedTuple):
    weight: Any


@dataclass(frozen=True)
class Least(Algorithm):
    """The least that is an algorithm."""

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)
    steps_per_update = 4

    def init(self, key, hypers, task):
        return State(jnp.zeros(()))

    def step(self, state, hypers, task):
        return State(state.weight + hypers.lr), {"weight": state.weight}

    def act(self, state, carry, obs, reset, key, greedy):
        return carry, jnp.zeros(obs.shape[0], jnp.int32)


@dataclass(frozen=True)
class Listed:
    widths: list = field(default_factory=list)


class Constant:
    lr: float = 0.5


def changed(name: str, **methods: Any) -> type:
    return dataclass(frozen=True)(type(name, (Least,), {"__annotations__": {}, **methods}))


BROKEN = {
    "no-pair": ({"step": lambda self, state, hypers, task: state}, r"step: gives a State; it must give \(state, m"),
    "vector": (
        {"step": lambda self, state, hypers, task: (state, {"w": jnp.zeros(3)})},
        r"step: metric 'w' is float32\[3\]; give scalars",
    ),
    "nested": (
        {"step": lambda self, state, hypers, task: (state, {"w": {"a": jnp.zeros(())}})},
        r"step: metric 'w' is \{'a': float32\[\]\}; give scalars",
    ),
    "silent": ({"step": lambda self, state, hypers, task: (state, {})}, r"step: metrics are \{\}; give a dict"),
    "growing": (
        {"step": lambda self, state, hypers, task: (State(jnp.zeros(2)), {"w": state.weight})},
        r"step: state 'weight' was float32\[\] and is float32\[2\]; keep both alike",
    ),
    "drifting": (
        {"step": lambda self, state, hypers, task: ({"weight": state.weight}, {"w": state.weight})},
        r"step: gives another state than it took",
    ),
    "no-carry": (
        {"act": lambda self, state, carry, obs, reset, key, greedy: jnp.zeros(len(obs), jnp.int32)},
        r"act: gives int32\[2\]; it must give \(carry, action\)",
    ),
    "forgetful": (
        {"initial_carry": lambda self, state, batch_size: jnp.zeros(batch_size)}
        | {"act": lambda self, state, carry, obs, reset, key, greedy: ((), jnp.zeros(len(obs), jnp.int32))},
        r"act: gives another carry than it took",
    ),
    "wrong-action": (
        {"act": lambda self, state, carry, obs, reset, key, greedy: (carry, jnp.zeros((len(obs), 3)))},
        r"act: actions are float32\[2,3\]; CartPole-v1 takes int32\[2\] here",
    ),
    "listed": ({"config": Listed(), "__annotations__": {"config": "Listed"}}, r"config of Broken: cannot be hashed"),
}


def test_the_least_that_is_an_algorithm_trains_and_is_swept(tmp_path):
    rljax.algos.register("least", Least)
    run = rljax.train("least", "CartPole-v1", out=tmp_path / "a", **HOW)
    np.testing.assert_array_equal(run.metrics["weight"], [0.0, 0.5, 1.0, 1.5])
    assert rljax.load(tmp_path / "a").evaluate(2).shape == (2,)
    found = rljax.sweep("least", "CartPole-v1", seeds=1, grid={"lr": [0.5, 1.0]}, workers=1, **HOW)
    np.testing.assert_array_equal(found.metrics["weight"][1, 0], [0.0, 1.0, 2.0, 3.0])


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_the_contract_is_refused_in_a_line(case):
    methods, message = BROKEN[case]
    rljax.algos.register(case, changed("Broken", **methods))
    with pytest.raises(ConfigError, match=message) as refused:
        rljax.train(case, "CartPole-v1", **HOW)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=message):
        rljax.sweep(case, "CartPole-v1", seeds=1, workers=1, **HOW)


def test_one_without_a_clock_is_refused():
    @dataclass(frozen=True)
    class Timeless(Algorithm):
        config: Config = Config()
        hypers: Hypers = field(default=Hypers(), compare=False)

    rljax.algos.register("timeless", Timeless)
    with pytest.raises(ConfigError, match="algorithm=timeless: has no steps_per_update; say how many"):
        rljax.train("timeless", "CartPole-v1", **HOW)


@pytest.mark.parametrize(
    ("hypers", "made", "message"),
    [
        (Hypers, 3, "make of odd=int: must give an rljax.types.Algorithm"),
        (dataclass(Constant), None, "Hypers of odd: is no pytree; derive it from flax.struct.PyTreeNode"),
        (NamedTuple("Pair", [("lr", float)]), None, "Pair: must be a dataclass, or a flax.struct.PyTreeNode"),
    ],
)
def test_parts_that_do_not_fit_are_refused(hypers, made, message):
    def make(env, config=None):
        return made or Least(env, Config(), hypers())

    rljax.algos.register("odd", SimpleNamespace(Config=Config, Hypers=hypers, make=make))
    with pytest.raises(ConfigError, match=message):
        rljax.train("odd", "CartPole-v1", **HOW)


def test_a_step_is_traced_once_for_all_runs_of_equal_algorithms():
    traces = []

    def step(self, state, hypers, task):
        traces.append(self)
        return Least.step(self, state, hypers, task)

    rljax.algos.register("counted", changed("Counted", step=step))
    for lr in (0.5, 1.0):
        rljax.train("counted", "CartPole-v1", lr=lr, **HOW)
    assert len(traces) == 1
