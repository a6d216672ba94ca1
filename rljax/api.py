"""The convenience level: names and keyword arguments in, runs and policies out."""

from __future__ import annotations

import contextlib
import json
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rljax import footprint, log, origins, runtime, trainer, warm_start
from rljax.build import Prepared, abstract_state, fingerprints
from rljax.errors import ConfigError, RljaxError, require
from rljax.fingerprint import differing
from rljax.kinds import Flag
from rljax.objectives.plugged import plug_in_again
from rljax.policy import Policy
from rljax.results import store
from rljax.results.folder import RUN, Numbered, chosen, locked
from rljax.spec import RunSpec
from rljax.spec import make as make
from rljax.storage import absolute
from rljax.trainer import Run
from rljax.types import Env
from rljax.watch import Watch


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
    data: Any = None,
    progress: bool = True,
    tensorboard: bool = True,
    wandb: str | Mapping[str, Any] | None = None,
    sinks: Sequence[str | log.Sink] = (),
    log_every: int | None = None,
    save_every: int | None = None,
    evaluate_every: int | None = None,
    evaluation: Mapping[str, Any] | None = None,
    keep: Literal["last", "best"] = "last",
    until_return: float | None = None,
    start: str | Path | None = None,
    on_rows: Callable[[dict[str, Any], Policy], Mapping[str, float] | None] | None = None,
    on_checkpoint: Callable[[Policy], Any] | None = None,
    **settings: Any,
) -> Run:
    """Trains one agent, with progress, logs and checkpoints.

    Args:
      steps: environment steps, rounded up to whole updates, or updates of what takes none; by default the preset's.
      seed: of the run's key.
      out: a new folder for records, logs and checkpoints (`~` is the home); None keeps everything in memory.
      use_preset: start from the known-good settings for this environment where there are any.
      data: a pytree of arrays to learn from: the task is then `types.WithData`. It is recorded as a fingerprint.
      progress: show a progress bar (plain lines where there is no terminal).
      tensorboard, wandb: log for TensorBoard, if there is a folder; to a W&B project, or by options of `wandb.init`.
      sinks: more to log to: names registered by `rljax.log.register`, or sinks, which are yours to close.
      log_every, save_every: updates per logged row, by default a 100th of the run; per checkpoint, every ten seconds.
      evaluate_every: updates per evaluation, whose mean return is a column of the row beside it; it changes no number.
      evaluation: its `episodes`, `greedy`, `env`, `task`, where they are to be others, see `Evaluation`.
      keep: `"best"`: keep the state that evaluated best as well, `run.best`.
      until_return: end when an evaluation comes to this return, or without any a row.
      start: the folder of another run, with whose networks and normalisers this one begins.
      on_rows, on_checkpoint: `(row, policy) -> None, or further columns`; `(policy) -> None`, see `trainer.Hooks`.
      task, env_args, **settings: as for `make`; `curriculum` is a function `(progress, task) -> task`, and a number of
        the task that goes from 5 to 15 is written `linear(5,15)`.

    Raises:
      ConfigError: a name, field or value that cannot be, or a folder that is taken; nothing has run.
      DivergedError: a metric became NaN or infinite; the last good checkpoint is kept.
      StorageError: the folder cannot be written any more; earlier files are kept.
      Interrupted, Terminated: SIGINT (Ctrl-C) or SIGTERM came, and a checkpoint was written first; a KeyboardInterrupt
        and a SystemExit with the partial `Run` as `result`. A second Ctrl-C interrupts at once.
    """
    where = None if out is None else chosen(out)
    how = {"steps": steps, "seed": seed, "use_preset": use_preset, "task": task, "env_args": env_args, "data": data}
    spec = RunSpec.of(algo, env, **how, **settings)
    watch = Watch.of(log_every, save_every, tensorboard, wandb, sinks, evaluate_every, evaluation, keep, until_return)
    hooks = trainer.Hooks(on_rows, on_checkpoint)
    return _begin(spec, watch, start, where, Flag().convert("progress", progress), sinks, hooks)


