"""More seeds, rows or steps for a sweep that is there: only what it lacks is run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rljax.build import Hashed
from rljax.engine import machine
from rljax.engine.plan import Group
from rljax.errors import ConfigError, require
from rljax.parts import of_record
from rljax.records import versioned
from rljax.storage import write_json
from rljax.sweeps import rows, store
from rljax.sweeps.execute import pending, shards_of
from rljax.sweeps.planning import Plan, groups_of_new_rows, programs_of, recorded_groups, to_record, watched
from rljax.sweeps.spec import STATE, Sweep

LACKS = "holds a sweep of {}, which this one has not; an extension has all that is there, and more"


def plan_in(folder: Path, asked: Sweep, **how: Any) -> Plan:
    """The plan of a sweep that is there, with what this one asks for besides; it is recorded.

    Rows keep their numbers, and new ones come after them. What is planned keeps its seeds and its length; new groups
    hold the rest: new seeds of rows that are there, new rows, and rows that go on from their states.

    Args:
      how: `workers`.

    Raises:
      ConfigError: there is none, it is of other rows or code, or it cannot go on.
    """
    recorded = store.read(folder)
    require(not (recorded["asked"]["search"] or asked.search.record()), "extend", folder, "a search decides its rows")
    asked = _in_order(folder, recorded, asked)
    known, programs = recorded_groups(recorded), programs_of(asked)
    old = recorded["seeds"]
    ends = {row: g.updates for g in known for row in g.rows}  # of the last group that each is in
    lengths = {row: programs.prepared[row].updates for row in ends}
    for row, end in ends.items():
        require(lengths[row] >= end, "steps", asked.rows[row].steps, f"fewer than row {row} has done")
    longer = {row for row, end in ends.items() if lengths[row] > end}
    planned = [dataclasses.replace(g, seeds=g.seeds or old) for g in known]
    if longer:
        _check_longer(folder, recorded, asked, planned)
        last = [g for g in planned if g.updates == max(h.updates for h in planned if set(h.rows) & set(g.rows))]
        further = [(g, [row for row in g.rows if row in longer]) for g in last]
        planned += [_longer(g, those, lengths[those[0]]) for g, those in further if those]
    further = _lacking(planned, asked.seeds)
    lengthened = {row for g in planned if g.start > 0 for row in g.rows} & {row for g in further for row in g.rows}
    why = "rows that were given another length have the seeds that they have: others would not be trained as these were"
    require(not lengthened, "seeds", len(asked.seeds), f"{why}; give seeds first, and then steps")
    planned += further
    here = machine.again(how.get("workers") or recorded["workers"])
    planned += groups_of_new_rows(asked, programs, known, here)
    found = Plan(asked, planned, here, programs)
    if len(planned) > len(known):
        write_json(folder / store.RECORD, versioned(to_record(found)))
    return found


def _lacking(planned: Sequence[Group], seeds: Sequence[int]) -> list[Group]:
    """Groups of the seeds that rows lack, each like the one in which those rows began."""
    began: dict[int, list[Group]] = {}
    for group in planned:
        for row in group.rows if group.start == 0 else ():
            began.setdefault(row, []).append(group)
    found: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for row, groups in began.items():
        missing = tuple(seed for seed in seeds if not any(seed in g.seeds for g in groups))
        if missing:
            found.setdefault((planned.index(groups[0]), missing), []).append(row)
    return [dataclasses.replace(planned[i], rows=those, seeds=[*missing]) for (i, missing), those in found.items()]


def _longer(group: Group, those: Sequence[int], updates: int) -> Group:
    """The group in which these rows go on from where they ended."""
    return dataclasses.replace(group, rows=[*those], start=group.updates, updates=updates, last=updates)


def _check_longer(folder: Path, recorded: Mapping[str, Any], asked: Sweep, planned: Sequence[Group]) -> None:
    """Raises ConfigError where the runs of a sweep cannot go on to another length."""
    steps = asked.rows[0].steps
    remedy = "sweep with keep=state, and its runs can be given more; these start anew in another folder"
    require(recorded["asked"].get("keep") == STATE, "steps", steps, f"{folder} kept no whole states; {remedy}")
    left = pending(folder, shards_of(planned, recorded["seeds"]))
    require(not left, "steps", steps, f"{folder} is not finished; go on with it first")


def _in_order(folder: Path, recorded: Mapping[str, Any], asked: Sweep) -> Sweep:
    """The sweep with the rows and seeds that are there first, in their order. Raises ConfigError where it lacks one."""
    hashed = Hashed()
    records = [row.record(row.prepare(), hashed) for row in asked.rows]
    numbers = {key: i for i, record in enumerate(records) for key in reversed(_identities(record))}
    found: list[int] = []
    for i, row in enumerate(recorded["rows"]):
        number = next((numbers[key] for key in _identities(row) if key in numbers), None)
        if number is None or number in found:
            what = rows.describe(row["varied"]) or f"{row['algo']} on {row['env']} with other settings"
            raise ConfigError(f"out={folder}: {LACKS.format(f'row {i}, {what}')}")
        found.append(number)
    for name, before, now in rows.other_code(recorded, [records[i] for i in found]):
        raise ConfigError(f"out={folder}: {name} is {before} there, {now} here; choose another folder")
    missing = [seed for seed in recorded["seeds"] if seed not in asked.seeds]
    if missing:
        raise ConfigError(f"out={folder}: {LACKS.format(f'seed {missing[0]}')}")
    seeds = [*recorded["seeds"], *(seed for seed in asked.seeds if seed not in recorded["seeds"])]
    every = [*found, *(i for i in range(len(records)) if i not in found)]
    for name, before, now in watched(dict(recorded), asked):
        require(before == now, name, now, f"is {before} in {folder}; an extension has the same")
    return dataclasses.replace(asked, rows=[asked.rows[i] for i in every], seeds=seeds)


def _identities(record: Mapping[str, Any]) -> list[str]:
    """The texts that say what a row runs, but for its length: as it is, and where its horizon may follow from that."""
    settings = of_record(record)
    named = {name: record.get(name) for name in ("algo", "env", "env_args", "curriculum", "data")}
    every = [settings]
    if settings.get("horizon") == record["updates"]:
        every.append(settings | {"horizon": "the length"})
    return [json.dumps([named, each], sort_keys=True) for each in every]
