"""Runs the lives of a generation on the whole machine: plans once, by measurement, and keeps programs and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import resources
from rljax.build import Prepared
from rljax.engine import machine, payload, pool
from rljax.engine.plan import Group, Programs
from rljax.engine.width import choose_width
from rljax.meta import fitness, leaves, tasks
from rljax.meta.lives import Job, Lot, News
from rljax.meta.tasks import GIVEN_BY_LIFE, Domain, Life
from rljax.run import point_size

Member = tuple[int, Life]  # which theta, and the life that it lives


class Crew:
    """What runs lives; a context manager.

    Args:
      domains: where they are lived.
      prepared: the same, built.
      members: how many lives there are to run at a time, to plan by.
      logs: where processes write.
      kept: what to say of what was done before, when a process dies.
      learn: the parts of hypers that differ between lives.
      kind: of fitness.
      widths: lives side by side in each domain's program, as recorded; None measures.
      workers, width, memory_limit: as for a sweep.

    Raises:
      ConfigError: one life does not fit into memory.
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
        self._kind: fitness.Kind = kind
        self.programs = Programs(self.prepared, judge=fitness.evaluation if kind == "evaluation" else None)
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
        self._pool = pool.Pool(self.machine.workers, logs, kept)
        self._job = self._portable() if self.machine.workers > 1 else b""

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def live(
        self,
        thetas: dict[str, Any],
        members: Sequence[Member],
        say: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> np.ndarray | None:
        """The fitness of every member, `[len(members)]`; None if it was stopped before all had come to their end.

        Args:
          thetas: leaves `[N, ...]`.
          members: who lives what.
          say: takes environment steps as they are done.
          stopping: asked now and then.
        """
        found, finished = np.full(len(members), np.nan, np.float32), 0

        def hear(news: News) -> None:
            nonlocal finished
            found[news.places] = news.fitness
            finished += len(news.places)
            say(news.steps)

        lots = list(self._lots(jax.tree.map(np.asarray, thetas), members))
        if self.machine.workers > 1:
            self._pool.run(self._job, lots, hear, stopping)
        else:
            pool.here(Job(self.programs, self.groups, self._kind), lots, hear, stopping)
        return found if finished == len(members) else None

    def _lots(self, thetas: Any, members: Sequence[Member]) -> Iterator[Lot]:
        for number, group in enumerate(self.groups):
            mine = [i for i, (_, life) in enumerate(members) if life.domain == number]
            mine.sort(key=lambda i: -members[i][1].updates)  # the longest first, or one core ends with it alone
            if mine:
                drawn = tasks.tasks_of(self.prepared[number], [members[i][1] for i in mine])
                drawn = jax.tree.map(np.asarray, drawn)
                for begin in range(0, len(mine), group.width):
                    some = slice(begin, begin + group.width)
                    task = jax.tree.map(lambda x, some=some: x[some], drawn)
                    yield self._lot(number, np.array(mine[some]), [members[i] for i in mine[some]], thetas, task)

    def _lot(self, number: int, places: np.ndarray, members: Sequence[Member], thetas: Any, task: Any) -> Lot:
        lives = [life for _, life in members]
        seeds = np.array([life.seed for life in lives], np.uint32)
        updates = np.array([life.updates for life in lives], np.int32)
        theta = jax.tree.map(lambda x: x[[n for n, _ in members]], thetas)
        hypers = leaves.write(self.programs.member(number)[0], theta)
        if hasattr(hypers, GIVEN_BY_LIFE):
            hypers = hypers.replace(**{GIVEN_BY_LIFE: updates.astype(np.float32)})
        varying = set(self.groups[number].varying)
        flat = jax.tree.leaves((hypers, task))
        return Lot(number, places, seeds, updates, tuple(x if i in varying else None for i, x in enumerate(flat)))

    def _portable(self) -> bytes:
        """The job as a pickled function, for other processes."""
        groups, judge = self.groups, self.programs.judge
        kind: fitness.Kind = self._kind
        rows = [domain.row for domain in self.domains]
        return payload.pack(rows, self.prepared, lambda there: Job(Programs(there, judge=judge), groups, kind))


def _group(domain: Domain, learn: Sequence[str], number: int, programs: Programs, width: int) -> Group:
    prepared = programs.prepared[number]
    hypers, task = programs.member(number)
    names = [f"hypers.{name}" for name in (*learn, GIVEN_BY_LIFE)]
    names += ["task"] if prepared.env.new_task is not None else [f"task.{name}" for name in domain.vary]
    updates = prepared.updates
    return Group(
        [number],
        leaves.places(hypers, task, names),
        updates,
        point_size(updates),
        updates,
        width=width,
        own_length=True,
    )
