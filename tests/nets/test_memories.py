"""Every memory: it forgets before it looks, a sequence is its steps one by one, and its numbers are the textbook's."""

from __future__ import annotations

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.catalogue import MEMORIES
from rljax.nets.memory import memory
from rljax.nets.memory.base import Memory
from rljax.nets.memory.gated import long
from rljax.nets.memory.linear import hippo
from rljax.nets.memory.linear_scan import Pair, linear_scan

KINDS = {
    "gru": "gru(width=4)",
    "lstm": "lstm(width=4)",
    "mingru": "mingru(width=4,layers=2,states=4)",
    "lru": "lru(width=4,layers=1,states=4)",
    "s5": "s5(width=4,layers=2,states=4)",
    "transformer": "transformer(width=4,layers=2,heads=1,context=9)",
}
OTHERS = ["s5(width=4,layers=1,scan='tree')", "transformer(width=4,layers=1,heads=2,context=9,gate='gru',sink='kv')"]
every_memory = pytest.mark.parametrize("text", [*KINDS.values(), *OTHERS])
T, B, F, AT = 8, 3, 5, 4
X = jax.random.normal(jax.random.key(2), (T, B, F))
EARLIER, LATER = (jax.random.normal(jax.random.key(i), (T, B, F)) for i in (8, 9))
ONCE = jnp.zeros((T, B), bool).at[AT, 0].set(True)


def test_every_memory_is_tested():
    assert set(KINDS) == set(MEMORIES) - {"none"}


def resets(length=T):
    """At the first and last step, twice in a row, in all, and in none of the environments."""
    reset = np.zeros((length, B), bool)
    reset[[0, -1], 0] = reset[4:6, 0] = reset[:, 1] = True
    return jnp.asarray(reset)


def warm(module, seed=3):
    """A carry that is not the initial one."""
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    return jax.tree.map(lambda x: 0.5 * jax.random.normal(next(keys), x.shape), module.initial_carry(B))


def noisy(params):
    """Numbers that begin as 0 would hide an error in what they multiply."""
    keys = jax.tree.unflatten(
        jax.tree.structure(params), jax.random.split(jax.random.key(1), 64)[: len(jax.tree.leaves(params))]
    )
    return jax.tree.map(lambda p, key: p + 0.05 * jax.random.normal(key, p.shape), params, keys)


def seen(module, params):
    """All that the tests look at, in one program."""
    fresh = module.initial_carry(B)

    def apply(carry, x, reset):
        return module.apply(params, carry, x, reset)

    def one(carry, x, reset):
        carry, y, _ = apply(carry, x[None], reset[None])
        return carry, y[0]

    def late(x, carry):
        return (apply(carry, x, ONCE)[1][AT + 2] ** 2).sum(-1)

    carry = apply(fresh, EARLIER, jnp.zeros((T, B), bool).at[3, 2].set(True))[0]  # a memory in use
    whole = apply(carry, X, resets())
    steps = jax.lax.scan(lambda h, i: (one(h, *i)[0], one(h, *i)), carry, (X, resets()))
    half, first, _ = apply(carry, X[:AT], resets()[:AT])
    half, second, _ = apply(half, X[AT:], resets()[AT:])
    return {
        "whole": whole,
        "by steps": steps,
        "halves": (half, jnp.concatenate([first, second])),
        "forgotten": one(carry, X[0], jnp.ones(B, bool)),
        "fresh": one(fresh, X[0], jnp.zeros(B, bool)),
        "once": apply(carry, X, ONCE)[1],
        "another past": apply(fresh, X.at[:AT].set(7.0), ONCE)[1],
        "jacobian": jax.jacrev(late, (0, 1))(X, carry),
        "ahead": module.apply(params, whole[2], LATER, method="ahead"),
        "each ahead": jax.vmap(one, (0, 0, None))(steps[1][0], LATER, jnp.zeros(B, bool))[1],
    }


@pytest.fixture(scope="module")
def results():
    @cache
    def of(text):
        module = memory(text)
        params = noisy(module.init(jax.random.key(0), module.initial_carry(B), X[:1], resets()[:1]))
        return jax.device_get(jax.jit(partial(seen, module))(params))

    return of


def close(a, b, atol=2e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=2e-5), a, b)


@every_memory
def test_it_forgets_before_it_looks(results, text):
    """Catches memory that survives one step into the next episode (flags of the step that ended, not of the one that
    opens), and flags that are shifted again inside of the module."""
    found = results(text)
    close(found["forgotten"], found["fresh"], atol=0)
    # Within a sequence, too: what was before the reset changes nothing of what is after.
    same = found["once"] == found["another past"]
    assert same[AT:, 0].all() and not same[:, 1:].all((0, 2)).any() and not same[:AT, 0].all(1).any()


