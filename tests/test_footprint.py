"""The lower bound on a run's memory is never above its use; a run far above it is refused before it compiles."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest
from toys import PROBE

import rljax
from rljax import cli, footprint, resources
from rljax.errors import ConfigError
from rljax.meta.registry import strategy
from rljax.objectives import LPO, network
from rljax.ops.tree import as_arrays
from rljax.run import start
from rljax.spec import prepare

GB = 10**9


@pytest.fixture(autouse=True)
def eight_gigabytes(monkeypatch):
    monkeypatch.setattr(resources, "free", lambda: 8 * GB)


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("ppo", {"num_envs": 64, "num_steps": 32, "hidden": (32,), "num_minibatches": 1, "num_epochs": 1}),
        ("dqn", {"capacity": 5000, "warmup": 200, "hidden": (32,), "batch_size": 64}),
    ],
)
def test_it_is_a_lower_bound(algo, settings):
    plan = prepare(algo, "CartPole-v1", steps=4096, use_preset=False, **settings)
    need, metrics = footprint.least(plan.algorithm, plan.task, 1)
    hypers, task = as_arrays(plan.algorithm.hypers), as_arrays(plan.env.task)
    state = start(plan.algorithm, jax.random.key(0), hypers, task)
    compiled = jax.jit(plan.algorithm.step).lower(state, hypers, task).compile()
    found = compiled.memory_analysis()
    whole = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    state_bytes = sum(
        x.nbytes for x in jax.tree.leaves(state) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
    )
    assert max(state_bytes, 0.1 * whole) < need < whole
    assert set(metrics) == set(jax.eval_shape(plan.algorithm.step, state, hypers, task)[1])


@pytest.mark.parametrize(
    ("algo", "env", "settings", "field"),
    [
        ("ppo", "CartPole-v1", {"num_envs": 10_000_000, "steps": 10**10}, "num_envs=10000000: takes at least"),
        ("ppo", "CartPole-v1", {"num_steps": 100_000_000, "steps": 10**10}, "num_steps=100000000: takes at least"),
        ("ppo", "CartPole-v1", {"hidden": (10**9, 10**9), "steps": 10**5}, "hidden=.*: takes at least"),
        ("ppo", "CartPole-v1", {"num_envs": 2**31 - 1, "num_minibatches": 1, "steps": 10**12}, "more entries than 32"),
        (
            "sac",
            "Pendulum-v1",
            {"num_envs": 20_000_000, "warmup": 20_000_000, "steps": 10**8, "capacity": 4 * 10**7},
            "=",
        ),
    ],
)
def test_what_is_far_too_big_is_refused_and_leaves_nothing(algo, env, settings, field, tmp_path):
    with pytest.raises(ConfigError, match=field) as error:
        rljax.train(algo, env, out=tmp_path / "a", use_preset=False, progress=False, **settings)
    assert "give a smaller one" in str(error.value) and "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


def test_a_sweep_is_refused_before_it_compiles(tmp_path):
    with pytest.raises(ConfigError, match="num_envs=10000000: takes at least"):
        rljax.sweep("ppo", "CartPole-v1", 10**10, 1, num_envs=10_000_000, out=tmp_path / "a", progress=False)
    with pytest.raises(ConfigError, match="unknown metric 'episode_retrun'; did you mean 'episode_return'"):
        rljax.sweep("ppo", PROBE, 64, 1, use_preset=False, halving=2, score="episode_retrun", progress=False)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("search", "field"),
    [
        ({"num_envs": 10_000_000}, "num_envs=10000000: takes at least"),
        (
            {"strategy": strategy(popsize=10**6), "objective": LPO(**network(8, 10**5))},
            "popsize=1000000: takes at least",
        ),
    ],
)
def test_a_search_is_refused_before_it_compiles(search, field, tmp_path):
    with pytest.raises(ConfigError, match=field):
        rljax.evolve("ppo", "CartPole-v1", 10**10, **{"objective": LPO()} | search, out=tmp_path / "a", progress=False)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_a_full_memory_is_one_line(error, capsys, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise error

    monkeypatch.setattr("rljax.run.train", full)
    size = "--steps 64 --num-envs 4 --num-steps 8 --num-minibatches 1 --hidden 4 --no-tensorboard --episodes 0"
    assert cli.main(["train", "ppo", PROBE, *size.split(), "--out", str(tmp_path / "a")]) == cli.FAILED
    said = capsys.readouterr().err
    assert "rljax: the memory is full" in said and "Traceback" not in said


def test_what_a_process_may_map_counts(monkeypatch):
    import resource

    monkeypatch.undo()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (0, 0))
    assert resources.free() == 0 and np.isfinite(resources.free())
