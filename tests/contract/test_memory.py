"""An algorithm with a memory, a counter in the carry, goes through everything that runs agents."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import CounterTask, counter

import rljax
from rljax import envs
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.run import evaluate, run
from rljax.types import Algorithm

HOW = {"steps": 240, "log_every": 2, "progress": False}


class Hypers(struct.PyTreeNode):
    lr: float = 0.1
    horizon: float = float("inf")


@dataclass(frozen=True)
class Config:
    num_envs: int = 3
    num_steps: int = 4


class State(struct.PyTreeNode):
    value: jax.Array  # [] what it believes of the number of steps since an episode began
    episodes: Episodes
    carry: jax.Array  # [E] steps since the episode began, as it remembers
    key: jax.Array


@dataclass(frozen=True)
class Counting(Algorithm):
    """Counts the steps of an episode, and acts by whether their number is odd."""

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @property
    def steps_per_update(self):
        return self.config.num_envs * self.config.num_steps

    def init(self, key, hypers, task):
        key, k_env = jax.random.split(key)
        state = State(jnp.float32(0.0), begin(self.env, task, k_env, self.config.num_envs), (), key)
        return state.replace(carry=self.initial_carry(state, self.config.num_envs))

    def initial_carry(self, state, batch_size):
        return jnp.full(batch_size, 100, jnp.int32)  # to be forgotten where an episode begins

    def remember(self, carry, reset):
        return jnp.where(reset, 0, carry) + 1

    def act(self, state, carry, obs, reset, key, greedy):
        carry = self.remember(carry, reset)
        return carry, carry % 2

    def step(self, state, hypers, task):
        key, k_rollout = jax.random.split(state.key)

        def behave(carry, obs, reset, key):
            return *self.act(state, carry, obs, reset, key, False), ()

        def after(carry, next_obs, key):  # V(next_obs): the next step's number, were the episode to go on
            return (carry + 1).astype(jnp.float32)

        done = rollout(self.env, task, behave, state.carry, state.episodes, k_rollout, self.config.num_steps, after)
        value = state.value + hypers.lr * (done.after.mean() - state.value)
        state = state.replace(value=value, episodes=done.episodes, carry=done.carry, key=key)
        return state, done.metrics | {"value": value, "next": done.after.mean()}


def of_four():
    """Episodes of four steps."""
    env = counter()
    return envs.check(env.__class__(**{**vars(env), "name": "toy/of-four", "task": CounterTask(truncate_at=4)}))


@pytest.fixture(autouse=True)
def _registered():
    rljax.envs.register("toy/of-four", of_four)
    rljax.algos.register("counting", Counting)


def test_the_successor_is_seen_with_the_memory_after_the_step_and_before_it_is_forgotten():
    env = of_four()
    algo = Counting(env)
    state = algo.init(jax.random.key(0), Hypers(), env.task)

    def behave(carry, obs, reset, key):
        carry, action = algo.act(state, carry, obs, reset, key, False)
        return carry, action, carry

    done = rollout(
        env, env.task, behave, state.carry, state.episodes, jax.random.key(1), 10, lambda carry, obs, key: (carry, obs)
    )
    number = np.arange(10) % 4 + 1
    np.testing.assert_array_equal(done.steps.reset[:, 0], number == 1)
    np.testing.assert_array_equal(done.steps.extras[:, 0], number)  # as it acted
    carry, obs = done.after
    np.testing.assert_array_equal(carry[:, 0], number)  # also where the episode ends
    np.testing.assert_array_equal(obs, done.steps.next_obs)
    np.testing.assert_array_equal(done.carry, [2, 2, 2])


def test_it_trains_and_evaluates_by_what_it_remembers():
    env = of_four()
    algo = Counting(env)
    state, metrics = jax.jit(lambda key: run(algo, key, Hypers(), env.task, 8))(jax.random.key(0))
    np.testing.assert_array_equal(metrics["next"], 3.5)  # of 2, 3, 4, 5
    np.testing.assert_allclose(state.value, 3.5 * (1.0 - 0.9**8), rtol=1e-5)

    def step(key, env_state, action, task):
        env_state, result = env.step(key, env_state, action, task)
        return env_state, result._replace(reward=action.astype(jnp.float32))

    paid = env.__class__(**{**vars(env), "step": step})
    np.testing.assert_array_equal(evaluate(algo, state, paid, jax.random.key(1), 3), 2.0)  # odd: first and third step


def test_a_policy_remembers_over_calls():
    policy = rljax.train("counting", "toy/of-four", **HOW).policy
    actions = [policy(np.zeros((2, 2), np.float32), reset=np.full(2, t in (0, 3))).tolist() for t in range(5)]
    assert actions == [[1, 1], [0, 0], [1, 1], [1, 1], [0, 0]]


def test_it_is_stored_and_goes_on_to_the_same_bits(tmp_path):
    whole = rljax.train("counting", "toy/of-four", out=tmp_path / "whole", save_every=10, **HOW)
    rljax.train("counting", "toy/of-four", out=tmp_path / "half", save_every=10, **HOW)
    newest = max((tmp_path / "half" / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()
    run = rljax.resume(tmp_path / "half", progress=False)
    np.testing.assert_array_equal(run.policy.state.carry, whole.policy.state.carry)
    np.testing.assert_array_equal(run.policy.state.value, whole.policy.state.value)
    np.testing.assert_array_equal(run.metrics["value"], whole.metrics["value"])
    assert rljax.load(tmp_path / "half").evaluate(2).shape == (2,)


def test_it_is_swept():
    how = HOW | {"seeds": 2, "grid": {"lr": [0.1, 0.2]}, "workers": 1, "width": 2}
    found = rljax.sweep("counting", "toy/of-four", **how)
    lone = rljax.train("counting", "toy/of-four", lr=0.2, seed=1, **HOW)
    np.testing.assert_allclose(found.metrics["value"][1, 1], lone.metrics["value"], rtol=1e-6)
    policy = found.policy(row=1, seed=1)
    assert policy(np.zeros((1, 2), np.float32)).tolist() == [1]
