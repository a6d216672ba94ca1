"""The convenience level: names and keyword arguments in, runs and policies out."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import algos, envs, log, objectives, runtime
from rljax import run as drivers
from rljax import settings as fields
from rljax.algos.presets import preset
from rljax.checkpoint import Checkpointer, named_leaves
from rljax.errors import ConfigError, DivergedError, require, unknown
from rljax.policy import Policy
from rljax.results import store
from rljax.types import Algorithm, Env


def make(
    algo: str,
    env: str | Env,
    *,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> tuple[Algorithm, Env]:
    """Builds an algorithm on an environment; keyword arguments go to its `Config` or `Hypers` by field.

    Args:
      algo: a registered algorithm.
      env: the name of an environment, or an `Env` of your own.
      task: fields of the environment's parameters to change; traced, so changing them compiles nothing.
      env_args: arguments of the environment's factory, e.g. `backend` for Brax.
      **settings: fields of `Config` and `Hypers`; `objective` is a name, `module:Class`, the file of a learned one
        (`mine.npz`), or an objective. Fields of a named objective are given as `**{"objective.clip": 0.1}`.

    Returns:
      (algorithm, whose `hypers` hold the given numbers; environment, whose `task` does).

    Raises:
      ConfigError: an unknown name or field, or a value that cannot be.
    """
    settings = fields.check(algos.settings(algo), algos.with_defaults(algo, settings), algo)
    env = _with_task(envs.make(env, **(env_args or {})) if isinstance(env, str) else env, task or {})
    module, known = algos.load(algo), algos.settings(algo)
    config = {name: value for name, value in settings.items() if name in known and known[name].group == "config"}
    built = module.make(env, module.Config(**config))
    numbers = {name: value for name, value in settings.items() if name not in config}
    for name in numbers.keys() & _parts(algo):
        numbers[name] = _part(getattr(built.hypers, name), name, numbers[name])
    return dataclasses.replace(built, hypers=_with_numbers(built.hypers, numbers)), env


GIVEN = "given as arrays"  # what is recorded of a part that no file holds


class Prepared(NamedTuple):
    """A run that could start: everything checked, nothing compiled."""

    algorithm: Algorithm  # its hypers hold the run's numbers, its length among them
    env: Env
    steps: int  # asked for
    updates: int  # whole updates that cover them
    config: dict[str, Any]  # every static setting, given or default, so that a record outlives a change of defaults


def prepare(
    algo: str,
    env: str | Env,
    *,
    steps: int | None = None,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Prepared:
    """Settles what a run is: presets, length, algorithm and environment. Arguments and errors as for `train`."""
    known = preset(algo, env) if use_preset and isinstance(env, str) else None
    settings = {**(known.settings if known else {}), **settings}
    if steps is None:
        require(known is not None, "steps", None, f"there is no preset for {algo} on this environment; say how many")
        steps = known.steps  # pyright: ignore[reportOptionalMemberAccess]
    require(isinstance(steps, int) and steps >= 1, "steps", steps, "must be a whole number, at least 1")
    algorithm, environment = make(algo, env, task=task, env_args=env_args, **settings)
    updates = -(-steps // algorithm.steps_per_update)
    if "horizon" not in settings:
        algorithm = dataclasses.replace(algorithm, hypers=algorithm.hypers.replace(horizon=float(updates)))
    config = {n: settings.get(n, s.default) for n, s in algos.settings(algo).items() if s.group == "config"}
    return Prepared(algorithm, environment, steps, updates, config)


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


def describe(hypers: Any) -> dict[str, Any]:
    """Hypers as flat settings that JSON can hold and `make` takes back; large parts are left out, see `files_of`."""
    flat = {}
    for field in dataclasses.fields(hypers):
        value = getattr(hypers, field.name)
        if isinstance(value, Mapping):
            continue
        if field.name == "objective":
            flat["objective"] = objectives.name_of(value)
            flat |= {f"objective.{f.name}": _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        else:
            flat[field.name] = _plain(value)
    return flat


def files_of(algo: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Those of the given settings that are large parts of hypers: the files that hold them, to be recorded."""
    given = {name: settings[name] for name in settings.keys() & _parts(algo)}
    return {name: value if isinstance(value, str) else GIVEN for name, value in given.items()}


def _parts(algo: str) -> set[str]:
    return {name for name, setting in algos.settings(algo).items() if setting.type is object}


