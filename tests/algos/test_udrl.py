"""Upside-down RL: what it is commanded, what it imitates, and that it does as it is told."""

from __future__ import annotations

import dataclasses
import shutil
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

import rljax
from rljax import algos, envs
from rljax.algos.udrl import UDRL, Hypers
from rljax.data.episodes import Stretch
from rljax.errors import ConfigError
from rljax.nets.memory import Past
from rljax.ops.commands import Outcomes
from rljax.ops.tree import as_arrays
from rljax.run import evaluate, run, start
from rljax.types import MultiDiscrete

UNSURE = as_arrays(Hypers(epsilon=0.5))
SMALL = {"warmup": 64, "best_episodes": 6, "command_episodes": 3, "episode_steps": 32, "hidden": (8, 8)}


@cache
def begun(**settings):
    """An agent that has learned nothing yet -> (algorithm, state); its best episodes came to 20 to 30 in 9 steps."""
    algorithm = algos.load("udrl").make(envs.make("CartPole-v1"), tiny("udrl", **SMALL | settings))
    state = start(algorithm, jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(algorithm.env.task))
    return algorithm, state.replace(outcomes=as_arrays(Outcomes(20.0, 10.0, 9.0)))


def observations(size):
    return jax.random.normal(jax.random.key(7), (size, 4))


def test_a_command_is_given_as_an_episode_begins_and_its_steps_are_counted_down():
    algorithm, state = begun()
    act = jax.jit(algorithm.act)
    obs, reset, carry = observations(3), np.array([True, True, True]), algorithm.initial_carry(state, 3)
    carry, _ = act(state, carry, obs, reset, jax.random.key(1), False)
    first = np.asarray(carry["command"])
    assert (first[:, 0] > 20).all() and (first[:, 0] < 30).all() and len(set(first[:, 0])) == 3
    np.testing.assert_array_equal(first[:, 1], 8)
    carry, _ = act(state, carry, obs, np.array([False, True, False]), jax.random.key(2), False)
    assert carry["command"][1, 0] != first[1, 0]
    np.testing.assert_array_equal(carry["command"][:, 1], [7, 8, 7])
    np.testing.assert_array_equal(carry["command"][::2, 0], first[::2, 0])
    carry, _ = act(state, carry, obs, reset, jax.random.key(3), True)
    np.testing.assert_array_equal(carry["command"], [[20, 8]] * 3)  # greedy: the mean


def test_an_action_is_that_of_the_network_for_the_scaled_command():
    algorithm, state = begun()
    state = state.replace(scale=jnp.array([0.5, 0.1]))
    obs, reset = observations(64), np.ones(64, bool)
    _, action = algorithm.act(state, algorithm.initial_carry(state, 64), obs, reset, jax.random.key(1), True)
    command = jnp.broadcast_to(jnp.array([20 * 0.5, 9 * 0.1]), (64, 2))
    expected = algorithm.network.apply(state.params, obs, command, ())[0].mode()
    np.testing.assert_array_equal(action, expected)


def test_random_actions_are_a_share_of_all_but_the_greedy_ones():
    algorithm, state = begun()
    always = jax.tree.map(lambda x: x, state.params)
    head = always["params"]["PolicyHead_0"]["Dense_0"]
    head["bias"] = jnp.array([-50.0, 50.0])
    state = state.replace(params=always, epsilon=jnp.float32(0.5))
    size = 4000
    obs, reset, carry = observations(size), np.ones(size, bool), algorithm.initial_carry(state, size)
    _, action = jax.jit(algorithm.act)(state, carry, obs, reset, jax.random.key(1), False)
    np.testing.assert_allclose((action == 0).mean(), 0.25, atol=0.03)
    _, action = jax.jit(algorithm.act)(state, carry, obs, reset, jax.random.key(1), True)
    assert (action == 1).all()


