"""Shards of a population at work on the devices of this process: one kind of job, of shard and of report.

A `Job` holds all that a process must know to run shards. Its client says in a `Work` what becomes of the metrics, and
of the members when they are finished. Reports are what a process says of its progress.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax.engine.plan import Group, Programs
from rljax.run import Saver

CALL_SECONDS = 1.0  # how long one call of a program should last: how often there are reports, and how soon it can stop


class MemberInputs(NamedTuple):
    """The inputs of M members, on the host."""

    seeds: np.ndarray  # [M] uint32
    updates: np.ndarray  # [M] int32: the updates behind each of them at its end
    varied: tuple[Any, ...]  # the leaves of (hypers, task) that differ, `[M, ...]`; None for the others


class Shard(NamedTuple):
    """Members that one device runs side by side: the unit of work, and of storing.

    Attributes:
      group: the index of the group whose program they share.
      members: the keys by which their client knows them, M.
      name: by which they are stored.
      inputs: None until `Job.filled` adds them, just before a process gets the shard.
    """

    group: int
    members: tuple[Any, ...]
    name: str = ""
    inputs: MemberInputs | None = None


class Report(NamedTuple):
    """A process's report of what was done since its last one."""

    steps: int = 0  # environment steps of all members
    finished: Sequence[tuple[Any, float]] = ()  # members that are finished, each with its score
    latest: float = math.nan  # the highest latest return of the members at work; NaN if there is none


Say = Callable[[Report], None]
Stopping = Callable[[], bool]


@dataclass
class Job:
    """All that a process must know to run shards; a client's subclass adds what it needs.

    Attributes:
      programs: members as built, and compiled programs.
      groups: the plan.
    """

    programs: Programs
    groups: list[Group]

    def filled(self, shard: Shard) -> Shard:
        """Adds the inputs of a shard's members, in the process that planned them."""
        return shard

    def work(self, shards: Sequence[Shard]) -> Work:
        """Begins to run shards of one group, one on each device."""
        raise NotImplementedError

    def run(self, shards: Sequence[Shard], say: Say, stopping: Stopping) -> bool:
        """Runs shards of one group, one on each device; returns whether they came to their end.

        Args:
          shards: as many as there are devices, or fewer: then the last runs more than once, and counts once.
          say: takes a report after every call of the program.
          stopping: asked after every call.

        Raises:
          StorageError: a result cannot be stored.
        """
        work = self.work(shards)
        if not work.counted:
            return True
        with work.checkpoints() as saver:
            while work.unfinished:
                say(work.advance())
                stop = work.unfinished and stopping()
                saver.offer(work.done, None, force=stop)
                if stop:
                    return False
        say(work.finish())
        return True


class Work:
    """The shards under way in this process: their inputs, their state, and how far they are.

    Attributes:
      shards: one for each device of this process.
      counted: the indices of those that are not run elsewhere too.
      seeds, updates: `[P]`, of this process's members; the last member of a shard fills it up.
      done: the updates behind them; state: theirs, None before the first call.
    """

    def __init__(self, job: Job, shards: Sequence[Shard]):
        self.group = group = job.groups[shards[0].group]
        self.prepared = job.programs.prepared[group.rows[0]]
        self.program = program = job.programs.of(group)
        width = program.width
        everywhere = [*shards, *[shards[-1]] * (program.population // width - len(shards))]
        mine = [i // width for i in program.local[::width]]
        self.shards = [everywhere[i] for i in mine]
        self.counted = [k for k, i in enumerate(mine) if i < len(shards)]
        self.seeds, self.updates, varied = _joined([shard.inputs for shard in self.shards], width)
        self.inputs = job.programs.upload(group, varied)
        self.done, self.state, self._call = group.start, None, group.log_every
        self._counts = np.zeros(len(self.seeds), bool)
        for k in self.counted:
            self._counts[self.span(k)] = True

    @property
    def unfinished(self) -> bool:
        """Whether there is anything left to do."""
        return self.done < self.updates.max()

    def span(self, k: int) -> slice:
        """The indices of the members of the k-th shard."""
        return slice(k * self.program.width, k * self.program.width + len(self.shards[k].members))

    def advance(self) -> Report:
        """Some whole logged points of every member."""
        self.state = self.start() if self.state is None else self.state
        most = min(self._call, self.until_scored())
        began, each = time.perf_counter(), np.clip(self.updates - self.done, 0, most)
        n = int(each.max())
        self.state, metrics = self.program.advance(self.state, self.inputs, each if self.group.own_length else n)
        latest = self.record({name: x[:, :n] for name, x in self.program.fetch(metrics).items()})
        self.done += n
        self.score()
        points = min(CALL_SECONDS * n / (time.perf_counter() - began), self.program.size) / self.group.log_every
        self._call = max(1, int(points)) * self.group.log_every
        return Report(self.steps(each), (), latest)

    def steps(self, updates: np.ndarray) -> int:
        """The environment steps of so many updates `[P]`, or of updates where there are none; repeats do not count."""
        return (self.prepared.algorithm.steps_per_update or 1) * int(updates[self._counts].sum())

    def start(self) -> Any:
        """The states that they begin with."""
        return self.program.start(self.seeds, self.inputs)

    def record(self, metrics: dict[str, np.ndarray]) -> float:
        """Takes the metrics of n updates after `done`, `[P, n]`; returns the highest latest return, or NaN."""
        raise NotImplementedError

    def until_scored(self) -> int:
        """The updates until members are to be scored: a call of the program ends there."""
        return self.program.size

    def score(self) -> None:
        """Scores the members after `done` updates, if that is due."""

    def finish(self) -> Report:
        """Concludes the members that count, and reports their scores."""
        raise NotImplementedError

    @contextlib.contextmanager
    def checkpoints(self) -> Iterator[Saver]:
        """Goes on from a checkpoint if there is one; the `Saver` makes more. By default there are none."""
        yield Saver(None, None)


def _joined(parts: Sequence[MemberInputs | None], width: int) -> MemberInputs:
    """The inputs of shards one after the other, each filled up to its width by its last member."""

    def join(*columns: np.ndarray) -> np.ndarray:
        return np.concatenate([np.concatenate([x, np.repeat(x[-1:], width - len(x), 0)]) for x in columns])

    return jax.tree.map(join, *parts)