def _part(default: Any, name: str, given: Any) -> Any:
    """A part of hypers, from the file that holds it, or as given.

    Raises:
      ConfigError: the file cannot be read, or its arrays have other names or shapes.
    """
    if not isinstance(given, str):
        return given
    require(given != GIVEN, name, given, "is not recorded; write it to a file and give that")
    arrays, wanted = objectives.files.read(given).arrays, named_leaves({name: default})
    if {n: x.shape for n, x in arrays.items()} != {n: x.shape for n, x in wanted.items()}:
        raise ConfigError(f"{name}={given}: its arrays are of other sizes; build the agent with those it was made for")
    return jax.tree.unflatten(jax.tree.structure(default), [arrays[n] for n in wanted])


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
        sinks = [rows, *_sinks(record, folder, step, progress)]
        for sink in sinks:
            stack.callback(sink.close)
        before = log.read_jsonl(folder / store.METRICS) if folder else {}

        def save(updates: int, state: Any) -> None:
            if checkpoints is not None:
                checkpoints.save(updates * algorithm.steps_per_update, state)

        try:
            outcome = drivers.train(
                algorithm,
                jax.random.key(record["seed"]),
                algorithm.hypers,
                env.task,
                record["updates"],
                state=state,
                done=step // algorithm.steps_per_update,
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
    step = outcome.updates * algorithm.steps_per_update
    return Run(record, Policy(algorithm, env, outcome.state, step), metrics, folder, step, outcome.stopped_by)


def _sinks(record: dict[str, Any], folder: Path | None, step: int, progress: bool) -> Iterator[log.Sink]:
    if progress:  # first, so that nothing delays what is seen
        total = record["updates"] * record["steps_per_update"]
        yield log.ProgressSink(f"{record['algo']} {record['env']}", total, start=step)
    if folder is not None:
        yield log.JsonlSink(folder / store.METRICS, resume_step=step)
        if record["tensorboard"]:
            yield log.TensorBoardSink(folder / store.TENSORBOARD, resume_step=step or None)
    if record["wandb"]:
        yield log.WandbSink(project=record["wandb"], config=record)


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _checkpoints(record: dict[str, Any], folder: Path) -> Checkpointer:
    return Checkpointer(folder / store.CHECKPOINTS, record["algo"], record["config"])


def abstract_state(algorithm: Algorithm, env: Env) -> Any:
    """Shapes and dtypes of a state."""
    hypers, task = drivers.as_arrays(algorithm.hypers), drivers.as_arrays(env.task)
    return jax.eval_shape(algorithm.init, jax.random.key(0), hypers, task)


def _rebuild(record: dict[str, Any], env: Env | None) -> tuple[Algorithm, Env]:
    return make(
        record["algo"],
        env or record["env"],
        task=record["task"],
        env_args=record["env_args"],
        **record["config"],
        **record["hypers"],
    )


def _with_task(env: Env, changes: Mapping[str, Any]) -> Env:
    if not changes:
        return env
    names = {f.name for f in dataclasses.fields(env.task)} if dataclasses.is_dataclass(env.task) else set()
    for name in changes:
        if name not in names:
            raise unknown(f"task parameter of {env.name}", name, names)
    task: Any = env.task
    numbers = {name: _like(getattr(task, name), f"task.{name}", value) for name, value in changes.items()}
    bound = numbers.get("max_steps_in_episode", env.max_episode_steps)
    return dataclasses.replace(env, task=dataclasses.replace(task, **numbers), max_episode_steps=bound)


def _like(default: Any, name: str, value: Any) -> Any:
    """A number of the type of `default`, so that all numbers share a program; arrays as they are."""
    if np.ndim(default) or np.ndim(value):
        require(np.shape(default) == np.shape(value), name, value, f"must have the shape {np.shape(default)}")
        return value
    flag = np.issubdtype(np.result_type(default), np.bool_)
    if flag or isinstance(value, bool | np.bool_):
        require(flag and value in (0, 1), name, value, f"must be like {default}")
        return bool(value)
    require(isinstance(value, int | float | np.number) and value == value, name, value, "must be a number")
    if np.issubdtype(np.result_type(default), np.integer):
        require(float(value).is_integer(), name, value, "must be a whole number")
        return int(value)
    return float(value)


def _with_numbers(hypers: Any, numbers: dict[str, Any]) -> Any:
    nested = {name.removeprefix("objective."): v for name, v in numbers.items() if name.startswith("objective.")}
    plain = {name: value for name, value in numbers.items() if not name.startswith("objective.")}
    objective = plain.pop("objective", None)
    if isinstance(objective, str) and objective.endswith(objectives.FILE):
        plain["objective"] = dataclasses.replace(objectives.load(objective), **nested)  # pyright: ignore
    elif isinstance(objective, str):
        nested = {name: jnp.asarray(v) if isinstance(v, list) else v for name, v in nested.items()}
        plain["objective"] = objectives.named(objective)(**nested)
    elif objective is not None:
        plain["objective"] = objective.replace(**nested)
    elif nested:
        plain["objective"] = hypers.objective.replace(**nested)
    return hypers.replace(**plain)


def _plain(value: Any) -> Any:
    """As JSON can hold it: it has no infinity."""
    value = np.asarray(value).tolist() if hasattr(value, "dtype") else value
    return "inf" if value == float("inf") else value
