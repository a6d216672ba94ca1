r"""Evolution of what agents learn by: a strategy over any leaves of `hypers`, around whole lives.

In each generation a strategy asks for N members theta; each lives D lives (a life is a whole training run: an
environment, a task, a seed, a length), what it comes to in them is its fitness, and the strategy is told. Lives are run
as the members of a sweep are: one compiled program for a domain, side by side or in turn as measured, on every core and
device. What is judged is the mean of the search, on lives held out from it, beside the point where the search began.

Everything follows from the seed and the number of the generation, so a search that was killed goes on to the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import log, runtime
from rljax.checkpoint import Checkpointer
from rljax.errors import ConfigError, require
from rljax.meta import fitness, leaves, result, spec, tasks
from rljax.meta.crew import Crew, Member
from rljax.meta.progress import Progress
from rljax.meta.spec import Evolution
from rljax.results import store
from rljax.run import Saver, stop_signals
from rljax.sweeps.store import LOCK, locked, write_record
from rljax.types import Env

KEPT = "what is finished is kept: rljax meta-train --resume, or the same call, goes on with it"


def evolve(
    algo: str,
    env: str | Env | tasks.Domain | Sequence[str | Env | tasks.Domain],
    steps: int | tuple[int, int] | None = None,
    *,
    learn: Sequence[str] = ("objective.hidden", "objective.output"),
    strategy: Any = None,
    generations: int = 100,
    out: str | Path | None = None,
    progress: bool = True,
    lives: int = 1,
    shared: bool = True,
    kind: fitness.Kind = "final",
    normalise: str = "ranks",
    seed: int = 0,
    judges: int = 16,
    judge_every: int = 10,
    workers: int | None = None,
    width: int | None = None,
    memory: str | int | None = None,
    **settings: Any,
) -> result.Evolved:
    """Evolves parts of an algorithm's hypers, a learned objective by default. Killed, the same call goes on.

    Args:
      algo: what the agents run.
      env: where they live: one or several environments, by name or not, or domains made by `domain`.
      steps: of a life, for environments that are no domains; see `domain`.
      learn: the parts of hypers to learn, by name.
      strategy: what proposes members: `OpenES(...)`, `evosax(...)`; by default OpenES with a population of 32.
      generations, lives, shared, kind, normalise, seed, judges, judge_every: as in `Evolution`.
      out: a folder, new or of this same search; None keeps nothing.
      progress: show a progress bar.
      workers, width, memory: as for `rljax.sweep`.
      **settings: of the algorithm, on environments that are no domains; `objective=LPO()`, say.

    Returns:
      What was learned; so far, if a signal stopped it.

    Raises:
      ConfigError: a name, field or value that cannot be; a folder of something else; a life too big for the memory.
      StorageError: a result cannot be stored.
      WorkerError: a process died.
    """
    given = [env] if isinstance(env, str | Env | tasks.Domain) else list(env)
    domains = [e if isinstance(e, tasks.Domain) else spec.domain(algo, e, steps, **settings) for e in given]
    asked = Evolution(
        tuple(domains),
        tuple(learn),
        strategy or spec.strategy(),
        generations,
        lives=lives,
        shared=shared,
        kind=kind,
        normalise=normalise,
        seed=seed,
        judges=judges,
        judge_every=judge_every,
    )
    how = {"workers": workers, "width": width, "memory_limit": memory}
    if out is not None:
        return run(asked, Path(out), progress, **how)
    with tempfile.TemporaryDirectory(prefix="rljax-evolve-", ignore_cleanup_errors=True) as folder:
        return dataclasses.replace(run(asked, Path(folder), progress, **how), folder=None)


def resume(
    folder: str | Path, progress: bool = True, own: Mapping[str, Env] | None = None, **how: Any
) -> result.Evolved:
    """Goes on with a search that was stopped or killed, to the same bits; one that is finished is read.

    Args:
      folder: what `evolve` wrote.
      own: environments that are not registered, by name.
      **how: `workers`.
    """
    return run(spec.from_record(result.read(Path(folder)), own), Path(folder), progress, **how)


def run(asked: Evolution, folder: Path, progress: bool = True, **how: Any) -> result.Evolved:
    """Runs what is left of a search in its folder."""
    require(jax.process_count() == 1, "processes", jax.process_count(), "a search runs in one, on all of its devices")
    prepared = asked.prepare()
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        widths = _widths_in(folder, asked, prepared)
        crew = stack.enter_context(
            Crew(
                asked.domains,
                prepared,
                asked.strategy.popsize * asked.lives,
                folder / result.LOGS,
                KEPT,
                learn=asked.learn,
                kind=asked.kind,
                widths=widths,
                **how,
            )
        )
        if widths is None:
            write_record(folder, _record(asked, crew), result.RECORD)
        search = _Search(asked, crew, folder)
        received = stack.enter_context(stop_signals())
        search.go(lambda: bool(received), progress, stack)
        found = result.load(folder)
        return dataclasses.replace(found, stopped_by=received[0] if received and not found.complete else None)


class _Search:
    """A search under way: the strategy's state, and what the mean is compared with."""

    def __init__(self, asked: Evolution, crew: Crew, folder: Path):
        self.asked, self.crew, self.folder = asked, crew, folder
        self.start = leaves.read(crew.prepared[0].algorithm.hypers, asked.learn)
        strategy = asked.strategy
        # Its numbers are arguments: another search with the same shapes compiles nothing.
        self._ask = jax.jit(lambda strategy, key, state: strategy.ask(key, state))
        self._tell = jax.jit(lambda strategy, *told: strategy.tell(*told))
        self._strategy = jax.tree.map(jnp.asarray, strategy)
        self.held_out = tasks.held_out(asked.domains, crew.prepared, asked.judges, asked.seed)
        self.state = jax.jit(lambda: result.new_state(asked, self.start))()
        self.done, self.seconds, self.steps = 0, 0.0, 0

    def go(self, stopping: Callable[[], bool], show: bool, stack: contextlib.ExitStack) -> None:
        """Generation after generation, the last one only to be judged."""
        generations = self.asked.generations
        checkpoints = stack.enter_context(Checkpointer(self.folder / store.CHECKPOINTS, result.NAME))
        found = checkpoints.restore_latest(jax.eval_shape(lambda: self.state)) if checkpoints.steps() else None
        if found:
            self.done, self.state = found.step, found.state
            self.seconds, self.steps = found.meta["seconds"], found.meta["steps"]
        if self.done > generations:
            return
        rows = log.JsonlSink(self.folder / store.METRICS, self.steps if found else None)
        stack.callback(rows.close)
        bar = Progress(self.asked, self.crew.prepared, self.done, self.steps) if show else None
        if bar:
            stack.callback(bar.close)
        began = time.perf_counter() - self.seconds
        saver = Saver(lambda done, _: self._save(checkpoints, done), None)
        while self.done <= generations and not stopping():
            row = self._generation(self.done, bar.lived if bar else lambda steps: None, stopping)
            if row is None:
                break
            self.seconds = time.perf_counter() - began
            rows.write({"step": self.steps, "generation": self.done, "seconds": self.seconds, **row})
            if bar:
                bar.generation(self.done, row)
            self.done += 1
            saver.offer(self.done, None, force=self.done > generations)
        saver.offer(self.done, None, force=self.done > 0)

    def _save(self, checkpoints: Checkpointer, done: int) -> None:
        checkpoints.save(done, self.state, {"seconds": self.seconds, "steps": self.steps})

    def _generation(
        self, number: int, say: Callable[[int], None], stopping: Callable[[], bool]
    ) -> dict[str, float] | None:
        """One generation, judged if it is its turn -> its row; None if it was stopped, which changes nothing."""
        asked = self.asked
        key = jax.random.fold_in(jax.random.key(asked.seed), number)
        n, last = asked.strategy.popsize, number == asked.generations
        mean = self._strategy.mean(self.state["strategy"])
        population, told = self._ask(self._strategy, key, self.state["strategy"])
        members = [] if last else self._members(number)
        judged = number % asked.judge_every == 0 or last
        tested: list[Member] = [(n, life) for life in self.held_out] if judged else []
        begins: list[Member] = [(n + 1, life) for life in self.held_out] if number == 0 else []
        thetas = jax.tree.map(lambda x, y, z: np.concatenate([x, y[None], z[None]]), population, mean, self.start)
        found = self.crew.live(thetas, [*members, *tested, *begins], say, stopping)
        if found is None:
            return None
        lived, mean_scores, start_scores = np.split(found, [len(members), len(members) + len(tested)])
        if begins:
            self.state["at_start"] = jnp.asarray(start_scores)
        row: dict[str, float] = {}
        if members:
            table = self._referred(lived, members).reshape(n, asked.lives)
            score = fitness.combine(asked.normalise, table)
            self.state["strategy"] = self._tell(self._strategy, population, jnp.asarray(score), told)
            self.steps += self._steps_of(members)
            row |= result.of_population(table)
        at_start = np.asarray(self.state["at_start"])
        names = self.asked.names(self.crew.prepared)
        return row | result.of_judgement(names, self.held_out, mean_scores if judged else None, at_start)

    def _members(self, number: int) -> list[Member]:
        """Who lives what in a generation, member by member."""
        asked, half = self.asked, self.asked.strategy.popsize // 2
        drawn = tasks.draw(asked.domains, self.crew.prepared, asked.drawn, asked.seed, number)
        mine = (lambda i, d: d) if asked.shared else (lambda i, d: d * half + i % half)
        return [(i, drawn[mine(i, d)]) for i in range(asked.strategy.popsize) for d in range(asked.lives)]

    def _referred(self, found: np.ndarray, members: Sequence[Member]) -> np.ndarray:
        low, high = np.array([self.asked.domains[life.domain].reference for _, life in members]).T
        return (found - low) / (high - low)

    def _steps_of(self, members: Sequence[Member]) -> int:
        per_update = [prepared.algorithm.steps_per_update for prepared in self.crew.prepared]
        return sum(life.updates * per_update[life.domain] for _, life in members)


def _record(asked: Evolution, crew: Crew) -> dict[str, Any]:
    """What `meta.json` says."""
    plan = [{"width": group.width, "why": group.why, "updates": group.updates} for group in crew.groups]
    return {**asked.record(crew.prepared), "plan": plan, "workers": crew.machine.workers, **runtime.provenance()}


def _widths_in(folder: Path, asked: Evolution, prepared: Sequence[Any]) -> list[int] | None:
    """The recorded widths, if the folder is of this search; None if it is new.

    Raises:
      ConfigError: it holds something else.
    """
    if not (folder / result.RECORD).exists():
        strangers = [path.name for path in folder.iterdir() if path.name != LOCK]
        require(not strangers, "out", folder, "exists, and is not of a search; choose another folder")
        return None
    there, here = result.read(folder), asked.record(prepared)
    for name, value in json.loads(json.dumps(here)).items():
        if there[name] != value:
            raise ConfigError(f"out={folder}: holds another search ({name} differs); choose another folder")
    return [group["width"] for group in there["plan"]]
