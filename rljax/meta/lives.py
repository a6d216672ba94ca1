"""Runs whole lives of a population on every device of this process, as `sweeps.execute` runs members of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax.divergence import diverged, warn_of_environment
from rljax.engine.plan import Group, Programs
from rljax.engine.program import Inputs
from rljax.meta import fitness
from rljax.ops.metrics import NOT_FINITE


class Lot(NamedTuple):
    """Lives that one device runs side by side."""

    group: int
    places: np.ndarray  # [M] where their fitnesses belong
    seeds: np.ndarray  # [M] uint32
    updates: np.ndarray  # [M] how long each lasts
    varied: tuple[Any, ...]  # leaves of (hypers, task) that differ `[M, ...]`, None for the others


class News(NamedTuple):
    """What has been done since the last news."""

    steps: int  # environment steps
    places: np.ndarray  # of finished lives
    fitness: np.ndarray  # theirs; NaN where one diverged


@dataclass
class Job:
    """All that a process must know to run lots.

    Attributes:
      programs: domains as built, and compiled programs.
      groups: one for each domain.
      kind: of fitness.
    """

    programs: Programs
    groups: list[Group]
    kind: fitness.Kind

    def run(self, lots: Sequence[Lot], say: Callable[[News], None], stopping: Callable[[], bool]) -> bool:
        """Runs as many lots of one group as there are devices at most; returns whether they have come to their end."""
        group, count = self.groups[lots[0].group], sum(len(lot.places) for lot in lots)
        program = self.programs.of(group)
        places, seeds, updates, varied = _filled(lots, len(program.local))
        hypers_and_task = self.programs.member(group.rows[0])
        leaves = [np.asarray(x) for x in jax.tree.leaves(hypers_and_task)]
        fixed = tuple(None if v is not None else x for v, x in zip(varied, leaves))
        inputs = program.place(Inputs(fixed, varied, jax.tree.structure(hypers_and_task)))
        state, done, history = program.start(seeds, inputs), 0, []
        per_update = self.programs.prepared[group.rows[0]].algorithm.steps_per_update
        while done < updates.max():
            n = np.clip(updates - done, 0, program.size)
            state, metrics = program.advance(state, inputs, n)
            history.append(program.fetch(metrics))
            done += program.size
            say(News(per_update * int(n[:count].sum()), places[:0], np.zeros(0)))
            if stopping():
                return False
        metrics = {name: np.concatenate([part[name] for part in history], 1) for name in program.metrics}
        if self.kind == "evaluation":
            found = program.fetch(program.judge(state, inputs, seeds))
        else:
            found = fitness.of_training(self.kind, metrics, updates)
        found = np.where(_diverged(metrics, updates), math.nan, found)
        env_name = self.programs.prepared[group.rows[0]].env.name
        warn_of_environment(env_name, _lived(metrics, updates).get(NOT_FINITE, np.zeros((), int)))
        say(News(0, places[:count], found[:count]))
        return True


def _filled(lots: Sequence[Lot], population: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Any, ...]]:
    """(places, seeds, updates, varied) of all lots, the last life repeated until the population is full."""
    columns = [lot[1:] for lot in lots]
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *columns)
    missing = population - len(joined[0])
    return jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], missing, 0)]), joined)


def _diverged(metrics: dict[str, np.ndarray], updates: np.ndarray) -> np.ndarray:
    """`[M]`: a metric became NaN or infinite within the life."""
    return np.any(diverged(_lived(metrics, updates)), axis=1)


def _lived(metrics: dict[str, np.ndarray], updates: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics `[M, U]`, 0 beyond the end of each life."""
    length = next(iter(metrics.values())).shape[1]
    alive = np.arange(length) < updates[:, None]
    return {name: np.where(alive, x, 0) for name, x in metrics.items()}
