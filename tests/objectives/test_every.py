"""The contract of every registered objective; a new one is tested by being registered."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives.networks import random_network

import rljax
from rljax import objectives
from rljax.algos import ppo
from rljax.build import describe
from rljax.errors import ConfigError
from rljax.objectives import DPO, LPO, OBJECTIVES, TALPO, PPOClip, name_of, named, register
from rljax.ops.tree import as_arrays
from rljax.run import evaluate, run

CASES = {name: kind() for name, kind in OBJECTIVES.items()}
CASES |= {f"random {kind.__name__}": random_network(kind, 1) for kind in (LPO, TALPO)}
every_objective = pytest.mark.parametrize("objective", list(CASES.values()), ids=list(CASES))
registered = pytest.mark.parametrize("name", list(OBJECTIVES))

LOG_RATIO = jnp.array([-1e4, -30.0, -10.0, -2.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 2.0, 10.0, 30.0, 1e4])
ADVANTAGE = jnp.array([-10.0, -1.0, 0.0, 0.7, 10.0])
GRID = tuple(x.ravel() for x in jnp.meshgrid(LOG_RATIO, ADVANTAGE))


@jax.jit
def loss_and_slope(objective, log_ratio, advantage, progress):
    """Per sample: the loss, and its slope in the log-ratio."""
    return jax.vmap(jax.value_and_grad(lambda x, a: objective(x, a, progress)))(log_ratio, advantage)


@every_objective
def test_shape_out_is_shape_in(objective, strict):
    for shape in ((), (5,), (3, 4)):
        sample = jax.ShapeDtypeStruct(shape, jnp.float32)
        loss = jax.eval_shape(objective, sample, sample, jax.ShapeDtypeStruct((), jnp.float32))
        assert loss.shape == shape and loss.dtype == jnp.float32


@every_objective
def test_everything_stays_finite(objective):
    for progress in (0.0, 0.5, 1.0):
        loss, slope = loss_and_slope(objective, *GRID, progress)
        assert jnp.isfinite(loss).all() and jnp.isfinite(slope).all()


@every_objective
def test_meta_gradients_stay_finite(objective):
    """The slope of the loss, differentiated again: by the ratio, and by the leaves."""

    def slope(objective, x, a):
        return jax.grad(objective, 0)(x, a, 0.5)

    near = jnp.abs(GRID[0]) <= 10
    x, a = GRID[0][near], GRID[1][near]
    found = jax.jit(jax.vmap(jax.grad(slope, (0, 1)), (None, 0, 0)))(as_arrays(objective), x, a)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@every_objective
def test_it_is_a_drift(objective):
    """D >= 0; D = 0 with slope 0 at r = 1, so that there the gradient is the policy gradient."""
    with jax.enable_x64(True):
        x, a = (v.ravel() for v in jnp.meshgrid(jnp.linspace(-3, 3, 61), jnp.linspace(-3, 3, 21)))
        for progress in (0.0, 0.3, 1.0):
            loss, _ = loss_and_slope(objective, x, a, progress)
            assert (loss + jnp.exp(x) * a >= -1e-12).all()
            loss, slope = loss_and_slope(objective, 0 * x, a, progress)
            np.testing.assert_allclose(loss, -a, atol=1e-14)
            np.testing.assert_allclose(slope, -a, atol=1e-14)


@every_objective
def test_slopes_are_those_of_differences(objective):
    with jax.enable_x64(True):
        x, a = jax.random.normal(jax.random.key(0), (2, 50))
        step = 1e-6
        _, slope = loss_and_slope(objective, x, a, 0.4)
        higher, lower = (loss_and_slope(objective, x + d, a, 0.4)[0] for d in (step, -step))
        np.testing.assert_allclose(slope, (higher - lower) / (2 * step), rtol=1e-5, atol=1e-5)


@every_objective
def test_one_program_for_all_numbers_and_for_a_population(objective):
    traces = []

    @jax.jit
    def loss(objective, progress):
        traces.append(1)
        return objective(*GRID, progress)

    objective = as_arrays(objective)
    rows = [jax.tree.map(lambda x, k=k: x * k, objective) for k in (1.0, 0.5, 2.0)]
    alone = [loss(row, jnp.float32(p)) for row, p in zip(rows, (0.0, 0.2, 0.7))]
    assert len(traces) == 1
    together = jax.vmap(loss)(jax.tree.map(lambda *x: jnp.stack(x), *rows), jnp.array([0.0, 0.2, 0.7]))
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-4, atol=1e-4)


@registered
def test_every_leaf_matters(name):
    objective = as_arrays(OBJECTIVES[name]())
    x, a = jax.random.normal(jax.random.key(0), (2, 200))
    leaves, structure = jax.tree.flatten(objective)
    if name in ("lpo", "ta-lpo"):  # behind a last layer of zeros the first one is not seen
        leaves[1] = leaves[1] + 0.1
    loss = jax.jit(lambda leaves: jax.tree.unflatten(structure, leaves)(x, a, 0.5))
    before = loss(leaves)
    for i, leaf in enumerate(leaves):
        after = loss([*leaves[:i], leaf + 0.1, *leaves[i + 1 :]])
        assert not np.allclose(before, after), f"leaf {i} is a dead knob"


@registered
def test_the_default_is_always_the_same(name):
    for one, two in zip(jax.tree.leaves(OBJECTIVES[name]()), jax.tree.leaves(OBJECTIVES[name]())):
        np.testing.assert_array_equal(one, two)


@registered
def test_names_go_both_ways(name):
    kind = OBJECTIVES[name]
    assert named(name) is named(kind.__name__) is kind and name_of(kind()) == name


def test_a_users_own_objective_is_found_by_its_path_once_it_is_plugged_in():
    assert register("rljax.objectives:PPOClip") is PPOClip
    assert named("rljax.objectives:PPOClip") is PPOClip
    with pytest.raises(ConfigError, match="importable"):
        register("nowhere:Nothing")
    with pytest.raises(ConfigError, match="did you mean 'ppo-clip'"):
        named("ppo-klip")


@every_objective
def test_a_record_builds_the_same_objective(objective):
    algo, _ = rljax.make("ppo", "probe/action", objective=objective)
    record = json.loads(json.dumps(describe(algo.hypers)))
    again, _ = rljax.make("ppo", "probe/action", **record)
    one, two = as_arrays(algo.hypers), as_arrays(again.hypers)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_fields_of_a_named_objective_are_settings():
    algo, _ = rljax.make("ppo", "probe/action", objective="DPO", **{"objective.alpha": 1.5})
    assert algo.hypers.objective == DPO(alpha=1.5)


def train_on_a_probe(objective):
    """Returns `[32]` after a short run where the better action is known to give 1, the other 0."""
    config = ppo.Config(num_envs=8, num_steps=32, num_epochs=4, num_minibatches=4, hidden=(16,))
    algo, env = rljax.make("ppo", "probe/action", **{f: getattr(config, f) for f in config.__dataclass_fields__})
    hypers = as_arrays(algo.hypers.replace(lr=5e-3, horizon=40.0, objective=objective))
    task = as_arrays(env.task)
    state, metrics = jax.jit(lambda key: run(algo, key, hypers, task, 40))(jax.random.key(0))
    assert all(jnp.isfinite(x).all() for x in metrics.values())
    return evaluate(algo, state, env, jax.random.key(1), 32)


@pytest.mark.parametrize("name", ["dpo", "ta-lpo"])  # the others are next of kin
def test_ppo_learns_with_it(name):
    np.testing.assert_array_equal(train_on_a_probe(OBJECTIVES[name]()), 1.0)


def test_the_objective_of_the_documentation_trains_ppo():
    _, _, text = (objectives.__doc__ or "").partition("no file has a module imported.\n\n")
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    assert 0 < len([line for line in lines if line]) <= 10
    found: dict = {"__name__": "mine"}
    exec(compile("\n".join(lines), "mine", "exec", dont_inherit=True), found)
    np.testing.assert_array_equal(train_on_a_probe(found["Leash"]()), 1.0)
