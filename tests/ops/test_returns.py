"""Estimators against hand computation, slow definitions, rlax and finite differences."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from jax.test_util import check_grads
from numpy.testing import assert_allclose

from rljax.ops.returns import discounted_returns, gae, lambda_returns, n_step_returns, retrace, vtrace

DISCOUNT, LAM, N, RHO_CLIP, C_CLIP = 0.9, 0.8, 3, 1.5, 1.1
T, CASES = 9, 200


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


class Data(NamedTuple):
    reward: jax.Array
    value: jax.Array
    next_value: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    ratio: jax.Array


def random_data(seed: int, shape: tuple[int, ...], ends: float = 0.25) -> Data:
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, *shape)).astype(np.float32)
    terminated, truncated = rng.random((2, *shape)) < ends
    ratio = np.exp(rng.normal(size=shape)).astype(np.float32)
    return jax.tree.map(jnp.asarray, Data(reward, value, next_value, terminated, truncated, ratio))


ESTIMATORS = {
    "gae": lambda d, discount, lam: gae(*d[:5], discount, lam),
    "lambda": lambda d, discount, lam: lambda_returns(d.reward, *d[2:5], discount, lam),
    "monte_carlo": lambda d, discount, lam: discounted_returns(d.reward, *d[2:5], discount),
    "n_step": lambda d, discount, lam: n_step_returns(d.reward, *d[2:5], discount, N),
    "vtrace": lambda d, discount, lam: jnp.stack(vtrace(*d, discount, lam, RHO_CLIP, C_CLIP), axis=-1),
    "retrace": lambda d, discount, lam: retrace(*d, discount, lam),
}
ESTIMATORS = {name: jax.jit(f) for name, f in ESTIMATORS.items()}
each = pytest.mark.parametrize("name", ESTIMATORS)


# Slow definitions: sums over the rest of the episode, no recursion. All take one column `[T]` and a start t.


def last_step(d, t: int) -> int:
    """The last step of the episode that step t is in, within the window."""
    return next((s for s in range(t, len(d.reward)) if d.terminated[s] or d.truncated[s]), len(d.reward) - 1)


def slow_n_step(d, t: int, n: int) -> float:
    end = min(t + n - 1, last_step(d, t))
    bootstrap = 0.0 if d.terminated[end] else d.next_value[end]
    return sum(DISCOUNT ** (s - t) * d.reward[s] for s in range(t, end + 1)) + DISCOUNT ** (end + 1 - t) * bootstrap


def slow_delta(d, t: int) -> float:
    return d.reward[t] + DISCOUNT * (not d.terminated[t]) * d.next_value[t] - d.value[t]


def slow_gae(d, t: int) -> float:
    return sum((DISCOUNT * LAM) ** (s - t) * slow_delta(d, s) for s in range(t, last_step(d, t) + 1))


def slow_lambda(d, t: int) -> float:
    n_max = last_step(d, t) - t + 1
    mixture = sum((1 - LAM) * LAM ** (n - 1) * slow_n_step(d, t, n) for n in range(1, n_max))
    return mixture + LAM ** (n_max - 1) * slow_n_step(d, t, n_max)


def slow_vtrace_target(d, t: int) -> float:
    c = LAM * np.minimum(C_CLIP, d.ratio)
    return d.value[t] + sum(
        DISCOUNT ** (s - t) * np.prod(c[t:s]) * min(RHO_CLIP, d.ratio[s]) * slow_delta(d, s)
        for s in range(t, last_step(d, t) + 1)
    )


def slow_vtrace(d, t: int) -> tuple[float, float]:
    following = d.next_value[t] if t == last_step(d, t) else slow_vtrace_target(d, t + 1)
    q = d.reward[t] + DISCOUNT * (not d.terminated[t]) * following
    return slow_vtrace_target(d, t), min(RHO_CLIP, d.ratio[t]) * (q - d.value[t])


def slow_retrace(d, t: int) -> float:
    c = LAM * np.minimum(1.0, d.ratio)
    return d.value[t] + sum(
        DISCOUNT ** (s - t) * np.prod(c[t + 1 : s + 1]) * slow_delta(d, s) for s in range(t, last_step(d, t) + 1)
    )


SLOW = {
    "gae": slow_gae,
    "lambda": slow_lambda,
    "monte_carlo": lambda d, t: slow_n_step(d, t, T),
    "n_step": lambda d, t: slow_n_step(d, t, N),
    "vtrace": slow_vtrace,
    "retrace": slow_retrace,
}


@each
def test_equals_its_definition(name):
    data = random_data(0, (T, CASES))
    assert np.any(data.terminated & data.truncated)
    fast = ESTIMATORS[name](data, DISCOUNT, LAM)
    columns = [Data(*(np.asarray(x, bool if x.dtype == bool else float)[:, i] for x in data)) for i in range(CASES)]
    slow = np.array([[SLOW[name](column, t) for column in columns] for t in range(T)])
    assert_allclose(fast, slow, rtol=1e-5, atol=1e-5)


@each
def test_one_step_window(name):
    data = random_data(1, (1, 50))
    one = Data(*(np.asarray(x) for x in data))
    slow = [SLOW[name](Data(*(x[:, i] for x in one)), 0) for i in range(50)]
    assert_allclose(ESTIMATORS[name](data, DISCOUNT, LAM)[0], slow, rtol=1e-5, atol=1e-5)


def test_gae_by_hand():
    # V = 1, V' = 2, r = 1, discount = lam = 1/2: delta = 1 where it bootstraps, 0 where it does not.
    one, flags = jnp.ones(4), jnp.arange(4)
    advantage = gae(one, one, 2 * one, flags == 1, flags == 2, 0.5, 0.5)
    assert_allclose(advantage, [1.0, 0.0, 1.0, 1.0])
    assert_allclose(gae(one, one, 2 * one, flags < 0, flags < 0, 0.5, 0.5), [1 + 21 / 64, 1 + 5 / 16, 1.25, 1.0])


def test_n_step_by_hand():
    reward, next_value = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 40.0])
    none, last, first = (jnp.arange(3) == i for i in (-1, 2, 0))
    assert_allclose(n_step_returns(reward, next_value, none, none, 0.5, 2), [1 + 1 + 5, 2 + 2 + 10, 4 + 20])
    assert_allclose(n_step_returns(reward, next_value, last, none, 0.5, 2), [7, 4, 4])
    assert_allclose(n_step_returns(reward, next_value, none, first, 0.5, 2), [6, 14, 24])
    assert_allclose(n_step_returns(reward, next_value, none, none, 0.5, 99), [1 + 1 + 1 + 5, 2 + 2 + 10, 24])
    with pytest.raises(ValueError, match="n=0"):
        n_step_returns(reward, next_value, none, none, 0.5, 0)


@each
def test_termination_wins_over_truncation(name):
    data = random_data(2, (T, CASES))
    only = data._replace(truncated=data.truncated & ~data.terminated)
    both = ESTIMATORS[name](data, DISCOUNT, LAM)
    np.testing.assert_array_equal(both, ESTIMATORS[name](only, DISCOUNT, LAM))


@each
@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_two_episodes_equal_two_calls(name, end):
    first, second = random_data(3, (T, CASES), ends=0.0), random_data(4, (T, CASES), ends=0.0)
    first = first._replace(**{end: first.terminated.at[-1].set(True)})
    joined = jax.tree.map(lambda *x: np.concatenate(x), first, second)
    apart = np.concatenate([ESTIMATORS[name](d, DISCOUNT, LAM) for d in (first, second)])
    assert_allclose(ESTIMATORS[name](joined, DISCOUNT, LAM), apart, rtol=1e-5, atol=1e-6)


@each
def test_constant_reward_has_its_fixed_point_when_only_truncated(name):
    fixed_point = 2.0 / (1 - DISCOUNT)
    ones, truncated = jnp.ones(12), jnp.arange(12) % 4 == 3
    target = {"gae": lambda d: d.value + gae(*d[:5], DISCOUNT, LAM), "vtrace": lambda d: vtrace(*d, DISCOUNT, LAM)[0]}
    estimate = target.get(name, lambda d: ESTIMATORS[name](d, DISCOUNT, LAM))

    def backup(v, _):
        data = Data(2 * ones, v * ones, v * ones, ones < 0, truncated, ones)
        return estimate(data).mean(), None

    assert_allclose(jax.lax.scan(backup, 0.0, length=300)[0], fixed_point, rtol=1e-5)


@each
def test_discount_and_lam_broadcast(name):
    data = random_data(5, (T, 4, 3))
    scalar = ESTIMATORS[name](data, DISCOUNT, LAM)
    array = ESTIMATORS[name](data, jnp.full((4, 3), DISCOUNT), jnp.full((T, 1, 3), LAM))
    assert_allclose(array, scalar, rtol=1e-6)
    mapped = jax.vmap(ESTIMATORS[name], (None, 0, None))(data, jnp.array([0.5, DISCOUNT]), LAM)
    assert_allclose(mapped[1], scalar, rtol=1e-5, atol=1e-6)


@each
def test_gradients_in_every_number(name):
    data = random_data(6, (T, 5))
    with jax.enable_x64(True):
        floats = [jnp.asarray(np.asarray(x, float)) for x in (data.reward, data.value, data.next_value)]
        # Away from the kinks of the clips, where a finite difference means nothing.
        ratio = jnp.asarray(np.where(np.abs(np.asarray(data.ratio) - 1.25) < 0.3, 0.5, data.ratio), float)
        flags = [jnp.asarray(np.asarray(x)) for x in (data.terminated, data.truncated)]

        def f(reward, value, next_value, discount, lam):
            return ESTIMATORS[name](Data(reward, value, next_value, *flags, ratio), discount, lam)

        check_grads(f, (*floats, DISCOUNT, LAM), order=1, modes=["rev"], atol=1e-5, rtol=1e-5)
    assert jnp.ones(()).dtype == jnp.float32


def test_flags_must_be_bool_and_shapes_equal():
    x, flag = jnp.ones(3), jnp.zeros(3, bool)
    with pytest.raises(AssertionError):
        gae(x, x, x, x, flag, 0.9, 0.9)
    with pytest.raises(AssertionError):
        gae(x, jnp.ones(4), x, flag, flag, 0.9, 0.9)


# rlax knows one flag, the discount: so no truncation here, and termination as a zero discount.


@pytest.fixture
def trajectory():
    data = random_data(7, (32,), ends=0.1)
    values = jnp.concatenate([data.value, data.next_value[-1:]])
    data = data._replace(next_value=values[1:], truncated=jnp.zeros_like(data.truncated))
    return data, values, jnp.where(data.terminated, 0.0, DISCOUNT)


def test_gae_equals_rlax(trajectory):
    data, values, discounts = trajectory
    expected = rlax.truncated_generalized_advantage_estimation(data.reward, discounts, LAM, values)
    assert_allclose(ESTIMATORS["gae"](data, DISCOUNT, LAM), expected, rtol=1e-5, atol=1e-5)
    # Where the successors are the values, the lambda-return is the advantage over the value.
    assert_allclose(ESTIMATORS["lambda"](data, DISCOUNT, LAM), expected + data.value, rtol=1e-5, atol=1e-5)


def test_returns_equal_rlax(trajectory):
    data, _, discounts = trajectory
    arguments = data.reward, discounts, data.next_value
    expected = {
        "lambda": rlax.lambda_returns(*arguments, LAM),
        "monte_carlo": rlax.discounted_returns(*arguments),
        "n_step": rlax.n_step_bootstrapped_returns(*arguments, N),
    }
    for name, value in expected.items():
        assert_allclose(ESTIMATORS[name](data, DISCOUNT, LAM), value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("lam", [1.0, LAM])
def test_vtrace_equals_rlax(trajectory, lam):
    data, _, discounts = trajectory
    target, advantage = vtrace(*data, DISCOUNT, lam, rho_clip=RHO_CLIP)
    rlax_out = rlax.vtrace_td_error_and_advantage(
        data.value, data.next_value, data.reward, discounts, data.ratio, lam, RHO_CLIP, RHO_CLIP
    )
    assert_allclose(target, rlax_out.errors + data.value, rtol=1e-5, atol=1e-5)
    if lam == 1.0:  # below 1, rlax also mixes values into the advantage, which the paper does not
        assert_allclose(advantage, rlax_out.pg_advantage, rtol=1e-5, atol=1e-5)


def test_retrace_equals_rlax(trajectory):
    data, _, discounts = trajectory
    next_value = jnp.flip(data.next_value)  # the expectation over actions is not the q of the action taken
    c = LAM * jnp.minimum(1.0, data.ratio)
    expected = rlax.general_off_policy_returns_from_q_and_v(data.value[1:], next_value, data.reward, discounts, c[1:])
    actual = retrace(*data._replace(next_value=next_value), DISCOUNT, LAM)
    assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
