"""Statistics against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from rljax.results.stats import bootstrap_ci, iqm, mean_band, mean_ci

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 10, 101])
def test_iqm_is_the_trimmed_mean(n):
    x = RNG.standard_normal((n, 3))
    np.testing.assert_allclose(iqm(x), scipy.stats.trim_mean(x.ravel(), 0.25))
    np.testing.assert_allclose(iqm(x, axis=0), scipy.stats.trim_mean(x, 0.25, axis=0))
    np.testing.assert_allclose(iqm(x, axis=-1), scipy.stats.trim_mean(x, 0.25, axis=-1))


def test_iqm_ignores_outliers():
    assert iqm([1e9, 1, 2, 3, 4, 5, 6, -1e9]) == 3.5


@pytest.mark.parametrize("statistic", [np.mean, np.median, iqm])
def test_bootstrap_agrees_with_scipy(statistic):
    x = RNG.exponential(size=60)
    theirs = scipy.stats.bootstrap(
        (x,), statistic, n_resamples=10_000, method="percentile", vectorized=True, rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(bootstrap_ci(statistic, x, resamples=10_000), (theirs.low, theirs.high), atol=0.02)


def test_bootstrap_is_stratified():
    """Tasks that differ a lot, runs that do not: the interval sees the runs' spread alone."""
    x = np.array([0.0, 100.0, 1000.0]) + RNG.standard_normal((20, 3))
    low, high = bootstrap_ci(np.mean, x)
    exact = 2 * 1.96 * x.std(0).mean() / np.sqrt(x.size)
    assert low < x.mean() < high and high - low == pytest.approx(exact, rel=0.2)


def test_bootstrap_options():
    x = RNG.standard_normal(5000)  # several blocks
    assert bootstrap_ci(np.mean, x) == bootstrap_ci(np.mean, x)
    assert bootstrap_ci(np.mean, x, seed=1) != bootstrap_ci(np.mean, x)
    wide, narrow = bootstrap_ci(np.mean, x, 0.99), bootstrap_ci(np.mean, x, 0.5)
    assert wide[0] < narrow[0] < x.mean() < narrow[1] < wide[1]


def test_mean_ci():
    x = RNG.normal(200, 30, size=100)
    mean, low, high = mean_ci(x)
    assert mean == x.mean()
    np.testing.assert_allclose((low, high), mean + np.array([-1.96, 1.96]) * x.std() / 10, atol=1.5)


@pytest.mark.parametrize("x", [[0.1] * 7, [0.1], np.full((3, 2), 0.1)])
def test_mean_ci_of_equal_scores_is_exact(x):
    assert mean_ci(x) == (0.1, 0.1, 0.1)


def test_bad_shapes():
    for x in ([], np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match="expected"):
            bootstrap_ci(np.mean, x)
    with pytest.raises(ValueError, match="expected"):
        mean_ci([])


def test_mean_band_is_the_pointwise_interval():
    curves = RNG.standard_normal((30, 4))
    low, high = mean_band(curves, resamples=20_000)
    theirs = scipy.stats.bootstrap((curves,), np.mean, n_resamples=20_000, method="percentile", rng=1, axis=0)
    np.testing.assert_allclose(low, theirs.confidence_interval.low, atol=0.03)
    np.testing.assert_allclose(high, theirs.confidence_interval.high, atol=0.03)
    np.testing.assert_array_equal(mean_band(curves[:1]), [curves[0]] * 2)
