"""Plans: made from a specification, continued round after round, and recorded.

The record, `sweep.json`, has all that is needed to continue a sweep, and to repeat it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from rljax import evaluation, footprint, resources, runtime
from rljax.arguments import PROCESSES, SOME
from rljax.build import Hashed
from rljax.engine import machine, remembered
from rljax.engine.machine import Machine
from rljax.engine.plan import Group, Programs
from rljax.engine.plan import group as group_rows
from rljax.engine.width import BRIEF, choose_width, training_seconds
from rljax.errors import ConfigError, require, unknown
from rljax.kinds import Maybe
from rljax.ops.metrics import NOT_FINITE
from rljax.parts import of_record
from rljax.records import versioned
from rljax.storage import write_json
from rljax.sweeps import rows, store
from rljax.sweeps.result import SCORE, SCORED_BY, SweepResult
from rljax.sweeps.spec import WATCHED, Sweep
from rljax.watch import LAST


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
    def unit(self) -> str:
        """The unit of `steps`: `updates` where no run takes steps."""
        each = (self.programs.prepared[group.rows[0]].algorithm.steps_per_update for group in self.groups)
        return "steps" if any(each) else "updates"

    @property
    def steps(self) -> int:
        """Environment steps of all runs, or updates of those that take none."""
        return sum(self.steps_of(group) for group in self.groups)

    def steps_of(self, group: Group) -> int:
        """Environment steps of a group's runs."""
        per_update, seeds = (
            self.programs.prepared[group.rows[0]].algorithm.steps_per_update,
            group.seeds or self.sweep.seeds,
        )
        return (group.updates - group.start) * (per_update or 1) * len(group.rows) * len(seeds)

    def __str__(self) -> str:
        runs = len(self.sweep.rows) * len(self.sweep.seeds)
        takes = training_seconds(self.groups, len(self.sweep.seeds), self.machine)
        where = _where(self.machine)
        every = f"{len(self.sweep.rows)} rows x {len(self.sweep.seeds)} seeds = {runs} runs"
        lines = [
            f"{every}, {self.steps:,} {self.unit} in all",
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
    programs = programs_of(sweep)
    if sweep.evaluation is not None:
        for i in {row.where.get("env"): i for i, row in enumerate(sweep.rows)}.values():
            sweep.evaluation.where(programs.prepared[i].env)
    groups = [dataclasses.replace(g, width=width or 1) for g in group_rows(programs, sweep.log_every)]
    firsts = [group.rows[0] for group in groups]
    known = set.intersection(
        *(set(footprint.check(sweep.rows[i].algo, programs.prepared[i], sweep.log_every)) for i in firsts)
    ) - {NOT_FINITE} | ({evaluation.RETURN} if sweep.evaluation else set())
    searching = sweep.search.goes_by is not None
    if sweep.score not in known and (searching or sweep.score != SCORE):
        raise unknown("metric", sweep.score, known)
    key = _key(sweep, programs, groups, workers, width, memory_limit)
    before = remembered.recall(key) or {"groups": [{}] * len(groups)}
    groups = [dataclasses.replace(g, **values) for g, values in zip(groups, before["groups"])]
    need = max(group.bytes or programs.of(group).bytes for group in groups)
    chosen = machine.choose(workers, len(sweep.rows) * len(sweep.seeds), need, limit)
    slots = [chosen.workers, chosen.devices]
    if before.get("slots") != slots or need * chosen.workers > chosen.memory:  # other devices or memory than then
        groups = [dataclasses.replace(g, width_by="", width=width or 1) for g in groups]
    groups = [
        choose_width(programs, group, len(sweep.seeds), chosen, sweep.rows[group.rows[0]], width is not None)
        for group in groups
    ]
    remembered.keep(key, {"groups": [{n: getattr(g, n) for n in MEASURED} for g in groups], "slots": slots})
    if workers is None and training_seconds(groups, len(sweep.seeds), chosen._replace(workers=1)) < BRIEF:
        chosen = chosen._replace(workers=1)  # more processes would take longer to start than they save
    return Plan(sweep, sweep.search.begin(groups), chosen, programs)


MEASURED = ("width", "width_by", "why", "bytes", "seconds")  # of a group


def _key(sweep: Sweep, programs: Programs, groups: list[Group], *how: Any) -> str:
    """The name under which measurements of this plan are remembered: by what decides its programs and their number."""
    firsts = [sweep.rows[g.rows[0]].record(programs.prepared[g.rows[0]]) for g in groups]
    sizes = [(len(g.rows), g.varying, g.updates, g.log_every) for g in groups]
    return remembered.key_of(firsts, sizes, len(sweep.seeds), sweep.asked.get("evaluation"), how)


def programs_of(sweep: Sweep) -> Programs:
    """The programs of a sweep, of which none is compiled yet."""
    prepared, asked = [row.prepare() for row in sweep.rows], sweep.evaluation
    if asked is None:
        return Programs(prepared, sweep.rows)
    return Programs(prepared, sweep.rows, evaluate=asked, every=asked.every)


def groups_of_new_rows(
    asked: Sweep, programs: Programs, known: Sequence[Group], here: Machine, width: int | None = None
) -> list[Group]:
    """Groups of the rows that no known one has; where a program is another, as wide as given, or as measures best."""
    return [
        choose_width(programs, group, len(asked.seeds), here, asked.rows[group.rows[0]], width is not None)
        for group in (
            group if group.width_by else dataclasses.replace(group, width=width or 1)
            for group in group_rows(programs, asked.log_every, known)
        )
    ]


def next_round(planned: Plan, found: SweepResult) -> Plan | None:
    """The plan with what the search adds to it, given the results so far; None if it is done."""
    asked = planned.sweep
    points = asked.search.points(found)
    if points:
        asked = dataclasses.replace(asked, rows=[*asked.rows, *(asked.rows[0].at(point) for point in points)])
        model = planned.groups[0]
        given = jax.process_count() > 1 or model.width_by == "user"  # processes would each measure something else
        new = dataclasses.replace(planned.programs, prepared=[row.prepare() for row in asked.rows], rows=asked.rows)
        groups = groups_of_new_rows(asked, new, planned.groups, planned.machine, model.width if given else None)
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


SHOWS = 10.0  # seconds that a network's file system may take to show a file of another host


def plan_in(folder: Path, asked: Sweep, **how: Any) -> Plan:
    """Makes and records a new plan; or reads the recorded one, if the folder is of this sweep."""
    if not (folder / store.RECORD).exists():
        planned = make_plan(asked, **how)
        write_json(folder / store.RECORD, versioned(to_record(planned)))
        return planned
    recorded, hashed = store.read(folder), Hashed()
    _refuse_another(folder, recorded, [row.record(row.prepare(), hashed) for row in asked.rows], asked)
    later = [asked.rows[0].at(row["varied"]) for row in recorded["rows"][len(asked.rows) :]]  # of later rounds
    asked = dataclasses.replace(asked, rows=[*asked.rows, *later])
    programs = programs_of(asked)
    return Plan(asked, recorded_groups(recorded), machine.again(how.get("workers") or recorded["workers"]), programs)


def recorded_groups(record: dict[str, Any]) -> list[Group]:
    """The groups in a record."""
    return [Group(**{f.name: g[f.name] for f in dataclasses.fields(Group)}) for g in record["plan"]]


def mark(folder: Path) -> str:
    """Identifies this record by its hash and its folder, for other processes."""
    return json.dumps([hashlib.sha256((folder / store.RECORD).read_bytes()).hexdigest(), str(folder.absolute())])


def shared(folder: Path, marked: str) -> None:
    """Raises ConfigError unless this folder shows the record that was marked; a network may take seconds to."""
    theirs = json.loads(marked)
    until = time.monotonic() + SHOWS
    while not (folder / store.RECORD).exists() or json.loads(mark(folder))[0] != theirs[0]:
        remedy = f"does not show what process 0 wrote to {theirs[1]}; give all processes one folder that they share"
        require(time.monotonic() < until, "out", folder, remedy)
        time.sleep(0.1)


def to_record(planned: Plan) -> dict[str, Any]:
    """Makes the content of `sweep.json`."""
    asked, hashed = planned.sweep, Hashed()
    records = [row.record(planned.programs.prepared[i], hashed) for i, row in enumerate(asked.rows)]
    for i, group in enumerate(planned.groups):
        for row in group.rows if group.start == 0 else ():
            records[row] |= {"group": i}
    return {
        "algo": list(dict.fromkeys(row["algo"] for row in records)),
        "env": list(dict.fromkeys(row["env"] for row in records)),
        "seeds": asked.seeds,
        "varied": list(dict.fromkeys(name for row in records for name in row["varied"])),
        "log_every": asked.log_every,
        "asked": asked.asked,
        "plan": [
            {**dataclasses.asdict(group), "points": dataclasses.replace(group, updates=group.last).points()}
            for group in planned.groups
        ],
        "workers": planned.machine.workers,
        "devices": planned.machine.devices,
        **runtime.provenance(),
        "rows": records,
    }


def _refuse_another(folder: Path, recorded: dict[str, Any], records: list[dict[str, Any]], asked: Sweep) -> None:
    """Raises ConfigError if the folder is of another sweep, with the first difference."""
    pairs = [("seeds", recorded["seeds"], asked.seeds), ("search", recorded["asked"]["search"], asked.search.record())]
    if not asked.search.record() or len(records) > len(recorded["rows"]):
        pairs.append(("rows", len(recorded["rows"]), len(records)))
    pairs += [("log_every", recorded["log_every"], asked.log_every)]
    pairs += watched(recorded, asked)
    for a, b in zip(recorded["rows"], records):
        pairs += [(name, a[name], b[name]) for name in ("algo", "env", "env_args", "steps")]
        old, new = of_record(a), of_record(b)
        pairs += [(n, old.get(n), new.get(n)) for n in {**old, **new}]
    pairs += rows.other_code(recorded, records)
    for name, old, new in pairs:
        if old != new and list(_flat(old)) != list(_flat(new)):
            raise ConfigError(
                f"out={folder}: holds another sweep ({name} is {old} there, {new} here); choose another folder"
            )


def watched(recorded: dict[str, Any], asked: Sweep) -> list[tuple[str, Any, Any]]:
    """Pairs of how runs are evaluated and kept: (what, as recorded, as asked)."""
    default = {SCORED_BY: SCORE, "evaluation": None, "keep": LAST}  # of a record from before there was a choice
    return [(n, recorded["asked"].get(n, default[n]), asked.asked.get(n, default[n])) for n in WATCHED]


def _flat(value: Any) -> Iterator[Any]:
    """Yields the parts of a value, with tuples like the lists that JSON makes of them."""
    if isinstance(value, list | tuple):
        for x in value:
            yield from _flat(x)
    else:
        yield value
