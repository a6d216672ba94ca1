"""Statistics against scipy's, and against known values of rliable, the code of Agarwal et al. 2021."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from rljax.results.stats import (
    bootstrap_ci,
    iqm,
    mean_band,
    mean_ci,
    optimality_gap,
    paired_difference,
    performance_profile,
    probability_of_improvement,
)

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


@pytest.fixture(scope="module")
def suite():
    """Two algorithms' scores `[runs, tasks]`, with ties, that rliable 1.2.0 was given too."""
    rng = np.random.default_rng(2108)
    scale = np.array([0.2, 0.6, 1.0, 1.4, 2.0])
    x = np.round(rng.gamma(4, 0.25, size=(7, 5)) * scale, 2)
    y = np.round(rng.gamma(4, 0.20, size=(10, 5)) * scale, 2)
    y[:3, 1] = x[:3, 1]
    np.testing.assert_allclose([x.sum(), y.sum()], [32.4, 49.7])  # that the generator still draws the same
    return x, y


@pytest.mark.parametrize(
    ("statistic", "value", "ends"),  # rliable 1.2.0, its ends from 50 000 resamples
    [
        (np.mean, 0.92571429, (0.75885714, 1.09942857)),
        (iqm, 0.79789474, (0.61894737, 0.99842105)),
        (optimality_gap, 0.34514286, (0.27714286, 0.418)),
        (lambda x, axis=None: optimality_gap(x, 1.5, axis), 0.69542857, (0.58428571, 0.80742857)),
    ],
)
def test_aggregates_are_those_of_rliable(suite, statistic, value, ends):
    assert statistic(suite[0]) == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(bootstrap_ci(statistic, suite[0], resamples=10_000), ends, atol=0.012)


def test_performance_profile_is_that_of_rliable(suite):
    shares, low, high = performance_profile(suite[0], [0.0, 0.25, 0.5, 1.0, 2.0, 4.0], resamples=10_000)
    np.testing.assert_allclose(shares, [1.0, 0.77142857, 0.62857143, 0.4, 0.08571429, 0.0], atol=1e-8)
    # A resample has a whole number of runs above: the ends are within one of 35.
    np.testing.assert_allclose(low, [1.0, 0.68571429, 0.51428571, 0.28571429, 0.0, 0.0], atol=0.0287)
    np.testing.assert_allclose(high, [1.0, 0.85714286, 0.71428571, 0.51428571, 0.17142857, 0.0], atol=0.0287)


def test_performance_profile_counts_what_is_strictly_above():
    shares, *_ = performance_profile([1.0, 2.0, 2.0, 3.0], [0.5, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(shares, [1.0, 0.75, 0.25, 0.0])


def test_probability_of_improvement_is_that_of_rliable(suite):
    value, *ends = probability_of_improvement(*suite, resamples=10_000)
    assert value == pytest.approx(0.39428571, abs=1e-8)
    np.testing.assert_allclose(ends, [0.26285714, 0.52571429], atol=0.012)


def test_probability_of_improvement_is_mann_whitneys():
    x, y = RNG.integers(0, 5, 9), RNG.integers(0, 5, 12)
    value, low, high = probability_of_improvement(x, y)
    assert value == pytest.approx(scipy.stats.mannwhitneyu(x, y).statistic / (9 * 12))
    assert low < value < high
    assert probability_of_improvement([3, 4], [1, 2]) == (1, 1, 1)
    assert probability_of_improvement(x, x)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("statistic", [np.mean, iqm])
def test_paired_difference_agrees_with_scipy(statistic):
    noise = RNG.normal(0, 50, 40)  # what a seed does to both
    x, y = noise + RNG.normal(3, 2, 40), noise + RNG.normal(0, 2, 40)
    value, *ends = paired_difference(x, y, statistic, resamples=10_000)
    assert value == pytest.approx(statistic(x - y))
    theirs = scipy.stats.bootstrap((x - y,), statistic, n_resamples=10_000, method="percentile", rng=1)
    np.testing.assert_allclose(ends, theirs.confidence_interval, atol=0.06)
    assert ends[0] > 0 and bootstrap_ci(statistic, x)[0] < y.mean()  # unpaired, they overlap


def test_scores_that_do_not_match():
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="same runs"):
        paired_difference(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="not empty"):
        performance_profile([], [0.0])


def test_optimality_gap():
    assert optimality_gap([0.5, 1.0, 7.0]) == pytest.approx(0.5 / 3)
    np.testing.assert_allclose(optimality_gap([[90.0, 300.0], [200.0, 300.0]], 200.0, axis=-1), [55.0, 0.0])
