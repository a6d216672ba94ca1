"""The folder of a sweep: plain JSON and npz, to be read without rljax.

sweeps/a/sweep.json        what was asked, every row with all its settings, the plan, machine, versions, command
sweeps/a/chunks/NAME.npz   finished members of one group of the plan, a member being a row and a seed:
                             row, seed [M], update [L], metric/NAME [M, L], diverged [M], state/LEAF [M, ...]
sweeps/a/progress/NAME     the state of a chunk under way
sweeps/a/result.npz        all chunks together, written at the end: one array [N, S, U] a metric, step [N, U]
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rljax import records
from rljax.errors import ConfigError, StorageError, require
from rljax.results.folder import SWEEP
from rljax.storage import number_of, reason, replacing, shown

RECORD = SWEEP.record
ROW = {
    **records.RUN,
    "steps_per_update": records.Whole(),
    "warmup_steps": records.Whole(),
    "updates": records.COUNT,
    "varied": dict,
    "fingerprints": dict,
}
GROUP = {
    "rows": [records.Whole()],
    "varying": [records.Whole()],
    "updates": records.COUNT,
    "log_every": records.COUNT,
    "last": records.COUNT,
    "start": records.Whole(),
    "rung": records.Whole(),
    "width": records.COUNT,
    "why": str,
    "bytes": records.Whole(),
    "seconds": (float, None),
    "own_length": bool,
    "points": [records.COUNT],
}
FORM = {
    "seeds": [records.SEED],
    "varied": [str],
    "log_every": (records.COUNT, None),
    "asked": {"grid": dict, "sample": dict, "search": dict},
    "plan": [GROUP],
    "workers": records.COUNT,
    "machine": dict,
    "rows": [{**ROW, "group": records.Whole()}],
}
CHUNKS = "chunks"
PROGRESS = "progress"
RESULT = "result.npz"
METRIC, STATE = "metric/", "state/"  # what the names of arrays in a chunk begin with
MEMBERS = ("row", "seed", "update", "diverged")


def read(folder: Path) -> dict[str, Any]:
    """The record of a sweep. Raises ConfigError where there is none, or where it is not as it was written."""
    record = records.read(folder, SWEEP, FORM)
    where, remedy = shown(folder / RECORD), "does not fit; put the file back as it was"
    for i, row in enumerate(record["rows"]):
        require(row["group"] < len(record["plan"]), f"{where}: rows[{i}].group", row["group"], remedy)
    for i, group in enumerate(record["plan"]):
        rows_fit = all(row < len(record["rows"]) for row in group["rows"])
        require(rows_fit, f"{where}: plan[{i}].rows", group["rows"], remedy)
        require(group["points"] == sorted({*group["points"]}), f"{where}: plan[{i}].points", group["points"], remedy)
    require(len({*record["seeds"]}) == len(record["seeds"]), f"{where}: seeds", record["seeds"], remedy)
    return record


def write_arrays(path: Path, arrays: dict[str, np.ndarray], durable: bool = True) -> None:
    """Writes an npz, all of it or nothing. Raises StorageError where it cannot."""
    with replacing(path, durable) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]


def chunks(folder: Path) -> list[Path]:
    """The finished chunks, in the order of their names; files of other names are none."""
    return sorted(path for path in (folder / CHUNKS).glob("*.npz") if re.fullmatch(r"\d{2,}-\d{5,}(\+\d+)?", path.stem))


def stored(folder: Path) -> dict[int, set[tuple[int, int]]]:
    """The members (row, seed) of each group of the plan that are in finished chunks; warns of damaged ones."""
    found: dict[int, set[tuple[int, int]]] = {}
    for path in chunks(folder):
        chunk = read_chunk(path, METRIC, STATE)
        if chunk is not None:
            members = zip(chunk["row"].tolist(), chunk["seed"].tolist())
            found.setdefault(int(path.stem.partition("-")[0]), set()).update(members)
    return found


def read_chunk(path: Path, *kinds: str) -> dict[str, np.ndarray] | None:
    """The arrays of a chunk; None, and a warning with what to do, where it is damaged: it is left as it is.

    Args:
      kinds: `METRIC`, `STATE`: what is wanted besides who is in it.

    Raises:
      StorageError: the system refuses now, which says nothing of the chunk.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            wanted = [name for name in file.files if name in MEMBERS or name.startswith(kinds)]
            arrays = {name: file[name] for name in wanted}  # each with its checksum
        needed = ("row", "seed", "diverged") if METRIC in kinds else ("row", "seed")
        if len({len(arrays[name]) for name in needed}) > 1 or not len(arrays["update"]):
            raise ValueError("its arrays do not fit together")
        return arrays
    except OSError as error:
        if number_of(error) not in (None, errno.ENOENT):
            raise StorageError(f"{path} cannot be read now: {reason(error)}; it is left as it is") from None
        why = reason(error)
    except (*records.GARBAGE, records.TooLarge) as error:
        why = reason(error)
    warnings.warn(
        f"{path} is damaged ({why}): its runs are left out; {SWEEP.again(path.parent.parent)} computes them again",
        stacklevel=3,
    )
    return None


def states(folder: Path, members: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """The latest stored states of these members (row, seed): leaf -> `[M, ...]`, by their paths.

    Raises:
      ConfigError: one of them is not stored yet.
    """
    found: dict[tuple[int, int], tuple[int, dict[str, np.ndarray]]] = {}
    wanted = set(members)
    for path in chunks(folder):
        chunk = read_chunk(path, STATE)
        if chunk is None:
            continue
        there = [(int(row), int(seed)) for row, seed in zip(chunk["row"], chunk["seed"])]
        update = int(chunk["update"][-1])
        leaves = {name.removeprefix(STATE): x for name, x in chunk.items() if name.startswith(STATE)}
        for i, member in enumerate(there):
            if member in wanted and update > found.get(member, (-1, {}))[0]:
                found[member] = update, {name: x[i] for name, x in leaves.items()}
    for row, seed in members:
        if (row, seed) not in found:
            raise ConfigError(f"row={row} seed={seed}: this run is not finished in {folder}")
    first = found[members[0]][1]
    return {name: np.stack([found[member][1][name] for member in members]) for name in first}
