"""Every algorithm's program, over a population, lowers for accelerators that need not be there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from test_contract import build, every_algorithm

from rljax.ops.tree import as_arrays
from rljax.run import run


@every_algorithm
def test_a_population_lowers_for_cuda_and_tpu(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    hypers, task = as_arrays(algorithm.hypers), as_arrays(environment.task)
    members = jax.tree.map(lambda x: jnp.stack([x, x]), hypers)

    def population(seeds, members, task):
        one = lambda seed, hypers: run(algorithm, jax.random.key(seed), hypers, task, 2)[1]  # noqa: E731
        return jax.vmap(one)(seeds, members)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (jnp.arange(2), members, task))
    exported = jax.export.export(jax.jit(population), platforms=("cuda", "tpu"))(*shapes)
    assert exported.platforms == ("cuda", "tpu") and exported.mlir_module_serialized
