"""A search from its first generation to its last: on disk, validated, resumed.

Validation runs, which the search never learns from, evaluate theta so far, beside the point where it began.
Everything follows from the seed and the number of the generation, so a killed search continues to the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rljax import log, records, runtime
from rljax.checkpoint import Checkpointer
from rljax.engine.progress import Progress
from rljax.engine.work import Say, Stopping
from rljax.errors import ConfigError, Stopped, require
from rljax.meta import result, spec, tasks, validation
from rljax.meta.runner import Runner
from rljax.results import store
from rljax.results.folder import SEARCH, Numbered, chosen, locked, stopping
from rljax.run import Saver, stop, stop_signals
from rljax.storage import absolute
from rljax.sweeps.rows import other_code
from rljax.types import Env

GAIN = validation.COLUMNS[-1]


def run(asked: spec.Search, out: str | Path | Numbered | None, progress: bool = True, **how: Any) -> result.Learned:
    """Runs what is left of a search in its folder; None keeps nothing.

    Args:
      **how: `workers`, `width`, `memory_limit`, as for a sweep.

    Raises:
      ConfigError: what does not fit together, or a folder of something else.
      Interrupted, Terminated: SIGINT or SIGTERM came, and what was reached was stored first; with it as `result`.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="rljax-search-", ignore_cleanup_errors=True) as temporary:
            try:
                return dataclasses.replace(run(asked, temporary, progress, **how), folder=None)
            except Stopped as stopped:
                kept = stopped.result and dataclasses.replace(stopped.result, folder=None)
                raise stopped.carrying(kept) from None
    require(jax.process_count() == 1, "processes", jax.process_count(), "a search runs in one, on all of its devices")
    where = chosen(out)
    prepared = asked.prepare()
    asked.check_memory(prepared)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(locked(where, SEARCH))
        folder = lock.path
        recorded = _recorded(folder, asked.record(prepared))
        widths = [group["width"] for group in recorded["plan"]] if recorded else None
        places = (asked.domains, prepared, asked.members, folder / result.LOGS, SEARCH.kept(folder))
        runner = stack.enter_context(Runner(*places, learn=asked.learn, kind=asked.kind, widths=widths, **how))
        if recorded is None:
            plan = [{"width": group.width, "why": group.why, "updates": group.updates} for group in runner.groups]
            lock.record(
                {**asked.record(prepared), "plan": plan, "workers": runner.machine.workers, **runtime.provenance()}
            )
        with stop_signals() as received:
            _Run(asked, runner, folder).go(stopping(lock, received), progress, stack)
        found = result.reached(folder, result.read(folder), asked, prepared)
    if received:
        stop(received[0], dataclasses.replace(found, stopped_by=None if found.complete else received[0]))
    return found


def resume(
    folder: str | Path,
    progress: bool = True,
    envs: Mapping[str, Env] | None = None,
    objective: Any = None,
    **how: Any,
) -> result.Learned:
    """Goes on with a search that was stopped or killed, to the same bits; one that is finished is read.

    Args:
      folder: what `run` wrote.
      envs: environments that are not registered, by name.
      objective: the class of the objective, if it is one of your own.
      **how: `workers`.
    """
    path = absolute(folder, "search")
    record = result.read(path)
    with records.understood(path / result.RECORD):
        asked = spec.from_record(record, envs, objective, f"rljax.meta.search.resume({str(folder)!r}")
    return run(asked, path, progress, **how)


class SearchProgress(Progress):
    """A progress bar over all generations, with what was learned against the start.

    Args:
      total: environment steps at the end; start: those done before.
      generations: how many there are; done: how many were done before.
    """

    def __init__(self, total: int, start: int, generations: int, done: int, **options: Any):
        super().__init__("search", total, start, **options)
        self._done, self._generations = done, generations
        self._fitness, self._gain = math.nan, ""

    def generation(self, number: int, row: dict[str, float]) -> None:
        """Takes the row of a generation."""
        self._done = min(number + 1, self._generations)
        self._fitness = row.get("fitness_mean", self._fitness)
        ends = ("/low", "/high")
        gains = [x for name, x in row.items() if name.startswith(f"{GAIN}/") and not name.endswith(ends)]
        self._gain = f"  gain {' '.join(f'{x:+.4g}' for x in gains)}" if gains else self._gain

    def _note(self) -> str:
        known = "" if math.isnan(self._fitness) else f"  fitness {self._fitness:.4g}"
        return f"{self._pace()}{self._done}/{self._generations} generations{known}{self._gain}"


