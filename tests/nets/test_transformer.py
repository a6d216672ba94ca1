"""The transformer against full attention in plain numpy, over whole episodes and without any cache."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.nets.memory import memory
from rljax.nets.memory.transformer import GRUGate, preceding

T, B, F, C, H, HEADS, LAYERS = 14, 3, 5, 4, 8, 2, 2
X = np.random.default_rng(0).normal(size=(T, B, F)).astype(np.float32)
KINDS = ["none none", "gru kv", "none zero"]


def resets():
    """None, a late one so that the window has moved on before, and two in a row."""
    reset = np.zeros((T, B), bool)
    reset[9, 1] = reset[2:4, 2] = reset[8, 2] = True
    return reset


def norm(x, p):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p.get("bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated(x, y, p):
    y_r, y_z, y_g = np.split(dense(y, p["of_output"]), 3, -1)
    x_r, x_z = np.split(dense(x, p["of_input"]), 2, -1)
    z = sigmoid(y_z + x_z - p["bias"])
    return (1 - z) * x + z * np.tanh(y_g + dense(sigmoid(y_r + x_r) * x, p["of_kept"]))


def turned(x, position):
    """Complex numbers times a phase, `[..., d]`."""
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * position / 1e4 ** (np.arange(half) / half))
    return np.concatenate([z.real, z.imag], -1)


def attention(x, episode, p, context):
    """One environment: `[T, H]` -> `[T, H]`; positions are steps since the episode's start."""
    q, k, v = (part.reshape(len(x), HEADS, -1) for part in np.split(dense(x, p["qkv"]), 3, -1))
    position = [(episode[:t] == episode[t]).sum() for t in range(len(x))]
    y = np.zeros_like(q)
    for t in range(len(x)):
        past = [j for j in range(t + 1) if episode[j] == episode[t] and t - j < context]
        assert t in past
        for h in range(HEADS):
            score = [turned(q[t, h], position[t]) @ turned(k[j, h], position[j]) for j in past]
            values = [v[j, h] for j in past]
            if "sink" in p:
                score, values = [*score, q[t, h] @ p["sink"][0][h]], [*values, p["sink"][1][h]]
            weight = np.exp(np.array(score) / np.sqrt(q.shape[-1]))
            y[t, h] = (weight / weight.sum()) @ np.array(values)
    return dense(y.reshape(len(x), -1), p["out"])


def reference(params, x, reset, gate, sink, context=C):
    """`[T, B, F]` -> `[T, B, H]`, in double precision."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    out = []
    for b in range(x.shape[1]):
        h, episode = dense(x[:, b].astype(np.float64), p["embedding"]), np.cumsum(reset[:, b])
        for i in range(LAYERS):
            a = p[f"attention_{i}"]
            if sink != "none":
                nothing = np.zeros((1, HEADS, 1, H // HEADS))
                a = a | {"sink": [a.get(f"sink_{n}", nothing)[0, :, 0] for n in ("key", "value")]}
            for name, part in (
                ("attention", lambda x, a=a: attention(x, episode, a, context)),  # noqa: B023
                ("mlp", lambda x, i=i: dense(activation(dense(x, p[f"hidden_{i}"]), gate), p[f"mlp_{i}"])),
            ):
                y = part(norm(h, p[f"{name}_norm_{i}"]))
                h = gated(h, np.maximum(y, 0), p[f"{name}_{i}_gate"]) if gate == "gru" else h + y
        out.append(h if gate == "gru" else norm(h, p["norm"]))
    return np.stack(out, 1)


def activation(x, gate):
    return np.maximum(x, 0) if gate == "gru" else x * sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


@cache
def made(kind, context=C):
    gate, sink = kind.split()
    module = memory(
        f"transformer(width={H},heads={HEADS},layers={LAYERS},context={context},gate='{gate}',sink='{sink}')"
    )
    params = jax.jit(module.init)(jax.random.key(1), module.initial_carry(B), X, resets())
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))  # what begins as 0 or 1 would hide errors
    return module, structure.unflatten([x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])


def in_parts(module, params, parts, x=X, reset=None):
    """The outputs of a sequence that is cut at some steps, each part from the memory after the one before."""
    carry, found = module.initial_carry(B), []
    for first, last in zip((0, *parts), (*parts, T)):
        carry, y, _ = module.apply(params, carry, x[first:last], (resets() if reset is None else reset)[first:last])
        found.append(y)
    return carry, jnp.concatenate(found)


@pytest.mark.parametrize("kind", KINDS)
def test_acting_and_learning_are_full_attention(kind):
    """Step by step with a cache, in one sequence, and in parts that are shorter and longer than the context.

    Catches masks that are off by one, other episodes that are attended to, positions that count from elsewhere, a
    window that is not the last steps, and gates the other way round.
    """
    module, params = made(kind)
    expected = reference(params, X, resets(), *kind.split())

    def step(carry, inputs):
        carry, y, _ = module.apply(params, carry, *(i[None] for i in inputs))
        return carry, y[0]

    @jax.jit
    def all_ways():
        by_steps = jax.lax.scan(step, module.initial_carry(B), (X, resets()))
        return by_steps, in_parts(module, params, ()), in_parts(module, params, (2, 9, 11))

    found = all_ways()
    for carry, y in found:
        np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, found[0][0])
    np.testing.assert_array_equal(found[0][0].length, [3, 3, 3])


def test_a_context_longer_than_all_is_one_without_a_bound():
    module, params = made("none none", 2 * T)
    reset = np.zeros((T, B), bool)
    carry, y = jax.jit(lambda: in_parts(module, params, (5,), reset=reset))()
    np.testing.assert_allclose(y, reference(params, X, reset, "none", "none", 10**6), atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(carry.length, T)


def test_no_other_episode_changes_an_output():
    """Every other episode is perturbed, and with it the window that the sequence begins with."""
    module, params = made("gru kv")
    used, _ = in_parts(module, params, (), reset=np.zeros((T, B), bool))
    apply = jax.jit(lambda x, window: module.apply(params, window, x, resets())[1])
    y, episode = apply(X, used), np.cumsum(resets(), 0)
    for b, segment in ((1, 0), (1, 1), (2, 1), (2, 2), (2, 3)):
        inside = episode[:, b] == segment
        x, another = np.where(inside[:, None, None], X, 1e3 * X + 1.0), jax.tree.map(lambda h: 50 * h, used)
        perturbed = apply(x, used if segment == 0 else another._replace(length=used.length))
        np.testing.assert_array_equal(perturbed[inside, b], y[inside, b])
        assert (perturbed[~inside, b] != y[~inside, b]).any(-1).all()


def test_steps_are_counted_from_the_start_of_their_episode():
    reset = jnp.array([[0, 0], [0, 0], [0, 1], [0, 0]], bool)
    np.testing.assert_array_equal(preceding(jnp.array([0.0, 3.0]), reset).T, [[0, 1, 2, 3], [3, 4, 0, 1]])


def test_a_gate_begins_almost_closed():
    x, y = np.random.default_rng(1).normal(size=(2, 64, 16)).astype(np.float32)
    gate = GRUGate()
    params = gate.init(jax.random.key(0), x, y)
    np.testing.assert_array_equal(params["params"]["bias"], 2.0)
    moved = np.abs(gate.apply(params, x, y) - x).mean()
    open_gate = {"params": params["params"] | {"bias": jnp.full(16, -2.0)}}
    assert moved < 0.4 * np.abs(gate.apply(open_gate, x, y) - x).mean()
