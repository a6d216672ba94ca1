"""The strategies of evosax behind the protocol."""

from __future__ import annotations

import importlib
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax.errors import ConfigError
from rljax.meta.evosax import evosax
from rljax.meta.strategies import Strategy

pytest.importorskip("evosax")

THETA = {"a": jnp.array([1.0, -2.0]), "b": {"c": jnp.array(0.5), "d": jnp.zeros((4, 5))}}


def distance(theta):
    return -sum(jnp.square(x - 1.0).sum() for x in jax.tree.leaves(theta))


def generation(strategy, state, key):
    population, state = strategy.ask(key, state)
    return strategy.tell(population, jax.vmap(distance)(population), state), None


# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@jit
def search(strategy, state):
    return jax.lax.scan(partial(generation, strategy), state, jax.random.split(jax.random.key(0), 150))[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CMA_ES", {"std_init": 0.5}),
        ("SNES", {"std_init": 0.5}),
        ("LM_MA_ES", {"std_init": 0.5}),
        ("Open_ES", {"optimizer": optax.adam(0.1), "std_schedule": optax.constant_schedule(0.1)}),
    ],
)
def test_it_maximises(name, settings):
    strategy: Strategy = evosax(name, popsize=16, **settings)
    state = search(strategy, strategy.init(THETA))
    chex.assert_trees_all_close(strategy.mean(state), jax.tree.map(jnp.ones_like, THETA), atol=0.15)


@pytest.mark.parametrize("name", ["CMA_ES", "xNES"])  # xNES keeps its noise in the state that `ask` gives
def test_pieces_programs_and_stored_states_agree(name):
    strategy = evosax(name, popsize=8, std_init=0.5)
    start = strategy.init(THETA)
    step, ask, tell = (jit(f) for f in (partial(generation, strategy), strategy.ask, strategy.tell))
    whole, pieces = start, start
    for seed in range(3):
        whole, _ = step(whole, jax.random.key(seed))
        population, pieces = ask(jax.random.key(seed), pieces)
        data = jax.tree.map(np.asarray, pieces.replace(key=jax.random.key_data(pieces.key)))  # to the host and back
        pieces = jax.tree.map(jnp.asarray, data.replace(key=jax.random.wrap_key_data(data.key)))
        pieces = tell(population, jax.vmap(distance)(population), pieces)
    chex.assert_trees_all_close(strategy.mean(whole), strategy.mean(pieces), rtol=1e-4, atol=1e-5)
    for before, later in zip(jax.tree.leaves(start), jax.tree.leaves(whole), strict=True):
        assert (before.shape, before.dtype) == (later.shape, later.dtype)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(whole))


def test_populations_are_trees_like_theta():
    strategy = evosax("SNES", popsize=6, std_init=0.1)
    population, _ = strategy.ask(jax.random.key(0), strategy.init(THETA))
    chex.assert_trees_all_equal_shapes(population, jax.tree.map(lambda x: jnp.zeros((6, *x.shape)), THETA))
    chex.assert_trees_all_close(strategy.mean(strategy.init(THETA)), THETA)
    assert all(np.all(np.abs(x - t[None]) < 0.6) for x, t in zip(*map(jax.tree.leaves, (population, THETA))))


@pytest.mark.parametrize("fitness", ["one", "all"])
def test_diverged_members_poison_nothing(fitness):
    strategy = evosax("CMA_ES", popsize=8, std_init=0.1)
    population, state = strategy.ask(jax.random.key(0), strategy.init(THETA))
    values = jax.vmap(distance)(population)
    values = values.at[2].set(jnp.nan) if fitness == "one" else jnp.full(8, jnp.nan)
    state = strategy.tell(population, values, state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(strategy.mean(state)))
    assert np.isfinite(state.inner.best_fitness)


def test_numbers_are_traced():
    narrow, wide = (evosax("SNES", popsize=8, std_init=x) for x in (0.01, 1.0))
    traces = []

    @jax.jit
    def spread(strategy):
        traces.append(1)
        population, _ = strategy.ask(jax.random.key(0), strategy.init(THETA))
        return population["b"]["d"].std()

    found = [spread(jax.tree.map(jnp.float32, strategy)) for strategy in (narrow, wide)]
    assert len(traces) == 1
    np.testing.assert_allclose(found[1] / found[0], 100.0, rtol=0.5)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("CMAES", {}, "unknown strategy of evosax 'CMAES'; did you mean 'CMA_ES'"),
        ("SimpleGA", {}, "unknown strategy of evosax 'SimpleGA'"),  # it has no mean
        ("CMA_ES", {"std_int": 0.1}, "unknown setting of CMA_ES 'std_int'; did you mean 'std_init'"),
        ("Open_ES", {"popsize": 7}, "Open_ES of evosax with popsize=7: .*even"),
        ("RandomSearch", {}, "sampling_fn"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        evosax(name, **settings)
    assert "\n" not in str(caught.value)


def test_without_evosax_the_remedy_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="pip install evosax"):
        evosax("CMA_ES", popsize=2024)