def _record(spec: RunSpec, prepared: Prepared, watch: Watch, start: str | Path | None = None) -> dict[str, Any]:
    """Makes the record: the specification with every default, and what follows from it."""
    other = None if start is None else warm_start.read(start)
    if other is not None:
        other.check(abstract_state(prepared))
    record = spec.complete(prepared).to_json()
    record["plugins"] |= origins.used(watch.names())
    record |= {
        "updates": prepared.updates,
        "extended": [],
        "start": None if other is None else other.record(),
        "steps_per_update": prepared.algorithm.steps_per_update,
        "warmup_steps": prepared.algorithm.warmup_steps,
        "fingerprints": fingerprints(spec.algo, spec.env, prepared),
        **watch.to_json(),
        **runtime.provenance(),
    }
    for name, value in record.items():
        require(_is_json(value), name, value, "cannot be recorded; give numbers, texts, lists and dictionaries")
    return record


def _begin(
    spec: RunSpec,
    watch: Watch,
    start: str | Path | None,
    out: Path | Numbered | None,
    progress: bool,
    given: Sequence[str | log.Sink],
    hooks: trainer.Hooks,
) -> Run:
    """Trains in a new folder, or in none."""
    prepared = spec.prepare()
    footprint.check(spec.algo, prepared, watch.log_every)
    if watch.evaluation is not None:
        watch.evaluation.where(prepared.env)
    record, sinks = _record(spec, prepared, watch, start), [sink for sink in given if not isinstance(sink, str)]
    if watch.wandb is not None:
        log.check_wandb(watch.wandb["project"])
    if out is None:
        return trainer.go_on(record, prepared, None, progress, sinks, hooks, watch)
    with locked(out, RUN) as folder:
        if folder.recorded:
            remedy = f"{_what_is_there(folder.path)}, or choose another folder"
            raise ConfigError(f"out={folder.path}: exists; {remedy}")
        folder.record(record)
        try:
            return trainer.go_on(record, prepared, folder, progress, sinks, hooks, watch)
        except RljaxError:
            raise
        except Exception:  # of the user's code, say; the corrected call must not find the folder taken
            if not trainer.metrics(folder.path):
                folder.forget()
            raise