@every_memory
def test_no_derivative_passes_a_reset(results, text):
    """Catches sequences that learn across the end of an episode."""
    of_x, of_carry = results(text)["jacobian"]  # [B, T, B, F], leaves [B, B, H]
    for b in range(B):
        begins = AT if b == 0 else 0
        used = np.abs(of_x[b]).max(-1) > 0
        expected = np.zeros((T, B), bool)
        expected[begins : AT + 3, b] = True
        np.testing.assert_array_equal(used, expected)
        numbers = [leaf for leaf in jax.tree.leaves(of_carry) if leaf.ndim > 2]  # not of counts [B]
        assert all(leaf[b, b].any() == (b != 0) for leaf in numbers)


@every_memory
def test_a_sequence_is_its_steps(results, text):
    """Catches a loop that differs from the steps that acting takes, and states that are off by one."""
    found = results(text)
    after, y, states = found["whole"]
    last, (carries, outputs) = found["by steps"]
    close((after, y), (last, outputs))
    if type(memory(text)).ahead is Memory.ahead:
        close(states, carries)
    close(found["halves"], (after, y))


@every_memory
def test_one_step_ahead_is_a_step_without_a_reset(results, text):
    """Catches values of successors that forget, or that see the observation of the next episode."""
    close(results(text)["ahead"], results(text)["each ahead"])


@pytest.mark.parametrize(("kind", "cell", "gates"), [("gru", nn.GRUCell, "r z n"), ("lstm", nn.LSTMCell, "i f o g")])
def test_gated_cells_are_those_of_flax(kind, cell, gates):
    module, x = memory(f"{kind}(width=8)"), X[:1]
    params = module.init(jax.random.key(0), module.initial_carry(B), x, jnp.zeros((1, B), bool))["params"]
    params["bias"] = jax.random.normal(jax.random.key(5), params["bias"].shape)
    theirs, names = {}, gates.split()
    for name, kernel, of_input, bias in zip(
        names, *(jnp.split(params[n], len(names), -1) for n in ("kernel", "input_kernel", "bias"))
    ):
        theirs[f"h{name}"], theirs[f"i{name}"] = {"kernel": kernel}, {"kernel": of_input}
        theirs[f"i{name}" if kind == "gru" and name != "n" else f"h{name}"]["bias"] = bias
    if kind == "gru":
        theirs["in"]["bias"] = jnp.zeros(8)
    carry = warm(module)
    _, y, states = module.apply({"params": params}, carry, x, jnp.zeros((1, B), bool))
    given = carry[0] if kind == "gru" else (carry[1], carry[0])  # flax has (c, h)
    after, expected = cell(8).apply({"params": theirs}, given, x[0])
    np.testing.assert_allclose(y[0], expected, atol=1e-6)
    if kind == "lstm":
        np.testing.assert_allclose(states[1][0], after[0], atol=1e-6)


def test_chrono_gates_keep_for_up_to_so_many_steps():
    steps = np.exp(long(jax.random.key(0), 101.0, 4096))
    assert steps.min() >= 1 and steps.max() <= 100 and abs(steps.mean() - 50.5) < 3 * 28.6 / 64  # uniform on [1, 100]

    def bias(text):
        module = memory(text)
        made = module.init(jax.random.key(0), module.initial_carry(1), X[:1, :1], jnp.zeros((1, 1), bool))
        return np.split(np.asarray(made["params"]["bias"]), 3 if "gru" in text else 4)

    for text in ("gru(width=4,chrono=9)", "gru(width=4)"):
        r, z, n = bias(text)
        assert not r.any() and not n.any() and (z > 0).all() == ("chrono" in text) == bool(z.any())
    for text in ("lstm(width=4,chrono=9)", "lstm(width=4)"):
        i, f, o, g = bias(text)
        np.testing.assert_array_equal(i, -f if "chrono" in text else 0 * f)
        assert not o.any() and not g.any() and (f == 1).all() == ("chrono" not in text)


def test_hippo_is_the_normal_part_of_legs():
    size = 16
    n = np.arange(size)
    legs = -np.where(n[:, None] > n, np.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), np.diag(n + 1.0))
    normal = legs + np.outer(np.sqrt(n + 0.5), np.sqrt(n + 0.5))
    eigenvalues, vectors = hippo(size)
    both, basis = np.concatenate([eigenvalues, eigenvalues.conj()]), np.concatenate([vectors, vectors.conj()], 1)
    np.testing.assert_allclose((basis * both) @ basis.conj().T, normal, atol=1e-10)
    assert (eigenvalues.imag > 0).all() and np.allclose(eigenvalues.real, -0.5)
    assert abs(hippo(64)[0].imag.max() - 1303) < 1  # as computed apart


