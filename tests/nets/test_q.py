"""Networks of action values against their equations: dueling, noise, ensembles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.nets.critic import Critics, DeterministicActor
from rljax.nets.mlp import DROPOUT, MLP
from rljax.nets.noisy import NOISE, NoisyDense
from rljax.nets.q import QNetwork

X = jax.random.normal(jax.random.key(0), (6, 4))


def made(net: Any, *inputs: jax.Array) -> Any:
    return jax.jit(net.init)(jax.random.key(1), *inputs)


def test_dueling_is_its_equation():
    """V + A - mean over actions of A, output by output; without hidden layers both streams are linear in x."""
    net: Any = QNetwork(actions=3, size=2, hidden=(), dueling=True)
    params = made(net, X)
    value = (X @ params["params"]["value"]["kernel"])[:, None]  # [B, 1, K]
    advantage = (X @ params["params"]["advantage"]["kernel"]).reshape(6, 3, 2)
    expected = value + advantage - advantage.mean(1, keepdims=True)
    np.testing.assert_allclose(net.apply(params, X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.apply(params, X).mean(1), value[:, 0], rtol=1e-5, atol=1e-6)


def test_a_plain_one_is_linear_above_its_layers():
    net: Any = QNetwork(actions=3, size=2, hidden=())
    params = made(net, X)
    expected = (X @ params["params"]["value"]["kernel"]).reshape(6, 3, 2)
    np.testing.assert_allclose(net.apply(params, X), expected, rtol=1e-6)


def test_noisy_weights_have_the_deviations_they_begin_with_and_their_own_without_noise():
    """y has variance (sigma_0^2 / p) E|e|^2 (sum x^2 + 1) and mean mu x: with |f(e)|^2 = |e|, of mean sqrt(2 / pi)."""
    net: Any = NoisyDense(8, deviation=0.5)
    params = made(net, X)
    mean = X @ params["params"]["kernel"]
    np.testing.assert_allclose(net.apply(params, X), mean, rtol=1e-6)
    keys = jax.random.split(jax.random.key(2), 20_000)
    drawn = jax.jit(jax.vmap(lambda key: net.apply(params, X, rngs={NOISE: key})))(keys)
    size = np.sqrt(2 / np.pi)  # of E|e|
    variance = 0.5**2 / 4 * (size**2 * (X**2).sum(-1) + size)  # of weights, and of the bias, which has one factor
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(drawn.var(0).mean(-1), variance, rtol=0.05)


def test_weights_and_bias_of_an_output_share_their_noise():
    """y - mu x = f(e_out) (c sum x f(e_in) + c): outputs of one draw are in the proportions of f(e_out) for every x."""
    net: Any = NoisyDense(3)
    params = made(net, X)
    noise = net.apply(params, X, rngs={NOISE: jax.random.key(3)}) - X @ params["params"]["kernel"]
    np.testing.assert_allclose(noise / noise[:, :1], jnp.broadcast_to(noise[:1] / noise[0, 0], noise.shape), rtol=1e-3)


def test_what_is_dropped_is_its_share_and_the_rest_is_raised():
    net: Any = MLP((4000,), dropout=0.25)
    params = made(net, X)
    plain = net.apply(params, X)
    dropped = net.apply(params, X, rngs={DROPOUT: jax.random.key(4)})
    gone = dropped == 0
    np.testing.assert_allclose(gone.mean(), 0.25, atol=0.02)
    raised = jnp.tanh(jnp.arctanh(jnp.clip(plain, -0.99, 0.99)) / 0.75)
    np.testing.assert_allclose(jnp.where(gone | (jnp.abs(plain) > 0.9), raised, dropped), raised, rtol=1e-4)


@pytest.mark.parametrize("actions", [0, 3])
def test_critics_are_apart_and_see_the_action(actions):
    net: Any = Critics(members=2, size=5, actions=actions, hidden=())
    taken = () if actions else (X[:, :2],)
    params = made(net, X, *taken)
    outputs = net.apply(params, X, *taken)
    assert outputs.shape == (2, 6, max(actions, 1), 5)
    assert (jnp.abs(outputs[0] - outputs[1]) > 1e-6).all()
    seen = jnp.concatenate([X, *taken], -1)
    for member, each in zip(outputs, params["params"].values()):
        np.testing.assert_allclose(member, (seen @ each["kernel"]).reshape(member.shape), rtol=1e-5, atol=1e-6)


def test_a_deterministic_actor_stays_within_the_unit_box():
    net: Any = DeterministicActor(2, hidden=())
    params = jax.tree.map(lambda x: 1e4 * x, made(net, X))
    assert (jnp.abs(net.apply(params, X)) <= 1.0).all() and (jnp.abs(net.apply(params, X)) > 0.99).all()
