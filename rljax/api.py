"""The convenience level: names and keyword arguments in, runs and policies out."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import envs, footprint, log, runtime
from rljax import run as drivers
from rljax.arguments import EVERY, SEED
from rljax.build import abstract_state, describe, files_of, fingerprints, made_again, plain_value, prepare
from rljax.build import make as make
from rljax.checkpoint import Checkpointer
from rljax.errors import ConfigError, DivergedError, RljaxError, Stopped, require
from rljax.fingerprint import differing
from rljax.kinds import Flag, Maybe, Text
from rljax.objectives.own import plug_in, plug_in_again
from rljax.policy import Policy
from rljax.results import store
from rljax.results.folder import RUN, Locked, Numbered, chosen, locked
from rljax.storage import absolute
from rljax.types import Algorithm, Env


def train(
    algo: str,
    env: str | Env,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | Numbered | None = None,
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
      out: a new folder for records, logs and checkpoints (`~` is the home); None keeps everything in memory.
      use_preset: start from the known-good settings for this environment where there are any.
      progress: show a progress bar (plain lines where there is no terminal).
      tensorboard: also log for TensorBoard, if there is a folder.
      wandb: also log to this Weights & Biases project.
      log_every: updates per logged row; by default a 100th of the run.
      save_every: updates per checkpoint; by default every ten seconds.
      task, env_args, **settings: as for `make`.

    Returns:
      The finished run.

    Raises:
      ConfigError: a name, field or value that cannot be, or a folder that is taken; nothing has run.
      DivergedError: a metric became NaN or infinite; the last good checkpoint is kept.
      StorageError: the folder cannot be written any more; what was written is kept.
      Interrupted, Terminated: SIGINT (Ctrl-C) or SIGTERM came, and a checkpoint was written first; a KeyboardInterrupt
        and a SystemExit with the partial `Run` as `result`. A second Ctrl-C interrupts at once.
    """
    seed = SEED.convert("seed", seed)
    log_every, save_every = EVERY.convert("log_every", log_every), EVERY.convert("save_every", save_every)
    tensorboard, progress = Flag().convert("tensorboard", tensorboard), Flag().convert("progress", progress)
    wandb = Maybe(Text()).convert("wandb", wandb)
    where = None if out is None else chosen(out)
    if "objective" in settings:
        settings["objective"] = plug_in(settings["objective"])
    plan = prepare(algo, env, steps=steps, use_preset=use_preset, task=task, env_args=env_args, **settings)
    footprint.check(algo, plan, log_every)
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
        "task": {name: plain_value(x) for name, x in (task or {}).items()},
        "env_args": {name: plain_value(x) for name, x in (env_args or {}).items()},
        "fingerprints": fingerprints(algo, env, algorithm, environment),
        "log_every": log_every,
        "save_every": save_every,
        "tensorboard": tensorboard,
        "wandb": wandb,
        **runtime.provenance(),
    }
    for name, value in record.items():
        require(_is_json(value), name, value, "cannot be recorded; give numbers, texts, lists and dictionaries")
    if wandb is not None:
        log.check_wandb(wandb)
    if where is None:
        return _go(record, algorithm, environment, None, progress)
    with locked(where, RUN) as own:
        if own.recorded:
            raise ConfigError(f"out={own.path}: exists; {_what_is_there(own.path)}, or choose another folder")
        own.record(record)
        try:
            return _go(record, algorithm, environment, own, progress)
        except RljaxError:
            raise
        except Exception:  # of what is the user's own, say; the corrected call must not find the folder taken
            if not _metrics(own.path):
                own.forget()
            raise


def resume(folder: str | Path, *, env: Env | None = None, objective: Any = None, progress: bool = True) -> Run:
    """Goes on with a run that was stopped or killed, from its newest usable checkpoint, to the same bits.

    Args:
      folder: what `train` wrote.
      env: the environment, if it is not a registered one.
      objective: the class of the objective, if it is one of your own: nothing is imported because a record names it.

    Returns, and raises besides: as `train`; a run that is finished is read, and nothing is written.

    Raises:
      ConfigError: there is no run, or another process is at it.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    path = absolute(folder, "run")
    record = store.read(path)
    algorithm, environment = _rebuild(record, env, objective, f"rljax.resume({str(folder)!r}")
    if finished(path):  # it is only read: nothing is held, or written
        found = _checkpoints(record, path).restore_latest(abstract_state(algorithm, environment))
        if found and algorithm.updates(found.step) >= record["updates"]:
            policy = Policy(algorithm, environment, found.state, found.step, _made(record))
            if record["wandb"] is not None:  # killed at its very end, it is not finished there
                with contextlib.suppress(ConfigError):
                    log.WandbSink(path, project=record["wandb"], config=record).close()
            return Run(record, policy, _metrics(path), path, found.step, None)
    now = fingerprints(record["algo"], env or record["env"], algorithm, environment)
    for name in differing(record, record.get("fingerprints", {}), now):
        warnings.warn(f"run '{path}': the code or numbers of its {name} are others than it began with", stacklevel=2)
    with locked(path, RUN) as own:
        return _go(record, algorithm, environment, own, progress)


def load(folder: str | Path, *, env: Env | None = None, objective: Any = None) -> Policy:
    """The policy of a run folder, from its newest usable checkpoint.

    Args:
      folder: what `train` wrote.
      env: the environment, if it is not a registered one.
      objective: the class of the objective, if it is one of your own: nothing is imported because a record names it.

    Raises:
      ConfigError: there is no run, or nothing has been saved yet.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    path = absolute(folder, "run")
    record = store.read(path)
    algorithm, environment = _rebuild(record, env, objective, f"rljax.load({str(folder)!r}")
    found = _checkpoints(record, path).restore_latest(abstract_state(algorithm, environment))
    if found is None:
        raise ConfigError(f"run '{path}': no checkpoint yet; {RUN.again(path)} goes on with it")
    return Policy(algorithm, environment, found.state, found.step, _made(record))


