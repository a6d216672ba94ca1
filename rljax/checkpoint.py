"""Checkpoints of a training state: atomic, verified before use, bit-exact after.

A checkpoint holds two items: the state's leaves, by path, and a record in JSON that says what they are (algorithm,
config, paths, shapes, dtypes, versions), so that a checkpoint of something else is refused instead of misread.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes, orbax_files, storage
from rljax.errors import CheckpointError, StorageError
from rljax.runtime import version

GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # of a file in a checkpoint: that is damage
Schema = dict[str, list]  # leaf path -> [shape, dtype]


class Restored(NamedTuple):
    """A checkpoint, read back."""

    step: int
    state: Any
    meta: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run, in one folder; a context manager.

    Args:
      folder: where they are, e.g. `run_dir / "checkpoints"`; made by the first save.
      algo: the algorithm's name; a checkpoint of another one is refused.
      config: what built the state, JSON-like; kept with it, and named where a checkpoint does not fit.
      keep: how many of the newest to keep.
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
        """The steps there are, ascending, usable or not; `[]` without a folder."""
        with storage.reading(self.folder):
            if not self.folder.is_dir():
                return []
            return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdecimal() and p.is_dir())

    def save(self, step: int, state: Any, meta: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint, and read it back; it is on disk when this returns, and `state` may be donated.

        Ctrl-C waits for it. A step that was just saved or restored is not written again. Damaged checkpoints that
        `restore_latest` skipped are deleted once the new one is there, so that a resumed run can reach their steps.

        Args:
          step: environment steps so far; must exceed every step in the folder.
          state: a pytree of arrays.
          meta: what else to keep, JSON-like.

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
            "schema": _schema(leaves),
            "versions": {name: version(name) or "unknown" for name in ("rljax", "jax", "flax", "optax")},
            "meta": _plain(meta or {}),
        }
        newest = max((n for n in self.steps() if n not in self._damaged), default=-1)
        if step <= newest:
            raise CheckpointError(
                f"cannot save step {step}: {self.folder} already holds step {newest}; resume it or choose a new folder"
            )
        with _uninterrupted():
            self._write(step, {path: _to_saved(leaf) for path, leaf in leaves.items() if leaf.size}, record)
            self._current, self._damaged = step, []

    def restore_latest(self, target: Any) -> Restored | None:
        """Read the newest usable checkpoint; a damaged one is skipped with a warning.

        What an environment keeps in 64 bits in one mode of `jax_enable_x64` is cast in the other, with a warning.

        Args:
          target: the shapes and dtypes to fill, from `jax.eval_shape(algo.init, ...)`; where a leaf has a sharding,
            the array is placed accordingly.

        Returns:
          The step, the state and what `save` got as `meta`; None where there is no checkpoint at all.

        Raises:
          CheckpointError: the newest intact checkpoint is of another algorithm or state, or all are damaged.
          StorageError: the newest one cannot be read now: the system refuses, which says nothing of the checkpoint.
        """
        steps, leaves, damaged = self.steps(), named_leaves(target), []
        for step in reversed(steps):
            path = self.folder / str(step)
            try:
                record = orbax_files.read_record(path)
                recast = self._check(step, record, leaves)
                wanted = {n: _template(leaf, recast.get(n)) for n, leaf in leaves.items() if leaf.size}
                arrays = orbax_files.read_arrays(path, wanted)
            except (CheckpointError, StorageError):
                raise
            except MemoryError:
                raise StorageError(f"checkpoint {path} cannot be read now: there is not enough memory") from None
            except Exception as error:  # whatever parsers raise on garbage: ValueError, KeyError, OSError ...
                if storage.number_of(error) not in (None, *GONE):
                    why = storage.reason(error)
                    raise StorageError(f"checkpoint {path} cannot be read now: {why}; it is left as it is") from None
                warnings.warn(f"checkpoint {path} is damaged, skipped: {storage.reason(error)}", stacklevel=2)
                damaged.append(step)
                continue
            self._current, self._damaged = step, damaged
            if recast:
                _warn_of(recast, path)
            state = [_from_saved(arrays.get(path), leaf) for path, leaf in leaves.items()]
            return Restored(step, jax.tree.unflatten(jax.tree.structure(target), state), record["meta"])
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged: bring a copy back, or begin anew in another folder"
            )
        return None

    def _write(self, step: int, arrays: dict[str, Any], record: dict[str, Any]) -> None:
        """Beside its place first, so that what is in its place was whole, and read back."""
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
        """Renames it first, so that a kill leaves no half of it under its name."""
        with contextlib.suppress(OSError):
            partial = (self.folder / str(step)).rename(self.folder / f"{step}-old{storage.PARTIAL}")
            shutil.rmtree(partial, ignore_errors=True)

    def _check(self, step: int, record: dict[str, Any], leaves: dict[str, Any]) -> dict[str, np.dtype]:
        """Refuse what holds other things than `leaves`; give those whose bits are to be cast, with the dtypes there."""
        where = f"checkpoint {self.folder / str(step)}"
        if record["algo"] != self.algo:
            raise CheckpointError(
                f"{where} was written by algorithm '{record['algo']}', not '{self.algo}': choose another folder"
            )
        there, here = record["schema"], _schema(leaves)
        pairs = {path: (there[path], here[path]) for path in here if path in there}
        recast = [n for n, ((a, x), (b, y)) in pairs.items() if a == b and modes.differ_in_bits(x, y)]
        difference = _difference(there | {path: here[path] for path in recast}, here)
        if difference:
            why = _difference_of_config(record["config"], self.config)
            raise CheckpointError(f"{where} does not fit: {difference}; {why or _other_code(record['versions'])}")
        return {path: np.dtype(there[path][1]) for path in recast}


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back to the end: the threads that write would go on, and meet the next save."""
    if threading.current_thread() is not threading.main_thread():  # where Ctrl-C does not arrive
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves by path, e.g. `opt/0/mu/Dense_0/kernel`, in the order of the tree."""
    flat, _ = jax.tree.flatten_with_path(tree)
    leaves = {}
    for path, leaf in flat:
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "state"
        if name in leaves:
            raise CheckpointError(f"two leaves of the state are named '{name}': rename one")
        leaves[name] = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    return leaves


def _schema(leaves: dict[str, Any]) -> Schema:
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves.items()}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_saved(leaf: Any) -> Any:
    """What is written: a numpy array, cheaper for orbax than a jax one, unless other hosts hold parts of it."""
    data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return np.asarray(data) if getattr(data, "is_fully_addressable", True) else data


def _warn_of(recast: dict[str, np.dtype], path: Path) -> None:
    name, dtype = next(iter(recast.items()))
    x64 = int(dtype.itemsize == 8)
    what = f"'{name}'" + (f" and {len(recast) - 1} more" if len(recast) > 1 else "")
    mode = f"checkpoint {path} was written with JAX_ENABLE_X64={x64}"
    warnings.warn(f"{mode}: cast here are {what}; with that setting, it goes on to the same bits", stacklevel=3)


def _template(leaf: Any, stored: np.dtype | None = None) -> Any:
    """What `_to_saved` made of such a leaf, without its values; `stored`: in another dtype than here."""
    data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or sharding.is_fully_addressable:
        return np.broadcast_to(np.zeros((), stored or data.dtype), data.shape)  # takes no memory
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding)


def _from_saved(data: Any, leaf: Any) -> jax.Array:
    """The array that `leaf` describes; `data` is None where it has no elements (orbax cannot save those)."""
    if data is None:
        array = jnp.zeros(leaf.shape, leaf.dtype)
    elif _is_key(leaf):
        array = jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(jnp.zeros((), leaf.dtype)))
    else:
        array = data if data.dtype == leaf.dtype else _narrowed(np.asarray(data), leaf.dtype)
    return jax.device_put(array, getattr(leaf, "sharding", None))


def _narrowed(data: np.ndarray, dtype: Any) -> np.ndarray:
    """Raises CheckpointError where a whole number does not fit."""
    cast = data.astype(dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(cast, data):
        raise CheckpointError(f"a checkpoint holds {np.abs(data).max()}, too large for {dtype}; set JAX_ENABLE_X64=1")
    return cast


def _plain(tree: Any) -> Any:
    """What JSON makes of it, so that it equals what is read back."""
    return json.loads(json.dumps(tree, default=str))


def _difference(there: Schema, here: Schema) -> str:
    """The first leaf that differs, in words; empty where none does."""
    for path in [*there, *here]:
        if path not in here:
            return f"'{path}' is there, not here"
        if path not in there:
            return f"'{path}' is here, not there"
        (shape, dtype), (shape_here, dtype_here) = there[path], here[path]
        if shape != shape_here:
            return f"'{path}' has shape {tuple(shape)} there, {tuple(shape_here)} here"
        if dtype != dtype_here:
            return f"'{path}' is {dtype} there, {dtype_here} here"
    return ""


def _difference_of_config(there: dict[str, Any], here: dict[str, Any]) -> str:
    names = [k for k in {**there, **here} if there.get(k) != here.get(k)]
    pairs = ", ".join(f"{k}={there.get(k)} there, {here.get(k)} here" for k in names[:3])
    return f"use its config ({pairs})" if names else ""


def _other_code(versions: dict[str, str]) -> str:
    """The remedy where the configs agree."""
    return "the config is the same, so use the code that wrote it: " + ", ".join(
        f"{name} {version}" for name, version in versions.items()
    )
