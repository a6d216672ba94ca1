"""Agents with a memory learn from what they saw when they acted, for every memory and every algorithm that has one.

What is learned from a rollout is unrolled again from the memory that the rollout began with: with the same parameters
each step gives the same numbers, also where episodes end inside.
"""

from __future__ import annotations

import shutil
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny

import rljax
from rljax import algos, envs
from rljax.algos.ppo import Batch
from rljax.catalogue import MEMORIES
from rljax.errors import ConfigError
from rljax.nets.memory import Past
from rljax.ops import streams
from rljax.ops.minibatch import by_environment, flatten_time, in_time, minibatch_epochs
from rljax.ops.rollout import play
from rljax.run import as_arrays

SMALL = {
    "gru": "gru(width=4)",
    "lstm": "lstm(width=4)",
    "transformer": "transformer(width=4,layers=1,heads=2,context=5)",
}
MEMORY = {name: SMALL.get(name, f"{name}(width=4,layers=1,states=4)") for name in MEMORIES if name != "none"}
ALGORITHMS = ("ppo", "pqn")
ENV = "CartPole-v1|time_limit(5)"  # truncated, and where the pole falls terminated: the steps before the fall decide
T, E = 12, 4
HOW = {"num_envs": E, "num_steps": T, "steps": 4 * T * E, "progress": False, "log_every": 1}

pairs = pytest.mark.parametrize(
    ("algo", "memory"), [("ppo", text) for text in MEMORY.values()] + [("pqn", MEMORY["gru"])]
)


@cache
def rolled_out(algo, memory):
    """An agent after two updates, so that its memory is in use when the rollout begins -> (algorithm, state, steps)."""
    env = envs.make(ENV)
    algorithm = algos.load(algo).make(env, tiny(algo, memory=memory, num_envs=E, num_steps=T))
    hypers, task = as_arrays(algorithm.hypers.replace(lr=1e-2)), as_arrays(env.task)

    @jax.jit
    def go():
        state = algorithm.init(jax.random.key(0), hypers, task)
        for _ in range(2):
            state, _ = algorithm.step(state, hypers, task)
        state = state.replace(start=state.carry)
        state, steps, _ = algorithm.collect(state, hypers, task, jax.random.key(1))
        state, batch, _ = algorithm.targets(state, hypers, steps)
        return state, steps, batch

    return algorithm, hypers, *jax.device_get(go())


def outputs(algorithm, state, obs, past, states=None):
    """The outputs of the network for steps `[T * E]`: a tree of arrays, without what is always the same."""
    context = (state.obs_stats,) if hasattr(state, "obs_stats") else ()
    return algorithm.unroll(state.params, *context, obs, past, states)


@pairs
def test_learning_sees_what_acting_saw(algo, memory):
    """The ratio of the first minibatch is 1, and values are those noted, with ends of episodes inside.

    Catches obs paired with the flag of the step that ended, resets one step late in learning, the state after the first
    observation taken for the one before it, a zero start, shuffled or strided time: each moves a ratio.
    """
    algorithm, _, state, steps, batch = rolled_out(algo, memory)
    assert steps.reset[1:].any() and not steps.reset.all() and steps.truncated.any()
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(state.start))
    out, carry, _ = outputs(algorithm, state, flatten_time(steps.obs), Past(state.start, steps.reset))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, state.carry)
    if algo == "ppo":
        policy, value = out
        log_prob = policy.log_prob(flatten_time(steps.extras.action))
        np.testing.assert_allclose(log_prob, steps.extras.log_prob.reshape(-1), atol=1e-5)
        np.testing.assert_allclose(value, steps.extras.value.reshape(-1), atol=1e-5)
    # The same minibatch by minibatch, as `learn` cuts it.
    rows = by_environment(batch)
    for part in (slice(0, 2), slice(2, 4)):
        minibatch = in_time(jax.tree.map(lambda x, part=part: x[part], rows))
        found, *_ = outputs(algorithm, state, minibatch.obs, minibatch.past)
        expected = jax.tree.map(lambda x, part=part: x.reshape(T, E, *x.shape[1:])[:, part], out)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.reshape(a.shape), atol=1e-5), found, expected)


