"""64-bit numbers and the hunt for NaNs: what a user switches on for their own reasons changes no agent."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from test_contract import WIDE, arrays_of
from toys import counter, tiny

import rljax
from rljax import algos, envs, modes
from rljax.envs import catalogue, gridworld, gridworld_values, wrappers
from rljax.ops.rollout import begin, rollout
from rljax.ops.tree import as_arrays
from rljax.run import run
from rljax.types import Box, Discrete, Env, StepResult

KINDS = [*catalogue.GYMNAX, *catalogue.PROBES, *catalogue.DARKROOMS, *catalogue.KEYDOORS, "bandit/3x10"]
KINDS += ["gridworld/all", "gridworld/rand-small", "brax/inverted_pendulum"]
TINY = {"num_envs": 2, "num_steps": 4, "hidden": (4,), "use_preset": False, "progress": False}


def programs(name):
    """The programs that reset and step of an environment compile to."""
    env = envs._factory(name)()
    key, task = jax.random.key(0), as_arrays(env.task)
    state, _ = jax.eval_shape(env.reset, key, task)
    action = jax.ShapeDtypeStruct(env.action_space.shape, env.action_space.dtype)
    return [jax.make_jaxpr(env.reset)(key, task), jax.make_jaxpr(env.step)(key, state, action, task)]


@pytest.mark.parametrize("name", KINDS)
def test_64_bits_change_no_environment(name):
    with jax.enable_x64(True):
        wide = programs(name)
    assert list(map(arrays_of, wide)) == list(map(arrays_of, programs(name)))
    assert not any(WIDE.search(str(program)) for program in wide)


@pytest.mark.filterwarnings("error:Explicitly requested")
def test_python_numbers_do_no_harm_where_64_bits_are_on():
    """They come in with 64 bits: as a task, as hypers, as a discount."""
    env = envs.make("probe/continuous")
    algorithm = algos.load("ppo").make(env, tiny("ppo"))
    numbers = algorithm.hypers, jax.tree.map(lambda x: x.item(), env.task)
    level = envs.make("gridworld/small").task
    with jax.enable_x64(True):
        state = jax.eval_shape(jax.jit(algorithm.init), jax.random.key(0), *numbers)
        after, _ = jax.eval_shape(jax.jit(algorithm.step), state, *numbers)
        best = jax.eval_shape(gridworld_values.optimal_return, level, 0.9)
        other = jax.eval_shape(gridworld.random_level, jax.random.key(0), "all")
    assert not {str(x.dtype) for x in jax.tree.leaves((state, after, best, other))} & {"float64", "int64"}


class Task(struct.PyTreeNode):
    gravity: float = 0.1


class State(struct.PyTreeNode):
    x: jax.Array
    time: jax.Array


def wide() -> Env:
    """An environment as one writes it who has switched on 64 bits: nothing says how many."""

    def reset(key, task):
        x = jax.random.uniform(key, (2,))
        return State(x, jnp.asarray(0)), x

    def step(key, state, action, task):
        x, time = state.x + task.gravity * (2.0 * action - 1.0), state.time + 1
        return State(x, time), StepResult(x, -jnp.abs(x).sum(), jnp.abs(x).max() > 9, time >= 3)

    bound = np.full(2, np.inf)
    return Env("own/wide", reset, step, Task(), Box(-bound, bound), Discrete(2), time_limit=lambda task: 3)


@pytest.mark.parametrize("change", [lambda env: env, partial(wrappers.sticky_actions, prob=0.5)])
def test_ones_own_physics_has_64_bits_and_its_agent_32(change):
    with jax.enable_x64(True):
        env = change(wide())
        algorithm = algos.load("dqn").make(env, tiny("dqn"))
        arguments = as_arrays(algorithm.hypers.replace(lr=np.float64(1e-3))), as_arrays(env.task)
        state, metrics = jax.eval_shape(partial(run, algorithm, num_updates=2), jax.random.key(0), *arguments)
        physics = jax.tree.leaves(state.episodes.env_state)
        assert {str(x.dtype) for x in physics} >= {"float64", "int64"}
        agent = jax.tree.leaves((state.replace(episodes=state.episodes.replace(env_state=())), metrics))
        assert not {str(x.dtype) for x in agent} & {"float64", "int64", "uint64"}


def test_a_run_with_64_bits_is_a_run_without(tmp_path):
    """Trained with, used without, and the other way round."""
    train = partial(rljax.train, "ppo", "CartPole-v1", steps=64, num_epochs=1, num_minibatches=1, **TINY)
    with jax.enable_x64(True):
        run = train(out=tmp_path / "wide")
        scores = run.evaluate(2)
    narrow = train(out=tmp_path / "narrow")
    for name, x in run.metrics.items():
        if name != "seconds":
            np.testing.assert_array_equal(x, narrow.metrics[name], err_msg=name)
    np.testing.assert_array_equal(rljax.load(tmp_path / "wide").evaluate(2), scores)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(rljax.load(tmp_path / "narrow").evaluate(2), scores)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_healthy_run_computes_no_nan(algo):
    """No episode ends in it; a program without the hunt was compiled before, and is not mistaken for it after."""
    settings = TINY | {"warmup": 8, "batch_size": 4, "capacity": 64, "num_epochs": 1, "num_minibatches": 1}
    known = algos.settings(algo)
    settings = {name: x for name, x in settings.items() if name in known or name in ("use_preset", "progress")}
    train = partial(rljax.train, algo, "Pendulum-v1" if algo == "ppo" else "CartPole-v1", steps=24, **settings)
    before = train()
    with jax.debug_nans(True):
        run = train()
        assert np.isfinite(run.evaluate(1)).all()
    for metrics in (before.metrics, run.metrics, train().metrics):
        assert (metrics["episodes"] == 0).any()
        np.testing.assert_array_equal(np.isnan(metrics["episode_return"]), metrics["episodes"] == 0)


def test_where_nothing_was_counted_a_program_says_nan_and_0_in_a_hunt():
    total, count = jnp.array([0.0, 6.0]), jnp.array([0, 3])
    np.testing.assert_array_equal(modes.ratio(total, count), [np.nan, 2.0])
    with jax.debug_nans(True):
        np.testing.assert_array_equal(modes.ratio(total, count), [0.0, 2.0])


def test_whole_rewards_are_numbers_on_the_pure_level_too():
    env = counter()
    step = env.step

    def whole(key, state, action, task):
        state, result = step(key, state, action, task)
        return state, result._replace(reward=result.reward.astype(jnp.int32))

    env = Env("toy/whole", env.reset, whole, env.task, env.observation_space, env.action_space)
    task, idle = as_arrays(env.task), lambda carry, obs, reset, key: (carry, jnp.zeros(1, jnp.int32), ())
    _, _, steps, _, _ = rollout(env, task, idle, (), begin(env, task, jax.random.key(0), 1), jax.random.key(1), 3)
    assert steps.reward.dtype == jnp.float32
    np.testing.assert_array_equal(steps.reward[:, 0], [1.0, 2.0, 3.0])
