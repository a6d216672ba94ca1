"""Chunk files of a sweep are stored one by one, and those of many small runs put together, so that they stay few.

A chunk is a file as soon as it is finished. Every 64 small ones that a process has stored of a group become one file
of the same form, named `00-00000+63` after the first and the number of the others; the single files go when it is
written. So a kill at any moment loses nothing, and what is there twice is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from rljax.sweeps import store

MANY = 64  # chunks that become one file
SMALL = 2**19  # bytes: a larger chunk stays a file of its own
FILES = 100  # at the end, more than these are put together whatever their number

Arrays = dict[str, np.ndarray]


class Writer:
    """Stores chunks, and keeps the small ones until there are enough to be put together."""

    def __init__(self, folder: Path):
        self._folder = folder / store.CHUNKS
        self._small: dict[str, list[tuple[Path, Arrays]]] = {}  # by group

    def add(self, name: str, arrays: Arrays) -> None:
        """Stores a chunk; no kill of this process takes it. Raises StorageError where it cannot be."""
        path = self._folder / f"{name}.npz"
        small = sum(x.nbytes for x in arrays.values()) <= SMALL
        store.write_arrays(path, arrays, durable=not small)  # what a power cut takes of 64 small ones is computed again
        if small:
            waiting = self._small.setdefault(_group(path), [])
            waiting.append((path, arrays))
            if len(waiting) == MANY:
                _put_together(self._small.pop(_group(path)))


def put_together(folder: Path) -> None:
    """Puts small chunks together where there are many files: at the end of a sweep, when nobody writes any."""
    paths = store.chunks(folder)
    small = [path for path in paths if "+" not in path.stem and path.stat().st_size <= SMALL]
    for _, group in groupby(small if len(paths) > FILES else (), _group):
        for some in _parts(list(group)):
            read = ((path, store.read_chunk(path, store.METRIC, store.STATE)) for path in some)
            _put_together([(path, arrays) for path, arrays in read if arrays is not None])


def _parts(paths: list[Path]) -> Iterator[list[Path]]:
    return (paths[i : i + MANY] for i in range(0, len(paths), MANY))


def _put_together(chunks: Sequence[tuple[Path, Arrays]]) -> None:
    """Writes chunks of one group as one, and removes their files."""
    if len(chunks) < 2:
        return
    (first, like), *others = chunks
    arrays = {name: np.concatenate([chunk[name] for _, chunk in chunks]) for name in like if name != "update"}
    store.write_arrays(first.with_stem(f"{first.stem}+{len(others)}"), arrays | {"update": like["update"]})
    for path, _ in chunks:
        path.unlink(missing_ok=True)


def _group(path: Path) -> str:
    return path.stem.partition("-")[0]
