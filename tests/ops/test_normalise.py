"""Running statistics against numpy over everything seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.ops import normalise


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
    stats = normalise.start(jnp.asarray(x[:10]))
    for batch in np.split(x, 10):
        stats = normalise.update(stats, jnp.asarray(batch))
    np.testing.assert_allclose(stats.var, x.var(0), rtol=1e-2)


def test_the_first_observations_are_centred():
    x = jnp.full((8, 3), 1e3) + jnp.arange(8.0)[:, None]
    assert jnp.abs(normalise.normalise(normalise.start(x), x)).max() <= 3.5


def test_the_start_weighs_one_sample():
    rng = np.random.default_rng(1)
    first, rest = rng.normal(5, 0.01, (4, 1)), rng.normal(5, 2, (4000, 1))
    stats = normalise.update(normalise.start(jnp.asarray(first)), jnp.asarray(rest))
    np.testing.assert_allclose(stats.var, rest.var(0), rtol=1e-2)


def test_constant_observations_stay_finite():
    x = jnp.ones((8, 1))
    stats = normalise.start(x)
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
    scale = normalise.start_return_scale(3)
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
    _, scaled = normalise.scale_rewards(normalise.start_return_scale(8), reward, ended, 0.99)
    assert (jnp.sign(scaled) == jnp.sign(reward)).all()
    assert 0.05 < scaled.std() < 1.0
