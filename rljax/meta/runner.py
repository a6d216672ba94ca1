"""Runs agents under given parts of their hypers, on the whole machine, and tells their fitness.

What is learned, theta, is parts of an algorithm's hypers by their names. A `Runner` plans once, by measurement, and
keeps programs and processes from one generation to the next.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import resources
from rljax.build import Prepared
from rljax.divergence import diverged, warn_of_environment
from rljax.engine import machine
from rljax.engine.plan import Group, Programs
from rljax.engine.pool import Pool
from rljax.engine.width import choose_width
from rljax.engine.work import Job, MemberInputs, Report, Say, Shard, Stopping, Work
from rljax.errors import unknown
from rljax.meta import fitness, tasks
from rljax.meta.strategies import as_parameters
from rljax.meta.tasks import SET_BY_RUN, Domain, Run
from rljax.ops.metrics import NOT_FINITE
from rljax.run import point_size

Trial = tuple[int, Run]  # the index of a theta, and a run under it


class Runner:
    """Runs agents on the whole machine; a context manager.

    Args:
      domains: where they run.
      prepared: the same, built.
      members: how many runs there are at a time, to plan by.
      logs: where processes write.
      kept: what to say of what was done before, when a process dies.
      learn: the parts of hypers that differ between runs.
      kind: of fitness.
      widths: runs side by side in each domain's program, as recorded; None measures.
      workers, width, memory_limit: as for a sweep.

    Raises:
      ConfigError: one run does not fit into memory.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        prepared: Sequence[Prepared],
        members: int,
        logs: Path,
        kept: str,
        *,
        learn: Sequence[str] = (),
        kind: fitness.Kind = "final",
        widths: Sequence[int] | None = None,
        workers: int | None = None,
        width: int | None = None,
        memory_limit: str | int | None = None,
    ):
        self.domains, self.prepared = list(domains), list(prepared)
        evaluate = fitness.evaluation if kind == "evaluation" else None
        self.programs = Programs(self.prepared, [domain.row for domain in domains], evaluate=evaluate)
        given = widths or [width or 1] * len(self.prepared)
        groups = [_group(self.domains[i], learn, i, self.programs, w) for i, w in enumerate(given)]
        need = max(self.programs.of(group).bytes for group in groups)
        limit = None if memory_limit is None else resources.read(memory_limit)
        self.machine = machine.choose(workers, members, need, limit)
        share, fixed = -(-members // len(groups)), widths is not None or width is not None
        self.groups = [
            choose_width(self.programs, group, share, self.machine, domain.row, fixed)
            for group, domain in zip(groups, self.domains)
        ]
        self._pool = Pool(self.machine.workers, logs, kept)
        self._job = FitnessJob(self.programs, self.groups, kind)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def run(self, thetas: dict[str, Any], members: Sequence[Trial], say: Say, stopping: Stopping) -> np.ndarray | None:
        """Gives the fitness of every member, `[len(members)]`; None if it was stopped before all were finished.

        Args:
          thetas: leaves `[N, ...]`.
          members: the runs, each under one theta.
          say: takes reports.
          stopping: asked now and then.
        """
        found: dict[int, float] = {}

        def hear(report: Report) -> None:
            found.update(report.finished)
            say(report)

        shards = [shard for number in range(len(self.groups)) for shard in self._shards(number, members, thetas)]
        self._pool.run(self._job, shards, hear, stopping)
        if len(found) < len(members):
            return None
        return np.array([found[i] for i in range(len(members))], np.float32)

    def _shards(self, number: int, members: Sequence[Trial], thetas: Any) -> list[Shard]:
        """Divides the runs on one domain into shards, their members being their indices."""
        mine = [i for i, (_, run) in enumerate(members) if run.domain == number]
        mine.sort(key=lambda i: -members[i][1].updates)  # the longest first, or one core ends with it alone
        if not mine:
            return []
        task = jax.tree.map(np.asarray, tasks.tasks_of(self.prepared[number], [members[i][1] for i in mine]))
        updates = np.array([members[i][1].updates for i in mine], np.int32)
        which = np.array([members[i][0] for i in mine])
        hypers = write(self.programs.member(number)[0], jax.tree.map(lambda x: np.asarray(x)[which], thetas))
        if hasattr(hypers, SET_BY_RUN):
            hypers = dataclasses.replace(hypers, **{SET_BY_RUN: updates.astype(np.float32)})
        varying = set(self.groups[number].varying)
        varied = tuple(x if i in varying else None for i, x in enumerate(jax.tree.leaves((hypers, task))))
        every = MemberInputs(np.array([members[i][1].seed for i in mine], np.uint32), updates, varied)
        width = self.groups[number].width
        return [
            Shard(number, tuple(mine[i : i + width]), inputs=jax.tree.map(lambda x, i=i: x[i : i + width], every))
            for i in range(0, len(mine), width)
        ]


@dataclass
class FitnessJob(Job):
    """The job of a `Runner`: members are indices of its runs, and what they come to is a fitness.

    Attributes:
      kind: of fitness.
    """

    kind: fitness.Kind = "final"

    def work(self, shards: Sequence[Shard]) -> Work:
        return FitnessWork(self, shards)


class FitnessWork(Work):
    """Runs under way in this process, and all their metrics so far."""

    def __init__(self, job: FitnessJob, shards: Sequence[Shard]):
        super().__init__(job, shards)
        self._kind: fitness.Kind = job.kind
        self._history: list[dict[str, np.ndarray]] = []

    def record(self, metrics: dict[str, np.ndarray]) -> float:
        self._history.append(metrics)
        return math.nan

    def finish(self) -> Report:
        """Reports the fitness of each member, NaN where one diverged."""
        metrics = {name: np.concatenate([x[name] for x in self._history], 1) for name in self.program.metrics}
        if self._kind == "evaluation":
            found = self.program.fetch(self.program.evaluate(self.state, self.inputs, self.seeds))
        else:
            found = fitness.of_training(self._kind, metrics, self.updates)
        during = _until(metrics, self.updates)
        found = np.where(np.any(diverged(during, self.prepared.algorithm.diagnostics), axis=1), math.nan, found)
        warn_of_environment(self.prepared.env.name, during.get(NOT_FINITE, np.zeros((), int)))
        pairs = [pair for k in self.counted for pair in zip(self.shards[k].members, found[self.span(k)].tolist())]
        return Report(finished=pairs)


def _until(metrics: dict[str, np.ndarray], updates: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics `[M, U]`, 0 beyond the end of each run."""
    length = next(iter(metrics.values())).shape[1]
    alive = np.arange(length) < updates[:, None]
    return {name: np.where(alive, x, 0) for name, x in metrics.items()}


def _group(domain: Domain, learn: Sequence[str], number: int, programs: Programs, width: int) -> Group:
    prepared = programs.prepared[number]
    hypers, task = programs.member(number)
    names = [f"hypers.{name}" for name in (*learn, SET_BY_RUN)]
    names += ["task"] if prepared.env.new_task is not None else [f"task.{name}" for name in domain.vary]
    updates = prepared.updates
    return Group(
        [number],
        positions(hypers, task, names),
        updates,
        point_size(updates),
        updates,
        width=width,
        own_length=True,
    )


def read(hypers: Any, names: Iterable[str]) -> dict[str, Any]:
    """Reads theta: name -> part of `hypers`, e.g. `objective.hidden`, `lr`, or a whole tree such as `objective`.

    Raises:
      ConfigError: a name that is no part of hypers, or a part that holds something else than floating-point numbers.
    """
    theta = {}
    for name in names:
        try:
            theta[name] = reduce(getattr, name.split("."), hypers)
        except AttributeError:
            raise unknown("part of hypers", name, _names(hypers)) from None
    return as_parameters(theta)


def write(hypers: Any, theta: Mapping[str, Any]) -> Any:
    """Puts the parts of theta into `hypers`; the inverse of `read`."""
    for name, part in theta.items():
        hypers = _replaced(hypers, name.split("."), part)
    return hypers


def positions(hypers: Any, task: Any, names: Iterable[str]) -> list[int]:
    """Finds the leaves of (hypers, task) that belong to parts named `hypers.NAME`, `task.NAME` or `task` as a whole."""
    roots = {"0": "hypers", "1": "task"}
    found = []
    wanted = set(names)
    for i, (path, _) in enumerate(jax.tree.leaves_with_path((hypers, task))):
        first, *rest = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        whole = [roots[first], *rest]
        if any(".".join(whole[: n + 1]) in wanted for n in range(len(whole))):
            found.append(i)
    return found


def _replaced(tree: Any, path: list[str], part: Any) -> Any:
    name, *rest = path
    new = _replaced(getattr(tree, name), rest, part) if rest else part
    return dataclasses.replace(tree, **{name: new})


def _names(tree: Any, prefix: str = "") -> list[str]:
    found = []
    for field in dataclasses.fields(tree):
        found.append(f"{prefix}{field.name}")
        part = getattr(tree, field.name)
        if dataclasses.is_dataclass(part):
            found += _names(part, f"{prefix}{field.name}.")
    return found


def shapes(theta: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Lists paths and shapes of its leaves."""
    return [(jax.tree_util.keystr(path), x.shape) for path, x in jax.tree.leaves_with_path(theta)]
