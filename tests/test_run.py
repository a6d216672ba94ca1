"""The drivers: chunks change nothing, evaluation touches nothing, signals and NaNs end a run well."""

from __future__ import annotations

import dataclasses
import os
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import CASES, build, leaves_equal
from toys import OTHERS, TINY, broken, counter, pair

from rljax import algos, envs
from rljax.divergence import diverged
from rljax.envs import wrappers
from rljax.errors import DivergedError, Stopped, Terminated
from rljax.ops import streams
from rljax.ops.metrics import DIAGNOSTICS, NOT_FINITE, summarise
from rljax.run import advance, as_arrays, evaluate, run, start, stop, stop_signals, train
from rljax.spec import make
from rljax.types import Algorithm

NAMED = ["ppo-discrete", "lpg", "dqn", "pqn", "sac", "td3", "revalued", "udrl"]


class Rows(list):
    def write(self, row):
        self.append(row)


@pytest.fixture(scope="module")
def ppo():
    algorithm, env = build("ppo", "CartPole-v1", {})
    return algorithm, env, as_arrays(algorithm.hypers), as_arrays(env.task)


def test_chunked_training_equals_one_scan(ppo):
    algorithm, _, hypers, task = ppo
    whole, metrics = jax.jit(lambda k: run(algorithm, k, hypers, task, 10))(jax.random.key(0))
    rows = Rows()
    outcome = train(algorithm, jax.random.key(0), hypers, task, 10, log_every=4, sinks=[rows])
    assert outcome.updates == 10 and outcome.stopped_by is None
    assert [row["updates"] for row in rows] == [4, 8, 10]
    assert [row["step"] for row in rows] == [128, 256, 320]
    for x, y in zip(jax.tree.leaves(whole.params), jax.tree.leaves(outcome.state.params)):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rows[0]["value_loss"], metrics["value_loss"][:4].mean(), rtol=1e-4)
    np.testing.assert_allclose([row["episodes"] for row in rows], np.add.reduceat(metrics["episodes"], [0, 4, 8]))


def test_a_short_last_chunk_needs_no_program_of_its_own(ppo):
    algorithm, _, hypers, task = ppo
    before = advance._cache_size()
    train(algorithm, jax.random.key(0), hypers, task, 7, log_every=3)
    train(algorithm, jax.random.key(1), jax.tree.map(lambda x: x * 0.5, hypers), task, 8, log_every=3)
    assert advance._cache_size() == before + 1


@pytest.mark.parametrize("stop_at", [2, 3, 5])  # not 1: points of one update are another program, rounded otherwise
def test_stopping_and_going_on_changes_no_bit(ppo, stop_at):
    algorithm, _, hypers, task = ppo
    saved = {}

    def save(updates, state):
        saved[updates] = jax.tree.map(lambda x: x.copy(), state)

    whole = train(algorithm, jax.random.key(0), hypers, task, 8, log_every=2)
    train(algorithm, jax.random.key(0), hypers, task, stop_at, log_every=2, save=save)
    rows, state = Rows(), saved[stop_at]
    rest = train(algorithm, jax.random.key(9), hypers, task, 8, state=state, done=stop_at, log_every=2, sinks=[rows])
    assert leaves_equal(whole.state, rest.state)
    assert [row["updates"] for row in rows] == [
        n for n in (2, 4, 6, 8) if n > stop_at
    ]  # where they were without a stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(ppo, number):
    algorithm, _, hypers, task = ppo
    saved = []

    class Kill:
        def write(self, row):
            if row["updates"] == 4:
                os.kill(os.getpid(), number)

    with pytest.raises({signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}[number]) as caught:
        train(
            algorithm,
            jax.random.key(0),
            hypers,
            task,
            100,
            log_every=2,
            sinks=[Kill()],
            save=lambda updates, state: saved.append(updates),
        )
    assert isinstance(caught.value, Stopped)
    outcome = caught.value.result
    assert outcome.stopped_by == number
    assert outcome.updates == saved[-1] < 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 143


def test_a_signal_finds_the_handler_that_was_there_and_a_second_ctrl_c_interrupts_at_once(capsys):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with stop_signals() as received:
            signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM] and not heard
        with pytest.raises(Terminated) as caught:
            stop(received[0], "what was reached")
        assert heard == [signal.SIGTERM] and caught.value.result == "what was reached"
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(KeyboardInterrupt) as at_once, stop_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert not isinstance(at_once.value, Stopped)
    assert "SIGINT: stopping" in (said := capsys.readouterr().err) and "SIGINT again: interrupting at once" in said


