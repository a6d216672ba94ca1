"""Partial updates within a rollout: what they learn from, by which memory, and what they leave as it was."""

from __future__ import annotations

import shutil
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import CounterTask, counter, tiny

import rljax
from rljax import algos, envs
from rljax.errors import ConfigError
from rljax.nets.memory import Past
from rljax.ops.minibatch import flatten_time
from rljax.ops.rollout import begin, joined, rollout
from rljax.run import as_arrays

ENV = "CartPole-v1|time_limit(5)"
T, E, PARTS = 8, 4, 2
C = T // PARTS
MEMORY = {"gru": "gru(width=4)", "transformer": "transformer(width=4,layers=1,heads=2,context=6)"}
NUMBERS = {"lr": 0.1, "max_grad_norm": float("inf"), "value_clip": float("inf")}


@cache
def made(algo, memory, **settings):
    """An agent that learns by plain descent, one step an update."""
    settings = {"num_epochs": 1, "num_minibatches": 1, "optimiser": "sgd", "lr_schedule": "constant"} | settings
    shape = {"num_envs": E, "num_steps": T, "memory": MEMORY.get(memory, memory), "partial_updates": PARTS - 1}
    algorithm = algos.load(algo).make(envs.make(ENV), tiny(algo, **shape | settings))
    names = vars(algorithm.hypers)
    hypers = algorithm.hypers.replace(**{name: x for name, x in NUMBERS.items() if name in names})
    return algorithm, as_arrays(hypers), as_arrays(algorithm.env.task)


@cache
def second_part(algo, memory):
    """A state with a memory in use, the 2 C steps that follow, and the state that learns from the last C of them."""
    algorithm, hypers, task = made(algo, memory)
    short, _, _ = made(algo, memory, num_steps=2 * C, partial_updates=0)

    @jax.jit
    def go():
        state, _ = algorithm.step(algorithm.init(jax.random.key(0), hypers, task), hypers, task)
        state = state.replace(start=state.carry)
        after, steps, _ = short.collect(state, hypers, task, jax.random.key(1))
        return after, steps, algorithm.targets(after, hypers, steps)[1]

    learn = jax.jit(lambda state, steps: algorithm.learn_newest(state, hypers, task, steps, jax.random.key(2)))
    return algorithm, hypers, *go(), learn


def unrolled(algorithm, params, state, steps):
    context = (state.obs_stats,) if hasattr(state, "obs_stats") else ()
    return algorithm.unroll(params, *context, flatten_time(steps.obs), Past(state.start, steps.reset))


@pytest.mark.parametrize(("algo", "memory"), [("ppo", "transformer"), ("pqn", "gru")])
def test_a_partial_update_is_the_loss_of_the_newest_steps_in_the_context_of_all(algo, memory):
    """Compares with one unroll over everything, of which the loss sees the outputs for the last steps, by hand.

    Catches contexts without derivatives or of the old parameters, a zero start, and a loss on all steps.
    """
    algorithm, hypers, state, steps, batch, learn = second_part(algo, memory)
    assert steps.reset[1:].any()
    newest = jax.tree.map(lambda x: x[C:].reshape(-1, *x.shape[2:]), batch._replace(past=()))

    def loss(params):
        out, _, _ = unrolled(algorithm, params, state, steps)
        seen = jax.tree.map(lambda x: x[C * E :], out)
        if algo == "pqn":
            value = jnp.take_along_axis(seen, newest.action[:, None], 1)[:, 0]
            return 0.5 * ((value - newest.target) ** 2).mean()
        policy, value = seen
        advantage = newest.advantage
        advantage = (advantage - advantage.mean()) / advantage.std()
        ratio = jnp.exp(policy.log_prob(newest.action) - newest.log_prob)
        clipped = jnp.clip(ratio, 1 - hypers.objective.clip, 1 + hypers.objective.clip)
        objective = jnp.minimum(ratio * advantage, clipped * advantage).mean()
        entropy = policy.entropy(jax.random.key(0)).mean()
        value_loss = 0.5 * ((value - newest.target) ** 2).mean()
        return -objective + hypers.value_coef * value_loss - hypers.entropy_coef * entropy

    expected = jax.jit(lambda p: jax.tree.map(lambda x, g: x - 0.1 * g, p, jax.grad(loss)(p)))(state.params)
    learned = learn(state, steps)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), learned.params, expected)
    _, carry, _ = unrolled(algorithm, learned.params, state, steps)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), learned.carry, carry)
    same = [name for name in vars(state) if name not in ("params", "opt", "carry", "key")]
    assert all(jax.tree.all(jax.tree.map(np.array_equal, getattr(state, n), getattr(learned, n))) for n in same)


