"""The convenience level: names and keyword arguments in, runs and policies out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import log, runtime
from rljax import run as drivers
from rljax.build import abstract_state, describe, files_of, make, prepare
from rljax.checkpoint import Checkpointer
from rljax.errors import ConfigError, DivergedError, require
from rljax.policy import Policy
from rljax.results import store
from rljax.types import Algorithm, Env


def train(
    algo: str,
    env: str | Env,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    progress: bool = True,
    tensorboard: bool = True,
    wandb: str | None = None,
    log_every: int | None = None,
    save_every: int | None = None,
    **settings: Any,
) -> Run:
    """Trains one agent, with progress, logs and checkpoints.

    Args:
      steps: environment steps, rounded up to whole updates; by default the preset's.
      seed: of the run's key.
      out: a new folder for records, logs and checkpoints; None keeps everything in memory.
      use_preset: start from the known-good settings for this environment where there are any.
      progress: show a progress bar (plain lines where there is no terminal).
      tensorboard: also log for TensorBoard, if there is a folder.
      wandb: also log to this Weights & Biases project.
      log_every: updates per logged row; by default a 100th of the run.
      save_every: updates per checkpoint; by default every ten seconds.
      task, env_args, **settings: as for `make`.

    Returns:
      The finished run, or one that a signal stopped (`stopped_by`).

    Raises:
      ConfigError: a name, field or value that cannot be; nothing has run.
      DivergedError: a metric became NaN or infinite; the last good checkpoint is kept.
    """
    require(isinstance(seed, int) and 0 <= seed < 2**32, "seed", seed, "must be a whole number in [0, 2^32)")
    for name, value in (("log_every", log_every), ("save_every", save_every)):
        require(value is None or value >= 1, name, value, "must be at least 1")
    plan = prepare(algo, env, steps=steps, use_preset=use_preset, task=task, env_args=env_args, **settings)
    algorithm, environment = plan.algorithm, plan.env
    record = {
        "algo": algo,
        "env": env if isinstance(env, str) else env.name,  # as it is registered
        "seed": seed,
        "steps": plan.steps,
        "updates": plan.updates,
        "steps_per_update": algorithm.steps_per_update,
        "warmup_steps": algorithm.warmup_steps,
        "config": plan.config,
        "hypers": describe(algorithm.hypers) | files_of(algo, settings),
        "task": dict(task or {}),
        "env_args": dict(env_args or {}),
        "log_every": log_every,
        "save_every": save_every,
        "tensorboard": tensorboard,
        "wandb": wandb,
        **runtime.provenance(),
    }
    if wandb is not None:
        log.check_wandb(wandb)
    folder = None if out is None else Path(out)
    if folder is not None:
        store.create(folder, record)
    return _go(record, algorithm, environment, folder, progress)


def resume(folder: str | Path, *, env: Env | None = None, progress: bool = True) -> Run:
    """Goes on with a run that was stopped or killed, from its newest usable checkpoint, to the same bits.

    Args:
      folder: what `train` wrote.
      env: the environment, if it is not a registered one.

    Raises:
      ConfigError: there is no run.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    record = store.read(Path(folder))
    algorithm, environment = _rebuild(record, env)
    return _go(record, algorithm, environment, Path(folder), progress)


def load(folder: str | Path, *, env: Env | None = None) -> Policy:
    """The policy of a run folder, from its newest usable checkpoint.

    Args:
      folder: what `train` wrote.
      env: the environment, if it is not a registered one.

    Raises:
      ConfigError: there is no run, or nothing has been saved yet.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    record = store.read(Path(folder))
    algorithm, environment = _rebuild(record, env)
    with _checkpoints(record, Path(folder)) as checkpoints:
        found = checkpoints.restore_latest(abstract_state(algorithm, environment))
    if found is None:
        raise ConfigError(f"run '{folder}': no checkpoint yet; rljax train --resume {folder} goes on with it")
    return Policy(algorithm, environment, found.state, found.step)


@dataclass(frozen=True)
class Run:
    """What `train` gives back.

    Attributes:
      record: what was run, as in `config.json`.
      policy: the trained policy.
      metrics: columns `[rows]`, one row per chunk: `step`, `episode_return`, losses.
      folder: where it is kept, or None.
      step: environment steps done.
      stopped_by: the signal that ended it early, or None.
    """

    record: dict[str, Any]
    policy: Policy
    metrics: dict[str, np.ndarray]
    folder: Path | None
    step: int
    stopped_by: signal.Signals | None

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0) -> np.ndarray:
        """Undiscounted returns `[episodes]` of the trained policy."""
        return self.policy.evaluate(episodes, greedy, seed)


class _Rows:
    """A sink that keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, row: log.Row) -> None:
        self.rows.append(dict(row))

    def close(self) -> None:
        pass


def _go(record: dict[str, Any], algorithm: Algorithm, env: Env, folder: Path | None, progress: bool) -> Run:
    """Trains from the newest checkpoint in `folder`, or from the start."""
    with contextlib.ExitStack() as stack:
        checkpoints = None if folder is None else stack.enter_context(_checkpoints(record, folder))
        found = None
        if checkpoints is not None and checkpoints.steps():
            found = checkpoints.restore_latest(abstract_state(algorithm, env))
        state, step = (found.state, found.step) if found else (None, 0)
        rows = _Rows()
        sinks = [rows, *_sinks(record, folder, step, algorithm.steps(record["updates"]), progress)]
        for sink in sinks:
            stack.callback(sink.close)
        before = log.read_jsonl(folder / store.METRICS) if folder else {}

        def save(updates: int, state: Any) -> None:
            if checkpoints is not None:
                checkpoints.save(algorithm.steps(updates), state)

        try:
            outcome = drivers.train(
                algorithm,
                jax.random.key(record["seed"]),
                algorithm.hypers,
                env.task,
                record["updates"],
                state=state,
                done=algorithm.updates(step),
                seconds=float(before["seconds"][-1]) if len(before.get("seconds", ())) else 0.0,
                log_every=record["log_every"],
                save_every=record["save_every"],
                sinks=sinks,
                save=save,
            )
        except DivergedError as error:
            kept = (
                f"; the last good checkpoint is in {checkpoints.folder}" if checkpoints and checkpoints.steps() else ""
            )
            raise DivergedError(f"{error}{kept}") from None
    metrics = log.read_jsonl(folder / store.METRICS) if folder else _columns(rows.rows)
    step = algorithm.steps(outcome.updates)
    return Run(record, Policy(algorithm, env, outcome.state, step), metrics, folder, step, outcome.stopped_by)


def _sinks(record: dict[str, Any], folder: Path | None, step: int, total: int, progress: bool) -> Iterator[log.Sink]:
    if progress:  # first, so that nothing delays what is seen
        yield log.ProgressSink(f"{record['algo']} {record['env']}", total, start=step)
    if folder is not None:
        yield log.JsonlSink(folder / store.METRICS, resume_step=step)
        if record["tensorboard"]:
            yield log.TensorBoardSink(folder / store.TENSORBOARD, resume_step=step or None)
    if record["wandb"] is not None:
        yield log.WandbSink(folder, project=record["wandb"], config=record)


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _checkpoints(record: dict[str, Any], folder: Path) -> Checkpointer:
    return Checkpointer(folder / store.CHECKPOINTS, record["algo"], record["config"])


def _rebuild(record: dict[str, Any], env: Env | None) -> tuple[Algorithm, Env]:
    return make(
        record["algo"],
        env or record["env"],
        task=record["task"],
        env_args=record["env_args"],
        **record["config"],
        **record["hypers"],
    )
