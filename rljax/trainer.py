"""One run in its folder: from its newest checkpoint to its end, with progress, logs and checkpoints.

The clock of a run is updates: checkpoints have their number. Environment steps are shown beside it; where an algorithm
takes none, because it learns from data, updates are shown instead.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax import evaluation, log, warm_start
from rljax import run as drivers
from rljax.build import Prepared, abstract_state
from rljax.checkpoint import Checkpointer
from rljax.errors import CheckpointError, DivergedError, Stopped, require
from rljax.evaluation import Evaluated
from rljax.ops.tree import as_arrays
from rljax.policy import Policy
from rljax.progress import amount
from rljax.results import store
from rljax.results.folder import Locked
from rljax.spec import RunSpec
from rljax.types import Algorithm
from rljax.watch import BEST, Watch


@dataclass(frozen=True)
class Run:
    """A run that was trained.

    Attributes:
      record: what was run, as in `config.json`.
      policy: the trained policy.
      metrics: columns `[rows]`, one row per chunk: `updates`, `step`, `episode_return`, losses.
      folder: where it is kept, or None.
      step: environment steps done.
      updates: updates done.
      stopped_by: the signal that ended it early, or None.
      best: the policy of the best evaluation and its score, where `keep="best"` was asked for and one has come.
    """

    record: dict[str, Any]
    policy: Policy
    metrics: dict[str, np.ndarray]
    folder: Path | None
    step: int
    updates: int
    stopped_by: signal.Signals | None
    best: Evaluated | None = None

    def __repr__(self) -> str:
        what = f"{self.record['algo']} on {self.record['env']}, seed {self.record['seed']}"
        early = self.updates < self.record["updates"]
        done = amount(self.step, self.updates) + (f" of {self.record['steps']:,}" if early else "")
        returns = self.metrics.get("episode_return", np.zeros(0))
        known = returns[np.isfinite(returns)]
        last = f", episode return {known[-1]:.4g} at the end" if known.size else ""
        stopped = f", stopped by {self.stopped_by.name}" if self.stopped_by else ""
        return f"Run({what}: {done}{stopped}{last}{f', in {self.folder}' if self.folder else ''})"

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0, **elsewhere: Any) -> np.ndarray:
        """Undiscounted returns `[episodes]` of the trained policy; further arguments as of `Policy.evaluate`."""
        return self.policy.evaluate(episodes, greedy, seed, **elsewhere)


class Hooks(NamedTuple):
    """Functions of the user's that are called on the host between compiled chunks, with the policy as it is then.

    Its state is valid until they return: what is kept of it must be copied, `jax.tree.map(jnp.copy, policy.state)`.
    """

    on_rows: Callable[[dict[str, Any], Policy], Mapping[str, float] | None] | None = None  # -> further columns
    on_checkpoint: Callable[[Policy], Any] | None = None  # after it is written, where there is a folder


class KeptRows:
    """A sink that keeps the rows in memory, as long as the folder is there."""

    def __init__(self, folder: Locked | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder = folder

    def write(self, row: log.Row) -> None:
        if self._folder is not None:
            self._folder.check()
        self.rows.append(dict(row))

    def close(self) -> None:
        pass


class _Between:
    """The work of the host between two chunks."""

    def __init__(
        self, record: dict[str, Any], prepared: Prepared, hooks: Hooks, folder: Locked | None, watch: Watch | None
    ):
        self.record, self.prepared, self.hooks, self.folder = record, prepared, hooks, folder
        self.watch, path = watch or Watch.from_json(record), folder and folder.path
        self.checkpoints = checkpointer(record, path) if path else None
        self._best = None if path is None else _best(record, prepared, path)
        self._where = self.watch.evaluation.where(prepared.env) if self.watch.evaluation else prepared.env

    def save(self, updates: int, state: Any) -> None:
        """Writes a checkpoint, where there is a folder."""
        if self.checkpoints is not None and self.folder is not None:
            self.folder.check()
            self.checkpoints.save(updates, state)
        if self.hooks.on_checkpoint is not None:
            self.hooks.on_checkpoint(policy_at(self.record, self.prepared, state, updates))

    def on_row(self, updates: int, row: dict[str, Any], state: Any) -> dict[str, Any]:
        """The row, with the columns of an evaluation that is due, and those that the user's function adds."""
        asked, total = self.watch.evaluation, self.record["updates"]
        if asked is not None and not asked.is_due(updates, drivers.point_size(total, self.record["log_every"]), total):
            asked = None
        if asked is None and self.hooks.on_rows is None:
            return row
        policy = policy_at(self.record, self.prepared, state, updates)
        row = row if asked is None else row | self._evaluated(asked, policy)
        if self.hooks.on_rows is None:
            return row
        more = self.hooks.on_rows(dict(row), policy)
        return row | _columns_of({} if more is None else more, row)

    def _evaluated(self, asked: evaluation.Evaluation, policy: Policy) -> dict[str, float]:
        """The columns of an evaluation; keeps the policy if that is asked for, and none was better."""
        found = evaluation.columns(asked.returns(policy, self._where, self.record["seed"]))
        score = found[evaluation.RETURN]
        if self.watch.keep == BEST and (self._best is None or score > self._best.score):
            self._best = Evaluated(score, policy if self.folder else policy.with_own_state())
            if self.folder is not None:
                self.folder.check()
                kept = checkpointer(self.record, self.folder.path, store.BEST)
                if max(kept.steps(), default=-1) >= policy.updates:  # of a run that was killed, and is repeated
                    shutil.rmtree(kept.folder)
                kept.save(policy.updates, policy.state, {"score": score})
        return found

    def best(self) -> Evaluated | None:
        """Gives the policy that evaluated best."""
        return self._best if self.folder is None else _best(self.record, self.prepared, self.folder.path)


