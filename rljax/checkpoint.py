"""Checkpoints of a training state: atomic, verified before use, bit-exact after.

A checkpoint holds two items: the state's leaves, by path, and a record in JSON that says what they are (algorithm,
config, paths, shapes, dtypes, versions), so that a checkpoint of another state is refused instead of misread.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from rljax import modes, orbax_files, storage
from rljax.errors import CheckpointError, StorageError
from rljax.ops.tree import named_leaves
from rljax.runtime import version
from rljax.saved_leaves import described, difference, from_saved, schema_of, template, to_saved

T = TypeVar("T")
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # of a file in a checkpoint: that is damage


class Restored(NamedTuple):
    """A checkpoint, read back."""

    step: int
    state: Any
    meta: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run, in one folder; a context manager.

    Args:
      folder: of the checkpoints, e.g. `run_dir / "checkpoints"`; made by the first save.
      algo: the algorithm's name; a checkpoint of another one is refused.
      config: of the algorithm, JSON-like; stored with the state, and named where a checkpoint does not fit.
      keep: the number of newest checkpoints to keep.
    """

    def __init__(self, folder: str | Path, algo: str, config: Mapping[str, Any] | None = None, keep: int = 3):
        self.folder = Path(folder).absolute()
        self.algo = algo
        self.config = _plain(config or {})
        self.keep = keep
        self._current: int | None = None  # the step last saved or restored
        self._damaged: list[int] = []

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *_: object) -> None:
        pass  # saves are already on disk

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending, usable or not; `[]` without a folder."""
        with storage.reading(self.folder):
            if not self.folder.is_dir():
                return []
            return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdecimal() and p.is_dir())

    def save(self, step: int, state: Any, meta: Mapping[str, Any] | None = None) -> None:
        """Writes a checkpoint and reads it back; it is on disk when this returns, and `state` may be donated.

        Ctrl-C waits for it. A step that was just saved or restored is not written again. Damaged checkpoints that
        `restore_latest` skipped are deleted once the new one is there, so that a resumed run can reach their steps.

        Args:
          step: environment steps so far; must exceed every step in the folder.
          state: a pytree of arrays.
          meta: other data to store, JSON-like.

        Raises:
          CheckpointError: the folder holds this step or a later one.
          StorageError: it cannot be written, or not be read back; those before it are still there.
        """
        if step == self._current:
            return
        leaves = named_leaves(state)
        record = {
            "algo": self.algo,
            "config": self.config,
            "schema": schema_of(leaves),
            "versions": {name: version(name) or "unknown" for name in ("rljax", "jax", "flax", "optax")},
            "meta": _plain(meta or {}),
        }
        newest = max((n for n in self.steps() if n not in self._damaged), default=-1)
        if step <= newest:
            raise CheckpointError(
                f"cannot save step {step}: {self.folder} already holds step {newest}; resume it or choose a new folder"
            )
        with _uninterrupted():
            self._write(step, {path: to_saved(leaf) for path, leaf in leaves.items() if leaf.size}, record)
            self._current, self._damaged = step, []

    def restore_latest(self, target: Any) -> Restored | None:
        """Reads the newest usable checkpoint; a damaged one is skipped with a warning.

        A leaf of an environment that has 64 bits in one mode of `jax_enable_x64` is cast in the other, with a warning.

        Args:
          target: the shapes and dtypes to fill, from `jax.eval_shape(algo.init, ...)`; where a leaf has a sharding,
            the array is placed accordingly.

        Returns:
          The step, the state and what `save` got as `meta`; None where there is no checkpoint at all.

        Raises:
          CheckpointError: the newest intact checkpoint is of another algorithm or state, or all are damaged.
          StorageError: the newest one cannot be read now: the system refuses, and the checkpoint may be intact.
        """
        leaves = named_leaves(target)

        def read(step: int, path: Path, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.dtype], Any]:
            recast = self._check(step, record, leaves)
            wanted = {n: template(leaf, recast.get(n)) for n, leaf in leaves.items() if leaf.size}
            return orbax_files.read_arrays(path, wanted), recast, record["meta"]

        found = self._newest(read)
        if found is None:
            return None
        step, (arrays, recast, meta), self._damaged = found
        self._current = step
        if recast:
            _warn_of(recast, self.folder / str(step))
        state = [from_saved(arrays.get(path), leaf) for path, leaf in leaves.items()]
        return Restored(step, jax.tree.unflatten(jax.tree.structure(target), state), meta)

    def read_leaves(self, chosen: Callable[[str], bool]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Reads the newest usable checkpoint without a target: its step, and the leaves whose paths are chosen.

        Returns:
          None where there is no checkpoint at all.

        Raises:
          CheckpointError, StorageError: as `restore_latest`.
        """

        def read(step: int, path: Path, record: dict[str, Any]) -> dict[str, Any]:
            leaves = {name: described(*each) for name, each in record["schema"].items()}
            return orbax_files.read_arrays(path, {n: template(leaf) for n, leaf in leaves.items() if leaf.size})

        found = self._newest(read)
        return found and (found[0], {name: np.asarray(x) for name, x in found[1].items() if chosen(name)})

    def _newest(self, read: Callable[[int, Path, dict[str, Any]], T]) -> tuple[int, T, list[int]] | None:
        """Applies `read(step, path, record)` to the newest checkpoint that is not damaged: (step, result, damaged)."""
        steps, damaged = self.steps(), []
        for step in reversed(steps):
            path = self.folder / str(step)
            try:
                return step, read(step, path, orbax_files.read_record(path)), damaged
            except (CheckpointError, StorageError):
                raise
            except MemoryError:
                raise StorageError(f"checkpoint {path} cannot be read now: there is not enough memory") from None
            except Exception as error:  # whatever parsers raise on garbage: ValueError, KeyError, OSError ...
                if storage.number_of(error) not in (None, *GONE):
                    why = storage.reason(error)
                    raise StorageError(f"checkpoint {path} cannot be read now: {why}; it is left as it is") from None
                warnings.warn(f"checkpoint {path} is damaged, skipped: {storage.reason(error)}", stacklevel=3)
                damaged.append(step)
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged: bring a copy back, or begin anew in another folder"
            )
        return None

    def _write(self, step: int, arrays: dict[str, Any], record: dict[str, Any]) -> None:
        """Writes a checkpoint under another name, reads it back, and then renames it."""
        partial = self.folder / f"{step}{storage.PARTIAL}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in os.listdir(self.folder):
                if storage.PARTIAL in name or orbax_files.UNFINISHED in name:  # of a process that was killed
                    shutil.rmtree(self.folder / name)
            orbax_files.write(partial, arrays, record)
            orbax_files.verify(partial, arrays, record)
            for old in self._damaged:
                self._remove(old)
            partial.rename(self.folder / str(step))
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StorageError(f"cannot save step {step} in {self.folder}: {storage.reason(error)}") from None
        for old in self.steps()[: -self.keep]:
            self._remove(old)

    def _remove(self, step: int) -> None:
        """Deletes a checkpoint; renames it first, so that a kill leaves no half of it under its name."""
        with contextlib.suppress(OSError):
            partial = (self.folder / str(step)).rename(self.folder / f"{step}-old{storage.PARTIAL}")
            shutil.rmtree(partial, ignore_errors=True)

    def _check(self, step: int, record: dict[str, Any], leaves: dict[str, Any]) -> dict[str, np.dtype]:
        """Refuses a checkpoint of other leaves; gives those to cast from or to 64 bits, with their stored dtypes."""
        where = f"checkpoint {self.folder / str(step)}"
        if record["algo"] != self.algo:
            raise CheckpointError(
                f"{where} was written by algorithm '{record['algo']}', not '{self.algo}': choose another folder"
            )
        stored, here = record["schema"], schema_of(leaves)
        pairs = {path: (stored[path], here[path]) for path in here if path in stored}
        recast = [n for n, ((a, x), (b, y)) in pairs.items() if a == b and modes.differ_in_bits(x, y)]
        differs = difference(stored | {path: here[path] for path in recast}, here)
        if differs:
            why = _difference_of_config(record["config"], self.config)
            raise CheckpointError(f"{where} does not fit: {differs}; {why or _other_code(record['versions'])}")
        return {path: np.dtype(stored[path][1]) for path in recast}


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delays Ctrl-C to the end: the threads that write would continue, and collide with the next save."""
    if threading.current_thread() is not threading.main_thread():  # where Ctrl-C does not arrive
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            signal.raise_signal(signal.SIGINT)


def _warn_of(recast: dict[str, np.dtype], path: Path) -> None:
    name, dtype = next(iter(recast.items()))
    x64 = int(dtype.itemsize == 8)
    what = f"'{name}'" + (f" and {len(recast) - 1} more" if len(recast) > 1 else "")
    mode = f"checkpoint {path} was written with JAX_ENABLE_X64={x64}"
    warnings.warn(f"{mode}: cast here are {what}; with that setting, it goes on to the same bits", stacklevel=3)


def _plain(tree: Any) -> Any:
    """Converts to plain JSON values, so that the result equals what is read back."""
    return json.loads(json.dumps(tree, default=str))


def _difference_of_config(stored: dict[str, Any], here: dict[str, Any]) -> str:
    names = [k for k in {**stored, **here} if stored.get(k) != here.get(k)]
    pairs = ", ".join(f"{k}={stored.get(k)} there, {here.get(k)} here" for k in names[:3])
    return f"use its config ({pairs})" if names else ""


def _other_code(versions: dict[str, str]) -> str:
    """The remedy where the configs agree."""
    return "the config is the same, so use the code that wrote it: " + ", ".join(
        f"{name} {version}" for name, version in versions.items()
    )