def resume(
    folder: str | Path,
    *,
    steps: int | None = None,
    env: Env | None = None,
    objective: Any = None,
    data: Any = None,
    progress: bool = True,
    sinks: Sequence[log.Sink] = (),
    on_rows: Callable[[dict[str, Any], Policy], Mapping[str, float] | None] | None = None,
    on_checkpoint: Callable[[Policy], Any] | None = None,
) -> Run:
    """Continues a run that was stopped or killed, from its newest usable checkpoint, to the same bits.

    Args:
      folder: what `train` wrote.
      steps: another end, beyond what is done: a run that is finished goes on. What anneals goes by the new length from
        here on, so the numbers are those of a run that was as long from the start only where nothing anneals.
      env: the environment, if it is not a registered one.
      objective: the class of the objective, if it is one of your own: nothing is imported because a record names it.
      data: what is learned from, if anything is.
      sinks: more to log to, besides those that were named.
      on_rows, on_checkpoint: as for `train`.

    Returns, and raises besides: as `train`; a run that is finished is read, and nothing is written.

    Raises:
      ConfigError: there is no run, or another process is at it.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    path = absolute(folder, "run")
    record = store.read(path)
    prepared = _prepared_again(record, env, objective, data, f"rljax.resume({str(folder)!r}")
    if steps is not None:
        record, prepared = _lengthened(path, record, prepared, steps, env, data)
    elif finished(path):  # it is only read: nothing is locked, or written
        found = trainer.reached(record, prepared, path)
        if found and trainer.is_end(record, path, found.updates):
            if record["wandb"] is not None:  # killed at its very end, it is not finished there
                with contextlib.suppress(ConfigError):
                    log.WandbSink(path, **record["wandb"], config=record).close()
            return found
    now = fingerprints(record["algo"], env or record["env"], prepared)
    for name in differing(record, record["fingerprints"], now):
        warnings.warn(f"run '{path}': the code or numbers of its {name} are others than it began with", stacklevel=2)
    with locked(path, RUN) as locked_folder:
        if steps is not None:
            locked_folder.record(record)
        return trainer.go_on(record, prepared, locked_folder, progress, sinks, trainer.Hooks(on_rows, on_checkpoint))


def _lengthened(
    path: Path, record: dict[str, Any], prepared: Prepared, steps: int, env: Env | None, data: Any
) -> tuple[dict[str, Any], Prepared]:
    """The record of a run with another end, and the run built by it. Raises ConfigError where it is past that."""
    done = max(trainer.checkpointer(record, path).steps(), default=0)
    spec = RunSpec.from_json(record, {} if env is None else {record["env"]: env}, data)
    longer = spec.with_length(steps, record["updates"])
    made = longer.prepare()
    least = f"must be more than the {prepared.algorithm.steps(done) or done:,} that are done"
    require(made.updates > done, "steps", steps, least)
    changed = longer.complete(made).to_json()
    before = {"updates": done, "steps": record["steps"]}
    kept = {name: changed[name] for name in ("steps", "hypers")} | {"updates": made.updates, "until_return": None}
    return record | kept | {"extended": [*record["extended"], before]}, made


def load(
    folder: str | Path, *, best: bool = False, env: Env | None = None, objective: Any = None, data: Any = None
) -> Policy:
    """Loads the policy of a run folder, from its newest usable checkpoint.

    Args:
      folder: what `train` wrote.
      best: the policy of the best evaluation instead, of a run that kept it.
      env: the environment, if it is not a registered one.
      objective: the class of the objective, if it is one of your own: nothing is imported because a record names it.
      data: what was learned from, if anything was: the state may be of its shape.

    Raises:
      ConfigError: there is no run, or nothing has been saved yet.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    run = read(folder, env, objective, data, "rljax.load")
    if not best:
        return run.policy
    if run.best is None:
        raise ConfigError(f"run '{run.folder}': kept no best policy; train with keep=best and evaluate_every")
    return run.best.policy


def read(folder: str | Path, env: Env | None, objective: Any, data: Any, function: str) -> Run:
    """Reads a run as far as it has come; arguments and errors as of `load`, `function` being what the user called."""
    path = absolute(folder, "run")
    record = store.read(path)
    prepared = _prepared_again(record, env, objective, data, f"{function}({str(folder)!r}")
    found = trainer.reached(record, prepared, path)
    if found is None:
        raise ConfigError(f"run '{path}': no checkpoint yet; {RUN.again(path)} goes on with it")
    return found


def finished(folder: str | Path) -> bool:
    """Whether the newest checkpoint of a run is that of its end. Raises ConfigError where there is no run."""
    path = absolute(folder, "run")
    record = store.read(path)
    return trainer.is_end(record, path, max(trainer.checkpointer(record, path).steps(), default=-1))


def _what_is_there(folder: Path) -> str:
    """Advises what to do with a folder that holds a run."""
    if finished(folder):
        return f"its run is finished: rljax eval {shlex.quote(str(folder))} scores it"
    return f"{RUN.again(folder)} goes on with it"


def _prepared_again(record: dict[str, Any], env: Env | None, objective: Any, data: Any, call: str) -> Prepared:
    """Builds the run of a record; the user gives the parts that a record cannot hold."""
    plug_in_again([(record["objective"] or {}).get("name")], objective, call)
    given = None if env is None else ("environment", env.name)
    origins.check((name for name in Watch.from_json(record).names() if name != given), record["plugins"])
    if data is None and record["data"] is not None:
        raise ConfigError(
            f"data={record['data']}: was learned from, and no record holds it; give it again: {call}, data=...)"
        )
    return RunSpec.from_json(record, {} if env is None else {record["env"]: env}, data).prepare()


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
