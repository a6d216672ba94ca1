"""The plan of a sweep: which rows share a program, how many members run side by side, and what that takes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax.api import Prepared
from rljax.errors import ConfigError
from rljax.log import compact
from rljax.ops.tree import as_arrays
from rljax.run import point_size
from rljax.sweeps import memory
from rljax.sweeps.population import Program, differing, stack
from rljax.sweeps.rows import Row

BRIEF = 20.0  # seconds: a group that takes less in turn is not worth a comparison
GAIN = 1.1  # a wider program must be so many times as fast
WIDER = 8  # how many times as wide the next program to try is
POINTS_A_CALL = 8

Member = tuple[int, int]  # a row and a seed


@dataclass(frozen=True)
class Group:
    """Rows that share a program; plain numbers, so that a record can hold it.

    Attributes:
      rows: their numbers.
      varying: the leaves of (hypers, task) that differ between them, counted in order.
      start, updates: the updates that each run has done when it enters, and when it leaves.
      log_every: updates a logged point.
      width: members side by side on a device, or in a process.
      why: how the width was chosen.
      bytes: what the program needs on each device.
      seconds: of one update of one member, measured; NaN if nothing was.
    """

    rows: list[int]
    varying: list[int]
    updates: int
    log_every: int
    start: int = 0
    width: int = 1
    why: str = ""
    bytes: int = 0
    seconds: float = math.nan

    def lots(self, seeds: Sequence[int]) -> list[list[Member]]:
        """The members in lots of at most `width`: what one device runs at once, and what is stored at once."""
        members = [(row, seed) for row in self.rows for seed in seeds]
        return [members[i : i + self.width] for i in range(0, len(members), self.width)]

    def points(self) -> list[int]:
        """Updates done at each logged point."""
        return sorted({*range(self.start + self.log_every, self.updates + 1, self.log_every), self.updates})


class Machine(NamedTuple):
    """What a plan is made for."""

    workers: int  # processes, each with one device
    devices: int  # of all processes together, where there is one program for all of them
    memory: int  # bytes that all workers, or each device, may take

    @property
    def slots(self) -> int:
        """Lots that run at once."""
        return self.workers * self.devices


@dataclass
class Programs:
    """Compiled programs by what they are for, so that planning and running share them."""

    prepared: list[Prepared]
    made: dict[Any, Program] = field(default_factory=dict)

    def member(self, row: int) -> tuple[Any, Any]:
        """(hypers, task) of a row, as arrays."""
        prepared = self.prepared[row]
        return as_arrays((prepared.algorithm.hypers, prepared.env.task))

    def of(self, group: Group) -> Program:
        """The program of a group, compiled once."""
        first = self.prepared[group.rows[0]]
        size = min(first.updates, POINTS_A_CALL * group.log_every)
        key = (*signature(first, self.member(group.rows[0])), tuple(group.varying), group.width, size)
        if key not in self.made:
            self.made[key] = Program(
                first.algorithm, self.member(group.rows[0]), frozenset(group.varying), group.width, size
            )
        return self.made[key]


def signature(prepared: Prepared, member: tuple[Any, Any]) -> tuple[Any, ...]:
    """What must be the same for rows to share a program: the algorithm, and the structure of hypers and task."""
    shapes = tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(member))
    nodes = tuple(type(x) for x in (*vars(member[0]).values(), *member))  # a structure alone compares types by name
    return prepared.algorithm, jax.tree.structure(member), nodes, shapes


def group(programs: Programs, log_every: int | None = None) -> list[Group]:
    """Rows into as few groups as there must be programs, in the order of their first rows."""
    alike: dict[Any, list[int]] = {}
    for row, prepared in enumerate(programs.prepared):
        alike.setdefault((*signature(prepared, programs.member(row)), prepared.updates), []).append(row)
    found = []
    for rows in alike.values():
        updates = programs.prepared[rows[0]].updates
        varying = sorted(differing([programs.member(row) for row in rows]))
        found.append(Group(rows, varying, updates, point_size(updates, log_every)))
    return found


def choose(programs: Programs, planned: Group, seeds: int, machine: Machine, row: Row, width: int | None) -> Group:
    """The group with its width: given, or the fastest that fits, by measurement.

    Raises:
      ConfigError: not even one member fits into memory.
    """
    members = len(planned.rows) * seeds
    budget = machine.memory // machine.workers
    alone = dataclasses.replace(planned, width=1)
    need = programs.of(alone).bytes
    if need > budget:
        raise ConfigError(_too_big(programs, alone, row, need, budget))
    if width is not None:
        fixed = dataclasses.replace(planned, width=width, why="as given")
        return dataclasses.replace(fixed, bytes=programs.of(fixed).bytes, seconds=_time(programs, fixed))
    best = dataclasses.replace(alone, bytes=need, seconds=_time(programs, alone))
    if members <= machine.slots:
        return dataclasses.replace(best, why=f"{members} runs, so each has a {_slot(machine)} of its own")
    takes = best.seconds * (best.updates - best.start) * math.ceil(members / machine.slots)
    if takes < BRIEF:
        return dataclasses.replace(best, why=f"in turn: {takes:.1f} s in all, too little to compare")
    tried = [best]
    for candidate in _wider(best, members, machine, budget):
        program = programs.of(candidate)
        if program.bytes > budget:
            break
        candidate = dataclasses.replace(candidate, bytes=program.bytes, seconds=_time(programs, candidate))
        tried.append(candidate)
        if candidate.seconds * GAIN > best.seconds:
            break
        best = candidate
    return dataclasses.replace(best, why=_why(best, tried, programs.prepared[best.rows[0]].algorithm.steps_per_update))


def seconds(groups: Sequence[Group], seeds: int, machine: Machine) -> float:
    """How long the training itself will take."""
    return sum(
        g.seconds
        * g.width
        * (g.updates - g.start)
        * math.ceil(math.ceil(len(g.rows) * seeds / g.width) / machine.slots)
        for g in groups
    )


def _wider(alone: Group, members: int, machine: Machine, budget: int) -> Iterator[Group]:
    """Ever wider programs, as wide as all slots can fill and memory allows."""
    most = min(math.ceil(members / machine.slots), budget // alone.bytes)
    width = 1
    while width < most:
        width = min(WIDER * width, most)
        rounds = math.ceil(math.ceil(members / width) / machine.slots)
        yield dataclasses.replace(
            alone, width=math.ceil(members / (rounds * machine.slots))
        )  # no slot idles at the end


def _time(programs: Programs, planned: Group) -> float:
    """Seconds of one update of one member, on one device among all of them at work."""
    program = programs.of(planned)
    rows = [planned.rows[i % len(planned.rows)] for i in range(len(program.local))]
    inputs = program.place(stack([programs.member(row) for row in rows], frozenset(planned.varying)))
    state = program.start(np.arange(len(rows)), inputs)
    taken, n = 0.0, 1
    for updates in (1, 1, None):  # the first call warms up, the second says how many updates make a measurement
        n = updates or int(np.clip(0.3 / taken, 1, program.size))
        jax.block_until_ready(state)
        began = time.perf_counter()
        state, metrics = program.advance(state, inputs, n)
        jax.block_until_ready((state, metrics))
        taken = time.perf_counter() - began
    return taken / n / planned.width


def _why(best: Group, tried: Sequence[Group], steps: int) -> str:
    def words(g: Group) -> str:
        return f"{'in turn' if g.width == 1 else f'{g.width} side by side'} {compact(steps / g.seconds)} steps/s"

    others = ", ".join(words(g) for g in tried if g is not best)
    return f"{words(best)}, the fastest measured" + (f" ({others})" if others else "")


def _slot(machine: Machine) -> str:
    return "device" if machine.devices > 1 else "process" if machine.workers > 1 else "turn"


def _too_big(programs: Programs, alone: Group, row: Row, need: int, budget: int) -> str:
    """The error where one member does not fit: the figure, and the field whose half saves most."""
    halves = {}
    for name, value in programs.prepared[alone.rows[0]].config.items():
        if type(value) is not int or value < 2:
            continue
        smaller = dataclasses.replace(row, settings=row.settings | {name: value // 2})
        try:
            halved = Programs([smaller.prepare()])
            halves[name] = halved.of(dataclasses.replace(alone, rows=[0])).bytes
        except ConfigError:  # it must divide something
            continue
    field = min(halves, key=halves.__getitem__) if halves else "hidden"
    value = programs.prepared[alone.rows[0]].config[field]
    return (
        f"{field}={value}: one run needs {memory.write(need)} and {memory.write(budget)} are free; "
        f"give a smaller {field}, or more with memory="
    )
