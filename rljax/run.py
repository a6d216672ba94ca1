"""Runs: a whole run as one pure function, a host loop over compiled chunks, and evaluation."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.divergence import refuse_divergence
from rljax.envs.task_wrappers import trial_of
from rljax.errors import Interrupted, Terminated, require
from rljax.log import Sink
from rljax.ops.metrics import summarise
from rljax.ops.rollout import mean_over_agents, play_init, play_step
from rljax.ops.tree import as_arrays
from rljax.types import Algorithm, Array, Env, Metrics

SAVE_SECONDS, SAVE_SHARE = 10.0, 0.02


class Outcome(NamedTuple):
    """The result of the host loop."""

    state: Any
    updates: int
    stopped_by: signal.Signals | None  # None: the run is complete


def run(algo: Algorithm, key: Array, hypers: Any, task: Any, num_updates: int) -> tuple[Any, Metrics]:
    """Runs a whole training run; a pure function to jit, vmap or differentiate.

    Returns:
      (state, metrics [U]).
    """
    state = algo.init(key, hypers, task)
    return jax.lax.scan(lambda state, _: algo.step(state, hypers, task), state, None, num_updates)


@partial(jax.jit, static_argnames=("algo",))
def start(algo: Algorithm, key: Array, hypers: Any, task: Any) -> Any:
    """`algo.init`, compiled."""
    return algo.init(key, hypers, task)


@partial(jax.jit, static_argnames=("algo",))
def step(algo: Algorithm, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
    """`algo.step`, traced once for all algorithms that are equal."""
    return algo.step(state, hypers, task)


@partial(jax.jit, static_argnames=("algo", "size"), donate_argnames=("state",))
def advance(algo: Algorithm, state: Any, hypers: Any, task: Any, n: Array, size: int) -> tuple[Any, Metrics]:
    """`n <= size` updates -> (state, metrics [size], of which the first n count).

    `n` is traced, so the last, shorter chunk of a run needs no program of its own.
    """
    shapes = jax.eval_shape(partial(step, algo), state, hypers, task)[1]
    metrics = jax.tree.map(lambda x: jnp.zeros((size, *x.shape), x.dtype), shapes)

    def update(i, loop):
        state, metrics = loop
        state, new = step(algo, state, hypers, task)
        return state, jax.tree.map(lambda rows, x: rows.at[i].set(x), metrics, new)

    return jax.lax.fori_loop(0, n, update, (state, metrics))


@modes.hunting()
def train(
    algo: Algorithm,
    key: Array,
    hypers: Any,
    task: Any,
    num_updates: int,
    *,
    state: Any = None,
    done: int = 0,
    seconds: float = 0.0,
    log_every: int | None = None,
    save_every: int | None = None,
    sinks: Sequence[Sink] = (),
    save: Callable[[int, Any], None] | None = None,
    on_row: Callable[[int, dict[str, Any], Any], dict[str, Any]] | None = None,
    until: Callable[[dict[str, Any]], bool] | None = None,
    env_name: str = "",
) -> Outcome:
    """Trains in compiled chunks; logs, checkpoints and signals are handled between them.

    Chunking changes no number. SIGINT and SIGTERM end the run after the chunk in progress, with a checkpoint; a second
    SIGINT interrupts at once. In other threads no signal is minded.

    Args:
      num_updates: U, of the whole run.
      state, done, seconds: to go on from: a state, whose arrays are donated, the updates and the time behind it.
      log_every: updates per chunk and row; by default a 100th of the run.
      save_every: updates between calls of `save`, in whole chunks; by default ten seconds, and 2 % of the time at most.
      sinks: each gets one row per chunk: `updates`, `step`, `seconds` and the metrics' means over the chunk.
      save: `(updates, state) -> None`, called for checkpoints and at the end.
      on_row: `(updates, row, state) -> row`, called before a row goes to the sinks; the state is valid in it alone.
      until: `row -> bool`, whether the run ends with that row, before its time.
      env_name: of the environment, to name it where it gives a NaN.

    Raises:
      DivergedError: a metric is NaN or infinite, or what the environment gave; nothing is saved from that chunk on.
      Interrupted, Terminated: by SIGINT, a KeyboardInterrupt, and SIGTERM, a SystemExit; each with the `Outcome`.
    """
    hypers, task = as_arrays(hypers), as_arrays(task)
    size = point_size(num_updates, log_every)
    saver = Saver(save, save_every and max(size, save_every // size * size))
    began = time.perf_counter() - seconds
    state = start(algo, key, hypers, task) if state is None else state
    with stop_signals() as received:
        while done < num_updates:
            n = min(size - done % size, num_updates - done)
            (state, metrics), done = advance(algo, state, hypers, task, np.int32(n), size), done + n
            row = _row(algo, done, time.perf_counter() - began, metrics, n)
            refuse_divergence(row, done, env_name, algo.diagnostics)
            row = on_row(done, row, state) if on_row else row
            for sink in sinks:
                sink.write(row)
            ending = until is not None and until(row)
            saver.offer(done, state, force=done == num_updates or ending or bool(received))
            if ending or received:
                break
    outcome = Outcome(state, done, received[0] if received and done < num_updates else None)
    if received:
        stop(received[0], outcome)
    return outcome


def _row(algo: Algorithm, done: int, seconds: float, metrics: Metrics, n: int) -> dict[str, Any]:
    """The row of a chunk: how far the run is, and the means of the chunk's first n updates."""
    means = summarise({name: np.asarray(x)[:n] for name, x in metrics.items()})
    so_far = {"updates": done, "step": algo.steps(done), "seconds": seconds}
    return so_far | {name: x.item() for name, x in means.items()}