def test_what_was_done_and_earned_before_changes_nothing():
    *_, state, steps, _, learn = second_part("ppo", "transformer")

    def early(x):
        return x.at[:C].set((3 * x[:C] + 1).astype(x.dtype) % 2)

    other = steps._replace(
        reward=early(steps.reward), action=early(steps.action), extras=jax.tree.map(early, steps.extras)
    )
    params, changed = learn(state, steps).params, learn(state, other).params
    assert jax.tree.all(jax.tree.map(np.array_equal, params, changed))
    seen = learn(state, steps._replace(obs=steps.obs.at[:C].add(1.0))).params  # which is in its context
    assert not jax.tree.all(jax.tree.map(np.array_equal, params, seen))


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_each_part_acts_by_what_was_learned_before(memory):
    """The last part by the parameters, and a memory, of now: its ratio is 1. That of the first is not any more."""
    algorithm, hypers, task = made("ppo", memory)

    @jax.jit
    def go():
        state = algorithm.init(jax.random.key(0), hypers, task)
        state = state.replace(start=state.carry)
        after, steps, metrics = algorithm.collect(state, hypers, task, jax.random.key(1))
        past = algorithm.past(after, steps)
        (policy, _), carry, _ = algorithm.unroll(after.params, (), flatten_time(steps.obs), past)
        ratio = policy.log_prob(flatten_time(steps.extras.action)).reshape(T, E) - steps.extras.log_prob
        return after.carry, carry, ratio, steps, metrics

    after, carry, ratio, steps, metrics = go()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after, carry)
    np.testing.assert_allclose(ratio[-C:], 0.0, atol=1e-5)
    assert (np.abs(ratio[:C]) > 1e-3).mean() > 0.5
    ended = steps.terminated | steps.truncated
    np.testing.assert_array_equal(steps.reset[1:], ended[:-1])  # one rollout
    assert metrics["episodes"] == ended.sum() > 0


def test_rollouts_in_a_row_count_as_one():
    env, task = counter(), CounterTask(truncate_at=3)

    def policy(carry, obs, reset, key):
        return carry, jnp.zeros(2, jnp.int32), ()

    def rolled(lengths):
        episodes, found = begin(env, task, jax.random.key(0), 2), []
        for length in lengths:
            found.append(rollout(env, task, policy, (), episodes, jax.random.key(1), length))
            episodes = found[-1].episodes
        return joined(found)

    jax.tree.map(np.testing.assert_array_equal, rolled([7]), rolled([2, 2, 3]))


def test_a_cleared_memory_sees_nothing_of_the_rollout_before():
    algorithm, hypers, task = made("ppo", "gru", partial_updates=0, clear_memory=True)
    kept, _, _ = made("ppo", "gru", partial_updates=0)
    state = algorithm.init(jax.random.key(0), hypers, task)
    state = state.replace(episodes=state.episodes.replace(reset=jnp.zeros(E, bool)))
    other = state.replace(carry=jax.tree.map(lambda x: x + 1.0, state.carry))

    def same(algorithm):
        step = jax.jit(algorithm.step)
        first, second = (step(each, hypers, task)[0].params for each in (state, other))
        return jax.tree.all(jax.tree.map(np.array_equal, first, second))

    assert same(algorithm) and not same(kept)


def test_it_goes_on_from_a_checkpoint(tmp_path):
    settings = {"memory": MEMORY["gru"], "num_envs": E, "num_steps": T, "partial_updates": 1, "clear_memory": True}
    settings |= {"num_minibatches": 2, "num_epochs": 1, "hidden": (4,), "normalize_obs": True, "normalize_reward": True}
    how = {"steps": 4 * T * E, "progress": False, "log_every": 1, **settings}
    whole = rljax.train("ppo", "CartPole-v1", seed=1, out=tmp_path / "a", save_every=2, **how)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "4")  # as if it had been killed half-way
    gone_on = rljax.resume(tmp_path / "b", progress=False)
    leaves = [jax.tree.leaves((run.policy.state.params, run.policy.state.carry)) for run in (whole, gone_on)]
    assert all(np.array_equal(*pair) for pair in zip(*leaves, strict=True))


@pytest.mark.slow
def test_a_row_of_a_sweep_is_the_lone_run():
    algorithm, hypers, task = made("ppo", "transformer", clear_memory=True)
    state = jax.jit(algorithm.init)(jax.random.key(0), hypers, task)
    many = jax.tree.map(lambda x: jnp.stack([x, x]), hypers).replace(lr=jnp.array([1e-3, 1e-2]))
    alone = jax.jit(algorithm.step)(state, hypers.replace(lr=jnp.float32(1e-2)), task)[0].params
    beside = jax.jit(jax.vmap(algorithm.step, (None, 0, None)))(state, many, task)[0].params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[1], atol=1e-5), alone, beside)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 10, "partial_updates": 3}, "partial_updates=3: must divide num_steps=10 into equal stretches"),
        ({"partial_updates": -1}, "partial_updates=-1"),
        ({"clear_memory": True}, "clear_memory=True: has no effect without a memory"),
        (
            {"num_envs": 2, "num_steps": 6, "partial_updates": 1, "num_minibatches": 4},
            r"num_minibatches=4: must divide num_envs \* num_steps / \(partial_updates \+ 1\) = 6",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        rljax.train("ppo", "CartPole-v1", steps=100, progress=False, **settings)
    assert "\n" not in str(error.value)