@pairs
def test_targets_use_the_memory_after_the_step_and_the_true_successor(algo, memory):
    """Brute force: step by step, then one step further on `next_obs`, without a reset, and thrown away.

    Catches bootstrapping from the reset observation at a time limit, memory forgotten before the successor, and
    branches that advance the memory.
    """
    algorithm, hypers, state, steps, batch = rolled_out(algo, memory)
    carry, no, following = state.start, np.zeros((1, E), bool), []
    for t in range(T):
        _, carry, _ = outputs(algorithm, state, steps.obs[t], Past(carry, steps.reset[t : t + 1]))
        out, _, _ = outputs(algorithm, state, steps.next_obs[t], Past(carry, no))
        following.append(out[1] if algo == "ppo" else out.max(-1))
    gamma, value = float(hypers.discount), following[-1]
    trace = float(hypers.gae_lambda if algo == "ppo" else hypers.trace_lambda)
    expected = np.zeros((T, E))
    target = np.asarray(value)
    for t in reversed(range(T)):
        ended = steps.terminated[t] | steps.truncated[t]
        after = np.where(ended | (t == T - 1), following[t], (1 - trace) * following[t] + trace * target)
        target = steps.reward[t] + gamma * np.where(steps.terminated[t], 0.0, after)
        expected[t] = target
    np.testing.assert_allclose(batch.target, expected, atol=2e-5)


def test_an_update_begins_where_its_rollout_began():
    """One step of learning from all of it, from a memory in use: the ratio is 1. Catches learning from a zero start."""
    env = envs.make(ENV)
    config = tiny("ppo", memory=MEMORY["gru"], num_envs=E, num_steps=T, num_epochs=1, num_minibatches=1)
    algorithm = algos.load("ppo").make(env, config)
    hypers, task = as_arrays(algorithm.hypers.replace(lr=0.1)), as_arrays(env.task)

    @jax.jit
    def kl():
        state = algorithm.init(jax.random.key(0), hypers, task)
        metrics = []
        for _ in range(3):
            state, found = algorithm.step(state, hypers, task)
            metrics.append(found["approx_kl"])
        return jnp.stack(metrics)

    assert np.abs(kl()).max() < 1e-9


def test_a_cue_reaches_values_and_targets_of_its_episode_alone():
    algorithm, _, state, steps, _ = rolled_out("ppo", MEMORY["gru"])

    def values(obs):
        (_, value), _, _ = outputs(algorithm, state, flatten_time(obs), Past(state.start, steps.reset))
        return value.reshape(T, E)

    of_first = jax.jacrev(values)(jnp.asarray(steps.obs))[:, 0, 0, 0]  # [T, F]: by the first observation of the first
    episode = np.cumsum(steps.reset[:, 0])
    np.testing.assert_array_equal(np.abs(of_first).max(-1) > 0, episode == episode[0])


def test_minibatches_are_whole_rollouts_of_some_environments():
    """Numbered steps stay in order beside the memory of their environment. Catches reshapes that stride in time."""
    number = jnp.arange(T * E).reshape(T, E)
    batch = Batch(number, *[number] * 5, Past((jnp.arange(E),), jnp.zeros((T, E), bool).at[0].set(True)))

    def update(count, rows, key):
        steps = in_time(rows)
        return count + 1, (steps.obs.reshape(T, 2), steps.past.carry[0], steps.past.reset)

    count, (obs, env, reset) = minibatch_epochs(update, 0, by_environment(batch), jax.random.key(0), 3, 2)
    assert count == 6 and reset[:, :, 0].all() and not reset[:, :, 1:].any()
    np.testing.assert_array_equal(obs, np.arange(T)[:, None] * E + np.asarray(env)[:, :, None])
    assert (np.sort(np.asarray(env).reshape(3, E)) == np.arange(E)).all()


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_it_goes_on_from_a_checkpoint_and_through_a_sweep(algo, tmp_path):
    """To the bit: a kill half-way, and a row of a sweep beside the lone run."""
    settings = {"memory": MEMORY["gru"], **HOW, "num_minibatches": 2, "num_epochs": 1, "hidden": (4,)}
    whole, cut = (rljax.train(algo, "CartPole-v1", seed=1, out=tmp_path / x, save_every=2, **settings) for x in "ab")
    newest = tmp_path / "b" / "checkpoints" / "4"
    assert newest.exists()
    shutil.rmtree(newest)  # as if it had been killed half-way
    gone_on = rljax.resume(tmp_path / "b", progress=False)
    for other in (cut, gone_on):
        leaves = [jax.tree.leaves((run.policy.state.params, run.policy.state.carry)) for run in (whole, other)]
        assert all(np.array_equal(*pair) for pair in zip(*leaves, strict=True))
    without = {name: value for name, value in settings.items() if name != "memory"}
    memories = [settings["memory"], MEMORY["s5"]]
    sweep = rljax.sweep(
        algo, "CartPole-v1", grid={"memory": memories, "lr": [1e-3, 1e-2]}, seeds=[1, 2], workers=1, **without
    )
    assert [row["group"] for row in sweep.record["rows"]] == [0, 0, 1, 1]  # as many programs as memories


