"""Numbers that change over a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.catalogue import SCHEDULES
from rljax.errors import ConfigError
from rljax.ops.schedules import along, annealed, check, linear_schedule, progress


def test_progress_ends_with_the_run_and_never_begins_in_an_endless_one():
    updates = jnp.array([0, 1, 4, 5, 1000])
    np.testing.assert_allclose(progress(updates, 4.0), [0.0, 0.25, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(progress(updates, jnp.inf), 0.0)


def test_what_is_annealed_ends_at_its_final_share():
    np.testing.assert_allclose(annealed(2.0, 0.25, jnp.array([0.0, 0.5, 1.0])), [2.0, 1.25, 0.5])


def test_it_falls_and_stays():
    found = linear_schedule(jnp.array([0.0, 0.25, 0.5, 1.0]), 0.8, 0.1, 0.5)
    np.testing.assert_allclose(found, [0.8, 0.45, 0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 1e-30])
def test_no_share_of_a_run_means_at_once(share):
    over = jnp.array([0.0, 0.5, 1.0]) if share == 0.0 else jnp.array([1e-3, 0.5, 1.0])
    fall = jax.jit(linear_schedule)
    np.testing.assert_allclose(fall(over, 0.8, 0.1, share), 0.1, rtol=1e-6)
    assert all(np.isfinite(jax.grad(fall, (0, 1, 2, 3))(0.5, 0.8, 0.1, 0.0)))


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_stays_within_its_ends(name):
    check(name)
    way = jax.jit(jax.vmap(lambda p: along(name, p)))(jnp.linspace(0.0, 1.0, 101))
    assert way.dtype == jnp.float32 and (way >= 0.0).all() and (way <= 1.0).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linear", [0.0, 0.25, 0.5, 1.0]),
        ("constant", [0.0, 0.0, 0.0, 0.0]),
        ("cosine", [0.0, (1 - np.cos(np.pi / 4)) / 2, 0.5, 1.0]),
        ("steps(0.25,0.75)", [0.0, 0.5, 0.5, 1.0]),
        ("warmup(0.5)", [1.0, 0.5, 0.0, 1.0]),
        ("warmup(0.25, then='constant')", [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_schedules_by_hand(text, expected):
    np.testing.assert_allclose(along(text, jnp.array([0.0, 0.25, 0.5, 1.0])), expected, atol=1e-6)


def test_a_number_goes_by_a_schedule():
    np.testing.assert_allclose(annealed(2.0, 0.5, along("cosine", jnp.array([0.0, 0.5, 1.0]))), [2.0, 1.5, 1.0])
    found = linear_schedule(jnp.array([0.0, 0.25, 0.5, 1.0]), 0.8, 0.1, 0.5, "cosine")
    np.testing.assert_allclose(found, [0.8, 0.45, 0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
        ("cosine(3)", r"schedule 'cosine\(3\)': .*argument"),
        ("pair", "schedule=pair: must give one number"),
    ],
)
def test_a_schedule_that_cannot_be(text, message, monkeypatch):
    monkeypatch.setitem(SCHEDULES.registered(), "pair", lambda progress: jnp.array([progress, progress]))
    with pytest.raises(ConfigError, match=message):
        check(text)