class _Run:
    """A search under way: its state, and how far it is."""

    def __init__(self, asked: spec.Search, runner: Runner, folder: Path):
        self.asked, self.runner, self.folder = asked, runner, folder
        self.learner = asked.learner(runner.prepared, runner)
        self.validation_runs = tasks.validation_runs(asked.domains, runner.prepared, asked.validation_runs, asked.seed)
        self.begins = asked.start(runner.prepared)
        self.state: Any = None
        self.done, self.seconds, self.steps = 0, 0.0, 0

    def go(self, stopping: Stopping, show: bool, stack: contextlib.ExitStack) -> None:
        """Runs generation after generation; the last row is a validation alone."""
        last = self.asked.generations
        checkpoints = stack.enter_context(Checkpointer(self.folder / store.CHECKPOINTS, self.asked.method))
        begin = jax.jit(lambda: result.new_state(self.asked, self.runner.prepared, self.begins))
        found = checkpoints.restore_latest(jax.eval_shape(begin)) if checkpoints.steps() else None
        self.state = found.state if found else begin()
        if found:
            self.done, self.seconds, self.steps = found.step, found.meta["seconds"], found.meta["steps"]
        if self.done > last:
            return
        rows = log.JsonlSink(self.folder / store.METRICS, self.done - 1 if found else None, by="generation")
        stack.callback(rows.close)
        bar = None
        if show:
            left = sum(self.learner.steps(number) for number in range(self.done, last))
            bar = SearchProgress(self.steps + left, self.steps, last, self.done)
            stack.callback(bar.close)
        began = time.perf_counter() - self.seconds
        saver = Saver(lambda done, _: self._save(checkpoints, done), None)
        while self.done <= last and not stopping():
            row = self._generation(bar.report if bar else lambda report: None, stopping)
            if row is None:
                break
            self.seconds = time.perf_counter() - began
            rows.write({"step": self.steps, "generation": self.done, "seconds": self.seconds, **row})
            if bar:
                bar.generation(self.done, row)
            self.done += 1
            saver.offer(self.done, None, force=self.done > last)
        if self.done > 0:
            saver.offer(self.done, None, force=True)

    def _save(self, checkpoints: Checkpointer, done: int) -> None:
        checkpoints.save(done, self.state, {"seconds": self.seconds, "steps": self.steps})

    def _generation(self, say: Say, stopping: Stopping) -> dict[str, float] | None:
        """Validates, if it is time to, and moves theta -> a row; None if it was stopped, which changes nothing."""
        asked, number = self.asked, self.done
        state, last = self.state, number == asked.generations
        row: dict[str, float] = {}
        if number == 0:
            at_start = self._validate(self.begins, stopping)
            if at_start is None:
                return None
            state = {**state, "at_start": jax.device_put(np.asarray(at_start, np.float32))}
        if number % asked.validate_every == 0 or last:
            scores = state["at_start"] if number == 0 else self._validate(asked.theta(state["learner"]), stopping)
            if scores is None:
                return None
            names = asked.names(self.runner.prepared)
            row |= validation.columns(names, self.validation_runs, np.asarray(scores), np.asarray(state["at_start"]))
        if not last:
            found = self.learner.generation(state["learner"], number, say, stopping)
            if found is None:
                return None
            state, row = {**state, "learner": found[0]}, row | found[1]
            self.steps += self.learner.steps(number)
        self.state = state
        return row

    def _validate(self, theta: dict[str, Any], stopping: Stopping) -> np.ndarray | None:
        """Fitnesses in the validation runs; their steps are not counted."""
        alone = jax.tree.map(lambda x: np.asarray(x)[None], theta)
        return self.runner.run(alone, [(0, run) for run in self.validation_runs], lambda report: None, stopping)


def _recorded(folder: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """Reads the record of the folder, if it is of this search; None if it is new. Raises ConfigError otherwise."""
    if not (folder / result.RECORD).exists():
        return None
    recorded = result.read(folder)
    plain, kept = (
        [{name: x for name, x in row.items() if name != "fingerprints"} for row in each["rows"]]
        for each in (record, recorded)
    )
    for name, value in json.loads(json.dumps(record | {"rows": plain})).items():
        if (kept if name == "rows" else recorded.get(name)) != value:
            raise ConfigError(f"out={folder}: holds another search ({name} differs); choose another folder")
    for name, old, new in other_code(recorded, record["rows"]):
        raise ConfigError(
            f"out={folder}: holds another search ({name} is {old} there, {new} here); choose another folder"
        )
    return recorded
