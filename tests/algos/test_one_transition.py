"""Losses in closed form: a memory that holds one transition over and over, and networks with any weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny

from rljax import algos, envs
from rljax.data import prioritised
from rljax.nets.q import chosen
from rljax.ops.losses import huber
from rljax.ops.tree import as_arrays
from rljax.types import Box, Discrete, Env, StepResult, TimeStep

NOW, NEXT, REWARD, DISCOUNT = 0.7, -0.4, 0.5, 0.9
CHOICES = Discrete(3)
VECTOR = Box(np.array([-2.0, 1.0], np.float32), np.array([6.0, 2.0], np.float32))
SETTINGS = {"num_envs": 1, "num_steps": 1, "gradient_steps": 1, "policy_delay": 1, "n_step": 1, "capacity": 4096}
SETTINGS |= {"warmup": 8, "batch_size": 8, "loss": "squared"}


def still(space) -> Env:
    """Nothing ever changes."""

    def reset(key, task):
        return (), jnp.full(1, NOW)

    def step(key, state, action, task):
        flag = jnp.zeros((), bool)
        return (), StepResult(jnp.full(1, NOW), jnp.zeros(()), flag, flag)

    bounds = np.ones(1, np.float32)
    return Env("toy/still", reset, step, {}, Box(-bounds, bounds), space)


def anyhow(key, tree):
    """Weights of no pattern, like those of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    return structure.unflatten([0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


def ready(name: str, space, action, priorities=None, seed: int = 0, **settings) -> tuple[Any, Any]:
    """-> (algorithm, state): all that is remembered is one transition, from NOW to NEXT."""
    env, config = still(space), tiny(name, **SETTINGS | settings)
    algo = algos.load(name).make(env, config)
    state = jax.jit(algo.init)(jax.random.key(seed), as_arrays(algo.hypers), {})
    rows = state.buffer.ring.rows
    no = jnp.zeros((), bool)
    step = TimeStep(jnp.full(1, NOW), action, jnp.float32(REWARD), jnp.full(1, NEXT), no, no, no)
    row = algo.source.layout.pack(step)
    ring = state.buffer.ring.replace(rows=jnp.broadcast_to(row, rows.shape), inserted=len(rows))
    buffer = as_arrays(state.buffer.replace(ring=ring))
    if priorities is not None:
        places = jnp.arange(len(rows))
        buffer = buffer.replace(priorities=prioritised.assign(prioritised.init(len(rows)), places, priorities(places)))
    learner = state.learner.replace(
        params=anyhow(1, state.params), target_params=anyhow(3, state.learner.target_params)
    )
    return algo, state.replace(buffer=buffer, learner=learner)


def update(algo, state, **numbers):
    """One, of which the first gradient step learns nothing before it is measured -> (state, metrics)."""
    hypers = as_arrays(algo.hypers.replace(discount=DISCOUNT, **numbers))
    return jax.jit(algo.step)(state, hypers, {})


def at(x: float) -> jax.Array:
    return jnp.full((1, 1), x)


@pytest.mark.parametrize("target", ["greedy", "double", "munchausen"])
def test_what_dqn_learns(target):
    """y = r + g Q'(s', a*) with a* by the network itself where it is double; munchausen as in its equation 3."""
    algo, state = ready("dqn", CHOICES, jnp.int32(1), target=target)

    def values(params):
        return (algo.network.apply(params["values"], at(x))[0, :, 0] for x in (NOW, NEXT))

    here, after = values(state.params)
    slow_here, slow_after = values(state.learner.target_params)
    assert after.argmax() != slow_after.argmax()
    tau, alpha, clip = 0.7, 0.6, -0.3
    sure = jax.nn.log_softmax(slow_after / tau)
    raised = alpha * jnp.clip(tau * jax.nn.log_softmax(slow_here / tau)[1], clip, 0.0)
    assert tau * jax.nn.log_softmax(slow_here / tau)[1] < clip
    y = {
        "greedy": REWARD + DISCOUNT * slow_after.max(),
        "double": REWARD + DISCOUNT * slow_after[after.argmax()],
        "munchausen": REWARD + raised + DISCOUNT * (jnp.exp(sure) * (slow_after - tau * sure)).sum(),
    }
    numbers = (
        {"munchausen_temperature": tau, "munchausen": alpha, "munchausen_clip": clip} if target == "munchausen" else {}
    )
    _, metrics = update(algo, state, **numbers)
    np.testing.assert_allclose(metrics["value_loss"], 0.5 * (here[1] - y[target]) ** 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["error"], abs(here[1] - y[target]), rtol=1e-5)


def test_priorities_are_errors_to_their_exponent():
    algo, state = ready("dqn", CHOICES, jnp.int32(1), jnp.ones_like, prioritised=True)
    after, metrics = update(algo, state, priority_exponent=0.3)
    leaves = after.buffer.priorities.nodes[after.buffer.priorities.leaves :]
    given = leaves[(leaves != 0) & (leaves != 1)]
    np.testing.assert_allclose(given, np.full(len(given), metrics["error"] ** 0.3), rtol=1e-4)
    assert 1 <= len(given) <= 8


def test_the_correction_of_priorities_rises_to_all_of_the_bias():
    """Priorities 1 and 4: weights 1 and 4^-beta, in shares that the two runs have in common."""
    algo, state = ready("dqn", CHOICES, jnp.int32(1), lambda k: jnp.where(k % 2, 4.0, 1.0), prioritised=True)
    means = []
    for updates in (0, 5, 10):
        _, metrics = update(algo, state.replace(updates=jnp.int32(updates)), priority_beta=0.4, horizon=10.0)
        means.append(float(metrics["value_loss"] / (0.5 * metrics["error"] ** 2)))
    share = (1 - means[0]) / (1 - 4**-0.4)
    assert 0 < share < 1
    np.testing.assert_allclose(means[1:], [1 - share * (1 - 4**-beta) for beta in (0.7, 1.0)], rtol=1e-4)


def test_what_sac_learns_of_discrete_actions():
    """y = r + g sum pi (min Q' - alpha log pi); the policy descends on sum pi (alpha log pi - min Q)."""
    algo, state = ready("sac", CHOICES, jnp.int32(2))
    alpha = jnp.exp(state.params["log_alpha"])

    def policy(x):
        log_prob = jax.nn.log_softmax(algo.actor.apply(state.params["actor"], at(x)).logits[0])
        return jnp.exp(log_prob), log_prob

    def values(params, x):
        return algo.critics.apply(params["critics"], at(x))[:, 0, :, 0]  # [M, A]

    prob, log_prob = policy(NEXT)
    later = values(state.learner.target_params, NEXT)
    y = REWARD + DISCOUNT * (prob * (later.min(0) - alpha * log_prob)).sum()
    now = values(state.params, NOW)
    assert (later[0] < later[1]).any() and (later[0] > later[1]).any()
    after, metrics = update(algo, state, critic_lr=0.0, temperature_lr=0.25)
    np.testing.assert_allclose(metrics["value_loss"], (0.5 * (now[:, 2] - y) ** 2).sum(), rtol=1e-5)
    prob, log_prob = policy(NOW)
    np.testing.assert_allclose(metrics["policy_loss"], (prob * (alpha * log_prob - now.min(0))).sum(), rtol=1e-5)
    entropy = -(prob * log_prob).sum()
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)
    # Adam's first step is of the size of its rate: up where there is too little entropy.
    for wanted, moved in ((0.0, -0.25), (1.0, 0.25)):
        after, _ = update(algo, state, temperature_lr=0.25, entropy_discrete=wanted)
        assert 0.0 < entropy < np.log(3)
        np.testing.assert_allclose(after.params["log_alpha"] - state.params["log_alpha"], moved, rtol=1e-3)


def test_a_target_of_sac_takes_as_many_critics_as_it_is_told():
    """One of three: each of their values in turn, not always the least."""
    algo, state = ready("sac", CHOICES, jnp.int32(2), critics=3, target_critics=1)
    critics = algo.critics
    log_prob = jax.nn.log_softmax(algo.actor.apply(state.params["actor"], at(NEXT)).logits[0])
    later = critics.apply(state.learner.target_params["critics"], at(NEXT))[:, 0, :, 0]
    soft = later - jnp.exp(state.params["log_alpha"]) * log_prob
    y = REWARD + DISCOUNT * (jnp.exp(log_prob) * soft).sum(-1)  # [M], one for each
    now = critics.apply(state.params["critics"], at(NOW))[:, 0, 2, 0]
    expected = (0.5 * (now[None] - y[:, None]) ** 2).sum(-1)
    found = {
        int(jnp.abs(update(algo, state.replace(key=jax.random.key(i)))[1]["value_loss"] / expected - 1).argmin())
        for i in range(8)
    }
    assert len(found) > 1
    _, metrics = update(algo, state)
    np.testing.assert_allclose(jnp.abs(metrics["value_loss"] / expected - 1).min(), 0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_critics_see_continuous_actions_within_the_unit_box(name):
    """Nothing follows, so the target is the reward; [4, 1.25] is [1/2, -1/2] of its box."""
    algo, state = ready(name, VECTOR, jnp.array([4.0, 1.25]))
    value = algo.critics.apply(state.params["critics"], at(NOW), jnp.array([[0.5, -0.5]]))[:, 0, 0, 0]
    hypers = as_arrays(algo.hypers.replace(discount=0.0))
    _, metrics = jax.jit(algo.step)(state, hypers, {})
    np.testing.assert_allclose(metrics["value_loss"], (0.5 * (value - REWARD) ** 2).sum(), rtol=1e-5)


def test_what_td3_learns():
    """y = r + g min Q'(s', mu'(s')), smoothed by no more than the bound; the policy ascends the first critic."""
    algo, state = ready("td3", VECTOR, jnp.array([4.0, 1.25]))
    actor, critics = algo.actor, algo.critics

    def valued(params, by, x):
        return critics.apply(params["critics"], at(x), actor.apply(by["actor"], at(x)))[:, 0, 0, 0]

    slow = state.learner.target_params
    y = REWARD + DISCOUNT * valued(slow, slow, NEXT).min()
    now = critics.apply(state.params["critics"], at(NOW), jnp.array([[0.5, -0.5]]))[:, 0, 0, 0]
    _, metrics = update(algo, state, critic_lr=0.0, target_noise=10.0, target_noise_clip=0.0)
    np.testing.assert_allclose(metrics["value_loss"], (0.5 * (now - y) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["policy_loss"], -valued(state.params, state.params, NOW)[0], rtol=1e-5)


def test_what_revalued_learns():
    """The loss of its docstring, summed over critics; what holds an entry back is no way for gradients."""
    choice = jnp.array([[2, 0]])
    algo, state = ready("revalued", VECTOR, jnp.array([6.0, 1.0]), critics=3, choices=3)
    network = algo.network

    def taken(params, x=NOW):
        return jax.vmap(lambda each: chosen(each[..., None], choice)[0, :, 0])(network.apply(params, at(x)))

    slow = state.learner.target_params["values"]
    y = REWARD + DISCOUNT * network.apply(slow, at(NEXT)).mean(0).max(-1).mean()
    apart = 1.0 - jnp.exp(-jnp.abs(y - taken(state.params["values"])))

    def loss(params):
        utility = taken(params)  # [M, D]
        value = utility.mean(-1)
        near = (apart * huber(utility, taken(slow))).mean(-1)
        return (huber(value, jnp.broadcast_to(y, value.shape)) + 0.5 * near).sum()

    expected, gradient = jax.value_and_grad(loss)(state.params["values"])
    _, metrics = update(algo, state, regulariser=0.5)
    np.testing.assert_allclose(metrics["value_loss"], expected, rtol=1e-5)
    norm = jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)


@pytest.mark.parametrize("name", ["ppo", "dqn", "pqn", "sac", "td3", "revalued", "lpg", "udrl"])
def test_greedy_actions_leave_nothing_to_chance(name):
    """And others do, where there is anything left to explore."""
    env = envs.make("probe/continuous") if name in ("td3", "revalued") else still(CHOICES)
    algo = algos.load(name).make(env, tiny(name))
    hypers, task = as_arrays(algo.hypers), as_arrays(env.task)
    state, _ = jax.jit(algo.step)(jax.jit(algo.init)(jax.random.key(0), hypers, task), hypers, task)
    carry, obs, reset = algo.initial_carry(state, 64), jnp.zeros((64, 1)), jnp.ones(64, bool)
    act = jax.jit(lambda key, greedy: algo.act(state, carry, obs, reset, key, greedy)[1])
    greedy, other = (act(jax.random.key(key), True) for key in (1, 2))
    np.testing.assert_array_equal(greedy, other)
    assert (greedy == greedy[0]).all()
    drawn = act(jax.random.key(1), False)
    assert (drawn != drawn[0]).any()
