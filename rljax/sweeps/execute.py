"""Runs the lots of a plan in this process, on all of its devices, and stores each as soon as it is finished."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax.checkpoint import Checkpointer
from rljax.divergence import diverged
from rljax.engine.plan import Group, Member, Programs
from rljax.engine.program import as_numpy, stack
from rljax.errors import CheckpointError
from rljax.ops.metrics import NOT_FINITE, summarise
from rljax.ops.tree import named_leaves
from rljax.run import Saver
from rljax.spaces import zeros
from rljax.sweeps import store
from rljax.sweeps.bundles import Writer
from rljax.types import Algorithm, Env

CALL_SECONDS = 1.0  # how long one call of a program should last: how often there is news, and how soon it can stop
RETURN = "episode_return"


class Lot(NamedTuple):
    """Members that one device runs at once: the unit of storing."""

    name: str
    group: int
    members: tuple[Member, ...]


class News(NamedTuple):
    """What has been done since the last news."""

    steps: int  # environment steps, of all members
    finished: list[tuple[Member, float]]  # runs that are stored, with their last return
    best: float  # the highest latest return of the members at work; NaN if there is none


@dataclass
class Job:
    """All that a process must know to run lots.

    Attributes:
      folder: of the sweep.
      programs: rows as built, and compiled programs.
      groups: the plan.
      seeds: S.
      keep_states: store whole states, not only what the policy reads.
    """

    folder: Path
    programs: Programs
    groups: list[Group]
    seeds: Sequence[int]
    keep_states: bool = False

    def __post_init__(self) -> None:
        self.writer = Writer(self.folder)
        self._read: dict[int, list[str]] = {}

    def lots(self) -> list[Lot]:
        """Every lot of the plan, in order."""
        return [
            Lot(f"{g:02d}-{i:05d}", g, tuple(members))
            for g, group in enumerate(self.groups)
            for i, members in enumerate(group.lots(self.seeds))
        ]

    def run(self, lots: Sequence[Lot], say: Callable[[News], None], stopping: Callable[[], bool]) -> bool:
        """Runs lots of one group, one on each device; False if it was told to stop before the end.

        Args:
          lots: as many as there are devices, or fewer: then the last runs more than once, and is stored once.
          say: takes the news, after every call of the program.
          stopping: asked after every call; what was reached then is kept.

        Raises:
          StorageError: a result cannot be stored.
        """
        work = _Work(self, lots)
        if not work.own:
            return True
        with work.checkpoints() as saver:
            while work.done < work.group.updates and not work.diverged.all():
                say(work.advance())
                stop = stopping() and work.done < work.group.updates
                saver.offer(work.done, None, force=stop)
                if stop:
                    return False
        say(work.store())
        return True

    def pending(self) -> list[Lot]:
        """The lots that are not stored yet."""
        stored = store.stored(self.folder)
        return [lot for lot in self.lots() if not stored.get(lot.group, set()).issuperset(lot.members)]

    def read_by_act(self, group: int) -> list[str]:
        """The leaves of the states of a group that its policies read."""
        if group not in self._read:
            planned = self.groups[group]
            prepared = self.programs.prepared[planned.rows[0]]
            self._read[group] = read_by_act(prepared.algorithm, prepared.env, self.programs.of(planned).state)
        return self._read[group]


class _Work:
    """The lots under way in this process: their state, and what has been recorded of them."""

    def __init__(self, job: Job, lots: Sequence[Lot]):
        self.job, self.group = job, job.groups[lots[0].group]
        self.program = program = job.programs.of(self.group)
        self.prepared = job.programs.prepared[self.group.rows[0]]
        everywhere = [*lots, *[lots[-1]] * (program.population // program.width - len(lots))]
        mine = [i // program.width for i in program.local[:: program.width]]
        self.lots = [everywhere[i] for i in mine]  # of this process
        padded = [[*lot.members, *lot.members[-1:] * (program.width - len(lot.members))] for lot in self.lots]
        self.members = [member for lot in padded for member in lot]
        self.own = [k for k, i in enumerate(mine) if i < len(lots)]  # of those, what is not run elsewhere too
        self.points = self.group.points()
        self.metrics = {n: np.full((len(self.members), len(self.points)), np.nan, np.float32) for n in program.metrics}
        self.diverged = np.zeros(len(self.members), bool)
        self.done, self.call, self.state = self.group.start, self.group.log_every, None
        rows = [job.programs.member(row) for row, _ in self.members]
        self.inputs = program.place(stack(rows, frozenset(self.group.varying)))

    def advance(self) -> News:
        """Some whole points of every member."""
        self.state = self._begin() if self.state is None else self.state
        n = min(self.call, self.group.updates - self.done)
        began = time.perf_counter()
        self.state, metrics = self.program.advance(self.state, self.inputs, n)
        latest = self._record({name: x[:, :n] for name, x in self.program.fetch(metrics).items()})
        taken = time.perf_counter() - began
        points = min(CALL_SECONDS / (taken / n), self.program.size) / self.group.log_every
        self.call = max(1, int(points)) * self.group.log_every
        returns = latest.get(RETURN, np.full(1, np.nan))
        return News(n * self._steps, [], float(np.nanmax(returns)) if np.isfinite(returns).any() else math.nan)

    def store(self) -> News:
        """Writes each lot, and says which members are finished."""
        skipped = self.group.updates - self.done  # where all diverged
        leaves = named_leaves(self.program.state)
        if not self.job.keep_states:
            leaves = {name: leaves[name] for name in self.job.read_by_act(self.lots[0].group)}
        states = {name: x for name, x in named_leaves(self.program.fetch(self.state)).items() if name in leaves}
        for i in self.own:
            lot = self.lots[i]
            where = slice(i * self.program.width, i * self.program.width + len(lot.members))
            arrays = {"row": np.array([row for row, _ in lot.members]), "seed": np.array([s for _, s in lot.members])}
            arrays |= {"update": np.array(self.points), "diverged": self.diverged[where]}
            arrays |= {store.METRIC + n: x[where] for n, x in self.metrics.items()}
            arrays |= {store.STATE + n: x[where] for n, x in states.items()}
            self.job.writer.add(lot.name, arrays)
        shutil.rmtree(self._progress, ignore_errors=True)
        last = self.metrics.get(RETURN, np.full((len(self.members), 1), np.nan))[:, -1].reshape(len(self.lots), -1)
        finished = [pair for i in self.own for pair in zip(self.lots[i].members, last[i].tolist())]
        return News(skipped * self._steps, finished, math.nan)

    @contextlib.contextmanager
    def checkpoints(self) -> Iterator[Saver]:
        """Goes on from a checkpoint if there is one; the Saver makes more. Several processes do without."""
        if jax.process_count() > 1:
            yield Saver(None, None)
            return
        shapes = {"state": self.program.state, "metrics": self.metrics, "diverged": self.diverged}
        names = [lot.name for lot in self.lots]
        with Checkpointer(self._progress, "sweep", {"lots": names}, keep=2) as checkpoints:
            try:
                found = checkpoints.restore_latest(shapes)
            except CheckpointError:  # of another number of devices: what it holds is computed again
                shutil.rmtree(self._progress, ignore_errors=True)
                found = None
            if found and found.meta["lots"] == names:
                self.done, self.metrics = found.step, jax.tree.map(np.array, found.state["metrics"])
                self.diverged = np.array(found.state["diverged"])
                self.state = self.program.place_state(jax.tree.map(as_numpy, found.state["state"]))

            def save(updates: int, _: Any) -> None:
                tree = {"state": self.state, "metrics": self.metrics, "diverged": self.diverged}
                checkpoints.save(updates, tree, {"lots": names})

            yield Saver(save, None)

    @property
    def _progress(self) -> Path:
        return self.job.folder / store.PROGRESS / self.lots[0].name

    @property
    def _steps(self) -> int:
        """Environment steps of one update of all members here, those that run for nothing left out."""
        per_update = self.job.programs.prepared[self.group.rows[0]].algorithm.steps_per_update
        return per_update * sum(len(self.lots[i].members) for i in self.own)

    def _begin(self) -> Any:
        if self.group.start == 0:
            return self.program.start(np.array([seed for _, seed in self.members], np.uint32), self.inputs)
        stored = store.states(self.job.folder, self.members)
        leaves = [stored[name] for name in named_leaves(self.program.state)]
        return self.program.place_state(jax.tree.unflatten(jax.tree.structure(self.program.state), leaves))

    def _record(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Keeps the points of these updates `[P, n]`, as NaN from where a member diverged; gives the last of them."""
        row: dict[str, np.ndarray] = {}
        n = next(iter(metrics.values())).shape[1]
        for begin in range(0, n, self.group.log_every):
            end = min(begin + self.group.log_every, n)
            row = summarise({name: x[:, begin:end] for name, x in metrics.items()})
            self.diverged |= diverged(row, self.prepared.algorithm.diagnostics)
            place = self.points.index(self.done + end)
            for name, x in row.items():
                self.metrics[name][:, place] = x if name == NOT_FINITE else np.where(self.diverged, np.nan, x)
        self.done += n
        return row


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
