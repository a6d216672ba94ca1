"""The written-down objectives: values and slopes from their formulas, and their slopes from differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.objectives import DPO, KLPenalty, PPOClip


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def drift(objective, ratio, advantage, progress=0.0):
    """D = loss + r A."""
    return objective(jnp.log(ratio), advantage, progress) + ratio * advantage


def gain(objective, ratio, advantage, progress=0.0):
    """The slope in r of what is maximised, r A - D."""
    return -jax.grad(lambda r: objective(jnp.log(r), advantage, progress))(ratio)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value"), [(1.5, 1, 1.2), (0.5, -1, -0.8), (1.5, -1, -1.5), (0.5, 1, 0.5), (1.1, 2, 2.2)]
)
def test_ppo_clip(ratio, advantage, value):
    loss = PPOClip(clip=0.2)(jnp.log(jnp.array([ratio])), jnp.array([float(advantage)]), 0.0)
    np.testing.assert_allclose(loss, [-value], rtol=1e-6)


def test_ppo_clip_as_a_drift():
    ratio, advantage = jnp.meshgrid(jnp.linspace(0.05, 3, 50), jnp.linspace(-3, 3, 31))
    expected = jnp.maximum((ratio - jnp.clip(ratio, 0.8, 1.2)) * advantage, 0)
    np.testing.assert_allclose(drift(PPOClip(), ratio, advantage), expected, atol=1e-12)


def test_ppo_clip_stops_the_gradient_beyond_the_clip():
    slope = jax.grad(lambda x: PPOClip()(x, 1.0, 0.0))
    assert slope(jnp.log(1.3)) == 0.0
    np.testing.assert_allclose(slope(jnp.log(1.1)), -1.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("advantage", "ratio", "value", "slope"),
    [
        (1, 0.5, 0, 1),
        (1, 1.0, 0, 1),
        (1, 1.2, 0.00066401, 0.990066),
        (1, 1.5, 0.01016268, 0.940015),
        (1, 2.0, 0.07576569, 0.786448),
        (1, 3.0, 0.47681169, 0.419974),
        (2, 2.0, 0.47681169, 0.839949),
        (2, 3.0, 2.07194484, 0.141302),
        (-1, 1.5, 0, -1),
        (-1, 0.9, 0.00106976, -0.966430),
        (-1, 0.8, 0.00974895, -0.841885),
        (-1, 0.5, 0.20145660, 0.343109),
        (-2, 0.8, 0.06742151, -1.003200),
        (-2, 0.5, 0.79799099, 1.845565),
        (-0.5, 0.5, 0.03401236, -0.228626),
    ],
)
def test_dpo(advantage, ratio, value, slope):
    np.testing.assert_allclose(drift(DPO(), ratio, advantage), value, atol=1e-8)
    np.testing.assert_allclose(gain(DPO(), ratio, advantage), slope, atol=1e-6)


@pytest.mark.parametrize(("advantage", "turn"), [(-1.0, 0.55938), (-2.0, 0.69689), (-0.5, 0.40533)])
def test_dpo_pulls_back_below_a_ratio_for_bad_actions(advantage, turn):
    assert gain(DPO(), turn - 1e-5, advantage) > 0 > gain(DPO(), turn + 1e-5, advantage)


def test_dpo_never_turns_for_good_actions():
    slopes = jax.jit(jax.vmap(jax.vmap(lambda r, a: gain(DPO(), r, a), (0, None)), (None, 0)))
    assert (slopes(jnp.linspace(0.01, 8.0, 200), jnp.linspace(0.01, 3.0, 30)) > 0).all()


def test_dpo_starts_with_the_third_power():
    x = 0.01
    np.testing.assert_allclose(drift(DPO(), 1 + x, 1.0), 8.3332e-8, rtol=1e-4)
    np.testing.assert_allclose(drift(DPO(), jnp.exp(-x), -1.0), x**3 / (3 * 0.6**2), rtol=1e-3)


@pytest.mark.parametrize(("ratio", "advantage"), [(0.3, 1.0), (0.9, -2.0), (1.0, 0.5), (2.5, -0.7)])
def test_kl_penalties(ratio, advantage):
    forward, reverse = KLPenalty(forward=3.0, reverse=0.0), KLPenalty(reverse=3.0)
    np.testing.assert_allclose(drift(forward, ratio, advantage), 3 * (ratio - 1 - np.log(ratio)), atol=1e-12)
    np.testing.assert_allclose(drift(reverse, ratio, advantage), 3 * (ratio * np.log(ratio) - ratio + 1), atol=1e-12)
    np.testing.assert_allclose(gain(forward, ratio, advantage), advantage - 3 * (1 - 1 / ratio), atol=1e-12)
    np.testing.assert_allclose(gain(reverse, ratio, advantage), advantage - 3 * np.log(ratio), atol=1e-12)


def test_kl_penalties_estimate_the_divergences_and_their_gradients():
    old, new = jax.random.normal(jax.random.key(0), (2, 6))
    prob = jax.nn.softmax(old)

    def estimated(logits, **weights):  # the exact mean over actions of the old policy
        log_ratio = jax.nn.log_softmax(logits) - jax.nn.log_softmax(old)
        return (prob * KLPenalty(**weights)(log_ratio, jnp.zeros(6), 0.0)).sum()

    def kl(p, q):
        p, q = jax.nn.log_softmax(p), jax.nn.log_softmax(q)
        return (jnp.exp(p) * (p - q)).sum()

    for weights, exact in (
        ({"forward": 1.0, "reverse": 0.0}, lambda logits: kl(old, logits)),
        ({}, lambda logits: kl(logits, old)),
    ):
        found = jax.jit(jax.value_and_grad(lambda logits, w=weights: estimated(logits, **w)))(new)
        wanted = jax.jit(jax.value_and_grad(exact))(new)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), found, wanted)


def test_mirror_descent_lets_the_step_size_fall_to_zero():
    constant, annealed = KLPenalty(reverse=2.0), KLPenalty(reverse=2.0, final=0.0)
    for progress in (0.0, 0.5, 0.9):
        expected = drift(constant, 1.5, 1.0, progress) / (1 - progress)
        np.testing.assert_allclose(drift(annealed, 1.5, 1.0, progress), expected, rtol=1e-9)
    assert drift(constant, 1.5, 1.0, 0.9) == drift(constant, 1.5, 1.0, 0.0)
    assert jnp.isfinite(gain(annealed, 1.5, 1.0, 1.0))