def test_a_policy_forgets_by_itself():
    run = rljax.train("ppo", "CartPole-v1", memory=MEMORY["lstm"], **HOW, num_minibatches=2, hidden=(4,))
    policy, obs = run.policy, np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    first = [policy(x, key=jax.random.key(i)) for i, x in enumerate(obs)]
    again = [policy(x, key=jax.random.key(i), reset=np.full(3, i == 0)) for i, x in enumerate(obs)]
    np.testing.assert_array_equal(first, again)
    policy.forget()
    carry = policy.algo.initial_carry(policy.state, 3)
    for i, x in enumerate(obs):  # it goes on from what it has seen
        policy(x, key=jax.random.key(i))
        carry, _ = policy.algo.act(policy.state, carry, x, np.full(3, i == 0), jax.random.key(i), False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), policy._carry, carry)
    assert policy(obs[0][:2]).shape == (2,) and policy(obs[0][0]).shape == ()  # any number of episodes
    # Evaluations are what a loop by hand comes to.
    found = policy.evaluate(3, greedy=True, seed=0)
    env, algorithm = policy.env, policy.algo
    np.testing.assert_array_equal(found, policy.evaluate(3, greedy=True, seed=0))

    def act(carry, obs, reset, key):
        return *algorithm.act(policy.state, carry, obs, reset, key, True), ()

    key = streams.of_seed(0, streams.EVALUATION)
    steps, mask = play(env, env.task, act, algorithm.initial_carry(policy.state, 3), key, 3, 500)
    np.testing.assert_allclose(np.where(mask, steps.reward, 0).sum(0), found)


@pytest.mark.parametrize(
    ("algo", "settings", "message"),
    [
        ("ppo", {"memory": "gru", "num_envs": 3, "num_minibatches": 2}, "num_minibatches=2: must divide num_envs=3"),
        ("ppo", {"memory": "grru"}, "memory=grru: must be one of none, gru, .*did you mean 'gru'"),
        ("ppo", {"memory": "gru(wdith=3)"}, "wdith"),
        ("ppo", {"memory": "gru(width=0)"}, "memory.width=0"),
        ("ppo", {"memory": "s5(states=3)"}, "memory.states=3: must be even"),
        ("ppo", {"memory": "s5(scan='up')"}, "memory.scan=up: must be one of auto, loop, tree"),
        ("revalued", {"memory": "gru"}, "memory"),
        ("lpg", {"memory": "gru"}, "unknown setting of lpg 'memory'"),
        ("dqn", {"memory": "gru", "num_steps": 8, "sequence": 12}, "sequence=12: must be a multiple of num_steps=8"),
        ("dqn", {"memory": "gru", "num_steps": 4, "burn_in": -1}, "burn_in=-1: must be at least 0"),
        ("dqn", {"memory": "gru", "num_steps": 8, "warmup": 100}, "warmup=100: must be at least 256"),
        (
            "dqn",
            {"memory": "gru", "num_steps": 8, "warmup": 256, "capacity": 256},
            "capacity=256: must be at least 320",
        ),
        ("sac", {"memory": "gru", "batch_norm": True, "batch_size": 1}, "batch_norm=True: needs memory=none"),
        ("ppo", {"memory": "transformer(context=1)"}, "memory.context=1: must be at least 2"),
        ("ppo", {"memory": "transformer(width=12)"}, r"memory.width=12: must be a multiple of 2 \* heads = 8"),
        ("ppo", {"memory": "transformer(sink='v')"}, "memory.sink=v: must be one of none, kv, k, zero"),
        ("dqn", {"memory": "transformer(context=8)", "burn_in": 9}, "burn_in=9: must be at most the context=8"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(algo, settings, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        rljax.train(
            algo, "Pendulum-v1" if algo in ("sac", "revalued") else "CartPole-v1", steps=100, progress=False, **settings
        )
    assert "\n" not in str(error.value)