class TestLinearScan:
    """Real and complex, of numbers that change and that do not."""

    def problem(self, kind, length=9, seed=0):
        keys = iter(jax.random.split(jax.random.key(seed), 9))

        def number(*shape):
            parts = [0.9 * jax.random.uniform(next(keys), shape, minval=-1.0) for _ in range(2)]
            return Pair(*parts) if "complex" in kind else parts[0]

        a = number(4) if "fixed" in kind else number(length, B, 4)
        return a, number(length, B, 4), number(B, 4), resets(length)

    def plain(self, a, b, carry, reset):
        """The recurrence in complex numbers, step by step."""
        a, b, h = (x.re + 1j * x.im if isinstance(x, Pair) else x for x in (a, b, carry))
        states = []
        for t in range(len(reset)):
            h = (a if a.ndim == 1 else a[t]) * jnp.where(reset[t][:, None], 0.0, h) + b[t]
            states.append(h)
        return jnp.stack(states)

    @pytest.mark.parametrize("kind", ["real", "fixed complex", "complex"])
    @pytest.mark.parametrize("how", ["loop", "tree"])
    @pytest.mark.parametrize("length", [1, 9])
    def test_states(self, kind, how, length):
        a, b, carry, reset = self.problem(kind, length)
        found = linear_scan(a, b, carry, reset, how)
        found = found.re + 1j * found.im if isinstance(found, Pair) else found
        np.testing.assert_allclose(found, self.plain(a, b, carry, reset), atol=1e-6)

    @pytest.mark.parametrize("kind", ["real", "fixed complex", "complex"])
    @pytest.mark.parametrize("how", ["loop", "tree"])
    def test_derivatives(self, kind, how):
        a, b, carry, reset = self.problem(kind)
        weight = jax.random.normal(jax.random.key(7), (9, B, 4))

        def loss(scan, a, b, carry):
            h = scan(a, b, carry, reset)
            re, im = (h.re, h.im) if isinstance(h, Pair) else (jnp.real(h), jnp.imag(h))
            return (weight * (re**2 + jnp.sin(im))).sum()

        found = jax.jit(jax.grad(partial(loss, lambda *x: linear_scan(*x, how)), (0, 1, 2)))(a, b, carry)
        close(found, jax.jit(jax.grad(partial(loss, self.plain), (0, 1, 2)))(a, b, carry), atol=1e-5)

    def test_combining_is_associative_for_all_flags(self):
        """Also with the shortcut for what is the same at every step: a of a flagged element is never used."""
        for flags in range(8):
            reset = jnp.array([[flags >> i & 1] for i in range(3)], bool)
            a, b, carry, _ = self.problem("fixed complex", 3)
            one = jax.tree.map(lambda x: x[:, :1], b)
            first = jax.tree.map(lambda x: x[:1], carry)
            close(linear_scan(a, one, first, reset, "tree"), linear_scan(a, one, first, reset, "loop"))

    def test_long_sequences_agree(self):
        a, b, carry, _ = self.problem("fixed complex", 65, seed=4)
        reset = jax.random.uniform(jax.random.key(1), (65, B)) < 0.1
        close(linear_scan(a, b, carry, reset, "tree"), linear_scan(a, b, carry, reset, "loop"), atol=1e-5)


@pytest.mark.parametrize("text", ["s5(width=4,layers=1,states=4)", "lru(width=4,layers=1,states=4)"])
def test_derivatives_by_finite_differences(text):
    """In double precision, over all parameters along a random direction."""
    with jax.enable_x64(True):
        module, x, reset = memory(text), X[:6].astype(jnp.float64), resets(6)
        carry = jax.tree.map(lambda h: h.astype(jnp.float64), warm(module))
        params = jax.tree.map(lambda p: p.astype(jnp.float64), module.init(jax.random.key(0), carry, x, reset))

        def loss(params):
            return jnp.sin(module.apply(params, carry, x, reset)[1]).sum()

        direction = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
        step, loss = 1e-6, jax.jit(loss)
        up, down = (jax.tree.map(lambda p, d, s=s: p + s * step * d, params, direction) for s in (1, -1))
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), jax.grad(loss)(params), direction)))
        np.testing.assert_allclose((loss(up) - loss(down)) / (2 * step), slope, rtol=1e-6)
