"""The network of a learned update rule: its size, its recurrence, and what each output may depend on."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rljax.errors import ConfigError
from rljax.nets.update_rule import BackwardGRU, UpdateRule, check_rule, initial_rule

T, E, M = 7, 3, 4
RULE = UpdateRule(width=8, bootstrap=M, embedding=6)
WEIGHTS = initial_rule(RULE)
NEVER = jnp.zeros((T, E), bool)

# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@jit
def ask(weights, x, time=()):
    return RULE.apply({"params": weights}, *x, time)


def trajectory(seed, terminated=NEVER, truncated=NEVER):
    """The inputs of T steps of E environments."""
    draw = jax.random.split(jax.random.key(seed), 4)
    y, next_y = (jax.nn.softmax(3.0 * jax.random.normal(k, (T, E, M))) for k in draw[:2])
    return (jax.random.normal(draw[2], (T, E)), terminated, truncated, jax.random.uniform(draw[3], (T, E)), y, next_y)


def spliced(first, second, t):
    """The first trajectory up to and with step t, then the second."""
    return tuple(jnp.concatenate([x[: t + 1], y[t + 1 :]]) for x, y in zip(first, second))


@pytest.mark.parametrize(("bootstrap", "time_inputs", "count"), [(8, 0, 203_946), (8, 2, 205_482), (30, 0, 209_952)])
def test_the_number_of_weights_at_published_sizes(bootstrap, time_inputs, count):
    weights = initial_rule(UpdateRule(bootstrap=bootstrap), time_inputs)
    assert sum(x.size for x in jax.tree.leaves(weights)) == count


@pytest.mark.parametrize("time_inputs", [0, 2])
def test_initial_weights_are_those_of_the_network_and_always_the_same(time_inputs):
    numbers = (jnp.zeros(()),) * time_inputs
    shapes = jax.eval_shape(RULE.init, jax.random.key(0), *trajectory(0), numbers)["params"]
    weights = initial_rule(RULE, time_inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(weights, shapes)
    chex.assert_trees_all_equal(weights, initial_rule(RULE, time_inputs))
    assert all((x != 0).all() for x in jax.tree.leaves(weights))


def test_the_recurrence_is_that_of_a_gru_run_backwards():
    """Against `flax.linen.GRUCell`, whose state is set to zero where it is cut."""
    gru, x = BackwardGRU(width=5), jax.random.normal(jax.random.key(0), (T, E, 5))
    cut = jax.random.bernoulli(jax.random.key(1), 0.3, (T, E))
    weights = initial_rule(UpdateRule(width=5))["gru"]
    found = jit(gru.apply)({"params": weights}, x, cut)
    of_x, of_h, bias = (np.split(weights[name], 3, -1) for name in ("kernel_x", "kernel_h", "bias_x"))
    cell = {f"i{gate}": {"kernel": of_x[i], "bias": bias[i]} for i, gate in enumerate("rzn")}
    cell |= {f"h{gate}": {"kernel": of_h[i]} for i, gate in enumerate("rzn")}
    cell["hn"]["bias"] = weights["bias_h"]
    oracle, h = jit(nn.GRUCell(5).apply), jnp.zeros((E, 5))
    for t in reversed(range(T)):
        h, _ = oracle({"params": cell}, jnp.where(cut[t][:, None], 0.0, h), x[t])
        np.testing.assert_allclose(found[t], h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [0, 3, T - 1])
def test_what_happens_changes_only_what_is_said_of_it_and_of_before(t):
    one, other = trajectory(0), trajectory(1)
    changed = tuple(x.at[t].set(y[t]) for x, y in zip(one, other))
    for before, after in zip(ask(WEIGHTS, one), ask(WEIGHTS, changed)):
        np.testing.assert_array_equal(before[t + 1 :], after[t + 1 :])
        assert (before[: t + 1] != after[: t + 1]).reshape(t + 1, E, -1).any(-1).all()


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_nothing_passes_the_end_of_an_episode(kind):
    """Outputs up to the end in environment 1 ignore what follows; the others do not."""
    flags = {kind: NEVER.at[3, 1].set(True)}
    one = trajectory(0, **flags)
    other = spliced(one, trajectory(1, **flags), 3)
    for before, after in zip(ask(WEIGHTS, one), ask(WEIGHTS, other)):
        np.testing.assert_array_equal(before[:4, 1], after[:4, 1])
        assert (before[:4, 0] != after[:4, 0]).any() and (before[4:] != after[4:]).any()


def test_a_successor_counts_where_a_limit_cut_the_episode_and_not_where_it_ended():
    for kind, counts in (("terminated", False), ("truncated", True)):
        reward, *flags, prob, y, next_y = trajectory(0, **{kind: NEVER.at[3, 1].set(True)})
        other = next_y.at[3, 1].set(jnp.roll(next_y[3, 1], 1))
        before, after = (ask(WEIGHTS, (reward, *flags, prob, y, v))[0] for v in (next_y, other))
        assert (before[3, 1] != after[3, 1]) == counts


def test_a_truncation_looks_like_the_end_of_the_window():
    one = trajectory(0, truncated=NEVER.at[3].set(True))
    window = tuple(x[:4] for x in trajectory(0))
    for cut, short in zip(ask(WEIGHTS, one), ask(WEIGHTS, window)):
        np.testing.assert_allclose(cut[:4], short, rtol=1e-6)


def test_predictions_are_distributions_and_batch_axes_are_independent():
    x = trajectory(0)
    pi_hat, log_y_hat = ask(WEIGHTS, x)
    assert pi_hat.shape == (T, E) and log_y_hat.shape == (T, E, M)
    np.testing.assert_allclose(jnp.exp(log_y_hat).sum(-1), 1.0, rtol=1e-5)
    alone = ask(WEIGHTS, tuple(a[:, 1] for a in x))
    np.testing.assert_allclose(alone[0], pi_hat[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone[1], log_y_hat[:, 1], rtol=1e-5, atol=1e-6)


def test_numbers_about_time_are_inputs_of_every_step():
    weights = initial_rule(RULE, time_inputs=2)
    base = ask(weights, trajectory(0), (jnp.zeros(()), jnp.zeros(())))[0]
    for time in ((jnp.ones(()), jnp.zeros(())), (jnp.zeros(()), jnp.ones(()))):
        assert (ask(weights, trajectory(0), time)[0] != base).all()


def test_many_rules_side_by_side_are_one_program():
    traces = []

    def traced(weights, x):
        traces.append(1)
        return RULE.apply({"params": weights}, *x)

    side_by_side = jit(jax.vmap(traced, (0, None)))
    factors = jnp.array([0.5, 1.0, 2.0])
    rules = jax.tree.map(lambda w: factors.reshape(3, *(1,) * w.ndim) * w[None], WEIGHTS)
    for seed in range(2):
        found = side_by_side(rules, trajectory(seed))
        for i in range(3):
            lone = ask(jax.tree.map(lambda w, i=i: w[i], rules), trajectory(seed))
            for a, b in zip(found, lone):
                np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


def test_ranks_are_never_promoted(strict):
    ask(initial_rule(RULE, 2), trajectory(0), (jnp.zeros(()), jnp.zeros(())))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (initial_rule(RULE, 2), r"rule\['gru'\]\['kernel_x'\] is \(7, 24\), not \(5, 24\)"),
        ({**WEIGHTS, "more": np.zeros(2)}, r"rule\['more'\] is \(2,\), not expected"),
        ((), r"rule\['embed'\]\['bias'\] is missing"),
    ],
)
def test_weights_of_other_sizes_are_refused_by_name(weights, message):
    check_rule(jax.tree.map(jnp.asarray, WEIGHTS), WEIGHTS)
    with pytest.raises(ConfigError, match=message):
        check_rule(weights, WEIGHTS)
