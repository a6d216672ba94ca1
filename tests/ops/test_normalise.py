"""Standardised batches, and running statistics against numpy over everything seen; none of it has a unit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.ops import normalise

UNITS = [1e-12, 1e-6, 1e-3, 1.0, 1e6, 1e12]
NORMAL = np.random.default_rng(3).normal(size=256).astype(np.float32)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("unit", UNITS)
def test_a_standardised_batch_has_no_unit(unit):
    x = NORMAL.astype(np.float64)
    found = normalise.standardise(jnp.asarray(unit * x, jnp.float32))
    np.testing.assert_allclose(found, (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)


def test_a_standardised_batch_does_not_lose_what_varies_far_from_zero():
    x = jnp.asarray(1e6 + NORMAL)
    found = np.asarray(normalise.standardise(x))
    seen = np.asarray(x, np.float64)  # rounded to a sixteenth
    np.testing.assert_allclose(found, (seen - seen.mean()) / seen.std(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x", [[0.0] * 8, [0.1] * 100, [1e-30] * 7, [3e8] * 7, [5.0], [1.0, 1.0 + 2e-7]])
def test_what_is_equal_but_for_rounding_is_zero_and_so_is_its_slope(x):
    x = jnp.array(x)
    weight = jnp.arange(1.0, len(x) + 1)
    value, slope = jax.value_and_grad(lambda x: (normalise.standardise(x) * weight).sum())(x)
    assert value == 0.0
    np.testing.assert_array_equal(slope, 0.0)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_slope_of_standardising_is_that_of_its_formula(unit):
    x, weight = jnp.asarray(unit * NORMAL[:16]), jnp.asarray(NORMAL[16:32])
    slope = jax.grad(lambda x: (normalise.standardise(x) * weight).sum())(x)
    z = (NORMAL[:16] - NORMAL[:16].mean()) / NORMAL[:16].std()
    expected = weight - weight.mean() - z * (weight * z).mean()
    np.testing.assert_allclose(unit * NORMAL[:16].std() * slope, expected, rtol=1e-3, atol=1e-4)


def test_a_nan_is_not_hidden():
    assert np.isnan(normalise.standardise(jnp.array([1.0, jnp.nan, 2.0]))).all()


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("unit", UNITS)
def test_running_statistics_have_no_unit(unit):
    """This holds from the first batch on."""
    x = unit * NORMAL.reshape(8, 32, 1)
    stats = normalise.update(normalise.init(jnp.asarray(x[0])), jnp.asarray(x))
    expected = (NORMAL - NORMAL.mean()) / NORMAL.std()
    np.testing.assert_allclose(normalise.normalise(stats, jnp.asarray(x)).ravel(), expected, rtol=1e-4, atol=1e-5)
    reward, ended = jnp.asarray(x[..., 0]), jnp.zeros((8, 32), bool)
    found, plain = (
        normalise.scale_rewards(normalise.init_return_scale(32), r, ended, 0.99)[1] for r in (reward, reward / unit)
    )
    np.testing.assert_allclose(found, plain, rtol=1e-4)


def test_features_far_from_zero_keep_their_variance():
    """Sums of 8192 numbers around 1e6 would round to more than the numbers vary by."""
    x = (1e6 + np.random.default_rng(0).normal(size=(8192, 1))).astype(np.float32)
    stats = normalise.init(jnp.asarray(x[:4]))
    for _ in range(3):
        stats = normalise.update(stats, jnp.asarray(x))
    np.testing.assert_allclose(stats.var, x.astype(np.float64).var(0), rtol=1e-3)
    np.testing.assert_allclose(np.std(normalise.normalise(stats, jnp.asarray(x))), 1.0, rtol=1e-2)


def test_rewards_that_are_all_equal_are_divided_by_their_size():
    """Episodes of one step."""
    for size in (1e-6, 1.0, 1e6):
        reward, ended = jnp.full((16, 4), -size), jnp.ones((16, 4), bool)
        _, scaled = normalise.scale_rewards(normalise.init_return_scale(4), reward, ended, 0.99)
        np.testing.assert_allclose(scaled, -1.0, rtol=1e-5)
    _, scaled = normalise.scale_rewards(normalise.init_return_scale(4), jnp.zeros((16, 4)), ended, 0.99)
    np.testing.assert_array_equal(scaled, 0.0)


@pytest.mark.usefixtures("strict")
def test_streaming_equals_numpy_over_all_steps_and_environments():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, scale, size=(16, 4, 2)).astype(np.float32) for scale in (1, 5, 0.1)]
    stats = normalise.RunningStats(mean=jnp.zeros(2), var=jnp.zeros(2), count=jnp.zeros(()))
    for batch in batches:
        stats = normalise.update(stats, jnp.asarray(batch))
    seen = np.concatenate(batches).reshape(-1, 2)
    np.testing.assert_allclose(stats.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats.var, seen.var(0), rtol=1e-4)
    assert stats.count == len(seen)


def test_large_offsets_lose_nothing():
    x = 1e4 + np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    stats = normalise.init(jnp.asarray(x[:10]))
    for batch in np.split(x, 10):
        stats = normalise.update(stats, jnp.asarray(batch))
    np.testing.assert_allclose(stats.var, x.var(0), rtol=1e-2)


def test_the_first_observations_are_centred():
    x = jnp.full((8, 3), 1e3) + jnp.arange(8.0)[:, None]
    assert jnp.abs(normalise.normalise(normalise.init(x), x)).max() <= 3.5


def test_the_start_weighs_nothing():
    rng = np.random.default_rng(1)
    first, rest = rng.normal(5, 0.01, (4, 1)), rng.normal(5, 2, (40, 1))
    stats = normalise.update(normalise.init(jnp.asarray(first)), jnp.asarray(rest))
    np.testing.assert_allclose(stats.var, rest.var(0), rtol=1e-5)
    np.testing.assert_allclose(stats.mean, rest.mean(0), rtol=1e-5)


def test_constant_observations_stay_finite():
    x = jnp.ones((8, 1))
    stats = normalise.init(x)
    for _ in range(1000):
        stats = normalise.update(stats, x)
    assert jnp.isfinite(normalise.normalise(stats, x)).all()


@pytest.mark.usefixtures("strict")
def test_returns_against_brute_force_per_episode():
    rng, discount = np.random.default_rng(2), 0.9
    reward = rng.normal(size=(30, 3)).astype(np.float32)
    ended = rng.random((30, 3)) < 0.2
    returns = []
    for e in range(3):
        running = 0.0
        for t in range(30):
            running = discount * running + reward[t, e]
            returns.append(running)
            running = 0.0 if ended[t, e] else running
    scale = normalise.init_return_scale(3)
    scale = scale.replace(stats=scale.stats.replace(count=jnp.zeros(())))
    parts = []
    for half in (slice(0, 13), slice(13, 30)):  # an episode may span two updates
        scale, _ = normalise.scale_rewards(scale, jnp.asarray(reward[half]), jnp.asarray(ended[half]), discount)
        parts.append(scale)
    np.testing.assert_allclose(scale.stats.var, np.var(returns), rtol=1e-4)
    last = [0.0 if ended[-1, e] else returns[30 * e + 29] for e in range(3)]
    np.testing.assert_allclose(scale.returns, last, rtol=1e-4, atol=1e-6)


def test_rewards_keep_their_sign_and_get_unit_scale():
    reward = 100.0 * jax.random.normal(jax.random.key(0), (500, 8))
    ended = jnp.zeros((500, 8), bool)
    _, scaled = normalise.scale_rewards(normalise.init_return_scale(8), reward, ended, 0.99)
    assert (jnp.sign(scaled) == jnp.sign(reward)).all()
    assert 0.05 < scaled.std() < 1.0
