"""Small things that tests share: tiny settings, an environment that can be checked by hand, a sweep of a second."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import rljax
from rljax import algos, envs
from rljax.ops.tree import as_arrays
from rljax.parts import split
from rljax.run import run
from rljax.sweeps import spec, store
from rljax.types import Box, Dict, Discrete, Env, MultiDiscrete, StepResult

TINY = {"num_envs": 4, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "hidden": (8,)}  # of PPO
OTHERS = {"rule_width": 8, "batch_size": 8, "capacity": 128, "warmup": 32, "gradient_steps": 2, "atoms": 5}


def tiny(algo: str, **settings):
    """The smallest sensible `Config` of an algorithm: whatever fields of these it has."""
    config = algos.load(algo).Config
    names = {f.name for f in dataclasses.fields(config)}
    return config(**{k: v for k, v in (TINY | OTHERS | settings).items() if k in names})


def suited(algo: str) -> str:
    """An environment with actions that an algorithm can take."""
    return "Pendulum-v1" if algo in ("td3", "revalued") else "CartPole-v1"


@partial(jax.jit, static_argnames=("algo", "seeds", "updates"))
def learn(algo, hypers, task, seeds, updates):
    """`seeds` whole runs side by side -> (state [S], metrics [S, U])."""
    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.vmap(lambda key: run(algo, key, hypers, task, updates))(keys)


def learned(algo, env, settings, seeds, updates, **numbers):
    """The same by name, with other numbers than an algorithm begins with -> (algorithm, state [S], metrics [S, U])."""
    env, module = envs.make(env) if isinstance(env, str) else env, algos.load(algo)
    algorithm = module.make(env, module.Config(**settings))
    hypers = algorithm.hypers.replace(horizon=float(updates), **numbers)
    return algorithm, *learn(algorithm, as_arrays(hypers), as_arrays(env.task), seeds, updates)


class CounterTask(struct.PyTreeNode):
    terminate_at: int = 1000  # terminates when the count reaches this
    truncate_at: int = 1000  # truncated when the count reaches this, unless it terminates


def counter(start_high: int = 1) -> Env:
    """Counts from a random start below `start_high`: obs [count, start], reward = the count reached."""

    def reset(key, task):
        start = jax.random.randint(key, (), 0, start_high)
        return (start, start), jnp.stack([start, start]).astype(jnp.float32)

    def step(key, state, action, task):
        count, start = state[0] + 1, state[1]
        terminated = count >= task.terminate_at
        truncated = (count >= task.truncate_at) & ~terminated
        obs = jnp.stack([count, start]).astype(jnp.float32)
        return (count, start), StepResult(obs, count.astype(jnp.float32), terminated, truncated)

    bounds = np.full(2, np.inf, np.float32)
    return Env("toy/counter", reset, step, CounterTask(), Box(-bounds, bounds), Discrete(2))


def broken(obs: float, reward: float, when: int, action_space=None, length: int = 10) -> Env:
    """Adds these to what is seen after `when` steps of an episode, and to the reward of the last or first of them."""

    def reset(key, task):
        return jnp.int32(0), jnp.zeros(2) + (obs if when == 0 else 0.0)

    def step(key, t, action, task):
        t = t + 1
        shown = jnp.zeros(2) + jnp.where(t == when, obs, 0.0)
        return t, StepResult(shown, 1.0 + jnp.where(t == max(when, 1), reward, 0.0), t >= length, t < 0)

    one = np.ones(2, np.float32)
    spaces = Box(-one, one), action_space or Discrete(2)
    return Env("toy/broken", reset, step, (), *spaces, time_limit=lambda task: length)


def pair(lengths=(2, 4)) -> Env:
    """Two agents that count the steps; agent i has ended after `lengths[i]`, and gets its action until then.

    Both are seen and act together: `{"time": [], "alive": [2]}` and `[2]`.
    """

    def show(t):
        return {"time": jnp.float32(t)[None], "alive": t < jnp.array(lengths)}

    def reset(key, task):
        return jnp.int32(0), show(jnp.int32(0))

    def step(key, t, action, task):
        reward = jnp.where(t < jnp.array(lengths), action, 0).astype(jnp.float32)
        ended = t + 1 >= jnp.array(lengths)
        return t + 1, StepResult(show(t + 1), reward, ended, jnp.zeros(2, bool))

    bound, no = np.full(1, max(lengths), np.float32), np.zeros(2, bool)
    space = Dict({"time": Box(0 * bound, bound), "alive": Box(no, ~no, np.dtype(bool))})
    return Env("toy/pair", reset, step, (), space, MultiDiscrete((3, 3)), lambda task: max(lengths), agents=2)


PROBE = "probe/action-observation"  # quick to compile, and its returns depend on seed and settings
SWEEP = {
    "algo": "ppo",
    "env": PROBE,
    "steps": 640,  # 20 updates
    "seeds": 2,
    "grid": {"lr": [1e-3, 1e-2]},
    "log_every": 2,
    "use_preset": False,
}
COMMAND = [  # the same, from a shell
    *("sweep", "ppo", PROBE, "--steps=640", "--seeds=2", "--grid", "lr=1e-3,1e-2", "--log-every=2", "--width=1"),
    *("--num-envs=4", "--num-steps=8", "--num-epochs=2", "--num-minibatches=2", "--hidden=8"),
]
HERE = {"workers": 1, "width": 1, "progress": False}


def _what(changes):
    """SWEEP with changes, and TINY but for what is swept."""
    what = SWEEP | changes
    swept = {**what["grid"], **what.get("sample", {})}
    return {name: value for name, value in TINY.items() if name not in swept} | what


def sweep(**changes):
    """A sweep of two rows and two seeds, in this process and in turn: a second, once its program is compiled."""
    return rljax.sweep(**(HERE | _what(changes)))


def asked(**changes):
    """The same, not run."""
    return spec.specify(**_what(changes))


def assert_same_results(one, other):
    """Two sweeps have come to the same bits."""
    assert one.metrics.keys() == other.metrics.keys()
    for name in ("index", "update", "reached", "diverged"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name, values in one.metrics.items():
        np.testing.assert_array_equal(values, other.metrics[name], err_msg=name)


def stored(folder):
    """Every array of every finished chunk of a sweep, states included, by file and name."""
    found = {}
    for path in store.chunks(folder):
        with np.load(path, allow_pickle=False) as chunk:
            found |= {f"{path.name}/{name}": chunk[name] for name in chunk.files}
    return found


def assert_same_chunks(one, other):
    """The folders of two sweeps hold the same bits."""
    one, other = stored(one), stored(other)
    assert one and one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def instead(command, *options):
    """A command line with these options in place of those of the same names."""
    names = {option.split("=")[0] for option in options}
    return [*(word for word in command if str(word).split("=")[0] not in names), *options]


def recorded(given):
    """The parts of a record that hold these settings, all of them numbers of hypers or of a task."""
    found = split({}, given)._asdict()
    return found | {"objective": found["objective"] and found["objective"]._asdict()}
