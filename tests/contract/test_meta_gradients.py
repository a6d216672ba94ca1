"""Meta-gradients through `learn` alone: of PPO and PQN, against finite differences."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import TINY, tiny

import rljax
from rljax import algos, envs
from rljax.ops.tree import as_arrays

CASES = [
    pytest.param("ppo", "CartPole-v1", ("lr", "entropy_coef", "value_coef"), id="ppo"),
    pytest.param("ppo", "Pendulum-v1", ("lr", "entropy_coef", "value_coef"), id="ppo-continuous"),
    pytest.param("pqn", "CartPole-v1", ("lr",), id="pqn"),
]
RATES = {"lr": 1e-3, "entropy_coef": 0.05, "value_coef": 0.7}

# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@cache
def collected(name, env):
    """An algorithm, and what it learns from: (algorithm, state, hypers, batch)."""
    algo = algos.load(name)(envs.make(env), tiny(name))
    hypers, task = as_arrays(algo.hypers), as_arrays(algo.env.task)

    def first(key):
        state = algo.init(key, hypers, task)
        state, steps, _ = algo.collect(state, hypers, task, key)
        return algo.targets(state, hypers, steps)[:2]

    return algo, *jax.jit(first)(jax.random.key(0)), hypers


def exact(tree):
    """In float64; by way of numpy, which compiles nothing."""
    return jax.tree.map(lambda x: np.asarray(x, float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


@cache
def outer(algo):
    """(theta, state, batch, hypers) -> a smooth function of the parameters after `learn`, and its derivative."""

    def loss(theta, state, batch, hypers):
        state, _ = algo.learn(state, hypers.replace(**theta), batch, jax.random.key(2))
        leaves = jax.tree.leaves(state.params)
        return sum((jnp.tanh(x) * jnp.cos(7.0 * jnp.arange(x.size).reshape(x.shape))).sum() for x in leaves)

    return jit(jax.value_and_grad(loss))


@pytest.mark.parametrize(("name", "env", "learned"), CASES)
def test_derivatives_through_learn_agree_with_finite_differences(name, env, learned):
    algo, state, batch, hypers = collected(name, env)
    with jax.enable_x64(True):
        state, batch, hypers = exact(state), exact(batch), exact(hypers)
        theta = {which: np.float64(RATES[which]) for which in learned}
        _, gradient = outer(algo)(theta, state, batch, hypers)
        for which in learned:
            points = ({**theta, which: theta[which] + d} for d in (1e-6, -1e-6))
            high, low = (float(outer(algo)(point, state, batch, hypers)[0]) for point in points)
            assert abs(gradient[which]) > 1e-6, which
            np.testing.assert_allclose(gradient[which], (high - low) / 2e-6, rtol=1e-4, err_msg=which)


def test_they_are_finite_where_nothing_is_left_to_learn():
    """Every gradient of the policy is exactly 0: no advantage, no entropy bonus."""
    algo, state, batch, hypers = collected("ppo", "CartPole-v1")
    batch = batch._replace(advantage=jnp.zeros_like(batch.advantage))
    theta = {"lr": jnp.float32(1e-3), "entropy_coef": jnp.float32(0.0)}
    _, gradient = outer(algo)(theta, state, batch, hypers)
    assert all(np.isfinite(x) for x in gradient.values())


def test_ppo_is_meta_trained_by_them():
    settings = {"learn": ("entropy_coef",), "generations": 2, "agents": 2, "num_updates": 2, "meta_steps": 1}
    found = rljax.descend("ppo", "CartPole-v1", 320, **settings, validation_runs=2, progress=False, **TINY)
    assert found.theta["entropy_coef"] != algos.settings("ppo")["entropy_coef"].default
