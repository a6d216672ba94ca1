"""Placing keys on several devices changes no result and no algorithm file."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys
from test_runtime import python

from rljax import algos

PROGRAM = """
import os, rljax, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from toys import suited, tiny
from rljax import algos, envs
from rljax.run import as_arrays, run

assert jax.device_count() == 2
for name in os.environ["ALGORITHMS"].split():
    env = envs.make(suited(name))
    algo = algos.load(name).make(env, tiny(name))
    hypers, task = as_arrays(algo.hypers), as_arrays(env.task)
    go = jax.jit(jax.vmap(lambda key: run(algo, key, hypers, task, 3)))
    keys = jax.random.split(jax.random.key(0), 4)
    axis = NamedSharding(Mesh(np.array(jax.devices()), ("seeds",)), PartitionSpec("seeds"))
    alone, shared = go(keys), go(jax.device_put(keys, axis))
    assert len(shared[1]["episodes"].sharding.device_set) == 2
    for x, y in zip(jax.tree.leaves((alone[0].params, alone[1])), jax.tree.leaves((shared[0].params, shared[1]))):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
print("equal")
"""


@pytest.mark.parametrize(
    "names",
    [["ppo", "dqn", "lpg"], pytest.param(sorted({algos.base(name) for name in algos.names()}), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_two_devices_equal_one(names, tmp_path):
    """Some: one for each way to learn, from a rollout, from a memory, by a rule. Nothing is compiled for speed."""
    given = {"ALGORITHMS": " ".join(names), "PYTHONPATH": str(Path(toys.__file__).parent)}
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    assert python(PROGRAM, XLA_FLAGS="--xla_force_host_platform_device_count=2", **given, **quick).endswith("equal")
