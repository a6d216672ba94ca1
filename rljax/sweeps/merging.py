"""Several sweeps as one: their rows, their seeds, and what is stored of them, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rljax import runtime
from rljax.errors import ConfigError, require
from rljax.parts import of_record
from rljax.records import versioned
from rljax.results.folder import SWEEP, Numbered, chosen, locked
from rljax.storage import absolute, write_json
from rljax.sweeps import result, store
from rljax.sweeps.spec import WATCHED


def merge(folders: Sequence[str | Path], out: str | Path | Numbered) -> result.SweepResult:
    """Puts several sweeps together; nothing is run, and they stay as they are.

    Rows of the same settings, length and code become one, with the seeds of both. A row has the seeds that it was run
    with; where others have more, those of its own are missing. The rest of unfinished sweeps can be run from the new
    folder, and it can be extended.

    Args:
      folders: what `sweep` wrote, at least two.
      out: a new folder.

    Raises:
      ConfigError: one of them is no sweep, or their runs were scored, evaluated or kept in different ways.
      StorageError: the folder cannot be written.
    """
    paths = [absolute(folder, "sweep") for folder in folders]
    require(len(set(paths)) > 1, "folders", len(set(paths)), "give at least two")
    parts = [store.read(path) for path in paths]
    for path, part in zip(paths, parts):
        for name in WATCHED:
            first, here = (each["asked"].get(name) for each in (parts[0], part))
            if first != here:
                raise ConfigError(f"{path}: {name} is {here}, and in {paths[0]} it is {first}; they do not compare")
    record, numbers, offsets = _merged(paths, parts)
    with locked(chosen(out), SWEEP) as folder:
        require(not folder.recorded, "out", folder.path, "exists; choose another folder")
        write_json(folder.path / store.RECORD, versioned(record))
        for path, rows, offset in zip(paths, numbers, offsets):
            for chunk in store.chunks(path):
                arrays = store.read_chunk(chunk, store.METRIC, store.STATE)
                if arrays is not None:
                    arrays["row"] = np.array([rows[row] for row in arrays["row"].tolist()])
                    group, _, rest = chunk.stem.partition("-")
                    name = f"{int(group) + offset:02d}-{rest}.npz"
                    store.write_arrays(folder.path / store.CHUNKS / name, arrays)
        found = result.load(folder.path)
        found.save(folder.path / store.RESULT)
    return found


def _merged(
    paths: Sequence[Path], parts: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[list[int]], list[int]]:
    """The record of all of them; for each the numbers that its rows have there, and the number of its first group."""
    rows: dict[str, dict[str, Any]] = {}
    numbers, offsets, groups = [], [], []
    for part in parts:
        offsets.append(len(groups))
        numbers.append([])
        for row in part["rows"]:
            key = json.dumps({name: row[name] for name in row if name not in ("group", "varied")}, sort_keys=True)
            rows.setdefault(key, {**row, "group": row["group"] + offsets[-1]})
            numbers[-1].append(list(rows).index(key))
        for group in part["plan"]:
            new = {"rows": [numbers[-1][row] for row in group["rows"]], "seeds": group["seeds"] or part["seeds"]}
            groups.append({**group, **new})
    every = list(rows.values())
    _say_what_varies(every)
    return (
        {
            "algo": list(dict.fromkeys(row["algo"] for row in every)),
            "env": list(dict.fromkeys(row["env"] for row in every)),
            "seeds": list(dict.fromkeys(seed for part in parts for seed in part["seeds"])),
            "varied": list(every[0]["varied"]),
            "log_every": parts[0]["log_every"] if len({part["log_every"] for part in parts}) == 1 else None,
            "asked": {"grid": {}, "sample": {}, "search": {}, "merged": list(map(str, paths))}
            | {name: parts[0]["asked"][name] for name in WATCHED if name in parts[0]["asked"]},
            "plan": groups,
            "workers": max(part["workers"] for part in parts),
            "devices": parts[0].get("devices"),
            **runtime.provenance(),
            "rows": every,
        },
        numbers,
        offsets,
    )


def _say_what_varies(rows: Sequence[dict[str, Any]]) -> None:
    """Writes into each row what varies over all: what was swept in any, and the settings that differ."""
    settings = []
    for row in rows:
        flat = {"algo": row["algo"], "env": row["env"], "steps": row["steps"], **row["env_args"], **of_record(row)}
        if flat.get("horizon") == row["updates"]:
            del flat["horizon"]  # which the length sets
        settings.append(flat | row["varied"])
    swept = dict.fromkeys(name for row in rows for name in row["varied"])
    known = dict.fromkeys(name for flat in settings for name in flat)
    differing = [name for name in known if any(flat.get(name) != settings[0].get(name) for flat in settings)]
    for row, flat in zip(rows, settings):
        row["varied"] = {name: flat.get(name) for name in dict.fromkeys([*swept, *differing])}