def go_on(
    record: dict[str, Any],
    prepared: Prepared,
    folder: Locked | None,
    progress: bool,
    more: Sequence[log.Sink] = (),
    hooks: Hooks | None = None,
    watch: Watch | None = None,
) -> Run:
    """Trains from the newest checkpoint in the folder, or from the start, to the end that the record says.

    Args:
      more: sinks besides those that the record names.
      watch: as the record has it, with an environment of the user's own.

    Raises:
      DivergedError, StorageError, Interrupted, Terminated: as `rljax.train` says.
    """
    path, algorithm, stopped = folder and folder.path, prepared.algorithm, None
    between = _Between(record, prepared, hooks or Hooks(), folder, watch)
    checkpoints = between.checkpoints
    found = checkpoints.restore_latest(abstract_state(prepared)) if checkpoints else None
    done, before, kept = found.step if found else 0, metrics(path) if path else {}, KeptRows(folder)

    state = found.state if found else _begun(record, prepared)
    with _sinks(record, algorithm, path, done, progress) as sinks:
        try:
            outcome = drivers.train(
                algorithm,
                jax.random.key(record["seed"]),
                algorithm.hypers,
                prepared.task,
                record["updates"],
                state=state,
                done=done,
                seconds=float(before["seconds"][-1]) if len(before.get("seconds", ())) else 0.0,
                log_every=record["log_every"],
                save_every=record["save_every"],
                sinks=[kept, *sinks, *more],
                save=between.save,
                on_row=between.on_row,
                until=between.watch.is_enough,
                env_name=prepared.env.name,
            )
        except Stopped as signalled:
            stopped, outcome = signalled, signalled.result
        except DivergedError as error:
            where = (
                f"; the last good checkpoint is in {checkpoints.folder}" if checkpoints and checkpoints.steps() else ""
            )
            raise DivergedError(f"{error}{where}") from None
    columns = metrics(path) if path else _columns(kept.rows)
    policy = policy_at(record, prepared, outcome.state, outcome.updates)
    run = Run(record, policy, columns, path, policy.step, policy.updates, outcome.stopped_by, between.best())
    if stopped is not None:
        raise stopped.carrying(run)
    return run