def test_nan_stops_the_run_and_is_not_saved(ppo):
    algorithm, _, hypers, task = ppo
    saved = []
    bad = hypers.replace(lr=jnp.float32(jnp.nan), lr_final=jnp.float32(1.0))
    with pytest.raises(DivergedError, match=r"is nan by update 2.*smaller lr"):
        train(algorithm, jax.random.key(0), bad, task, 10, log_every=2, save_every=2, save=lambda u, s: saved.append(u))
    assert not saved


NAN_CASES = [(c.values[0], c.values[1], c.values[2], 7) for c in CASES if c.id in NAMED]
NAN_CASES += [("ppo", "CartPole-v1", {}, 0), ("dqn", "CartPole-v1", {}, 0)]


@pytest.mark.parametrize(("algo", "like", "settings", "when"), NAN_CASES)
def test_a_nan_from_the_environment_is_named_as_such(algo, like, settings, when):
    space = envs.make(like).action_space
    env = broken(0.0, np.nan, when, space) if when else broken(np.inf, 0.0, when, space)
    tiny = {name: value for name, value in (TINY | OTHERS | settings).items() if name in algos.settings(algo)}
    algorithm, env = make(algo, env, **tiny)
    with pytest.raises(DivergedError) as caught:
        train(algorithm, jax.random.key(0), algorithm.hypers, env.task, 4, log_every=1, env_name=env.name)
    field = "reward" if when else "observation"
    said = rf"environment 'toy/broken' gave a NaN or an infinity in its {field} by update [12]; rljax.envs.check\(env"
    assert re.match(said, str(caught.value))


def test_a_policy_that_diverges_is_not_blamed_on_the_environment():
    algorithm, env = build("ppo", "probe/continuous", {})
    hypers = as_arrays(algorithm.hypers.replace(lr=jnp.float32(jnp.nan), lr_final=jnp.float32(1.0)))
    with pytest.raises(DivergedError, match=r"is nan by update 3: training diverged; try a smaller lr"):
        train(algorithm, jax.random.key(0), hypers, as_arrays(env.task), 3, log_every=3)


def test_steps_count_beyond_32_bits(ppo):
    algorithm, _, hypers, task = ppo
    rows, long = Rows(), 3 * 10**9 // algorithm.steps_per_update
    state = start(algorithm, jax.random.key(0), hypers, task)
    train(algorithm, jax.random.key(0), hypers, task, long, state=state, done=long - 2, log_every=2, sinks=[rows])
    assert rows[-1]["step"] == long * algorithm.steps_per_update > 2**31


def test_rows_weigh_returns_by_episodes():
    row = summarise({"episodes": np.array([1, 0, 3]), "episode_return": np.array([10, np.nan, 2]), "x": np.arange(3)})
    assert row == {"episodes": 4, "episode_return": 4.0, "x": 1.0}
    assert np.isnan(summarise({"episodes": np.zeros(2), "episode_return": np.full(2, np.nan)})["episode_return"])


def test_a_diagnostic_ends_no_run():
    metrics = {"value_loss": np.ones(3), "episodes": np.zeros(3), "episode_return": np.full(3, np.nan)}
    for name in DIAGNOSTICS:
        assert not diverged(metrics | {name: np.array([1.0, np.nan, np.inf])}).any()
    np.testing.assert_array_equal(diverged(metrics | {"grad_norm": np.array([1.0, np.nan, np.inf])}), [0, 1, 1])


class Still(Algorithm):
    """An algorithm that does nothing, to evaluate environments with."""

    def initial_carry(self, state, batch_size):
        return jnp.int32(0)

    def act(self, state, carry, obs, reset, key, greedy):
        return carry + reset.sum(), jnp.zeros(obs.shape[0], jnp.int32)


def test_evaluation_counts_each_episode_once_and_is_bounded():
    env = counter()
    task, endless = env.task.replace(terminate_at=3), env.task.replace(truncate_at=10**9)
    np.testing.assert_array_equal(evaluate(Still(env), (), env, jax.random.key(0), 5, task=task), [6.0] * 5)
    endless = evaluate(Still(env), (), env, jax.random.key(0), 2, task=endless, max_steps=4)
    np.testing.assert_array_equal(endless, [10.0, 10.0])