def finished(folder: str | Path) -> bool:
    """Whether the newest checkpoint of a run is that of its end. Raises ConfigError where there is no run."""
    path = absolute(folder, "run")
    record = store.read(path)
    end = record["warmup_steps"] + record["updates"] * record["steps_per_update"]
    return max(_checkpoints(record, path).steps(), default=-1) >= end


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

    def __repr__(self) -> str:
        what = f"{self.record['algo']} on {self.record['env']}, seed {self.record['seed']}"
        done = f"{self.step:,} steps" + (f" of {self.record['steps']:,}" if self.stopped_by else "")
        returns = self.metrics.get("episode_return", np.zeros(0))
        known = returns[np.isfinite(returns)]
        last = f", episode return {known[-1]:.4g} at the end" if known.size else ""
        stopped = f", stopped by {self.stopped_by.name}" if self.stopped_by else ""
        return f"Run({what}: {done}{stopped}{last}{f', in {self.folder}' if self.folder else ''})"

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0) -> np.ndarray:
        """Undiscounted returns `[episodes]` of the trained policy."""
        return self.policy.evaluate(episodes, greedy, seed)


class _Rows:
    """A sink that keeps the rows, as long as the folder is there."""

    def __init__(self, folder: Locked | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder = folder

    def write(self, row: log.Row) -> None:
        if self._folder is not None:
            self._folder.check()
        self.rows.append(dict(row))

    def close(self) -> None:
        pass


def _go(record: dict[str, Any], algorithm: Algorithm, env: Env, own: Locked | None, progress: bool) -> Run:
    """Trains from the newest checkpoint in the folder, or from the start."""
    folder, stopped = own and own.path, None
    with contextlib.ExitStack() as stack:
        checkpoints = _checkpoints(record, folder) if folder else None
        found = checkpoints.restore_latest(abstract_state(algorithm, env)) if checkpoints else None
        state, step = (found.state, found.step) if found else (None, 0)
        rows = _Rows(own)
        sinks: list[log.Sink] = [rows]
        for sink in _sinks(record, folder, step, algorithm.steps(record["updates"]), progress):
            stack.callback(sink.close)
            sinks.append(sink)
        before = _metrics(folder) if folder else {}

        def save(updates: int, state: Any) -> None:
            if checkpoints is not None and own is not None:
                own.check()
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
                env_name=env.name,
            )
        except Stopped as signalled:
            stopped, outcome = signalled, signalled.result
        except DivergedError as error:
            kept = (
                f"; the last good checkpoint is in {checkpoints.folder}" if checkpoints and checkpoints.steps() else ""
            )
            raise DivergedError(f"{error}{kept}") from None
    metrics = _metrics(folder) if folder else _columns(rows.rows)
    step = algorithm.steps(outcome.updates)
    run = Run(
        record, Policy(algorithm, env, outcome.state, step, _made(record)), metrics, folder, step, outcome.stopped_by
    )
    if stopped is not None:
        raise stopped.carrying(run)
    return run


def _sinks(record: dict[str, Any], folder: Path | None, step: int, total: int, progress: bool) -> Iterator[log.Sink]:
    if progress:  # first, so that nothing delays what is seen
        yield log.ProgressSink(f"{record['algo']} {record['env']}", total, start=step)
    if folder is not None:
        yield log.JsonlSink(folder / store.METRICS, resume_step=step)
        if record["tensorboard"]:
            yield log.TensorBoardSink(folder / store.TENSORBOARD, resume_step=step or None)
    if record["wandb"] is not None:
        yield log.WandbSink(folder, project=record["wandb"], config=record)


def _metrics(folder: Path) -> dict[str, np.ndarray]:
    """The rows of a run, as columns; none where they are lost."""
    path = folder / store.METRICS
    return log.read_jsonl(path) if path.exists() else {}


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _checkpoints(record: dict[str, Any], folder: Path) -> Checkpointer:
    return Checkpointer(folder / store.CHECKPOINTS, record["algo"], record["config"])


def _what_is_there(folder: Path) -> str:
    """What to do with a folder that holds a run."""
    if finished(folder):
        return f"its run is finished: rljax eval {shlex.quote(str(folder))} scores it"
    return f"{RUN.again(folder)} goes on with it"


def _rebuild(record: dict[str, Any], env: Env | None, objective: Any, call: str) -> tuple[Algorithm, Env]:
    plug_in_again([record["hypers"].get("objective")], objective, call)
    made = _made(record)
    if env is None:
        try:
            envs.check_name(record["env"])
        except ConfigError as error:
            own = "one of your own is given again, as env=, or registered before: rljax.envs.register"
            raise ConfigError(f"{error}; {own}") from None
    return made_again(**made if env is None else {**made, "env": env})


def _made(record: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `made_again` that give what was run."""
    named: dict[str, Any] = {name: record[name] for name in ("algo", "env", "task", "env_args")}
    return named | {"settings": record["config"] | record["hypers"]}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
