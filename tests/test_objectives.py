"""Policy objectives: closed forms, and what every registered one must satisfy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.objectives import OBJECTIVES, PPOClip, name_of, named

every_objective = pytest.mark.parametrize("objective", [kind() for kind in OBJECTIVES.values()], ids=list(OBJECTIVES))


@pytest.mark.parametrize(
    ("ratio", "advantage", "value"), [(1.5, 1, 1.2), (0.5, -1, -0.8), (1.5, -1, -1.5), (0.5, 1, 0.5), (1.1, 2, 2.2)]
)
def test_ppo_clip(ratio, advantage, value):
    loss = PPOClip(clip=0.2)(jnp.log(jnp.array([ratio])), jnp.array([float(advantage)]), 0.0)
    np.testing.assert_allclose(loss, [-value], rtol=1e-6)


def test_ppo_clip_stops_the_gradient_beyond_the_clip():
    slope = jax.grad(lambda x: PPOClip()(x, 1.0, 0.0))
    assert slope(jnp.log(1.3)) == 0.0
    np.testing.assert_allclose(slope(jnp.log(1.1)), -1.1, rtol=1e-6)


@every_objective
def test_shape_out_is_shape_in_and_large_ratios_stay_finite(objective):
    log_ratio, advantage = jnp.linspace(-10, 10, 12).reshape(3, 4), jnp.ones((3, 4)).at[0].set(-1)
    for progress in (0.0, 0.5, 1.0):
        loss, slope = jax.vmap(jax.vmap(jax.value_and_grad(objective), (0, 0, None)), (0, 0, None))(
            log_ratio, advantage, progress
        )
        assert objective(log_ratio, advantage, progress).shape == (3, 4)
        assert jnp.isfinite(loss).all() and jnp.isfinite(slope).all()


@every_objective
def test_at_the_old_policy_the_gradient_is_the_policy_gradient(objective):
    for advantage in (-2.0, 0.5):
        np.testing.assert_allclose(jax.grad(objective)(0.0, advantage, 0.3), -advantage, rtol=1e-6)


@every_objective
def test_names_go_both_ways(objective):
    assert named(name_of(objective)) is type(objective)


def test_a_users_own_objective_is_found_by_its_path():
    assert named("rljax.objectives:PPOClip") is PPOClip
    with pytest.raises(ConfigError, match="importable"):
        named("nowhere:Nothing")
    with pytest.raises(ConfigError, match="did you mean 'ppo-clip'"):
        named("ppo-klip")
