"""The work of a sweep: shards of its plan are run on the devices of a process, and stored when they are finished.

`Progress` says how far it is: rows done, steps per second over all processes, the best row so far, the time left.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import evaluation
from rljax.checkpoint import Checkpointer
from rljax.divergence import diverged
from rljax.engine import progress
from rljax.engine.plan import Group
from rljax.engine.program import as_numpy
from rljax.engine.work import Job, MemberInputs, Report, Shard, Work
from rljax.errors import CheckpointError
from rljax.evaluation import Evaluation
from rljax.ops.metrics import NOT_FINITE, RETURN, summarise
from rljax.ops.tree import named_leaves
from rljax.run import Saver
from rljax.spaces import zeros
from rljax.sweeps import store
from rljax.types import Algorithm, Env
from rljax.watch import BEST, LAST


@dataclass
class SweepJob(Job):
    """The job of a sweep: members are (row, seed), and what is finished is stored.

    Attributes:
      folder: of the sweep.
      keep_states: store whole states, not only what the policy reads.
      evaluation: of every member while it learns, or None.
      keep: `last` or `best`, the state that is stored.
      score: the metric whose last value is reported.
    """

    folder: Path = Path()
    keep_states: bool = False
    evaluation: Evaluation | None = None
    keep: str = LAST
    score: str = RETURN

    def __post_init__(self) -> None:
        self.writer = store.Writer(self.folder)
        self._read: dict[int, list[str]] = {}

    def filled(self, shard: Shard) -> Shard:
        rows, seeds = zip(*shard.members)
        group = self.groups[shard.group]
        updates = np.full(len(rows), group.updates, np.int32)
        varied = self.programs.varied(group, rows)
        return shard._replace(inputs=MemberInputs(np.array(seeds, np.uint32), updates, varied))

    def work(self, shards: Sequence[Shard]) -> Work:
        return SweepWork(self, shards)

    def read_by_act(self, group: int) -> list[str]:
        """Lists the leaves of the states of a group that its policies read."""
        if group not in self._read:
            planned = self.groups[group]
            prepared = self.programs.prepared[planned.rows[0]]
            self._read[group] = read_by_act(prepared.algorithm, prepared.env, self.programs.of(planned).state)
        return self._read[group]


def shards_of(groups: Sequence[Group], seeds: Sequence[int]) -> list[Shard]:
    """Lists every shard of a plan, in order."""
    return [
        Shard(number, members, f"{number:02d}-{i:05d}")
        for number, group in enumerate(groups)
        for i, members in enumerate(group.shards(seeds))
    ]


def pending(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Lists the shards that are not stored yet."""
    stored = store.stored(folder)
    return [shard for shard in shards if not stored.get(shard.group, set()).issuperset(shard.members)]


