"""A memory alone: steps of plain descent on sequences, `num_steps` long, a batch of `num_envs`."""

import jax
import jax.numpy as jnp
from program import Program, jitted

from rljax.nets.memory import memory


def build(workload):
    """Descends on mean squares of the outputs; its score is the number of parameters."""
    s = workload.settings
    module, shape = memory(s["memory"]), (s["num_steps"], s["num_envs"])
    x = jax.random.normal(jax.random.key(1), (*shape, module.width))
    reset = jax.random.bernoulli(jax.random.key(2), 0.01, shape)
    carry = module.initial_carry(s["num_envs"])
    params = jax.jit(module.init)(jax.random.key(0), carry, x, reset)

    def train(params, carry, x, reset):
        def loss(params):
            return (module.apply(params, carry, x, reset)[1] ** 2).mean()

        def descend(_, params):
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))

        return jax.lax.fori_loop(0, workload.updates, descend, params)

    size = float(sum(jnp.size(p) for p in jax.tree.leaves(params)))
    return Program(jitted(train, lambda seed: (params, carry, x, reset)), lambda out: size)
