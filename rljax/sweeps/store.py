"""The folder of a sweep: plain JSON and npz, to be read without rljax.

sweeps/a/sweep.json        what was asked, every row with all its settings, the plan, machine, versions, command
sweeps/a/chunks/NAME.npz   one file a finished chunk of members, a member being a row and a seed:
                             row, seed [M], update [L], metric/NAME [M, L], diverged [M], state/LEAF [M, ...]
sweeps/a/progress/NAME     the state of a chunk under way
sweeps/a/result.npz        all chunks together, written at the end: one array [N, S, U] a metric, step [N, U]
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rljax.errors import ConfigError, StorageError
from rljax.results.store import write

RECORD = "sweep.json"
CHUNKS = "chunks"
PROGRESS = "progress"
RESULT = "result.npz"
METRIC, STATE = "metric/", "state/"  # what the names of arrays in a chunk begin with
LOCK = ".lock"
KEPT = "what is finished is kept: rljax sweep --resume, or the same call, goes on with it"


def read(folder: Path) -> dict[str, Any]:
    """The record of a sweep. Raises ConfigError where there is none."""
    try:
        return json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        raise ConfigError(f"sweep '{folder}': no {RECORD} there; give the folder that rljax sweep wrote") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"sweep '{folder}': {RECORD} cannot be read ({error})") from None


def write_record(folder: Path, record: dict[str, Any], name: str = RECORD) -> None:
    """Makes the folder if need be, and writes the record atomically. Raises StorageError where it cannot."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / name, record)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz atomically: all of it or nothing. Raises StorageError where it cannot."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def chunks(folder: Path) -> list[Path]:
    """The finished chunks, in the order of their names."""
    return sorted((folder / CHUNKS).glob("*.npz"))


def states(folder: Path, members: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """The latest stored states of these members (row, seed): leaf -> `[M, ...]`, by their paths.

    Raises:
      ConfigError: one of them is not stored yet.
    """
    found: dict[tuple[int, int], tuple[int, dict[str, np.ndarray]]] = {}
    wanted = set(members)
    for path in chunks(folder):
        with np.load(path) as chunk:
            there = [(int(row), int(seed)) for row, seed in zip(chunk["row"], chunk["seed"])]
            if wanted.isdisjoint(there):
                continue
            leaves = {name: chunk[name] for name in chunk.files if name.startswith(STATE)}
            update = int(chunk["update"][-1])
        for i, member in enumerate(there):
            if member in wanted and update > found.get(member, (-1, {}))[0]:
                found[member] = update, {name.removeprefix(STATE): x[i] for name, x in leaves.items()}
    for row, seed in members:
        if (row, seed) not in found:
            raise ConfigError(f"row={row} seed={seed}: this run is not finished in {folder}")
    first = found[members[0]][1]
    return {name: np.stack([found[member][1][name] for member in members]) for name in first}


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into StorageError, in one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else (error.strerror or str(error))
        raise StorageError(f"{path} cannot be written: {why}; {KEPT}") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; the lock goes when the process does. Raises ConfigError if it is held."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"out={folder}: another process is running this sweep; wait for it or stop it") from None
        try:
            yield
        finally:
            if [path.name for path in folder.iterdir()] == [LOCK]:  # nothing came of it
                shutil.rmtree(folder, ignore_errors=True)