class SweepWork(Work):
    """Shards of a sweep under way in this process, and what has been recorded of them."""

    def __init__(self, job: SweepJob, shards: Sequence[Shard]):
        super().__init__(job, shards)
        self.job, self.points, members = job, self.group.points(), len(self.seeds)
        names = [*self.program.metrics, *([evaluation.RETURN] if job.evaluation else ())]
        self.metrics = {n: np.full((members, len(self.points)), np.nan, np.float32) for n in names}
        self.best: dict[str, np.ndarray] = {}  # the leaves of the members' best states so far, where they are kept
        self.diverged = np.zeros(members, bool)

    @property
    def unfinished(self) -> bool:
        return super().unfinished and not self.diverged.all()

    def start(self) -> Any:
        if self.group.start == 0:
            return super().start()
        width = self.program.width
        members = [m for s in self.shards for m in (*s.members, *s.members[-1:] * (width - len(s.members)))]
        stored = store.states(self.job.folder, members)
        leaves = [stored[name] for name in named_leaves(self.program.state)]
        return self.program.place_state(jax.tree.unflatten(jax.tree.structure(self.program.state), leaves))

    def record(self, metrics: dict[str, np.ndarray]) -> float:
        """Keeps the logged points of these updates `[P, n]`, as NaN from where a member diverged."""
        row: dict[str, np.ndarray] = {}
        n = next(iter(metrics.values())).shape[1]
        for begin in range(0, n, self.group.log_every):
            end = min(begin + self.group.log_every, n)
            row = summarise({name: x[:, begin:end] for name, x in metrics.items()})
            self.diverged |= diverged(row, self.prepared.algorithm.diagnostics)
            point = self.points.index(self.done + end)
            for name, x in row.items():
                self.metrics[name][:, point] = x if name == NOT_FINITE else np.where(self.diverged, np.nan, x)
        returns = row.get(RETURN, np.full(1, np.nan))
        return float(np.nanmax(returns)) if np.isfinite(returns).any() else math.nan

    def until_scored(self) -> int:
        asked, most = self.job.evaluation, super().until_scored()
        if asked is None:
            return most
        due = (n for n in self.points if n > self.done and asked.is_due(n, self.group.log_every, self.group.updates))
        return next(due) - self.done

    def score(self) -> None:
        """Evaluates the members, and keeps the states of those that were never better."""
        asked = self.job.evaluation
        if asked is None or not asked.is_due(self.done, self.group.log_every, self.group.updates):
            return
        found = self.program.fetch(self.program.evaluate(self.state, self.inputs, self.seeds))
        column = self.metrics[evaluation.RETURN]
        before = np.max(column, axis=1, where=np.isfinite(column), initial=-np.inf)
        column[:, self.points.index(self.done)] = np.where(self.diverged, np.nan, found)
        better = ~self.diverged & (found > before)
        if self.job.keep == BEST and (better.any() or not self.best):
            for name, x in self._states().items():
                chosen = better.reshape(-1, *[1] * (x.ndim - 1))
                self.best[name] = np.where(chosen, x, self.best.get(name, x))

    def _states(self) -> dict[str, np.ndarray]:
        """The leaves of the members' states that are stored."""
        leaves = named_leaves(self.state)
        if not self.job.keep_states:
            leaves = {name: leaves[name] for name in self.job.read_by_act(self.shards[0].group)}
        return self.program.fetch(leaves)

    def finish(self) -> Report:
        """Stores each shard, and reports the last scores of its members."""
        skipped = self.updates - self.done  # where all diverged
        states = self.best or self._states()
        last = self.metrics.get(self.job.score, np.full((len(self.seeds), 1), np.nan))[:, -1]
        finished = []
        for k in self.counted:
            shard, where = self.shards[k], self.span(k)
            rows, seeds = zip(*shard.members)
            arrays = {"row": np.array(rows), "seed": np.array(seeds)}
            arrays |= {"update": np.array(self.points), "diverged": self.diverged[where]}
            arrays |= {store.METRIC + n: x[where] for n, x in self.metrics.items()}
            arrays |= {store.STATE + n: x[where] for n, x in states.items()}
            self.job.writer.add(shard.name, arrays)
            finished += zip(shard.members, last[where].tolist())
        shutil.rmtree(self._progress, ignore_errors=True)
        return Report(self.steps(skipped), finished)

    @contextlib.contextmanager
    def checkpoints(self) -> Iterator[Saver]:
        """Goes on from a checkpoint if there is one; the Saver makes more. Several processes do without."""
        if jax.process_count() > 1:
            yield Saver(None, None)
            return
        kept = self.job.read_by_act(self.shards[0].group) if self.job.keep == BEST else ()
        best = {name: x for name, x in named_leaves(self.program.state).items() if name in kept}
        shapes = {"state": self.program.state, "metrics": self.metrics, "diverged": self.diverged, "best": best}
        names = [shard.name for shard in self.shards]
        with Checkpointer(self._progress, "sweep", {"shards": names}, keep=2) as checkpoints:
            try:
                found = checkpoints.restore_latest(shapes)
            except CheckpointError:  # of another number of devices: what it holds is computed again
                shutil.rmtree(self._progress, ignore_errors=True)
                found = None
            if found and found.meta.get("shards") == names:
                self.done, self.metrics = found.step, jax.tree.map(np.array, found.state["metrics"])
                self.diverged = np.array(found.state["diverged"])
                self.state = self.program.place_state(jax.tree.map(as_numpy, found.state["state"]))
                self.best = jax.tree.map(as_numpy, found.state["best"])

            def save(updates: int, _: Any) -> None:
                best = self.best or {name: x for name, x in named_leaves(self.state).items() if name in kept}
                tree = {"state": self.state, "metrics": self.metrics, "diverged": self.diverged, "best": best}
                checkpoints.save(updates, tree, {"shards": names})

            yield Saver(save, None)

    @property
    def _progress(self) -> Path:
        return self.job.folder / store.PROGRESS / self.shards[0].name


def read_by_act(algo: Algorithm, env: Env, population: Any) -> list[str]:
    """The leaves of a state that the policy reads, by their paths: all that must be kept to act."""
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), population)
    obs = jax.tree.map(lambda x: x[None], zeros(env.observation_space))
    seen = (obs, jnp.ones(1, bool), jax.random.key(0), True)

    def first(state, *seen):
        return algo.act(state, algo.initial_carry(state, 1), *seen)

    program = jax.make_jaxpr(first)(state, *seen).jaxpr
    read = {id(x) for equation in program.eqns for x in equation.invars} | {id(x) for x in program.outvars}
    return [name for name, x in zip(named_leaves(state), program.invars) if id(x) in read]


FEW = 3  # environments of which the best row is said


class Progress(progress.Progress):
    """A progress bar over all runs; a line now and then where there is no terminal.

    Args:
      description: what runs.
      total: environment steps of all runs; start: of those that were finished before.
      runs: how many; stored: how many were finished before.
      seeds: runs a row; a row is done when they all are.
      environments: what each row runs on: the best is said of each of a few, as they do not compare.
    """

    def __init__(
        self,
        description: str,
        total: int,
        start: int,
        runs: int,
        stored: int,
        seeds: int,
        environments: Sequence[str] = (),
        **options: Any,
    ):
        super().__init__(description, total, start, **options)
        self._environments = environments
        self._runs, self._stored, self._seeds = runs, stored, seeds
        self._scores: dict[int, list[float]] = defaultdict(list)

    def report(self, report: Report) -> None:
        self._stored += len(report.finished)
        for (row, _), score in report.finished:
            self._scores[row].append(score)
        super().report(report)

    def _note(self) -> str:
        done = f"{self._pace()}{self._stored // self._seeds}/{self._runs // self._seeds} rows"
        means = {row: sum(x) / len(x) for row, x in self._scores.items() if math.isfinite(sum(x))}
        if not means:
            return done if math.isnan(self._return) else f"{done}  return {self._return:.4g}"
        several = len(set(self._environments)) > 1
        best: dict[str, int] = {}
        for row in sorted(means, key=means.__getitem__):
            best[self._environments[row] if several else ""] = row
        if len(best) > FEW:
            return done
        return f"{done}  best {', '.join(self._words(row, means[row], name) for name, row in sorted(best.items()))}"

    def _words(self, row: int, mean: float, environment: str) -> str:
        """The best row, on an environment if there are several: `1.5 (row 0, 1 of 2 seeds)`."""
        seeds = len(self._scores[row])
        few = f"{seeds} of {self._seeds} seeds" if seeds < self._seeds else ""
        return f"{mean:.4g} ({', '.join(filter(None, [f'row {row}', environment, few]))})"
