"""Arrays and a record in one folder, written and read by orbax; no other file imports it.

A record is sealed with a checksum, for orbax verifies arrays, but not JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rljax import records
from rljax.storage import storing

UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that orbax is writing
DATA = "d"  # the folders with the bytes of arrays; all other files are read whole
PATTERN = frozenset("*?[]\\")


def write(path: Path, arrays: dict[str, Any], record: dict[str, Any]) -> None:
    """Writes a new folder; raises whatever orbax and tensorstore raise where that fails."""
    import orbax.checkpoint as ocp

    items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(_sealed(record)))
    with _plain(path) as target, _quiet(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(target, args=items)


def verify(path: Path, arrays: dict[str, Any], record: dict[str, Any]) -> None:
    """Raises ValueError, or what reading raises, unless a folder holds these arrays and this record, to the bit."""
    here = {name: x for name, x in arrays.items() if isinstance(x, np.ndarray)}  # other hosts have parts of the rest
    if read_record(path) != json.loads(json.dumps(record)):
        raise ValueError("its record is not what was written")
    if len(here) < len(arrays):
        return
    templates = {name: np.broadcast_to(np.zeros((), x.dtype), x.shape) for name, x in here.items()}
    for name, x in read_arrays(path, templates).items():
        if np.asarray(x).tobytes() != here[name].tobytes():
            raise ValueError(f"'{name}' is not what was written")


def read_record(path: Path) -> dict[str, Any]:
    """Reads the record. Raises ValueError, and what orbax raises, where it is damaged."""
    import orbax.checkpoint as ocp

    return _unsealed(_read(path, record=ocp.args.JsonRestore())["record"])


def read_arrays(path: Path, templates: dict[str, Any]) -> dict[str, Any]:
    """Reads arrays of these names, shapes, dtypes and shardings. Raises what orbax raises where they are damaged."""
    import orbax.checkpoint as ocp

    return _read(path, state=ocp.args.StandardRestore(templates))["state"] if templates else {}


def _read(path: Path, **items: Any) -> Any:
    import orbax.checkpoint as ocp

    for file in path.rglob("*"):
        if file.parent.name != DATA and file.is_file() and file.stat().st_size > records.LARGEST:
            raise ValueError(f"{file.relative_to(path)} is larger than any record")
    with _plain(path) as target, _quiet(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        return reader.restore(target, args=ocp.args.Composite(**items))


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    r"""Gives a path through a link, where orbax would take it for a pattern (`[1]`) and tensorstore `\` for `/`."""
    if PATTERN.isdisjoint(str(path)):
        yield path
        return
    with contextlib.ExitStack() as stack:
        with storing(tempfile.tempdir or "the temporary folder"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rljax-"))
        link = Path(folder) / "link"
        link.symlink_to(path.parent)
        yield link / path.name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's log of a failure from the terminal: its error says the same, and becomes one line."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(record)
    return {"crc32": zlib.crc32(text.encode()), "text": text}


def _unsealed(item: dict[str, Any]) -> dict[str, Any]:
    if zlib.crc32(item["text"].encode()) != item["crc32"]:
        raise ValueError("the checksum of its record is wrong")
    return json.loads(item["text"])
