"""Agents with a memory that learn from stored sequences see in them what they saw when they acted.

Catches, among what public implementations did: a target network that is unrolled over successors alone, so that a cue
in the first observation is invisible to it; a bootstrap from the observation after a reset; sums of rewards across
ends; resets one step late; a stored carry that has already seen the first observation.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny

from rljax import algos, envs
from rljax.catalogue import MEMORIES
from rljax.nets.memory import Past
from rljax.off_policy.learner import Batch, Context
from rljax.off_policy.memory import priority
from rljax.ops.minibatch import flatten_time
from rljax.run import as_arrays

LIMITED = {"dqn": "CartPole-v1|time_limit(5)", "sac": "CartPole-v1|time_limit(5)", "td3": "Pendulum-v1|time_limit(5)"}
MEMORY = {name: f"{name}(width=4)" if name == "gru" else f"{name}(width=4,layers=1,states=4)" for name in ("gru", "s5")}
T, E, BURN_IN, LENGTH, B = 4, 2, 3, 8, 6
SHAPES = {"num_envs": E, "num_steps": T, "sequence": LENGTH, "burn_in": BURN_IN, "n_step": 3}
ROOM = 24  # steps of each environment, all of them taken before learning begins
SHAPES |= {"capacity": ROOM * E, "warmup": ROOM * E}
PAIRS = [("dqn", "gru"), ("dqn", "s5"), ("sac", "gru"), ("td3", "gru")]
pairs = pytest.mark.parametrize(("algo", "memory"), PAIRS)


@cache
def drawn(algo, memory, **settings):
    """An agent that acted, without learning, until its ring was written over -> (algorithm, state, batch, blocks).

    `blocks` has, for every block of T steps, what was remembered before it, and the steps.
    """
    env = envs.make(LIMITED[algo])
    given = SHAPES | {"memory": MEMORY.get(memory, memory), "batch_size": B, "hidden": (4,)} | settings
    algorithm = algos.load(algo).make(env, tiny(algo, **given))
    hypers, task = as_arrays(algorithm.hypers), as_arrays(env.task)

    @jax.jit
    def act(state, key):
        return algorithm.collect(state, hypers, task, key)[0]

    @jax.jit
    def draw(state):
        sample = algorithm.source.draw(state.buffer, task, jax.random.key(7), B, 1.0)
        return Batch(sample.steps, sample.weight, sample.carry), sample.index

    state = jax.jit(lambda: algorithm.init(jax.random.key(0), hypers, task))()
    blocks = []
    for i in range(9):
        before = state.carry
        state = act(state, jax.random.key(i))
        at = (state.buffer.ring.inserted - T) % algorithm.source.length
        rows = jax.lax.dynamic_slice_in_dim(state.buffer.ring.rows, at, T)
        blocks.append((before, algorithm.source.layout.unpack(rows)))
    return algorithm, state, draw(state), jax.device_get(blocks)


def policy_network(algorithm):
    """`(params, obs, past, states) -> (outputs, carry, states)` of what acts, and its name."""
    return (algorithm.unroll, "values") if hasattr(algorithm, "unroll") else (algorithm.unroll_actor, "actor")


@pairs
def test_what_was_stored_is_what_is_remembered(algo, memory):
    """With the same parameters, what was recorded leads from the beginning to the carry of every block."""
    algorithm, state, _, blocks = drawn(algo, memory)
    unroll, name = policy_network(algorithm)
    carry = blocks[0][0]
    assert any(steps.reset[1:].any() for _, steps in blocks) and any(steps.truncated.any() for _, steps in blocks)
    for before, steps in blocks:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), before, carry)
        _, carry, _ = unroll(state.params[name], flatten_time(steps.obs), Past(carry, steps.reset))
    # And it is drawn beside the steps of its block.
    source, buffer = algorithm.source, state.buffer
    for i, (before, steps) in enumerate(blocks[3:]):  # there is room for the last six
        start = (ROOM // T + 3 + i) % source.starts
        kept = source.carry_layout.unpack(buffer.carries.rows[start])
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(kept), before)
        stored = source.layout.unpack(buffer.ring.rows[start * T : start * T + T])
        np.testing.assert_array_equal(stored.reward, steps.reward)


@pairs
def test_learning_sees_what_acting_saw(algo, memory):
    """Step by step from the stored carry, one step ahead on each true successor: all that the unrolled network says."""
    algorithm, state, (batch, _), _ = drawn(algo, memory)
    unroll, name = policy_network(algorithm)
    params = state.params[name]
    steps = algorithm.transition(batch, algorithm.hypers)
    seen = algorithm.seen if name == "values" else algorithm.actor_seen
    now, later = seen(params, steps).now(), seen(params, steps).later()
    alone = seen(params, steps).later()  # without having been asked for the other
    run, carry, expected = batch.steps, batch.carry, []
    for t in range(BURN_IN + LENGTH):
        out, carry, _ = unroll(params, run.obs[t], Past(carry, run.reset[t : t + 1]))
        ahead, _, _ = unroll(params, run.next_obs[t], Past(carry, np.zeros((1, B), bool)))
        expected += [(out, ahead)]
    assert run.reset[BURN_IN + 1 :].any() and run.reset[1:BURN_IN].any()
    for found, which in ((now, 0), (later, 1), (alone, 1)):
        step_by_step = jax.tree.map(lambda *x: np.concatenate(x), *(pair[which] for pair in expected[BURN_IN:]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, step_by_step)


def test_sequences_are_the_steps_that_were_taken():
    _, _, (batch, index), blocks = drawn(
        "dqn",
        "gru",
    )
    steps = jax.tree.map(lambda *x: np.concatenate(x), *(steps for _, steps in blocks))  # [9 T, E]
    first = 9 * T - ROOM  # the oldest that is stored
    for b in range(B):
        where, env = divmod(int(index[b]), E)
        start = next(t for t in range(first, 9 * T, T) if t // T % (ROOM // T) == where)
        for found, stored in zip(jax.tree.leaves(batch.steps), jax.tree.leaves(steps), strict=True):
            np.testing.assert_array_equal(found[:, b], stored[start : start + BURN_IN + LENGTH, env])
        jax.tree.map(
            lambda a, h, b=b, e=env: np.testing.assert_array_equal(a[b], h[e]), batch.carry, blocks[start // T][0]
        )


def returns(steps, values, gamma, n):
    """Targets over n steps, or as many as are left of the episode or sequence, by brute force: `[L, B]`."""
    length, count = steps.reward.shape
    y = np.zeros((length, count))
    for b in range(count):
        for t in range(length):
            total, k = 0.0, 0
            while True:
                total += gamma**k * steps.reward[t + k, b]
                ended = steps.terminated[t + k, b] or steps.truncated[t + k, b]
                if ended or k + 1 == n or t + k + 1 == length:
                    break
                k += 1
            y[t, b] = total + (0.0 if steps.terminated[t + k, b] else gamma ** (k + 1) * values[t + k, b])
    return y


@pytest.mark.parametrize("memory", ["gru", "s5"])
def test_targets_of_values(memory):
    """Double Q-learning over 3 steps with ends of both kinds inside, by brute force; errors give priorities."""
    algorithm, state, (batch, _), _ = drawn("dqn", memory)
    hypers = algorithm.hypers
    steps = algorithm.transition(batch, hypers)
    other = jax.tree.map(lambda x: x + 0.3, state.params["values"])
    learner = state.learner.replace(target_params={"values": other})
    mine, slow = (algorithm.seen(p, steps) for p in (state.params["values"], other))
    best = np.asarray(mine.later()[..., 0]).argmax(-1)
    following = np.take_along_axis(np.asarray(slow.later()[..., 0]), best[:, None], 1).reshape(LENGTH, B)
    trained = jax.tree.map(lambda x: x[BURN_IN:], batch.steps)
    assert trained.truncated[:-1].any() and trained.reset[1:].any()
    y = returns(trained, following, float(hypers.discount), 3)
    value = np.take_along_axis(np.asarray(mine.now()[..., 0]), trained.action.reshape(-1, 1), 1).reshape(LENGTH, B)
    context = Context(hypers, (), jnp.float32(0), jax.random.key(0))
    _, aux = algorithm.loss(state.params["values"], learner, batch, context)
    np.testing.assert_allclose(aux.td_error.reshape(LENGTH, B), np.abs(value - y), atol=1e-5)
    found = priority(aux.td_error, 0.9, algorithm.config)
    np.testing.assert_allclose(found, 0.9 * np.abs(value - y).max(0) + 0.1 * np.abs(value - y).mean(0), atol=1e-5)


def test_targets_of_critics():
    """TD3 by brute force: critics from nothing, with the burn-in; actions of the slow policy, from what was stored."""
    algorithm, state, (batch, _), _ = drawn("td3", "gru")
    hypers = algorithm.hypers.replace(target_noise=0.0)
    slow = jax.tree.map(lambda x: 0.9 * x, state.params)
    run, policy, critics = batch.steps, batch.carry, algorithm.carries(B)
    mine, no, rows = critics, np.zeros((1, B), bool), []
    for t in range(BURN_IN + LENGTH):
        past = [Past(carry, run.reset[t : t + 1]) for carry in (policy, critics, mine)]
        action = algorithm.action_space.to_unit(run.action[t])
        _, policy, _ = algorithm.unroll_actor(slow["actor"], run.obs[t], past[0])
        _, critics, _ = algorithm.unroll_critics(slow["critics"], run.obs[t], past[1], None, action)
        value, mine, _ = algorithm.unroll_critics(state.params["critics"], run.obs[t], past[2], None, action)
        after, _, _ = algorithm.unroll_actor(slow["actor"], run.next_obs[t], Past(policy, no))
        following, _, _ = algorithm.unroll_critics(slow["critics"], run.next_obs[t], Past(critics, no), None, after)
        rows += [(value[:, :, 0, 0], following[:, :, 0, 0].min(0))]
    value, following = (np.stack(x) for x in zip(*rows[BURN_IN:]))
    trained = jax.tree.map(lambda x: x[BURN_IN:], run)
    y = returns(trained, following, float(hypers.discount), 3)
    learner = state.learner.replace(target_params={name: slow[name] for name in ("actor", "critics")})
    context = Context(hypers, (), jnp.float32(0), jax.random.key(0))
    _, aux = algorithm.loss(state.params["critics"], learner, batch, context)
    expected = np.abs(value - y[:, None]).mean(1)
    np.testing.assert_allclose(aux.td_error.reshape(LENGTH, B), expected, rtol=1e-4, atol=1e-4)


def test_no_derivative_goes_back_to_the_burn_in():
    algorithm, state, (batch, _), _ = drawn("dqn", "gru")

    def outputs(obs, carry):
        given = batch._replace(steps=batch.steps._replace(obs=obs), carry=carry)
        steps = algorithm.transition(given, algorithm.hypers)
        return algorithm.seen(state.params["values"], steps).now()

    obs, carry = jax.tree.map(jnp.asarray, (batch.steps.obs, batch.carry))
    of_obs, of_carry = jax.grad(lambda *x: outputs(*x).sum(), (0, 1))(obs, carry)
    assert np.abs(of_obs[BURN_IN:]).max() > 0 and not np.abs(of_obs[:BURN_IN]).any()
    assert not any(np.abs(x).any() for x in jax.tree.leaves(of_carry))
    going = ~batch.steps.reset[1 : BURN_IN + 1].any(0)  # whose first episode reaches what is learned from
    moved = np.abs(outputs(obs.at[0].add(1.0), carry) - outputs(obs, carry))[:B].max((1, 2))
    np.testing.assert_array_equal(moved > 0, going)


@pytest.mark.parametrize("stored", [True, False])
def test_sequences_begin_with_what_was_remembered_or_with_nothing(stored):
    algorithm, _, (batch, _), _ = drawn("dqn", "gru", stored_carry=stored)
    carry = algorithm.transition(batch, algorithm.hypers).sequences.carry
    assert bool(np.abs(carry[0]).max() > 0) == stored
    assert (algorithm.source.carry_layout is not None) == stored and bool(jax.tree.leaves(batch.carry)) == stored
    words = 4 if stored else 0  # 32-bit words of a GRU of 4, once in T steps
    assert algorithm.source.bytes == 4 * E * (ROOM * algorithm.source.layout.words + ROOM // T * words)


def test_a_policy_learns_from_every_step_of_a_sequence():
    """The actor's loss is on what it says where it is, by critics that do not learn from it."""
    algorithm, state, (batch, _), _ = drawn("td3", "gru")
    steps = algorithm.transition(batch, algorithm.hypers)
    context = Context(algorithm.hypers, (), jnp.float32(0), jax.random.key(0))
    loss, _ = algorithm.policy_loss(state.params["actor"], state.learner, steps, context)
    action = algorithm.actor_seen(state.params["actor"], steps).now()
    outputs = algorithm.critics_seen(state.params["critics"], steps).now(action)
    assert action.shape == (LENGTH * B, 1)
    np.testing.assert_allclose(loss, -outputs[0, :, 0, 0].mean(), rtol=1e-5)


@pytest.mark.parametrize("memory", [name for name in MEMORIES if name not in ("none", *MEMORY)])
def test_every_memory_is_unrolled_from_a_replay(memory):
    algorithm, state, (batch, _), _ = drawn("dqn", f"{memory}(width={8 if memory == 'transformer' else 4})")
    steps = algorithm.transition(batch, algorithm.hypers)
    found = algorithm.seen(state.params["values"], steps)
    now, later = (x.reshape(LENGTH, B, -1) for x in (found.now(), found.later()))
    going = ~batch.steps.reset[BURN_IN + 1 :]  # where the next step goes on, it is the true successor
    np.testing.assert_allclose(later[:-1][going], now[1:][going], atol=1e-5)
