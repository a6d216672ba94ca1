"""Members side by side: the result of each is that of a single run, whoever its neighbours are and wherever it runs."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import leaves_equal
from toys import PROBE, tiny

from rljax import algos, envs
from rljax.engine.program import Inputs, Program, differing, stack
from rljax.run import advance, as_arrays, start

UPDATES, SIZE = 6, 16  # done, and as many as the programs of a small sweep can do at once
LR = 0  # of the leaves of (hypers, task), the first


@pytest.fixture(scope="module")
def algorithm():
    return algos.load("ppo").make(envs.make(PROBE), tiny("ppo"))


def members(algorithm, *rates):
    task = envs.make(PROBE).task
    return [as_arrays((algorithm.hypers.replace(lr=lr), task)) for lr in rates]


@pytest.fixture(scope="module")
def one(algorithm):
    return Program(algorithm, members(algorithm, 1.0)[0], frozenset({LR}), 1, SIZE)


@pytest.fixture(scope="module")
def four(algorithm):
    return Program(algorithm, members(algorithm, 1.0)[0], frozenset({LR}), 4, SIZE)


def go(program, algorithm, rates, seeds, pieces=(UPDATES,)):
    """-> (states, metrics `[P, UPDATES]`), on the host."""
    inputs = program.upload(stack(members(algorithm, *rates), frozenset({LR})))
    state, found = program.start(np.array(seeds), inputs), []
    for n in pieces:
        state, metrics = program.advance(state, inputs, n)
        found.append(jax.tree.map(lambda x, n=n: x[:, :n], program.fetch(metrics)))
    return program.fetch(state), jax.tree.map(lambda *x: np.concatenate(x, 1), *found)


def take(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def lone(algorithm, rate, seed):
    [(hypers, task)] = members(algorithm, rate)
    state = start(algorithm, jax.random.key(seed), hypers, task)
    state, metrics = advance(algorithm, state, hypers, task, np.int32(UPDATES), UPDATES)
    key = jax.random.key_data(state.key)
    return jax.tree.map(np.asarray, (state.replace(key=key), metrics))


def test_a_member_by_itself_is_the_lone_run_to_the_bit(algorithm, one):
    for rate, seed in ((1e-3, 0), (1e-2, 7)):
        assert leaves_equal(take(go(one, algorithm, [rate], [seed]), 0), lone(algorithm, rate, seed))


def test_members_side_by_side_are_lone_runs_up_to_rounding(algorithm, four):
    rates, seeds = [1e-3, 1e-3, 1e-2, 3e-3], [0, 1, 0, 2**32 - 1]
    state, metrics = go(four, algorithm, rates, seeds)
    for i, (rate, seed) in enumerate(zip(rates, seeds)):
        alone, its = lone(algorithm, rate, seed)
        chex.assert_trees_all_close(take(metrics, i), its, rtol=2e-3, atol=2e-4)
        chex.assert_trees_all_close(take(state, i).params, alone.params, rtol=2e-3, atol=2e-4)
        np.testing.assert_array_equal(take(state, i).key, alone.key)


def test_pieces_make_no_difference(algorithm, one, four):
    for program in (one, four):
        rates, seeds = [1e-3, 1e-2, 1e-3, 1e-2][: program.width], range(program.width)
        whole = go(program, algorithm, rates, seeds)
        assert leaves_equal(whole, go(program, algorithm, rates, seeds, (1, 3, 2)))


def test_neither_padding_nor_neighbours_nor_the_place_change_a_member(algorithm, four):
    full = go(four, algorithm, [1e-3, 1e-2, 3e-3, 1e-1], [0, 1, 2, 3])
    padded = go(four, algorithm, [1e-3, 1e-2, 3e-3, 3e-3], [0, 1, 2, 2])
    turned = go(four, algorithm, [1e-1, 3e-3, 1e-2, 1e-3], [3, 2, 1, 0])
    for i in range(4):
        assert i == 3 or leaves_equal(take(full, i), take(padded, i))
        assert leaves_equal(take(full, i), take(turned, 3 - i))
    assert leaves_equal(take(padded, 2), take(padded, 3))


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), 1e30])
def test_a_diverged_member_does_not_touch_its_neighbours(algorithm, four, rate):
    well = go(four, algorithm, [1e-3, 1e-2, 3e-3, 1e-1], [0, 1, 2, 3])
    ill = go(four, algorithm, [1e-3, rate, 3e-3, 1e-1], [0, 1, 2, 3])
    assert not np.isfinite(ill[1]["policy_loss"][1]).all()
    for i in (0, 2, 3):
        assert leaves_equal(take(well, i), take(ill, i))


def test_states_come_from_the_devices_and_go_back(algorithm, four):
    inputs = four.upload(stack(members(algorithm, 1e-3, 1e-2, 3e-3, 1e-1), frozenset({LR})))
    state, _ = four.advance(four.start(np.arange(4), inputs), inputs, 3)
    fetched = jax.tree.map(np.copy, four.fetch(state))
    assert all(type(x) is np.ndarray and len(x) == 4 for x in jax.tree.leaves(fetched))
    again = four.place_state(fetched)
    chex.assert_trees_all_equal_shapes_and_dtypes(again, four.state)
    assert jnp.issubdtype(again.key.dtype, jax.dtypes.prng_key)
    assert leaves_equal(jax.tree.map(np.copy, four.fetch(four.advance(state, inputs, 3))), go_on(four, again, inputs))


def go_on(program, state, inputs):
    return program.fetch(program.advance(state, inputs, 3))


def test_it_takes_memory_in_proportion(algorithm, one, four):
    many = Program(algorithm, members(algorithm, 1.0)[0], frozenset({LR}), 16, SIZE)
    assert (many.population, list(many.local), many.metrics) == (16, list(range(16)), four.metrics)
    assert one.bytes > 0 and many.bytes - four.bytes == pytest.approx(12 / 3 * (four.bytes - one.bytes), rel=0.1)


def test_what_differs_has_an_axis_and_nothing_else(algorithm):
    rows = members(algorithm, 1e-3, 1e-2, 1e-3, 3e-3)
    assert differing(rows) == {LR} and differing(rows[:1]) == differing(rows[::2]) == frozenset()
    inputs = stack(rows, frozenset({LR}))
    assert [x.shape for x in jax.tree.leaves(inputs.varied)] == [(4,)]
    assert all(x.shape == () for x in jax.tree.leaves(inputs.fixed))
    for i, row in enumerate(rows):
        chex.assert_trees_all_equal(inputs.merge(jax.tree.map(lambda x, i=i: x[i], inputs.varied)), row)
    assert isinstance(inputs, Inputs)


def test_numbers_differ_if_programs_tell_them_apart():
    rows = [
        ({"lr": lr, "n": 1, "flag": True}, {"x": np.float32(x)}) for lr, x in ((0.1, 1), (0.1 + 1e-12, 1), (0.1, 2))
    ]
    flag, lr, n, x = range(4)
    assert differing(rows[:2]) == frozenset() and differing(rows) == {x}
    assert differing([*rows, ({"lr": 0.2, "n": 2, "flag": False}, {"x": 1.0})]) == {flag, lr, n, x}


def test_what_is_said_to_vary_has_an_axis_even_where_it_does_not(algorithm):
    inputs = stack(members(algorithm, 1e-3, 1e-3), frozenset({LR}))
    assert [x.shape for x in jax.tree.leaves(inputs.varied)] == [(2,)]
