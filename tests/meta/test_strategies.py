"""Evolution strategies: shaping in closed form, gradients in expectation, and optima that are known."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.meta.strategies import (
    SHAPINGS,
    OpenES,
    Strategy,
    centred_ranks,
    pairs,
    pairwise,
    raw,
    z_score,
)

NAN, INF = float("nan"), float("inf")
THETA = {"a": jnp.array([1.0, -2.0]), "b": {"c": jnp.array(0.5)}}
every_shaping = pytest.mark.parametrize("shaping", SHAPINGS.values(), ids=SHAPINGS)


# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def distance(theta):
    """0 at a = b = 3, negative elsewhere."""
    return -sum(jnp.square(x - 3.0).sum() for x in jax.tree.leaves(theta))


def generation(strategy, evaluate, state, key):
    population, state = strategy.ask(key, state)
    fitness = jax.vmap(evaluate)(population)
    return strategy.tell(population, fitness, state), fitness


def search(strategy, generations):
    keys = jax.random.split(jax.random.key(0), generations)
    state, _ = jax.lax.scan(partial(generation, strategy, distance), strategy.init(THETA), keys)
    return strategy.mean(state)


@pytest.mark.parametrize(
    ("fitness", "expected"),
    [
        ([10.0, -1.0, 3.0], [0.5, -0.5, 0.0]),
        ([1.0, 2.0, 2.0, 5.0], [-0.5, 0.0, 0.0, 0.5]),
        ([2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]),
        ([1.0, 1.0, 2.0, 3.0, 4.0], [-0.375, -0.375, 0.0, 0.25, 0.5]),
        ([NAN, 1.0, 2.0], [-0.5, 0.0, 0.5]),
        ([NAN, -INF, INF, 2.0], [-1 / 6, -1 / 6, -1 / 6, 0.5]),
    ],
)
def test_centred_ranks(fitness, expected):
    np.testing.assert_allclose(centred_ranks(jnp.array(fitness)), expected, atol=1e-7)


def test_z_score():
    found = z_score(jnp.array([1.0, 2.0, 3.0, 6.0]))
    np.testing.assert_allclose(found, np.array([-2.0, -1.0, 0.0, 3.0]) / np.sqrt(3.5), rtol=1e-6)
    np.testing.assert_array_equal(z_score(jnp.full(4, 7.0)), 0.0)
    np.testing.assert_allclose(z_score(jnp.array([0.0, 2.0, NAN, 2.0])), [-1.0, 1.0, -1.0, 1.0], rtol=1e-6)


def test_pairwise():
    fitness = jnp.array([5.0, 1.0, 2.0, NAN, NAN, 4.0, 1.5, 2.0, -9.0, NAN])
    np.testing.assert_array_equal(pairwise(fitness), [1.0, 0.0, 0.5, 0.0, 0.5, 0.0, 1.0, 0.5, 1.0, 0.5])


def test_raw():
    np.testing.assert_array_equal(raw(jnp.array([5.0, NAN, -3.0, INF])), [5.0, -3.0, -3.0, -3.0])
    np.testing.assert_array_equal(raw(jnp.full(3, NAN)), 0.0)


def test_members_of_a_pair_are_mirrored():
    strategy = OpenES(popsize=6, sigma=0.1)
    population, _ = strategy.ask(jax.random.key(0), strategy.init(THETA))
    chex.assert_trees_all_equal_shapes(population, jax.tree.map(lambda x: jnp.zeros((6, *x.shape)), THETA))
    centre = jax.tree.map(lambda x: (x[:3] + x[3:]) / 2, population)
    chex.assert_trees_all_close(centre, jax.tree.map(lambda x: jnp.stack([x] * 3), THETA), atol=1e-6)
    assert not np.allclose(population["a"][0], population["a"][1])
    np.testing.assert_array_equal(pairs(6), [0, 1, 2, 0, 1, 2])


def test_the_perturbations_have_the_asked_spread():
    strategy = OpenES(popsize=4096, sigma=0.3)
    population, _ = strategy.ask(jax.random.key(0), strategy.init({"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}))
    for x, mean in ((population["a"][:, 0], 1.0), (population["b"], 3.0)):
        np.testing.assert_allclose(x.mean(), mean, atol=1e-4)
        np.testing.assert_allclose(x.std(), 0.3, rtol=0.05)
    assert abs(np.corrcoef(population["a"][:, 0], population["b"])[0, 1]) < 0.05  # leaves are independent


@every_shaping
def test_constant_fitness_moves_nothing(shaping):
    strategy = OpenES(popsize=8, shaping=shaping)
    state = strategy.init(THETA)
    ask, tell = jit(strategy.ask), jit(strategy.tell)
    for seed, fitness in enumerate((0.1, -1e6, 0.0, NAN)):
        population, state = ask(jax.random.key(seed), state)
        state = tell(population, jnp.full(8, fitness), state)
        chex.assert_trees_all_equal(strategy.mean(state), THETA)


@every_shaping
def test_a_diverged_member_is_avoided_and_poisons_nothing(shaping):
    strategy = OpenES(popsize=8, shaping=shaping, lr=0.1)
    state = strategy.init(jnp.array(0.0))
    state, _ = jit(partial(generation, strategy, lambda x: jnp.where(x > 0.0, NAN, 1.0 - x)))(state, jax.random.key(0))
    mean = strategy.mean(state)
    assert np.isfinite(mean) and mean < 0.0


def test_the_gradient_is_right_in_expectation():
    matrix, vector = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([1.0, -3.0])
    strategy, mean = OpenES(popsize=16, shaping=raw, sigma=0.2), jnp.array([0.7, -0.4])
    state = strategy.init(mean)

    def estimate(key):
        population, _ = strategy.ask(key, state)
        fitness = population @ vector - 0.5 * jnp.einsum("ni,ij,nj->n", population, matrix, population)
        return strategy.gradient(population, fitness, state)

    found = jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 4000))
    error = found.std(0) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(0) - (vector - matrix @ mean)) < 4.0 * error)
    assert np.all(error < 0.03)


def test_one_step_by_hand():
    strategy = OpenES(popsize=4, shaping=raw, sigma=0.5, lr=0.1, eps=0.0, weight_decay=0.2)
    state = strategy.init(jnp.array([1.0, 2.0]))
    noise = jnp.array([[1.0, 0.0], [1.0, -2.0]])
    population = state.mean + 0.5 * jnp.concatenate([noise, -noise])
    fitness = jnp.array([3.0, 1.0, 1.0, 2.0])
    gradient = ((3.0 - 1.0) * noise[0] + (1.0 - 2.0) * noise[1]) / (4 * 0.5)
    np.testing.assert_allclose(strategy.gradient(population, fitness, state), gradient, rtol=1e-6)
    # Adam's first step is the sign of the gradient.
    expected = jnp.array([1.0, 2.0]) * (1.0 - 0.1 * 0.2) + 0.1 * jnp.sign(gradient)
    np.testing.assert_allclose(strategy.tell(population, fitness, state).mean, expected, rtol=1e-6)


def test_schedules_decay_to_their_limits():
    strategy = OpenES(sigma=0.1, sigma_decay=0.5, sigma_limit=0.02, lr=0.01, lr_decay=0.9, lr_limit=0.5)
    generations = jnp.arange(4)
    np.testing.assert_allclose(strategy.sigma_at(generations), [0.1, 0.05, 0.025, 0.02], rtol=1e-6)
    np.testing.assert_allclose(strategy.lr_at(generations), 0.01)  # a limit above the start is none


@every_shaping
def test_it_finds_the_optimum_of_a_quadratic(shaping):
    strategy = OpenES(popsize=32, shaping=shaping, sigma=0.1, lr=0.1, lr_decay=0.99, beta1=0.9, beta2=0.9)
    found = jit(search, static_argnums=1)(strategy, 400)
    chex.assert_trees_all_close(found, jax.tree.map(lambda x: jnp.full_like(x, 3.0), THETA), atol=0.05)


def test_it_finds_the_best_learning_rate_of_an_agent():
    """An agent that goes down c x^2 / 2 from x = 1 with noise of deviation s in its gradient.

    After one step E x^2 = (1 - lr c)^2 + lr^2 s^2, least at lr = c / (c^2 + s^2).
    """
    curvature, noise = 2.0, 1.0

    def run(theta, key):
        x = 1.0 - jnp.exp(theta["log_lr"]) * (curvature + noise * jax.random.normal(key))
        return -jnp.square(x)

    strategy = OpenES(popsize=64, shaping=pairwise, sigma=0.3, sigma_limit=0.1, lr=0.1, lr_decay=0.99, beta1=0.9)

    def step(state, key):
        k_ask, k_run = jax.random.split(key)
        population, state = strategy.ask(k_ask, state)
        seeds = jax.random.split(k_run, (32, 16))[pairs(64)]  # a pair shares its 16 keys
        fitness = jax.vmap(lambda theta, keys: jax.vmap(partial(run, theta))(keys).mean())(population, seeds)
        return strategy.tell(population, fitness, state), None

    start, keys = strategy.init({"log_lr": jnp.log(0.01)}), jax.random.split(jax.random.key(0), 300)
    state, _ = jit(partial(jax.lax.scan, step))(start, keys)
    np.testing.assert_allclose(jnp.exp(strategy.mean(state)["log_lr"]), 0.4, rtol=0.1)


def test_a_generation_as_one_program_equals_its_pieces():
    strategy: Strategy = OpenES(popsize=8)
    whole, pieces = strategy.init(THETA), strategy.init(THETA)
    together = jit(partial(generation, strategy, distance))
    ask, tell, evaluate = jit(strategy.ask), jit(strategy.tell), jit(jax.vmap(distance))
    for seed in range(3):
        key = jax.random.key(seed)
        whole, _ = together(whole, key)
        population, pieces = ask(key, pieces)
        pieces = tell(population, evaluate(population), pieces)
    chex.assert_trees_all_close(whole, pieces, rtol=1e-5, atol=1e-6)


def test_one_program_for_all_numbers_and_a_search_for_each_of_many():
    traces = []

    @jit
    def step(strategy, state, key):
        traces.append(1)
        return generation(strategy, distance, state, key)[0]

    state = OpenES().init(THETA)
    for factor in (1.0, 0.5, jnp.float32(2.0)):
        numbers = jax.tree.map(lambda x, f=factor: jnp.float32(x * f), OpenES())
        state = step(numbers, state, jax.random.key(0))
    assert len(traces) == 1


def test_a_search_for_each_of_many_numbers():
    many = OpenES(popsize=8, lr_limit=0.0).replace(lr=jnp.array([0.0, 0.1]))
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, many)
    found = jit(jax.vmap(lambda strategy: search(strategy, 20), (axes,)))(many)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], found), THETA)
    assert distance(jax.tree.map(lambda x: x[1], found)) > distance(THETA)


def test_a_stored_state_goes_on_to_the_bit():
    strategy = OpenES(popsize=8)
    step = jit(partial(generation, strategy, distance))
    keys = jax.random.split(jax.random.key(0), 4)
    state, half = strategy.init(THETA), None
    for i, key in enumerate(keys):
        state, _ = step(state, key)
        half = jax.tree.map(np.asarray, state) if i == 1 else half
    for key in keys[2:]:
        half, _ = step(jax.tree.map(jnp.asarray, half), key)
    chex.assert_trees_all_equal(state, half)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))


def test_states_keep_their_types_and_keys_are_not_reused(strict):
    strategy = OpenES(popsize=4)
    state = strategy.init(THETA)
    after, _ = jax.eval_shape(partial(generation, strategy, distance), state, jax.random.key(0))
    for before, later in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (before.shape, before.dtype, before.weak_type) == (later.shape, later.dtype, later.weak_type)
    jit(partial(generation, strategy, distance))(state, jax.random.key(0))


@pytest.mark.parametrize("popsize", [0, 1, 7, -2])
def test_members_come_in_pairs(popsize):
    with pytest.raises(ConfigError, match=f"popsize={popsize}: must be even"):
        OpenES(popsize=popsize)


def test_theta_must_be_floating_point_numbers():
    with pytest.raises(ConfigError, match=r"theta\['n'\] is int32"):
        OpenES().init({"n": 3})
    with pytest.raises(ConfigError, match="holds no numbers"):
        OpenES().init({})
