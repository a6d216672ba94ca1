"""PQN on environments with known answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

from rljax import envs
from rljax.algos import pqn
from rljax.errors import ConfigError
from rljax.nets.q import QNetwork

SMALL = {"num_envs": 8, "num_steps": 16, "num_epochs": 2, "num_minibatches": 2, "hidden": (16,)}


def values(name, obs, updates=600, **numbers):
    given = {"lr": 2e-2, "lr_final": 0.1, "epsilon_final": 0.5} | numbers
    _, state, _ = learned("pqn", name, SMALL, 2, updates, **given)
    env = envs.make(name)
    network = QNetwork(env.action_space.n, hidden=SMALL["hidden"], layer_norm=True)
    return jax.vmap(lambda params: network.apply(params, jnp.array(obs)[:, None])[..., 0])(state.params)


@pytest.mark.parametrize("trace_lambda", [0.0, 0.9])
@pytest.mark.parametrize(
    ("name", "obs", "expected"),
    [
        ("probe/truncation", [0.0], [10.0]),
        ("probe/discounted", [0.0, 1.0], [0.9, 1.0]),
        ("probe/observation", [-1.0, 1.0], [-1.0, 1.0]),
        ("probe/both-flags", [0.0, 1.0, 2.0, 3.0], [3.439, 2.71, 1.9, 1.0]),
    ],
)
def test_values_on_probes(name, obs, expected, trace_lambda):
    found = values(name, obs, discount=0.9, trace_lambda=trace_lambda)
    np.testing.assert_allclose(found.mean(-1), [expected] * 2, rtol=0.03, atol=0.1)


def test_actions_are_told_apart():
    np.testing.assert_allclose(values("probe/action", [0.0])[:, 0], [[0.0, 1.0]] * 2, atol=0.05)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("Pendulum-v1", {}, "must be Discrete"),
        ("CartPole-v1", {"num_minibatches": 3}, "num_minibatches=3: must divide"),
    ],
)
def test_what_cannot_be_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        pqn.PQN(envs.make(env), tiny("pqn", **settings))