def point_size(num_updates: int, log_every: int | None = None) -> int:
    """The updates of one logged point: by default a 100th of the run."""
    return max(1, min(log_every or num_updates // 100, num_updates))


class Saver:
    """Decides when a checkpoint is due, and makes it."""

    def __init__(self, save: Callable[[int, Any], None] | None, every: int | None):
        self._save, self._every = save, every
        self._due = time.perf_counter() + SAVE_SECONDS

    def offer(self, updates: int, state: Any, force: bool) -> None:
        due = updates % self._every == 0 if self._every else time.perf_counter() >= self._due
        if self._save is None or not (due or force):
            return
        began = time.perf_counter()
        self._save(updates, state)
        ended = time.perf_counter()
        self._due = ended + max(SAVE_SECONDS, (ended - began) / SAVE_SHARE)


@contextmanager
def stop_signals() -> Iterator[list[signal.Signals]]:
    """Collects SIGINT and SIGTERM instead of ending at once; a second SIGINT interrupts.

    Outside the main thread, where signals do not arrive, it does nothing; a SIGTERM that is ignored stays ignored. The
    run then ends by `stop`.
    """
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number, frame):
        if received and number == signal.SIGINT:
            print("\nSIGINT again: interrupting at once; what was saved before is kept", file=sys.stderr)
            raise KeyboardInterrupt
        received.append(signal.Signals(number))
        print(f"\n{received[0].name}: stopping at the end of this chunk; Ctrl-C: at once", file=sys.stderr)

    wanted = [n for n in (signal.SIGINT, signal.SIGTERM) if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    old = {number: signal.signal(number, note) for number in wanted}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def stop(by: signal.Signals, result: Any) -> NoReturn:
    """Ends the run that a signal stopped, so that no caller continues as if it were complete.

    Raises:
      Interrupted: a KeyboardInterrupt with `result`, after SIGINT.
      Terminated: a SystemExit with `result`, after SIGTERM, once the handler that was there before has been called.
    """
    if by == signal.SIGINT:
        raise Interrupted().carrying(result)
    before = signal.getsignal(by)
    if callable(before):
        before(by, None)
    raise Terminated().carrying(result)


@modes.hunting()
def evaluate(
    algo: Algorithm,
    state: Any,
    env: Env,
    key: Array,
    episodes: int = 128,
    greedy: bool | Array = True,
    task: Any = None,
    max_steps: int | None = None,
) -> Array:
    """Plays whole episodes with a frozen state (normalisers too); it never changes training.

    Args:
      state: the algorithm's state; only read.
      key: for the environments and the policy; independent of the training key.
      greedy: the policy's mode, or samples from it.
      task: environment parameters; by default the environment's own.
      max_steps: bound on the length of an episode, by default that of the environment under this task; an episode that
        reaches it counts with its return so far.

    Returns:
      undiscounted returns `[episodes]`.
    """
    bound = max_steps or env.longest_episode(task)
    task = as_arrays(env.task if task is None else task)
    return _play(algo, state, env, key, episodes, greedy, task, jnp.asarray(bound, jnp.int32))[0]


def trial_returns(
    algo: Algorithm, state: Any, env: Env, key: Array, trials: int = 128, greedy: bool | Array = True, task: Any = None
) -> Array:
    """Plays whole trials with a frozen state as `evaluate` plays episodes, which gives the sums of these.

    Args:
      env: an environment in `trials(k)`; others and results: as of `evaluate`.

    Returns:
      undiscounted returns `[trials, k]`, of each episode of a trial.

    Raises:
      ConfigError: the environment has no trials.
    """
    within = trial_of(jax.eval_shape(env.reset, key, env.task)[0])
    require(within is not None, "env", env.name, "has no trials; name some, as in darkroom/9x9|trials(4)|with_past")
    bound = jnp.asarray(env.longest_episode(task), jnp.int32)
    task = as_arrays(env.task if task is None else task)
    return _play(algo, state, env, key, trials, greedy, task, bound)[1]


@partial(jax.jit, static_argnames=("algo", "env", "episodes"))
@modes.in_32_bits()
def _play(
    algo: Algorithm, state: Any, env: Env, key: Array, episodes: int, greedy: bool | Array, task: Any, bound: Array
) -> tuple[Array, Array | None]:
    """Plays whole episodes -> (returns `[episodes]`, those within trials `[episodes, k]`, or None without trials)."""

    def policy(carry, obs, reset, key):
        return *algo.act(state, carry, obs, reset, key, greedy), ()

    def going(loop):
        playing, _ = loop
        return (playing.t < bound) & playing.alive.any()

    def step(loop):
        playing, returns = loop
        after, step = play_step(env, task, policy, playing)
        return after, jnp.where(playing.alive, returns + mean_over_agents(env, step.reward), returns)

    first = play_init(env, task, algo.initial_carry(state, episodes), key, episodes)
    last, returns = jax.lax.while_loop(going, step, (first, jnp.zeros(episodes)))
    trial = trial_of(last.env_state)
    return returns, None if trial is None else trial.returns
