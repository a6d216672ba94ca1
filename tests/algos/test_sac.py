"""SAC: what it learns on environments with known answers, and the traps of its kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

import rljax
from rljax import envs
from rljax.algos import sac
from rljax.errors import ConfigError
from rljax.ops.value_heads import HeadParams
from rljax.run import as_arrays

SMALL = {"num_envs": 8, "batch_size": 64, "capacity": 2048, "warmup": 128, "hidden": (16,), "gradient_steps": 2}


def trained(name, updates=800, settings=None, **numbers):
    """-> (values of the critics for `(obs, action)`, algorithm, state [S], metrics [S, U])."""
    settings = SMALL | (settings or {})
    given = {"lr": 3e-3, "critic_lr": 1e-2, "temperature_lr": 1e-2, "target_rate": 0.05} | numbers
    algorithm, state, metrics = learned("sac", name, settings, 2, updates, **given)

    def values(*inputs):
        """`[S, M, ...]`."""
        outputs = jax.vmap(lambda params: algorithm.critics.apply(params, *inputs))(state.params["critics"])
        return algorithm.head.value(outputs, HeadParams())

    return values, algorithm, state, metrics


KINDS = [{}, {"n_step": 3, "prioritised": True}, {"head": "quantile", "atoms": 11}, {"batch_norm": True}]


@pytest.mark.parametrize("settings", KINDS)
def test_the_value_of_an_env_that_is_only_ever_truncated(settings):
    """1 / (1 - g) where entropy is worth nothing."""
    numbers = {"temperature": 1e-6, "temperature_lr": 0.0, "discount": 0.9, "critic_lr": 4e-2}
    values, *_ = trained("probe/truncation", settings=settings, **numbers)
    # What is not taken any more is not learned any more.
    np.testing.assert_allclose(values(jnp.zeros((1, 1))).max(-1), 10.0, rtol=0.05)


def test_entropy_is_worth_its_temperature():
    """One state for ever, reward 1, uniform policy: Q = (1 + g alpha log 2) / (1 - g)."""
    numbers = {"temperature": 0.5, "temperature_lr": 0.0, "discount": 0.9, "lr": 0.0, "critic_lr": 4e-2}
    values, *_ = trained("probe/truncation", **numbers)
    np.testing.assert_allclose(values(jnp.zeros((1, 1))), (1 + 0.9 * 0.5 * np.log(2)) / 0.1, rtol=0.05)


@pytest.mark.parametrize(("wanted", "spread"), [(-1.0, 0.2), (0.0, 0.2)])
def test_the_temperature_drives_the_entropy_to_where_it_is_wanted(wanted, spread):
    _, _, _, metrics = trained("probe/continuous", 1500, entropy_continuous=wanted)
    np.testing.assert_allclose(metrics["entropy"][:, -200:].mean(1), wanted, atol=spread)


def test_and_of_discrete_actions():
    _, _, _, metrics = trained("probe/action-observation", 1500, entropy_discrete=0.3)
    np.testing.assert_allclose(metrics["entropy"][:, -200:].mean(1), 0.3 * np.log(2), atol=0.1)


@pytest.mark.parametrize("settings", [{}, {"batch_norm": True, "policy_delay": 2}])
def test_the_best_continuous_action_is_found(settings):
    """Q(a) = -(a - target)^2."""
    _values, algo, state, _ = trained("probe/continuous", 1200, settings, entropy_continuous=-2.0)
    env = envs.make("probe/continuous")
    target = float(env.task.target)
    obs = jnp.zeros((1, *env.observation_space.shape))
    action = jax.vmap(lambda s: algo.act(s, (), obs, jnp.ones(1, bool), jax.random.key(0), True)[1])(state)
    np.testing.assert_allclose(action[:, 0, 0], target, atol=0.1)


def test_several_critics_and_an_expectile_above_a_half_raise_no_bias_where_nothing_is_random():
    values, *_ = trained(
        "probe/discounted", settings={"critics": 4}, expectile=0.8, temperature=1e-6, temperature_lr=0.0, discount=0.9
    )
    found = values(jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(found.mean((1, 3)), [[0.9, 1.0]] * 2, atol=0.1)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("Pendulum-v1", {"batch_size": 5000}, "batch_size=5000: must be at most the 1000"),
        ("Pendulum-v1", {"policy_delay": 2}, "policy_delay=2: must be at least 1 and divide gradient_steps=1"),
        ("Pendulum-v1", {"target_critics": 3}, "target_critics=3"),
        ("Pendulum-v1", {"batch_norm": True, "target_rate": 0.1}, "target_rate=0.1: has no effect without batch_norm"),
        ("Pendulum-v1", {"sigma": 0.1}, "sigma=0.1: has no effect without head=hl-gauss"),
    ],
)
def test_what_cannot_be_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        rljax.make("sac", env, **settings)


HEADS = ({"head": head} for head in ("scalar", "categorical", "hl-gauss", "quantile"))


@pytest.mark.parametrize("settings", [*HEADS, {"batch_norm": True}, {"dropout": 0.1}])
def test_a_critic_of_each_kind_gets_a_gradient(settings):
    env = envs.make("Pendulum-v1")
    algo = sac.SAC(env, tiny("sac", **settings))
    task, hypers = as_arrays(env.task), as_arrays(algo.hypers)
    state = jax.jit(algo.init)(jax.random.key(0), hypers, task)
    after, _ = jax.jit(algo.step)(state, hypers, task)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    assert all(jax.tree.leaves(moved))
