"""From a specification to a plan, and from one round's plan to the next."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import jax

from rljax import footprint, resources
from rljax.arguments import PROCESSES, SOME
from rljax.engine import machine
from rljax.engine.machine import Machine
from rljax.engine.plan import Group, Programs
from rljax.engine.plan import group as group_rows
from rljax.engine.width import BRIEF, GIVEN, choose_width, training_seconds
from rljax.errors import unknown
from rljax.kinds import Maybe
from rljax.ops.metrics import NOT_FINITE
from rljax.sweeps import rows
from rljax.sweeps.result import SweepResult
from rljax.sweeps.spec import Sweep


@dataclass(frozen=True)
class Plan:
    """A sweep, and how it will be run: print it.

    Attributes:
      sweep: what.
      groups: rows that share a program.
      machine: what for.
      programs: built rows, and the programs compiled so far.
    """

    sweep: Sweep
    groups: list[Group]
    machine: Machine
    programs: Programs

    @property
    def steps(self) -> int:
        """Environment steps of all runs."""
        return sum(self.steps_of(group) for group in self.groups)

    def steps_of(self, group: Group) -> int:
        """Environment steps of a group's runs."""
        per_update = self.programs.prepared[group.rows[0]].algorithm.steps_per_update
        return (group.updates - group.start) * (per_update or 1) * len(group.rows) * len(self.sweep.seeds)

    def __str__(self) -> str:
        runs = len(self.sweep.rows) * len(self.sweep.seeds)
        takes = training_seconds(self.groups, len(self.sweep.seeds), self.machine)
        where = _where(self.machine)
        lines = [
            f"{len(self.sweep.rows)} rows x {len(self.sweep.seeds)} seeds = {runs} runs, {self.steps:,} steps in all",
            f"{len(self.groups)} training program{'s' * (len(self.groups) > 1)}, {where}, about {_duration(takes)}",
        ]
        for i, group in enumerate(self.groups):
            first = self.sweep.rows[group.rows[0]]
            prepared = self.programs.prepared[group.rows[0]]
            shards = group.shards(self.sweep.seeds)
            lines += [
                f"group {i}: {first.algo} {prepared.env.name}, {len(group.rows)} rows from {group.rows[0]}"
                f" ({rows.describe(first.varied) or 'no field varies'}), {group.updates} updates",
                f"  {group.why}",
                f"  {len(shards)} shards of {group.width}, {resources.write(group.bytes)} each",
            ]
        return "\n".join(lines)


def make_plan(
    sweep: Sweep, *, workers: int | None = None, width: int | None = None, memory_limit: str | int | None = None
) -> Plan:
    """Groups the rows by what must be compiled apart, and measures how to run each group.

    Args:
      workers: processes; by default one for each core of a CPU, and one where there are other devices.
      width: members side by side on a device; by default what measures fastest and fits.
      memory_limit: bytes for the arrays of all workers or of each device, e.g. `16GB`; by default most of what is free.

    Raises:
      ConfigError: a row that cannot be built, or that does not fit into memory.
    """
    workers, width = PROCESSES.convert("workers", workers), Maybe(SOME).convert("width", width)
    limit = None if memory_limit is None else resources.read(memory_limit)
    programs = Programs([row.prepare() for row in sweep.rows], sweep.rows)
    groups = [dataclasses.replace(g, width=width or 1) for g in group_rows(programs, sweep.log_every)]
    firsts = [group.rows[0] for group in groups]
    known = set.intersection(
        *(set(footprint.check(sweep.rows[i].algo, programs.prepared[i], sweep.log_every)) for i in firsts)
    ) - {NOT_FINITE}
    if sweep.search.goes_by is not None and sweep.search.goes_by not in known:
        raise unknown("metric", sweep.search.goes_by, known)
    need = max(programs.of(group).bytes for group in groups)
    chosen = machine.choose(workers, len(sweep.rows) * len(sweep.seeds), need, limit)
    groups = [
        choose_width(programs, group, len(sweep.seeds), chosen, sweep.rows[group.rows[0]], width is not None)
        for group in groups
    ]
    if workers is None and training_seconds(groups, len(sweep.seeds), chosen._replace(workers=1)) < BRIEF:
        chosen = chosen._replace(workers=1)  # more processes would take longer to start than they save
    return Plan(sweep, sweep.search.begin(groups), chosen, programs)


def next_round(planned: Plan, found: SweepResult) -> Plan | None:
    """The plan with what the search adds to it, given the results so far; None if it is done."""
    asked = planned.sweep
    points = asked.search.points(found)
    if points:
        asked = dataclasses.replace(asked, rows=[*asked.rows, *(asked.rows[0].at(point) for point in points)])
        model = planned.groups[0]
        given = jax.process_count() > 1 or model.why == GIVEN  # processes would each measure something else
        new = dataclasses.replace(planned.programs, prepared=[row.prepare() for row in asked.rows], rows=asked.rows)
        groups = [
            choose_width(new, group, len(asked.seeds), planned.machine, asked.rows[group.rows[0]], given)
            for group in (
                group if group.why else dataclasses.replace(group, width=model.width if given else 1)
                for group in group_rows(new, asked.log_every, planned.groups)
            )
        ]
        return dataclasses.replace(planned, sweep=asked, groups=[*planned.groups, *groups], programs=new)
    further = asked.search.further(planned.groups, found)
    return dataclasses.replace(planned, groups=[*planned.groups, *further]) if further else None


def _where(machine: Machine) -> str:
    if machine.workers > 1:
        return f"{machine.workers} processes"
    return f"{machine.devices} devices" if machine.devices > 1 else "1 process"


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "an unmeasured time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
