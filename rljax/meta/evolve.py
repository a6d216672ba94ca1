r"""Evolution of objectives and rules: a strategy over any leaves of `hypers`, around whole runs.

In each generation a strategy asks for N members theta; each is trained in D runs (a run is a whole training run: an
environment, a task, a seed, a length), what it comes to in them is its fitness, and the strategy is told. Runs are made
as the members of a sweep are: one compiled program for a domain, side by side or in turn as measured, on every core and
device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from rljax import footprint, runtime
from rljax.arguments import SOME
from rljax.build import Prepared
from rljax.engine.work import Say, Stopping
from rljax.errors import require
from rljax.kinds import Choice, Flag, convert
from rljax.meta import fitness, registry, search, spec, tasks
from rljax.meta.result import Learned
from rljax.meta.runner import Runner, Trial
from rljax.meta.strategies import Strategy
from rljax.settings import DRIFT
from rljax.types import Env


@dataclass(frozen=True, kw_only=True)
class Evolution(spec.Search):
    """A search by an evolution strategy.

    Attributes:
      strategy: what proposes members, N = `strategy.popsize` of them a generation.
      runs: D, of each member in each generation.
      shared: every member has the same D runs; otherwise each antithetic pair has D of its own.
      normalise: how fitnesses of different runs are made comparable, a name in `fitness.NORMALISERS`.
    """

    strategy: Strategy = field(default_factory=registry.strategy)
    runs: int = 1
    shared: bool = True
    normalise: str = "ranks"
    method: ClassVar[str] = "evolution"

    def __post_init__(self) -> None:
        super().__post_init__()
        convert(self, runs=SOME, shared=Flag(), normalise=Choice(tuple(sorted(fitness.NORMALISERS))))
        pairs = self.normalise in fitness.WITHIN_PAIRS
        paired = getattr(self.strategy, "antithetic", False) or (self.shared and self.normalise != "pairwise")
        what = f"'{getattr(self.strategy, 'name', type(self.strategy).__name__)}'"
        require(
            paired, "strategy", what, "its members are no antithetic pairs; let all share runs, and compare by ranks"
        )
        require(self.shared or pairs, "normalise", self.normalise, "compares members that had other runs; share them")

    @property
    def drawn(self) -> int:
        """The number of runs that are drawn for a generation."""
        return self.runs * (1 if self.shared else self.strategy.popsize // 2)

    @property
    def members(self) -> int:
        return self.strategy.popsize * self.runs

    def check_memory(self, prepared: Sequence[Prepared]) -> None:
        super().check_memory(prepared)
        size = sum(x.nbytes for x in jax.tree.leaves(self.start(prepared)))
        footprint.check_together("popsize", self.strategy.popsize, size)

    def begin(self, prepared: Sequence[Prepared], theta: dict[str, Any]) -> Any:
        return self.strategy.init(theta)

    def theta(self, state: Any) -> dict[str, Any]:
        return self.strategy.mean(state)

    def learner(self, prepared: Sequence[Prepared], runner: Runner) -> spec.Learner:
        return _Evolving(self, prepared, runner)

    def record(self, prepared: Sequence[Prepared]) -> dict[str, Any]:
        return super().record(prepared) | {"strategy": registry.record(self.strategy)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Evolution:
        return cls(**{**plain, "strategy": registry.strategy(**plain["strategy"])})  # pyright: ignore[reportArgumentType]


def evolve(
    algo: str,
    env: str | Env | tasks.Domain | Sequence[str | Env | tasks.Domain],
    steps: int | tuple[int, int] | None = None,
    *,
    learn: Sequence[str] = DRIFT,
    generations: int = 100,
    out: str | Path | None = None,
    progress: bool = True,
    workers: int | None = None,
    width: int | None = None,
    memory_limit: str | int | None = None,
    **settings: Any,
) -> Learned:
    """Evolves parts of an algorithm's hypers, a learned objective by default. Killed, the same call goes on.

    Args:
      algo: what the agents run.
      env: where they live: one or several environments, by name or not, or domains made by `domain`.
      steps: of a run, for environments that are no domains; see `domain`.
      learn: the parts of hypers to learn, by name.
      generations: how many.
      out: a folder, new or of this same search; None keeps nothing.
      progress: show a progress bar.
      workers, width, memory_limit: as for `rljax.sweep`.
      **settings: `strategy`, `runs`, `shared`, `kind`, `normalise`, `seed`, `validation_runs`, `validate_every`
        as in `Evolution`; others are of the algorithm, on environments that are no domains: `objective=LPO()`, say, to
        begin at PPO.

    Returns:
      What was learned.

    Raises:
      ConfigError: a name, field or value that cannot be; a folder of something else; a run too big for the memory.
      StorageError: a result cannot be stored.
      WorkerError: a process died.
      Interrupted, Terminated: SIGINT or SIGTERM came, and what was reached was stored first; a KeyboardInterrupt and a
        SystemExit with what was learned so far as `result`. A second Ctrl-C interrupts at once.
    """
    runtime.start()
    how, rest = Evolution.split(settings)
    where = spec.domains(algo, env, steps, rest)
    asked = Evolution(domains=where, learn=tuple(learn), generations=generations, **how)
    return search.run(asked, out, progress, workers=workers, width=width, memory_limit=memory_limit)


class _Evolving:
    """Evolution under way."""

    def __init__(self, asked: Evolution, prepared: Sequence[Prepared], runner: Runner):
        self.asked, self.prepared, self.runner = asked, prepared, runner
        self._strategy = jax.tree.map(jnp.asarray, asked.strategy)  # an argument: other numbers compile nothing
        self._ask = jax.jit(lambda strategy, key, state: strategy.ask(key, state))
        self._tell = jax.jit(lambda strategy, *told: strategy.tell(*told))

    def generation(self, state: Any, number: int, say: Say, stopping: Stopping) -> tuple[Any, dict[str, float]] | None:
        asked = self.asked
        key = jax.random.fold_in(jax.random.key(asked.seed), number)
        population, state = self._ask(self._strategy, key, state)
        members = self._members(number)
        found = self.runner.run(population, members, say, stopping)
        if found is None:
            return None
        low, high = np.array([asked.domains[run.domain].reference for _, run in members]).T
        table = ((found - low) / (high - low)).reshape(asked.strategy.popsize, asked.runs)
        told = jnp.asarray(fitness.combine(asked.normalise, table))
        row = fitness.summary(table)
        for i, name in enumerate(asked.names(self.prepared)):
            here = found[[run.domain == i for _, run in members]]
            row[f"fitness/{name}"] = float(np.nanmean(here)) if np.isfinite(here).any() else math.nan
        return self._tell(self._strategy, population, told, state), row

    def steps(self, number: int) -> int:
        each = self.asked.strategy.popsize * self.asked.runs // self.asked.drawn
        return each * tasks.steps_of(self.prepared, self._draw(number))

    def _draw(self, number: int) -> list[tasks.Run]:
        return tasks.draw(self.asked.domains, self.prepared, self.asked.drawn, self.asked.seed, number)

    def _members(self, number: int) -> list[Trial]:
        """Assigns the runs of a generation to its members, member by member."""
        asked, drawn, half = self.asked, self._draw(number), self.asked.strategy.popsize // 2
        mine = (lambda i, d: d) if asked.shared else (lambda i, d: d * half + i % half)
        return [(i, drawn[mine(i, d)]) for i in range(asked.strategy.popsize) for d in range(asked.runs)]