def test_the_loss_is_the_likelihood_of_what_was_done_under_the_command():
    """It is computed by hand from the network; what is masked counts nowhere."""
    algorithm, state = begun()
    obs, action = observations(6).reshape(1, 6, 4), jnp.array([[0, 1, 1, 0, 1, 0]], jnp.int32)
    command = jnp.arange(12.0).reshape(1, 6, 2)
    mask = jnp.array([[True, True, False, True, False, True]])
    batch = Stretch(obs, action, command, mask, jnp.ones((1, 6), bool))
    found = algorithm.loss(state.params, state, algorithm.hypers, batch)
    logits = algorithm.network.apply(state.params, obs[0], 0.02 * command[0], ())[0].logits
    log_prob = jax.nn.log_softmax(logits)[jnp.arange(6), action[0]]
    np.testing.assert_allclose(found, -log_prob[mask[0]].mean(), rtol=1e-5)
    nothing = algorithm.loss(state.params, state, algorithm.hypers, batch._replace(mask=mask & False))
    assert nothing == 0


def test_a_memory_learns_from_what_it_saw_when_it_acted():
    """Step by step, as it acts, and as a sequence, as it learns, are the same; also where an episode begins inside."""
    algorithm, state = begun(memory="gru(width=4)")
    act, forward = jax.jit(algorithm.act), jax.jit(algorithm.forward)
    obs, reset, time = observations(12).reshape(6, 2, 4), np.zeros((6, 2), bool), 6
    reset[0], reset[3, 1] = True, True
    carry, logits, commands = algorithm.initial_carry(state, 2), [], []
    for t in range(time):
        before = carry
        carry, _ = act(state, carry, obs[t], reset[t], jax.random.key(t), True)
        commands.append(jnp.where(reset[t][:, None], jnp.array([[20.0, 9.0]]), before["command"]))
        policy, _ = forward(state.params, state.scale, obs[t], commands[-1], Past(before["memory"], reset[t : t + 1]))
        logits.append(policy.logits)
    past = Past(algorithm.initial_carry(state, 2)["memory"], reset)
    rows = obs.reshape(12, 4), jnp.concatenate(commands)
    policy, last = forward(state.params, state.scale, *rows, past)
    np.testing.assert_allclose(policy.logits, jnp.concatenate(logits), atol=1e-5)
    np.testing.assert_allclose(last, carry["memory"], atol=1e-5)
    assert np.abs(np.diff(np.asarray(policy.logits).reshape(6, 2, 2)[:, 0], axis=0)).max() > 0


def test_episodes_are_commanded_by_the_best_of_all_so_far():
    """And the policy begins none that random actions began."""
    algorithm, _ = begun(warmup=256, command_episodes=2)
    numbers = algorithm.hypers.replace(return_scale=0.5, horizon_scale=0.25, epsilon=0.125)
    arguments = as_arrays(numbers), as_arrays(algorithm.env.task)
    first = start(algorithm, jax.random.key(0), *arguments)
    assert first.episodes.reset.all() and first.buffer.stored == 6
    after, step = first, jax.jit(algorithm.step)
    while after.outcomes.mean == first.outcomes.mean:
        after, _ = step(after, *arguments)
    for state in (first, after):
        returns, lengths = np.asarray(state.buffer.best.returns), np.asarray(state.buffer.best.lengths)
        found = state.outcomes.mean, state.outcomes.std, state.outcomes.length
        np.testing.assert_allclose(found, [returns[:2].mean(), returns[:2].std(), lengths[:2].mean()], rtol=1e-5)
        np.testing.assert_array_equal([*state.scale, state.epsilon], [0.5, 0.25, 0.125])


def test_learning_draws_sequences_where_there_is_a_memory_and_steps_where_there_is_none():
    env, shapes = envs.make("CartPole-v1"), []
    for settings in ({}, {"memory": "gru(width=4)", "sequence": 5}):
        seen = []

        class Seeing(UDRL):
            def loss(self, params, state, hypers, batch):
                seen.append(batch.mask.shape)  # noqa: B023
                return super().loss(params, state, hypers, batch)

        algorithm = Seeing(env, tiny("udrl", **SMALL | settings))
        arguments = as_arrays(algorithm.hypers), as_arrays(env.task)
        state = jax.eval_shape(algorithm.init, jax.random.key(0), *arguments)
        jax.eval_shape(algorithm.step, state, *arguments)
        shapes.append(seen[0])
    assert shapes == [(1, 8), (5, 8)]


