"""The folder of a sweep: plain JSON and npz, to be read without rljax.

sweeps/a/sweep.json        what was asked, every row with all its settings, the plan, machine, versions, command
sweeps/a/chunks/NAME.npz   finished members of one group of the plan, a member being a row and a seed:
                             row, seed [M], update [L], metric/NAME [M, L], diverged [M], state/LEAF [M, ...]
sweeps/a/progress/NAME     the state of a chunk under way
sweeps/a/result.npz        all chunks together, written at the end: one array [N, S, U] a metric, step [N, U]

A chunk is a file as soon as it is finished. Every 64 small ones that a process has stored of a group become one file
of the same form, named `00-00000+63` after the first and the number of the others; the single files go when it is
written. So a kill at any moment loses nothing, and what is there twice is the same.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

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
    "width_by": str,
    "why": str,
    "bytes": records.Whole(),
    "seconds": (float, None),
    "own_length": bool,
    "seeds": [records.SEED],
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
MANY = 64  # small chunks that become one file
SMALL = 2**19  # bytes: a larger chunk stays a file of its own
FILES = 100  # at the end, more than these are put together whatever their number

Arrays = dict[str, np.ndarray]


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


class Measured(NamedTuple):
    """The arrays of a sweep's folder, of N rows, S seeds and U points; see `SweepResult`."""

    metrics: dict[str, np.ndarray]  # [N, S, U]
    update: np.ndarray  # [N, U]
    reached: np.ndarray  # [N, S]
    diverged: np.ndarray  # [N, S]


def measured(folder: Path, record: dict[str, Any]) -> Measured:
    """Puts the stored chunks together. Raises ConfigError for one that is not of this sweep."""
    columns = {seed: j for j, seed in enumerate(record["seeds"])}
    count, seeds = len(record["rows"]), len(columns)
    points = _points(record)
    length = max(map(len, points), default=0)
    update = np.full((count, length), np.nan)
    for i, done in enumerate(points):
        update[i, : len(done)] = done
    found = Measured({}, update, np.zeros((count, seeds), int), np.zeros((count, seeds), bool))
    for path in chunks(folder):
        chunk = read_chunk(path, METRIC)
        if chunk is None:
            continue
        _check_chunk(path, chunk, count, columns)
        i, j = chunk["row"], np.array([columns[int(seed)] for seed in chunk["seed"]], int)
        found.diverged[i, j] |= chunk["diverged"]
        found.reached[i, j] = np.maximum(found.reached[i, j], chunk["update"][-1])
        for name in (n for n in chunk if n.startswith(METRIC)):
            values = found.metrics.setdefault(name.removeprefix(METRIC), np.full((count, seeds, length), np.nan))
            for member, (a, b) in enumerate(zip(i, j)):
                first = int(np.searchsorted(update[a, : len(points[a])], chunk["update"][0]))
                before, new = values[a, b, first : first + len(chunk["update"])], chunk[name][member]
                before[:] = np.where(np.isnan(new), before, new)  # what has been measured stays
    return found


def _points(record: dict[str, Any]) -> list[list[int]]:
    """The updates done at each point of every row: it may be in several groups, one after the other."""
    groups: list[tuple[int, ...]] = [()] * len(record["rows"])
    for i, group in enumerate(record["plan"]):
        for row in group["rows"]:
            groups[row] += (i,)
    points = {key: sorted({x for i in key for x in record["plan"][i]["points"]}) for key in set(groups)}
    return [points[key] for key in groups]


def _check_chunk(path: Path, chunk: dict[str, np.ndarray], count: int, seeds: Collection[int]) -> None:
    """Raises ConfigError for a chunk of rows or seeds that the sweep has not, or of other shapes than a chunk has."""
    rows_fit = chunk["row"].ndim == 1 and all(0 <= row < count for row in chunk["row"].tolist())
    fits = rows_fit and all(seed in seeds for seed in chunk["seed"].tolist())
    size = (len(chunk["row"]), len(chunk["update"]))
    fits = fits and all(x.shape == size for name, x in chunk.items() if name.startswith(METRIC))
    if not fits:
        raise ConfigError(f"{path}: is not of this sweep; move it elsewhere, and what it should hold is computed again")


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
        update = int(chunk["update"][-1])
        leaves = {name.removeprefix(STATE): x for name, x in chunk.items() if name.startswith(STATE)}
        for i, member in enumerate(zip(chunk["row"].tolist(), chunk["seed"].tolist())):
            if member in wanted and update > found.get(member, (-1, {}))[0]:
                found[member] = update, {name: x[i] for name, x in leaves.items()}
    for row, seed in members:
        if (row, seed) not in found:
            raise ConfigError(f"row={row} seed={seed}: this run is not finished in {folder}")
    first = found[members[0]][1]
    return {name: np.stack([found[member][1][name] for member in members]) for name in first}


class Writer:
    """Stores chunks, and keeps the small ones until there are enough to be put together."""

    def __init__(self, folder: Path):
        self._folder = folder / CHUNKS
        self._small: dict[str, list[tuple[Path, Arrays]]] = {}  # by group

    def add(self, name: str, arrays: Arrays) -> None:
        """Stores a chunk; no kill of this process takes it. Raises StorageError where it cannot be."""
        path = self._folder / f"{name}.npz"
        small = sum(x.nbytes for x in arrays.values()) <= SMALL
        write_arrays(path, arrays, durable=not small)  # what a power cut takes of 64 small ones is computed again
        if small:
            waiting = self._small.setdefault(_group(path), [])
            waiting.append((path, arrays))
            if len(waiting) == MANY:
                _put_together(self._small.pop(_group(path)))


def put_together(folder: Path) -> None:
    """Puts small chunks together where there are many files: at the end of a sweep, when nobody writes any."""
    paths = chunks(folder)
    small = [path for path in paths if "+" not in path.stem and path.stat().st_size <= SMALL]
    for _, group in groupby(small if len(paths) > FILES else (), _group):
        for some in _parts(list(group)):
            read = ((path, read_chunk(path, METRIC, STATE)) for path in some)
            _put_together([(path, arrays) for path, arrays in read if arrays is not None])


def _parts(paths: list[Path]) -> Iterator[list[Path]]:
    return (paths[i : i + MANY] for i in range(0, len(paths), MANY))


def _put_together(chunks: Sequence[tuple[Path, Arrays]]) -> None:
    """Writes chunks of one group as one, and removes their files."""
    if len(chunks) < 2:
        return
    (first, like), *others = chunks
    arrays = {name: np.concatenate([chunk[name] for _, chunk in chunks]) for name in like if name != "update"}
    write_arrays(first.with_stem(f"{first.stem}+{len(others)}"), arrays | {"update": like["update"]})
    for path, _ in chunks:
        path.unlink(missing_ok=True)


def _group(path: Path) -> str:
    return path.stem.partition("-")[0]