def _begun(record: dict[str, Any], prepared: Prepared) -> Any:
    """The state that a run begins with, where it begins with what another has learned; else None."""
    if record["start"] is None:
        return None
    other, algorithm = warm_start.read(record["start"]["run"], record["start"]), prepared.algorithm
    key = jax.random.key(record["seed"])
    return other.into(drivers.start(algorithm, key, as_arrays(algorithm.hypers), as_arrays(prepared.task)))


def reached(record: dict[str, Any], prepared: Prepared, folder: Path) -> Run | None:
    """The run in a folder, as far as its newest usable checkpoint; None where there is none yet."""
    found = checkpointer(record, folder).restore_latest(abstract_state(prepared))
    if found is None:
        return None
    policy, best = policy_at(record, prepared, found.state, found.step), _best(record, prepared, folder)
    return Run(record, policy, metrics(folder), folder, policy.step, found.step, None, best)


def is_end(record: dict[str, Any], folder: Path, updates: int) -> bool:
    """Whether a run ends with that update: all are done, or its row has a return that is enough."""
    if updates >= record["updates"] or record["until_return"] is None:
        return updates >= record["updates"]
    columns = metrics(folder)
    row = {name: x[columns["updates"] == updates][-1:] for name, x in columns.items()}
    return Watch.from_json(record).is_enough({name: x.item() for name, x in row.items() if x.size})


def _best(record: dict[str, Any], prepared: Prepared, folder: Path) -> Evaluated | None:
    """The policy that evaluated best, where it is kept; without it a run is of use, so damage is a warning."""
    if record["keep"] != BEST:
        return None
    try:
        found = checkpointer(record, folder, store.BEST).restore_latest(abstract_state(prepared))
    except CheckpointError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
    return found and Evaluated(found.meta["score"], policy_at(record, prepared, found.state, found.step))


def policy_at(record: dict[str, Any], prepared: Prepared, state: Any, updates: int) -> Policy:
    """The policy of a run after that many updates."""
    spec, step = RunSpec.from_json(record), prepared.algorithm.steps(updates)
    return Policy(prepared.acting, prepared.env, state, step, spec, updates)


def checkpointer(record: dict[str, Any], folder: Path, which: str = store.CHECKPOINTS) -> Checkpointer:
    """The checkpoints of a run, the newest or the best, by the number of updates."""
    return Checkpointer(folder / which, record["algo"], record["config"], keep=1 if which == store.BEST else 3)


def metrics(folder: Path) -> dict[str, np.ndarray]:
    """The rows of a run, as columns; none where they are lost."""
    path = folder / store.METRICS
    return log.read_jsonl(path) if path.exists() else {}


@contextlib.contextmanager
def _sinks(
    record: dict[str, Any], algorithm: Algorithm, folder: Path | None, done: int, progress: bool
) -> Iterator[list[log.Sink]]:
    """Opens the sinks that a record names, and closes them, whatever happens in between."""
    names = ["progress"] * progress  # first, so that nothing delays what is seen
    names += ["jsonl", *["tensorboard"] * record["tensorboard"]] if folder is not None else []
    names += ["wandb"] * (record["wandb"] is not None) + record["sinks"]
    logged = log.Logged(record, folder, done, algorithm.steps(done), algorithm.steps(record["updates"]))
    with contextlib.ExitStack() as stack:
        opened: list[log.Sink] = []
        for name in names:
            opened.append(log.SINKS.load(name)(logged))
            stack.callback(opened[-1].close)
        yield opened


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def _columns_of(given: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float]:
    """Further columns of a row, as `on_rows` gave them. Raises ConfigError for what is no number, or there already."""
    require(isinstance(given, Mapping), "on_rows", type(given).__name__, "must give None, or numbers by name")
    for name, value in given.items():
        fits = isinstance(name, str) and name not in row and np.ndim(value) == 0 and np.isreal(value)
        require(bool(fits), "on_rows", f"{name}={value}", "must be a number, under a name that the row does not have")
    return {name: float(value) for name, value in given.items()}
