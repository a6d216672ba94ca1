"""A plan and its record: `sweep.json` has all that is needed to continue a sweep, and to repeat it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rljax import runtime
from rljax.engine import machine
from rljax.engine.plan import Group, Programs
from rljax.errors import ConfigError, require
from rljax.parts import of_record
from rljax.records import versioned
from rljax.storage import write_json
from rljax.sweeps import rows, store
from rljax.sweeps.planning import Plan, make_plan
from rljax.sweeps.spec import Sweep

SHOWS = 10.0  # seconds that a network's file system may take to show a file of another host


def plan_in(folder: Path, asked: Sweep, **how: Any) -> Plan:
    """Makes and records a new plan; or reads the recorded one, if the folder is of this sweep."""
    if not (folder / store.RECORD).exists():
        planned = make_plan(asked, **how)
        write_json(folder / store.RECORD, versioned(to_record(planned)))
        return planned
    there = store.read(folder)
    _refuse_another(folder, there, [row.record(row.prepare()) for row in asked.rows], asked)
    later = [asked.rows[0].at(row["varied"]) for row in there["rows"][len(asked.rows) :]]  # of later rounds
    asked = dataclasses.replace(asked, rows=[*asked.rows, *later])
    programs = Programs([row.prepare() for row in asked.rows], asked.rows)
    groups = [Group(**{f.name: g[f.name] for f in dataclasses.fields(Group)}) for g in there["plan"]]
    return Plan(asked, groups, machine.again(how.get("workers") or there["workers"]), programs)


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
    asked = planned.sweep
    records = [row.record(planned.programs.prepared[i]) for i, row in enumerate(asked.rows)]
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


def _refuse_another(folder: Path, there: dict[str, Any], records: list[dict[str, Any]], asked: Sweep) -> None:
    """Raises ConfigError if the folder is of another sweep, with the first difference."""
    pairs = [("seeds", there["seeds"], asked.seeds), ("search", there["asked"]["search"], asked.search.record())]
    if not asked.search.record() or len(records) > len(there["rows"]):
        pairs.append(("rows", len(there["rows"]), len(records)))
    pairs += [("log_every", there["log_every"], asked.log_every)]
    for a, b in zip(there["rows"], records):
        pairs += [(name, a[name], b[name]) for name in ("algo", "env", "env_args", "steps")]
        old, new = of_record(a), of_record(b)
        pairs += [(n, old.get(n), new.get(n)) for n in {**old, **new}]
    pairs += rows.other_code(there, records)
    for name, old, new in pairs:
        if old != new and list(_flat(old)) != list(_flat(new)):
            raise ConfigError(
                f"out={folder}: holds another sweep ({name} is {old} there, {new} here); choose another folder"
            )


def _flat(value: Any) -> Iterator[Any]:
    """Yields the parts of a value, with tuples like the lists that JSON makes of them."""
    if isinstance(value, list | tuple):
        for x in value:
            yield from _flat(x)
    else:
        yield value
