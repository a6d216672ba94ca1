"""One run in its folder: from its newest checkpoint to its end, with progress, logs and checkpoints.

The clock of a run is updates: checkpoints have their number. Environment steps are shown beside it; where an algorithm
takes none, because it learns from data, updates are shown instead.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import log
from rljax import run as drivers
from rljax.build import Prepared, abstract_state
from rljax.checkpoint import Checkpointer
from rljax.errors import DivergedError, Stopped
from rljax.policy import Policy
from rljax.progress import amount
from rljax.results import store
from rljax.results.folder import Locked
from rljax.spec import RunSpec
from rljax.types import Algorithm


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
    """

    record: dict[str, Any]
    policy: Policy
    metrics: dict[str, np.ndarray]
    folder: Path | None
    step: int
    updates: int
    stopped_by: signal.Signals | None

    def __repr__(self) -> str:
        what = f"{self.record['algo']} on {self.record['env']}, seed {self.record['seed']}"
        done = amount(self.step, self.updates) + (f" of {self.record['steps']:,}" if self.stopped_by else "")
        returns = self.metrics.get("episode_return", np.zeros(0))
        known = returns[np.isfinite(returns)]
        last = f", episode return {known[-1]:.4g} at the end" if known.size else ""
        stopped = f", stopped by {self.stopped_by.name}" if self.stopped_by else ""
        return f"Run({what}: {done}{stopped}{last}{f', in {self.folder}' if self.folder else ''})"

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0) -> np.ndarray:
        """Undiscounted returns `[episodes]` of the trained policy."""
        return self.policy.evaluate(episodes, greedy, seed)


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


def go_on(
    record: dict[str, Any], prepared: Prepared, folder: Locked | None, progress: bool, more: Sequence[log.Sink] = ()
) -> Run:
    """Trains from the newest checkpoint in the folder, or from the start, to the end that the record says.

    Args:
      more: sinks besides those that the record names.

    Raises:
      DivergedError, StorageError, Interrupted, Terminated: as `rljax.train` says.
    """
    path, algorithm, stopped = folder and folder.path, prepared.algorithm, None
    checkpoints = checkpointer(record, path) if path else None
    found = checkpoints.restore_latest(abstract_state(prepared)) if checkpoints else None
    done, before, kept = found.step if found else 0, metrics(path) if path else {}, KeptRows(folder)

    def save(updates: int, state: Any) -> None:
        if checkpoints is not None and folder is not None:
            folder.check()
            checkpoints.save(updates, state)

    with _sinks(record, algorithm, path, done, progress) as sinks:
        try:
            outcome = drivers.train(
                algorithm,
                jax.random.key(record["seed"]),
                algorithm.hypers,
                prepared.task,
                record["updates"],
                state=found.state if found else None,
                done=done,
                seconds=float(before["seconds"][-1]) if len(before.get("seconds", ())) else 0.0,
                log_every=record["log_every"],
                save_every=record["save_every"],
                sinks=[kept, *sinks, *more],
                save=save,
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
    run = reached(record, prepared, outcome.state, outcome.updates, path, columns, outcome.stopped_by)
    if stopped is not None:
        raise stopped.carrying(run)
    return run


def reached(
    record: dict[str, Any],
    prepared: Prepared,
    state: Any,
    updates: int,
    folder: Path | None,
    columns: dict[str, np.ndarray],
    stopped_by: signal.Signals | None = None,
) -> Run:
    """The run as it is after that many updates; `columns` are its metrics."""
    step = prepared.algorithm.steps(updates)
    policy = Policy(prepared.algorithm, prepared.env, state, step, RunSpec.from_json(record), updates)
    return Run(record, policy, columns, folder, step, updates, stopped_by)


def checkpointer(record: dict[str, Any], folder: Path) -> Checkpointer:
    """The checkpoints of a run, by the number of updates."""
    return Checkpointer(folder / store.CHECKPOINTS, record["algo"], record["config"])


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
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
