"""Reads the rows that `log.JsonlSink` wrote, in columns, also while it is still writing. Needs no jax.

A file of 10^6 rows takes seconds and the memory of its columns alone: a block of lines that hold the same names in the
same order, as those of a run do, is split as a whole; any other is read line by line.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rljax import storage

BYTES = 2**21  # that are read at once


class Part(NamedTuple):
    """The rows of some lines, in columns `[rows]`."""

    lines: int
    rows: int
    columns: dict[str, np.ndarray]


def read_jsonl(
    path: str | Path, only: Collection[str] | None = None, sampled: Collection[str] = (), every: int = 1
) -> dict[str, np.ndarray]:
    """Reads the rows of a file as columns.

    Args:
      path: the file.
      only: the names of the columns that are wanted; None: all.
      sampled: those of them of which one number in so many rows, `every`, is enough: the others may be NaN. Most of
        the time goes into reading numbers.

    Returns:
      A column `[rows]` a name: integers where every row has one, else floats, NaN where missing or null.

    Raises:
      StorageError: it cannot be read, or is not there.
    """
    parts, lines = [], 0
    for text, final in _blocks(Path(path)):
        part = _alike(text, only, sampled, every) or _any(text, only, Path(path), lines, final)
        lines += part.lines
        parts += [part] if part.rows else []
    names = {name: None for part in parts for name in part.columns}
    return {n: np.concatenate([p.columns.get(n, np.full(p.rows, math.nan)) for p in parts]) for n in names}


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a file, each as it is written and as a dict, less the half line that a kill leaves at its end.

    Raises:
      StorageError: it cannot be read.
    """
    number = 0
    for text, final in _blocks(path):
        yield from _rows(text, path, number, final)
        number += text.count(b"\n")


def _blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Some whole lines, and whether the file ends with them."""
    with storage.reading(path), path.open("rb") as file:
        text = file.read(BYTES) + file.readline()
        while text:
            following = file.read(BYTES) + file.readline()
            yield text, not following
            text = following


def _alike(text: bytes, only: Collection[str] | None, sampled: Collection[str], every: int) -> Part | None:
    """The columns of lines that hold the names of the first in its order, written as json.dumps does; else None."""
    first = _row(text[: text.find(b"\n")])
    if first is None or len(first) < 2 or not text.endswith(b"}\n"):
        return None
    between, fields = len(first) - 1, text[1:-2].split(b", ")  # from line to line, the last field and the first are one
    ends = b", ".join(fields[::between]).replace(b"}\n{", b", ").split(b", ")
    rows = len(fields) // between
    if len(fields) != rows * between + 1 or len(ends) != 2 * rows:
        return None
    columns = {}
    for i, name in enumerate(first):
        if only is None or name in only:
            chosen = (ends[i > 0 :: 2] if i in (0, between) else fields[i::between])[:: every if name in sampled else 1]
            column = _numbers(b"".join(chosen), name, len(chosen))
            if column is None:
                return None
            columns[name] = column
            if len(chosen) < rows:
                columns[name] = np.full(rows, math.nan)
                columns[name][::every] = column
    return Part(rows, rows, columns)


def _numbers(text: bytes, name: str, count: int) -> np.ndarray | None:
    """The numbers of so many fields, `"loss": 0.5"loss": null...`; None where these are none, or too large."""
    before = f"{json.dumps(name)}: "
    text = text.removeprefix(before.encode()).replace(b"null", b"nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, where it comes to what is no number
        for kind in (np.int64, float):
            try:
                found = np.fromstring(text, kind, sep=before)
            except ValueError:  # as it may be one day
                continue
            if len(found) == count and (kind is float or np.abs(found).max() < 2**53):
                return found
    return None


def _any(text: bytes, only: Collection[str] | None, path: Path, before: int, final: bool) -> Part:
    """The columns of any lines, one by one."""
    rows = [row for _, row in _rows(text, path, before, final)]
    names = (n for n in {n: None for row in rows for n in row} if only is None or n in only)
    columns = {name: [row.get(name) for row in rows] for name in names}
    arrays = {n: np.array([math.nan if x is None else x for x in column]) for n, column in columns.items()}
    return Part(text.count(b"\n"), len(rows), arrays)


def _rows(text: bytes, path: Path, before: int, final: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of some lines, `before` of which are before these; half a line is none where the file ends with it."""
    lines = text.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is not None:
            yield line.decode(errors="replace").strip(), row
        elif not final or number < len(lines):
            warnings.warn(f"{path} line {before + number} is not a row, skipped", stacklevel=3)


def _row(line: bytes) -> dict[str, Any] | None:
    """A flat dict of numbers, or of None where there was nothing to measure, with a step; None where it is none."""
    try:
        found = json.loads(line.decode(errors="replace"))
    except ValueError:
        return None
    plain = isinstance(found, dict) and all(isinstance(x, int | float | None) for x in found.values())
    return found if plain and isinstance(found.get("step"), int | float) else None