def test_it_comes_to_what_it_is_commanded():
    """The reward of the one step is the action: 1 is done if 1 is wanted, and 0 if 0 is."""
    sizes = {"num_envs": 8, "num_steps": 4, "warmup": 256, "best_episodes": 1024, "gradient_steps": 8, "batch_size": 32}
    numbers = {"lr": 1e-2, "return_scale": 1.0}
    sizes |= {"command_episodes": 1024, "episode_steps": 1, "hidden": (8,)}
    algorithm, state, metrics = learned("udrl", "probe/action", sizes, 2, 20, **numbers)
    assert metrics["policy_loss"][:, -1].max() < 0.1

    def score(state, wanted):
        state = state.replace(outcomes=Outcomes(wanted, jnp.float32(0.0), jnp.float32(1.0)))
        return evaluate(algorithm, state, algorithm.env, jax.random.key(1), 8)

    for wanted in (0.0, 1.0):
        np.testing.assert_array_equal(jax.vmap(partial(score, wanted=jnp.float32(wanted)))(state), wanted)


def test_continuous_actions_come_near_the_best_of_what_was_tried():
    """The reward is -(a - 0.5)^2: the best of random actions lie about 0.5."""
    sizes = {"num_envs": 8, "num_steps": 8, "warmup": 256, "best_episodes": 16, "gradient_steps": 8, "batch_size": 32}
    sizes |= {"command_episodes": 8, "episode_steps": 1, "hidden": (8,)}
    algorithm, state, _ = learned("udrl", "probe/continuous", sizes, 2, 30, lr=1e-2)
    found = jax.vmap(lambda state: evaluate(algorithm, state, algorithm.env, jax.random.key(1), 8))(state)
    assert found.min() > -0.01


def test_actions_of_several_entries_go_through_it():
    probe = envs.make("probe/action")

    def step(key, state, action, task):
        return probe.step(key, state, action.sum(), task)

    env = dataclasses.replace(probe, step=step, action_space=MultiDiscrete((2, 3)))
    algorithm = UDRL(env, tiny("udrl", **SMALL))
    state, metrics = jax.jit(partial(run, algorithm, num_updates=2))(jax.random.key(0), UNSURE, as_arrays(env.task))
    assert np.isfinite(metrics["policy_loss"]).all()
    carry, obs = algorithm.initial_carry(state, 5), jnp.zeros((5, 1))
    _, action = jax.jit(algorithm.act)(state, carry, obs, np.ones(5, bool), jax.random.key(0), False)
    assert action.shape == (5, 2) and jax.vmap(env.action_space.contains)(action).all()


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "least", "most"), [("gru(width=64)", 400, 500), ("none", 0, 100)])
def test_what_is_not_seen_is_remembered(memory, least, most):
    """CartPole without its velocities, which takes a memory; at most 500."""
    settings = {"segments": "any", "batch_size": 64, "memory": memory}
    env = envs.make("CartPole-v1|mask_observation([1,3])")
    algorithm, state, _ = learned("udrl", env, settings, 4, 192)
    found = jax.jit(jax.vmap(lambda s: evaluate(algorithm, s, env, jax.random.key(1), 32)))(state).mean(1)
    print(f"udrl, memory {memory}: returns of {found.min():.4g} to {found.max():.4g}, mean {found.mean():.4g}")
    assert least <= found.mean() <= most


def test_it_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    how = {"num_envs": 4, "num_steps": 12, "gradient_steps": 2, "batch_size": 8, "progress": False, "log_every": 1}
    how |= SMALL | {"steps": 96 + 4 * 48, "warmup": 96, "memory": "gru(width=4)", "sequence": 4, "use_preset": False}
    whole, cut = (rljax.train("udrl", "CartPole-v1", seed=1, out=tmp_path / x, save_every=2, **how) for x in "ab")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "4")  # as if it had been killed half-way
    gone_on = rljax.resume(tmp_path / "b", progress=False)
    for other in (cut, gone_on):
        states = [x.policy.state.replace(key=(), episodes=x.policy.state.episodes.obs) for x in (whole, other)]
        assert all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, states), strict=True))
    assert whole.metrics["command_return"][-1] >= whole.metrics["command_return"][0] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command_episodes": 200}, "command_episodes=200: must be at least 1 and at most best_episodes=20"),
        ({"memory": "grru"}, "memory=grru: must be one of"),
        ({"sequence": 0}, "sequence"),
        ({"best_episodes": 10**8, "steps": 10**4}, "best_episodes=100000000: takes at least"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        rljax.train("udrl", "CartPole-v1", progress=False, use_preset=False, **{"steps": 100} | settings)
    assert "\n" not in str(error.value)