@pytest.mark.parametrize(
    ("env", "task", "steps"),
    [
        ("probe/truncation", {"limit": 50}, 50),
        ("probe/both-flags", {"length": 20, "limit": 20}, 20),
        (lambda: wrappers.time_limit(envs.make("probe/truncation"), 30), {"limit": 50}, 30),
        (lambda: wrappers.action_repeat(envs.make("probe/truncation"), 3), {"limit": 50}, 50),
        (lambda: wrappers.frame_stack(envs.make("probe/truncation"), 2), {"limit": 50}, 50),
        (lambda: dataclasses.replace(envs.make("probe/truncation"), time_limit=None), {"limit": 50}, 50),
    ],
)
def test_evaluation_is_bounded_by_its_task(env, task, steps):
    env = make("ppo", env if isinstance(env, str) else env(), task=task)[1]
    default = envs.make("probe/truncation")
    np.testing.assert_array_equal(evaluate(Still(counter()), (), env, jax.random.key(0), 2), [steps] * 2)
    given = evaluate(Still(counter()), (), default, jax.random.key(0), 2, task=default.task.replace(limit=steps))
    np.testing.assert_array_equal(given, [steps] * 2)


def test_evaluation_shares_no_key_with_training():
    seed = jax.random.key(3)
    runs = {tuple(jax.random.key_data(key).tolist()) for key in jax.random.split(seed, 100)}
    for stream in (streams.EVALUATION, streams.FITNESS, streams.TASK):
        key = tuple(jax.random.key_data(streams.fold_in(seed, stream)).tolist())
        assert key not in runs
        runs.add(key)


@pytest.mark.parametrize("end", ["terminate_at", "truncate_at"])
def test_an_evaluated_episode_ends_at_a_limit_too_and_counts_nothing_after(end):
    """Side by side with longer ones: from 0, 1 and 2 to 3 the rewards are 1 + 2 + 3, 2 + 3 and 3."""
    env = counter(start_high=3)
    found = evaluate(Still(counter()), (), env, jax.random.key(0), 32, task=env.task.replace(**{end: 3}))
    assert set(np.asarray(found).tolist()) == {6.0, 5.0, 3.0}


def test_the_return_of_several_agents_is_their_mean_until_the_last_of_them_has_ended():
    class Pair(Still):
        def act(self, state, carry, obs, reset, key, greedy):
            assert obs["time"].shape == (3, 1) and obs["alive"].shape == (3, 2)
            return carry, jnp.broadcast_to(jnp.array([1, 2]), (3, 2))

    env = pair((2, 4))  # 1 + 1 and 2 + 2 + 2 + 2
    np.testing.assert_array_equal(evaluate(Pair(env), (), env, jax.random.key(0), 3), [5.0] * 3)


def test_only_the_first_observation_opens_an_evaluated_episode():
    env = counter()

    class Opening(Still):
        def act(self, state, carry, obs, reset, key, greedy):
            return carry, reset.astype(jnp.int32)

    def step(key, state, action, task):
        state, result = env.step(key, state, action, task)
        return state, result._replace(reward=100.0 * action)

    found = evaluate(
        Opening(env),
        (),
        dataclasses.replace(env, step=step),
        jax.random.key(0),
        2,
        task=env.task.replace(terminate_at=3),
    )
    np.testing.assert_array_equal(found, [100.0, 100.0])


def test_evaluation_changes_nothing_and_repeats(ppo):
    algorithm, env, hypers, task = ppo
    state = start(algorithm, jax.random.key(0), hypers, task)
    copy = jax.tree.map(lambda x: x.copy(), state)
    first = evaluate(algorithm, state, env, jax.random.key(5), 8, greedy=False)
    np.testing.assert_array_equal(first, evaluate(algorithm, state, env, jax.random.key(5), 8, greedy=False))
    assert leaves_equal(state, copy)
    assert len(np.unique(first)) > 1


def test_an_infinity_is_a_divergence_too():
    """This holds for metrics of every update; in some updates no episode ends."""
    metrics = {"loss": np.array([1.0, np.inf, np.nan, 1.0]), "episode_return": np.array([1.0, 1.0, 1.0, np.nan])}
    np.testing.assert_array_equal(diverged(metrics), [False, True, True, False])


def test_what_the_environment_spoils_has_diverged_though_all_metrics_are_finite():
    metrics = {"value_loss": np.ones(3), NOT_FINITE: np.array([0, 1, 2])}
    np.testing.assert_array_equal(diverged(metrics), [False, True, True])


def test_python_numbers_become_strong_arrays():
    for x in jax.tree.leaves(as_arrays({"a": 1.0, "b": 2, "c": np.float32(3), "d": True})):
        assert isinstance(x, jax.Array) and not x.weak_type
