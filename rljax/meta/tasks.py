r"""The training runs of a search: on which environments, on which tasks, and how long.

A `Domain` is an environment with distributions of what differs between runs on it: their length, log-uniform between
two bounds, and parameters of the task. A `Run` is one draw, a training run. All runs on a domain share one compiled
program, whatever their lengths, and so do domains of equal shape.

Draws follow from a seed and the number of the generation alone, so a resumed search draws the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax.build import Prepared
from rljax.errors import require, unknown
from rljax.ops import streams
from rljax.ops.tree import as_arrays
from rljax.sweeps.rows import Row
from rljax.sweeps.space import Distribution

SET_BY_RUN = "horizon"  # the hyperparameter that the length of a run sets


class Run(NamedTuple):
    """One training run of a search."""

    domain: int
    seed: int  # of its run, and of its task where that is drawn by the environment
    updates: int
    numbers: dict[str, float]  # task parameters


@dataclass(frozen=True)
class Domain:
    """An environment, with distributions of what differs between runs on it.

    Attributes:
      row: algorithm, environment and settings; its steps are those of the longest run.
      shortest: steps of the shortest run; None: all are as long as the longest.
      vary: task parameters, each with its distribution; empty where the environment draws its tasks itself
        (`Env.new_task`), and then every run has another one.
      reference: the returns that count as 0 and 1 where fitness is compared between domains.
    """

    row: Row
    shortest: int | None = None
    vary: Mapping[str, Distribution] = field(default_factory=dict)
    reference: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.reference
        require(math.isfinite(low) and math.isfinite(high) and low < high, "reference", self.reference, "LOW < HIGH")
        fits = self.shortest is None or 1 <= self.shortest < self.row.steps
        require(fits, "steps", f"{self.shortest} to {self.row.steps}", "the shortest run must be the shorter one")

    def bounds(self, prepared: Prepared) -> tuple[int, int]:
        """Updates of the shortest and of the longest run."""
        if self.shortest is None:
            return prepared.updates, prepared.updates
        return max(1, prepared.algorithm.updates(self.shortest)), prepared.updates

    def draw(self, number: int, prepared: Prepared, generator: np.random.Generator) -> Run:
        """Draws a run on this domain, which is the `number`-th."""
        low, high = self.bounds(prepared)
        updates = round(math.exp(generator.uniform(math.log(low), math.log(high)))) if low < high else high
        numbers = {name: d.draw(generator) for name, d in self.vary.items()}
        return Run(number, int(generator.integers(2**32)), updates, numbers)

    def check(self, prepared: Prepared) -> None:
        """Raises ConfigError for a task parameter that does not exist, or where the environment draws tasks itself."""
        task = prepared.env.task
        names = {f.name for f in dataclasses.fields(task) if getattr(task, f.name) is not None} if self.vary else set()
        for name in self.vary:
            if name not in names:
                raise unknown(f"task parameter of {prepared.env.name}", name, names)
        draws = prepared.env.new_task is not None
        require(not (draws and self.vary), "task", sorted(self.vary), f"{prepared.env.name} draws its tasks itself")


def draw(domains: Sequence[Domain], prepared: Sequence[Prepared], count: int, seed: int, generation: int) -> list[Run]:
    """Draws `count` runs of a generation, the domains in turn: each gets its share, over generations if need be."""
    generator = np.random.default_rng([seed, generation])
    numbers = [(generation * count + i) % len(domains) for i in range(count)]
    return [domains[n].draw(n, prepared[n], generator) for n in numbers]


def validation_runs(domains: Sequence[Domain], prepared: Sequence[Prepared], count: int, seed: int) -> list[Run]:
    """Draws `count` validation runs on each domain, always the same ones, which the search never learns from.

    Their lengths are spread evenly (in logarithm) between the bounds.
    """
    generator = np.random.default_rng([seed, 2**32])
    found = []
    for n, domain in enumerate(domains):
        low, high = domain.bounds(prepared[n])
        for length in np.geomspace(low, high, count) if count > 1 else [high]:
            found.append(domain.draw(n, prepared[n], generator)._replace(updates=round(float(length))))
    return found


def tasks_of(prepared: Prepared, runs: Sequence[Run]) -> Any:
    """The tasks of these runs, all on one environment: its task with leaves `[M, ...]`."""
    if prepared.env.new_task is not None:
        return _drawn(prepared.env.new_task, np.array([run.seed for run in runs], np.uint32))
    task, count = as_arrays(prepared.env.task), len(runs)
    repeated = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (count, *x.shape)), task)
    columns = {name: np.array([run.numbers[name] for run in runs]) for name in runs[0].numbers}
    changes = {name: x.astype(np.asarray(getattr(task, name)).dtype) for name, x in columns.items()}
    return dataclasses.replace(repeated, **changes) if changes else repeated


def _drawn(new_task: Callable[[jax.Array], Any], seeds: np.ndarray) -> Any:
    keys = jax.vmap(lambda seed: streams.fold_in(jax.random.key(seed), streams.TASK))(seeds)
    return jax.jit(jax.vmap(new_task))(keys)


def steps_of(prepared: Sequence[Prepared], runs: Sequence[Run]) -> int:
    """Environment steps of these runs."""
    return sum(run.updates * prepared[run.domain].algorithm.steps_per_update for run in runs)
