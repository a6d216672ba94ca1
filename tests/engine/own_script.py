"""A script of a user's: every class of its own is in `__main__`, pytrees of every kind. `test_payload` runs it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import rljax
import rljax.algos
import rljax.envs
from rljax.meta import registry
from rljax.types import Algorithm, Box, Discrete, Env, StepResult


class Task(struct.PyTreeNode):
    bonus: float = 0.1
    label: str = struct.field(pytree_node=False, default="plain")


@chex.dataclass(frozen=True)
class Position:
    x: jax.Array


@jax.tree_util.register_pytree_with_keys_class
class Clock:
    def __init__(self, t):
        self.t = t

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey("t"), self.t)], None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@struct.dataclass
class EnvState:
    position: Position
    clock: Clock


class Leash(struct.PyTreeNode):
    weight: float = 3.0

    def __call__(self, log_ratio, advantage, progress):
        return self.weight * log_ratio * advantage


class Hypers(struct.PyTreeNode):
    lr: float = 0.5  # learning rate
    objective: Leash = Leash()
    horizon: float = float("inf")


@dataclasses.dataclass(frozen=True)
class Config:
    num_envs: int = 4


class State(struct.PyTreeNode):
    total: jax.Array
    env_state: EnvState
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class Counting(Algorithm):
    """An algorithm that only counts: quick to compile, and every number that it is given shows."""

    config: Config = Config()
    hypers: Hypers = dataclasses.field(default=Hypers(), compare=False)

    @property
    def steps_per_update(self):
        return self.config.num_envs

    def init(self, key, hypers, task):
        return State(jnp.zeros(self.config.num_envs), self.env.reset(key, task)[0], key)

    def step(self, state, hypers, task):
        key, k_step, k_more = jax.random.split(state.key, 3)
        env_state, result = self.env.step(k_step, state.env_state, 1, task)
        more = hypers.objective(hypers.lr, jax.random.uniform(k_more, state.total.shape), 0.0)
        total = state.total + more * result.reward
        return State(total, env_state, key), {"episode_return": total.mean(), "episodes": 1.0, "loss": total.sum()}

    def act(self, state, carry, obs, reset, key, greedy):
        return carry, jnp.where(obs[:, 0] > state.total.mean(), 1, 0)


def reset(key, task):
    x = jax.random.uniform(key, (1,))
    return EnvState(Position(x=x), Clock(jnp.int32(0))), x


def step(key, state, action, task):
    t = state.clock.t + 1
    return EnvState(state.position, Clock(t)), StepResult(state.position.x, jnp.float32(task.bonus), False, t >= 4)


def make_env():
    one = np.ones(1, np.float32)
    return Env("own/bonus", reset, step, Task(), Box(0 * one, one), Discrete(2), time_limit=lambda task: 4)


rljax.envs.register("own/bonus", make_env)
rljax.algos.register("counting", Counting)
GRID = {"task.bonus": [1.0, 2.0], "objective.weight": [0.5, 4.0]}
WHAT = {"steps": 80, "width": 1, "log_every": 5, "progress": False}


def same(one, other):
    return all(np.array_equal(x, other[name], equal_nan=True) for name, x in one.items())


for env in ("own/bonus", make_env()):
    found = [rljax.sweep("counting", env, seeds=2, grid=GRID, lr=0.3, workers=n, **WHAT) for n in (1, 2)]
    assert found[1].record["workers"] == 2 and same(found[0].metrics, found[1].metrics)
    for i, row in enumerate(found[1].rows):
        leash, task = Leash(weight=row["objective.weight"]), {"bonus": row["task.bonus"]}
        about = {"steps": 80, "seed": 1, "log_every": 5, "progress": False}
        lone = rljax.train("counting", env, task=task, objective=leash, lr=0.3, **about)
        alone = {name: np.float32(x) for name, x in lone.metrics.items()}  # as a sweep stores them
        assert same({name: x[i, 1] for name, x in found[1].metrics.items()}, alone)

rungs = {"halving": 2, "rungs": 2, **WHAT}
halved = [rljax.sweep("counting", "own/bonus", seeds=2, grid=GRID, workers=n, **rungs) for n in (1, 2)]
assert same(halved[0].metrics, halved[1].metrics) and np.array_equal(halved[0].reached, halved[1].reached)
assert halved[1].policy(**{"task.bonus": 2.0})(np.array([[0.3]])).shape == (1,)

settings = {"learn": ("objective", "lr"), "generations": 2, "validation_runs": 2, "width": 1, "progress": False}
settings["strategy"] = registry.strategy(popsize=4)
evolved = [rljax.evolve("counting", make_env(), 80, workers=n, **settings) for n in (1, 2)]
assert same(evolved[0].history, evolved[1].history | {"seconds": evolved[0].history["seconds"]})
assert evolved[0].theta["lr"] == evolved[1].theta["lr"] != 0.5
print("the same")
