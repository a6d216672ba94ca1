"""A learned objective as one small file: an npz of its arrays, and of `record`, a text in JSON that says what it is.

file = numpy.load("mine.npz")
json.loads(str(file["record"]))  # {"format": ..., "kind": "LPO", "provenance": {"method": ...}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rljax import records, runtime
from rljax.errors import ConfigError, require
from rljax.storage import absolute, replacing

FORMAT = "rljax objective 1"
LARGEST = 2**28  # bytes of arrays
REQUIRED = {"method": "how it was trained", "tasks": "on what", "scores": "what it scored"}


class Stored(NamedTuple):
    """The content of a file with a learned objective."""

    kind: str  # the class
    arrays: dict[str, Any]  # its fields, of numpy
    provenance: dict[str, Any]


def write(path: str | Path, stored: Stored) -> None:
    """Writes the file, atomically.

    Raises:
      ConfigError: the provenance lacks something or is not JSON, or there is no such folder.
      StorageError: the file cannot be written.
    """
    path = absolute(path)
    for name, meaning in REQUIRED.items():
        require(name in stored.provenance, f"provenance['{name}']", None, f"say {meaning}")
    provenance = {**stored.provenance, "machine": runtime.report()}  # versions of the code among it
    try:
        record = json.dumps({"format": FORMAT, "kind": stored.kind, "provenance": provenance})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"provenance: {error}; give numbers, texts, lists and dicts") from None
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: cannot be written ({path.parent} is no folder); choose another file")
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, record=np.array(record), **stored.arrays)  # pyright: ignore[reportArgumentType]


def read(path: str | Path) -> Stored:
    """Reads what `write` wrote, to the bit.

    Raises:
      ConfigError: the file cannot be read, or is something else.
    """
    path = absolute(path, "file")
    try:
        records.check_npz(path, LARGEST)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        record = json.loads(str(arrays.pop("record")))
        numbers = all(np.issubdtype(x.dtype, np.floating) for x in arrays.values())
        kind, provenance = record["kind"], record["provenance"]
        if record["format"] != FORMAT or not numbers or not (isinstance(kind, str) and isinstance(provenance, dict)):
            raise ValueError(record["format"])
        return Stored(kind, arrays, provenance)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); give a learned objective") from None
    except records.TooLarge as error:
        raise ConfigError(f"{path}: {error}; give a learned objective") from None
    except (*records.GARBAGE, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path}: holds no learned objective; give a file that LPO.save wrote") from None
