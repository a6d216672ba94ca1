"""Algorithms of values on a corridor whose values fit into a table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned

from rljax.nets.q import QNetwork
from rljax.types import Box, Discrete, Env, StepResult

PLACES, DISCOUNT = 5, 0.8
NUMBERS = {"epsilon_final": 0.5, "lr": 3e-2, "discount": DISCOUNT}
OFTEN = NUMBERS | {"target_period": 10.0}
MEMORY = {"num_envs": 8, "batch_size": 64, "capacity": 1024, "warmup": 128, "hidden": (), "gradient_steps": 2}
CASES = {
    "greedy": ("dqn", MEMORY | {"target": "greedy", "loss": "squared"}, OFTEN),
    "double": ("dqn", MEMORY | {"target": "double"}, OFTEN),
    "prioritised": ("dqn", MEMORY | {"prioritised": True}, OFTEN),
    "pqn": ("pqn", {"num_envs": 8, "num_steps": 16, "hidden": ()}, NUMBERS | {"trace_lambda": 0.0, "lr_final": 0.01}),
}


def corridor() -> Env:
    """Action 1 leads on and 0 back; leaving it at the far end gives 1. Begins anywhere; cut after 1 in 20 steps."""

    def see(position):
        return jax.nn.one_hot(position, PLACES)

    def reset(key, task):
        position = jax.random.randint(key, (), 0, PLACES)
        return position, see(position)

    def step(key, position, action, task):
        position = jnp.maximum(position + 2 * action - 1, 0)
        out = position >= PLACES
        cut = ~out & (jax.random.uniform(key) < 0.05)
        return position, StepResult(see(position), out.astype(jnp.float32), out, cut)

    space = Box(np.zeros(PLACES, np.float32), np.ones(PLACES, np.float32))
    return Env("toy/corridor", reset, step, {}, space, Discrete(2))


def exact() -> np.ndarray:
    """Q of the best policy: [places, actions]."""
    q = np.zeros((PLACES, 2))
    for _ in range(200):
        v = q.max(1)
        q = np.stack([DISCOUNT * v[[0, *range(PLACES - 1)]], np.append(DISCOUNT * v[1:], 1.0)], 1)
    return q


@pytest.mark.parametrize("name", CASES)
def test_values_of_a_corridor(name):
    algo, settings, numbers = CASES[name]
    _, state, _ = learned(algo, corridor(), settings, 2, 1500 if algo == "dqn" else 300, **numbers)
    params = state.params if algo == "pqn" else state.params["values"]
    network = QNetwork(2, hidden=(), layer_norm=algo == "pqn")
    found = jax.vmap(lambda params: network.apply(params, jnp.eye(PLACES))[..., 0])(params)
    np.testing.assert_allclose(found, [exact()] * 2, atol=0.03)
